//! Who was refused: each record of a refusal has the connection, the certificate that was read, and for a check the
//! caller as the proxy showed it.

use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::access::ConnectionInfo;
use lanyard::authority::decision::CheckRequest;
use lanyard::authority::decision::PresentedEvidence;
use lanyard::authority::decision::ValidateRequest;
use lanyard::authority::evidence::Evidence;
use lanyard::authority::observe::Severity;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::resources::Destination;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::resources::RouteMetadata;
use lanyard::authority::state::Caller;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::envoy::service::auth::v3::CheckRequest as EnvoyCheck;
use lanyard::proto::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use lanyard::server::Environment;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tracing::Level;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::CHECKOUT;
use crate::support::authority::ORDERS;
use crate::support::authority::PROXY;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::authority::spiffe_client;
use crate::support::ca::TestCa;
use crate::support::ca::self_signed;
use crate::support::door::knock_as;
use crate::support::door::within;
use crate::support::leaf::Leaf;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::telemetry::audit::Collected;
use crate::telemetry::audit::audited_by;
use crate::telemetry::audit::log::logged;

/// A server with its records from `info` on.
async fn audited() -> (TestServer, Collected) {
    let sink = Collected::from(Severity::Info);
    let setup = Setup::default();
    setup.write();
    let clock = Arc::clone(&setup.clock) as Arc<_>;
    let audit = Arc::new(sink.clone());
    let server = setup.start_in(Environment { clock, audit, ..Environment::default() }).await.unwrap();
    // That it has made its first key.
    sink.records.lock().unwrap().clear();
    (server, sink)
}

