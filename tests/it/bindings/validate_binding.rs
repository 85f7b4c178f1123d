//! `BindingService.ValidateBinding` over real TLS: each reason to deny beside its nearest allowance, and what an answer
//! says.

use std::time::Duration;

use lanyard::authority::clock::Timestamp;
use lanyard::proto::Client;
use lanyard::proto::Decision;
use lanyard::proto::DenyReason;
use lanyard::proto::EvidenceGrade;
use lanyard::proto::Match;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::ValidateBindingResponse;
use lanyard::proto::binding_service_client::BindingServiceClient;
use prost_types::value::Kind;
use serde_json::Value;
use serde_json::json;
use tonic::Code;
use tonic::transport::Channel;

use crate::support::NOW;
use crate::support::ca::self_signed;
use crate::support::calls::opened;
use crate::support::calls::pki_client;
use crate::support::calls::refusal;
use crate::support::calls::self_signed_client;
use crate::support::calls::use_of;
use crate::support::leaf::Leaf;
use crate::support::server::ORDERS;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::spiffe_client;

const CHECKOUT: &str = "spiffe://prod.example/checkout";

/// A question by a proxy that has seen `leaf`.
fn seen(leaf: &Leaf, token: &str) -> ValidateBindingRequest {
    ValidateBindingRequest { evidence: certificate_of(leaf), ..use_of(token) }
}

/// The answer over one connection, which stays the same from question to question.
async fn evaluate(
    proxy: &mut BindingServiceClient<Channel>,
    question: &ValidateBindingRequest,
) -> ValidateBindingResponse {
    proxy.validate_binding(question.clone()).await.unwrap().into_inner()
}

