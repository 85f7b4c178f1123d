//! The client library.

mod crates;
mod exchanged;
mod tokens;
mod verifier;
mod workload_api;
