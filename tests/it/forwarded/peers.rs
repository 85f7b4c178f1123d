//! A forwarded certificate is looked at in every request, on a connection that stays open for many clients.

use std::fs;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use lanyard::proto::Client;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::RevokeTokenRequest;
use lanyard::proto::revoke_token_request::Target;
use lanyard::proto::token_service_client::TokenServiceClient;
use tokio::task::JoinSet;

use crate::support::NOW;
use crate::support::ca::TestCa;
use crate::support::ca::self_signed;
use crate::support::calls::opened;
use crate::support::calls::pki_client;
use crate::support::calls::self_signed_client;
use crate::support::http::Http;
use crate::support::http::post;
use crate::support::leaf::Leaf;
use crate::support::server::TestServer;
use crate::support::server::spiffe_client;
use crate::support::terminator::Kind;
use crate::support::terminator::carrying;
use crate::support::terminator::client_cert;
use crate::support::terminator::with_headers;
use crate::support::terminator::xfcc;

fn request(client_id: &str, leaf: &Leaf) -> Request<Body> {
    let form = [("grant_type", "client_credentials"), ("client_id", client_id)];
    with_headers(post("/oauth2/token", &form), &[("x-forwarded-client-cert", xfcc(leaf))])
}

async fn gets_token(http: &mut Http, client_id: &str, leaf: &Leaf) {
    let issued = http.send(request(client_id, leaf)).await.ok();
    let claims = opened(issued["access_token"].as_str().unwrap()).1;
    assert_eq!(claims["cnf"]["x5t#S256"], leaf.thumbprint().to_string());
    assert_eq!(claims["client_id"], client_id);
}

async fn is_refused(http: &mut Http, client_id: &str, leaf: &Leaf) {
    let reply = http.send(request(client_id, leaf)).await;
    assert_eq!(reply.error(), (401, "invalid_client".to_owned()));
    assert!(reply.body.contains("no longer proves the client"), "{reply:?}");
}

const CHECKOUT: &str = "spiffe://prod.example/checkout";

#[tokio::test]
async fn a_certificate_that_expires_on_an_open_connection_is_refused_from_then_on() {
    let server = TestServer::behind(Kind::Unix).await;
    let leaf = server.workload("/checkout").await;
    let mut http = server.terminator(Kind::Unix).http().await;
    gets_token(&mut http, CHECKOUT, &leaf).await;
    server.advance(Duration::from_hours(1));
    gets_token_or_none_left(&mut http, &leaf).await;
    server.advance(Duration::from_secs(1));
    is_refused(&mut http, CHECKOUT, &leaf).await;
    // One that had expired before it was first seen;
    is_refused(&mut http, CHECKOUT, &server.setup.ca.svid(CHECKOUT).expired().issue()).await;
    // and one that is new.
    let renewed =
        server.setup.ca.svid(CHECKOUT).between(server.now(), server.now().after(Duration::from_hours(1))).issue();
    gets_token(&mut http, CHECKOUT, &renewed).await;
}

/// In its last second a certificate still proves its holder, though a token could not outlive it.
async fn gets_token_or_none_left(http: &mut Http, leaf: &Leaf) {
    let reply = http.send(request(CHECKOUT, leaf)).await;
    assert!(!reply.body.contains("no longer proves the client"), "{reply:?}");
}

