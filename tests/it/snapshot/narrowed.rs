//! What an edge is told is what decisions at its resources take, and nothing else.

use lanyard::proto::Client;
use lanyard::proto::DeleteClientRequest;
use lanyard::proto::ExchangeRule;
use lanyard::proto::ProtectedResource;
use lanyard::proto::ScopeGrant;
use serde_json::Value;
use serde_json::json;
use tonic::Code;

use super::Edge;
use crate::support::calls::pki_client;
use crate::support::calls::refusal;
use crate::support::check::orders;
use crate::support::dcr;
use crate::support::dcr::own_identity;
use crate::support::revocation::client;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;
use crate::support::server::spiffe_client;

const BILLING: &str = "https://billing.prod.example";

/// A client that is registered for the other resource.
fn of_billing(client: Client) -> Client {
    Client { audience: vec![BILLING.to_owned()], ..client }
}

fn below(name: &str, pattern: &str) -> Client {
    Client { client_id: name.to_owned(), spiffe_id: pattern.to_owned(), ..spiffe_client("") }
}

fn printer(name: &str) -> Client {
    Client { tls_client_auth_san_dns: format!("{name}.corp.example"), client_ca: "corp".to_owned(), ..pki_client(name) }
}

fn exchanging(client: Client, subjects: &str, presented_at: &str) -> Client {
    let rule = ExchangeRule {
        subjects: vec![subjects.to_owned()],
        presented_at: presented_at.to_owned(),
        audience: client.audience.first().unwrap().clone(),
        grants: vec![ScopeGrant { needs: "web".to_owned(), gives: "orders.read".to_owned() }],
        ..ExchangeRule::default()
    };
    let grant_types = ["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"];
    Client { exchange: vec![rule], grant_types: grant_types.map(ToOwned::to_owned).to_vec(), ..client }
}

async fn delete(server: &TestServer, client_id: &str) {
    let request = DeleteClientRequest { client_id: client_id.to_owned(), ..DeleteClientRequest::default() };
    server.registry(&server.svid("/admin")).delete_client(request).await.unwrap();
}

#[tokio::test]
async fn an_edge_of_one_resource_gets_its_clients_and_what_may_take_their_place_and_no_others() {
    let server = TestServer::start().await;
    server.protect(orders()).await.unwrap();
    let billing = ProtectedResource { audience: BILLING.to_owned(), ..orders() };
    server.protect(ProtectedResource { routes: Vec::new(), ..billing }).await.unwrap();
    let clients = [
        spiffe_client("spiffe://prod.example/checkout"),
        of_billing(spiffe_client("spiffe://prod.example/cashier")),
        below("shop", "spiffe://prod.example/ns/shop/*"),
        // More specific, and wider: each would decide in the place of the shop.
        of_billing(spiffe_client("spiffe://prod.example/ns/shop/sa/till")),
        of_billing(below("tills", "spiffe://prod.example/ns/shop/tills/*")),
        of_billing(below("namespaces", "spiffe://prod.example/ns/*")),
        of_billing(below("offices", "spiffe://prod.example/offices/*")),
        printer("printer"),
        of_billing(printer("scanner")),
    ];
    for client in clients {
        server.register(client).await.unwrap();
    }
    let edge = Edge::listed(&server, &server.svid("/orders-edge")).await;
    let needed = [
        "namespaces",
        "printer",
        "shop",
        "spiffe://prod.example/checkout",
        "spiffe://prod.example/ns/shop/sa/till",
        "tills",
    ];
    assert_eq!(edge.clients(), needed);
    let resources: Vec<_> = edge.records.keys().filter(|key| key.starts_with("/resources/")).collect();
    assert_eq!(resources, [&format!("/resources/{ORDERS}")]);

    let whole = Edge::listed(&server, &server.svid("/edge")).await;
    assert_eq!(whole.clients().len(), 9);
    assert_eq!(whole.records.keys().filter(|key| key.starts_with("/resources/")).count(), 2);
    // What both get is the same.
    assert!(edge.records.iter().all(|(key, value)| whole.records.get(key) == Some(value)));
}

#[tokio::test]
async fn whose_tokens_are_exchanged_for_the_resource_is_needed_too_along_the_whole_chain() {
    let server = TestServer::start().await;
    let at = |audience: &str, client: Client| Client { audience: vec![audience.to_owned()], ..client };
    let (web, edge_of_web) = ("https://web.prod.example", "https://edge.prod.example");
    let clients = [
        exchanging(spiffe_client("spiffe://prod.example/gateway"), "spiffe://prod.example/users/*", web),
        // Acts in between: its tokens are presented to the gateway, and their subjects are others.
        exchanging(at(web, spiffe_client("spiffe://prod.example/front")), "spiffe://prod.example/users/*", edge_of_web),
        at(edge_of_web, below("users", "spiffe://prod.example/users/*")),
        at("https://elsewhere.prod.example", spiffe_client("spiffe://prod.example/stranger")),
    ];
    for client in clients {
        server.register(client).await.unwrap();
    }
    let edge = Edge::listed(&server, &server.svid("/orders-edge")).await;
    assert_eq!(edge.clients(), ["spiffe://prod.example/front", "spiffe://prod.example/gateway", "users"]);
}

