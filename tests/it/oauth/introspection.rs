//! Introspection over HTTP (RFC 7662, RFC 9701) and gRPC: who may ask, and what the response contains.

use axum::http::HeaderValue;
use axum::http::header::ACCEPT;
use axum::http::header::AUTHORIZATION;
use axum::http::header::CONTENT_TYPE;
use axum::http::header::WWW_AUTHENTICATE;
use jsonwebtoken::Algorithm;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::Validation;
use jsonwebtoken::jwk::JwkSet;
use lanyard::proto::Client;
use lanyard::proto::IntrospectTokenRequest;
use lanyard::proto::IntrospectTokenResponse;
use lanyard::proto::IssueTokenRequest;
use serde_json::Value;
use serde_json::json;
use tonic::Code;
use tonic::Status;

use crate::support::NOW;
use crate::support::ca::self_signed;
use crate::support::calls::opened;
use crate::support::calls::pki_client;
use crate::support::calls::refusal;
use crate::support::http::Reply;
use crate::support::http::get;
use crate::support::http::post;
use crate::support::leaf::Leaf;
use crate::support::server::ISSUER;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;
use crate::support::server::spiffe_client;

const INTROSPECT: &str = "/oauth2/introspect";
const CHECKOUT: &str = "spiffe://prod.example/checkout";
const BILLING: &str = "https://billing.prod.example";
const SIGNED: &str = "application/token-introspection+jwt";
const INACTIVE: &str = "{\"active\":false}";

/// A server, and a client that has a token for the orders resource.
async fn with_token() -> (TestServer, Leaf, String) {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    (server, checkout, token)
}

/// The orders resource itself, registered under its own name.
async fn orders_itself(server: &TestServer) -> Leaf {
    let client = Client { tls_client_auth_san_dns: "orders.corp.example".to_owned(), ..pki_client(ORDERS) };
    server.register(client).await.unwrap();
    server.setup.corp.client_certificate().dns("orders.corp.example").issue()
}

async fn introspect(server: &TestServer, leaf: &Leaf, form: &[(&str, &str)]) -> Reply {
    server.post(leaf, INTROSPECT, form).await
}

async fn signed(server: &TestServer, leaf: &Leaf, form: &[(&str, &str)], accept: &str) -> Reply {
    let mut request = post(INTROSPECT, form);
    request.headers_mut().insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
    server.send(leaf, request).await
}

async fn over_grpc(
    server: &TestServer,
    leaf: &Leaf,
    token: &str,
    client_id: &str,
) -> Result<IntrospectTokenResponse, Status> {
    let request =
        IntrospectTokenRequest { token: token.to_owned(), client_id: client_id.to_owned(), ..Default::default() };
    server.tokens(leaf).introspect_token(request).await.map(tonic::Response::into_inner)
}

// RFC 7662 sections 2.1, 2.2 and 4; RFC 9701 section 3
#[tokio::test]
async fn only_those_of_the_audience_and_the_client_itself_learn_more_than_for_a_malformed_token() {
    let (server, checkout, token) = with_token().await;
    let orders = orders_itself(&server).await;
    let foreign_proxy = server.setup.other_ca.svid("spiffe://other.example/proxy").issue();
    let other = Client { audience: vec![BILLING.to_owned()], ..spiffe_client("spiffe://prod.example/billed") };
    server.register(other).await.unwrap();
    let elsewhere = server.token(&server.svid("/billed")).await;
    let registered = server.workload("/bystander").await;
    for (leaf, client_id, for_orders, for_billing) in [
        (&server.svid("/admin"), "", true, true),
        (&server.svid("/proxy"), "", true, true),
        (&server.svid("/proxy"), "spiffe://prod.example/proxy", true, true),
        (&server.svid("/orders-proxy"), "", true, false),
        (&foreign_proxy, "", true, false),
        (&orders, ORDERS, true, false),
        (&registered, "spiffe://prod.example/bystander", false, false),
        // The client that the token was issued to.
        (&checkout, CHECKOUT, true, false),
    ] {
        for (token, reported) in [(&token, for_orders), (&elsewhere, for_billing), (&"garbage".to_owned(), false)] {
            let reply = introspect(&server, leaf, &[("token", token), ("client_id", client_id)]).await;
            assert_eq!(reply.ok()["active"], json!(reported), "{client_id}");
            assert!(reported || reply.body == INACTIVE, "{reply:?}");
            let grpc = over_grpc(&server, leaf, token, client_id).await.unwrap();
            assert_eq!((grpc.active, grpc.claims.is_some()), (reported, reported), "{client_id}");
        }
    }
}

