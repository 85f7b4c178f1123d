//! What HTTP itself asks of the endpoints (RFC 9110, RFC 9112), and small members of the OAuth responses.

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::Method;
use axum::http::Request;
use axum::http::header::AUTHORIZATION;
use axum::http::header::CONTENT_TYPE;
use axum::http::header::WWW_AUTHENTICATE;
use lanyard::proto::Client;
use lanyard::proto::IssueTokenRequest;
use serde_json::json;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tonic::Code;

use crate::support::calls::opened;
use crate::support::calls::refusal;
use crate::support::door::read_to_end;
use crate::support::http::Http;
use crate::support::http::get;
use crate::support::http::http1_only;
use crate::support::http::post;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;
use crate::support::server::connect;
use crate::support::server::spiffe_client;

const TOKEN: &str = "/oauth2/token";
const CHECKOUT: &str = "spiffe://prod.example/checkout";
const GOOD: [(&str, &str); 2] = [("grant_type", "client_credentials"), ("client_id", CHECKOUT)];

/// The response to this head, read until the server closes the connection.
async fn raw(mut stream: impl AsyncRead + AsyncWrite + Unpin, head: &str) -> String {
    stream.write_all(head.as_bytes()).await.unwrap();
    String::from_utf8(read_to_end(&mut stream).await).unwrap()
}

// RFC 9112 section 3.2
#[tokio::test]
async fn http_1_1_needs_exactly_one_valid_host_on_each_listener_and_http_1_0_none() {
    let server = TestServer::start().await;
    let leaf = server.svid("/checkout");
    for (hosts, version, status) in [
        ("Host: localhost\r\n", "1.1", 200),
        ("host: [::1]:8443\r\n", "1.1", 200),
        ("Host: another.example\r\n", "1.1", 200),
        ("", "1.0", 200),
        ("", "1.1", 400),
        ("Host:\r\n", "1.1", 400),
        ("Host: localhost\r\nHost: localhost\r\n", "1.1", 400),
        ("Host: localhost, other\r\n", "1.1", 400),
        ("Host: user@localhost\r\n", "1.1", 400),
        ("Host: localhost/path\r\n", "1.1", 400),
        ("Host: localhost:port\r\n", "1.1", 400),
        ("Host: ::1\r\n", "1.1", 400),
    ] {
        let head = |path: &str| format!("GET {path} HTTP/{version}\r\n{hosts}Connection: close\r\n\r\n");
        let public = http1_only(server.tls_builder().with_no_client_auth());
        for (listener, answer) in [
            ("mtls", {
                let stream = connect(server.addresses.mtls, http1_only(server.tls(&leaf))).await.unwrap();
                raw(stream, &head("/oauth2/jwks")).await
            }),
            ("public", {
                let stream = connect(server.addresses.public, public).await.unwrap();
                raw(stream, &head("/oauth2/jwks")).await
            }),
            ("ops", raw(TcpStream::connect(server.addresses.ops).await.unwrap(), &head("/livez")).await),
        ] {
            assert!(answer.starts_with(&format!("HTTP/{version} {status} ")), "{listener} {hosts:?}: {answer}");
            assert!(status == 200 || answer.ends_with("one valid Host header"), "{answer}");
        }
    }
}

// RFC 9112 section 3.2: what follows on the connection is not read as another request.
#[tokio::test]
async fn a_connection_ends_with_a_request_whose_host_is_invalid() {
    let server = TestServer::start().await;
    let stream = connect(server.addresses.mtls, http1_only(server.tls(&server.svid("/checkout")))).await.unwrap();
    let two = "GET /oauth2/jwks HTTP/1.1\r\n\r\nGET /oauth2/jwks HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answer = raw(stream, two).await;
    assert_eq!(answer.matches("date: ").count(), 1, "{answer}");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("connection: close\r\n"), "{answer}");
}

