//! What `ValidateBinding` and introspection make of a protected resource that is registered, from the very next question on.

use std::sync::Arc;

use lanyard::authority::decision::Decision;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::state::LoadError;
use lanyard::authority::store::Batch;
use lanyard::authority::store::Change;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store as _;
use lanyard::proto;
use lanyard::proto::IntrospectTokenRequest;
use lanyard::proto::ProtectedResource;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::validate_binding_request::Evidence;
use serde_json::json;

use crate::registry::resources::Admin;
use crate::registry::resources::bare;
use crate::support::authority;
use crate::support::authority::ADMIN;
use crate::support::authority::CHECKOUT;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::calls::use_of;
use crate::support::http::post;
use crate::support::leaf::Leaf;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::spiffe_client;

/// `None` where the use is allowed.
async fn denied(server: &TestServer, token: &str, evidence: Option<Evidence>) -> Option<proto::DenyReason> {
    let answer = server.validate(token, evidence).await.unwrap();
    (answer.decision() != proto::Decision::Allow).then(|| answer.reason())
}

/// The three grades of evidence of one certificate.
fn grades(leaf: &Leaf, spiffe_id: &str) -> [Option<Evidence>; 3] {
    [
        Some(Evidence::SpiffeId(spiffe_id.to_owned())),
        Some(Evidence::CertificateThumbprint(leaf.thumbprint().as_bytes().to_vec())),
        certificate_of(leaf),
    ]
}

fn least(evidence: &str, etag: &str) -> ProtectedResource {
    ProtectedResource { least_evidence: evidence.to_owned(), etag: etag.to_owned(), ..bare(ORDERS) }
}

fn accepting(trust_domains: &[&str], etag: &str) -> ProtectedResource {
    let trust_domains = trust_domains.iter().map(|&name| name.to_owned()).collect();
    ProtectedResource { trust_domains, etag: etag.to_owned(), ..bare(ORDERS) }
}

#[tokio::test]
async fn the_least_evidence_counts_from_registration_through_each_change_to_deletion() {
    let server = TestServer::start().await;
    let mut admin = Admin::of(&server);
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let evaluated = async || {
        let mut reasons = Vec::new();
        for evidence in grades(&checkout, "spiffe://prod.example/checkout") {
            reasons.push(denied(&server, &token, evidence).await);
        }
        reasons
    };
    let weak = Some(proto::DenyReason::EvidenceTooWeak);
    // A SPIFFE ID does not tell one certificate from another: where it is not too weak, it still allows nothing.
    let strict = Some(proto::DenyReason::RotationStrict);
    let by_default = [weak, None, None];
    assert_eq!(evaluated().await, by_default);
    let certificate = admin.create(least("certificate", "")).await.unwrap();
    assert_eq!(evaluated().await, [weak, weak, None]);
    let spiffe_id = admin.update(least("spiffe_id", &certificate.etag), &[]).await.unwrap();
    assert_eq!(evaluated().await, [strict, None, None]);
    // What is only checked changes nothing.
    let check = proto::UpdateProtectedResourceRequest {
        resource: Some(least("certificate", &spiffe_id.etag)),
        validate_only: true,
        ..Default::default()
    };
    admin.0.update_protected_resource(check).await.unwrap();
    assert_eq!(evaluated().await, [strict, None, None]);
    let thumbprint = admin.update(least("thumbprint", &spiffe_id.etag), &["least_evidence"]).await.unwrap();
    assert_eq!(evaluated().await, by_default);
    admin.update(least("certificate", &thumbprint.etag), &[]).await.unwrap();
    assert_eq!(evaluated().await, [weak, weak, None]);
    admin.delete(ORDERS, "").await.unwrap();
    assert_eq!(evaluated().await, [Some(proto::DenyReason::ResourceDeleted); 3]);
    admin.forget(ORDERS).await.unwrap();
    assert_eq!(evaluated().await, by_default);
}

#[tokio::test]
async fn a_resource_says_nothing_of_the_uses_of_another_audience() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let [_, thumbprint, _] = grades(&checkout, "");
    for other in ["https://orders.prod.example/", "https://orders.prod.exampl", "urn:orders"] {
        Admin::of(&server)
            .create(ProtectedResource { audience: other.to_owned(), ..least("certificate", "") })
            .await
            .unwrap();
    }
    assert_eq!(denied(&server, &token, thumbprint).await, None);
}