#[tokio::test]
async fn when_the_ca_is_removed_open_connections_answer_no_more_for_its_certificates() {
    let server = TestServer::behind(Kind::Unix).await;
    let leaf = server.workload("/checkout").await;
    let mut http = server.terminator(Kind::Unix).http().await;
    gets_token(&mut http, CHECKOUT, &leaf).await;
    let new_ca = TestCa::new("prod.example");
    fs::write(server.setup.path("ca.pem"), new_ca.pem()).unwrap();
    server.server.reload();
    is_refused(&mut http, CHECKOUT, &leaf).await;
    gets_token(&mut http, CHECKOUT, &new_ca.svid(CHECKOUT).issue()).await;
    fs::write(server.setup.path("ca.pem"), server.setup.ca.pem()).unwrap();
    server.server.reload();
    gets_token(&mut http, CHECKOUT, &leaf).await;
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_with_the_next_request() {
    let server = TestServer::behind(Kind::Unix).await;
    let leaf = server.workload("/checkout").await;
    let mut http = server.terminator(Kind::Unix).http().await;
    gets_token(&mut http, CHECKOUT, &leaf).await;
    let target = Target::CertificateThumbprint(leaf.thumbprint().as_bytes().to_vec());
    let revoke = RevokeTokenRequest { target: Some(target), ..Default::default() };
    // An admin, but not by a forwarded certificate.
    let admin = server.svid("/admin");
    let mut forwarded = TokenServiceClient::new(server.terminator(Kind::Unix).channel());
    let headers = [("x-forwarded-client-cert", xfcc(&admin))];
    assert!(forwarded.revoke_token(carrying(revoke.clone(), &headers)).await.is_err());
    gets_token(&mut http, CHECKOUT, &leaf).await;
    server.tokens(&admin).revoke_token(revoke).await.unwrap();
    is_refused(&mut http, CHECKOUT, &leaf).await;
    gets_token(&mut http, CHECKOUT, &server.svid("/checkout")).await;
}

/// More of them than a connection remembers, each in its turn and out of it.
#[tokio::test]
async fn many_clients_share_a_connection_and_each_is_itself() {
    let server = TestServer::behind(Kind::Mtls).await;
    let pattern = "spiffe://prod.example/ns/*".to_owned();
    server.register(Client { client_id: "all".to_owned(), spiffe_id: pattern, ..spiffe_client("") }).await.unwrap();
    let names: Vec<String> = (0..80).map(|number| format!("/ns/{number}")).collect();
    let leaves: Vec<Leaf> = names.iter().map(|name| server.svid(name)).collect();
    let mut http = server.terminator(Kind::Mtls).http2().await;
    for round in 0..3 {
        for at in 0..names.len() {
            let at = (at * 7 * (round + 1)) % names.len();
            gets_token(&mut http, &format!("spiffe://prod.example{}", names[at]), &leaves[at]).await;
        }
    }
    // A caller that names another identity than its certificate's is refused.
    let reply = http.send(request("spiffe://prod.example/ns/1", &leaves[0])).await;
    assert_eq!(reply.error(), (401, "invalid_client".to_owned()));
}

#[tokio::test]
async fn requests_under_way_at_the_same_time_are_each_their_own_clients() {
    let server = TestServer::behind(Kind::Unix).await;
    let pattern = "spiffe://prod.example/ns/*".to_owned();
    server.register(Client { client_id: "all".to_owned(), spiffe_id: pattern, ..spiffe_client("") }).await.unwrap();
    let channel = server.terminator(Kind::Unix).channel();
    let mut asked = JoinSet::new();
    for number in 0..200 {
        let leaf = server.svid(&format!("/ns/{}", number % 50));
        let mut tokens = TokenServiceClient::new(channel.clone());
        asked.spawn(async move {
            let request = carrying(IssueTokenRequest::default(), &[("x-forwarded-client-cert", xfcc(&leaf))]);
            let issued = tokens.issue_token(request).await.unwrap().into_inner();
            let claims = opened(&issued.access_token).1;
            assert_eq!(claims["cnf"]["x5t#S256"], leaf.thumbprint().to_string());
            assert_eq!(claims["sub"], format!("spiffe://prod.example/ns/{}", number % 50));
        });
    }
    while let Some(ended) = asked.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn the_rules_of_the_handshake_hold_for_each_kind_of_certificate() {
    let server = TestServer::behind(Kind::Tcp).await;
    server.workload("/checkout").await;
    let own = self_signed("billing").issue();
    server.register(self_signed_client("billing", &own.pem())).await.unwrap();
    let partner = server.setup.partner.client_certificate().dns("reports.example").issue();
    let reports = Client {
        tls_client_auth_san_dns: "reports.example".to_owned(),
        client_ca: "partner".to_owned(),
        ..pki_client("reports")
    };
    server.register(reports).await.unwrap();
    let mut http = server.terminator(Kind::Tcp).http().await;
    gets_token(&mut http, "billing", &own).await;
    gets_token(&mut http, "reports", &partner).await;
    let ca = &server.setup.ca;
    for (client_id, leaf) in [
        ("billing", self_signed("billing").issue()),
        ("reports", TestCa::new("partner").client_certificate().dns("reports.example").issue()),
        (CHECKOUT, server.setup.other_ca.svid(CHECKOUT).issue()),
        (CHECKOUT, server.setup.corp.svid(CHECKOUT).issue()),
        (CHECKOUT, ca.svid(CHECKOUT).two_uris().issue()),
        (CHECKOUT, ca.svid(CHECKOUT).ca_leaf().issue()),
        (CHECKOUT, ca.svid(CHECKOUT).without_digital_signature().issue()),
        (CHECKOUT, ca.svid(CHECKOUT).not_yet_valid().issue()),
        (CHECKOUT, ca.svid("spiffe://prod.example").issue()),
    ] {
        is_refused(&mut http, client_id, &leaf).await;
    }
    // Client-Cert is read alike.
    let form = [("grant_type", "client_credentials"), ("client_id", "billing")];
    http.send(with_headers(post("/oauth2/token", &form), &[("client-cert", client_cert(&own))])).await.ok();
    assert_eq!(server.now(), NOW);
}
