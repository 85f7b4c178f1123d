//! A server that starts on a store in which a newer version wrote.

use std::sync::Arc;

use lanyard::authority::records::Registration as _;
use lanyard::authority::resources::ProtectedResource;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;
use lanyard::proto::Decision;
use lanyard::proto::DenyReason;
use lanyard::proto::GetClientRequest;
use lanyard::proto::GetProtectedResourceRequest;
use lanyard::proto::IssueTokenRequest;
use lanyard::store::memory::MemoryStore;
use tonic::Code;

use crate::support::calls::refusal;
use crate::support::check::Asked;
use crate::support::check::orders;
use crate::support::door::within;
use crate::support::server::ORDERS;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;

/// A store with a client, a resource and a signing key, and the set-up of the server that made them.
async fn used() -> (Setup, Arc<MemoryStore>) {
    let setup = Setup { store: "{memory: true}".to_owned(), ..Setup::default() };
    setup.write();
    let store = Arc::new(MemoryStore::new());
    let server = setup.start_on(Arc::<MemoryStore>::clone(&store)).await.unwrap();
    server.workload("/checkout").await;
    server.protect(orders()).await.unwrap();
    let TestServer { server, setup, .. } = server;
    server.stop().await;
    (setup, store)
}

async fn write(store: &MemoryStore, key: &str, value: &str) {
    store.put(key, value.as_bytes().to_vec(), Expected::Any).await.unwrap();
}

/// How many records of a kind have a newer schema.
fn count(server: &TestServer, kind: &str) -> usize {
    let snapshot = server.server.authority().view().snapshot;
    snapshot.too_new().find(|(found, _)| *found == kind).unwrap().1
}

#[tokio::test]
async fn a_server_that_finds_what_it_cannot_decide_by_starts_and_serves_once_that_is_gone() {
    for (key, kind) in
        [("/revocations/token/later", "revocation"), ("/keys/later", "signing_key"), ("/roles/later", "role")]
    {
        let (setup, store) = used().await;
        write(&store, key, "{\"schema\":99}").await;
        let keys = store.list("/keys/").await.unwrap().entries.len();
        let server = setup.start_on(Arc::<MemoryStore>::clone(&store)).await.unwrap();
        let mut readiness = server.server.readiness();
        within(readiness.wait_for(|readiness| *readiness == Err("record_too_new"))).await.unwrap();
        assert_eq!(count(&server, kind), 1);
        let checkout = server.svid("/checkout");
        let too_new = (Code::Unavailable, "RECORD_TOO_NEW".to_owned());
        assert_eq!(refusal(server.issue(&checkout, IssueTokenRequest::default()).await), too_new, "{key}");
        assert_eq!(refusal(server.validate("any", certificate_of(&checkout)).await), too_new, "{key}");
        let checked = server.checks(&server.svid("/proxy")).check(Asked::with("any", &checkout).message()).await;
        assert_eq!(checked.unwrap_err().code(), Code::Unavailable, "{key}: no decision is no denial");
        let grant = [("grant_type", "client_credentials"), ("client_id", "spiffe://prod.example/checkout")];
        let granted = server.post(&checkout, "/oauth2/token", &grant).await;
        assert_eq!(granted.error(), (503, "temporarily_unavailable".to_owned()), "{key}");
        assert_eq!(store.list("/keys/").await.unwrap().entries.len(), keys, "no key was made");

        store.delete(key, Expected::Any).await.unwrap();
        within(readiness.wait_for(Result::is_ok)).await.unwrap();
        let token = server.token(&checkout).await;
        let validated = server.validate(&token, certificate_of(&checkout)).await.unwrap();
        assert_eq!((validated.decision(), count(&server, kind)), (Decision::Allow, 0), "{key}");
    }
}

#[tokio::test]
async fn a_server_without_any_key_that_it_reads_makes_none() {
    let (setup, store) = used().await;
    for (key, _) in store.list("/keys/").await.unwrap().entries {
        write(&store, &key, "{\"schema\":99}").await;
    }
    let before = store.list("/keys/").await.unwrap().entries;
    let server = setup.start_on(Arc::<MemoryStore>::clone(&store)).await.unwrap();
    let mut readiness = server.server.readiness();
    within(readiness.wait_for(|readiness| *readiness == Err("record_too_new"))).await.unwrap();
    assert_eq!(store.list("/keys/").await.unwrap().entries, before);
}

#[tokio::test]
async fn suspended_registrations_say_which_schema_they_need() {
    let (setup, store) = used().await;
    let first = setup.start_on(Arc::<MemoryStore>::clone(&store)).await.unwrap();
    let checkout = first.svid("/checkout");
    let token = first.token(&checkout).await;
    let TestServer { server, setup, .. } = first;
    server.stop().await;
    let resource = format!("/resources/{ORDERS}");
    let record = format!("{{\"schema\":99,\"metadata\":{{\"audience\":\"{ORDERS}\",\"more\":1}}}}");
    write(&store, &resource, &record).await;

    let server = setup.start_on(Arc::<MemoryStore>::clone(&store)).await.unwrap();
    assert_eq!((count(&server, "resource"), count(&server, "client")), (1, 0));
    let validated = server.validate(&token, certificate_of(&checkout)).await.unwrap();
    assert_eq!(validated.reason(), DenyReason::ResourceSuspended);
    let checked = server.check(Asked::with(&token, &checkout)).await;
    assert_eq!((checked.http(), checked.reason()), (403, "RESOURCE_SUSPENDED"));
    let issued = refusal(server.issue(&checkout, IssueTokenRequest::default()).await);
    assert_eq!(issued, (Code::Unavailable, "RESOURCE_SUSPENDED".to_owned()));
    let mut registry = server.registry(&server.svid("/admin"));
    let shown = registry.get_protected_resource(GetProtectedResourceRequest { audience: ORDERS.to_owned() }).await;
    let shown = shown.unwrap().into_inner();
    assert!(
        shown.suspended.contains("schema 99")
            && shown.suspended.contains(&format!("up to {}", ProtectedResource::SCHEMA)),
        "{shown:?}"
    );
    let client_id = "spiffe://prod.example/checkout".to_owned();
    let client = registry.get_client(GetClientRequest { client_id }).await.unwrap().into_inner();
    assert_eq!((client.suspended.as_str(), client.disabled), ("", false));
}
