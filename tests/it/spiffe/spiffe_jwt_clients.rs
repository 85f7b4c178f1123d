//! Clients by `spiffe_jwt`: registered, rotated, revoked, and at the other endpoints.

use lanyard::authority::decision::JWT_SPIFFE;
use lanyard::proto::Client;
use lanyard::proto::Decision;
use lanyard::proto::IntrospectTokenRequest;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::RevokeTokenRequest;
use lanyard::proto::revoke_token_request::Target;
use serde_json::json;
use tonic::Code;

use crate::support::calls::opened;
use crate::support::calls::refusal;
use crate::support::calls::refused_field;
use crate::support::calls::self_signed_client;
use crate::support::dcr;
use crate::support::jwt_svid::JwtKey;
use crate::support::jwt_svid::trust_jwks;
use crate::support::leaf::Leaf;
use crate::support::server::ISSUER;
use crate::support::server::ORDERS;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::spiffe_client;

const CHECKOUT: &str = "spiffe://prod.example/checkout";

async fn signing(change: impl FnOnce(&mut Setup)) -> (TestServer, JwtKey) {
    let server = TestServer::started(change).await;
    let key = JwtKey::new("one");
    trust_jwks(server.server.authority(), "prod.example", &[key.jwk()]);
    (server, key)
}

fn jwt_client(spiffe_id: &str) -> Client {
    Client { token_endpoint_auth_method: "spiffe_jwt".to_owned(), ..spiffe_client(spiffe_id) }
}

fn asserting(assertion: &str) -> IssueTokenRequest {
    IssueTokenRequest {
        client_assertion_type: JWT_SPIFFE.to_owned(),
        client_assertion: assertion.to_owned(),
        ..IssueTokenRequest::default()
    }
}

async fn token(server: &TestServer, leaf: &Leaf, assertion: &str) -> String {
    server.issue(leaf, asserting(assertion)).await.unwrap().access_token
}

#[tokio::test]
async fn a_registration_by_spiffe_jwt_takes_what_one_by_spiffe_x509_takes() {
    let (server, _) = signing(|_| {}).await;
    let registered = server.register(jwt_client(CHECKOUT)).await.unwrap();
    assert_eq!(registered.token_endpoint_auth_method, "spiffe_jwt");
    assert_eq!(registered.spiffe_id, CHECKOUT, "left out, it is the client_id");
    let named =
        |spiffe_id: &str| Client { client_id: "named".to_owned(), spiffe_id: spiffe_id.to_owned(), ..jwt_client("") };
    for (client, field) in [
        (named(""), "spiffe_id"),
        (named("spiffe://prod.example/ns/*/sa"), "spiffe_id"),
        (named("spiffe://prod.example"), "spiffe_id"),
        (Client { client_id: "spiffe://prod.example/a".to_owned(), ..named("spiffe://prod.example/b") }, "client_id"),
        (Client { jwks: "{\"keys\":[]}".to_owned(), ..named("spiffe://prod.example/c") }, "jwks"),
        (Client { spiffe_id: CHECKOUT.to_owned(), ..self_signed_client("own", "") }, "spiffe_id"),
    ] {
        assert_eq!(refused_field(server.register(client).await), field);
    }
    // One SPIFFE ID is one client's, whatever its method.
    let other = Client { client_id: "other".to_owned(), spiffe_id: CHECKOUT.to_owned(), ..spiffe_client("") };
    assert_eq!(refusal(server.register(other).await), (Code::AlreadyExists, "IDENTITY_TAKEN".to_owned()));
    server.register(named("spiffe://prod.example/ns/*")).await.unwrap();
}

#[tokio::test]
async fn a_spiffe_jwt_client_may_rotate_by_identity_and_its_token_says_its_binding() {
    let (server, key) = signing(|_| {}).await;
    server.register(Client { rotation: "identity".to_owned(), ..jwt_client(CHECKOUT) }).await.unwrap();
    let checkout = server.svid("/checkout");
    let token = token(&server, &checkout, &key.svid(CHECKOUT, ISSUER)).await;
    assert!(opened(&token).1["lanyard_bound"].is_object());
    let renewed = server.setup.ca.svid(CHECKOUT).key(&checkout.key).issue();
    let verdict = server.validate(&token, certificate_of(&renewed)).await.unwrap();
    assert_eq!(verdict.decision(), Decision::Allow);
    let thief = server.validate(&token, certificate_of(&server.svid("/thief"))).await.unwrap();
    assert_eq!(thief.decision(), Decision::Deny);
}

