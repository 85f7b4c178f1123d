//! Dual control through the real server: over gRPC and over HTTP, by roles, and in the audit trail.

use axum::http::Method;
use lanyard::proto::ApproveProposalRequest;
use lanyard::proto::Client;
use lanyard::proto::CreateClientRequest;
use lanyard::proto::GetProposalRequest;
use lanyard::proto::ListChangesRequest;
use lanyard::proto::ListProposalsRequest;
use lanyard::proto::RejectProposalRequest;
use lanyard::proto::list_changes_request::Registration as Named;
use lanyard::proto::proposal_service_client::ProposalServiceClient;
use lanyard::proto::registration_change::After;
use serde_json::json;
use tonic::Code;
use tonic::Status;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

use crate::support::dcr::manage;
use crate::support::dcr::metadata;
use crate::support::dcr::operator_limit;
use crate::support::dcr::register;
use crate::support::dcr::registered;
use crate::support::leaf::Leaf;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;
use crate::support::server::spiffe_client;

const PAY: &str = "spiffe://prod.example/ns/pay/sa/api";

async fn start(registration: &str) -> TestServer {
    TestServer::started(|setup| {
        setup.registration = registration.to_owned();
        setup.roles =
            "{admins: [{spiffe_id: spiffe://prod.example/admin}, {spiffe_id: spiffe://prod.example/second}], \
            auditors: [{spiffe_id: spiffe://prod.example/auditor}]}"
                .to_owned();
        setup.exchange =
            "{}\ndual_control: {ttl: 2h, changes: [{kind: client, names: ['spiffe://prod.example/ns/pay/*']}]}"
                .to_owned();
    })
    .await
}

fn proposals(server: &TestServer, leaf: &Leaf) -> ProposalServiceClient<Channel> {
    ProposalServiceClient::new(server.channel(leaf))
}

/// The reason of a refusal, and the proposal that it names.
fn refused<T: std::fmt::Debug>(outcome: Result<T, Status>) -> (Code, String, Option<String>) {
    let status = outcome.unwrap_err();
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("{status:?}"));
    (status.code(), info.reason.clone(), info.metadata.get("proposal").cloned())
}

async fn create(server: &TestServer, leaf: &Leaf, client: Client) -> Result<Client, Status> {
    let request = CreateClientRequest { client: Some(client), reason: "TICKET-7".to_owned(), ..Default::default() };
    server.registry(leaf).create_client(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_change_is_proposed_shown_and_approved_over_grpc() {
    let server = start("off").await;
    let [admin, second, auditor, workload] =
        ["/admin", "/second", "/auditor", "/ns/pay/sa/api"].map(|path| server.svid(path));
    let (code, reason, id) = refused(create(&server, &admin, spiffe_client(PAY)).await);
    assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "PROPOSED"));
    let id = id.unwrap();
    for reader in [&admin, &second, &auditor] {
        let listed = proposals(&server, reader).list_proposals(ListProposalsRequest {}).await.unwrap().into_inner();
        assert_eq!(listed.proposals.len(), 1);
        let get = GetProposalRequest { id: id.clone() };
        let shown = proposals(&server, reader).get_proposal(get).await.unwrap().into_inner();
        let change = shown.change.unwrap();
        let by = (change.change.as_str(), change.changed_by.as_str(), change.reason.as_str());
        assert_eq!(by, ("create", "spiffe://prod.example/admin", "TICKET-7"));
        let Some(After::ClientAfter(after)) = change.after else { panic!("{change:?}") };
        assert_eq!((after.client_id.as_str(), shown.outdated, shown.by_team), (PAY, false, false));
    }
    let approve = async |leaf: &Leaf| {
        let request = ApproveProposalRequest { id: id.clone() };
        proposals(&server, leaf).approve_proposal(request).await.map(tonic::Response::into_inner)
    };
    assert_eq!(refused(approve(&admin).await), (Code::PermissionDenied, "OWN_PROPOSAL".to_owned(), None));
    for other in [&auditor, &workload] {
        assert_eq!(refused(approve(other).await), (Code::PermissionDenied, "WRONG_ROLE".to_owned(), None));
    }
    let reject = RejectProposalRequest { id: id.clone() };
    let refusal = proposals(&server, &auditor).reject_proposal(reject).await.map(drop);
    assert_eq!(refused(refusal).1, "WRONG_ROLE");
    approve(&second).await.unwrap();
    assert_eq!(refused(approve(&second).await), (Code::NotFound, "PROPOSAL_NOT_FOUND".to_owned(), None));
    let request = ListChangesRequest { registration: Some(Named::ClientId(PAY.to_owned())) };
    let changes = server.registry(&auditor).list_changes(request).await.unwrap().into_inner().changes;
    let who = (changes[0].changed_by.as_str(), changes[0].approved_by.as_str());
    assert_eq!(who, ("spiffe://prod.example/admin", "spiffe://prod.example/second"));
    // The nearest that no rule is about.
    create(&server, &admin, spiffe_client("spiffe://prod.example/ns/shop/sa/a")).await.unwrap();
}

#[tokio::test]
async fn over_http_nothing_is_registered_that_a_second_admin_has_to_approve() {
    let server = start("own-identity").await;
    let [admin, second, workload] = ["/admin", "/second", "/ns/pay/sa/api"].map(|path| server.svid(path));
    let pay = json!({ "spiffe_id": PAY, "audience": [ORDERS], "scope": "orders.read" });
    let held = register(&server, &admin, &metadata(pay.clone())).await;
    assert_eq!((held.status, held.json()["error"].clone()), (403, json!("access_denied")));
    assert!(held.json()["error_description"].as_str().unwrap().contains("APPROVAL_NEEDED"), "{held:?}");
    let listed = proposals(&server, &admin).list_proposals(ListProposalsRequest {}).await.unwrap().into_inner();
    assert_eq!(listed.proposals.len(), 0);
    // What is not controlled is registered, and cannot become what is.
    let shop = "spiffe://prod.example/ns/shop/sa/a";
    let free = json!({ "spiffe_id": shop, "audience": [ORDERS], "scope": "orders.read" });
    let (mut answer, token) = registered(&server, &admin, free).await;
    let members = answer.as_object_mut().unwrap();
    for own in ["registration_access_token", "registration_client_uri", "client_id_issued_at"] {
        members.remove(own);
    }
    members.insert("spiffe_id".to_owned(), json!("spiffe://prod.example/ns/pay/*"));
    let changed = manage(&server, &admin, Method::PUT, shop, &token, &answer).await;
    assert!(matches!(changed.status, 400 | 403), "{changed:?}");
    // A workload registers itself within what two admins registered for it.
    let limit = Client {
        client_id: "pay".to_owned(),
        spiffe_id: "spiffe://prod.example/ns/pay/*".to_owned(),
        ..operator_limit()
    };
    let (.., id) = refused(create(&server, &admin, limit).await);
    assert_eq!(register(&server, &workload, &metadata(json!({}))).await.status, 403);
    let approve = ApproveProposalRequest { id: id.unwrap() };
    proposals(&server, &second).approve_proposal(approve).await.unwrap();
    assert_eq!(register(&server, &workload, &metadata(json!({}))).await.status, 201);
}
