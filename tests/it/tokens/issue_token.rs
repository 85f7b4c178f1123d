//! `TokenService.IssueToken` over real TLS: what is in a token.

use std::time::Duration;

use jsonwebtoken::Algorithm;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::Validation;
use jsonwebtoken::jwk::JwkSet;
use lanyard::authority::clock::Timestamp;
use lanyard::proto::Client;
use lanyard::proto::Decision;
use lanyard::proto::DenyReason;
use lanyard::proto::GetJwksRequest;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::key_service_client::KeyServiceClient;
use serde_json::Value;
use serde_json::json;
use tonic::Code;

use crate::support::NOW;
use crate::support::calls::opened;
use crate::support::calls::refusal;
use crate::support::calls::refused_field;
use crate::support::leaf::Leaf;
use crate::support::server::ISSUER;
use crate::support::server::ORDERS;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::spiffe_client;

const CHECKOUT: &str = "spiffe://prod.example/checkout";
const BILLING: &str = "https://billing.prod.example";

async fn started(change: impl FnOnce(&mut Setup)) -> TestServer {
    let mut setup = Setup::default();
    change(&mut setup);
    setup.write();
    setup.start().await.unwrap()
}

fn scoped(scope: &str) -> IssueTokenRequest {
    IssueTokenRequest { scope: scope.to_owned(), ..IssueTokenRequest::default() }
}

fn for_audience(audience: &[&str]) -> IssueTokenRequest {
    let audience = audience.iter().map(|one| (*one).to_owned()).collect();
    IssueTokenRequest { audience, ..IssueTokenRequest::default() }
}

async fn claims(server: &TestServer, leaf: &Leaf, request: IssueTokenRequest) -> Value {
    opened(&server.issue(leaf, request).await.unwrap().access_token).1
}

#[tokio::test]
async fn a_registered_workload_gets_a_token_bound_to_its_certificate() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let own = server.validate(&token, certificate_of(&checkout)).await.unwrap();
    assert_eq!(own.decision(), Decision::Allow);
    let thief = server.workload("/thief").await;
    let stolen = server.validate(&token, certificate_of(&thief)).await.unwrap();
    assert_eq!(stolen.decision(), Decision::Deny);
}

#[tokio::test]
async fn a_token_is_what_rfc_9068_says_with_the_confirmation_of_rfc_8705() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let issued = server.issue(&checkout, IssueTokenRequest::default()).await.unwrap();
    let (header, mut claims) = opened(&issued.access_token);
    let (jwks, _) = jwks(&server, &checkout).await;
    assert_eq!(header, json!({ "alg": "ES256", "typ": "at+jwt", "kid": jwks["keys"][0]["kid"] }));
    let claims = claims.as_object_mut().unwrap();
    let jti = claims.remove("jti").unwrap();
    assert_eq!(jti.as_str().unwrap().len(), 22, "128 bits: {jti}");
    assert!(claims.remove("lanyard_creation").unwrap().is_string());
    let expected = json!({
        "iss": ISSUER,
        "sub": CHECKOUT,
        "client_id": CHECKOUT,
        "aud": ORDERS,
        "iat": NOW.0,
        // For verifiers whose clock is behind.
        "nbf": NOW.0 - 5,
        "exp": NOW.0 + 300,
        "scope": "orders.read orders.write",
        "cnf": { "x5t#S256": checkout.thumbprint().to_string() },
    });
    assert_eq!(Value::Object(claims.clone()), expected);
    assert_eq!(issued.token_type, "Bearer");
    assert_eq!(issued.scope, "orders.read orders.write");
    assert_eq!(issued.expires_in.unwrap().seconds, 300);
}

#[tokio::test]
async fn no_two_tokens_are_the_same() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let (one, other) = (server.token(&checkout).await, server.token(&checkout).await);
    assert_ne!(opened(&one).1["jti"], opened(&other).1["jti"]);
}

#[tokio::test]
async fn a_request_gets_the_scopes_it_names_and_by_default_all_that_are_registered() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    for (asked, granted) in [
        ("", "orders.read orders.write"),
        ("orders.read", "orders.read"),
        ("orders.write orders.read", "orders.write orders.read"),
        ("orders.read orders.read", "orders.read"),
    ] {
        let issued = server.issue(&checkout, scoped(asked)).await.unwrap();
        assert_eq!(issued.scope, granted);
        assert_eq!(opened(&issued.access_token).1["scope"], json!(granted));
    }
    for beyond in ["orders.admin", "orders.read orders.admin", "Orders.read", "orders", "*", "orders.*"] {
        let refused = refusal(server.issue(&checkout, scoped(beyond)).await);
        assert_eq!(refused, (Code::InvalidArgument, "INVALID_SCOPE".to_owned()), "{beyond:?}");
    }
    for malformed in [" ", "orders.read ", "orders.read  orders.write", "orders.read\torders.write", "orders.réad"] {
        let refused = refusal(server.issue(&checkout, scoped(malformed)).await);
        assert_eq!(refused, (Code::InvalidArgument, "INVALID_SCOPE".to_owned()), "{malformed:?}");
    }
}

