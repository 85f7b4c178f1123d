//! What a team's admin sees: what lies within its grants, and of its history what did.

use lanyard::proto::Client;
use lanyard::proto::GetClientRequest;
use lanyard::proto::GetGrantRequest;
use lanyard::proto::GetProtectedResourceRequest;
use lanyard::proto::ListChangesRequest;
use lanyard::proto::ListClientsRequest;
use lanyard::proto::ListGrantsRequest;
use lanyard::proto::ListProtectedResourcesRequest;
use lanyard::proto::ProtectedResource;
use lanyard::proto::Role;
use lanyard::proto::WhoAmIRequest;
use lanyard::proto::list_changes_request::Registration;
use tonic::Code;

use super::support::BILLING_ADMIN;
use super::support::SHOP_ADMIN;
use super::support::beyond;
use super::support::by_shop;
use super::support::create;
use super::support::create_resource;
use super::support::shop_client;
use super::support::shop_resource;
use super::support::update;
use super::support::with_grants;
use crate::support::calls::refusal;
use crate::support::leaf::Leaf;
use crate::support::server::TestServer;
use crate::support::server::spiffe_client;

async fn clients_of(server: &TestServer, leaf: &Leaf, page_size: i32) -> Vec<String> {
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = server.registry(leaf).list_clients(ListClientsRequest { page_size, page_token }).await;
        let page = page.unwrap().into_inner();
        names.extend(page.clients.into_iter().map(|client| client.client_id));
        if page.next_page_token.is_empty() {
            return names;
        }
        page_token = page.next_page_token;
    }
}

async fn changes(server: &TestServer, leaf: &Leaf, registration: Registration) -> Result<Vec<u64>, tonic::Status> {
    let request = ListChangesRequest { registration: Some(registration) };
    let answer = server.registry(leaf).list_changes(request).await?.into_inner();
    Ok(answer.changes.iter().map(|change| change.number).collect())
}

fn other(name: &str) -> Client {
    spiffe_client(&format!("spiffe://prod.example/ns/elsewhere/{name}"))
}

#[tokio::test]
async fn lists_show_what_lies_within_the_grants_in_pages_of_any_size() {
    let server = with_grants().await;
    let (team, admin) = (server.svid(SHOP_ADMIN), server.svid("/admin"));
    for name in ["a", "b", "c"] {
        create(&server, &admin, other(name)).await.unwrap();
        let own = Client {
            client_id: format!("shop-{name}"),
            spiffe_id: format!("spiffe://prod.example/ns/shop/sa/{name}"),
            ..shop_client()
        };
        create(&server, &team, own).await.unwrap();
    }
    for page_size in [0, 1, 2, 3, 1000] {
        assert_eq!(clients_of(&server, &team, page_size).await, ["shop-a", "shop-b", "shop-c"], "{page_size}");
    }
    for everybody in [&admin, &server.svid("/auditor")] {
        assert_eq!(clients_of(&server, everybody, 2).await.len(), 6);
    }
    assert!(clients_of(&server, &server.svid(BILLING_ADMIN), 0).await.is_empty());
    let unbound =
        ProtectedResource { audience: "https://elsewhere.internal".to_owned(), ..ProtectedResource::default() };
    create_resource(&server, &admin, unbound).await.unwrap();
    create_resource(&server, &team, shop_resource()).await.unwrap();
    let listed = server.registry(&team).list_protected_resources(ListProtectedResourcesRequest::default()).await;
    let listed = listed.unwrap().into_inner().resources;
    assert_eq!(listed.iter().map(|one| &*one.audience).collect::<Vec<_>>(), [&*shop_resource().audience]);
    let stranger = server.registry(&server.svid("/checkout")).list_clients(ListClientsRequest::default()).await;
    assert_eq!(refusal(stranger), (Code::PermissionDenied, "WRONG_ROLE".to_owned()));
}

#[tokio::test]
async fn what_lies_beyond_the_grants_is_neither_read_nor_named() {
    let server = with_grants().await;
    let (team, admin) = (server.svid(SHOP_ADMIN), server.svid("/admin"));
    let get = async |leaf: &Leaf, client_id: &str| {
        server.registry(leaf).get_client(GetClientRequest { client_id: client_id.to_owned() }).await
    };
    create(&server, &admin, Client { client_id: "all".to_owned(), ..other("*") }).await.unwrap_err();
    let wide = Client { client_id: "all".to_owned(), spiffe_id: "spiffe://prod.example/ns/*".to_owned(), ..other("a") };
    create(&server, &admin, wide).await.unwrap();
    assert_eq!(beyond(get(&team, "all").await), by_shop("spiffe_id"));
    // A pattern that covers a name is not told to everybody.
    let covered = "spiffe://prod.example/ns/shop/sa/x";
    let [of_team, of_admin] = [get(&team, covered).await.unwrap_err(), get(&admin, covered).await.unwrap_err()];
    assert!(!of_team.message().contains("all") && of_admin.message().contains("'all'"), "{of_team:?} {of_admin:?}");
    assert_eq!((of_team.code(), of_admin.code()), (Code::NotFound, Code::NotFound));
    create(&server, &team, shop_client()).await.unwrap();
    assert_eq!(get(&team, "checkout").await.unwrap().into_inner().owner, "team-shop");
    let unowned = ProtectedResource { owner: String::new(), ..shop_resource() };
    create_resource(&server, &admin, unowned).await.unwrap();
    let resource = async |leaf: &Leaf| {
        let audience = shop_resource().audience;
        server.registry(leaf).get_protected_resource(GetProtectedResourceRequest { audience }).await
    };
    assert_eq!(beyond(resource(&team).await), by_shop("owner"));
    assert!(resource(&server.svid("/auditor")).await.is_ok());
}

