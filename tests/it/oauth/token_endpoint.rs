//! `POST /oauth2/token` over real TLS (RFC 6749, RFC 8705, RFC 8707).

use axum::body::Body;
use axum::http::Method;
use axum::http::Request;
use lanyard::proto::Client;
use lanyard::proto::Decision;
use lanyard::proto::DenyReason;
use serde_json::Value;
use serde_json::json;

use crate::support::calls::opened;
use crate::support::http::FORM;
use crate::support::http::Http;
use crate::support::http::Reply;
use crate::support::http::encoded;
use crate::support::http::post;
use crate::support::http::raw;
use crate::support::leaf::Leaf;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::connect;
use crate::support::server::spiffe_client;

const TOKEN: &str = "/oauth2/token";
const CHECKOUT: &str = "spiffe://prod.example/checkout";
const BILLING: &str = "https://billing.prod.example";
const GOOD: [(&str, &str); 2] = [("grant_type", "client_credentials"), ("client_id", CHECKOUT)];

fn refused(code: &str) -> (u16, String) {
    (if code == "invalid_client" { 401 } else { 400 }, code.to_owned())
}

/// What comes of the good request with other parameters behind it.
async fn with(server: &TestServer, leaf: &Leaf, more: &[(&str, &str)]) -> Reply {
    server.post(leaf, TOKEN, &[&GOOD, more].concat()).await
}

fn claims(answer: &Value) -> Value {
    opened(answer["access_token"].as_str().unwrap()).1
}

// RFC 6749 sections 4.4 and 5.1; RFC 8705 section 3.1
#[tokio::test]
async fn a_client_gets_a_bound_token_over_either_version_of_http_and_a_thief_gets_none() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let thief = server.workload("/thief").await;
    for (leaf, is_own) in [(&checkout, true), (&thief, false)] {
        let h1 = server.http(leaf).await;
        let h2 = Http::two(connect(server.addresses.mtls, server.tls(leaf)).await.unwrap()).await;
        for mut http in [h1, h2] {
            let reply = http.send(post(TOKEN, &GOOD)).await;
            if !is_own {
                assert_eq!(reply.error(), refused("invalid_client"));
                continue;
            }
            let answer = reply.ok();
            let members: Vec<&String> = answer.as_object().unwrap().keys().collect();
            assert_eq!(members, ["access_token", "expires_in", "scope", "token_type"], "no refresh token");
            assert_eq!(answer["token_type"], "Bearer");
            assert_eq!(answer["expires_in"], json!(300));
            assert_eq!(answer["scope"], "orders.read orders.write");
            assert_eq!(claims(&answer)["cnf"]["x5t#S256"], json!(checkout.thumbprint().to_string()));
            let token = answer["access_token"].as_str().unwrap();
            let own = server.validate(token, certificate_of(&checkout)).await.unwrap();
            assert_eq!(own.decision(), Decision::Allow);
            let stolen = server.validate(token, certificate_of(&thief)).await.unwrap();
            assert_eq!(stolen.reason(), DenyReason::CertificateMismatch);
        }
    }
}

// RFC 6749 section 3.2
#[tokio::test]
async fn the_endpoints_take_post_and_no_other_method() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    for path in [TOKEN, "/oauth2/introspect", "/oauth2/revoke"] {
        for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "post", "QUERY"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let reply = server.send(&checkout, raw(method.clone(), path, FORM, encoded(&GOOD))).await;
            assert_eq!((reply.status, reply.allowed()), (405, vec!["POST".to_owned()]), "{method} {path}");
            // RFC 9110 section 9.3.2: a response to HEAD has no body.
            if method == Method::HEAD {
                assert_eq!(reply.body, "");
            } else {
                assert_eq!(reply.error(), (405, "invalid_request".to_owned()), "{method} {path}");
            }
        }
    }
}

// RFC 6749 section 3.2
#[tokio::test]
async fn the_body_must_be_a_form_in_utf_8() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let post =
        async |kind: &str, body: &[u8]| server.send(&checkout, raw(Method::POST, TOKEN, kind, body.to_vec())).await;
    let good = encoded(&GOOD);
    for kind in [FORM, "Application/X-WWW-Form-Urlencoded", "application/x-www-form-urlencoded ; charset=UTF-8"] {
        post(kind, good.as_bytes()).await.ok();
    }
    for kind in ["application/json", "text/plain", "multipart/form-data", "application/x-www-form-urlencoded2", ""] {
        assert_eq!(post(kind, good.as_bytes()).await.error(), refused("invalid_request"), "{kind:?}");
    }
    let without = Request::post(TOKEN).body(Body::from(good.clone())).unwrap();
    assert_eq!(server.send(&checkout, without).await.error(), refused("invalid_request"));
    post(FORM, format!("{good}&x=%C3%A9").as_bytes()).await.ok();
    for bad in [&b"&x=%FF"[..], b"&x=\xff", b"&x=%C3", b"&%FF=x", b"&x=%ED%A0%80", b"&x=%C0%80"] {
        let refusal = post(FORM, &[good.as_bytes(), bad].concat()).await.error();
        assert_eq!(refusal, refused("invalid_request"), "{}", bad.escape_ascii());
    }
}