/// The next record, which may come after the peer has learned of its refusal.
async fn record(sink: &Collected) -> Value {
    let next = || Some(sink.records.lock().unwrap()).filter(|records| !records.is_empty()).map(|mut all| all.remove(0));
    let recorded = async {
        loop {
            if let Some(record) = next() {
                break record;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(recorded).await
}

/// The record of a handshake on the mTLS listener with this certificate, which is refused.
async fn refused_handshake(server: &TestServer, sink: &Collected, leaf: &Leaf) -> Value {
    let stream = TcpStream::connect(server.addresses.mtls).await.unwrap();
    let remote = stream.local_addr().unwrap();
    assert!(!knock_as("localhost", stream, server.tls(leaf)).await.is_jwks());
    let record = record(sink).await;
    assert_eq!((&record["remote"], &record["listener"]), (&Value::from(remote.to_string()), &Value::from("mtls")));
    assert_eq!(record["certificate"], leaf.thumbprint().to_string(), "{record}");
    record
}

#[tokio::test]
async fn a_refused_handshake_says_from_where_and_which_certificate_was_read() {
    let (server, sink) = audited().await;
    let id = "spiffe://prod.example/checkout";
    let stranger = refused_handshake(&server, &sink, &TestCa::new("prod.example").svid(id).issue()).await;
    assert_eq!((&stranger["event"], &stranger["reason"]), (&"handshake_refused".into(), &"NO_PATH".into()));
    assert_eq!((&stranger["spiffe_id"], &stranger["subject"]), (&id.into(), &Value::Null));
    let expired = refused_handshake(&server, &sink, &server.setup.ca.svid(id).expired().issue()).await;
    assert_eq!((&expired["reason"], &expired["spiffe_id"]), (&"EXPIRED".into(), &id.into()));
    // Without a SPIFFE ID, its subject.
    let unknown = refused_handshake(&server, &sink, &self_signed("batch-7").issue()).await;
    assert_eq!((&unknown["reason"], &unknown["spiffe_id"]), (&"UNKNOWN".into(), &Value::Null));
    assert!(unknown["subject"].as_str().unwrap().contains("CN=batch-7"), "{unknown}");
    // Nothing was read of this one.
    let mut stream = TcpStream::connect(server.addresses.public).await.unwrap();
    let remote = stream.local_addr().unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let noise = record(&sink).await;
    assert_eq!((&noise["event"], &noise["reason"]), (&"handshake_failed".into(), &"HANDSHAKE_FAILED".into()));
    assert_eq!((&noise["remote"], &noise["listener"]), (&remote.to_string().into(), &"public".into()));
    assert_eq!((&noise["certificate"], &noise["spiffe_id"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn a_refused_call_says_from_where_and_by_which_certificate() {
    let (server, sink) = audited().await;
    let (checkout, proxy) = (server.workload("/checkout").await, server.svid("/proxy"));
    let token = server.token(&checkout).await;
    let thief = server.svid("/thief");
    sink.records.lock().unwrap().clear();
    let is_from = |record: &Value, event: &str, leaf: &Leaf| {
        assert_eq!(record["event"], event, "{record}");
        assert!(record["remote"].as_str().unwrap().starts_with("127.0.0.1:"), "{record}");
        assert_eq!((&record["listener"], &record["subject"]), (&"mtls".into(), &Value::Null), "{record}");
        assert_eq!(record["certificate"], leaf.thumbprint().to_string(), "{record}");
    };
    server.tokens(&thief).issue_token(IssueTokenRequest::default()).await.unwrap_err();
    is_from(&record(&sink).await, "token_refused", &thief);
    server.registry(&thief).list_clients(lanyard::proto::ListClientsRequest::default()).await.unwrap_err();
    is_from(&record(&sink).await, "call_not_admitted", &thief);
    AuthorizationClient::new(server.channel(&proxy)).check(EnvoyCheck::default()).await.unwrap();
    let unread = record(&sink).await;
    is_from(&unread, "check_unread", &proxy);
    assert_eq!(unread["actor"], "spiffe://prod.example/proxy");
    server.validate("x", None).await.unwrap();
    assert_eq!(record(&sink).await["event"], "binding_decided");
    // What is allowed has no more than before: these records are made at the rate of the mesh's requests.
    assert_eq!(server.token(&checkout).await.split('.').count(), token.split('.').count());
    let issued = record(&sink).await;
    assert_eq!(
        (&issued["event"], &issued["remote"], &issued["certificate"]),
        (&"token_issued".into(), &Value::Null, &Value::Null)
    );
}

fn resource(mode: &str) -> ResourceMetadata {
    ResourceMetadata {
        audience: ORDERS.to_owned(),
        scope: "orders.read".to_owned(),
        routes: vec![RouteMetadata {
            path: "/orders/{id}".to_owned(),
            scope: "orders.read".to_owned(),
            ..RouteMetadata::default()
        }],
        mode: Some(mode.to_owned()),
        ..ResourceMetadata::default()
    }
}

/// An authority with a resource and a client by pattern, and its records.
struct Audited {
    fixture: TestAuthority,
    sink: Collected,
    checkout: Leaf,
    token: String,
}

impl Audited {
    fn new(mode: &str) -> Self {
        let sink = Collected::from(Severity::Debug);
        let fixture = audited_by(&sink);
        let pattern = "spiffe://prod.example/ns/shop/*";
        fixture.register(ClientMetadata { spiffe_id: Some(pattern.to_owned()), ..spiffe_client("shop") });
        ready(fixture.authority.create_resource(&fixture.svid(ADMIN), resource(mode), false)).unwrap();
        let checkout = fixture.prod.svid(CHECKOUT).issue();
        let token = fixture.token(&fixture.peer(&checkout));
        Self { fixture, sink, checkout, token }
    }

    fn caller(&self) -> Caller {
        let connection = ConnectionInfo { remote: Some("192.0.2.9:4711".parse().unwrap()), listener: Some("mtls") };
        Caller { connection, ..self.fixture.authority.as_caller(&self.fixture.svid(PROXY)) }
    }

    /// The record of a check of `GET <path>` with these headers.
    fn check(&self, destination: Destination<'_>, path: &str, headers: &[(&str, &str)], principal: &str) -> Value {
        self.sink.records.lock().unwrap().clear();
        let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        let request =
            CheckRequest { destination, method: "GET", path, headers, certificate: "", principal, address: "" };
        self.fixture.authority.check(&self.caller().into(), &request).unwrap();
        self.sink.records().pop().unwrap()
    }
}

const AT_ORDERS: Destination<'static> = Destination { named: Some(ORDERS), principal: "", authority: "" };

#[test]
fn a_check_without_a_token_names_the_caller_as_the_proxy_saw_it_and_the_route() {
    for (mode, outcome) in [("enforce", "denied"), ("report", "reported")] {
        let audited = Audited::new(mode);
        let hash = hex::encode(audited.checkout.thumbprint().as_bytes());
        let header = format!("By={PROXY};Hash={hash};URI={CHECKOUT}");
        let headers = [("x-forwarded-client-cert", header.as_str())];
        let record = audited.check(AT_ORDERS, "/orders/17?x=y", &headers, CHECKOUT);
        for (field, expected) in [
            ("reason", "TOKEN_MISSING"),
            ("outcome", outcome),
            ("evidence", &format!("x5t#S256:{}", audited.checkout.thumbprint())),
            ("principal", CHECKOUT),
            ("route", "/orders/{id}"),
            ("path", "/orders/17"),
            ("resource", ORDERS),
            ("actor", PROXY),
            ("remote", "192.0.2.9:4711"),
            ("listener", "mtls"),
        ] {
            assert_eq!(record[field], expected, "{field}: {record}");
        }
        // Without a certificate, the name that the proxy saw; of a name that is no SPIFFE ID too.
        let record = audited.check(AT_ORDERS, "/orders/17", &[], "CN=batch");
        assert_eq!((&record["principal"], &record["evidence"]), (&"CN=batch".into(), &Value::Null), "{record}");
        // What cannot be read of the certificate leaves the name.
        let record = audited.check(AT_ORDERS, "/orders/17", &[("x-forwarded-client-cert", "garbage")], CHECKOUT);
        assert_eq!((&record["principal"], &record["evidence"]), (&CHECKOUT.into(), &Value::Null), "{record}");
    }
}

#[test]
fn a_denied_use_names_the_registration_that_applied_and_an_allowed_one_nothing_more_than_before() {
    let audited = Audited::new("enforce");
    let bearer = format!("Bearer {}", audited.token);
    let thief = "spiffe://prod.example/thief";
    let headers = [("authorization", bearer.as_str())];
    let denied = audited.check(AT_ORDERS, "/orders/17", &headers, thief);
    assert_eq!((&denied["client_id"], &denied["registration"]), (&CHECKOUT.into(), &"shop".into()), "{denied}");
    let hash = hex::encode(audited.checkout.thumbprint().as_bytes());
    let header = format!("By={PROXY};Hash={hash}");
    let headers = [("authorization", bearer.as_str()), ("x-forwarded-client-cert", header.as_str())];
    let allowed = audited.check(AT_ORDERS, "/orders/17", &headers, CHECKOUT);
    assert_eq!(allowed["outcome"], "allowed", "{allowed}");
    for field in ["registration", "principal", "route", "remote", "listener", "certificate", "requested"] {
        assert_eq!(allowed[field], Value::Null, "{field}: {allowed}");
    }
    let evidence = PresentedEvidence::Of(Some(Evidence::from_spiffe_id(thief).unwrap()));
    let request =
        ValidateRequest { access_token: &audited.token, evidence, audience: Some(ORDERS), scope: "", receipt: false };
    audited.fixture.authority.validate_binding(&audited.caller().into(), request).unwrap();
    let denied = audited.sink.records().pop().unwrap();
    assert_eq!((&denied["registration"], &denied["remote"]), (&"shop".into(), &"192.0.2.9:4711".into()), "{denied}");
}

#[test]
fn a_resource_that_is_not_known_is_named_as_the_request_named_it() {
    let audited = Audited::new("enforce");
    let unknown = Destination { named: Some("https://unknown.example"), ..AT_ORDERS };
    let record = audited.check(unknown, "/", &[], CHECKOUT);
    assert_eq!(
        (&record["reason"], &record["requested"]),
        (&"RESOURCE_UNKNOWN".into(), &"https://unknown.example".into())
    );
    assert_eq!((&record["resource"], &record["principal"]), (&Value::Null, &CHECKOUT.into()));
    let by_host = Destination { named: None, principal: "spiffe://prod.example/x", authority: "x.example:8080" };
    let record = audited.check(by_host, "/", &[], "");
    assert_eq!(
        (&record["requested"], &record["destination"]),
        (&"x.example:8080".into(), &"spiffe://prod.example/x".into())
    );
    // A question without a decision names the audience that was asked about.
    let request = ValidateRequest {
        access_token: "",
        evidence: PresentedEvidence::Nothing,
        audience: Some("https://unknown.example"),
        scope: "",
        receipt: false,
    };
    audited.fixture.authority.validate_binding(&audited.caller().into(), request).unwrap_err();
    assert_eq!(audited.sink.records().pop().unwrap()["resource"], "https://unknown.example");
}

#[test]
fn what_a_client_writes_is_bounded_and_escaped() {
    let audited = Audited::new("enforce");
    let (endless, forged) = ("x".repeat(5000), "a\r\nWARN forged\u{1b}[31m");
    let elsewhere = Destination { named: None, principal: &endless, authority: &endless };
    let record = audited.check(elsewhere, &format!("/{endless}"), &[("x-forwarded-client-cert", &endless)], &endless);
    for field in ["requested", "destination", "principal", "path"] {
        assert!(record[field].as_str().unwrap().len() <= 256, "{field}");
    }
    let fixture = TestAuthority::new();
    let log = logged(Level::INFO, || {
        let headers = vec![("authorization", &b"Bearer planted"[..])];
        let destination = Destination { named: None, principal: forged, authority: forged };
        let request = CheckRequest {
            destination,
            method: "GET",
            path: "/",
            headers,
            certificate: "",
            principal: forged,
            address: "",
        };
        fixture.authority.check(&fixture.authority.as_asker(&fixture.svid(PROXY)), &request).unwrap();
    });
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(!log.contains('\u{1b}') && !log.contains("planted"), "{log}");
}
