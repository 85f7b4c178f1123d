//! The operations of [`Authority`](crate::authority::Authority), by subject. Nothing else in the core imports from
//! here.

mod admission;
mod audit;
mod authority_index;
mod bindings;
mod checks;
mod client_assertion;
mod clients;
mod dynamic_clients;
mod export;
mod freshness;
mod introspection;
mod metrics;
mod own_tokens;
mod published_jwks;
mod registry;
mod reports;
mod resources;
mod revocations;
mod rotations;
mod store_feed;
mod tokens;
mod unique_index;
mod vouching;
mod warnings;
mod whoami;