#[tokio::test]
async fn a_client_without_scopes_gets_a_token_without_the_claim() {
    let server = TestServer::start().await;
    server.register(Client { scope: String::new(), ..spiffe_client(CHECKOUT) }).await.unwrap();
    let checkout = server.svid("/checkout");
    let issued = server.issue(&checkout, IssueTokenRequest::default()).await.unwrap();
    assert_eq!(issued.scope, "");
    assert_eq!(opened(&issued.access_token).1.get("scope"), None);
    let refused = refusal(server.issue(&checkout, scoped("orders.read")).await);
    assert_eq!(refused, (Code::InvalidArgument, "INVALID_SCOPE".to_owned()));
}

#[tokio::test]
async fn a_token_is_for_the_named_audiences_and_by_default_for_all_registered_ones() {
    let server = TestServer::start().await;
    let client = Client { audience: vec![ORDERS.to_owned(), BILLING.to_owned()], ..spiffe_client(CHECKOUT) };
    server.register(client).await.unwrap();
    let checkout = server.svid("/checkout");
    for (asked, granted) in [
        (&[][..], json!([ORDERS, BILLING])),
        (&[BILLING], json!(BILLING)),
        (&[BILLING, ORDERS], json!([BILLING, ORDERS])),
        (&[ORDERS, ORDERS], json!(ORDERS)),
        (&[ORDERS, BILLING, ORDERS], json!([ORDERS, BILLING])),
    ] {
        assert_eq!(claims(&server, &checkout, for_audience(asked)).await["aud"], granted, "{asked:?}");
    }
    for beyond in [
        "https://users.prod.example",
        "https://orders.prod.example/",
        "https://ORDERS.prod.example",
        "https://orders.prod.example.evil.example",
        "https://orders.prod",
        "",
        "*",
    ] {
        let refused = refusal(server.issue(&checkout, for_audience(&[ORDERS, beyond])).await);
        assert_eq!(refused, (Code::InvalidArgument, "INVALID_TARGET".to_owned()), "{beyond:?}");
    }
    let many = vec![ORDERS; 129];
    let refused = refusal(server.issue(&checkout, for_audience(&many)).await);
    assert_eq!(refused, (Code::InvalidArgument, "INVALID_TARGET".to_owned()));
}

#[tokio::test]
async fn a_token_lives_as_long_as_registered_but_not_longer_than_the_certificate() {
    let server = TestServer::start().await;
    let ttl = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    server.register(Client { access_token_ttl: ttl(90), ..spiffe_client(CHECKOUT) }).await.unwrap();
    let until = |not_after: u64| {
        let times = (Timestamp(NOW.0 - 60), Timestamp(not_after));
        server.setup.ca.svid(CHECKOUT).between(times.0, times.1).issue()
    };
    for (not_after, exp) in [(NOW.0 + 3600, NOW.0 + 90), (NOW.0 + 91, NOW.0 + 90), (NOW.0 + 89, NOW.0 + 89)] {
        let issued = server.issue(&until(not_after), IssueTokenRequest::default()).await.unwrap();
        let expires_in = i64::try_from(exp - NOW.0).unwrap();
        assert_eq!(opened(&issued.access_token).1["exp"], json!(exp));
        assert_eq!(issued.expires_in.unwrap().seconds, expires_in);
    }
}

#[tokio::test]
async fn no_token_is_issued_on_a_connection_whose_certificate_has_expired() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let mut tokens = server.tokens(&checkout);
    tokens.issue_token(IssueTokenRequest::default()).await.unwrap();
    server.advance(Duration::from_hours(1) + Duration::from_secs(1));
    let refused = refusal(tokens.issue_token(IssueTokenRequest::default()).await);
    assert_eq!(refused, (Code::Unauthenticated, "CERTIFICATE_NOT_PROVEN".to_owned()));
}

