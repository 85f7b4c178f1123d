//! The public documents: who may read them, from where, and what caches and browsers are told.

use axum::body::Body;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::Method;
use axum::http::Request;
use axum::http::header::ACCESS_CONTROL_ALLOW_HEADERS;
use axum::http::header::ACCESS_CONTROL_ALLOW_METHODS;
use axum::http::header::ACCESS_CONTROL_ALLOW_ORIGIN;
use axum::http::header::ETAG;
use axum::http::header::IF_NONE_MATCH;
use lanyard::proto::CreateProtectedResourceRequest;
use lanyard::proto::DeleteProtectedResourceRequest;
use lanyard::proto::ProtectedResource;
use serde_json::json;

use crate::support::ca::self_signed;
use crate::support::http::Http;
use crate::support::http::Reply;
use crate::support::http::get;
use crate::support::http::http1_only;
use crate::support::http::post;
use crate::support::server::TestServer;
use crate::support::server::connect;

const DOCUMENTS: [&str; 5] = [
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
    "/audit/jwks",
    "/oauth2/jwks",
    "/spiffe/bundle",
];

async fn public(server: &TestServer) -> Http {
    let config = http1_only(server.tls_builder().with_no_client_auth());
    Http::one(connect(server.addresses.public, config).await.unwrap()).await
}

fn with(path: &str, name: HeaderName, value: &str) -> Request<Body> {
    let mut request = get(path);
    request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
    request
}

// RFC 9110 sections 8.8.3, 13.1.2 and 15.4.5
#[tokio::test]
async fn a_document_has_an_entity_tag_and_is_not_sent_again_to_one_who_has_it() {
    let server = TestServer::start().await;
    let mut http = public(&server).await;
    for path in DOCUMENTS {
        let first = http.send(get(path)).await;
        let etag = first.header(ETAG).to_owned();
        assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() > 20, "{path}: {etag}");
        for known in [etag.clone(), format!("W/{etag}"), format!("\"other\", {etag}"), "*".to_owned()] {
            let reply = http.send(with(path, IF_NONE_MATCH, &known)).await;
            assert_eq!((reply.status, reply.body.as_str()), (304, ""), "{path} {known}");
            assert_eq!(reply.header(ETAG), etag);
            assert_eq!(reply.header("cache-control"), first.header("cache-control"));
            assert_eq!(reply.header(ACCESS_CONTROL_ALLOW_ORIGIN), "*");
        }
        for other in ["\"other\"", etag.trim_matches('"'), ""] {
            let reply = http.send(with(path, IF_NONE_MATCH, other)).await;
            assert_eq!((reply.status, &reply.body), (200, &first.body), "{path} {other}");
        }
    }
}

#[tokio::test]
async fn the_entity_tag_changes_with_the_document() {
    let server = TestServer::start().await;
    let mut http = public(&server).await;
    let before = http.send(get(DOCUMENTS[0])).await.header(ETAG).to_owned();
    assert_eq!(http.send(get(DOCUMENTS[0])).await.header(ETAG), before);
    define(&server, "https://a.example", "a.read").await;
    let after = http.send(with(DOCUMENTS[0], IF_NONE_MATCH, &before)).await;
    assert_eq!(after.status, 200);
    assert_ne!(after.header(ETAG), before);
}

// Fetch standard, section 3.2
#[tokio::test]
async fn a_script_of_any_origin_may_read_the_documents_and_use_nothing_else() {
    let server = TestServer::started(|setup| setup.registration = "own-identity".to_owned()).await;
    let leaf = server.svid("/checkout");
    for mut http in [public(&server).await, server.http(&leaf).await] {
        for path in DOCUMENTS {
            let reply = http.send(with(path, HeaderName::from_static("origin"), "https://app.example")).await;
            assert_eq!((reply.status, reply.header(ACCESS_CONTROL_ALLOW_ORIGIN)), (200, "*"), "{path}");
            assert!(!reply.headers.contains_key("access-control-allow-credentials"), "{path}");
            let preflight = http.send(options(path)).await;
            assert_eq!((preflight.status, preflight.header(ACCESS_CONTROL_ALLOW_ORIGIN)), (204, "*"), "{path}");
            assert_eq!(preflight.header(ACCESS_CONTROL_ALLOW_METHODS), "GET", "{path}");
            assert_eq!(preflight.header(ACCESS_CONTROL_ALLOW_HEADERS), "*", "{path}");
        }
    }
    let mut http = server.http(&leaf).await;
    for path in ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke", "/oauth2/register"] {
        for request in [options(path), post(path, &[])] {
            let reply: Reply = http.send(request).await;
            assert!(!reply.headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), "{path}: {reply:?}");
        }
    }
}

fn options(path: &str) -> Request<Body> {
    let request = Request::builder().method(Method::OPTIONS).uri(path).header("origin", "https://app.example");
    request.header("access-control-request-method", "GET").body(Body::empty()).unwrap()
}

#[tokio::test]
async fn every_peer_that_the_handshake_admits_reads_the_documents_whatever_its_roles() {
    let server = TestServer::started(|setup| {
        setup.jwks_uri = "{allowed_hosts: [keys.example], discovery: on_demand, ca: ca.pem}".to_owned();
    })
    .await;
    for leaf in [
        server.svid("/admin"),
        server.svid("/proxy"),
        server.svid("/unregistered"),
        server.setup.corp.client_certificate().dns("guest.corp.example").issue(),
        // Admitted by `discovery: on_demand` alone.
        self_signed("stranger").issue(),
    ] {
        let mut http = server.http(&leaf).await;
        for path in DOCUMENTS {
            assert_eq!(http.send(get(path)).await.status, 200, "{path}");
        }
    }
    // For the rest it must be known.
    let mut stranger = server.http(&self_signed("stranger").issue()).await;
    let refused = stranger.send(post("/oauth2/introspect", &[("token", "x")])).await;
    assert_eq!(refused.error(), (401, "invalid_client".to_owned()));
}

async fn define(server: &TestServer, audience: &str, scope: &str) {
    let resource =
        ProtectedResource { audience: audience.to_owned(), scope: scope.to_owned(), ..ProtectedResource::default() };
    let request = CreateProtectedResourceRequest { resource: Some(resource), ..Default::default() };
    server.registry(&server.svid("/admin")).create_protected_resource(request).await.unwrap();
}

// RFC 8414 section 2
#[tokio::test]
async fn the_scopes_of_the_metadata_are_those_that_resources_define() {
    let server = TestServer::start().await;
    let mut http = public(&server).await;
    let mut scopes = async || http.send(get(DOCUMENTS[0])).await.json().get("scopes_supported").cloned();
    assert_eq!(scopes().await, None);
    define(&server, "https://b.example", "b.write b.read").await;
    define(&server, "https://a.example", "a.read b.read").await;
    assert_eq!(scopes().await, Some(json!(["a.read", "b.read", "b.write"])));
    let delete = DeleteProtectedResourceRequest { audience: "https://b.example".to_owned(), ..Default::default() };
    server.registry(&server.svid("/admin")).delete_protected_resource(delete).await.unwrap();
    assert_eq!(scopes().await, Some(json!(["a.read", "b.read"])));
}