// RFC 9110 sections 9.3.2, 15.5.5 and 15.5.6
#[tokio::test]
async fn a_path_that_is_not_there_and_a_wrong_method_are_refused_with_a_body_but_for_head() {
    let server = TestServer::started(|setup| setup.registration = "own-identity".to_owned()).await;
    let workload = server.svid("/checkout");
    let config = || server.tls_builder().with_no_client_auth();
    let mut h2 = config();
    h2.alpn_protocols = vec![b"h2".to_vec()];
    let public = server.addresses.public;
    for mut http in [
        server.http(&workload).await,
        Http::two(connect(server.addresses.mtls, server.tls(&workload)).await.unwrap()).await,
        Http::one(connect(public, http1_only(config())).await.unwrap()).await,
        Http::two(connect(public, h2).await.unwrap()).await,
    ] {
        for (method, path, status) in [
            ("GET", "/oauth2/authorize", 404),
            ("POST", "/oauth2/", 404),
            ("POST", "/oauth2/jwks", 405),
            ("DELETE", "/oauth2/jwks", 405),
        ] {
            let request = || Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            let reply = http.send(request()).await;
            assert_eq!(reply.error(), (status, "invalid_request".to_owned()), "{method} {path}");
            assert_eq!(reply.headers.contains_key("allow"), status == 405);
        }
        for (method, path, status) in [
            ("GET", "/", 404),
            ("GET", "/.well-known/nothing", 404),
            ("GET", "/.well-known/oauth-authorization-server/other", 404),
            ("POST", "/.well-known/oauth-authorization-server", 405),
            ("PUT", "/spiffe/bundle", 405),
        ] {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            let reply = http.send(request).await;
            assert_eq!((reply.status, reply.body.is_empty()), (status, false), "{method} {path}");
            assert_eq!(reply.header(CONTENT_TYPE), "text/plain; charset=utf-8", "{method} {path}");
        }
        for path in ["/", "/oauth2/authorize", "/oauth2/jwks"] {
            let request = Request::builder().method(Method::HEAD).uri(path).body(Body::empty()).unwrap();
            let reply = http.send(request).await;
            assert_eq!((reply.status == 200, reply.body.as_str()), (path == "/oauth2/jwks", ""), "{path}");
        }
    }
}

// RFC 9110 section 15.5.2; RFC 6749 section 5.2
#[tokio::test]
async fn each_401_has_a_challenge_in_the_scheme_that_was_tried() {
    let server = TestServer::started(|setup| setup.tls = "  client_auth: request\n".to_owned()).await;
    let mut config = http1_only(server.tls_builder().with_no_client_auth());
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut nobody = Http::two(connect(server.addresses.mtls, config).await.unwrap()).await;
    let thief = server.workload("/thief").await;
    let mut thief = server.http(&thief).await;
    for (tried, challenge) in [
        (None, "Basic realm=\"lanyard\""),
        (Some("Basic eDp5"), "Basic realm=\"lanyard\""),
        (Some("Bearer x"), "Bearer realm=\"lanyard\""),
        (Some("DPoP x"), "DPoP realm=\"lanyard\""),
        (Some("Negotiate x"), "Basic realm=\"lanyard\""),
    ] {
        // The last is no OAuth endpoint.
        for path in [TOKEN, "/oauth2/introspect", "/oauth2/revoke", "/lanyard.v1.RegistryService/ListClients"] {
            let mut request = post(path, &GOOD);
            if let Some(tried) = tried {
                request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static(tried));
            }
            let reply = nobody.send(request).await;
            assert_eq!((reply.status, reply.header(WWW_AUTHENTICATE)), (401, challenge), "{tried:?} {path}");
        }
    }
    // One that the core refuses, not the guard.
    let reply = thief.send(post(TOKEN, &GOOD)).await;
    assert_eq!(reply.error(), (401, "invalid_client".to_owned()));
    assert_eq!(reply.header(WWW_AUTHENTICATE), "Basic realm=\"lanyard\"");
}

// RFC 6749 sections 3.3 and 5.1: a scope has at least one token.
#[tokio::test]
async fn a_client_without_scopes_gets_no_scope_and_one_with_scopes_gets_it() {
    let server = TestServer::start().await;
    server.register(Client { scope: String::new(), ..spiffe_client(CHECKOUT) }).await.unwrap();
    let other = server.workload("/other").await;
    let answer = server.post(&server.svid("/checkout"), TOKEN, &GOOD).await.ok();
    assert_eq!(answer.get("scope"), None, "{answer}");
    assert_eq!(opened(answer["access_token"].as_str().unwrap()).1.get("scope"), None);
    let form = [GOOD[0], ("client_id", "spiffe://prod.example/other")];
    assert_eq!(server.post(&other, TOKEN, &form).await.ok()["scope"], "orders.read orders.write");
}