// section 4: the introspection and revocation endpoints authenticate as the token endpoint does.
#[tokio::test]
async fn introspection_and_revocation_accept_an_assertion_from_its_own_connection_only() {
    let (server, key) = signing(|_| {}).await;
    server.register(jwt_client(CHECKOUT)).await.unwrap();
    let (checkout, thief) = (server.svid("/checkout"), server.workload("/thief").await);
    let assertion = key.svid(CHECKOUT, ISSUER);
    let token = token(&server, &checkout, &assertion).await;
    let form = [("token", token.as_str()), ("client_assertion_type", JWT_SPIFFE), ("client_assertion", &assertion)];
    let refused = (401, "invalid_client".to_owned());
    for path in ["/oauth2/introspect", "/oauth2/revoke"] {
        assert_eq!(server.post(&thief, path, &form).await.error(), refused, "{path}");
        assert_eq!(server.post(&checkout, path, &form[..1]).await.error(), refused, "{path} without an assertion");
        assert_eq!(server.post(&checkout, path, &form[..2]).await.error(), (400, "invalid_request".to_owned()));
    }
    // A client may know its own token.
    assert_eq!(server.post(&checkout, "/oauth2/introspect", &form).await.ok()["active"], json!(true));
    let introspect = |kind: &str| IntrospectTokenRequest {
        token: token.clone(),
        client_assertion_type: kind.to_owned(),
        client_assertion: assertion.clone(),
        ..IntrospectTokenRequest::default()
    };
    let answer = server.tokens(&checkout).introspect_token(introspect(JWT_SPIFFE)).await.unwrap().into_inner();
    assert!(answer.active);
    let invalid = (Code::Unauthenticated, "INVALID_CLIENT".to_owned());
    assert_eq!(refusal(server.tokens(&thief).introspect_token(introspect(JWT_SPIFFE)).await), invalid);
    assert_eq!(refusal(server.tokens(&checkout).introspect_token(introspect("x")).await), invalid);

    let revoke = RevokeTokenRequest {
        target: Some(Target::Token(token.clone())),
        client_assertion_type: JWT_SPIFFE.to_owned(),
        client_assertion: assertion.clone(),
        ..RevokeTokenRequest::default()
    };
    assert_eq!(refusal(server.tokens(&thief).revoke_token(revoke.clone()).await), invalid);
    assert_eq!(server.validate(&token, certificate_of(&checkout)).await.unwrap().decision(), Decision::Allow);
    server.tokens(&checkout).revoke_token(revoke).await.unwrap();
    assert_eq!(server.validate(&token, certificate_of(&checkout)).await.unwrap().decision(), Decision::Deny);
    let reply = server.post(&checkout, "/oauth2/revoke", &form).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[tokio::test]
async fn admins_and_proxies_gain_nothing_by_an_assertion_and_are_refused_for_a_bad_one() {
    let (server, key) = signing(|_| {}).await;
    server.register(jwt_client(CHECKOUT)).await.unwrap();
    let token = token(&server, &server.svid("/checkout"), &key.svid(CHECKOUT, ISSUER)).await;
    for path in ["/admin", "/proxy"] {
        let leaf = server.svid(path);
        let active = server.post(&leaf, "/oauth2/introspect", &[("token", &token)]).await.ok();
        assert_eq!(active["active"], json!(true));
        let own = format!("spiffe://prod.example{path}");
        for assertion in [key.svid(CHECKOUT, ISSUER), key.svid(&own, ISSUER), "a.b.c".to_owned()] {
            let form =
                [("token", token.as_str()), ("client_assertion_type", JWT_SPIFFE), ("client_assertion", &assertion)];
            let reply = server.post(&leaf, "/oauth2/introspect", &form).await;
            assert_eq!(reply.error(), (401, "invalid_client".to_owned()), "{path}");
        }
    }
}

#[tokio::test]
async fn a_revoked_or_disabled_client_gets_no_token_by_its_assertion() {
    let (server, key) = signing(|_| {}).await;
    let client = server.register(jwt_client(CHECKOUT)).await.unwrap();
    let (checkout, assertion) = (server.svid("/checkout"), key.svid(CHECKOUT, ISSUER));
    let invalid = (Code::Unauthenticated, "INVALID_CLIENT".to_owned());
    let revoke = |lift| RevokeTokenRequest {
        target: Some(Target::RevokedClientId(CHECKOUT.to_owned())),
        lift,
        ..RevokeTokenRequest::default()
    };
    let mut admin = server.tokens(&server.svid("/admin"));
    let mut open = server.tokens(&checkout);
    open.issue_token(asserting(&assertion)).await.unwrap();
    admin.revoke_token(revoke(false)).await.unwrap();
    let revoked = (Code::Unauthenticated, "CERTIFICATE_NOT_PROVEN".to_owned());
    assert_eq!(refusal(open.issue_token(asserting(&assertion)).await), revoked);
    // Nor does another workload, over its own connection.
    assert_eq!(refusal(server.issue(&server.svid("/thief"), asserting(&assertion)).await), invalid);
    admin.revoke_token(revoke(true)).await.unwrap();
    token(&server, &checkout, &assertion).await;
    server.update(Client { disabled: true, ..client }).await.unwrap();
    assert_eq!(refusal(server.issue(&checkout, asserting(&assertion)).await), invalid);
}

// 7591
#[tokio::test]
async fn a_workload_may_ask_more_of_itself_than_its_operator_does_but_never_less() {
    let (server, key) = signing(|setup| setup.registration = "own-identity".to_owned()).await;
    let pattern = |name: &str, method: &str| Client {
        client_id: name.to_owned(),
        spiffe_id: format!("spiffe://prod.example/{name}/*"),
        token_endpoint_auth_method: method.to_owned(),
        ..spiffe_client("")
    };
    server.register(pattern("x509", "spiffe_x509")).await.unwrap();
    server.register(pattern("jwt", "spiffe_jwt")).await.unwrap();
    let by = |method: &str| dcr::metadata(json!({ "token_endpoint_auth_method": method }));
    let [first, second] = ["/x509/a", "/jwt/a"].map(|path| server.svid(path));
    assert_eq!(dcr::register(&server, &first, &by("spiffe_jwt")).await.status, 201);
    let refused = dcr::register(&server, &second, &by("spiffe_x509")).await;
    assert_eq!((refused.status, &refused.json()["error"]), (400, &json!("invalid_client_metadata")));
    let reply = dcr::register(&server, &second, &by("spiffe_jwt")).await;
    assert_eq!((reply.status, &reply.json()["token_endpoint_auth_method"]), (201, &json!("spiffe_jwt")));
    let claims = opened(&token(&server, &first, &key.svid("spiffe://prod.example/x509/a", ISSUER)).await).1;
    assert_eq!((&claims["sub"], &claims["aud"]), (&json!("spiffe://prod.example/x509/a"), &json!(ORDERS)));
}

// Also where the operator asks for more later on.
#[tokio::test]
async fn a_certificate_registration_is_refused_once_an_assertion_is_required() {
    let (server, _) = signing(|setup| setup.registration = "own-identity".to_owned()).await;
    let pattern = Client {
        client_id: "shop".to_owned(),
        spiffe_id: "spiffe://prod.example/shop/*".to_owned(),
        ..spiffe_client("")
    };
    let pattern = server.register(pattern).await.unwrap();
    let leaf = server.svid("/shop/a");
    assert_eq!(dcr::register(&server, &leaf, &dcr::metadata(json!({}))).await.status, 201);
    server.issue(&leaf, IssueTokenRequest::default()).await.unwrap();
    server.update(Client { token_endpoint_auth_method: "spiffe_jwt".to_owned(), ..pattern }).await.unwrap();
    let refused = refusal(server.issue(&leaf, IssueTokenRequest::default()).await);
    assert_eq!(refused, (Code::Unauthenticated, "INVALID_CLIENT".to_owned()));
}
