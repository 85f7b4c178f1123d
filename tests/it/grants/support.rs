//! A server with the grants of two teams.

use lanyard::proto::Client;
use lanyard::proto::CreateClientRequest;
use lanyard::proto::CreateGrantRequest;
use lanyard::proto::CreateProtectedResourceRequest;
use lanyard::proto::Grant;
use lanyard::proto::ProtectedResource;
use lanyard::proto::UpdateClientRequest;
use lanyard::proto::UpdateProtectedResourceRequest;
use tonic::Code;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::support::leaf::Leaf;
use crate::support::server::TestServer;

/// The path of the SPIFFE ID of an admin of the team `shop`, and of one of the team `billing`.
pub const SHOP_ADMIN: &str = "/ns/shop-admins/ci";
pub const BILLING_ADMIN: &str = "/ns/billing-admins/ci";

pub const SHOP_CLIENT: &str = "spiffe://prod.example/ns/shop/sa/checkout";
pub const SHOP_AUDIENCE: &str = "https://shop.internal/orders";

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// The grant of a team over its namespace, its host and its scopes.
pub fn grant_of(team: &str) -> Grant {
    Grant {
        name: team.to_owned(),
        admins: vec![format!("spiffe://prod.example/ns/{team}-admins/*")],
        spiffe_ids: vec![format!("spiffe://prod.example/ns/{team}/*")],
        audiences: vec!["https://orders.prod.example".to_owned(), format!("https://{team}.internal/*")],
        resources: vec![format!("https://{team}.internal/*")],
        authorities: vec![format!("*.{team}.internal"), format!("{team}.example:8443")],
        scope: "orders.read orders.write".to_owned(),
        max_access_token_ttl: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
        token_endpoint_auth_methods: texts(&["spiffe_x509"]),
        owners: vec![format!("team-{team}")],
        ..Grant::default()
    }
}

/// A client that lies within the grant of the team `shop`.
pub fn shop_client() -> Client {
    Client {
        client_id: "checkout".to_owned(),
        token_endpoint_auth_method: "spiffe_x509".to_owned(),
        spiffe_id: SHOP_CLIENT.to_owned(),
        scope: "orders.read".to_owned(),
        audience: texts(&["https://orders.prod.example"]),
        owner: "team-shop".to_owned(),
        ..Client::default()
    }
}

/// A resource that lies within the grant of the team `shop`.
pub fn shop_resource() -> ProtectedResource {
    ProtectedResource {
        audience: SHOP_AUDIENCE.to_owned(),
        scope: "orders.read".to_owned(),
        authorities: texts(&["orders.shop.internal"]),
        owner: "team-shop".to_owned(),
        ..ProtectedResource::default()
    }
}

/// A server with the grants `shop` and `billing`, where operators may register over HTTP.
pub async fn with_grants() -> TestServer {
    let server = TestServer::started(|setup| {
        setup.registration = "admins".to_owned();
        setup.tokens = "{unbound: true}".to_owned();
    })
    .await;
    for team in ["shop", "billing"] {
        create_grant(&server, &server.svid("/admin"), grant_of(team)).await.unwrap();
    }
    server
}

pub async fn create_grant(server: &TestServer, leaf: &Leaf, grant: Grant) -> Result<Grant, Status> {
    let request = CreateGrantRequest { grant: Some(grant), ..CreateGrantRequest::default() };
    server.registry(leaf).create_grant(request).await.map(tonic::Response::into_inner)
}

pub async fn create(server: &TestServer, leaf: &Leaf, client: Client) -> Result<Client, Status> {
    let request = CreateClientRequest { client: Some(client), ..CreateClientRequest::default() };
    server.registry(leaf).create_client(request).await.map(tonic::Response::into_inner)
}

pub async fn update(server: &TestServer, leaf: &Leaf, client: Client) -> Result<Client, Status> {
    let request = UpdateClientRequest { client: Some(client), ..UpdateClientRequest::default() };
    server.registry(leaf).update_client(request).await.map(tonic::Response::into_inner)
}

pub async fn create_resource(
    server: &TestServer,
    leaf: &Leaf,
    resource: ProtectedResource,
) -> Result<ProtectedResource, Status> {
    let request =
        CreateProtectedResourceRequest { resource: Some(resource), ..CreateProtectedResourceRequest::default() };
    server.registry(leaf).create_protected_resource(request).await.map(tonic::Response::into_inner)
}

pub async fn update_resource(
    server: &TestServer,
    leaf: &Leaf,
    resource: ProtectedResource,
) -> Result<ProtectedResource, Status> {
    let request =
        UpdateProtectedResourceRequest { resource: Some(resource), ..UpdateProtectedResourceRequest::default() };
    server.registry(leaf).update_protected_resource(request).await.map(tonic::Response::into_inner)
}

/// The grant and the member that a refusal names.
pub fn beyond<T: std::fmt::Debug>(outcome: Result<T, Status>) -> (String, String) {
    let status = outcome.unwrap_err();
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("{status:?}"));
    assert_eq!((status.code(), info.reason.as_str()), (Code::PermissionDenied, "NOT_GRANTED"), "{status:?}");
    let named = |name: &str| info.metadata.get(name).cloned().unwrap_or_default();
    assert!(status.message().contains(&format!("'{}'", named("grant"))), "{status:?}");
    (named("grant"), named("member"))
}

/// The refusal by the grant of the team `shop` for this member.
pub fn by_shop(member: &str) -> (String, String) {
    ("shop".to_owned(), member.to_owned())
}
