//! Exchanges and delegated tokens over gRPC, HTTP and Envoy's protocol: all say the same.

use std::collections::BTreeSet;

use axum::http::Method;
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
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::exchange_token_request::Subject;
use lanyard::proto::explanation_service_client::ExplanationServiceClient;
use lanyard::proto::revoke_token_request::Target;
use serde_json::Value;
use serde_json::json;
use tonic::Code;
use tonic::Status;

use crate::exchange::support::claims;
use crate::support::calls::refusal;
use crate::support::check;
use crate::support::check::Answer;
use crate::support::check::Asked;
use crate::support::check::route;
use crate::support::http::FORM;
use crate::support::http::Reply;
use crate::support::http::encoded;
use crate::support::http::get;
use crate::support::http::post;
use crate::support::http::raw;
use crate::support::leaf::Leaf;
use crate::support::server::ORDERS;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::reason_of;
use crate::support::server::spiffe_client;

const CHECKOUT: &str = "https://checkout.prod.example";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const TOKEN: &str = "/oauth2/token";

/// A frontend that calls the checkout, which calls the orders for it.
pub struct Called {
    pub server: TestServer,
    pub frontend: Leaf,
    pub checkout: Leaf,
}

impl Called {
    async fn new() -> Self {
        Self::on("{memory: true}").await
    }

    async fn on(store: &str) -> Self {
        Self::with(|setup| setup.store = store.to_owned()).await
    }

    pub async fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let server = TestServer::started(|setup| {
            setup.exchange = "{enabled: true}".to_owned();
            change(setup);
        })
        .await;
        let delegated = Delegated { actors: vec!["spiffe://prod.example/checkout".to_owned()], ..Delegated::default() };
        let orders =
            ProtectedResource { delegated: Some(delegated), routes: vec![route(&[], "/**", "")], ..check::orders() };
        let checkout = ProtectedResource {
            audience: CHECKOUT.to_owned(),
            scope: "checkout.submit".to_owned(),
            ..ProtectedResource::default()
        };
        server.protect(orders).await.unwrap();
        server.protect(checkout).await.unwrap();
        let frontend = Client {
            audience: vec![CHECKOUT.to_owned()],
            scope: "checkout.submit".to_owned(),
            ..spiffe_client("spiffe://prod.example/frontend")
        };
        server.register(frontend).await.unwrap();
        server.register(Self::exchanging("none")).await.unwrap();
        let (frontend, checkout) = (server.svid("/frontend"), server.svid("/checkout"));
        Self { server, frontend, checkout }
    }

    fn exchanging(presentation: &str) -> Client {
        let grant = ScopeGrant { needs: "checkout.submit".to_owned(), gives: "orders.read orders.write".to_owned() };
        let rule = ExchangeRule {
            subjects: vec!["spiffe://prod.example/*".to_owned()],
            presented_at: CHECKOUT.to_owned(),
            audience: ORDERS.to_owned(),
            grants: vec![grant],
            presentation: presentation.to_owned(),
            ..ExchangeRule::default()
        };
        Client {
            grant_types: vec!["client_credentials".to_owned(), GRANT.to_owned()],
            exchange: vec![rule],
            ..spiffe_client("spiffe://prod.example/checkout")
        }
    }

    pub async fn token(&self) -> String {
        self.server.token(&self.frontend).await
    }

    pub async fn exchange(&self, leaf: &Leaf, access_token: &str, scope: &str) -> Result<String, Status> {
        let request = ExchangeTokenRequest {
            subject: Some(Subject::AccessToken(access_token.to_owned())),
            audience: vec![ORDERS.to_owned()],
            scope: scope.to_owned(),
            ..ExchangeTokenRequest::default()
        };
        let answer = self.server.tokens(leaf).exchange_token(request).await?.into_inner();
        assert_eq!(answer.bound_to, leaf.thumbprint().as_bytes());
        Ok(answer.access_token)
    }

    /// A form with these parameters beside or in place of those of a good one; an empty value leaves one out.
    pub async fn form(&self, token: &str, changed: &[(&str, &str)]) -> Reply {
        let good = [
            ("grant_type", GRANT),
            ("client_id", "spiffe://prod.example/checkout"),
            ("subject_token", token),
            ("subject_token_type", ACCESS_TOKEN),
            ("resource", ORDERS),
        ];
        let kept = good.into_iter().filter(|(name, _)| changed.iter().all(|(other, _)| other != name));
        let form: Vec<(&str, &str)> = kept.chain(changed.iter().copied()).collect();
        self.server.send(&self.checkout, post(TOKEN, &form)).await
    }
}

