//! Files that change while the server serves: its certificate, the bundles; and what that does to open connections.

use std::fs;
use std::time::Duration;

use lanyard::proto::DeleteClientRequest;
use lanyard::proto::GetClientRequest;
use lanyard::proto::GetJwksRequest;
use lanyard::proto::key_service_client::KeyServiceClient;
use rustls::pki_types::CertificateDer;
use tonic::Code;
use tonic::transport::Channel;

use crate::support::ca::TestCa;
use crate::support::ca::self_signed;
use crate::support::child::Serve;
use crate::support::child::real_time;
use crate::support::door::Outcome;
use crate::support::door::knock;
use crate::support::leaf::Leaf;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;
use crate::support::server::connect;
use crate::support::server::reason_of;
use crate::support::server::spiffe_client;

/// A channel that has been used. Were it closed, no call on it could be answered with a reason: a new connection of the
/// same client would not get that far.
async fn open(server: &TestServer, leaf: &Leaf) -> KeyServiceClient<Channel> {
    let mut keys = KeyServiceClient::new(server.channel(leaf));
    assert!(call(&mut keys).await.is_ok());
    keys
}

async fn call(keys: &mut KeyServiceClient<Channel>) -> Result<(), (Code, String)> {
    let answer = keys.get_jwks(GetJwksRequest {}).await;
    answer.map(drop).map_err(|status| (status.code(), reason_of(&status)))
}

fn unproven() -> Result<(), (Code, String)> {
    Err((Code::Unauthenticated, "CERTIFICATE_NOT_PROVEN".to_owned()))
}

#[tokio::test]
async fn a_certificate_is_valid_to_its_last_second_and_no_further_on_the_same_connection() {
    let server = TestServer::start().await;
    let now = server.now();
    let last = now.after(Duration::from_secs(10));
    let leaf = server.setup.ca.svid("spiffe://prod.example/checkout").between(now, last).issue();
    let mut keys = open(&server, &leaf).await;
    server.advance(Duration::from_secs(10));
    assert_eq!(call(&mut keys).await, Ok(()));
    server.advance(Duration::from_secs(1));
    assert_eq!(call(&mut keys).await, unproven());
    // Time that runs backwards makes it valid again, but not from before it began.
    server.setup.clock.set(now);
    assert_eq!(call(&mut keys).await, Ok(()));
    server.setup.clock.set(lanyard::authority::clock::Timestamp(now.0 - 1));
    assert_eq!(call(&mut keys).await, unproven());
}

#[tokio::test]
async fn a_ca_that_left_the_bundle_ends_its_certificates_on_open_connections_too() {
    let server = TestServer::start().await;
    let checkout = server.svid("/checkout");
    let other = server.setup.other_ca.svid("spiffe://other.example/checkout").issue();
    let billing = server.setup.corp.client_certificate().common_name("billing").issue();
    let mut keys = [open(&server, &checkout).await, open(&server, &other).await, open(&server, &billing).await];

    // A new CA beside the old one: nothing is lost.
    let (new_ca, new_corp) = (TestCa::new("prod.example"), TestCa::new("corp"));
    fs::write(server.setup.path("ca.pem"), server.setup.ca.pem() + &new_ca.pem()).unwrap();
    server.server.reload();
    for keys in &mut keys {
        assert_eq!(call(keys).await, Ok(()));
    }
    let renewed = new_ca.svid("spiffe://prod.example/checkout").issue();
    let mut renewed = open(&server, &renewed).await;

    // The new one alone.
    fs::write(server.setup.path("ca.pem"), new_ca.pem()).unwrap();
    server.server.reload();
    let [checkout_keys, other_keys, billing_keys] = &mut keys;
    assert_eq!(call(checkout_keys).await, unproven());
    assert_eq!(call(other_keys).await, Ok(()));
    assert_eq!(call(billing_keys).await, Ok(()));
    assert_eq!(call(&mut renewed).await, Ok(()));
    assert!(!knock(server.addresses.mtls, server.tls(&checkout)).await.is_jwks());

    // The same for a client CA.
    fs::write(server.setup.path("corp.pem"), new_corp.pem()).unwrap();
    server.server.reload();
    assert_eq!(call(billing_keys).await, unproven());
    assert_eq!(call(other_keys).await, Ok(()));

    // And the old one back: the connection was never closed.
    fs::write(server.setup.path("ca.pem"), server.setup.ca.pem()).unwrap();
    server.server.reload();
    assert_eq!(call(checkout_keys).await, Ok(()));
    assert_eq!(call(&mut renewed).await, unproven());
}

