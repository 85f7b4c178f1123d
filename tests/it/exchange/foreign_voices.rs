//! Tokens of another issuer over gRPC, HTTP and Envoy's protocol: all say the same of what comes of them.

use std::fs;

use lanyard::proto::Client;
use lanyard::proto::Decision;
use lanyard::proto::Delegated;
use lanyard::proto::DenyReason;
use lanyard::proto::ExchangeRule;
use lanyard::proto::ExchangeTokenRequest;
use lanyard::proto::ExplainRefusalRequest;
use lanyard::proto::IntrospectTokenRequest;
use lanyard::proto::ProtectedResource;
use lanyard::proto::RevokeTokenRequest;
use lanyard::proto::ScopeGrant;
use lanyard::proto::exchange_token_request::Subject;
use lanyard::proto::explanation_service_client::ExplanationServiceClient;
use lanyard::proto::revoke_token_request::Target;
use serde_json::json;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::exchange::gateway::ALICE;
use crate::exchange::gateway::IDP;
use crate::exchange::support::claims;
use crate::issuer_jwt::cluster::Cluster;
use crate::issuer_jwt::cluster::account;
use crate::issuer_jwt::cluster::trust;
use crate::support::NOW;
use crate::support::ca::self_signed;
use crate::support::calls::refusal;
use crate::support::check;
use crate::support::check::Answer;
use crate::support::check::Asked;
use crate::support::check::route;
use crate::support::http::get;
use crate::support::http::post;
use crate::support::leaf::Leaf;
use crate::support::server::ISSUER;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::reason_of;
use crate::support::server::spiffe_client;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const GATEWAY: &str = "spiffe://prod.example/gateway";

/// A server that knows an issuer of users, a gateway, and the orders.
struct Edge {
    server: TestServer,
    idp: Cluster,
    gateway: Leaf,
}

impl Edge {
    async fn new() -> Self {
        let idp = Cluster::named(IDP, "idp-1");
        let server = TestServer::started(|setup| {
            setup.exchange = "{enabled: true}".to_owned();
            fs::write(setup.path("idp.json"), idp.jwks()).unwrap();
            setup.trusted_issuers = format!(
                "[{{name: idp, issuer: '{IDP}', jwks: idp.json, exchange: {{kinds: [access_token, jwt], scope_claim: /scope}}}}]"
            );
        })
        .await;
        let delegated = Delegated { actors: vec![GATEWAY.to_owned()], max_actors: 0, mode: String::new() };
        let orders =
            ProtectedResource { delegated: Some(delegated), routes: vec![route(&[], "/**", "")], ..check::orders() };
        server.protect(orders).await.unwrap();
        let grant = ScopeGrant { needs: "shop.buy".to_owned(), gives: "orders.read orders.write".to_owned() };
        let rule = ExchangeRule {
            subjects: vec!["*".to_owned()],
            issuer: IDP.to_owned(),
            audience: ORDERS.to_owned(),
            grants: vec![grant],
            ..ExchangeRule::default()
        };
        let client = Client {
            grant_types: vec!["client_credentials".to_owned(), GRANT.to_owned()],
            exchange: vec![rule],
            ..spiffe_client(GATEWAY)
        };
        server.register(client).await.unwrap();
        let gateway = server.svid("/gateway");
        Self { server, idp, gateway }
    }

    fn token(&self, typ: &str) -> String {
        let header = json!({ "alg": "ES256", "kid": "idp-1", "typ": typ });
        let claims = json!({
            "iss": IDP, "sub": "alice", "aud": ISSUER, "iat": NOW.0, "exp": NOW.0 + 600, "jti": "idp-token-1",
            "scope": "shop.buy", "act": { "sub": "app" },
        });
        self.idp.key.sign(&header.to_string(), &claims.to_string())
    }
}