#[tokio::test]
async fn an_allowance_says_how_it_matched_and_until_when_it_holds_and_a_denial_says_why() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let mut proxy = server.bindings(&server.svid("/proxy"));
    let allowed = evaluate(&mut proxy, &seen(&checkout, &token)).await;
    assert_eq!((allowed.decision(), allowed.reason()), (Decision::Allow, DenyReason::Unspecified));
    assert_eq!((allowed.r#match(), allowed.evidence_grade()), (Match::Exact, EvidenceGrade::Certificate));
    let until = allowed.cache_until.unwrap();
    assert_eq!((until.seconds, until.nanos), (i64::try_from(NOW.0).unwrap() + 5, 0));
    assert_eq!(allowed.explanation, "");

    let denied = evaluate(&mut proxy, &seen(&server.svid("/thief"), &token)).await;
    assert_eq!((denied.decision(), denied.reason()), (Decision::Deny, DenyReason::CertificateMismatch));
    assert_eq!((denied.r#match(), denied.evidence_grade()), (Match::Unspecified, EvidenceGrade::Certificate));
    assert_eq!(denied.cache_until, None);
    assert_eq!(denied.explanation, "the token is bound to another certificate");
}

#[tokio::test]
async fn an_answer_carries_the_claims_of_the_token_once_its_signature_is_valid() {
    let server = TestServer::start().await;
    let audience = vec![ORDERS.to_owned(), "https://billing.prod.example".to_owned()];
    server.register(Client { audience, ..spiffe_client(CHECKOUT) }).await.unwrap();
    let checkout = server.svid("/checkout");
    let token = server.token(&checkout).await;
    let mut proxy = server.bindings(&server.svid("/proxy"));
    for leaf in [&checkout, &server.svid("/thief")] {
        let claims = evaluate(&mut proxy, &seen(leaf, &token)).await.claims.unwrap();
        assert_eq!(json_of(Kind::StructValue(claims)), opened(&token).1);
    }
    let (message, signature) = token.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    let forged = evaluate(&mut proxy, &seen(&checkout, &format!("{message}.{first}{}", &signature[1..]))).await;
    assert_eq!((forged.reason(), forged.claims), (DenyReason::BadSignature, None));
}

fn json_of(kind: Kind) -> Value {
    match kind {
        Kind::NullValue(_) => Value::Null,
        #[expect(clippy::cast_possible_truncation, reason = "NumericDates are whole")]
        Kind::NumberValue(number) => json!(number as i64),
        Kind::StringValue(text) => json!(text),
        Kind::BoolValue(flag) => json!(flag),
        Kind::ListValue(list) => list.values.into_iter().map(|value| json_of(value.kind.unwrap())).collect(),
        Kind::StructValue(fields) => {
            fields.fields.into_iter().map(|(name, value)| (name, json_of(value.kind.unwrap()))).collect()
        }
    }
}

#[tokio::test]
async fn a_token_is_good_until_the_second_before_it_expires() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let question = seen(&checkout, &server.token(&checkout).await);
    let mut proxy = server.bindings(&server.svid("/proxy"));
    server.advance(Duration::from_secs(299));
    let last = evaluate(&mut proxy, &question).await;
    assert_eq!(last.decision(), Decision::Allow);
    assert_eq!(last.cache_until.unwrap().seconds, i64::try_from(NOW.0).unwrap() + 300, "no longer than exp");
    server.advance(Duration::from_secs(1));
    assert_eq!(evaluate(&mut proxy, &question).await.reason(), DenyReason::TokenExpired);
}

#[tokio::test]
async fn a_clock_five_seconds_behind_is_forgiven_and_one_more_second_is_not() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let question = seen(&checkout, &server.token(&checkout).await);
    let mut proxy = server.bindings(&server.svid("/proxy"));
    server.setup.clock.set(Timestamp(NOW.0 - 5));
    assert_eq!(evaluate(&mut proxy, &question).await.decision(), Decision::Allow);
    server.setup.clock.set(Timestamp(NOW.0 - 6));
    assert_eq!(evaluate(&mut proxy, &question).await.reason(), DenyReason::TokenNotYetValid);
}

#[tokio::test]
async fn the_verdict_ttl_is_configured() {
    let setup = Setup { tokens: "{verdict_ttl: 2s}".to_owned(), ..Setup::default() };
    setup.write();
    let server = setup.start().await.unwrap();
    let checkout = server.workload("/checkout").await;
    let answer = server.validate(&server.token(&checkout).await, certificate_of(&checkout)).await.unwrap();
    assert_eq!(answer.cache_until.unwrap().seconds, i64::try_from(NOW.0).unwrap() + 2);
}

#[tokio::test]
async fn certificate_evidence_out_of_its_time_is_denied_whatever_token_comes_with_it() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let question = |leaf: &Leaf, token: &str| seen(leaf, token);
    let token = server.token(&checkout).await;
    let mut proxy = server.bindings(&server.svid("/proxy"));
    let svid = || server.setup.ca.svid(CHECKOUT);
    for (leaf, reason) in [
        (svid().expired().issue(), DenyReason::CertificateExpired),
        (svid().not_yet_valid().issue(), DenyReason::CertificateNotYetValid),
        (svid().between(Timestamp(NOW.0), Timestamp(NOW.0)).issue(), DenyReason::CertificateRenewed),
    ] {
        assert_eq!(evaluate(&mut proxy, &question(&leaf, &token)).await.reason(), reason);
    }
}

#[tokio::test]
async fn the_token_ends_with_the_certificate_that_it_is_bound_to() {
    let server = TestServer::start().await;
    server.register(spiffe_client(CHECKOUT)).await.unwrap();
    let short = server.setup.ca.svid(CHECKOUT).between(Timestamp(NOW.0 - 60), Timestamp(NOW.0 + 10)).issue();
    let question = seen(&short, &server.token(&short).await);
    let mut proxy = server.bindings(&server.svid("/proxy"));
    server.advance(Duration::from_secs(9));
    assert_eq!(evaluate(&mut proxy, &question).await.decision(), Decision::Allow);
    server.advance(Duration::from_secs(1));
    assert_eq!(evaluate(&mut proxy, &question).await.reason(), DenyReason::TokenExpired);
}

