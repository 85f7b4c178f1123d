//! Connections that do not get on: silent ones, and handshakes that are not finished. Whoever gets on is served.

use std::net::SocketAddr;

use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::pressure::support::at;
use crate::pressure::support::at_mtls;
use crate::pressure::support::client_hello;
use crate::pressure::support::displaced;
use crate::pressure::support::handshakes_refused;
use crate::pressure::support::silent;
use crate::pressure::support::stall;
use crate::pressure::support::stranger;
use crate::pressure::support::unfinished;
use crate::support::child::Serve;
use crate::support::child::real_time;
use crate::support::door::Outcome;
use crate::support::door::assert_serves;
use crate::support::door::knock;
use crate::support::door::read_to_end;
use crate::support::door::request;
use crate::support::door::within;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::connect;
use crate::support::wire::http1;

async fn start(tls: &str) -> TestServer {
    TestServer::started(|setup| setup.tls = tls.to_owned()).await
}

/// Whether a silent connection still has its place: its handshake goes on.
async fn gets_on(server: &TestServer, stream: &mut TcpStream) -> bool {
    let hello = client_hello(server.tls(&server.svid("/late")));
    stream.write_all(&hello).await.is_ok() && within(stream.read_u8()).await.is_ok()
}

#[tokio::test]
async fn of_silent_connections_the_oldest_make_room_and_honest_ones_are_served() {
    let server = start("  max_unfinished: 4\n  handshake_timeout: 1h").await;
    let mut held = Vec::new();
    for number in 0..4 {
        held.push(silent(server.addresses.mtls, stranger(number)).await);
        unfinished(&server, u64::from(number) + 1).await;
    }
    // All places are taken, and nobody was ended for it.
    assert_eq!(displaced(&server.page().await, "mtls"), [0, 0]);
    assert!(knock(server.addresses.mtls, server.tls(&server.svid("/honest"))).await.is_jwks());
    assert_eq!(read_to_end(&mut held[0]).await, b"");
    let page = server.page_where(|page| at_mtls(page, "lanyard_connections_unfinished") == 3).await;
    assert_eq!(displaced(&page, "mtls"), [1, 0]);
    // Each further silent one takes a place from the oldest, and never from a younger one.
    for number in 4..7 {
        held.push(silent(server.addresses.mtls, stranger(number)).await);
        let is_full = |page: &_| at_mtls(page, "lanyard_connections_unfinished") == 4;
        server.page_where(|page| is_full(page) && displaced(page, "mtls")[0] == u64::from(number) - 3).await;
    }
    for ended in &mut held[1..3] {
        assert_eq!(read_to_end(ended).await, b"");
    }
    for kept in &mut held[3..] {
        assert!(gets_on(&server, kept).await);
    }
    assert_eq!(displaced(&server.page().await, "mtls"), [3, 0]);
    server.page_where(|page| handshakes_refused(page, "DISPLACED") == Some(3)).await;
    assert_serves(&server, "silent connections").await;
}

#[tokio::test]
async fn an_address_beyond_its_share_loses_its_own_oldest_once_half_the_places_are_taken() {
    // A sixteenth of 32 is two.
    let server = start("  max_unfinished: 32\n  handshake_timeout: 1h").await;
    let mtls = server.addresses.mtls;
    let mut crowd = Vec::new();
    for count in 1..=15 {
        crowd.push(silent(mtls, stranger(1)).await);
        unfinished(&server, count).await;
    }
    let mut other = silent(mtls, stranger(2)).await;
    unfinished(&server, 16).await;
    assert_eq!(displaced(&server.page().await, "mtls"), [0, 0]);
    for number in 0..5 {
        crowd.push(silent(mtls, stranger(1)).await);
        server.page_where(|page| displaced(page, "mtls") == [0, number + 1]).await;
    }
    for ended in &mut crowd[..5] {
        assert_eq!(read_to_end(ended).await, b"");
    }
    // Others take places meanwhile, and lose none.
    assert_serves(&server, "a crowd from one address").await;
    assert!(gets_on(&server, &mut other).await);
    for kept in &mut crowd[5..] {
        assert!(gets_on(&server, kept).await);
    }
    assert_eq!(displaced(&server.page().await, "mtls"), [0, 5]);
}

#[tokio::test]
async fn a_handshake_that_waits_for_its_client_makes_room_for_one_that_gets_on() {
    let server = start("  max_handshakes: 2\n  handshake_timeout: 1h").await;
    let leaf = server.svid("/stalled");
    let mut stalled = Vec::new();
    for number in 0..2 {
        let mut stream = silent(server.addresses.mtls, stranger(number)).await;
        stall(&mut stream, server.tls(&leaf)).await;
        stalled.push(stream);
    }
    let page = server.page().await;
    // A place among the unfinished is given back with the whole ClientHello, and one of the others taken.
    assert_eq!((at_mtls(&page, "lanyard_connections_unfinished"), at_mtls(&page, "lanyard_handshakes")), (0, 2));
    assert!(knock(server.addresses.mtls, server.tls(&server.svid("/honest"))).await.is_jwks());
    // The oldest of them is ended, and the other one goes on.
    read_to_end(&mut stalled[0]).await;
    let is_counted = |page: &_| handshakes_refused(page, "DISPLACED") == Some(1);
    let page = server.page_where(|page| is_counted(page) && at_mtls(page, "lanyard_handshakes") == 1).await;
    assert_eq!(handshakes_refused(&page, "TOO_SLOW"), Some(0));
    drop(stalled);
    server.page_where(|page| at_mtls(page, "lanyard_handshakes") == 0).await;
    assert_serves(&server, "stalled handshakes").await;
}

