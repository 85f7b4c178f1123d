//! Where bundles and client CAs come from, and the certificates that clients publish.

pub mod addresses;
pub mod bundle_endpoint;
pub mod files;
pub mod https;
pub mod jwks_uri;
pub mod network;
pub mod workload_api;
mod workload_bundles;