#[tokio::test]
async fn mode_and_routes_are_for_proxies_checks_and_change_no_decision() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let thief = server.svid("/thief");
    let report = ProtectedResource { mode: "report".to_owned(), report_header: true, ..bare(ORDERS) };
    Admin::of(&server).create(report).await.unwrap();
    assert_eq!(denied(&server, &token, certificate_of(&checkout)).await, None);
    let stolen = denied(&server, &token, certificate_of(&thief)).await;
    assert_eq!(stolen, Some(proto::DenyReason::CertificateMismatch));
}

#[tokio::test]
async fn a_workload_that_asks_about_itself_is_evaluated_by_the_resource_too() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let question = use_of(&server.token(&checkout).await);
    let own = async |audience: &str| {
        let question = ValidateBindingRequest { audience: audience.to_owned(), ..question.clone() };
        server.ask(&checkout, question).await.unwrap().reason()
    };
    assert_eq!(own(ORDERS).await, proto::DenyReason::Unspecified);
    Admin::of(&server).create(accepting(&["other.example"], "")).await.unwrap();
    assert_eq!(own(ORDERS).await, proto::DenyReason::TrustDomainNotAccepted);
    assert_eq!(own("urn:orders").await, proto::DenyReason::WrongAudience);
}

#[tokio::test]
async fn trust_domains_count_in_introspection_too_and_evidence_in_decisions_only() {
    let server = TestServer::start().await;
    let mut admin = Admin::of(&server);
    let ours = server.workload("/checkout").await;
    server.register(spiffe_client("spiffe://other.example/checkout")).await.unwrap();
    let theirs = server.setup.other_ca.svid("spiffe://other.example/checkout").issue();
    // A client without a SPIFFE ID is of no trust domain.
    let pki = proto::Client {
        tls_client_auth_san_dns: "billing.corp.example".to_owned(),
        ..crate::support::calls::pki_client("billing")
    };
    server.register(pki).await.unwrap();
    let nobodys = server.setup.corp.client_certificate().dns("billing.corp.example").issue();
    let tokens = [
        server.token(&ours).await,
        server.token(&theirs).await,
        server.issue_as(&nobodys, "billing").await.unwrap().access_token,
    ];
    let leaves = [&ours, &theirs, &nobodys];
    let auditor = server.svid("/admin");
    let active = async |token: &str| {
        let request =
            IntrospectTokenRequest { token: token.to_owned(), client_id: String::new(), ..Default::default() };
        let grpc = server.tokens(&auditor).introspect_token(request).await.unwrap().into_inner().active;
        let http = server.send(&auditor, post("/oauth2/introspect", &[("token", token)])).await.ok();
        assert_eq!(http["active"], json!(grpc));
        grpc
    };
    // Which of the three are accepted: by a decision on the certificate, and by introspection.
    let accepted = async || {
        let (mut decided, mut introspected) = (Vec::new(), Vec::new());
        for (token, leaf) in tokens.iter().zip(leaves) {
            let reason = denied(&server, token, certificate_of(leaf)).await;
            assert!(reason.is_none() || reason == Some(proto::DenyReason::TrustDomainNotAccepted), "{reason:?}");
            decided.push(reason.is_none());
            introspected.push(active(token).await);
        }
        assert_eq!(decided, introspected);
        decided
    };
    assert_eq!(accepted().await, [true, true, true]);
    let mut present = admin.create(accepting(&["prod.example"], "")).await.unwrap();
    assert_eq!(accepted().await, [true, false, false]);
    for (trust_domains, expected) in [
        (&["other.example"][..], [false, true, false]),
        (&["prod.example", "other.example"], [true, true, false]),
        (&["example", "prod.example.org"], [false, false, false]),
        (&[], [true, true, true]),
    ] {
        present = admin.update(accepting(trust_domains, &present.etag), &["trust_domains"]).await.unwrap();
        assert_eq!(accepted().await, expected, "{trust_domains:?}");
    }
    present = admin.update(accepting(&["other.example"], &present.etag), &[]).await.unwrap();
    assert_eq!(accepted().await, [false, true, false]);
    // The whole certificate is wanted, and none comes with an introspection.
    admin.update(least("certificate", &present.etag), &[]).await.unwrap();
    let [_, thumbprint, _] = grades(&ours, "");
    assert_eq!(denied(&server, &tokens[0], thumbprint).await, Some(proto::DenyReason::EvidenceTooWeak));
    assert!(active(&tokens[0]).await);
    admin.delete(ORDERS, "").await.unwrap();
    admin.forget(ORDERS).await.unwrap();
    assert_eq!(accepted().await, [true, true, true]);
}

fn only(trust_domain: &str) -> ResourceMetadata {
    let trust_domains = vec![trust_domain.to_owned()];
    ResourceMetadata { audience: authority::ORDERS.to_owned(), trust_domains, ..ResourceMetadata::default() }
}

