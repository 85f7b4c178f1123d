//! The audit trail: its records as values, and as lines of the log.

mod log;
mod scenario;
mod senders;

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use lanyard::authority::Authority;
use lanyard::authority::access::CallerIdentity;
use lanyard::authority::access::ConnectionInfo;
use lanyard::authority::access::NotAdmitted;
use lanyard::authority::access::PeerConnection;
use lanyard::authority::access::Sender;
use lanyard::authority::decision::CheckRefusal;
use lanyard::authority::decision::GrantErrorCode;
use lanyard::authority::decision::NoDecision;
use lanyard::authority::identity::PeerIdentity;
use lanyard::authority::identity::PresentedCertificate;
use lanyard::authority::observe::AuditEvent;
use lanyard::authority::observe::AuditRecord;
use lanyard::authority::observe::AuditSink;
use lanyard::authority::observe::HandshakeError;
use lanyard::authority::observe::LogSink;
use lanyard::authority::observe::RefusedRequest;
use lanyard::authority::observe::Reloaded;
use lanyard::authority::observe::Severity;
use lanyard::authority::state::Caller;
use lanyard::authority::trust::Unproven;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::ListClientsRequest;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::envoy::service::auth::v3::CheckRequest;
use lanyard::proto::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use lanyard::proto::validate_binding_request::Evidence;
use lanyard::server::Environment;
use lanyard::trace_context;
use serde_json::Value;
use serde_json::json;
use tracing::Level;
use tracing::field::Empty;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::TestAuthority;
use crate::support::ca::self_signed;
use crate::support::calls::use_of;
use crate::support::door::knock;
use crate::support::door::within;
use crate::support::http::post;
use crate::support::observed::numbered;
use crate::support::observed::parent;
use crate::support::observed::with_parent;
use crate::support::observed::within_trace;
use crate::support::server::Setup;
use crate::support::unreferenced::without_references;

/// Keeps the records from a severity on.
#[derive(Clone, Debug)]
struct Collected {
    from: Severity,
    records: Arc<Mutex<Vec<Value>>>,
}

impl Collected {
    fn from(from: Severity) -> Self {
        Self { from, records: Arc::default() }
    }

    fn records(&self) -> Vec<Value> {
        self.records.lock().unwrap().clone()
    }
}

impl AuditSink for Collected {
    fn wants(&self, _: AuditEvent, severity: Severity) -> bool {
        severity >= self.from
    }

    fn record(&self, record: &AuditRecord) {
        assert!(record.severity() >= self.from, "{record:?} was made although nothing wants it");
        let mut value = serde_json::to_value(record).unwrap();
        if let Some(trace) = trace_context::current_id() {
            value["trace_id"] = trace.to_string().into();
        }
        self.records.lock().unwrap().push(value);
    }
}

fn audited_by(sink: &Collected) -> TestAuthority {
    let mut fixture = TestAuthority::new();
    fixture.authority = fixture.authority.with_audit(Arc::new(sink.clone()));
    fixture
}

/// What the protocols and the server find themselves.
fn reports(authority: &Authority, peer: &PeerIdentity, connection: &PeerConnection) {
    let expired = NotAdmitted::Unproven(Unproven::Expired);
    let stream = "/lanyard.v1.BindingService/ValidateBindings";
    let info = ConnectionInfo { remote: Some("192.0.2.7:40000".parse().unwrap()), listener: Some("mtls") };
    let (unknown, sender) = (
        Sender::of(None, info),
        Sender { identity: Some(CallerIdentity::Certificate(connection.identity())), connection: info },
    );
    authority.report_not_admitted(&sender, "/lanyard.v1.TokenService/IssueToken", NotAdmitted::WrongRole, false);
    authority.report_not_admitted(&unknown, "other", NotAdmitted::NoSuchMethod, false);
    authority.report_not_admitted(&sender, stream, expired, true);
    let presented = PresentedCertificate::from(peer.certificate());
    let cause = Unproven::NoPath.to_string();
    authority.report_handshake(info, Some(&presented), HandshakeError::Unproven(Unproven::NoPath), &cause);
    authority.report_handshake(info, None, HandshakeError::TooSlow, "the handshake took too long");
    let grant = RefusedRequest::Token(GrantErrorCode::UnsupportedGrantType);
    authority.report_refused(&sender, grant, "only client_credentials is served");
    authority.report_refused(&unknown, RefusedRequest::Introspection("invalid_request"), "token is missing");
    let caller = Caller { connection: info, ..authority.as_caller(peer) };
    authority.report_not_decided(&caller.clone().into(), "https://orders.shop.internal", NoDecision::ScopeMalformed);
    authority.report_unread_check(&sender, CheckRefusal::RequestMalformed);
    authority.report_admin_read(&caller, "/lanyard.v1.RegistryService/ListClients");
    authority.report_reloaded(Reloaded::Configuration, Some("log.level roles".to_owned()));
    authority.report_reloaded(Reloaded::Certificate, None);
}

