//! What an edge decides is in the centre's report of the resource.

use lanyard::proto::DecidedOutcome;
use lanyard::proto::DecidedRequests;
use lanyard::proto::DecisionReport;
use lanyard::proto::ReportResourceRequest;
use lanyard::proto::WatchSnapshotRequest;
use lanyard::proto::explanation_service_client::ExplanationServiceClient;
use lanyard::proto::watch_snapshot_request::Request;
use tonic::Code;

use super::Edge;
use crate::support::calls::refusal;
use crate::support::check::orders;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;

const CHECKOUT: &str = "spiffe://prod.example/checkout";

fn decided(resource: &str, outcome: DecidedOutcome, reason: &str, count: u32) -> DecidedRequests {
    DecidedRequests {
        resource: resource.to_owned(),
        caller: CHECKOUT.to_owned(),
        check: true,
        route: "GET /orders/{id}".to_owned(),
        outcome: outcome.into(),
        reason: reason.to_owned(),
        fix: "ask CLIENT".to_owned(),
        count,
    }
}

async fn report(edge: &Edge, number: u64, decided: Vec<DecidedRequests>) {
    let report = Request::Report(DecisionReport { number, decided, not_told_apart: 3 });
    edge.requests.send(WatchSnapshotRequest { request: Some(report) }).await.unwrap();
}

#[tokio::test]
async fn the_report_of_a_resource_has_what_its_edges_decided_and_nothing_of_other_resources() {
    let server = TestServer::start().await;
    server.protect(orders()).await.unwrap();
    server.workload("/checkout").await;
    let mut edge = Edge::listed(&server, &server.svid("/orders-edge")).await;
    assert_eq!(edge.beat().await.reported, 0);
    let of_orders = [
        decided(ORDERS, DecidedOutcome::Allowed, "", 5),
        decided(ORDERS, DecidedOutcome::Denied, "CERTIFICATE_MISMATCH", 2),
        // Of a version that is newer than the centre.
        decided(ORDERS, DecidedOutcome::Denied, "OF_LATER", 1),
        decided(ORDERS, DecidedOutcome::Unspecified, "", 9),
        decided("https://other.prod.example", DecidedOutcome::Allowed, "", 7),
    ];
    report(&edge, 1, of_orders.to_vec()).await;
    assert_eq!(edge.beat().await.reported, 1);

    let mut explanations = ExplanationServiceClient::new(server.channel(&server.svid("/admin")));
    let request = ReportResourceRequest { audience: ORDERS.to_owned() };
    let told = explanations.report_resource(request).await.unwrap().into_inner();
    let mut rows: Vec<_> = told.requests.iter().map(|one| (one.reason.as_str(), one.count, one.fix.as_str())).collect();
    rows.sort_unstable();
    let fix = "ask spiffe://prod.example/checkout";
    assert_eq!(rows, [("", 5, fix), ("CERTIFICATE_MISMATCH", 2, fix), ("OTHER", 1, fix)]);
    let page = server.page().await;
    assert_eq!(page.get("lanyard_edge_decisions_reported_total"), Some(8));
    assert_eq!(page.get("lanyard_edge_decisions_not_told_apart_total"), Some(3));
}

#[tokio::test]
async fn a_second_report_before_the_next_beat_ends_the_stream() {
    let server = TestServer::start().await;
    let mut edge = Edge::listed(&server, &server.svid("/edge")).await;
    report(&edge, 1, Vec::new()).await;
    assert_eq!(refusal::<()>(Err(edge.end().await)), (Code::InvalidArgument, "INVALID_REQUEST".to_owned()));
    let mut edge = Edge::listed(&server, &server.svid("/edge")).await;
    edge.beat().await;
    report(&edge, 1, Vec::new()).await;
    report(&edge, 2, Vec::new()).await;
    assert_eq!(refusal::<()>(Err(edge.end().await)), (Code::InvalidArgument, "INVALID_REQUEST".to_owned()));
}