// RFC 7662 sections 2.1, 2.3 and 4; RFC 8705 section 2
#[tokio::test]
async fn a_caller_must_be_a_client_by_its_own_name_or_hold_a_role() {
    let (server, checkout, token) = with_token().await;
    server.workload("/other").await;
    let orders = orders_itself(&server).await;
    let disabled = Client { disabled: true, ..spiffe_client("spiffe://prod.example/disabled") };
    server.register(disabled).await.unwrap();
    let unregistered = server.setup.corp.client_certificate().dns("nobody.corp.example").issue();
    for (leaf, client_id) in [
        (&server.svid("/unregistered"), ""),
        (&server.svid("/unregistered"), "spiffe://prod.example/unregistered"),
        (&server.svid("/disabled"), "spiffe://prod.example/disabled"),
        (&checkout, "spiffe://prod.example/other"),
        (&checkout, ORDERS),
        (&checkout, "spiffe://prod.example/proxy"),
        (&server.svid("/proxy"), CHECKOUT),
        (&server.svid("/proxy"), "spiffe://prod.example/orders-proxy"),
        (&server.svid("/admin"), "spiffe://prod.example/unknown"),
        (&unregistered, ORDERS),
        (&orders, CHECKOUT),
    ] {
        let form = [("token", token.as_str()), ("client_id", client_id)];
        assert_eq!(introspect(&server, leaf, &form).await.error(), (401, "invalid_client".to_owned()), "{client_id}");
        // RFC 9701 section 5
        let refused = signed(&server, leaf, &form, SIGNED).await;
        assert_eq!(refused.error(), (400, "invalid_client".to_owned()), "{client_id}");
        let code = refusal(over_grpc(&server, leaf, &token, client_id).await).0;
        assert!(matches!(code, Code::Unauthenticated | Code::PermissionDenied), "{client_id} {code}");
    }
    // A certificate without a SPIFFE ID tells no name.
    assert_eq!(introspect(&server, &orders, &[("token", &token)]).await.error(), (400, "invalid_request".to_owned()));
    assert_eq!(refusal(over_grpc(&server, &orders, &token, "").await).0, Code::InvalidArgument);
}

// RFC 9701 section 5; RFC 7521 section 4.2.1
#[tokio::test]
async fn other_authentication_is_refused_with_401_and_for_a_signed_answer_with_400() {
    let (server, _, token) = with_token().await;
    let proxy = server.svid("/proxy");
    for (accept, status) in [("application/json", 401), (SIGNED, 400)] {
        let mut request = post(INTROSPECT, &[("token", &token)]);
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
        request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Bearer x"));
        let reply = server.send(&proxy, request).await;
        assert_eq!(reply.error(), (status, "invalid_client".to_owned()));
        assert_eq!(reply.header(WWW_AUTHENTICATE).is_empty(), status == 400);
    }
}