// RFC 8693 sections 2.1 and 2.2.1
#[tokio::test]
async fn both_protocols_exchange_alike_and_say_what_was_issued() {
    let called = Called::new().await;
    let token = called.token().await;
    let issued = called.exchange(&called.checkout, &token, "orders.read").await.unwrap();
    let answer = called.form(&token, &[("scope", "orders.read")]).await.ok();
    let members: Vec<&String> = answer.as_object().unwrap().keys().collect();
    let expected = ["access_token", "cnf", "expires_in", "issued_token_type", "scope", "token_type"];
    assert_eq!(members, expected, "no refresh token");
    assert_eq!((&answer["token_type"], &answer["issued_token_type"]), (&json!("Bearer"), &json!(ACCESS_TOKEN)));
    assert_eq!((&answer["expires_in"], &answer["scope"]), (&json!(120), &json!("orders.read")));
    let over_http = answer["access_token"].as_str().unwrap();
    assert_eq!(answer["cnf"], json!({ "x5t#S256": called.checkout.thumbprint().to_string() }));
    assert_eq!(answer["cnf"], claims(over_http)["cnf"]);
    let without_id = |token: &str| {
        let mut said = claims(token);
        said.remove("jti").unwrap();
        said
    };
    assert_eq!(without_id(&issued), without_id(over_http));
    let metadata = called.server.send(&called.checkout, get("/.well-known/oauth-authorization-server")).await;
    assert_eq!(metadata.json()["grant_types_supported"], json!(["client_credentials", GRANT]));
}

