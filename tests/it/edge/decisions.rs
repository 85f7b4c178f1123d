//! An edge decides as its centre does, and learns of each change.

use lanyard::proto::Client;
use lanyard::proto::GetClientRequest;
use lanyard::proto::UpdateClientRequest;
use tokio::net::TcpStream;

use crate::support::edge::Edge;
use crate::support::edge::is_allowed;
use crate::support::http::Http;
use crate::support::http::get;
use crate::support::http::http1_only;
use crate::support::page::Page;
use crate::support::revocation::client;
use crate::support::server::TestServer;
use crate::support::server::connect;

#[tokio::test]
async fn an_edge_decides_by_what_the_centre_knows_and_learns_of_each_change() {
    let centre = TestServer::start().await;
    let checkout = centre.workload("/checkout").await;
    let token = centre.token(&checkout).await;
    let edge = Edge::start(&centre, |_| {}).await;
    let answer = edge.validate(&centre, &token, &checkout).await.unwrap();
    assert!(is_allowed(&answer), "{answer:?}");
    // Another certificate does not go with it.
    let thief = centre.svid("/thief");
    let answer = edge.validate(&centre, &token, &thief).await.unwrap();
    assert!(!is_allowed(&answer), "{answer:?}");
    // Registered after the edge has started.
    let late = centre.workload("/late").await;
    let late_token = centre.token(&late).await;
    edge.decides(&centre, &late_token, &late, is_allowed).await;
    // Revoked; the other client stays as it is.
    centre.revoke(client("spiffe://prod.example/checkout")).await;
    edge.decides(&centre, &token, &checkout, |answer| !is_allowed(answer)).await;
    assert!(is_allowed(&edge.validate(&centre, &late_token, &late).await.unwrap()));
    // Disabled, and enabled again.
    let mut registry = centre.registry(&centre.svid("/admin"));
    for disabled in [true, false] {
        let name = "spiffe://prod.example/late".to_owned();
        let registered = registry.get_client(GetClientRequest { client_id: name }).await.unwrap().into_inner();
        let changed = Client { disabled, ..registered };
        registry.update_client(UpdateClientRequest { client: Some(changed), ..Default::default() }).await.unwrap();
        edge.decides(&centre, &late_token, &late, |answer| is_allowed(answer) != disabled).await;
    }
}

#[tokio::test]
async fn an_edge_has_the_public_keys_and_the_metadata_of_the_centre() {
    let url = || Some("https://lanyard.prod.example:8443".to_owned());
    let centre = TestServer::started(|setup| setup.mtls_url = url()).await;
    let edge = Edge::start(&centre, |_| {}).await;
    for (path, part) in [("/oauth2/jwks", "\"kid\""), ("/.well-known/oauth-authorization-server", "8443/oauth2/token")]
    {
        let mut documents = Vec::new();
        for server in [&centre, &edge.running] {
            let tls = http1_only(centre.tls(&centre.svid("/anybody")));
            let mut http = Http::one(connect(server.addresses.public, tls).await.unwrap()).await;
            documents.push(http.send(get(path)).await.body);
        }
        assert_eq!(documents[0], documents[1], "{path}");
        assert!(documents[0].contains(part), "{documents:?}");
    }
}

#[tokio::test]
async fn an_edge_is_ready_without_a_key_that_signs_and_leads_nothing() {
    let centre = TestServer::start().await;
    let edge = Edge::start(&centre, |_| {}).await;
    assert_eq!(*edge.running.server.readiness().borrow(), Ok(()));
    assert!(!edge.running.server.authority().leads());
    let mut ops = Http::one(TcpStream::connect(edge.running.addresses.ops).await.unwrap()).await;
    assert_eq!(ops.send(get("/readyz")).await.status, 200);
    let page: Page = edge.running.page().await;
    assert!(page.names().iter().any(|name| name.starts_with("lanyard_store_staleness_seconds")));
}
