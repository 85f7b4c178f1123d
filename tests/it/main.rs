//! The integration tests: one binary, a file a behaviour.
// It always holds here; it tells clippy that what stands beside the tests may unwrap as they do.
#![cfg(test)]
#![expect(unreachable_pub, reason = "nothing in a test binary is reachable from outside")]

mod access;
mod authlib;
mod callers;
mod certificates;
mod cli;
mod cli_oauth;
mod client_authentication;
mod client_metadata;
mod config;
mod curl;
mod decision;
mod dev;
mod directory;
mod distinguished_name;
mod drain;
mod evidence;
mod forwarded;
mod grants;
mod health;
mod identities;
mod introspection;
mod issue_token;
mod layering;
mod malformed_tokens;
mod metadata;
mod oauth;
mod openid_client;
mod openssl_certificates;
mod python_client;
mod registrations;
mod registry;
mod reload;
mod resource_server;
mod restart;
mod revocation;
mod revocation_records;
mod sealed_keys;
mod store_contract;
mod store_crash;
mod store_damage;
mod store_directory;
mod store_durability;
mod store_process;
mod subjects;
mod support;
mod thumbprints;
mod tls_certificates;
mod tls_door;
mod tls_limits;
mod token_texts;
mod tokens;
mod uses;
mod validate_binding;
