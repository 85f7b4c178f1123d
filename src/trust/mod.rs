//! Where bundles and client CAs come from.

pub mod files;
