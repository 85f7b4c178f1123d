//! The metadata document (RFC 8414) on both listeners.

use axum::body::Body;
use axum::http::Method;
use axum::http::Request;
use axum::http::header::CACHE_CONTROL;
use axum::http::header::CONTENT_TYPE;
use serde_json::Value;
use serde_json::json;

use crate::support::calls::opened;
use crate::support::http::Http;
use crate::support::http::Reply;
use crate::support::http::get;
use crate::support::http::http1_only;
use crate::support::http::post;
use crate::support::server::ISSUER;
use crate::support::server::TestServer;
use crate::support::server::connect;

const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";
const METHODS: [&str; 4] = ["spiffe_x509", "spiffe_jwt", "tls_client_auth", "self_signed_tls_client_auth"];

/// Sends a request to the public listener, without a client certificate.
async fn publicly(server: &TestServer, request: Request<Body>) -> Reply {
    let config = http1_only(server.tls_builder().with_no_client_auth());
    Http::one(connect(server.addresses.public, config).await.unwrap()).await.send(request).await
}

async fn document(server: &TestServer) -> Value {
    let reply = publicly(server, get(WELL_KNOWN)).await;
    assert_eq!(reply.status, 200);
    reply.json()
}

// RFC 8414 sections 3 and 3.2
#[tokio::test]
async fn both_listeners_serve_the_same_document_and_keys_to_anybody() {
    let server = TestServer::start().await;
    let stranger = server.svid("/stranger");
    for path in [WELL_KNOWN, "/oauth2/jwks"] {
        let (public, mutual) = (publicly(&server, get(path)).await, server.send(&stranger, get(path)).await);
        assert_eq!((public.status, mutual.status), (200, 200), "{path}");
        assert_eq!(public.body, mutual.body, "{path}");
        assert_eq!(public.header(CACHE_CONTROL), "public, max-age=60");
        assert_eq!(public.header(CONTENT_TYPE), mutual.header(CONTENT_TYPE));
    }
    assert_eq!(publicly(&server, get(WELL_KNOWN)).await.header(CONTENT_TYPE), "application/json");
    assert_eq!(publicly(&server, get("/oauth2/jwks")).await.header(CONTENT_TYPE), "application/jwk-set+json");
}

// RFC 8414 section 3
#[tokio::test]
async fn what_needs_a_client_certificate_is_not_on_the_public_listener() {
    let server = TestServer::started(|setup| setup.registration = "own-identity".to_owned()).await;
    for path in ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke", "/oauth2/register"] {
        assert_eq!(publicly(&server, post(path, &[])).await.status, 404, "{path}");
    }
    for path in [WELL_KNOWN, "/oauth2/jwks"] {
        let refused = publicly(&server, post(path, &[])).await;
        let allowed = ["GET", "HEAD", "OPTIONS"].map(str::to_owned).to_vec();
        assert_eq!((refused.status, refused.allowed()), (405, allowed), "{path}");
        assert!(!refused.body.is_empty(), "{path}");
        let head = Request::builder().method(Method::HEAD).uri(path).body(Body::empty()).unwrap();
        let head = publicly(&server, head).await;
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
    }
}

// RFC 8414 sections 2 and 3.3; RFC 8705 sections 3.3 and 5; RFC 9701 section 7; RFC 9700 section 2.6
#[tokio::test]
async fn the_document_says_what_is_served_and_where() {
    let server = TestServer::started(|setup| setup.mtls_url = Some("https://mtls.prod.example:8443".to_owned())).await;
    let endpoints = json!({
        "token_endpoint": "https://mtls.prod.example:8443/oauth2/token",
        "introspection_endpoint": "https://mtls.prod.example:8443/oauth2/introspect",
        "revocation_endpoint": "https://mtls.prod.example:8443/oauth2/revoke",
    });
    let mut expected = json!({
        "issuer": ISSUER,
        "jwks_uri": format!("{ISSUER}/oauth2/jwks"),
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": METHODS,
        "introspection_endpoint_auth_methods_supported": METHODS,
        "revocation_endpoint_auth_methods_supported": METHODS,
        "introspection_signing_alg_values_supported": ["ES256"],
        "tls_client_certificate_bound_access_tokens": true,
        "mtls_endpoint_aliases": endpoints,
    });
    expected.as_object_mut().unwrap().extend(endpoints.as_object().unwrap().clone());
    assert_eq!(document(&server).await, expected);
}

// RFC 8414 sections 2 and 3.2. `response_types_supported` is required by section 2, though it is empty.
#[tokio::test]
async fn no_other_array_is_empty_and_nothing_is_said_of_methods_that_are_not_served() {
    let document = document(&TestServer::start().await).await;
    for (name, value) in document.as_object().unwrap() {
        let may_be_empty = name == "response_types_supported";
        assert!(may_be_empty || value.as_array().is_none_or(|array| !array.is_empty()), "{name}");
        assert!(!name.ends_with("_endpoint_auth_signing_alg_values_supported"), "{name}");
    }
    assert_eq!(document["response_types_supported"], json!([]));
    // No resource is registered that defines scopes.
    assert_eq!(document.get("scopes_supported"), None);
    assert_eq!(document.get("authorization_endpoint"), None);
}

