//! Tokens that are validated with evidence of a certificate.

mod decision;
mod evidence;
mod principal;
mod resource_staleness;
mod staleness;
mod validate_binding;
mod validate_stream;
mod validate_stream_load;
mod view;
