//! The public documents: the authorization server metadata (RFC 8414) and the public keys.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::Value;
use serde_json::json;

use crate::authority::Authority;
use crate::authority::access::METADATA;

/// Both documents change seldom, and keys are published before they sign, so caching for a minute is safe.
const CACHEABLE: (axum::http::HeaderName, &str) = (CACHE_CONTROL, "public, max-age=60");

/// The routes of the public listener, which the mTLS listener has too.
pub fn routes(authority: Arc<Authority>) -> Router {
    let metadata = metadata_path(&authority.policy().issuer);
    Router::new()
        // axum panics at `:` and `*` at the start of a path segment, which older versions treated as captures. Here
        // they are literal parts of an issuer.
        .without_v07_checks()
        .route("/oauth2/jwks", get(jwks))
        .route(
            &metadata,
            get(async |State(authority): State<Arc<Authority>>| ([CACHEABLE], Json(document(&authority)))),
        )
        .with_state(authority)
}

/// RFC 8414 section 3: the well-known path is inserted between the host and the path of the issuer, without the
/// issuer's trailing slash.
fn metadata_path(issuer: &str) -> String {
    let after_scheme = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    let path = after_scheme.split_once('/').map_or("", |(_, path)| path).trim_end_matches('/');
    if path.is_empty() { METADATA.to_owned() } else { format!("{METADATA}/{path}") }
}

/// RFC 7517 section 8.5 registers the media type.
async fn jwks(State(authority): State<Arc<Authority>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/jwk-set+json"), CACHEABLE], authority.keys().jwks())
}

/// Both listeners serve the same document. Its endpoints name the mTLS host, and so do the aliases (RFC 8705 section
/// 5), so that a client without support for aliases reaches the right listener too.
///
/// `response_types_supported` is left out: RFC 8414 section 2 requires it, and section 3.2 forbids an empty array,
/// which it would be without an authorization endpoint.
fn document(authority: &Authority) -> Value {
    const METHODS: [&str; 4] = ["spiffe_x509", "spiffe_jwt", "tls_client_auth", "self_signed_tls_client_auth"];
    let policy = authority.policy();
    let at = |path: &str| format!("{}{path}", policy.mtls_url);
    let mut endpoints = json!({
        "token_endpoint": at("/oauth2/token"),
        "introspection_endpoint": at("/oauth2/introspect"),
        "revocation_endpoint": at("/oauth2/revoke"),
    });
    if policy.registers_dynamically()
        && let Some(endpoints) = endpoints.as_object_mut()
    {
        endpoints.insert("registration_endpoint".to_owned(), Value::from(at("/oauth2/register")));
    }
    let mut document = json!({
        "issuer": policy.issuer,
        "jwks_uri": format!("{}/oauth2/jwks", origin(&policy.issuer)),
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": METHODS,
        "introspection_endpoint_auth_methods_supported": METHODS,
        "revocation_endpoint_auth_methods_supported": METHODS,
        "introspection_signing_alg_values_supported": [authority.keys().algorithm().name()],
        "tls_client_certificate_bound_access_tokens": true,
        "mtls_endpoint_aliases": endpoints,
    });
    if let (Some(document), Some(endpoints)) = (document.as_object_mut(), endpoints.as_object_mut()) {
        document.append(endpoints);
    }
    document
}

/// Scheme and authority of a URL.
fn origin(url: &str) -> &str {
    let path = url.find("://").and_then(|scheme| url.get(scheme + 3..)?.find('/').map(|path| scheme + 3 + path));
    path.and_then(|path| url.get(..path)).unwrap_or(url)
}

#[cfg(test)]
mod tests {
    use super::metadata_path;
    use super::origin;

    #[test]
    fn the_well_known_name_goes_between_host_and_path_of_the_issuer() {
        assert_eq!(metadata_path("https://h"), "/.well-known/oauth-authorization-server");
        assert_eq!(metadata_path("https://h/"), "/.well-known/oauth-authorization-server");
        assert_eq!(metadata_path("https://h/t1"), "/.well-known/oauth-authorization-server/t1");
        assert_eq!(metadata_path("https://h:1/a/b/"), "/.well-known/oauth-authorization-server/a/b");
    }

    #[test]
    fn the_origin_of_a_url_is_without_its_path() {
        assert_eq!(origin("https://h:1/a/b"), "https://h:1");
        assert_eq!(origin("https://h"), "https://h");
    }
}
