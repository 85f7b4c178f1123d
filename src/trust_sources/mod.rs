//! The sources of trust bundles, of client CAs, and of the JWK sets that clients publish.

pub mod addresses;
pub mod bundle_endpoint;
pub mod files;
pub mod https;
pub mod jwks_uri;
pub mod network;
pub mod workload_api;
mod workload_bundles;
