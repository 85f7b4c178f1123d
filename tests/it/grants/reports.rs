//! What a team's admin sees of what is asked at resources.

use std::time::Duration;

use lanyard::proto::DeleteProtectedResourceRequest;
use lanyard::proto::ProtectedResource;
use lanyard::proto::ReportResourceRequest;
use lanyard::proto::SimulateResourceRequest;
use lanyard::proto::SimulateResourceResponse;
use lanyard::proto::explanation_service_client::ExplanationServiceClient;
use tonic::Code;
use tonic::Status;

use super::support::BILLING_ADMIN;
use super::support::SHOP_ADMIN;
use super::support::SHOP_AUDIENCE;
use super::support::create_resource;
use super::support::shop_resource;
use super::support::with_grants;
use crate::support::calls::refusal;
use crate::support::check::Asked;
use crate::support::check::route;
use crate::support::leaf::Leaf;
use crate::support::server::TestServer;

/// How many requests a caller is shown.
async fn requests(server: &TestServer, leaf: &Leaf) -> Result<u64, Status> {
    let request = ReportResourceRequest { audience: SHOP_AUDIENCE.to_owned() };
    let answer = ExplanationServiceClient::new(server.channel(leaf)).report_resource(request).await?.into_inner();
    Ok(answer.requests.iter().map(|one| one.count).sum())
}

async fn simulate(
    server: &TestServer,
    leaf: &Leaf,
    resource: ProtectedResource,
) -> Result<SimulateResourceResponse, Status> {
    let request = SimulateResourceRequest { resource: Some(resource) };
    let answer = ExplanationServiceClient::new(server.channel(leaf)).simulate_resource(request).await;
    answer.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_team_sees_and_simulates_what_lies_within_its_grant_and_nothing_else() {
    let server = with_grants().await;
    let (team, other, admin) = (server.svid(SHOP_ADMIN), server.svid(BILLING_ADMIN), server.svid("/admin"));
    create_resource(&server, &team, shop_resource()).await.unwrap();
    let ask = || Asked::anonymous().resource(SHOP_AUDIENCE).to("GET", "/orders");
    assert_eq!(server.check(ask()).await.reason(), "ROUTE_UNKNOWN");
    for sees in [&team, &admin, &server.svid("/auditor")] {
        assert_eq!(requests(&server, sees).await.unwrap(), 1);
    }
    let not_granted = (Code::PermissionDenied, "NOT_GRANTED".to_owned());
    let wrong_role = (Code::PermissionDenied, "WRONG_ROLE".to_owned());
    assert_eq!(refusal(requests(&server, &other).await), not_granted);
    assert_eq!(refusal(requests(&server, &server.svid("/proxy")).await), wrong_role);

    let mut public = route(&["GET"], "/orders", "");
    public.public = true;
    let wanted = ProtectedResource { routes: vec![public], ..shop_resource() };
    let simulated = simulate(&server, &team, wanted.clone()).await.unwrap();
    let [change] = &simulated.changes[..] else { panic!("{simulated:?}") };
    assert_eq!((&*change.outcome_before, &*change.outcome_after), ("denied", "allowed"));
    let beyond = ProtectedResource { owner: "team-billing".to_owned(), ..wanted.clone() };
    assert_eq!(refusal(simulate(&server, &team, beyond).await), not_granted);
    assert_eq!(refusal(simulate(&server, &other, wanted.clone()).await), not_granted);
    assert_eq!(refusal(simulate(&server, &server.svid("/proxy"), wanted.clone()).await), wrong_role);
    // An auditor changes nothing, and nor does this.
    assert_eq!(simulate(&server, &server.svid("/auditor"), wanted).await.unwrap().changes.len(), 1);

    // What was asked before the resource is registered may have been another's.
    let request = DeleteProtectedResourceRequest { audience: SHOP_AUDIENCE.to_owned(), ..Default::default() };
    server.registry(&team).delete_protected_resource(request).await.unwrap();
    server.advance(Duration::from_mins(1));
    create_resource(&server, &team, shop_resource()).await.unwrap();
    assert_eq!((requests(&server, &team).await.unwrap(), requests(&server, &admin).await.unwrap()), (0, 1));
}