// RFC 7662 sections 2.1 and 4: a proxy that is known by its certificate alone has no client_id to send.
#[tokio::test]
async fn a_proxy_that_is_known_by_its_thumbprint_needs_no_name() {
    let proxy = self_signed("proxy").issue();
    let thumbprint = proxy.thumbprint();
    let server = TestServer::started(|setup| {
        setup.roles = format!(
            "{{admins: [{{spiffe_id: spiffe://prod.example/admin}}], \
             proxies: [{{certificate_thumbprint: '{thumbprint}', resources: ['{ORDERS}']}}]}}"
        );
    })
    .await;
    let token = server.token(&server.workload("/checkout").await).await;
    assert_eq!(introspect(&server, &proxy, &[("token", &token)]).await.ok()["active"], json!(true));
    assert!(over_grpc(&server, &proxy, &token, "").await.unwrap().active);
    let named = introspect(&server, &proxy, &[("token", &token), ("client_id", CHECKOUT)]).await;
    assert_eq!(named.error(), (401, "invalid_client".to_owned()));
    let answer = opened(&signed(&server, &proxy, &[("token", &token)], SIGNED).await.body).1;
    assert!(answer["aud"].as_str().unwrap().contains(&thumbprint.to_string()), "{answer}");
}

// RFC 7662 sections 2.1 and 2.2; RFC 8705 sections 3.2 and 9.4
#[tokio::test]
async fn an_active_token_is_told_with_its_claims_and_its_confirmation() {
    let (server, checkout, token) = with_token().await;
    let proxy = server.svid("/proxy");
    let answer = introspect(&server, &proxy, &[("token", &token)]).await.ok();
    let mut expected = opened(&token).1;
    expected["active"] = json!(true);
    expected["token_type"] = json!("Bearer");
    assert_eq!(answer, expected);
    assert_eq!(answer["cnf"], json!({ "x5t#S256": checkout.thumbprint().to_string() }));
    assert_eq!(
        (&answer["iat"], &answer["nbf"], &answer["exp"]),
        (&json!(NOW.0), &json!(NOW.0 - 5), &json!(NOW.0 + 300))
    );
    assert_eq!(
        (&answer["iss"], &answer["aud"], &answer["scope"]),
        (&json!(ISSUER), &json!(ORDERS), &json!("orders.read orders.write"))
    );
    let grpc = over_grpc(&server, &proxy, &token, "").await.unwrap().claims.unwrap();
    let names: Vec<&String> = grpc.fields.keys().collect();
    let claims = opened(&token).1;
    assert_eq!(names, claims.as_object().unwrap().keys().collect::<Vec<_>>());
    for form in [&[][..], &[("token", "")]] {
        assert_eq!(introspect(&server, &proxy, form).await.error(), (400, "invalid_request".to_owned()));
    }
    let twice = introspect(&server, &proxy, &[("token", &token), ("token", &token)]).await;
    assert_eq!(twice.error(), (400, "invalid_request".to_owned()));
    let in_url = server.post(&proxy, &format!("{INTROSPECT}?token={token}"), &[]).await;
    assert_eq!(in_url.error(), (400, "invalid_request".to_owned()));
}

// RFC 7662 section 2.1
#[tokio::test]
async fn a_token_type_hint_changes_nothing_whatever_it_is() {
    let (server, _, token) = with_token().await;
    let proxy = server.svid("/proxy");
    for hint in ["access_token", "refresh_token", "", "pct", "\"\\"] {
        let hinted = introspect(&server, &proxy, &[("token", &token), ("token_type_hint", hint)]).await;
        assert_eq!(hinted.ok()["active"], json!(true), "{hint:?}");
        let garbage = introspect(&server, &proxy, &[("token", "garbage"), ("token_type_hint", hint)]).await;
        assert_eq!(garbage.body, INACTIVE, "{hint:?}");
    }
}

