//! Lanyard binds each access token to the certificate of the workload that requested it (RFC 8705). A stolen token is
//! useless without the certificate's private key.
//!
//! With `default-features = false, features = ["client"]`, this is the library that a workload links: [`client`] and
//! [`proto`]. With `verifier` in its place, it is also what a service needs to verify the tokens of its callers.

#[cfg(feature = "server")]
pub mod apply;
#[cfg(feature = "server")]
pub mod authority;
#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
pub mod config;
#[cfg(all(feature = "server", any(test, fuzzing)))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "server")]
pub mod grpc;
#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "server")]
pub mod limits;
#[cfg(feature = "server")]
pub mod messages;
#[cfg(feature = "client")]
pub mod proto;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod signer;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
pub mod telemetry;
#[cfg(feature = "server")]
pub mod tls;
#[cfg(feature = "opentelemetry")]
pub mod trace_context;
#[cfg(feature = "server")]
pub mod trust_sources;
#[cfg(feature = "server")]
pub mod yaml;
