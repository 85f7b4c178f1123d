//! Transaction tokens over HTTP and gRPC.

use lanyard::proto::Client;
use lanyard::proto::Decision;
use lanyard::proto::DenyReason;
use lanyard::proto::ExchangeTokenRequest;
use lanyard::proto::ExchangeTokenResponse;
use lanyard::proto::ProtectedResource;
use lanyard::proto::Receipts;
use lanyard::proto::RouteTxn;
use lanyard::proto::ScopeGrant;
use lanyard::proto::TokenType;
use lanyard::proto::TxnRule;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::exchange_token_request::Subject;
use prost_types::Struct;
use prost_types::value::Kind;
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
use crate::support::http::Reply;
use crate::support::http::post;
use crate::support::leaf::Leaf;
use crate::support::mint::part;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::spiffe_client;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
pub const TXN_TOKEN: &str = "urn:ietf:params:oauth:token-type:txn_token";
pub const UNSIGNED_JSON: &str = "urn:ietf:params:oauth:token-type:unsigned_json";
pub const RECEIPT: &str = "urn:lanyard:params:oauth:token-type:presentation-receipt";
pub const EDGE: &str = "spiffe://prod.example/edge";
const TOKEN: &str = "/oauth2/token";

/// A frontend that calls the orders; what serves them at the edge asks for transaction tokens.
pub struct Called {
    pub server: TestServer,
    pub frontend: Leaf,
    pub edge: Leaf,
}

impl Called {
    pub async fn new() -> Self {
        Self::with("\ntxn_tokens: {trust_domain: prod.example, max_context: 200}").await
    }

    async fn with(txn_tokens: &str) -> Self {
        let server = TestServer::started(|setup| setup.exchange = format!("{{enabled: true}}{txn_tokens}")).await;
        let receipts = Receipts { exchangers: vec![EDGE.to_owned()], ..Receipts::default() };
        let routes = vec![route(&[], "/**", "")];
        server.protect(ProtectedResource { receipts: Some(receipts), routes, ..check::orders() }).await.unwrap();
        server.register(spiffe_client("spiffe://prod.example/frontend")).await.unwrap();
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let grant = ScopeGrant { needs: "orders.write".to_owned(), gives: "order.cancel order.view".to_owned() };
        let presented = TxnRule {
            subjects: texts(&["spiffe://prod.example/frontend"]),
            presented_at: ORDERS.to_owned(),
            grants: vec![grant],
            details: texts(&["order", "note"]),
            context: texts(&["req_ip"]),
            ..TxnRule::default()
        };
        let own = TxnRule { subjects: texts(&["self"]), scope: "nightly.settle".to_owned(), ..TxnRule::default() };
        let edge = Client {
            grant_types: texts(&["client_credentials", GRANT]),
            txn: vec![presented, own],
            ..spiffe_client(EDGE)
        };
        server.register(edge).await.unwrap();
        let (frontend, edge) = (server.svid("/frontend"), server.svid("/edge"));
        Self { server, frontend, edge }
    }

    /// What the edge gets with a request of the frontend.
    pub async fn receipt(&self) -> String {
        let token = self.server.token(&self.frontend).await;
        match self.server.check(Asked::with(&token, &self.frontend).to("GET", "/any")).await {
            Answer::Through { set, .. } => set["x-lanyard-receipt"].clone(),
            Answer::Denied { reason, .. } => panic!("{reason}"),
        }
    }

    /// A form with these parameters beside or in place of those of a good one; an empty value leaves one out.
    pub async fn form(&self, receipt: &str, changed: &[(&str, &str)]) -> Reply {
        let good = [
            ("grant_type", GRANT),
            ("client_id", EDGE),
            ("requested_token_type", TXN_TOKEN),
            ("audience", "prod.example"),
            ("scope", "order.cancel"),
            ("subject_token", receipt),
            ("subject_token_type", RECEIPT),
        ];
        let kept = good.into_iter().filter(|(name, _)| changed.iter().all(|(other, _)| other != name));
        let form: Vec<(&str, &str)> = kept.chain(changed.iter().copied()).collect();
        self.server.send(&self.edge, post(TOKEN, &form)).await
    }