#[tokio::test]
async fn tokens_of_each_algorithm_verify_with_nothing_but_the_published_keys() {
    for (name, algorithm) in [("ES256", Algorithm::ES256), ("RS256", Algorithm::RS256), ("EdDSA", Algorithm::EdDSA)] {
        let server = started(|setup| {
            setup.keys = setup.keys.replace('{', &format!("{{algorithm: {name}, "));
        })
        .await;
        let checkout = server.workload("/checkout").await;
        let token = server.token(&checkout).await;
        let (published, keys) = jwks(&server, &checkout).await;
        assert_eq!(published["keys"].as_array().unwrap().len(), 1);
        let header = jsonwebtoken::decode_header(&token).unwrap();
        assert_eq!(header.alg, algorithm);
        let jwk = keys.find(header.kid.as_deref().unwrap()).unwrap();
        let mut validation = Validation::new(algorithm);
        // The times in it are those of the clock that the test holds.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[ORDERS]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        let key = DecodingKey::from_jwk(jwk).unwrap();
        let decoded = jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap();
        assert_eq!(decoded.claims["sub"], json!(CHECKOUT));
        let altered = altered(&token);
        assert!(jsonwebtoken::decode::<Value>(&altered, &key, &validation).is_err());
        let own = server.validate(&token, certificate_of(&checkout)).await.unwrap();
        assert_eq!(own.decision(), Decision::Allow, "{name}");
        let forged = server.validate(&altered, certificate_of(&checkout)).await.unwrap();
        assert_eq!(forged.reason(), DenyReason::BadSignature, "{name}");
    }
}

/// The key set as JSON, and as an independent reader has it.
async fn jwks(server: &TestServer, leaf: &Leaf) -> (Value, JwkSet) {
    let response = KeyServiceClient::new(server.channel(leaf)).get_jwks(GetJwksRequest {}).await.unwrap();
    let text = response.into_inner().jwks;
    (serde_json::from_str(&text).unwrap(), serde_json::from_str(&text).unwrap())
}

/// The token with the first bit of its signature flipped.
fn altered(token: &str) -> String {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{message}.{first}{}", &signature[1..])
}

#[tokio::test]
async fn a_server_that_issues_no_unbound_tokens_registers_no_client_for_them() {
    let server = TestServer::start().await;
    let unbound = Client { tls_client_certificate_bound_access_tokens: Some(false), ..spiffe_client(CHECKOUT) };
    let refused = server.register(unbound).await;
    assert_eq!(refused_field(refused), "tls_client_certificate_bound_access_tokens");
}

#[tokio::test]
async fn unbound_tokens_exist_only_where_the_server_and_the_registration_both_allow_them() {
    let server = started(|setup| setup.tokens = "{unbound: true}".to_owned()).await;
    for (path, registered, bound) in
        [("/left-out", None, true), ("/bound", Some(true), true), ("/unbound", Some(false), false)]
    {
        let id = format!("spiffe://prod.example{path}");
        let client = Client { tls_client_certificate_bound_access_tokens: registered, ..spiffe_client(&id) };
        server.register(client).await.unwrap();
        let leaf = server.svid(path);
        let token = server.token(&leaf).await;
        assert_eq!(opened(&token).1.get("cnf").is_some(), bound, "{path}");
        let evaluated = server.validate(&token, certificate_of(&leaf)).await.unwrap();
        let reason = if bound { DenyReason::Unspecified } else { DenyReason::NotBound };
        assert_eq!(evaluated.reason(), reason, "an unbound token opens nothing where a binding is asked for");
    }
}

#[tokio::test]
async fn an_unbound_registration_gets_bound_tokens_once_the_server_requires_them() {
    let server = started(|setup| {
        setup.tokens = "{unbound: true}".to_owned();
        setup.store = "{sled: {path: data}}".to_owned();
    })
    .await;
    let unbound = Client { tls_client_certificate_bound_access_tokens: Some(false), ..spiffe_client(CHECKOUT) };
    server.register(unbound).await.unwrap();
    let TestServer { server, mut setup, .. } = server;
    server.stop().await;
    setup.tokens = "{}".to_owned();
    setup.write();
    let server = setup.start().await.unwrap();
    let checkout = server.svid("/checkout");
    let claims = claims(&server, &checkout, IssueTokenRequest::default()).await;
    assert_eq!(claims["cnf"]["x5t#S256"], json!(checkout.thumbprint().to_string()));
}

#[tokio::test]
async fn a_disabled_client_gets_no_token_until_it_is_enabled_again_and_a_deleted_one_none() {
    let server = TestServer::start().await;
    let registered = server.register(spiffe_client(CHECKOUT)).await.unwrap();
    let checkout = server.svid("/checkout");
    let mut tokens = server.tokens(&checkout);
    let invalid = (Code::Unauthenticated, "INVALID_CLIENT".to_owned());
    tokens.issue_token(IssueTokenRequest::default()).await.unwrap();
    let disabled = server.update(Client { disabled: true, ..registered }).await.unwrap();
    assert_eq!(refusal(tokens.issue_token(IssueTokenRequest::default()).await), invalid);
    server.update(Client { disabled: false, ..disabled }).await.unwrap();
    tokens.issue_token(IssueTokenRequest::default()).await.unwrap();
    server.delete(CHECKOUT).await;
    assert_eq!(refusal(tokens.issue_token(IssueTokenRequest::default()).await), invalid);
}
