//! gRPC and HTTP refuse a transaction token for the same reason, and say it alike.

use std::collections::BTreeSet;

use lanyard::proto::ExchangeTokenRequest;
use lanyard::proto::ExplainRefusalRequest;
use lanyard::proto::TokenType;
use lanyard::proto::exchange_token_request::Subject;
use lanyard::proto::explanation_service_client::ExplanationServiceClient;
use serde_json::Value;
use serde_json::json;
use tonic_types::StatusExt as _;

use crate::exchange::txn_voices::Called;
use crate::exchange::txn_voices::EDGE;
use crate::exchange::txn_voices::RECEIPT;
use crate::exchange::txn_voices::TXN_TOKEN;
use crate::exchange::txn_voices::UNSIGNED_JSON;
use crate::exchange::txn_voices::structure;
use crate::support::calls::refusal;

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const SELF_SIGNED: &str = "urn:ietf:params:oauth:token-type:self_signed";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// A request, whoever carries it.
#[derive(Clone, Debug)]
struct Wanted {
    kind: &'static str,
    subject: String,
    audience: &'static str,
    scope: &'static str,
    details: Value,
}

impl Wanted {
    fn message(&self) -> ExchangeTokenRequest {
        let text = self.subject.clone();
        let subject = match self.kind {
            RECEIPT => Subject::Receipt(text),
            ACCESS_TOKEN => Subject::AccessToken(text),
            TXN_TOKEN => Subject::TxnToken(text),
            SELF_SIGNED => Subject::SelfSigned(text),
            UNSIGNED_JSON => Subject::UnsignedJson(structure(&serde_json::from_str(&text).unwrap()).unwrap()),
            JWT => Subject::Jwt(text),
            other => panic!("{other}"),
        };
        ExchangeTokenRequest {
            subject: Some(subject),
            requested: TokenType::TxnToken.into(),
            audience: vec![self.audience.to_owned()],
            scope: self.scope.to_owned(),
            request_details: structure(&self.details),
            ..ExchangeTokenRequest::default()
        }
    }
}

/// Why a refusal was one, as an admin is told.
async fn told(called: &Called, reference: &str) -> (String, String, Vec<(String, bool)>) {
    let request = ExplainRefusalRequest { reference: reference.to_owned() };
    let mut explanations = ExplanationServiceClient::new(called.server.channel(&called.server.svid("/admin")));
    let refusal = explanations.explain_refusal(request).await.unwrap().into_inner().refusal.unwrap();
    let steps = refusal.steps.into_iter().map(|step| (step.check, step.passed)).collect();
    (refusal.reason, refusal.cause, steps)
}

