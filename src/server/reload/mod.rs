//! Files that are read again while the server runs.

mod configuration;
mod files;

pub(in crate::server) use crate::server::reload::files::Reloader;
