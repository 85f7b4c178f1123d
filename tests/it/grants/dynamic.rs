//! Registrations over HTTP by a team's admin: within its grants, for as long as it holds them.

use axum::http::Method;
use lanyard::proto::DeleteGrantRequest;
use serde_json::json;

use super::support::BILLING_ADMIN;
use super::support::SHOP_ADMIN;
use super::support::SHOP_CLIENT;
use super::support::create;
use super::support::create_grant;
use super::support::grant_of;
use super::support::shop_client;
use crate::support::dcr::manage;
use crate::support::dcr::metadata;
use crate::support::dcr::own_identity;
use crate::support::dcr::register;
use crate::support::dcr::registered;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;

fn of_shop() -> serde_json::Value {
    json!({ "spiffe_id": SHOP_CLIENT, "audience": [ORDERS], "scope": "orders.read" })
}

async fn start(registration: &str) -> TestServer {
    let server = TestServer::started(|setup| setup.registration = registration.to_owned()).await;
    for team in ["shop", "billing"] {
        create_grant(&server, &server.svid("/admin"), grant_of(team)).await.unwrap();
    }
    server
}

#[tokio::test]
async fn what_a_team_registered_is_managed_by_its_registrant_while_it_holds_the_grant() {
    let server = start("admins").await;
    let [team, billing] = [SHOP_ADMIN, BILLING_ADMIN].map(|path| server.svid(path));
    let (_, token) = registered(&server, &team, of_shop()).await;
    let read = async |leaf| manage(&server, leaf, Method::GET, SHOP_CLIENT, &token, &json!({})).await.status;
    assert_eq!((read(&team).await, read(&billing).await), (200, 401));
    // An admin gives it more than the grant covers.
    let mut more = server.registry(&server.svid("/admin"));
    let request = lanyard::proto::GetClientRequest { client_id: SHOP_CLIENT.to_owned() };
    let present = more.get_client(request).await.unwrap().into_inner();
    let wide = lanyard::proto::Client { scope: "orders.read orders.admin".to_owned(), ..present.clone() };
    let wide = server.update(wide).await.unwrap();
    assert_eq!(read(&team).await, 403);
    server.update(lanyard::proto::Client { scope: present.scope, ..wide }).await.unwrap();
    assert_eq!(read(&team).await, 200);
    let deletion = DeleteGrantRequest { name: "shop".to_owned(), ..DeleteGrantRequest::default() };
    more.delete_grant(deletion).await.unwrap();
    assert_eq!(read(&team).await, 401);
    let refused = register(&server, &team, &metadata(of_shop())).await;
    assert_eq!((refused.status, refused.json()["error"].clone()), (403, json!("access_denied")));
}

#[tokio::test]
async fn where_registration_is_off_a_grant_does_not_turn_it_on() {
    let server = start("off").await;
    let team = server.svid(SHOP_ADMIN);
    let refused = register(&server, &team, &metadata(of_shop())).await;
    assert_eq!(refused.status, 404);
    create(&server, &team, shop_client()).await.unwrap();
}

#[tokio::test]
async fn a_teams_admin_registers_itself_as_a_workload_does_and_others_within_its_grant() {
    let server = TestServer::started(own_identity).await;
    create_grant(&server, &server.svid("/admin"), grant_of("shop")).await.unwrap();
    let team = server.svid(SHOP_ADMIN);
    // It is no client of the team, and no operator registered it.
    let itself = metadata(json!({ "audience": [ORDERS], "scope": "orders.read" }));
    assert_eq!(register(&server, &team, &itself).await.status, 403);
    let (answer, _) = registered(&server, &team, of_shop()).await;
    assert_eq!(answer["client_id"], SHOP_CLIENT);
    let foreign = json!({ "spiffe_id": "spiffe://prod.example/ns/billing/sa/a", "audience": [ORDERS] });
    let refused = register(&server, &team, &metadata(foreign)).await;
    assert!(refused.status == 403 && refused.json()["error_description"].as_str().unwrap().contains("NOT_GRANTED"));
    let workload = server.svid("/ns/shop/sa/checkout");
    // A workload is still bounded to itself.
    let other = json!({ "spiffe_id": "spiffe://prod.example/ns/shop/sa/other", "audience": [ORDERS] });
    assert_eq!(register(&server, &workload, &metadata(other)).await.status, 400);
}
