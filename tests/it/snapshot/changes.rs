//! A stream has every change in the order of the revisions, goes on where it broke off, and tells how old it may be.

use std::time::Duration;

use lanyard::proto::WatchBeat;
use lanyard::proto::WatchSnapshotRequest;
use lanyard::proto::WatchStart;
use lanyard::proto::snapshot_service_client::SnapshotServiceClient;
use lanyard::proto::watch_snapshot_request::Request;
use serde_json::json;
use tonic::Code;

use super::Edge;
use crate::support::calls::refusal;
use crate::support::check::orders;
use crate::support::revocation::client;
use crate::support::server::TestServer;
use crate::support::server::spiffe_client;

const CHECKOUT: &str = "spiffe://prod.example/checkout";

#[tokio::test]
async fn each_change_arrives_and_a_broken_stream_goes_on_after_the_revision_that_it_had() {
    let server = TestServer::start().await;
    let leaf = server.svid("/edge");
    let mut edge = Edge::listed(&server, &leaf).await;
    let client = server.register(spiffe_client(CHECKOUT)).await.unwrap();
    server.protect(orders()).await.unwrap();
    edge.beat().await;
    assert_eq!(edge.records[&format!("/clients/{CHECKOUT}")]["metadata"]["scope"], "orders.read orders.write");
    let (revision, records) = (edge.revision, edge.records.clone());
    drop(edge);

    server.update(lanyard::proto::Client { disabled: true, ..client }).await.unwrap();
    server.revoke(client_of(CHECKOUT)).await;
    let mut edge = Edge::start(&server, &leaf, Some(revision)).await.unwrap();
    assert!(edge.resumed);
    edge.until_progress().await;
    let mut changed: Vec<_> = edge.records.keys().cloned().collect();
    changed.sort();
    assert_eq!(changed, [format!("/clients/{CHECKOUT}"), format!("/revocations/client/{CHECKOUT}")]);
    assert_eq!(edge.records[&changed[0]]["metadata"]["disabled"], true);

    // Together they are what a listing has.
    let mut together = records;
    together.append(&mut edge.records);
    assert_eq!(together, Edge::listed(&server, &leaf).await.records);
    server.delete(CHECKOUT).await;
    edge.records = together;
    edge.beat().await;
    assert_eq!(edge.records, Edge::listed(&server, &leaf).await.records);
}

fn client_of(client_id: &str) -> lanyard::proto::revoke_token_request::Target {
    client(client_id)
}

#[tokio::test]
async fn a_revision_that_the_replica_does_not_know_is_not_gone_on_from() {
    let server = TestServer::start().await;
    let leaf = server.svid("/edge");
    let edge = Edge::listed(&server, &leaf).await;
    let ahead = Edge::start(&server, &leaf, Some(edge.revision + 1)).await.map(drop);
    assert_eq!(refusal(ahead), (Code::Unavailable, "BEHIND".to_owned()));
    assert!(Edge::start(&server, &leaf, Some(edge.revision)).await.unwrap().resumed);
    // From before this replica began to keep changes it takes a listing.
    assert!(edge.revision > 0 && !Edge::start(&server, &leaf, Some(0)).await.unwrap().resumed);
}

#[tokio::test]
async fn a_beat_is_answered_with_the_age_of_the_snapshot_after_what_was_known() {
    let server = TestServer::start().await;
    let mut edge = Edge::listed(&server, &server.svid("/edge")).await;
    server.is_fresh_again().await;
    let young = edge.beat().await.age_ms;
    server.advance(Duration::from_hours(1));
    let aged = edge.beat().await;
    // The store reports progress each second, and may have just now.
    assert!(aged.age_ms <= young + 3_600_000, "{aged:?}");
    server.register(spiffe_client(CHECKOUT)).await.unwrap();
    let progress = edge.beat().await;
    assert_eq!((progress.revision, edge.clients()), (edge.revision, vec![CHECKOUT]));
}

