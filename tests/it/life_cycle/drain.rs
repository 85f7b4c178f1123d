//! How connections end: at their maximum age, and when the server stops.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use hyper_util::rt::TokioIo;
use lanyard::authority::clock::Clock;
use lanyard::proto::GetJwksRequest;
use lanyard::proto::key_service_client::KeyServiceClient;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tonic::Code;
use tonic::Streaming;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::HealthCheckResponse;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::door::Outcome;
use crate::support::door::connect_h2;
use crate::support::door::knock;
use crate::support::door::read_to_end;
use crate::support::door::within;
use crate::support::frames::END_HEADERS;
use crate::support::frames::Frames;
use crate::support::frames::GOAWAY;
use crate::support::frames::HEADERS;
use crate::support::frames::SETTINGS;
use crate::support::frames::call;
use crate::support::leaf::Leaf;
use crate::support::panicking_clock::PanickingClock;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::connect;
use crate::support::server::reason_of;

async fn start(tls: &str) -> TestServer {
    let setup = Setup { tls: tls.to_owned(), ..Setup::default() };
    setup.write();
    setup.start().await.unwrap()
}

/// A health watch stream that has reported its first status.
async fn watch(server: &TestServer, leaf: &Leaf) -> Streaming<HealthCheckResponse> {
    let mut health = HealthClient::new(server.channel(leaf));
    let mut watched = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    watched
}

/// The status that a stream ends with.
async fn end_of(mut watched: Streaming<HealthCheckResponse>) -> tonic::Status {
    loop {
        match within(watched.message()).await {
            Ok(state) => assert!(state.is_some(), "it ended as if there were nothing more to come"),
            Err(status) => return status,
        }
    }
}