#[tokio::test]
async fn silent_connections_take_no_place_among_the_handshakes() {
    let server = start("  max_handshakes: 1\n  handshake_timeout: 1h").await;
    let mut held = Vec::new();
    for number in 0..20 {
        held.push(silent(server.addresses.mtls, stranger(number)).await);
    }
    unfinished(&server, 20).await;
    assert_eq!(at_mtls(&server.page().await, "lanyard_handshakes"), 0);
    assert_serves(&server, "silent connections").await;
    assert_eq!(displaced(&server.page().await, "mtls"), [0, 0]);
}

#[tokio::test]
async fn where_all_connections_are_taken_a_silent_one_makes_room() {
    let server = start("  max_connections: 4\n  max_unfinished: 4\n  handshake_timeout: 1h").await;
    let leaf = server.svid("/holder");
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(connect(server.addresses.mtls, server.tls(&leaf)).await.unwrap());
    }
    server.page_where(|page| at_mtls(page, "lanyard_connections_unfinished") == 0).await;
    let mut quiet = silent(server.addresses.mtls, stranger(1)).await;
    unfinished(&server, 1).await;
    // It may be about to send its ClientHello, so it is given a moment.
    let honest = server.tls(&server.svid("/honest"));
    within(async { while !knock(server.addresses.mtls, honest.clone()).await.is_jwks() {} }).await;
    assert_eq!(read_to_end(&mut quiet).await, b"");
    // No served connection was ended for it.
    for stream in &mut held {
        assert!(within(request(stream, "/oauth2/jwks")).await != Outcome::Closed);
    }
}

#[tokio::test]
async fn the_public_and_the_ops_listener_end_those_first_that_ask_for_nothing() {
    let server = start("  max_unfinished: 4\n  handshake_timeout: 1h").await;
    let anybody = || server.tls_builder().with_no_client_auth();
    let mut asking = anybody();
    asking.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut asker = connect(server.addresses.public, asking.clone()).await.unwrap();
    asker.write_all(b"GET /oauth2/jwks HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    within(asker.read_u8()).await.unwrap();
    // Through with their handshakes, from one address; its share of so few is one.
    let mut idle = Vec::new();
    for _ in 0..6 {
        idle.push(connect(server.addresses.public, anybody()).await.unwrap());
    }
    assert!(knock(server.addresses.public, anybody()).await.is_jwks());
    let page = server.page_where(|page| displaced(page, "public").iter().sum::<u64>() > 0).await;
    assert!(at(&page, "lanyard_connections_unfinished", "public") <= 4);
    read_to_end(&mut idle[0]).await;
    // One that has asked for something is none of them.
    assert!(within(request(&mut asker, "/oauth2/jwks")).await != Outcome::Closed);

    let mut held = Vec::new();
    for number in 0..12 {
        held.push(silent(server.addresses.ops, stranger(number)).await);
    }
    for _ in 0..3 {
        let answer = http1(TcpStream::connect(server.addresses.ops).await.unwrap(), "GET /livez").await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!(read_to_end(&mut held[0]).await, b"");
}

/// A process whose places are all taken by those who do not get on.
fn besieged() -> (Setup, Serve) {
    let tls = "  max_unfinished: 16\n  max_handshakes: 4\n  handshake_timeout: 1h\n  drain_timeout: 5s";
    let setup = Setup { tls: tls.to_owned(), ..real_time() };
    setup.write();
    let serve = Serve::start(&setup, 1024);
    (setup, serve)
}

#[tokio::test]
async fn sigterm_ends_a_process_that_strangers_keep_waiting() {
    let (setup, serve) = besieged();
    let mut held = Vec::new();
    for address in [serve.mtls, serve.public, serve.ops] {
        for number in 0..40 {
            held.push(silent(address, stranger(number)).await);
        }
    }
    let leaf = setup.ca.svid("spiffe://prod.example/stalled").issue();
    let config = setup.tls_builder(rustls::DEFAULT_VERSIONS);
    let config = config.with_client_auth_cert(leaf.chain.clone(), leaf.private_key()).unwrap();
    for number in 40..50 {
        let mut stream = silent(serve.mtls, stranger(number)).await;
        stall(&mut stream, config.clone()).await;
        held.push(stream);
    }
    let honest = |address: SocketAddr| knock(address, config.clone());
    assert!(honest(serve.mtls).await.is_jwks());
    serve.signal("TERM");
    assert!(serve.finish());
    drop(held);
}
