//! The integration tests: one binary, a folder for each subject, a file for each behaviour.
// It always holds here; it tells clippy that what stands beside the tests may unwrap as they do.
#![cfg(test)]
#![expect(unreachable_pub, reason = "nothing in a test binary is reachable from outside")]

mod access;
mod agreement;
mod bindings;
mod certificates;
mod cli;
mod client;
mod deploy;
mod dual_control;
mod edge;
mod envoy;
mod exchange;
mod federation;
mod forwarded;
mod grants;
mod helm;
mod interop;
mod issuer_jwt;
mod keys;
mod life_cycle;
mod local;
mod oauth;
mod pressure;
mod project;
mod published_jwks;
mod receipts;
mod registry;
mod replicas;
mod reports;
mod revocation;
mod rotation;
mod snapshot;
mod spiffe;
mod store;
mod support;
mod telemetry;
mod tls;
mod tokens;
mod why;
mod workload_api;
