//! Lanyard ties each access token to the certificate of the workload that asked for it (RFC 8705): stolen, the token opens
//! nothing.

pub mod authority;
pub mod proto;
pub mod signer;
pub mod store;
