//! Certificates that clients publish at their `jwks_uri`.

mod discovery;
pub mod jwks_uri;
mod outbound;
mod skipped;
mod stored;
