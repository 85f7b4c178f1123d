//! What is read again while the server serves.

mod configuration;
mod files;

pub(in crate::server) use crate::server::reload::files::Reloader;
