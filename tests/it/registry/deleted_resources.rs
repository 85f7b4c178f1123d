//! What a deleted resource leaves: its audience and its place stay denied until they are registered again or forgotten.

use std::sync::Arc;

use lanyard::authority::decision::Decision;
use lanyard::authority::decision::PresentedEvidence;
use lanyard::authority::decision::ValidateRequest;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::evidence::Evidence;
use lanyard::authority::records::RegistryError;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::resources::DeletedResource;
use lanyard::authority::state::LoadError;
use lanyard::authority::store::Batch;
use lanyard::authority::store::Change;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store as _;
use lanyard::proto;
use lanyard::proto::ForgetResourceRequest;
use lanyard::proto::IntrospectTokenRequest;
use serde_json::json;
use tonic::Code;
use tonic::Status;

use crate::registry::resources::Admin;
use crate::registry::resources::bare;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::CHECKOUT;
use crate::support::authority::ORDERS;
use crate::support::authority::PROXY;
use crate::support::authority::STOCK;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::authority::spiffe_client;
use crate::support::calls::refusal;
use crate::support::http::post;
use crate::support::leaf::Leaf;
use crate::support::resources::at;
use crate::support::server;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;

const A: &str = "spiffe://prod.example/a";
const B: &str = "spiffe://prod.example/b";
const KEY: &str = "/deleted/https://orders.shop.internal";
const GONE: Decision = Decision::Deny(DenyReason::ResourceDeleted);

impl Admin {
    pub(crate) async fn forget(&mut self, audience: &str) -> Result<(), Status> {
        self.0.forget_resource(ForgetResourceRequest { audience: audience.to_owned() }).await.map(drop)
    }
}

fn delete(fixture: &TestAuthority, audience: &str) {
    ready(fixture.authority.delete_resource(&fixture.svid(ADMIN), audience, None)).unwrap();
}

fn forget(fixture: &TestAuthority, audience: &str) -> Result<(), RegistryError> {
    ready(fixture.authority.forget_resource(&fixture.svid(ADMIN), audience))
}

/// A fixture with a client of two audiences, and its token.
fn with_token() -> (TestAuthority, Leaf, String) {
    let fixture = TestAuthority::new();
    let audience = vec![ORDERS.to_owned(), STOCK.to_owned()];
    fixture.register(ClientMetadata { audience, ..spiffe_client(CHECKOUT) });
    let leaf = fixture.prod.svid(CHECKOUT).issue();
    let token = fixture.token(&fixture.peer(&leaf));
    (fixture, leaf, token)
}

fn is_allowed(decision: &Decision) -> bool {
    matches!(decision, Decision::Allow(_))
}

#[test]
fn uses_of_a_deleted_resources_audience_are_denied_until_it_is_registered_or_forgotten() {
    let (fixture, leaf, token) = with_token();
    let evaluated = || fixture.evaluate(&token, &leaf);
    let at_stock = || {
        let evidence = PresentedEvidence::Of(Some(Evidence::from_der(leaf.certificate()).unwrap()));
        let request =
            ValidateRequest { access_token: &token, evidence, audience: Some(STOCK), scope: "", receipt: false };
        let proxy = fixture.authority.as_caller(&fixture.svid(PROXY));
        fixture.authority.validate_binding(&proxy.clone().into(), request).unwrap().decision
    };
    assert!(is_allowed(&evaluated()));
    fixture.protect(at(ORDERS, &[], &[]));
    assert!(is_allowed(&evaluated()));
    delete(&fixture, ORDERS);
    assert_eq!(evaluated(), GONE);
    // Another audience of the same token, and the token request, stay as they are.
    assert!(is_allowed(&at_stock()));
    fixture.token(&fixture.peer(&leaf));
    fixture.protect(at(ORDERS, &[], &[]));
    assert!(is_allowed(&evaluated()));
    assert_eq!(forget(&fixture, ORDERS), Err(RegistryError::NotDeleted));
    delete(&fixture, ORDERS);
    assert_eq!(evaluated(), GONE);
    forget(&fixture, ORDERS).unwrap();
    assert!(is_allowed(&evaluated()));
    for none in [ORDERS, STOCK, ""] {
        assert_eq!(forget(&fixture, none), Err(RegistryError::NotDeleted));
    }
}