#[tokio::test]
async fn at_its_maximum_age_a_connection_is_told_to_go_away_and_ends() {
    let server = start("  connection_max_age: 300ms").await;
    let mut frames = Frames::open(connect_h2(&server, &server.svid("/checkout")).await).await;
    assert!(within(frames.next_of(GOAWAY)).await.is_some());
    assert_eq!(within(frames.next_of(HEADERS)).await, None);
    // So does one over HTTP/1.1 that is kept alive,
    let mut config = server.tls(&server.svid("/checkout"));
    config.alpn_protocols.clear();
    let mut stream = connect(server.addresses.mtls, config).await.unwrap();
    stream.write_all(b"GET /oauth2/jwks HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    assert!(read_to_end(&mut stream).await.starts_with(b"HTTP/1.1 200 "));
    // and one in the plain.
    let mut stream = TcpStream::connect(server.addresses.ops).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    assert!(read_to_end(&mut stream).await.ends_with(b"\r\n\r\nok"));
}

#[tokio::test]
async fn after_the_maximum_age_the_next_call_goes_over_a_new_connection() {
    let server = start("  connection_max_age: 300ms").await;
    let leaf = server.svid("/checkout");
    let (opened, (ended, mut ends)) = (Arc::new(AtomicUsize::new(0)), mpsc::unbounded_channel());
    let connector = {
        let (config, opened, address) = (server.tls(&leaf), Arc::clone(&opened), server.addresses.mtls);
        tower::service_fn(move |_: tonic::transport::Uri| {
            let (config, opened, ended) = (config.clone(), Arc::clone(&opened), ended.clone());
            async move {
                opened.fetch_add(1, Ordering::Relaxed);
                let (near, mut far) = tokio::io::duplex(64 * 1024);
                let mut stream = connect(address, config).await?;
                tokio::spawn(async move {
                    drop(tokio::io::copy_bidirectional(&mut far, &mut stream).await);
                    assert!(ended.send(()).is_ok());
                });
                Ok::<_, std::io::Error>(TokioIo::new(near))
            }
        })
    };
    let channel = Endpoint::from_static("https://localhost").connect_with_connector_lazy(connector);
    let mut keys = KeyServiceClient::new(channel);
    for connections in 1..=3 {
        within(keys.get_jwks(GetJwksRequest {})).await.unwrap();
        assert_eq!(opened.load(Ordering::Relaxed), connections);
        within(ends.recv()).await.unwrap();
    }
}

#[tokio::test]
async fn a_stream_ends_with_unavailable_at_the_maximum_age_of_its_connection() {
    let server = start("  connection_max_age: 300ms").await;
    let status = end_of(watch(&server, &server.svid("/checkout")).await).await;
    assert_eq!((status.code(), reason_of(&status)), (Code::Unavailable, "CONNECTION_OVER".to_owned()));
    // Another one starts anew.
    drop(watch(&server, &server.svid("/checkout")).await);
}

#[tokio::test]
async fn a_server_that_stops_ends_all_connections_and_takes_no_new_ones() {
    let server = start("  drain_timeout: 60s\n  handshake_timeout: 1s").await;
    let leaf = server.svid("/checkout");
    let watched = watch(&server, &leaf).await;
    let mut idle = Frames::open(connect_h2(&server, &leaf).await).await;
    assert!(within(idle.next_of(SETTINGS)).await.is_some());
    let mut kept_alive = TcpStream::connect(server.addresses.ops).await.unwrap();
    kept_alive.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    assert_eq!(kept_alive.read_u8().await.unwrap(), b'H');
    let mut undecided = connect(server.addresses.mtls, server.tls(&leaf)).await.unwrap();
    let mut silent = TcpStream::connect(server.addresses.mtls).await.unwrap();
    let addresses = server.addresses;

    // None of them holds it up: the outer deadline is half of the drain timeout.
    let TestServer { server, .. } = server;
    let idle = async {
        assert!(idle.next_of(GOAWAY).await.is_some());
        while idle.next().await.is_some() {}
    };
    let (status, (), ()) = tokio::join!(end_of(watched), within(idle), within(server.stop()));
    assert_eq!(status.code(), Code::Unavailable);
    for stream in [&mut kept_alive, &mut silent] {
        read_to_end(stream).await;
    }
    assert!(read_to_end(&mut undecided).await.len() < 100);
    for address in [addresses.mtls, addresses.public, addresses.ops] {
        assert_eq!(TcpStream::connect(address).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    }
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_cut_off_when_the_server_stops() {
    let server = start("  drain_timeout: 300ms\n  handshake_timeout: 60s").await;
    let leaf = server.svid("/checkout");
    let mut silent = TcpStream::connect(server.addresses.mtls).await.unwrap();
    // A call whose message never comes.
    let mut frames = Frames::open(connect_h2(&server, &leaf).await).await;
    frames.send(HEADERS, END_HEADERS, 1, &call("/lanyard.v1.TokenService/IssueToken")).await.unwrap();
    frames.send(HEADERS, END_HEADERS, 3, &call("/lanyard.v1.NoService/Call")).await.unwrap();
    assert!(within(frames.next_of(HEADERS)).await.is_some());
    let TestServer { server, .. } = server;
    within(server.stop()).await;
    assert_eq!(within(frames.next_of(HEADERS)).await, None);
    read_to_end(&mut silent).await;
}

#[tokio::test]
async fn a_call_that_is_under_way_when_the_server_stops_is_answered() {
    let server = TestServer::start().await;
    let mut frames = Frames::open(connect_h2(&server, &server.svid("/checkout")).await).await;
    frames.send(HEADERS, END_HEADERS, 1, &call("/lanyard.v1.KeyService/GetJwks")).await.unwrap();
    frames.send(HEADERS, END_HEADERS, 3, &call("/lanyard.v1.NoService/Call")).await.unwrap();
    // The answer to the second shows that the first has arrived.
    assert_eq!(within(frames.next_of(HEADERS)).await.unwrap().stream, 3);
    let stop = tokio::spawn(server.server.stop());
    assert!(within(frames.next_of(GOAWAY)).await.is_some());
    // An empty message, and the end.
    frames.send(0, 1, 1, &[0; 5]).await.unwrap();
    assert_eq!(within(frames.next_of(HEADERS)).await.unwrap().stream, 1);
    while within(frames.next()).await.is_some() {}
    within(stop).await.unwrap();
}

#[tokio::test]
async fn a_store_can_be_opened_again_as_soon_as_its_server_has_stopped() {
    let mut setup = Setup { store: "{sled: {path: data}}".to_owned(), ..Setup::default() };
    setup.write();
    for _ in 0..3 {
        let server = setup.start().await.unwrap();
        let watched = watch(&server, &server.svid("/checkout")).await;
        let TestServer { server, setup: kept, .. } = server;
        setup = kept;
        within(server.stop()).await;
        drop(watched);
    }
}

#[tokio::test]
async fn a_panic_ends_one_connection_and_gives_its_place_back() {
    let setup = Setup { tls: "  max_connections: 2\n  max_handshakes: 1".to_owned(), ..Setup::default() };
    setup.write();
    let clock = PanickingClock::new(&setup.clock);
    let server = setup.start_by(Arc::clone(&clock) as Arc<dyn Clock>).await.unwrap();
    let leaf = server.svid("/checkout");
    let watched = watch(&server, &leaf).await;
    for _ in 0..5 {
        clock.arm();
        // The place of the one before is given back a moment after the end that the client sees.
        while clock.is_armed() {
            assert_eq!(knock(server.addresses.mtls, server.tls(&leaf)).await, Outcome::Closed);
        }
    }
    // In a call it ends that call.
    let mut keys = KeyServiceClient::new(server.channel(&leaf));
    within(async { while keys.get_jwks(GetJwksRequest {}).await.is_err() {} }).await;
    clock.arm();
    assert!(within(keys.get_jwks(GetJwksRequest {})).await.is_err());
    within(keys.get_jwks(GetJwksRequest {})).await.unwrap();
    // The stream that was there before all this has lived on.
    let TestServer { server, .. } = server;
    let (status, ()) = tokio::join!(end_of(watched), within(server.stop()));
    assert_eq!(reason_of(&status), "CONNECTION_OVER");
}