// RFC 8693 sections 2.1 and 2.2.2, RFC 9396 section 5
#[tokio::test]
async fn each_fault_of_a_form_has_its_error() {
    let called = Called::new().await;
    let token = called.token().await;
    let own = called.server.token(&called.checkout).await;
    called.form(&token, &[]).await.ok();
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("subject_token", "")], "invalid_request"),
        (&[("subject_token_type", "")], "invalid_request"),
        (&[("subject_token_type", "urn:ietf:params:oauth:token-type:jwt")], "invalid_request"),
        (&[("subject_token_type", "urn:ietf:params:oauth:token-type:id_token")], "invalid_request"),
        (&[("subject_token_type", "urn:ietf:params:oauth:token-type:refresh_token")], "invalid_request"),
        (&[("subject_token_type", "urn:lanyard:params:oauth:token-type:presentation-receipt")], "invalid_request"),
        (&[("subject_token_type", "access_token")], "invalid_request"),
        (&[("subject_token", "garbage")], "invalid_request"),
        (&[("subject_token", &own)], "invalid_request"),
        (&[("actor_token", &own)], "invalid_request"),
        (&[("actor_token_type", ACCESS_TOKEN)], "invalid_request"),
        (&[("actor_token", &own), ("actor_token_type", "urn:ietf:params:oauth:token-type:jwt")], "invalid_request"),
        (&[("actor_token", &token), ("actor_token_type", ACCESS_TOKEN)], "invalid_request"),
        (&[("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token")], "invalid_request"),
        (&[("requested_token_type", "urn:ietf:params:oauth:token-type:jwt")], "invalid_request"),
        (&[("resource", "")], "invalid_request"),
        (&[("resource", CHECKOUT)], "invalid_target"),
        (&[("audience", CHECKOUT)], "invalid_target"),
        (&[("resource", ORDERS), ("resource", CHECKOUT)], "invalid_target"),
        (&[("resource", ""), ("audience", CHECKOUT)], "invalid_target"),
        (&[("scope", "orders.admin")], "invalid_scope"),
        (&[("scope", "orders.read  orders.write")], "invalid_scope"),
        (&[("scope", "checkout.submit")], "invalid_scope"),
        (&[("authorization_details", r#"[{"type":"order"}]"#)], "invalid_authorization_details"),
        (&[("subject_token", &token), ("subject_token", &token)], "invalid_request"),
        (&[("scope", "orders.read"), ("scope", "orders.read")], "invalid_request"),
        (&[("requested_token_type", ACCESS_TOKEN), ("requested_token_type", ACCESS_TOKEN)], "invalid_request"),
        (&[("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")], "unsupported_grant_type"),
    ];
    for (changed, error) in cases {
        assert_eq!(called.form(&token, changed).await.error(), (400, (*error).to_owned()), "{changed:?}");
    }
    let good: &[&[(&str, &str)]] = &[
        &[("requested_token_type", ACCESS_TOKEN)],
        &[("actor_token", &own), ("actor_token_type", ACCESS_TOKEN)],
        &[("audience", ORDERS)],
        &[("resource", ""), ("audience", ORDERS)],
        &[("resource", ORDERS), ("resource", ORDERS)],
        &[("scope", "orders.write orders.read")],
    ];
    for changed in good {
        called.form(&token, changed).await.ok();
    }
    // Who may not exchange at all, and who is not the client.
    let form = [
        ("grant_type", GRANT),
        ("client_id", "spiffe://prod.example/frontend"),
        ("subject_token", &token),
        ("subject_token_type", ACCESS_TOKEN),
        ("resource", ORDERS),
    ];
    let reply = called.server.send(&called.frontend, post(TOKEN, &form)).await;
    assert_eq!(reply.error(), (400, "unauthorized_client".to_owned()));
    let reply = called.server.send(&called.checkout, post(TOKEN, &form)).await;
    assert_eq!(reply.error(), (401, "invalid_client".to_owned()));
}

// TX28: also at the grant that issues tokens
#[tokio::test]
async fn authorization_details_are_refused_with_every_grant() {
    let called = Called::new().await;
    let form = [("grant_type", "client_credentials"), ("client_id", "spiffe://prod.example/frontend")];
    let send = async |more: &str| {
        let body = format!("{}{more}", encoded(&form));
        called.server.send(&called.frontend, raw(Method::POST, TOKEN, FORM, body)).await
    };
    send("").await.ok();
    assert_eq!(send("&authorization_details=[]").await.error(), (400, "invalid_authorization_details".to_owned()));
}

#[tokio::test]
async fn grpc_says_each_kind_of_refusal_by_its_code() {
    let called = Called::new().await;
    let token = called.token().await;
    let request = |audience: &str, scope: &str, subject| ExchangeTokenRequest {
        subject,
        audience: Some(audience.to_owned()).filter(|audience| !audience.is_empty()).into_iter().collect(),
        scope: scope.to_owned(),
        ..ExchangeTokenRequest::default()
    };
    let subject = || Some(Subject::AccessToken(token.clone()));
    let mut checkout = called.server.tokens(&called.checkout);
    for (request, expected) in [
        (request(ORDERS, "", None), (Code::InvalidArgument, "INVALID_REQUEST")),
        (request("", "", subject()), (Code::InvalidArgument, "INVALID_REQUEST")),
        (request(CHECKOUT, "", subject()), (Code::InvalidArgument, "INVALID_TARGET")),
        (request(ORDERS, "orders.admin", subject()), (Code::InvalidArgument, "INVALID_SCOPE")),
        (
            request(ORDERS, "", Some(Subject::AccessToken("x".to_owned()))),
            (Code::InvalidArgument, "SUBJECT_NOT_ACCEPTED"),
        ),
    ] {
        let status = checkout.exchange_token(request).await.unwrap_err();
        assert_eq!((status.code(), reason_of(&status).as_str()), expected, "{status:?}");
    }
    let status = called.exchange(&called.frontend, &token, "").await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).as_str()), (Code::PermissionDenied, "UNAUTHORIZED_CLIENT"));
    let status = called.exchange(&called.server.svid("/nobody"), &token, "").await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).as_str()), (Code::Unauthenticated, "INVALID_CLIENT"));
}

#[tokio::test]
async fn what_cannot_be_read_over_grpc_is_a_refusal_with_a_reference_as_over_http() {
    let called = Called::new().await;
    let subject = || Some(Subject::Receipt("x".to_owned()));
    let context = Some(prost_types::Struct::default());
    let unread = [
        ExchangeTokenRequest { subject: subject(), requested: 99, ..ExchangeTokenRequest::default() },
        ExchangeTokenRequest { subject: subject(), request_context: context, ..ExchangeTokenRequest::default() },
    ];
    let mut references = Vec::new();
    for request in unread {
        let status = called.server.tokens(&called.checkout).exchange_token(request).await.unwrap_err();
        assert_eq!((status.code(), reason_of(&status).as_str()), (Code::InvalidArgument, "INVALID_REQUEST"));
        let info = tonic_types::StatusExt::get_details_error_info(&status).unwrap();
        references.push(info.metadata["reference"].clone());
    }
    let form = called.form("x", &[("subject_token_type", "x")]).await.json();
    references.push(form["reference"].as_str().unwrap().to_owned());
    let mut explanations = ExplanationServiceClient::new(called.server.channel(&called.checkout));
    for reference in references {
        let told = explanations.explain_refusal(ExplainRefusalRequest { reference }).await.unwrap().into_inner();
        let told = told.refusal.unwrap();
        assert_eq!(told.reason.to_uppercase(), "INVALID_REQUEST", "{told:?}");
    }
}