#[tokio::test]
async fn the_stream_begins_with_its_start_and_has_no_second_one() {
    let server = TestServer::start().await;
    let mut client = SnapshotServiceClient::new(server.channel(&server.svid("/edge")));
    let beat = WatchSnapshotRequest { request: Some(Request::Beat(WatchBeat { number: 1 })) };
    for first in [beat, WatchSnapshotRequest { request: None }] {
        let refused = client.watch_snapshot(tokio_stream::once(first)).await;
        assert_eq!(refusal(refused), (Code::InvalidArgument, "INVALID_REQUEST".to_owned()));
    }
    let mut edge = Edge::listed(&server, &server.svid("/edge")).await;
    let again = WatchSnapshotRequest { request: Some(Request::Start(WatchStart::default())) };
    edge.requests.send(again).await.unwrap();
    assert_eq!(refusal::<()>(Err(edge.end().await)), (Code::InvalidArgument, "INVALID_REQUEST".to_owned()));
}

#[tokio::test]
async fn only_an_edge_follows_the_snapshot_and_one_that_is_none_any_more_not_further() {
    let server = TestServer::start().await;
    for name in ["/proxy", "/admin", "/auditor", "/checkout"] {
        let refused = Edge::start(&server, &server.svid(name), None).await.map(drop);
        assert_eq!(refusal(refused), (Code::PermissionDenied, "WRONG_ROLE".to_owned()), "{name}");
    }
    let refused = Edge::start(&server, &server.svid("/verifier"), None).await.map(drop);
    assert_eq!(refusal(refused), (Code::PermissionDenied, "REVOCATIONS_ONLY".to_owned()));

    let (mut kept, mut lost) =
        (Edge::listed(&server, &server.svid("/edge")).await, Edge::listed(&server, &server.svid("/orders-edge")).await);
    let authority = server.server.authority();
    let mut roles = authority.policy().roles.clone();
    roles.edges.remove(1);
    authority.replace_roles(roles);
    // It asks, so that there is something to answer.
    lost.beats += 1;
    let beat = Request::Beat(WatchBeat { number: lost.beats });
    lost.requests.send(WatchSnapshotRequest { request: Some(beat) }).await.unwrap();
    assert_eq!(refusal::<()>(Err(lost.end().await)), (Code::PermissionDenied, "WRONG_ROLE".to_owned()));
    kept.beat().await;

    server.revoke(client("spiffe://prod.example/edge")).await;
    assert_eq!(refusal::<()>(Err(kept.end().await)).0, Code::Unauthenticated);
}

#[tokio::test]
async fn what_the_centre_cannot_read_an_edge_does_not_read_either() {
    let server = TestServer::start().await;
    server.register(spiffe_client(CHECKOUT)).await.unwrap();
    let mut edge = Edge::listed(&server, &server.svid("/orders-edge")).await;
    let revision = lanyard::authority::store::Revision(edge.revision + 1000);
    let change = |key: &str, value: serde_json::Value| lanyard::authority::store::Change {
        key: key.to_owned(),
        value: Some(value.to_string().into_bytes().into()),
    };
    let newer = json!({"schema": 99, "metadata": {"client_id": CHECKOUT, "spiffe_id": CHECKOUT}, "secret": "of later"});
    let changes = vec![
        change(&format!("/clients/{CHECKOUT}"), newer),
        change("/revocations/client/a", json!({"schema": 99, "secret": "of later"})),
    ];
    server.server.authority().apply(&lanyard::authority::store::Batch { revision, changes });
    edge.beat().await;
    let records = [&edge.records, &Edge::listed(&server, &server.svid("/orders-edge")).await.records].map(Clone::clone);
    for records in records {
        let client = &records[&format!("/clients/{CHECKOUT}")];
        assert_eq!((client["schema"].as_u64(), client["secret"].as_str()), (Some(u64::from(u32::MAX)), None));
        assert_eq!(records["/revocations/client/a"], json!({ "schema": u32::MAX }));
    }
}