#[tokio::test]
async fn the_history_shows_changes_from_and_to_what_lies_within_the_grants() {
    let server = with_grants().await;
    let (team, admin) = (server.svid(SHOP_ADMIN), server.svid("/admin"));
    let named = || Registration::ClientId("checkout".to_owned());
    // The name was another's before.
    create(&server, &admin, Client { client_id: "checkout".to_owned(), ..billing() }).await.unwrap();
    assert_eq!(beyond(changes(&server, &team, named()).await), by_shop("spiffe_id"));
    server.delete("checkout").await;
    assert_eq!(refusal(changes(&server, &team, named()).await), (Code::NotFound, "CLIENT_NOT_FOUND".to_owned()));
    let present = create(&server, &team, shop_client()).await.unwrap();
    let changed = Client { scope: "orders.write".to_owned(), ..present };
    let present = update(&server, &team, changed).await.unwrap();
    let more = Client { scope: "orders.admin".to_owned(), ..present };
    let present = update(&server, &admin, more).await.unwrap();
    assert_eq!(beyond(changes(&server, &team, named()).await), by_shop("scope"));
    update(&server, &admin, Client { scope: "orders.read".to_owned(), ..present }).await.unwrap();
    assert_eq!(changes(&server, &team, named()).await.unwrap(), [3, 4]);
    for everybody in [&admin, &server.svid("/auditor")] {
        assert_eq!(changes(&server, everybody, named()).await.unwrap(), [1, 2, 3, 4, 5, 6]);
    }
}

fn billing() -> Client {
    Client {
        spiffe_id: "spiffe://prod.example/ns/billing/sa/a".to_owned(),
        owner: "team-billing".to_owned(),
        ..shop_client()
    }
}

#[tokio::test]
async fn a_teams_admin_reads_its_own_grants_and_whoami_names_them() {
    let server = with_grants().await;
    let (team, admin) = (server.svid(SHOP_ADMIN), server.svid("/admin"));
    let get = async |leaf: &Leaf, name: &str| {
        server
            .registry(leaf)
            .get_grant(GetGrantRequest { name: name.to_owned() })
            .await
            .map(tonic::Response::into_inner)
    };
    assert_eq!(get(&team, "shop").await.unwrap(), get(&admin, "shop").await.unwrap());
    for other in ["billing", "nothing"] {
        assert_eq!(refusal(get(&team, other).await), (Code::NotFound, "GRANT_NOT_FOUND".to_owned()), "{other}");
    }
    let listed = async |leaf: &Leaf, page_size| {
        let mut names = Vec::new();
        let mut page_token = String::new();
        loop {
            let page = server.registry(leaf).list_grants(ListGrantsRequest { page_size, page_token }).await;
            let page = page.unwrap().into_inner();
            names.extend(page.grants.into_iter().map(|grant| grant.name));
            if page.next_page_token.is_empty() {
                return names;
            }
            page_token = page.next_page_token;
        }
    };
    for page_size in [0, 1, 2] {
        assert_eq!(listed(&team, page_size).await, ["shop"]);
        assert_eq!(listed(&server.svid("/auditor"), page_size).await, ["billing", "shop"]);
    }
    let history = |name: &str| Registration::Grant(name.to_owned());
    assert_eq!(changes(&server, &admin, history("shop")).await.unwrap(), [1]);
    assert_eq!(beyond(changes(&server, &team, history("shop")).await).0, "shop");
    let whoami = server.tokens(&team).who_am_i(WhoAmIRequest {}).await.unwrap().into_inner();
    assert_eq!(whoami.roles().collect::<Vec<_>>(), [Role::Workload, Role::Team]);
    assert_eq!(whoami.grants, ["shop"]);
    let whoami = server.tokens(&admin).who_am_i(WhoAmIRequest {}).await.unwrap().into_inner();
    assert!(whoami.grants.is_empty() && !whoami.roles().any(|role| role == Role::Team));
}