// X28: whoever tries tokens learns nothing about them
#[tokio::test]
async fn whatever_is_wrong_with_the_subject_the_answer_has_the_same_bytes() {
    let called = Called::new().await;
    let (server, token) = (&called.server, called.token().await);
    let (message, signature) = token.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') { 'B' } else { 'A' };
    let (own, revoked) = (server.token(&called.checkout).await, called.token().await);
    let revoke =
        |token: &str| RevokeTokenRequest { target: Some(Target::Token(token.to_owned())), ..Default::default() };
    server.tokens(&server.svid("/admin")).revoke_token(revoke(&revoked)).await.unwrap();
    let subjects = [
        "garbage".to_owned(),
        "a.b.c".to_owned(),
        format!("{message}.{flipped}{}", &signature[1..]),
        format!("{message}."),
        own,
        revoked,
        "x".repeat(20_000),
    ];
    let (mut answers, mut steps) = (BTreeSet::new(), BTreeSet::new());
    for subject in &subjects {
        let reply = called.form(subject, &[]).await;
        let reference = reply.json()["reference"].as_str().unwrap().to_owned();
        answers.insert((reply.status, reply.body.replace(&reference, "")));
        // Nor by asking why.
        let mut explanations = ExplanationServiceClient::new(server.channel(&called.checkout));
        let told = explanations.explain_refusal(ExplainRefusalRequest { reference }).await.unwrap().into_inner();
        let told = told.refusal.unwrap();
        steps.insert((told.reason, told.cause, told.fix, told.steps.len()));
    }
    // A good one that a rule keeps from a client is no exception.
    let cautious = Client { client_id: "spiffe://prod.example/other".to_owned(), ..Called::exchanging("receipt") };
    server.register(cautious).await.unwrap();
    let form = [
        ("grant_type", GRANT),
        ("client_id", "spiffe://prod.example/other"),
        ("subject_token", &token),
        ("subject_token_type", ACCESS_TOKEN),
        ("resource", ORDERS),
    ];
    let reply = server.send(&server.svid("/other"), post(TOKEN, &form)).await;
    let reference = reply.json()["reference"].as_str().unwrap().to_owned();
    answers.insert((reply.status, reply.body.replace(&reference, "")));
    assert_eq!(answers.len(), 1, "{answers:#?}");
    assert_eq!(steps.len(), 1, "{steps:#?}");
}

/// What all voices say of a delegated token that came with this certificate: the reason, if it is denied.
async fn evaluated(called: &Called, token: &str, leaf: &Leaf) -> Option<DenyReason> {
    let server = &called.server;
    let request = ValidateBindingRequest {
        access_token: token.to_owned(),
        evidence: certificate_of(leaf),
        audience: ORDERS.to_owned(),
        scope: String::new(),
        receipt: false,
    };
    let validated = server.bindings(&server.svid("/proxy")).validate_binding(request).await.unwrap().into_inner();
    let checked = server.check(Asked::with(token, leaf).to("GET", "/any")).await;
    if validated.decision() == Decision::Allow {
        assert_eq!(checked.http(), 200);
        return None;
    }
    let reason = validated.reason();
    assert_eq!(Some(checked.reason()), reason.as_str_name().strip_prefix("DENY_REASON_"));
    Some(reason)
}

/// Whether the token is active, by both ways to introspect.
async fn active(called: &Called, token: &str) -> Option<Value> {
    let proxy = called.server.svid("/proxy");
    let form = [("token", token), ("client_id", "")];
    let answer = called.server.send(&proxy, post("/oauth2/introspect", &form)).await.ok();
    let request = IntrospectTokenRequest { token: token.to_owned(), ..Default::default() };
    let grpc = called.server.tokens(&proxy).introspect_token(request).await.unwrap().into_inner();
    assert_eq!(answer["active"], json!(grpc.active));
    let fields = grpc.claims.map(|claims| claims.fields);
    assert_eq!(fields.as_ref().is_some_and(|fields| fields.contains_key("act")), answer.get("act").is_some());
    assert!(fields.is_none_or(|fields| !fields.contains_key("lanyard_from")));
    assert_eq!(answer.get("lanyard_from"), None);
    grpc.active.then_some(answer)
}