/// A fixture with a client and its token.
fn with_token() -> (TestAuthority, Leaf, String) {
    let fixture = TestAuthority::new();
    fixture.register(authority::spiffe_client(CHECKOUT));
    let leaf = fixture.prod.svid(CHECKOUT).issue();
    let token = fixture.token(&fixture.peer(&leaf));
    (fixture, leaf, token)
}

const KEY: &str = "/resources/https://orders.shop.internal";
const ELSEWHERE: Decision = Decision::Deny(DenyReason::TrustDomainNotAccepted);

#[test]
fn what_another_process_writes_counts_when_the_stores_watch_tells_of_it() {
    let (fixture, leaf, token) = with_token();
    let evaluated = || fixture.evaluate(&token, &leaf);
    assert!(matches!(evaluated(), Decision::Allow(_)));
    let first = ready(fixture.authority.create_resource(&fixture.svid(ADMIN), only("staging.example"), false)).unwrap();
    let value: Arc<[u8]> = ready(fixture.store.get(KEY)).unwrap().unwrap().value;
    let reported = |revision: u64, value: Option<&Arc<[u8]>>| {
        let changes = vec![Change { key: KEY.to_owned(), value: value.cloned() }];
        Batch { revision: Revision(revision), changes }
    };
    let written = |revision: u64| reported(revision, Some(&value));
    let at = first.revision.0;
    assert_eq!(evaluated(), ELSEWHERE);
    // A deletion elsewhere, and a registration elsewhere, each in its turn.
    fixture.authority.apply(&reported(at + 10, None));
    assert!(matches!(evaluated(), Decision::Allow(_)));
    // One that comes late revives nothing.
    fixture.authority.apply(&written(at + 5));
    assert!(matches!(evaluated(), Decision::Allow(_)));
    fixture.authority.apply(&written(at + 20));
    assert_eq!(evaluated(), ELSEWHERE);
    assert_eq!(fixture.authority.resource(authority::ORDERS).unwrap().revision, Revision(at + 20));
}

#[test]
fn a_change_that_cannot_be_read_lets_less_in_and_not_more() {
    let (fixture, leaf, token) = with_token();
    let evaluated = || fixture.evaluate(&token, &leaf);
    let first = ready(fixture.authority.create_resource(&fixture.svid(ADMIN), only("staging.example"), false)).unwrap();
    let revision = Revision(first.revision.0 + 1);
    let unreadable = Change { key: KEY.to_owned(), value: Some(b"{\"schema\":9}".as_slice().into()) };
    fixture.authority.apply(&Batch { revision, changes: vec![unreadable] });
    assert_eq!(evaluated(), Decision::Deny(DenyReason::ResourceSuspended));
    let suspended = fixture.authority.resource(authority::ORDERS).unwrap();
    assert_eq!(suspended.registration.metadata.least_evidence.as_deref(), Some("certificate"));
    assert!(suspended.registration.metadata.routes.is_empty());
}

#[test]
fn what_was_registered_is_read_again_and_what_cannot_be_read_stops_the_start() {
    let (fixture, leaf, token) = with_token();
    ready(fixture.authority.create_resource(&fixture.svid(ADMIN), only("staging.example"), false)).unwrap();
    ready(fixture.authority.load()).unwrap();
    assert_eq!(fixture.evaluate(&token, &leaf), ELSEWHERE);
    let sound = ready(fixture.store.get(KEY)).unwrap().unwrap().value;
    let text = String::from_utf8(sound.to_vec()).unwrap();
    for (key, value, problem) in [
        ("/resources/urn:other", text.clone(), "under the key of another"),
        ("/resources/", text.clone(), "under the key of another"),
        (KEY, text.replace("\"audience\"", "\"odience\""), "odience"),
        (KEY, text.replace("staging.example", "Staging.example"), "trust_domains: "),
        (KEY, "garbage".to_owned(), ""),
    ] {
        ready(fixture.store.put(key, value.clone().into_bytes(), Expected::Any)).unwrap();
        let error = ready(fixture.authority.load()).unwrap_err();
        assert!(matches!(&error, LoadError::Record { key: named, .. } if named == key), "{value}: {error}");
        assert!(error.to_string().contains(problem), "{value}: {error}");
        ready(fixture.store.delete(key, Expected::Any)).unwrap();
        // The resources that were loaded before are still in effect.
        assert_eq!(fixture.evaluate(&token, &leaf), ELSEWHERE);
    }
    ready(fixture.store.put(KEY, text.into_bytes(), Expected::Absent)).unwrap();
    ready(fixture.authority.load()).unwrap();
}
