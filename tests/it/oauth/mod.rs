//! The OAuth endpoints over HTTP (RFC 6749, RFC 7009, RFC 7591, RFC 7662, RFC 8414, RFC 8705).

mod client_authentication;
mod clients;
mod dcr;
mod dcr_management;
mod documents;
mod http_semantics;
mod introspection;
mod metadata;
mod revocation;
mod revocation_records;
mod token_endpoint;
