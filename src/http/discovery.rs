//! The public documents: the authorization server metadata (RFC 8414) and the public keys.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use serde_json::Value;
use serde_json::json;

use crate::authority::Authority;
use crate::authority::access::JWKS;
use crate::authority::access::METADATA;
use crate::authority::access::OPENID_CONFIGURATION;
use crate::authority::registration::JWT_BEARER_GRANT;
use crate::authority::registration::TOKEN_EXCHANGE;
use crate::authority::tokens::JWT_TYPE;
use crate::http::document::Document;
use crate::http::document::public;

/// The documents change seldom, and keys are published before they sign, so caching for a minute is safe.
const CACHEABLE: &str = "public, max-age=60";

/// The method that is served where an issuer is trusted.
const ISSUER_JWT: &str = "issuer_jwt";

/// The routes of the public listener, which the mTLS listener has too.
pub fn routes(authority: Arc<Authority>) -> Router {
    let path = path(&authority.policy().issuer);
    // axum panics at `:` and `*` at the start of a path segment, which older versions treated as captures. Here they are
    // literal parts of an issuer.
    let mut routes = Router::new().without_v07_checks();
    for place in places(METADATA, path) {
        routes = routes.route(&place, public(get(metadata)));
    }
    for place in places(OPENID_CONFIGURATION, path) {
        routes = routes.route(&place, public(get(openid_configuration)));
    }
    for place in BTreeSet::from([JWKS.to_owned(), format!("{path}{JWKS}")]) {
        routes = routes.route(&place, public(get(jwks)));
    }
    routes.with_state(authority)
}

/// The path of a URL, without its trailing slash.
fn path(url: &str) -> &str {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = after_scheme.find('/').and_then(|at| after_scheme.get(at..)).unwrap_or_default();
    path.trim_end_matches('/')
}

/// The paths of a well-known name for an issuer with this path: the name goes between host and path (RFC 8414 section
/// 3.1). Some clients look for it behind the path, as in OpenID Connect Discovery section 4.
fn places(name: &str, path: &str) -> BTreeSet<String> {
    BTreeSet::from([format!("{name}{path}"), format!("{path}{name}")])
}

/// RFC 7517 section 8.5 registers the media type.
async fn jwks(State(authority): State<Arc<Authority>>, headers: HeaderMap) -> Response {
    let body = authority.keys().jwks();
    Document { content_type: "application/jwk-set+json", cache_control: CACHEABLE, body }.answer(&headers)
}

async fn metadata(State(authority): State<Arc<Authority>>, headers: HeaderMap) -> Response {
    answer(&document(&authority), &headers)
}

/// The same metadata under the name that OpenID Connect Discovery has, for clients that look only there. Its section 3
/// requires two more members. They describe ID tokens, which are not issued.
async fn openid_configuration(State(authority): State<Arc<Authority>>, headers: HeaderMap) -> Response {
    let mut document = document(&authority);
    if let Some(members) = document.as_object_mut() {
        let algorithms = json!([authority.keys().algorithm().name()]);
        members.insert("id_token_signing_alg_values_supported".to_owned(), algorithms);
        members.insert("subject_types_supported".to_owned(), json!(["public"]));
    }
    answer(&document, &headers)
}

fn answer(document: &Value, headers: &HeaderMap) -> Response {
    let body = document.to_string();
    Document { content_type: "application/json", cache_control: CACHEABLE, body }.answer(headers)
}

/// Both listeners serve the same document. Its endpoints name the mTLS host, and so do the aliases (RFC 8705 section
/// 5), so that a client without support for aliases reaches the right listener too.
///
/// `response_types_supported` is required (RFC 8414 section 2), and empty: there is no authorization endpoint.
fn document(authority: &Authority) -> Value {
    const METHODS: [&str; 5] =
        ["spiffe_x509", "spiffe_jwt", "tls_client_auth", "self_signed_tls_client_auth", ISSUER_JWT];
    let policy = authority.policy();
    let has_issuers = authority.trust().authenticates_by_issuers();
    let methods: Vec<&str> = METHODS.into_iter().filter(|method| has_issuers || *method != ISSUER_JWT).collect();
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
    let enabled = policy.exchange.enabled;
    let takes_grants = enabled && authority.trust().takes_grants();
    let grant_types = ["client_credentials"].into_iter().chain(enabled.then_some(TOKEN_EXCHANGE));
    let grant_types: Vec<&str> = grant_types.chain(takes_grants.then_some(JWT_BEARER_GRANT)).collect();
    let mut document = json!({
        "issuer": policy.issuer,
        // Within the issuer's path: of a shared host, only that path leads here.
        "jwks_uri": format!("{}{JWKS}", policy.issuer.trim_end_matches('/')),
        "response_types_supported": [],
        "grant_types_supported": grant_types,
        "token_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "introspection_signing_alg_values_supported": [authority.keys().algorithm().name()],
        "tls_client_certificate_bound_access_tokens": true,
        "mtls_endpoint_aliases": endpoints,
    });
    if let (Some(document), Some(endpoints)) = (document.as_object_mut(), endpoints.as_object_mut()) {
        document.append(endpoints);
        // draft-ietf-oauth-identity-chaining section 3.
        if enabled && !policy.chaining.is_empty() {
            document.insert("identity_chaining_requested_token_types_supported".to_owned(), json!([JWT_TYPE]));
        }
        let scopes = authority.scopes_supported();
        // RFC 8414 section 3.2: no empty array.
        if !scopes.is_empty() {
            document.insert("scopes_supported".to_owned(), Value::from(scopes));
        }
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_well_known_name_goes_between_host_and_path_of_the_issuer_and_behind_the_path() {
        let found = |issuer: &str| places("/.well-known/x", path(issuer)).into_iter().collect::<Vec<_>>();
        for issuer in ["https://h", "https://h/", "https://h:1"] {
            assert_eq!(found(issuer), ["/.well-known/x"], "{issuer}");
        }
        assert_eq!(found("https://h/t1"), ["/.well-known/x/t1", "/t1/.well-known/x"]);
        assert_eq!(found("https://h:1/a/b/"), ["/.well-known/x/a/b", "/a/b/.well-known/x"]);
    }
}