#[tokio::test]
async fn a_self_signed_client_that_was_deleted_is_refused_on_its_open_connection() {
    let server = TestServer::start().await;
    let leaf = self_signed("legacy").issue();
    let client = lanyard::proto::Client {
        client_id: "legacy".to_owned(),
        token_endpoint_auth_method: "self_signed_tls_client_auth".to_owned(),
        certificate_pem: leaf.pem(),
        audience: vec![ORDERS.to_owned()],
        ..spiffe_client("")
    };
    server.register(client).await.unwrap();
    let mut keys = open(&server, &leaf).await;
    let mut registry = server.registry(&server.svid("/admin"));
    let request = GetClientRequest { client_id: "legacy".to_owned() };
    let etag = registry.get_client(request).await.unwrap().into_inner().etag;
    assert_eq!(call(&mut keys).await, Ok(()));
    let request = DeleteClientRequest { client_id: "legacy".to_owned(), etag, ..Default::default() };
    registry.delete_client(request).await.unwrap();
    assert_eq!(call(&mut keys).await, unproven());
}

/// The certificate that the server presents to a newcomer.
async fn presented(server: &TestServer) -> CertificateDer<'static> {
    let stream = connect(server.addresses.mtls, server.tls(&server.svid("/newcomer"))).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test]
async fn a_new_server_certificate_is_shown_to_newcomers_while_open_connections_go_on() {
    let server = TestServer::start().await;
    let old = presented(&server).await;
    let mut keys = open(&server, &server.svid("/checkout")).await;
    let new = server.setup.ca.server_certificate("localhost").issue();
    // The certificate without its key, as between two writes: nothing changes.
    fs::write(server.setup.path("server.pem"), new.chain_pem()).unwrap();
    server.server.reload();
    assert_eq!(presented(&server).await, old);
    fs::write(server.setup.path("server-key.pem"), new.key_pem()).unwrap();
    server.server.reload();
    assert_eq!(presented(&server).await, *new.certificate());
    assert_eq!(call(&mut keys).await, Ok(()));
}

#[tokio::test]
async fn a_broken_file_keeps_what_it_should_replace() {
    let server = TestServer::start().await;
    let old = presented(&server).await;
    let mut keys = open(&server, &server.svid("/checkout")).await;
    let leaf = server.svid("/x").pem();
    for name in ["ca.pem", "other.pem", "corp.pem", "server.pem", "server-key.pem"] {
        let path = server.setup.path(name);
        let good = fs::read(&path).unwrap();
        let truncated = good[..good.len() / 2].to_vec();
        let broken: [&[u8]; 5] = [b"", b"garbage", &[0xff; 100], &truncated, leaf.as_bytes()];
        for contents in broken {
            fs::write(&path, contents).unwrap();
            server.server.reload();
            assert_eq!(presented(&server).await, old, "{name}");
            assert_eq!(call(&mut keys).await, Ok(()), "{name}");
        }
        fs::remove_file(&path).unwrap();
        server.server.reload();
        fs::create_dir(&path).unwrap();
        server.server.reload();
        assert_eq!(presented(&server).await, old, "{name}");
        // What is broken holds up nothing else: the others are still read.
        fs::remove_dir(&path).unwrap();
        fs::write(&path, good).unwrap();
        server.server.reload();
    }
    fs::write(server.setup.path("server.pem"), "garbage").unwrap();
    fs::write(server.setup.path("ca.pem"), TestCa::new("prod.example").pem()).unwrap();
    server.server.reload();
    assert_eq!(call(&mut keys).await, unproven());
}

#[tokio::test]
async fn sighup_makes_a_process_read_its_files_again() {
    let setup = real_time();
    setup.write();
    let serve = Serve::start(&setup, 1024);
    let svid = setup.ca.svid("spiffe://prod.example/checkout").issue();
    let stranger = TestCa::at("corp", lanyard::authority::clock::Clock::now(&*setup.clock));
    let billing = stranger.client_certificate().common_name("billing").issue();
    let config = |leaf: &Leaf| {
        let builder = setup.tls_builder(rustls::DEFAULT_VERSIONS);
        builder.with_client_auth_cert(leaf.chain.clone(), leaf.private_key()).unwrap()
    };
    assert!(knock(serve.mtls, config(&svid)).await.is_jwks());
    assert!(matches!(knock(serve.mtls, config(&billing)).await, Outcome::Alert(_)));
    fs::write(setup.path("corp.pem"), stranger.pem()).unwrap();
    serve.signal("HUP");
    serve.line_with("SIGHUP");
    // The files are read between this line and the next one, which this server writes about a stranger.
    while !knock(serve.mtls, config(&billing)).await.is_jwks() {
        serve.line_with("were replaced");
    }
    assert!(knock(serve.mtls, config(&svid)).await.is_jwks());
    serve.signal("TERM");
    assert!(serve.finish());
}