// RFC 8414 section 2; RFC 7591 section 3
#[tokio::test]
async fn a_registration_endpoint_is_named_where_there_is_one_and_only_there() {
    for (policy, named) in [("off", false), ("admins", true), ("own-identity", true)] {
        let server = TestServer::started(|setup| setup.registration = policy.to_owned()).await;
        let document = document(&server).await;
        assert_eq!(document.get("registration_endpoint").is_some(), named, "{policy}");
        assert_eq!(document["mtls_endpoint_aliases"].get("registration_endpoint").is_some(), named, "{policy}");
        let asked = server.send(&server.svid("/admin"), post("/oauth2/register", &[])).await;
        assert_eq!(asked.status, if named { 400 } else { 404 }, "{policy}");
    }
}

// RFC 8414 sections 3 and 3.3: the path goes behind the well-known name, without the slash at its
// end; the issuer keeps it.
#[tokio::test]
async fn an_issuer_with_a_path_has_its_document_behind_the_well_known_name() {
    for (issuer, tail) in [
        ("https://lanyard.prod.example/tenant", "/tenant"),
        ("https://lanyard.prod.example/tenant/", "/tenant"),
        ("https://lanyard.prod.example/a/b", "/a/b"),
        ("https://lanyard.prod.example/:odd/*ones", "/:odd/*ones"),
        ("https://lanyard.prod.example/", ""),
    ] {
        let server = TestServer::started(|setup| setup.issuer = issuer.to_owned()).await;
        let path = format!("{WELL_KNOWN}{tail}");
        let reply = publicly(&server, get(&path)).await;
        assert_eq!(reply.json()["issuer"], json!(issuer));
        assert_eq!(reply.json()["jwks_uri"], json!(format!("https://lanyard.prod.example{tail}/oauth2/jwks")));
        let keys = publicly(&server, get("/oauth2/jwks")).await;
        assert_eq!(publicly(&server, get(&format!("{tail}/oauth2/jwks"))).await.body, keys.body, "{issuer}");
        // Behind the path too, and under the name of OpenID Connect Discovery (its section 4).
        assert_eq!(publicly(&server, get(&format!("{tail}{WELL_KNOWN}"))).await.body, reply.body, "{issuer}");
        let openid = publicly(&server, get(&format!("{tail}{OPENID}"))).await;
        assert_eq!(publicly(&server, get(&format!("{OPENID}{tail}"))).await.body, openid.body, "{issuer}");
        let mut expected = reply.json();
        expected["id_token_signing_alg_values_supported"] = json!(["ES256"]);
        expected["subject_types_supported"] = json!(["public"]);
        assert_eq!(openid.json(), expected, "{issuer}");
        let mutual = server.send(&server.svid("/stranger"), get(&path)).await;
        assert_eq!(mutual.body, reply.body);
        let mut elsewhere = vec![format!("{path}/"), format!("{WELL_KNOWN}/other"), format!("/other{WELL_KNOWN}")];
        elsewhere.extend(["/other/oauth2/jwks".to_owned(), format!("/other{OPENID}"), format!("{OPENID}/other")]);
        if !tail.is_empty() {
            elsewhere.extend([WELL_KNOWN.to_owned(), OPENID.to_owned()]);
        }
        for path in elsewhere {
            assert_eq!(publicly(&server, get(&path)).await.status, 404, "{issuer} {path}");
            assert_eq!(server.send(&server.svid("/stranger"), get(&path)).await.status, 404, "{issuer} {path}");
        }
    }
}

// RFC 8414 section 3.3: an issuer is compared as a whole, so a slash at its end is the same everywhere.
#[tokio::test]
async fn an_issuer_with_a_slash_at_its_end_has_it_in_metadata_tokens_and_introspection() {
    for issuer in ["https://localhost:8444/", "https://localhost:8444"] {
        let server = TestServer::started(|setup| setup.issuer = issuer.to_owned()).await;
        let checkout = server.workload("/checkout").await;
        let token = server.token(&checkout).await;
        assert_eq!(document(&server).await["issuer"], issuer);
        assert_eq!(document(&server).await["jwks_uri"], "https://localhost:8444/oauth2/jwks");
        assert_eq!(opened(&token).1["iss"], issuer);
        let form = [("token", token.as_str()), ("client_id", "spiffe://prod.example/checkout")];
        assert_eq!(server.post(&checkout, "/oauth2/introspect", &form).await.ok()["iss"], issuer);
    }
}

// RFC 9701 section 7
#[tokio::test]
async fn the_algorithm_of_signed_introspection_is_that_of_the_signing_key() {
    for algorithm in ["ES256", "RS256", "EdDSA"] {
        let server = TestServer::started(|setup| {
            setup.keys = setup.keys.replace('{', &format!("{{algorithm: {algorithm}, "));
        })
        .await;
        let named = &document(&server).await["introspection_signing_alg_values_supported"];
        assert_eq!(named, &json!([algorithm]));
    }
}
