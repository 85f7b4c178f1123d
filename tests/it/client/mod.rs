//! The client library.

mod tokens;
mod workload_api;
