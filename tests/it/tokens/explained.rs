//! What a refused token request tells its client, and nobody else.

use lanyard::proto::Client;
use lanyard::proto::IssueTokenRequest;
use serde_json::json;
use tonic::Code;

use crate::support::leaf::Leaf;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;
use crate::support::server::spiffe_client;

const CHECKOUT: &str = "spiffe://prod.example/checkout";

async fn message(server: &TestServer, leaf: &Leaf, request: IssueTokenRequest) -> String {
    let status = server.issue(leaf, request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    status.message().to_owned()
}

async fn description(server: &TestServer, leaf: &Leaf, more: &[(&str, &str)]) -> String {
    let form = [&[("grant_type", "client_credentials"), ("client_id", CHECKOUT)], more].concat();
    let reply = server.post(leaf, "/oauth2/token", &form).await;
    let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    body["error_description"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_client_learns_which_scope_it_may_not_have_and_what_it_may_ask_for() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let request = |scope: &str| IssueTokenRequest { scope: scope.to_owned(), ..IssueTokenRequest::default() };
    let expected = "not among the scopes that this client may ask for here: orders.admin; it may ask for: orders.read \
                    orders.write";
    assert_eq!(message(&server, &checkout, request("orders.read orders.admin")).await, expected);
    assert_eq!(description(&server, &checkout, &[("scope", "orders.read orders.admin")]).await, expected);
    // A malformed list, whose text may hold anything, gets the fixed sentence.
    assert!(message(&server, &checkout, request("a\"b")).await.starts_with("the scope is malformed"));

    let none = Client { scope: String::new(), ..spiffe_client("spiffe://prod.example/none") };
    server.register(none).await.unwrap();
    let refused = message(&server, &server.svid("/none"), request("a")).await;
    assert!(refused.ends_with("here: a; it may ask for: none"), "{refused}");
}

#[tokio::test]
async fn a_client_learns_which_audience_it_may_not_have_and_what_it_may_ask_for() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let asked = vec![ORDERS.to_owned(), "https://bank.example".to_owned()];
    let expected = format!(
        "not among the audiences that this client may ask for here: https://bank.example; it may ask for: {ORDERS}"
    );
    let request = IssueTokenRequest { audience: asked, ..IssueTokenRequest::default() };
    assert_eq!(message(&server, &checkout, request).await, expected);
    let form = [("resource", ORDERS), ("resource", "https://bank.example")];
    assert_eq!(description(&server, &checkout, &form).await, expected);
    // What is no URI is not sent back.
    assert!(!description(&server, &checkout, &[("resource", "<b>")]).await.contains('<'));
}

#[tokio::test]
async fn another_caller_learns_nothing_of_the_registration_and_a_long_list_is_cut() {
    let server = TestServer::start().await;
    server.workload("/checkout").await;
    let thief = server.svid("/thief");
    let form = [("scope", "orders.admin")];
    let reply = description(&server, &thief, &form).await;
    assert!(reply.starts_with("client_id is not registered, or") && !reply.contains("orders"), "{reply}");

    let scopes: Vec<String> = (0..100).map(|number| format!("scope.number.{number:03}")).collect();
    server.register(Client { scope: scopes.join(" "), ..spiffe_client("spiffe://prod.example/many") }).await.unwrap();
    let request = IssueTokenRequest { scope: "other".to_owned(), ..IssueTokenRequest::default() };
    let refused = message(&server, &server.svid("/many"), request).await;
    assert!(refused.len() < 700 && refused.ends_with(" ..."), "{refused}");
    assert_eq!(json!(refused).to_string().len(), refused.len() + 2, "nothing in it needs an escape");
}
