//! Those whose connections begin, or whose next requests are sent, while the server stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::door::connect_h2;
use crate::support::door::knock;
use crate::support::door::knock_as;
use crate::support::door::within;
use crate::support::frames::DATA;
use crate::support::frames::END_HEADERS;
use crate::support::frames::END_STREAM;
use crate::support::frames::Frames;
use crate::support::frames::GOAWAY;
use crate::support::frames::HEADERS;
use crate::support::frames::call;
use crate::support::server::TestServer;
use crate::support::server::connect;
use crate::support::wire::http1;

/// A connection that the system has taken and the server has not: nothing was awaited meanwhile.
fn knocked(address: SocketAddr) -> TcpStream {
    let stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_nonblocking(true).unwrap();
    TcpStream::from_std(stream).unwrap()
}

#[tokio::test]
async fn whoever_came_before_the_server_stopped_listening_is_answered() {
    for _ in 0..5 {
        let server = TestServer::start().await;
        let leaf = server.svid("/checkout");
        let config = server.tls(&leaf);
        let mut plain = config.clone();
        plain.alpn_protocols = vec![b"http/1.1".to_vec()];
        let streams: Vec<_> = (0..20).map(|_| knocked(server.addresses.mtls)).collect();
        let stopped = tokio::spawn(server.server.stop());
        for (number, stream) in streams.into_iter().enumerate() {
            if number % 2 == 0 {
                let outcome = knock_as("localhost", stream, plain.clone()).await;
                assert!(outcome.is_jwks(), "{number}: {outcome:?}");
                continue;
            }
            let connector = TlsConnector::from(Arc::new(config.clone()));
            let stream = within(connector.connect("localhost".try_into().unwrap(), stream)).await.unwrap();
            let mut frames = Frames::open(stream).await;
            frames.send(HEADERS, END_HEADERS, 1, &call("/lanyard.v1.KeyService/GetJwks")).await.unwrap();
            frames.send(DATA, END_STREAM, 1, &[0; 5]).await.unwrap();
            assert!(within(frames.next_of(DATA)).await.is_some_and(|frame| !frame.payload.is_empty()), "{number}");
            assert!(within(frames.next_of(HEADERS)).await.is_some(), "{number}");
        }
        within(stopped).await.unwrap();
    }
}

/// Asks over HTTP/1.1, and says whether the answer is the last on its connection.
async fn ask(stream: &mut TlsStream<TcpStream>) -> bool {
    stream.write_all(b"GET /oauth2/jwks HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"]}") {
        assert_ne!(within(stream.read_buf(&mut answer)).await.unwrap(), 0, "it ended without an answer");
    }
    String::from_utf8(answer).unwrap().contains("\r\nconnection: close\r\n")
}

#[tokio::test]
async fn a_request_that_crosses_the_end_of_its_idle_connection_is_answered_as_the_last() {
    for end in ["drain", "age"] {
        let server = TestServer::started(|setup| {
            if end == "age" {
                setup.tls = "  connection_max_age: 1s".to_owned();
            }
        })
        .await;
        let mut config = server.tls(&server.svid("/checkout"));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut clients = JoinSet::new();
        for _ in 0..8 {
            let mut stream = connect(server.addresses.mtls, config.clone()).await.unwrap();
            clients.spawn(async move {
                while !ask(&mut stream).await {
                    // Idle for most of the time.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                assert_eq!(within(stream.read(&mut [0; 1])).await.unwrap_or(0), 0);
            });
        }
        let TestServer { server, .. } = server;
        let answered = async {
            while let Some(ended) = clients.join_next().await {
                ended.unwrap();
            }
        };
        if end == "drain" {
            tokio::join!(answered, within(server.stop()));
        } else {
            answered.await;
        }
    }
}

#[tokio::test]
async fn for_the_delay_the_server_says_that_it_is_not_ready_and_serves_on() {
    let server = TestServer::started(|setup| setup.tls = "  drain_delay: 60m".to_owned()).await;
    let leaf = server.svid("/checkout");
    let (addresses, config) = (server.addresses, server.tls(&leaf));
    let mut frames = Frames::open(connect_h2(&server, &leaf).await).await;
    let mut readiness = server.server.readiness();
    let stopping = tokio::spawn(server.server.stop());
    assert_eq!(*within(readiness.wait_for(Result::is_err)).await.unwrap(), Err("draining"));
    let answer = http1(TcpStream::connect(addresses.ops).await.unwrap(), "GET /readyz").await;
    assert_eq!((answer.status, answer.body.as_str()), (503, "draining"));
    assert_eq!(http1(TcpStream::connect(addresses.ops).await.unwrap(), "GET /livez").await.status, 200);
    assert!(knock(addresses.mtls, config).await.is_jwks());
    // An open connection has received no GOAWAY: the response comes first.
    frames.send(HEADERS, END_HEADERS, 1, &call("/lanyard.v1.KeyService/GetJwks")).await.unwrap();
    frames.send(DATA, END_STREAM, 1, &[0; 5]).await.unwrap();
    loop {
        let frame = within(frames.next()).await.unwrap();
        assert_ne!(frame.kind, GOAWAY);
        if frame.kind == HEADERS && frame.flags & END_STREAM != 0 {
            break;
        }
    }
    assert!(!stopping.is_finished());
    stopping.abort();
}

#[tokio::test]
async fn after_the_delay_it_ends_its_connections_and_takes_no_new_ones() {
    let server = TestServer::started(|setup| setup.tls = "  drain_delay: 300ms".to_owned()).await;
    let mut frames = Frames::open(connect_h2(&server, &server.svid("/checkout")).await).await;
    let addresses = server.addresses;
    let stopping = tokio::spawn(server.server.stop());
    assert!(within(frames.next_of(GOAWAY)).await.is_some());
    while within(frames.next()).await.is_some() {}
    within(stopping).await.unwrap();
    assert!(TcpStream::connect(addresses.mtls).await.is_err());
}