#[tokio::test]
async fn a_renewed_certificate_needs_a_new_token() {
    let server = TestServer::start().await;
    let old = server.workload("/checkout").await;
    let token = server.token(&old).await;
    let renewed = server.setup.ca.svid(CHECKOUT).key(&old.key).issue();
    let mut proxy = server.bindings(&server.svid("/proxy"));
    assert_eq!(evaluate(&mut proxy, &seen(&old, &token)).await.decision(), Decision::Allow);
    // RFC 8705 section 6.3: the same name and even the same key in another certificate.
    let denied = evaluate(&mut proxy, &seen(&renewed, &token)).await;
    assert_eq!(denied.reason(), DenyReason::CertificateRenewed);
    let own = server.ask(&renewed, use_of(&token)).await.unwrap();
    assert_eq!(own.reason(), DenyReason::CertificateRenewed);
    let token = server.token(&renewed).await;
    assert_eq!(evaluate(&mut proxy, &seen(&renewed, &token)).await.decision(), Decision::Allow);
}

#[tokio::test]
async fn what_becomes_of_a_client_holds_at_once_over_the_same_connection() {
    let server = TestServer::start().await;
    let registered = server.register(spiffe_client(CHECKOUT)).await.unwrap();
    let checkout = server.svid("/checkout");
    let question = seen(&checkout, &server.token(&checkout).await);
    let own = use_of(&question.access_token);
    let mut proxy = server.bindings(&server.svid("/proxy"));
    let mut workload = server.bindings(&checkout);
    let mut expect = async |reason| {
        assert_eq!(evaluate(&mut proxy, &question).await.reason(), reason);
        assert_eq!(evaluate(&mut workload, &own).await.reason(), reason);
    };
    expect(DenyReason::Unspecified).await;
    let disabled = server.update(Client { disabled: true, ..registered }).await.unwrap();
    expect(DenyReason::ClientDisabled).await;
    let enabled = server.update(Client { disabled: false, ..disabled }).await.unwrap();
    expect(DenyReason::Unspecified).await;
    server.update(Client { owner: "another team".to_owned(), ..enabled }).await.unwrap();
    expect(DenyReason::Unspecified).await;
    server.delete(CHECKOUT).await;
    expect(DenyReason::ClientUnknown).await;
    server.register(spiffe_client(CHECKOUT)).await.unwrap();
    expect(DenyReason::ClientRecreated).await;
    let fresh = server.token(&checkout).await;
    assert_eq!(evaluate(&mut proxy, &seen(&checkout, &fresh)).await.decision(), Decision::Allow);
}

#[tokio::test]
async fn a_wider_pattern_does_not_take_over_the_tokens_of_a_deleted_client() {
    let server = TestServer::start().await;
    let wide =
        Client { client_id: "wide".to_owned(), spiffe_id: "spiffe://prod.example/*".to_owned(), ..spiffe_client("") };
    server.register(wide).await.unwrap();
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    assert_eq!(server.validate(&token, certificate_of(&checkout)).await.unwrap().decision(), Decision::Allow);
    server.delete(CHECKOUT).await;
    let denied = server.validate(&token, certificate_of(&checkout)).await.unwrap();
    assert_eq!(denied.reason(), DenyReason::ClientRecreated);
}

#[tokio::test]
async fn a_peer_that_only_its_registration_let_in_is_out_when_that_is_deleted() {
    let server = TestServer::start().await;
    let alone = self_signed("ci").issue();
    server.register(self_signed_client("ci", &alone.pem())).await.unwrap();
    let corp = server.setup.corp.client_certificate().dns("billing.corp.example").issue();
    let client = Client { tls_client_auth_san_dns: "billing.corp.example".to_owned(), ..pki_client("billing") };
    server.register(client).await.unwrap();
    for (leaf, client_id, refused) in [
        (alone, "ci", (Code::Unauthenticated, "CERTIFICATE_NOT_PROVEN")),
        (corp, "billing", (Code::PermissionDenied, "WRONG_ROLE")),
    ] {
        let own = use_of(&server.issue_as(&leaf, client_id).await.unwrap().access_token);
        let mut workload = server.bindings(&leaf);
        assert_eq!(evaluate(&mut workload, &own).await.decision(), Decision::Allow);
        server.delete(client_id).await;
        let refused = (refused.0, refused.1.to_owned());
        assert_eq!(refusal(workload.validate_binding(own).await), refused);
    }
}