#[test]
fn each_event_is_a_record_of_who_what_on_what_with_outcome_and_reason() {
    let sink = Collected::from(Severity::Debug);
    let names = scenario::happen(&audited_by(&sink), reports);
    let found = |record: &Value| without_references(&names.put_in(&record.to_string()));
    let found: Vec<String> = sink.records().iter().map(found).collect();
    let expected: Vec<&str> = include_str!("records.jsonl").lines().collect();
    for (found, expected) in found.iter().zip(&expected) {
        let [found, expected] = [found.as_str(), expected].map(|text| serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len(), "{}", found.join("\n"));
    assert!(!found.iter().any(|record| record.contains("{token}") || record.contains("planted")));
}

#[test]
fn each_line_of_the_trail_has_its_fields_and_a_refusal_who_was_refused() {
    let fixture = TestAuthority::new();
    let mut names = None;
    let lines = log::logged(Level::DEBUG, || names = Some(scenario::happen(&fixture, reports)));
    let lines = without_references(&names.unwrap().put_in(&lines));
    for (line, expected) in lines.lines().zip(include_str!("lines.txt").lines()) {
        assert_eq!(line, expected);
    }
    assert_eq!(lines.lines().count(), include_str!("lines.txt").lines().count(), "{lines}");
}

#[test]
fn nothing_is_made_of_an_event_that_the_sink_does_not_want() {
    let sink = Collected::from(Severity::Info);
    scenario::happen(&audited_by(&sink), reports);
    let all = include_str!("records.jsonl").lines().count();
    let debug = include_str!("records.jsonl").lines().filter(|line| line.contains("\"severity\":\"debug\"")).count();
    assert!(debug >= 3);
    assert_eq!(sink.records().len(), all - debug);
    for (level, wanted) in [(Level::ERROR, [false; 3]), (Level::INFO, [false, true, true]), (Level::DEBUG, [true; 3])] {
        log::logged(level, || {
            let found = [Severity::Debug, Severity::Info, Severity::Warn]
                .map(|severity| LogSink.wants(AuditEvent::Checked, severity));
            assert_eq!(found, wanted, "{level}");
        });
    }
}

/// The one line of a check that was denied before it was looked at, with the span around it.
fn line(refusal: CheckRefusal) -> String {
    let fixture = TestAuthority::new();
    let text = log::logged(Level::INFO, || {
        let span =
            tracing::info_span!("request", lanyard.decision = Empty, lanyard.reason = Empty, otel.status_code = Empty);
        span.in_scope(|| fixture.authority.report_unread_check(&Sender::default(), refusal));
    });
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[test]
fn a_check_in_which_something_broke_is_a_denial_and_an_error_in_its_span() {
    let line = line(CheckRefusal::Unable);
    let span = "request{lanyard.decision=\"deny\" lanyard.reason=\"UNABLE\" otel.status_code=\"error\"}";
    assert!(line.contains(span) && line.contains("check denied reason=\"UNABLE\""), "{line}");
}

#[test]
fn a_check_that_cannot_be_read_is_a_denial_and_no_error_of_the_servers() {
    let line = line(CheckRefusal::RequestMalformed);
    let span = "request{lanyard.decision=\"deny\" lanyard.reason=\"REQUEST_MALFORMED\"}";
    assert!(line.contains(span), "{line}");
}

#[tokio::test]
async fn what_a_server_refuses_is_recorded_once_with_the_trace_of_the_request() {
    let sink = Collected::from(Severity::Info);
    let setup = Setup::default();
    setup.write();
    let clock = Arc::clone(&setup.clock) as Arc<_>;
    let audit = Arc::new(sink.clone());
    let server = setup.start_in(Environment { clock, audit, ..Environment::default() }).await.unwrap();
    let (checkout, proxy, thief) = (server.workload("/checkout").await, server.svid("/proxy"), server.svid("/thief"));
    sink.records.lock().unwrap().clear();

    let request = within_trace(IssueTokenRequest::default(), &parent("01"));
    server.tokens(&thief).issue_token(request).await.unwrap_err();
    let question = ValidateBindingRequest { evidence: Some(Evidence::CertificateThumbprint(vec![1])), ..use_of("x") };
    server.bindings(&proxy).validate_binding(within_trace(question, &parent("02"))).await.unwrap_err();
    let list = within_trace(ListClientsRequest::default(), &parent("03"));
    server.registry(&checkout).list_clients(list).await.unwrap_err();
    let mut checks = AuthorizationClient::new(server.channel(&proxy));
    checks.check(within_trace(CheckRequest::default(), &parent("04"))).await.unwrap();
    let form = [("grant_type", "password"), ("client_id", "nobody")];
    let refused = server.send(&checkout, with_parent(post("/oauth2/token", &form), &parent("05"))).await;
    assert_eq!(refused.status, 400);
    let stranger = self_signed("stranger").issue();
    assert!(!knock(server.addresses.mtls, server.tls(&stranger)).await.is_jwks());

    let expected = [
        json!(["token_refused", "denied", "invalid_client", numbered("01")]),
        json!(["not_decided", "denied", "EVIDENCE_MALFORMED", numbered("02")]),
        json!(["call_not_admitted", "denied", "WRONG_ROLE", numbered("03")]),
        json!(["check_unread", "denied", "REQUEST_MALFORMED", numbered("04")]),
        json!(["request_refused", "denied", "unsupported_grant_type", numbered("05")]),
        // Before any request there is no trace.
        json!(["handshake_refused", "denied", "UNKNOWN", null]),
    ];
    // The client may learn that its handshake was refused before that is recorded.
    let recorded = async {
        while sink.records().len() < expected.len() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(recorded).await;
    let found: Vec<Value> = sink
        .records()
        .iter()
        .map(|record| json!([record["event"], record["outcome"], record["reason"], record["trace_id"]]))
        .collect();
    assert_eq!(found, expected);
}