// RFC 9701 sections 4, 5 and 7; RFC 8725 section 3.12
#[tokio::test]
async fn a_signed_answer_verifies_with_the_published_keys_and_is_no_access_token() {
    for (name, algorithm) in [("ES256", Algorithm::ES256), ("RS256", Algorithm::RS256), ("EdDSA", Algorithm::EdDSA)] {
        let server =
            TestServer::started(|setup| setup.keys = setup.keys.replace('{', &format!("{{algorithm: {name}, "))).await;
        let checkout = server.workload("/checkout").await;
        let token = server.token(&checkout).await;
        let orders = orders_itself(&server).await;
        let keys: JwkSet = serde_json::from_str(&server.send(&orders, get("/oauth2/jwks")).await.body).unwrap();
        for (leaf, client_id, aud) in
            [(&orders, ORDERS, ORDERS), (&server.svid("/orders-proxy"), "", "spiffe://prod.example/orders-proxy")]
        {
            for (asked, active) in [(token.as_str(), true), ("garbage", false)] {
                let form = [("token", asked), ("client_id", client_id)];
                let reply = signed(&server, leaf, &form, SIGNED).await;
                reply.assert_no_store();
                assert_eq!((reply.status, reply.header(CONTENT_TYPE)), (200, SIGNED));
                let header = jsonwebtoken::decode_header(&reply.body).unwrap();
                assert_eq!((header.alg, header.typ.as_deref()), (algorithm, Some("token-introspection+jwt")));
                let key = DecodingKey::from_jwk(keys.find(header.kid.as_deref().unwrap()).unwrap()).unwrap();
                let mut validation = Validation::new(algorithm);
                validation.set_issuer(&[ISSUER]);
                validation.set_audience(&[aud]);
                validation.set_required_spec_claims(&["iss", "aud"]);
                let claims = jsonwebtoken::decode::<Value>(&reply.body, &key, &validation).unwrap().claims;
                let plain = introspect(&server, leaf, &form).await.ok();
                assert_eq!(claims, json!({ "iss": ISSUER, "aud": aud, "iat": NOW.0, "token_introspection": plain }));
                assert_eq!(plain["active"], json!(active));
                assert!(active || plain == json!({ "active": false }));
                // Not mistaken for what it tells of.
                let again = introspect(&server, leaf, &[("token", &reply.body), ("client_id", client_id)]).await;
                assert_eq!(again.body, INACTIVE);
            }
        }
    }
}

// RFC 9701 sections 4 and 5
#[tokio::test]
async fn the_answer_is_signed_where_the_caller_accepts_that_type_and_else_plain_json() {
    let (server, _, token) = with_token().await;
    let proxy = server.svid("/proxy");
    for (accept, is_signed) in [
        (SIGNED, true),
        ("application/json;q=0.5, Application/Token-Introspection+JWT;q=0.5", true),
        // RFC 9110 section 12.5.1: the weights decide.
        ("application/token-introspection+jwt;q=0.1, application/json;q=1", false),
        ("application/json, Application/Token-Introspection+JWT;q=0.5", false),
        ("application/token-introspection+jwt;q=0.5, */*;q=0.9", false),
        ("application/token-introspection+jwt;q=0.9, */*;q=0.5", true),
        ("application/json", false),
        ("*/*", false),
        ("application/jwt", false),
        ("application/token-introspection+jwt2", false),
        ("application/token-introspection+jwt;q=0, application/json", false),
    ] {
        let reply = signed(&server, &proxy, &[("token", &token)], accept).await;
        assert_eq!(reply.header(CONTENT_TYPE), if is_signed { SIGNED } else { "application/json" }, "{accept}");
    }
}

// RFC 7662 section 4
#[tokio::test]
async fn a_token_is_inactive_once_it_has_expired_or_its_client_is_gone() {
    let (server, checkout, token) = with_token().await;
    let proxy = server.svid("/proxy");
    let short = IssueTokenRequest { scope: "orders.read".to_owned(), ..IssueTokenRequest::default() };
    let other = server.issue(&checkout, short).await.unwrap().access_token;
    server.advance(std::time::Duration::from_secs(299));
    assert_eq!(introspect(&server, &proxy, &[("token", &token)]).await.ok()["active"], json!(true));
    server.advance(std::time::Duration::from_secs(1));
    assert_eq!(introspect(&server, &proxy, &[("token", &token)]).await.body, INACTIVE);
    let fresh = server.token(&checkout).await;
    assert_eq!(introspect(&server, &proxy, &[("token", &fresh)]).await.ok()["active"], json!(true));
    server.delete(CHECKOUT).await;
    for token in [&fresh, &other] {
        assert_eq!(introspect(&server, &proxy, &[("token", token)]).await.body, INACTIVE);
    }
}