#[test]
fn the_mark_is_written_with_the_deletion_and_removed_with_the_registration() {
    let (fixture, leaf, token) = with_token();
    fixture.protect(at(ORDERS, &[A], &["orders.example"]));
    delete(&fixture, ORDERS);
    let stored = ready(fixture.store.get(KEY)).unwrap().unwrap();
    let read: serde_json::Value = serde_json::from_slice(&stored.value).unwrap();
    assert_eq!(
        read,
        json!({
            "schema": 1, "audience": ORDERS, "destination_principals": [A], "authorities": ["orders.example"],
            "delete_time": crate::support::NOW.0, "deleted_by": ADMIN,
        })
    );
    // A server that reads the store anew, and one that follows it.
    let other = TestAuthority::on(Arc::clone(&fixture.store), |_| {}, TestAuthority::keys());
    ready(other.authority.load()).unwrap();
    assert_eq!(other.found(A, ""), None);
    ready(fixture.authority.load()).unwrap();
    assert_eq!(fixture.evaluate(&token, &leaf), GONE);
    fixture.protect(at(ORDERS, &[A], &["orders.example"]));
    assert_eq!(ready(fixture.store.get(KEY)).unwrap(), None);
    let recreated = ready(fixture.store.get(&format!("/resources/{ORDERS}"))).unwrap().unwrap();
    assert!(recreated.revision > stored.revision);
    let changes = [(KEY, None), ("/resources/https://orders.shop.internal", Some(recreated.value))];
    let changes = changes.map(|(key, value)| Change { key: key.to_owned(), value }).to_vec();
    other.authority.apply(&Batch { revision: recreated.revision, changes });
    assert_eq!(other.found(A, "").as_deref(), Some(ORDERS));
    // A mark that arrives late revives nothing.
    let late = Change { key: KEY.to_owned(), value: Some(stored.value) };
    other.authority.apply(&Batch { revision: stored.revision, changes: vec![late] });
    assert_eq!(other.found(A, "").as_deref(), Some(ORDERS));
}

#[test]
fn a_deletion_that_is_refused_leaves_no_mark() {
    let (fixture, leaf, token) = with_token();
    fixture.protect(at(ORDERS, &[], &[]));
    let admin = fixture.svid(ADMIN);
    ready(fixture.authority.delete_resource(&admin, ORDERS, Some(Revision(1)))).unwrap_err();
    ready(fixture.authority.delete_resource(&admin, STOCK, None)).unwrap_err();
    assert!(ready(fixture.store.list("/deleted/")).unwrap().entries.is_empty());
    assert!(is_allowed(&fixture.evaluate(&token, &leaf)));
}

#[test]
fn no_other_resource_is_found_where_a_deleted_one_was() {
    let fixture = TestAuthority::new();
    fixture.protect(at("urn:a", &[A], &["a.example"]));
    fixture.protect(at("urn:b", &[A], &["b.example"]));
    fixture.protect(at("urn:alone", &[B], &[]));
    fixture.protect(at("urn:open", &[], &["open.example"]));
    fixture.protect(at("urn:special", &[], &["open.example:8443"]));
    for audience in ["urn:b", "urn:alone", "urn:special"] {
        delete(&fixture, audience);
    }
    let found = |principal: &str, authority: &str| fixture.found(principal, authority);
    assert_eq!(found(A, "a.example").as_deref(), Some("urn:a"));
    assert_eq!(found(A, "b.example"), None);
    assert_eq!(found(A, "c.example"), None);
    // The workload is still known, so that the host selects nothing else.
    assert_eq!(found(B, "open.example"), None);
    assert_eq!(found("", "open.example").as_deref(), Some("urn:open"));
    assert_eq!(found("", "open.example:8443"), None);
    for audience in ["urn:b", "urn:alone", "urn:special"] {
        forget(&fixture, audience).unwrap();
    }
    assert_eq!(found(A, "b.example").as_deref(), Some("urn:a"));
    assert_eq!(found(B, "open.example").as_deref(), Some("urn:open"));
    assert_eq!(found("", "open.example:8443").as_deref(), Some("urn:open"));
}

