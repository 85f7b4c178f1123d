//! The client library.

mod crates;
mod tokens;
mod workload_api;