    async fn grpc(&self, subject: Subject, details: Value) -> Result<ExchangeTokenResponse, Status> {
        let request = ExchangeTokenRequest {
            subject: Some(subject),
            requested: TokenType::TxnToken.into(),
            audience: vec!["prod.example".to_owned()],
            scope: "order.cancel".to_owned(),
            request_details: structure(&details),
            ..ExchangeTokenRequest::default()
        };
        self.server.tokens(&self.edge).exchange_token(request).await.map(tonic::Response::into_inner)
    }
}

pub fn structure(value: &Value) -> Option<Struct> {
    let Kind::StructValue(structure) = kind(value) else { return None };
    Some(structure)
}

fn kind(value: &Value) -> Kind {
    let message = |value: &Value| prost_types::Value { kind: Some(kind(value)) };
    match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(*flag),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(values) => {
            Kind::ListValue(prost_types::ListValue { values: values.iter().map(message).collect() })
        }
        Value::Object(members) => {
            let fields = members.iter().map(|(name, member)| (name.clone(), message(member))).collect();
            Kind::StructValue(Struct { fields })
        }
    }
}

// TT-16, TT-17, TT-31
#[tokio::test]
async fn both_protocols_issue_the_same_transaction_token_which_is_no_bearer() {
    let called = Called::new().await;
    let text = called.receipt().await;
    let details = json!({ "order": { "id": 17, "lines": ["a", 1.5, true, null] } });
    let reply = called.form(&text, &[("request_details", &details.to_string())]).await;
    reply.assert_no_store();
    let answer = reply.ok();
    let members: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(members, ["access_token", "expires_in", "issued_token_type", "scope", "token_type"]);
    assert_eq!((&answer["token_type"], &answer["issued_token_type"]), (&json!("N_A"), &json!(TXN_TOKEN)));
    assert_eq!((&answer["expires_in"], &answer["scope"]), (&json!(60), &json!("order.cancel")));
    let said = claims(answer["access_token"].as_str().unwrap());
    assert_eq!((&said["aud"], &said["req_wl"], &said["tctx"]), (&json!("prod.example"), &json!(EDGE), &details));
    let grpc = called.grpc(Subject::Receipt(text.clone()), details).await.unwrap();
    assert_eq!((grpc.issued(), grpc.bound_to.is_empty()), (TokenType::TxnToken, true));
    assert_eq!(claims(&grpc.access_token), said);
    // In place of it, narrower.
    let first = answer["access_token"].as_str().unwrap();
    let replaced = called.form(first, &[("subject_token_type", TXN_TOKEN)]).await.ok();
    let over_grpc = called.grpc(Subject::TxnToken(first.to_owned()), json!({})).await.unwrap();
    assert_eq!(claims(replaced["access_token"].as_str().unwrap()), claims(&over_grpc.access_token));
    // For itself.
    let own = json!({ "sub": EDGE }).to_string();
    let own = [("subject_token", own.as_str()), ("subject_token_type", UNSIGNED_JSON), ("scope", "nightly.settle")];
    let own = called.form("", &own).await.ok();
    assert_eq!(claims(own["access_token"].as_str().unwrap())["sub"], EDGE);
}