// Each reason for which no transaction token is issued, over both protocols
#[tokio::test]
async fn both_protocols_refuse_a_transaction_token_for_the_same_reason() {
    let called = Called::new().await;
    let token = called.server.token(&called.frontend).await;
    let good = Wanted {
        kind: RECEIPT,
        subject: called.receipt().await,
        audience: "prod.example",
        scope: "order.cancel order.view",
        details: json!({ "order": 17 }),
    };
    let issued = called.server.tokens(&called.edge).exchange_token(good.message()).await.unwrap().into_inner();
    let of = |kind, subject: &str, scope| Wanted { kind, subject: subject.to_owned(), scope, ..good.clone() };
    let own = json!({ "sub": EDGE }).to_string();
    let mut replaced = issued.access_token.clone();
    for _ in 0..3 {
        let again = Wanted { details: json!({}), ..of(TXN_TOKEN, &replaced, "order.cancel") };
        replaced =
            called.server.tokens(&called.edge).exchange_token(again.message()).await.unwrap().into_inner().access_token;
    }
    let nothing = |wanted: Wanted| Wanted { details: json!({}), ..wanted };
    let cases = [
        ("SEVERAL", None, nothing(of(RECEIPT, &good.subject, "order.view"))),
        ("NOT_THE_TRUST_DOMAIN", Some("invalid_target"), Wanted { audience: "other.example", ..good.clone() }),
        ("INVALID_SCOPE", Some("invalid_scope"), of(RECEIPT, &good.subject, "order.pay")),
        ("REQUEST_MALFORMED", Some("invalid_request"), of(RECEIPT, &good.subject, "")),
        ("CONTEXT_REFUSED", Some("invalid_request"), Wanted { details: json!({ "amount": 1 }), ..good.clone() }),
        ("CONTEXT_REFUSED", Some("invalid_request"), Wanted { details: json!({ "note": token }), ..good.clone() }),
        ("RECEIPT_INVALID", Some("invalid_request"), of(RECEIPT, "lr1.x", "order.view")),
        ("RECEIPT_MISSING", Some("invalid_request"), of(ACCESS_TOKEN, &token, "order.view")),
        ("SUBJECT_INVALID", Some("invalid_request"), of(ACCESS_TOKEN, "x.y.z", "order.view")),
        ("SUBJECT_INVALID", Some("invalid_request"), nothing(of(TXN_TOKEN, &token, "order.view"))),
        ("SUBJECT_INVALID", Some("invalid_request"), of(SELF_SIGNED, &token, "nightly.settle")),
        ("FOREIGN_INVALID", Some("invalid_request"), of(JWT, &token, "order.view")),
        ("", None, nothing(of(UNSIGNED_JSON, &own, "nightly.settle"))),
        ("INVALID_SCOPE", Some("invalid_scope"), nothing(of(UNSIGNED_JSON, &own, "order.view"))),
        (
            "NO_RULE",
            Some("invalid_request"),
            nothing(of(UNSIGNED_JSON, &own.replace("edge", "frontend"), "nightly.settle")),
        ),
        ("REQUEST_MALFORMED", Some("invalid_request"), nothing(of(UNSIGNED_JSON, "{}", "nightly.settle"))),
        ("", None, nothing(of(TXN_TOKEN, &issued.access_token, "order.view"))),
        ("INVALID_SCOPE", Some("invalid_scope"), nothing(of(TXN_TOKEN, &issued.access_token, "order.pay"))),
        (
            "CONTEXT_REFUSED",
            Some("invalid_request"),
            Wanted { details: json!({ "order": 18 }), ..of(TXN_TOKEN, &issued.access_token, "order.view") },
        ),
        ("REPLACED_TOO_OFTEN", Some("invalid_request"), nothing(of(TXN_TOKEN, &replaced, "order.cancel"))),
    ];
    let mut reasons = BTreeSet::new();
    for (reason, error, wanted) in cases {
        let details = wanted.details.to_string();
        let form = [
            ("subject_token", wanted.subject.as_str()),
            ("subject_token_type", wanted.kind),
            ("audience", wanted.audience),
            ("scope", wanted.scope),
            ("request_details", &details),
        ];
        let http = called.form("", &form).await;
        let grpc = called.server.tokens(&called.edge).exchange_token(wanted.message()).await;
        let Some(error) = error else {
            let (http, grpc) = (http.ok(), grpc.unwrap().into_inner());
            assert_eq!(http["scope"], grpc.scope, "{wanted:?}");
            continue;
        };
        let status = grpc.unwrap_err();
        let over_grpc = status.get_details_error_info().unwrap().metadata["reference"].clone();
        let over_grpc = told(&called, &over_grpc).await;
        assert_eq!(over_grpc, told(&called, http.json()["reference"].as_str().unwrap()).await, "{wanted:?}");
        assert_eq!((over_grpc.0.as_str(), http.error()), (reason, (400, error.to_owned())), "{wanted:?}");
        // The codes of one are those of the other; what is wrong with a subject has one of its own over gRPC.
        let (_, code) = refusal::<()>(Err(status));
        let same = if code == "SUBJECT_NOT_ACCEPTED" { "invalid_request".to_owned() } else { code.to_lowercase() };
        assert_eq!(same, error, "{wanted:?}");
        reasons.insert(reason);
    }
    assert_eq!(reasons.len(), 10, "{reasons:?}");
}
