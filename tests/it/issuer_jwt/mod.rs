//! Clients by `issuer_jwt`: the JWT of a trusted issuer, such as the token of a Kubernetes service account, over a connection with a
//! certificate that nobody vouches for.

mod assertions;
mod clients;
pub mod cluster;
mod config;
mod decisions;
mod kubernetes;
mod published_keys;
mod replays;
