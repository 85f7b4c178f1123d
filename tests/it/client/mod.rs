//! The client library.

mod crates;
mod exchanged;
mod tokens;
mod workload_api;