#[test]
fn a_resource_that_takes_the_place_of_a_deleted_one_is_found_there() {
    for (principals, authorities) in
        [(&[A][..], &[][..]), (&[A], &["a.example"]), (&[], &["a.example"]), (&[], &["a.example:8443"])]
    {
        let fixture = TestAuthority::new();
        fixture.protect(at("urn:old", principals, authorities));
        delete(&fixture, "urn:old");
        let (principal, authority) = (principals.first().unwrap_or(&""), authorities.first().unwrap_or(&""));
        assert_eq!(fixture.found(principal, authority), None);
        fixture.protect(at("urn:new", principals, authorities));
        assert_eq!(fixture.found(principal, authority).as_deref(), Some("urn:new"), "{principals:?} {authorities:?}");
    }
}

#[test]
fn a_store_without_marks_is_as_before_and_an_unreadable_mark_denies() {
    let (fixture, leaf, token) = with_token();
    ready(fixture.authority.load()).unwrap();
    assert!(is_allowed(&fixture.evaluate(&token, &leaf)));
    let mark = |key: &str, value: &[u8], revision| Batch {
        revision: Revision(revision),
        changes: vec![Change { key: key.to_owned(), value: Some(value.into()) }],
    };
    let next = ready(fixture.store.list("")).unwrap().revision.0 + 1;
    fixture.authority.apply(&mark(KEY, b"{\"schema\":9}", next));
    assert_eq!(fixture.evaluate(&token, &leaf), GONE);
    // One that a server reads when it starts stops the start.
    for (key, value) in [(KEY, "{\"schema\":1}".to_owned()), ("/deleted/urn:other", value_of(ORDERS))] {
        ready(fixture.store.put(key, value.into_bytes(), Expected::Any)).unwrap();
        let error = ready(fixture.authority.load()).unwrap_err();
        assert!(matches!(&error, LoadError::Record { key: named, .. } if named == key), "{error}");
        ready(fixture.store.delete(key, Expected::Any)).unwrap();
    }
    // One of a newer version denies, as on the watch.
    for value in ["{\"schema\":9}".to_owned(), value_of(ORDERS)] {
        ready(fixture.store.put(KEY, value.into_bytes(), Expected::Any)).unwrap();
        ready(fixture.authority.load()).unwrap();
        assert_eq!(fixture.evaluate(&token, &leaf), GONE);
    }
}

fn value_of(audience: &str) -> String {
    let mark = DeletedResource::new(&at(audience, &[], &[]), crate::support::NOW, ADMIN);
    String::from_utf8(mark.to_bytes().unwrap()).unwrap()
}

#[tokio::test]
async fn every_protocol_denies_a_deleted_resource_and_only_an_admin_forgets_it() {
    let server = TestServer::start().await;
    let mut admin = Admin::of(&server);
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let auditor = server.svid("/admin");
    let active = async || {
        let request = IntrospectTokenRequest { token: token.clone(), ..Default::default() };
        let grpc = server.tokens(&auditor).introspect_token(request).await.unwrap().into_inner().active;
        let http = server.send(&auditor, post("/oauth2/introspect", &[("token", &token)])).await.ok();
        assert_eq!(http["active"], json!(grpc));
        grpc
    };
    let reason = async || server.validate(&token, certificate_of(&checkout)).await.unwrap().reason();
    assert!(active().await);
    admin.create(bare(server::ORDERS)).await.unwrap();
    admin.delete(server::ORDERS, "").await.unwrap();
    assert_eq!((active().await, reason().await), (false, proto::DenyReason::ResourceDeleted));
    for other in ["/proxy", "/checkout"] {
        let refused = Admin(server.registry(&server.svid(other))).forget(server::ORDERS).await;
        assert_eq!(refusal(refused), (Code::PermissionDenied, "WRONG_ROLE".to_owned()));
    }
    assert_eq!((active().await, reason().await), (false, proto::DenyReason::ResourceDeleted));
    admin.forget(server::ORDERS).await.unwrap();
    assert_eq!((active().await, reason().await), (true, proto::DenyReason::Unspecified));
    let nothing = (Code::NotFound, "RESOURCE_NOT_DELETED".to_owned());
    assert_eq!(refusal(admin.forget(server::ORDERS).await), nothing);
}