// TT-16 to TT-23, TX1: and the names that earlier drafts had
#[tokio::test]
async fn each_fault_of_a_form_for_a_transaction_token_has_its_error() {
    let called = Called::new().await;
    let text = called.receipt().await;
    let token = called.server.token(&called.frontend).await;
    let own = called.server.token(&called.edge).await;
    let long = json!({ "note": "x".repeat(200) }).to_string();
    let hidden = json!({ "note": token }).to_string();
    let jwt = "urn:ietf:params:oauth:token-type:jwt";
    called.form(&text, &[]).await.ok();
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("subject_token", "")], "invalid_request"),
        (&[("subject_token_type", "")], "invalid_request"),
        (&[("subject_token_type", "urn:ietf:params:oauth:token-type:refresh_token")], "invalid_request"),
        (&[("subject_token_type", "urn:ietf:params:oauth:token-type:self_signed")], "invalid_request"),
        (&[("subject_token_type", jwt)], "invalid_request"),
        (&[("subject_token_type", TXN_TOKEN)], "invalid_request"),
        (&[("subject_token_type", UNSIGNED_JSON)], "invalid_request"),
        (&[("subject_token_type", ACCESS_TOKEN)], "invalid_request"),
        (&[("subject_token", &token), ("subject_token_type", ACCESS_TOKEN)], "invalid_request"),
        (&[("subject_token", &token), ("subject_token_type", TXN_TOKEN)], "invalid_request"),
        (&[("receipt", &text)], "invalid_request"),
        (&[("actor_token", &own), ("actor_token_type", ACCESS_TOKEN)], "invalid_request"),
        (&[("actor_token", &own)], "invalid_request"),
        (&[("scope", "")], "invalid_request"),
        (&[("scope", "orders.write")], "invalid_scope"),
        (&[("scope", "nightly.settle")], "invalid_scope"),
        (&[("audience", "")], "invalid_request"),
        (&[("audience", ORDERS)], "invalid_target"),
        (&[("resource", ORDERS)], "invalid_target"),
        (&[("audience", "prod.example"), ("audience", "other.example")], "invalid_target"),
        (&[("requested_token_type", "urn:ietf:params:oauth:token-type:txn-token")], "invalid_request"),
        (&[("purpose", "order.cancel")], "invalid_request"),
        (&[("authz_details", r#"{"order":1}"#)], "invalid_request"),
        (&[("authorization_details", "[]")], "invalid_authorization_details"),
        // base64url, as it was once.
        (&[("request_details", "eyJvcmRlciI6MX0")], "invalid_request"),
        (&[("request_details", "[1]")], "invalid_request"),
        (&[("request_details", "\"order\"")], "invalid_request"),
        (&[("request_details", r#"{"order":1,"order":2}"#)], "invalid_request"),
        (&[("request_details", r#"{"order":{"a":1,"a":1}}"#)], "invalid_request"),
        (&[("request_details", r#"{"amount":1}"#)], "invalid_request"),
        (&[("request_details", &long)], "invalid_request"),
        (&[("request_details", &hidden)], "invalid_request"),
        (&[("request_context", r#"{"order":1}"#)], "invalid_request"),
        (&[("request_details", "{}"), ("request_details", "{}")], "invalid_request"),
        // They go with nothing else.
        (&[("requested_token_type", ACCESS_TOKEN), ("request_details", "{}")], "invalid_request"),
        (&[("requested_token_type", ""), ("request_context", "{}")], "invalid_request"),
    ];
    for (changed, error) in cases {
        assert_eq!(called.form(&text, changed).await.error(), (400, (*error).to_owned()), "{changed:?}");
    }
    let good: &[&[(&str, &str)]] = &[
        &[("request_details", r#"{"order":1,"note":"x"}"#), ("request_context", r#"{"req_ip":"192.0.2.7"}"#)],
        &[("request_details", "{}")],
        &[("scope", "order.view order.cancel")],
        &[("resource", ""), ("audience", "prod.example"), ("audience", "prod.example")],
    ];
    for changed in good {
        called.form(&text, changed).await.ok();
    }
}

#[tokio::test]
async fn grpc_refuses_a_transaction_token_by_the_same_codes() {
    let called = Called::new().await;
    let text = called.receipt().await;
    let receipt = || Subject::Receipt(text.clone());
    assert!(called.grpc(receipt(), json!({ "order": 1 })).await.is_ok());
    let refused = refusal(called.grpc(receipt(), json!({ "amount": 1 })).await);
    assert_eq!((refused.0, refused.1.as_str()), (Code::InvalidArgument, "INVALID_REQUEST"));
    let refused = refusal(called.grpc(Subject::Receipt("lr1.x".to_owned()), json!({})).await);
    assert_eq!((refused.0, refused.1.as_str()), (Code::InvalidArgument, "SUBJECT_NOT_ACCEPTED"));
    let nan = Struct {
        fields: [("order".to_owned(), prost_types::Value { kind: Some(Kind::NumberValue(f64::NAN)) })].into(),
    };
    let asked = |requested: i32, subject, request_details| ExchangeTokenRequest {
        subject: Some(subject),
        requested,
        audience: vec!["prod.example".to_owned()],
        scope: "order.cancel".to_owned(),
        request_details,
        ..ExchangeTokenRequest::default()
    };
    let txn = i32::from(TokenType::TxnToken);
    for bad in [
        asked(txn, receipt(), Some(nan)),
        asked(9, receipt(), None),
        // What is about transactions goes with nothing else.
        asked(0, receipt(), Some(Struct::default())),
        asked(0, Subject::TxnToken("x".to_owned()), None),
    ] {
        let refused = refusal(called.server.tokens(&called.edge).exchange_token(bad.clone()).await);
        assert_eq!((refused.0, refused.1.as_str()), (Code::InvalidArgument, "INVALID_REQUEST"), "{bad:?}");
    }
    // Where none are issued.
    let without = Called::with("").await;
    let text = without.receipt().await;
    let refused = refusal(without.grpc(Subject::Receipt(text.clone()), json!({})).await);
    assert_eq!((refused.0, refused.1.as_str()), (Code::FailedPrecondition, "TXN_TOKENS_NOT_ENABLED"));
    assert_eq!(without.form(&text, &[]).await.error(), (400, "invalid_request".to_owned()));
}

// X21, TT-34, TX19
#[tokio::test]
async fn a_transaction_token_is_no_bearer_token_and_authenticates_nobody() {
    let called = Called::new().await;
    let txn = called.form(&called.receipt().await, &[]).await.ok()["access_token"].as_str().unwrap().to_owned();
    let server = &called.server;
    for leaf in [&called.edge, &called.frontend] {
        let checked = server.check(Asked::with(&txn, leaf).to("GET", "/any")).await;
        assert_eq!((checked.http(), checked.reason()), (401, "TOKEN_TYPE"));
        let request = ValidateBindingRequest {
            access_token: txn.clone(),
            evidence: certificate_of(leaf),
            audience: ORDERS.to_owned(),
            ..ValidateBindingRequest::default()
        };
        let validated = server.bindings(&server.svid("/proxy")).validate_binding(request).await.unwrap().into_inner();
        assert_eq!((validated.decision(), validated.reason()), (Decision::Deny, DenyReason::TokenType));
    }
    let proxy = server.svid("/proxy");
    let introspected = server.send(&proxy, post("/oauth2/introspect", &[("token", &txn)])).await.ok();
    assert_eq!(introspected, json!({ "active": false }));
    for kind in ["jwt-spiffe", "jwt-bearer"] {
        let kind = format!("urn:ietf:params:oauth:client-assertion-type:{kind}");
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", EDGE),
            ("client_assertion_type", kind.as_str()),
            ("client_assertion", txn.as_str()),
        ];
        assert_eq!(server.send(&called.edge, post(TOKEN, &form)).await.error().1, "invalid_client", "{kind}");
    }
    let form = [("grant_type", "client_credentials"), ("client_id", EDGE)];
    server.send(&called.edge, post(TOKEN, &form)).await.ok();
}

// Where the signature is not made at once the check waits for it, whichever way it came.
#[tokio::test]
async fn a_check_mints_with_a_key_that_takes_long_to_sign_too() {
    for algorithm in ["RS256", "EdDSA"] {
        let server = TestServer::started(|setup| {
            "{enabled: true}\ntxn_tokens: {trust_domain: prod.example}".clone_into(&mut setup.exchange);
            setup.keys =
                setup.keys.replace("{key_encryption_key", &format!("{{algorithm: {algorithm}, key_encryption_key"));
        });
        let server = server.await;
        let mut orders = check::orders();
        let details = [("order".to_owned(), "{id}".to_owned())].into();
        orders.routes[0].txn = Some(RouteTxn { scope: "order.read".to_owned(), details, ..RouteTxn::default() });
        server.protect(orders).await.unwrap();
        let (checkout, thief) = (server.workload("/checkout").await, server.workload("/thief").await);
        let token = server.token(&checkout).await;
        // What does not arrive in one piece goes the long way.
        for more in [0, 40_000] {
            let asked = Asked::with(&token, &checkout).header("x-more", &"x".repeat(more));
            let Answer::Through { set, .. } = server.check(asked).await else { panic!("{algorithm} {more}") };
            assert_eq!(part(&set["txn-token"], 0)["alg"], algorithm, "{more}");
            assert_eq!(part(&set["txn-token"], 1)["tctx"], json!({ "order": "1" }), "{more}");
        }
        let denied = server.check(Asked::with(&token, &thief)).await;
        assert_eq!(denied.reason(), "CERTIFICATE_MISMATCH");
    }
}
