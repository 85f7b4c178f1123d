//! Lanyard ties each access token to the certificate of the workload that asked for it (RFC 8705): stolen, the token opens
//! nothing.

pub mod apply;
pub mod authority;
pub mod cli;
pub mod client;
pub mod config;
pub mod grpc;
pub mod http;
pub mod messages;
pub mod proto;
pub mod server;
pub mod signer;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod trace_context;
pub mod trust_sources;