#[tokio::test]
async fn all_protocols_agree_about_delegated_tokens() {
    let called = Called::new().await;
    let token = called.token().await;
    let delegated = called.exchange(&called.checkout, &token, "").await.unwrap();
    let own = called.server.token(&called.checkout).await;
    assert_eq!(evaluated(&called, &delegated, &called.checkout).await, None);
    assert_eq!(evaluated(&called, &own, &called.checkout).await, None);
    assert_eq!(evaluated(&called, &delegated, &called.frontend).await, Some(DenyReason::CertificateMismatch));
    let introspected = active(&called, &delegated).await.unwrap();
    assert_eq!(introspected["act"], json!({ "sub": "spiffe://prod.example/checkout" }));
    assert_eq!(introspected["sub"], "spiffe://prod.example/frontend");
    assert_eq!(active(&called, &own).await.unwrap().get("act"), None);
    // The first token is revoked: the next request with the second is denied, in every protocol.
    let revoke = RevokeTokenRequest { target: Some(Target::Token(token)), ..Default::default() };
    called.server.tokens(&called.frontend).revoke_token(revoke).await.unwrap();
    assert_eq!(evaluated(&called, &delegated, &called.checkout).await, Some(DenyReason::DelegationBroken));
    assert_eq!(active(&called, &delegated).await, None);
    assert_eq!(evaluated(&called, &own, &called.checkout).await, None);
}

#[tokio::test]
async fn a_check_tells_the_actor_of_a_delegated_token_and_of_no_other() {
    let called = Called::new().await;
    let delegated = called.exchange(&called.checkout, &called.token().await, "").await.unwrap();
    let own = called.server.token(&called.checkout).await;
    let spellings = ["x-lanyard-actor", "X-Lanyard-Actor", "x_lanyard_actor"];
    let ask = async |token: &str| {
        let asked = Asked::with(token, &called.checkout).to("GET", "/any");
        let asked = spellings.iter().fold(asked, |asked, name| asked.header(name, "spiffe://prod.example/forged"));
        match called.server.check(asked).await {
            Answer::Through { set, removed, .. } => (set, removed),
            Answer::Denied { reason, .. } => panic!("{reason}"),
        }
    };
    let (set, removed) = ask(&delegated).await;
    assert_eq!(set["x-lanyard-actor"], "spiffe://prod.example/checkout");
    assert_eq!(set["x-lanyard-client-id"], "spiffe://prod.example/checkout");
    assert_eq!(set["x-lanyard-subject"], "spiffe://prod.example/frontend");
    assert!(!removed.contains(&"x-lanyard-actor".to_owned()) && removed.contains(&"x_lanyard_actor".to_owned()));
    let (set, removed) = ask(&own).await;
    assert!(!set.contains_key("x-lanyard-actor"));
    assert!(spellings.iter().all(|name| removed.contains(&(*name).to_owned())), "{removed:?}");
}

#[tokio::test]
async fn what_was_revoked_ends_what_came_from_it_over_a_restart() {
    let called = Called::on("{sled: {path: data}}").await;
    let (token, kept) = (called.token().await, called.token().await);
    let broken = called.exchange(&called.checkout, &token, "").await.unwrap();
    let good = called.exchange(&called.checkout, &kept, "").await.unwrap();
    let revoke = RevokeTokenRequest { target: Some(Target::Token(token)), ..Default::default() };
    called.server.tokens(&called.frontend).revoke_token(revoke).await.unwrap();
    let Called { server, frontend, checkout } = called;
    let TestServer { server, setup, .. } = server;
    server.stop().await;
    let server = Setup::start(setup).await.unwrap();
    let called = Called { server, frontend, checkout };
    assert_eq!(evaluated(&called, &broken, &called.checkout).await, Some(DenyReason::DelegationBroken));
    assert_eq!(evaluated(&called, &good, &called.checkout).await, None);
    assert_eq!(
        refusal(called.server.tokens(&called.checkout).exchange_token(ExchangeTokenRequest::default()).await).0,
        Code::InvalidArgument
    );
}
