//! Lanyard ties each access token to the certificate of the workload that asked for it (RFC 8705).
pub mod authority;
pub mod store;