#[tokio::test]
async fn a_registration_that_becomes_needed_comes_with_what_may_take_its_place() {
    let server = TestServer::start().await;
    server.register(of_billing(below("namespaces", "spiffe://prod.example/ns/*"))).await.unwrap();
    let cashier = server.register(of_billing(spiffe_client("spiffe://prod.example/ns/shop/cashier"))).await.unwrap();
    let mut edge = Edge::listed(&server, &server.svid("/orders-edge")).await;
    assert!(edge.clients().is_empty());

    let cashier = server.update(Client { audience: vec![ORDERS.to_owned()], ..cashier }).await.unwrap();
    edge.beat().await;
    assert_eq!(edge.clients(), ["namespaces", "spiffe://prod.example/ns/shop/cashier"]);

    // What it no longer needs stays until the edge lists again: the reason of a denial is that of the centre.
    server.update(of_billing(cashier)).await.unwrap();
    edge.beat().await;
    assert_eq!(
        edge.records["/clients/spiffe://prod.example/ns/shop/cashier"]["metadata"]["audience"],
        json!([BILLING])
    );
    delete(&server, "spiffe://prod.example/ns/shop/cashier").await;
    edge.beat().await;
    assert_eq!(edge.clients(), ["namespaces"]);
    assert!(Edge::listed(&server, &server.svid("/orders-edge")).await.clients().is_empty());
}

#[tokio::test]
async fn a_pattern_that_becomes_needed_makes_the_edge_list_again() {
    let server = TestServer::start().await;
    server.register(of_billing(spiffe_client("spiffe://prod.example/ns/shop/cashier"))).await.unwrap();
    let leaf = server.svid("/orders-edge");
    let mut edge = Edge::listed(&server, &leaf).await;
    let before = edge.revision;
    server.register(below("shop", "spiffe://prod.example/ns/shop/*")).await.unwrap();
    assert_eq!(refusal::<()>(Err(edge.end().await)), (Code::Aborted, "LIST_AGAIN".to_owned()));
    // Nor does it go on from before.
    let mut edge = Edge::start(&server, &leaf, Some(before)).await.unwrap();
    assert!(!edge.resumed);
    edge.until_progress().await;
    assert_eq!(edge.clients(), ["shop", "spiffe://prod.example/ns/shop/cashier"]);

    // One that takes no place of another's does not.
    server.register(of_billing(below("offices", "spiffe://prod.example/offices/*"))).await.unwrap();
    edge.beat().await;
    assert_eq!(edge.clients().len(), 2);
}

#[tokio::test]
async fn where_transaction_tokens_count_every_client_is_needed() {
    let exchange = "{enabled: true}\ntxn_tokens: {trust_domain: prod.example}";
    let server = TestServer::started(|setup| setup.exchange = exchange.to_owned()).await;
    server.register(of_billing(spiffe_client("spiffe://prod.example/cashier"))).await.unwrap();
    let leaf = server.svid("/orders-edge");
    let mut edge = Edge::listed(&server, &leaf).await;
    assert!(edge.clients().is_empty());
    server.protect(ProtectedResource { txn_token: "accept".to_owned(), ..orders() }).await.unwrap();
    assert_eq!(refusal::<()>(Err(edge.end().await)), (Code::Aborted, "LIST_AGAIN".to_owned()));
    assert_eq!(Edge::listed(&server, &leaf).await.clients(), ["spiffe://prod.example/cashier"]);
}

#[tokio::test]
async fn no_private_key_no_hash_of_a_secret_and_nobody_who_changed_something_is_told() {
    let server = TestServer::started(own_identity).await;
    server.protect(orders()).await.unwrap();
    server.register(dcr::operator_limit()).await.unwrap();
    let leaf = server.svid("/ns/shop/checkout");
    dcr::registered(&server, &leaf, json!({ "client_id": dcr::CHECKOUT, "audience": [ORDERS] })).await;
    server.revoke(client("spiffe://prod.example/thief")).await;
    for name in ["/edge", "/orders-edge"] {
        let edge = Edge::listed(&server, &server.svid(name)).await;
        let kinds = ["/clients/", "/deleted/", "/keys/", "/resources/", "/revocations/"];
        assert!(edge.records.keys().all(|key| kinds.iter().any(|kind| key.starts_with(kind))), "{:?}", edge.records);
        assert_eq!(edge.clients(), ["shop", dcr::CHECKOUT]);
        for (key, record) in &edge.records {
            for (member, value) in members(record) {
                let said = format!("{key}: {member} {value}");
                assert!(member != "sealed" && !value.to_string().contains("prod.example/admin"), "{said}");
                let of_registrant = ["access_token_hash", "registrant", "created_by", "updated_by", "revoked_by"];
                assert!(!of_registrant.contains(&&*member) || value == "", "{said}");
            }
        }
        let key = edge.records.iter().find(|(key, _)| key.starts_with("/keys/")).unwrap().1;
        let names: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["algorithm", "create_time", "kid", "public_key", "schema", "state"]);
        assert!(edge.records.contains_key("/revocations/client/spiffe://prod.example/thief"));
    }
}

/// All members in a document, at any depth.
fn members(value: &Value) -> Vec<(String, Value)> {
    match value {
        Value::Object(object) => object
            .iter()
            .flat_map(|(name, value)| std::iter::once((name.clone(), value.clone())).chain(members(value)))
            .collect(),
        Value::Array(items) => items.iter().flat_map(members).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}