// RFC 8693 section 2.1: both types, over both protocols
#[tokio::test]
async fn both_protocols_exchange_a_users_token_alike_and_all_agree_about_what_comes_of_it() {
    let edge = Edge::new().await;
    let mut issued = Vec::new();
    for (kind, typ) in [(ACCESS_TOKEN, "at+jwt"), (JWT, "JWT")] {
        let token = edge.token(typ);
        let form = |kind: &'static str, token: &str| {
            [
                ("grant_type", GRANT),
                ("client_id", GATEWAY),
                ("subject_token", token),
                ("subject_token_type", kind),
                ("resource", ORDERS),
            ]
            .map(|(name, value)| (name, value.to_owned()))
        };
        let send = async |kind: &'static str, token: &str| {
            let form = form(kind, token);
            let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
            edge.server.send(&edge.gateway, post("/oauth2/token", &form)).await
        };
        let answer = send(kind, &token).await.ok();
        assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("Bearer"), &json!(60)));
        issued.push(answer["access_token"].as_str().unwrap().to_owned());
        // As what it is not, it is refused as anything else that is wrong with it.
        let other = if kind == JWT { ACCESS_TOKEN } else { JWT };
        assert_eq!(send(other, &token).await.error(), (400, "invalid_request".to_owned()));
        let subject = if kind == JWT { Subject::Jwt(token) } else { Subject::AccessToken(token) };
        let request = ExchangeTokenRequest {
            subject: Some(subject),
            audience: vec![ORDERS.to_owned()],
            ..ExchangeTokenRequest::default()
        };
        let answer = edge.server.tokens(&edge.gateway).exchange_token(request).await.unwrap().into_inner();
        issued.push(answer.access_token);
    }
    let said = |token: &str| {
        let mut said = claims(token);
        said.remove("jti").unwrap();
        said
    };
    assert!(issued.iter().all(|token| said(token) == said(&issued[0])), "{issued:?}");
    let token = &issued[0];
    // What the orders see.
    let Answer::Through { set, .. } = edge.server.check(Asked::with(token, &edge.gateway).to("GET", "/any")).await
    else {
        panic!("denied")
    };
    assert_eq!((set["x-lanyard-subject"].as_str(), set["x-lanyard-actor"].as_str()), (ALICE, GATEWAY));
    let validated = edge.server.validate(token, certificate_of(&edge.gateway)).await.unwrap();
    assert_eq!(validated.decision(), Decision::Allow);
    let proxy = edge.server.svid("/proxy");
    let answer = edge.server.send(&proxy, post("/oauth2/introspect", &[("token", token)])).await.ok();
    let chain = json!({ "sub": GATEWAY, "act": { "sub": "app", "iss": IDP } });
    assert_eq!((&answer["active"], &answer["sub"], &answer["act"]), (&json!(true), &json!(ALICE), &chain));
    let request = IntrospectTokenRequest { token: token.clone(), ..Default::default() };
    let grpc = edge.server.tokens(&proxy).introspect_token(request.clone()).await.unwrap().into_inner();
    assert!(format!("{:?}", grpc.claims.unwrap().fields["act"]).contains(IDP));
    // The user is revoked here, and every protocol says so.
    let revoke = RevokeTokenRequest { target: Some(Target::RevokedClientId(ALICE.to_owned())), ..Default::default() };
    edge.server.tokens(&edge.server.svid("/admin")).revoke_token(revoke).await.unwrap();
    let checked = edge.server.check(Asked::with(token, &edge.gateway).to("GET", "/any")).await;
    assert_eq!(checked.reason(), "DELEGATION_BROKEN");
    let validated = edge.server.validate(token, certificate_of(&edge.gateway)).await.unwrap();
    assert_eq!(validated.reason(), DenyReason::DelegationBroken);
    let answer = edge.server.send(&proxy, post("/oauth2/introspect", &[("token", token)])).await.ok();
    assert_eq!(answer["active"], json!(false));
    assert!(!edge.server.tokens(&proxy).introspect_token(request).await.unwrap().into_inner().active);
}

// X28: the client is told one sentence, and an admin what is wrong
#[tokio::test]
async fn an_admin_is_told_what_is_wrong_with_a_users_token_and_its_client_is_not() {
    let edge = Edge::new().await;
    let request = ExchangeTokenRequest {
        subject: Some(Subject::Jwt(edge.token("at+jwt"))),
        audience: vec![ORDERS.to_owned()],
        ..ExchangeTokenRequest::default()
    };
    let status = edge.server.tokens(&edge.gateway).exchange_token(request).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).as_str()), (Code::InvalidArgument, "SUBJECT_NOT_ACCEPTED"));
    let reference = status.get_details_error_info().unwrap().metadata["reference"].clone();
    let why = async |leaf: &Leaf| {
        let request = ExplainRefusalRequest { reference: reference.clone() };
        let mut explanations = ExplanationServiceClient::new(edge.server.channel(leaf));
        explanations.explain_refusal(request).await.unwrap().into_inner().refusal.unwrap()
    };
    let told = why(&edge.server.svid("/admin")).await;
    assert_eq!(told.reason, "FOREIGN_INVALID");
    assert!(told.cause.contains("typ") && told.fix.contains("trusted_issuers"), "{told:?}");
    let steps: Vec<&str> = told.steps.iter().map(|step| step.check.as_str()).collect();
    assert_eq!(steps.last(), Some(&"subject"), "{steps:?}");
    let told = why(&edge.gateway).await;
    assert_eq!((told.reason.as_str(), told.cause.contains("typ")), ("SUBJECT_NOT_ACCEPTED", false));
}

// Two uses and no third: an issuer of users is none of clients.
#[tokio::test]
async fn an_issuer_whose_tokens_are_exchanged_authenticates_no_client_and_lets_no_stranger_in() {
    let edge = Edge::new().await;
    let stranger = self_signed("own").issue();
    assert!(edge.server.assert(&stranger, &edge.token("JWT")).await.is_err());
    let metadata = edge.server.send(&edge.gateway, get("/.well-known/oauth-authorization-server")).await.json();
    let methods = metadata["token_endpoint_auth_methods_supported"].to_string();
    assert!(!methods.contains("issuer_jwt"), "{methods}");
    let as_client = Client { issuer: IDP.to_owned(), subject: "alice".to_owned(), ..account("alice") };
    assert!(edge.server.register(as_client.clone()).await.is_err());
    // The same issuer without `exchange` does, and its tokens are then no subjects.
    let server = TestServer::started(|setup| {
        setup.exchange = "{enabled: true}".to_owned();
        trust(setup, &[("idp", &edge.idp)]);
    })
    .await;
    let metadata = server.send(&server.svid("/gateway"), get("/.well-known/oauth-authorization-server")).await.json();
    assert!(metadata["token_endpoint_auth_methods_supported"].to_string().contains("issuer_jwt"));
    server.register(as_client).await.unwrap();
    let request = ExchangeTokenRequest {
        subject: Some(Subject::Jwt(edge.token("JWT"))),
        audience: vec![ORDERS.to_owned()],
        ..ExchangeTokenRequest::default()
    };
    server
        .register(Client {
            grant_types: vec!["client_credentials".to_owned(), GRANT.to_owned()],
            ..spiffe_client(GATEWAY)
        })
        .await
        .unwrap();
    let refused = refusal(server.tokens(&server.svid("/gateway")).exchange_token(request).await);
    assert_eq!((refused.0, refused.1.as_str()), (Code::InvalidArgument, "SUBJECT_NOT_ACCEPTED"));
}