// RFC 8707 section 2: `audience` is the parameter of other servers. Ignoring it would issue a token for all that is
// registered.
#[tokio::test]
async fn audience_in_place_of_resource_is_refused_with_the_right_name() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    for audience in [ORDERS, "anything"] {
        let reply = server.post(&checkout, TOKEN, &[GOOD[0], GOOD[1], ("audience", audience)]).await;
        assert_eq!(reply.error(), (400, "invalid_target".to_owned()));
        assert!(reply.body.contains("in resource (RFC 8707)"), "{reply:?}");
    }
    for more in [("audience", ""), ("resource", ORDERS)] {
        server.post(&checkout, TOKEN, &[GOOD[0], GOOD[1], more]).await.ok();
    }
    server.post(&checkout, TOKEN, &[GOOD[0], GOOD[1], ("audience", "x"), ("resource", ORDERS)]).await.ok();
}

/// Audiences of 2,000 bytes each.
fn audiences(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("https://{number}.example/{}", "a".repeat(1980))).collect()
}

#[tokio::test]
async fn a_registration_whose_tokens_would_be_too_large_is_refused_by_its_field() {
    let server = TestServer::start().await;
    let client = |count| Client { audience: audiences(count), ..spiffe_client(CHECKOUT) };
    let refused = server.register(client(6)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("audience: a token for all of them"), "{refused:?}");
    let registered = server.register(client(5)).await.unwrap();
    let checkout = server.svid("/checkout");
    assert!(server.token(&checkout).await.len() <= 16 * 1024);
    // Nor by a change, nor through its scopes.
    assert_eq!(
        server.update(Client { audience: audiences(6), ..registered.clone() }).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let scope: Vec<String> = (0..100).map(|number| format!("{number}-{}", "s".repeat(60))).collect();
    let long = Client { scope: scope.join(" "), ..registered };
    assert_eq!(server.update(long).await.unwrap_err().code(), Code::InvalidArgument);
}

/// A workload below a pattern may have a name that is longer than what was reckoned with.
#[tokio::test]
async fn a_token_that_would_be_too_large_is_an_error_of_the_request_and_not_of_the_server() {
    let server = TestServer::start().await;
    let pattern = Client {
        client_id: "shop".to_owned(),
        spiffe_id: "spiffe://prod.example/*".to_owned(),
        audience: audiences(5),
        ..spiffe_client("")
    };
    server.register(pattern).await.unwrap();
    let path =
        format!("/{}", ["b".repeat(200), "c".repeat(200), "d".repeat(200), "e".repeat(200), "f".repeat(200)].join("/"));
    let leaf = server.svid(&path);
    let client_id = format!("spiffe://prod.example{path}");
    let form = [GOOD[0], ("client_id", client_id.as_str())];
    let reply = server.post(&leaf, TOKEN, &form).await;
    assert_eq!(reply.error(), (400, "invalid_request".to_owned()));
    assert!(reply.body.contains("too large") && !reply.headers.contains_key("retry-after"), "{reply:?}");
    let refused = refusal(server.issue(&leaf, IssueTokenRequest::default()).await);
    assert_eq!(refused, (Code::InvalidArgument, "INVALID_REQUEST".to_owned()));
    let one = audiences(1);
    server.post(&leaf, TOKEN, &[form[0], form[1], ("resource", &one[0])]).await.ok();
}

// A signed response about a token near the limit is not an access token, and has no limit of its own.
#[tokio::test]
async fn a_large_token_can_be_introspected_with_a_signed_response() {
    let server = TestServer::start().await;
    server.register(Client { audience: audiences(5), ..spiffe_client(CHECKOUT) }).await.unwrap();
    let token = server.token(&server.svid("/checkout")).await;
    let mut request = post("/oauth2/introspect", &[("token", &token)]);
    request.headers_mut().insert("accept", HeaderValue::from_static("application/token-introspection+jwt"));
    let reply = server.send(&server.svid("/proxy"), request).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(opened(&reply.body).1["token_introspection"]["active"], json!(true));
    assert_eq!(server.send(&server.svid("/proxy"), get("/oauth2/jwks")).await.status, 200);
}
