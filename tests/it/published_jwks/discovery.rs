//! `jwks_uri: {discovery: on_demand}`: an unknown certificate is let in to ask for a token, looked for where the client
//! publishes, and reaches nothing else.

use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::access::CalledMethod;
use lanyard::authority::access::METHODS;
use lanyard::authority::access::NotAdmitted;
use lanyard::authority::trust::Unproven;
use lanyard::proto::Client;
use lanyard::proto::GetJwksRequest;
use lanyard::proto::ListClientsRequest;
use lanyard::proto::key_service_client::KeyServiceClient;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;
use tonic::Code;

use crate::published_jwks::jwks_uri::publishing;
use crate::published_jwks::jwks_uri::server;
use crate::published_jwks::jwks_uri::token;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::ca::TestCa;
use crate::support::ca::self_signed;
use crate::support::calls::opened;
use crate::support::calls::self_signed_client;
use crate::support::door::within;
use crate::support::server::connect;
use crate::support::server::reason_of;

const ON_DEMAND: &str = ", discovery: on_demand";

#[tokio::test]
async fn a_certificate_is_found_when_it_first_asks_for_a_token() {
    let (server, publisher) = server(ON_DEMAND).await;
    let [leaf, other] = ["billing", "other"].map(|name| self_signed(name).issue());
    publisher.publish(&[&leaf]);
    server.register(publishing(&publisher.uri())).await.unwrap();
    let issued = token(&server, &leaf).await.unwrap();
    assert_eq!(opened(&issued.access_token).1["cnf"]["x5t#S256"], leaf.thumbprint().to_string());
    assert_eq!(token(&server, &other).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(publisher.connections(), 1);
    // Known now, on whatever connection.
    let mut keys = KeyServiceClient::new(server.channel(&leaf));
    assert!(keys.get_jwks(GetJwksRequest {}).await.is_ok());
}

#[tokio::test]
async fn one_fetch_serves_all_who_ask_within_half_a_minute() {
    let (server, publisher) = server(ON_DEMAND).await;
    let leaf = self_signed("billing").issue();
    publisher.publish(&[&leaf]);
    server.register(publishing(&publisher.uri())).await.unwrap();
    let server = Arc::new(server);
    let mut asking = JoinSet::new();
    for number in 0..16 {
        let (server, leaf) = (Arc::clone(&server), leaf.clone());
        asking.spawn(async move {
            let stranger = self_signed("stranger").issue();
            let known = number % 2 == 0;
            (known, token(&server, if known { &leaf } else { &stranger }).await.is_ok())
        });
    }
    for (known, issued) in asking.join_all().await {
        assert_eq!(known, issued);
    }
    assert_eq!(publisher.connections(), 1);
    let next = self_signed("next").issue();
    publisher.publish(&[&leaf, &next]);
    server.advance(Duration::from_secs(29));
    assert!(token(&server, &next).await.is_err());
    assert_eq!(publisher.connections(), 1);
    server.advance(Duration::from_secs(1));
    assert!(token(&server, &next).await.is_ok());
    assert_eq!(publisher.connections(), 2);
}

#[tokio::test]
async fn nothing_is_fetched_for_a_client_that_is_not_there_or_publishes_nothing() {
    let (server, publisher) = server(ON_DEMAND).await;
    let [leaf, own] = ["billing", "own"].map(|name| self_signed(name).issue());
    publisher.publish(&[&leaf]);
    assert_eq!(token(&server, &leaf).await.unwrap_err().code(), Code::Unauthenticated);
    server.register(Client { disabled: true, ..publishing(&publisher.uri()) }).await.unwrap();
    server.register(Client { client_id: "own".to_owned(), ..self_signed_client("own", &own.pem()) }).await.unwrap();
    for client_id in ["billing", "own", "nobody", ""] {
        assert!(server.issue_as(&leaf, client_id).await.is_err(), "{client_id}");
    }
    assert!(server.issue_as(&own, "own").await.is_ok());
    assert_eq!(publisher.connections(), 0);
}

#[tokio::test]
async fn an_unknown_certificate_reaches_the_token_endpoint_the_public_documents_and_nothing_else() {
    let (server, publisher) = server(ON_DEMAND).await;
    server.register(publishing(&publisher.uri())).await.unwrap();
    let stranger = self_signed("stranger").issue();
    let connection = server.server.authority().admit(stranger.chain.clone()).unwrap();
    for method in METHODS.iter().map(|method| method.name) {
        let called = CalledMethod::find(method, true);
        let admitted = server.server.authority().authorize_now(&connection, called).map(drop);
        let open = [
            "/.well-known/oauth-authorization-server",
            "/.well-known/openid-configuration",
            "/audit/jwks",
            "/lanyard.v1.TokenService/ExchangeToken",
            "/lanyard.v1.TokenService/IssueToken",
            "/oauth2/jwks",
            "/oauth2/token",
            "/spiffe/bundle",
        ];
        let open = open.contains(&method);
        assert_eq!(admitted, if open { Ok(()) } else { Err(NotAdmitted::Unproven(Unproven::Unknown)) }, "{method}");
    }
    let refused = server.registry(&stranger).list_clients(ListClientsRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let roles = server.server.authority().roles_now(&server.server.authority().prove_now(&stranger.chain).unwrap());
    assert!(!roles.workload && !roles.admin && roles.proxy.is_none());

    // A certificate of another kind is proven by its own rule, or not at all.
    let foreign = TestCa::new("prod.example").svid("spiffe://prod.example/checkout").issue();
    assert_eq!(server.server.authority().admit(foreign.chain).unwrap_err(), Unproven::NoPath);
    let expired = self_signed("stranger").expired().issue();
    assert_eq!(server.server.authority().admit(expired.chain).unwrap_err(), Unproven::Expired);
}

#[tokio::test]
async fn discovery_is_off_unless_it_is_switched_on() {
    let (server, publisher) = server("").await;
    let leaf = self_signed("billing").issue();
    publisher.publish(&[&leaf]);
    server.register(publishing(&publisher.uri())).await.unwrap();
    assert!(token(&server, &leaf).await.is_err());
    assert_eq!(server.server.authority().admit(leaf.chain.clone()).unwrap_err(), Unproven::Unknown);
    assert_eq!(publisher.connections(), 0);
}

#[tokio::test]
async fn nobody_waits_for_a_publisher_that_hangs() {
    // A fetch may take longer than the test does, the wait for it may not.
    let (server, publisher) = server(", discovery: on_demand, timeout: 5m, keep: 20m").await;
    publisher.answer_and_fall_silent(b"");
    server.register(publishing(&publisher.uri())).await.unwrap();
    let stranger = self_signed("stranger").issue();
    let refused = within(token(&server, &stranger)).await.unwrap_err();
    assert_eq!((refused.code(), reason_of(&refused).as_str()), (Code::Unauthenticated, "INVALID_CLIENT"));
    assert_eq!(publisher.connections(), 1);
}

#[tokio::test]
async fn it_works_over_http_too() {
    let (server, publisher) = server(ON_DEMAND).await;
    let [leaf, stranger] = ["billing", "stranger"].map(|name| self_signed(name).issue());
    publisher.publish(&[&leaf]);
    server.register(publishing(&publisher.uri())).await.unwrap();
    for (leaf, path, status) in [
        (&stranger, "/oauth2/token", "401"),
        (&leaf, "/oauth2/token", "200"),
        (&stranger, "/oauth2/token", "401"),
        (&stranger, "/oauth2/introspect", "401"),
        (&stranger, "/oauth2/jwks", "405"),
    ] {
        let mut config = server.tls(leaf);
        config.alpn_protocols.clear();
        let mut stream = connect(server.addresses.mtls, config).await.unwrap();
        let form = "grant_type=client_credentials&client_id=billing&token=x";
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/x-www-form-urlencoded\r\n\
            content-length: {}\r\n\r\n{form}",
            form.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        within(stream.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
    }
}