// RFC 6749 section 3.2: the limits on the way to the parameters.
#[tokio::test]
async fn a_body_may_have_64_kib_and_256_parameters_and_no_more() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let padded = |length: usize| {
        let start = format!("{}&x=", encoded(&GOOD));
        format!("{start}{}", "a".repeat(length - start.len()))
    };
    let sized = async |length| server.send(&checkout, raw(Method::POST, TOKEN, FORM, padded(length))).await;
    sized(64 * 1024).await.ok();
    assert_eq!(sized(64 * 1024 + 1).await.error(), (413, "invalid_request".to_owned()));
    let counted = async |count: usize| {
        let body = format!("{}{}", encoded(&GOOD), "&x=y".repeat(count - GOOD.len()));
        server.send(&checkout, raw(Method::POST, TOKEN, FORM, body)).await
    };
    counted(256).await.ok();
    assert_eq!(counted(257).await.error(), refused("invalid_request"));
}

// RFC 6749 sections 2.3.1 and 3.2
#[tokio::test]
async fn empty_parameters_count_as_omitted_and_unknown_or_url_ones_are_ignored() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let left_out = [("scope", ""), ("resource", ""), ("client_secret", ""), ("client_assertion", ""), ("unknown", "x")];
    assert_eq!(with(&server, &checkout, &left_out).await.ok()["scope"], "orders.read orders.write");
    for name in ["grant_type", "client_id"] {
        let form = GOOD.map(|(known, value)| (known, if known == name { "" } else { value }));
        assert_eq!(server.post(&checkout, TOKEN, &form).await.error(), refused("invalid_request"), "{name}");
    }
    let in_url = format!("{TOKEN}?{}&scope=orders.read", encoded(&GOOD));
    assert_eq!(server.post(&checkout, &in_url, &[]).await.error(), refused("invalid_request"));
    assert_eq!(server.post(&checkout, &in_url, &GOOD).await.ok()["scope"], "orders.read orders.write");
}

// RFC 6749 section 3.2
#[tokio::test]
async fn a_repeated_parameter_is_refused_even_if_one_is_empty_or_both_are_the_same() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    for (name, value) in [GOOD[0], GOOD[1], ("scope", "orders.read"), ("client_secret", "x"), ("client_assertion", "x")]
    {
        for again in [value, "", "other"] {
            let others = GOOD.into_iter().filter(|(known, _)| *known != name);
            let form: Vec<_> = others.chain([(name, value), (name, again)]).collect();
            let refusal = server.post(&checkout, TOKEN, &form).await.error();
            assert_eq!(refusal, refused("invalid_request"), "{name} {again:?}");
        }
    }
    with(&server, &checkout, &[("resource", ORDERS), ("resource", ORDERS)]).await.ok();
}

// RFC 6749 section 5.2
#[tokio::test]
async fn client_credentials_is_the_one_grant_type() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    assert_eq!(server.post(&checkout, TOKEN, &GOOD[1..]).await.error(), refused("invalid_request"));
    for other in [
        "authorization_code",
        "password",
        "refresh_token",
        "Client_Credentials",
        " client_credentials",
        "client_credentials ",
        "urn:ietf:params:oauth:grant-type:token-exchange",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "\"\\\r\n",
    ] {
        let refusal = server.post(&checkout, TOKEN, &[("grant_type", other), GOOD[1]]).await.error();
        assert_eq!(refusal, refused("unsupported_grant_type"), "{other:?}");
    }
}

// RFC 6749 section 3.3; RFC 8707 section 2.2
#[tokio::test]
async fn a_scope_is_granted_as_far_as_it_is_registered_and_else_refused() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    for scope in ["orders.read", "orders.write orders.read"] {
        let answer = with(&server, &checkout, &[("scope", scope)]).await.ok();
        assert_eq!((&answer["scope"], &claims(&answer)["scope"]), (&json!(scope), &json!(scope)));
    }
    for scope in
        ["orders.admin", "orders.read orders.admin", "Orders.read", "orders.read  orders.write", " ", "a\"b", "é"]
    {
        assert_eq!(with(&server, &checkout, &[("scope", scope)]).await.error(), refused("invalid_scope"), "{scope:?}");
    }
}

// RFC 8707 section 2
#[tokio::test]
async fn a_resource_is_one_that_is_registered_or_several_and_else_an_invalid_target() {
    let server = TestServer::start().await;
    let both = vec![ORDERS.to_owned(), BILLING.to_owned()];
    server.register(Client { audience: both, ..spiffe_client(CHECKOUT) }).await.unwrap();
    let checkout = server.svid("/checkout");
    for (resources, audience) in [
        (vec![], json!([ORDERS, BILLING])),
        (vec![BILLING], json!(BILLING)),
        (vec![BILLING, ORDERS], json!([BILLING, ORDERS])),
        (vec![ORDERS, ORDERS], json!(ORDERS)),
    ] {
        let more: Vec<_> = resources.iter().map(|one| ("resource", *one)).collect();
        assert_eq!(claims(&with(&server, &checkout, &more).await.ok())["aud"], audience);
    }
    for beyond in [
        "https://other.prod.example",
        "https://orders.prod.example/",
        "https://ORDERS.prod.example",
        "orders",
        "*",
        "https://orders.prod.example#x",
    ] {
        let more = [("resource", ORDERS), ("resource", beyond)];
        assert_eq!(with(&server, &checkout, &more).await.error(), refused("invalid_target"), "{beyond}");
    }
}
