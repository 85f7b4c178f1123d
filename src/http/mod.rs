//! The HTTP protocol: the OAuth endpoints and the probes. Like every protocol it reads requests, calls the authority
//! and encodes its results.

mod accept;
pub mod audit_keys;
mod chaining;
mod challenge;
mod client;
pub mod discovery;
mod document;
pub mod error;
mod exchange;
mod form;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod headers;
pub mod introspect;
mod metrics;
pub mod not_admitted;
pub mod ops;
mod refused;
mod register;
mod registration_error;
mod revoke;
pub mod spiffe_bundle;
mod token;
mod txn;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::post;

use crate::authority::Authority;

/// The maximum size of a request body in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The endpoints of the mTLS listener that need their caller, which the guard adds to the request extensions.
///
/// No header is evidence of a certificate here: `x-forwarded-client-cert`, `client-cert` and similar headers are
/// ignored.
pub fn routes(authority: Arc<Authority>) -> Router {
    let mut routes = Router::new()
        .route("/oauth2/token", post(token::issue))
        .route("/oauth2/introspect", post(introspect::introspect))
        .route("/oauth2/revoke", post(revoke::revoke));
    if authority.policy().registers_dynamically() {
        let register = post(register::create).get(register::read).put(register::replace).delete(register::delete);
        routes = routes.route("/oauth2/register", register);
    }
    let logged = from_fn_with_state(Arc::clone(&authority), refused::logged);
    // Not around paths without a route: those are no requests to an endpoint.
    routes.layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).route_layer(logged).with_state(authority)
}