#[tokio::test]
async fn a_token_opens_the_audiences_that_it_is_for_and_no_other() {
    let server = TestServer::start().await;
    let billing = "https://billing.prod.example";
    server.register(Client { audience: vec![ORDERS.to_owned()], ..spiffe_client(CHECKOUT) }).await.unwrap();
    let both =
        Client { audience: vec![ORDERS.to_owned(), billing.to_owned()], ..spiffe_client("spiffe://prod.example/both") };
    server.register(both).await.unwrap();
    let mut proxy = server.bindings(&server.svid("/proxy"));
    for (path, audience, reason) in [
        ("/checkout", ORDERS, DenyReason::Unspecified),
        ("/checkout", billing, DenyReason::WrongAudience),
        ("/checkout", "https://orders.prod.example/", DenyReason::WrongAudience),
        ("/checkout", "https://orders.prod", DenyReason::WrongAudience),
        ("/checkout", "*", DenyReason::WrongAudience),
        ("/both", ORDERS, DenyReason::Unspecified),
        ("/both", billing, DenyReason::Unspecified),
        ("/both", "https://users.prod.example", DenyReason::WrongAudience),
    ] {
        let leaf = server.svid(path);
        let question = seen(&leaf, &server.token(&leaf).await);
        let question = ValidateBindingRequest { audience: audience.to_owned(), ..question };
        assert_eq!(evaluate(&mut proxy, &question).await.reason(), reason, "{path} {audience}");
    }
}

#[tokio::test]
async fn a_use_needs_every_scope_that_it_names_to_be_in_the_token() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let mut proxy = server.bindings(&server.svid("/proxy"));
    let question = seen(&checkout, &server.token(&checkout).await);
    let scoped = |scope: &str| ValidateBindingRequest { scope: scope.to_owned(), ..question.clone() };
    for scope in ["", "orders.read", "orders.write orders.read"] {
        assert_eq!(evaluate(&mut proxy, &scoped(scope)).await.decision(), Decision::Allow, "{scope:?}");
    }
    for scope in ["orders.admin", "orders.read orders.admin", "orders", "Orders.read"] {
        let denied = evaluate(&mut proxy, &scoped(scope)).await;
        assert_eq!(denied.reason(), DenyReason::InsufficientScope, "{scope:?}");
    }
    for scope in [" ", "orders.read ", "orders.read  orders.write", "orders.read\n", "\"orders.read\""] {
        let refused = refusal(proxy.validate_binding(scoped(scope)).await);
        assert_eq!(refused, (Code::InvalidArgument, "SCOPE_MALFORMED".to_owned()), "{scope:?}");
    }
}

#[tokio::test]
async fn insufficient_scope_is_only_said_when_everything_else_is_right() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let thief = server.svid("/thief");
    let question = ValidateBindingRequest { scope: "orders.admin".to_owned(), ..seen(&thief, &token) };
    let answer = server.ask(&server.svid("/proxy"), question).await.unwrap();
    assert_eq!(answer.reason(), DenyReason::CertificateMismatch);
}

#[tokio::test]
async fn a_request_without_a_token_gets_no_decision() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    for caller in [&checkout, &server.svid("/proxy")] {
        let refused = refusal(server.ask(caller, use_of("")).await);
        assert_eq!(refused, (Code::InvalidArgument, "TOKEN_MISSING".to_owned()));
    }
}
