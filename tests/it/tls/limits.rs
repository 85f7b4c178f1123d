//! Clients that take what they can: each is stopped at its limit, and others are served meanwhile and after.

use lanyard::proto::GetJwksRequest;
use lanyard::proto::key_service_client::KeyServiceClient;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use crate::support::door::assert_serves;
use crate::support::door::connect_h2;
use crate::support::door::knock;
use crate::support::door::read_to_end;
use crate::support::door::within;
use crate::support::frames::CONTINUATION;
use crate::support::frames::DATA;
use crate::support::frames::END_HEADERS;
use crate::support::frames::END_STREAM;
use crate::support::frames::Frames;
use crate::support::frames::GOAWAY;
use crate::support::frames::HEADERS;
use crate::support::frames::PING;
use crate::support::frames::PREFACE;
use crate::support::frames::RST_STREAM;
use crate::support::frames::SETTINGS;
use crate::support::frames::WINDOW_UPDATE;
use crate::support::frames::call;
use crate::support::frames::field;
use crate::support::frames::frame;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::connect;

const GET_JWKS: &str = "/lanyard.v1.KeyService/GetJwks";

async fn start(tls: &str) -> TestServer {
    let setup = Setup { tls: tls.to_owned(), ..Setup::default() };
    setup.write();
    setup.start().await.unwrap()
}

/// The first bytes of a handshake.
fn client_hello(server: &TestServer) -> Vec<u8> {
    let config = server.tls(&server.svid("/x"));
    let mut client = ClientConnection::new(config.into(), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

/// A connection that has come as far into its handshake as the server's first answer, and goes no further.
async fn half_handshake(server: &TestServer) -> TcpStream {
    let mut stream = TcpStream::connect(server.addresses.mtls).await.unwrap();
    stream.write_all(&client_hello(server)).await.unwrap();
    within(stream.read_u8()).await.unwrap();
    stream
}

/// A connection over HTTP/1.1 on which a request was answered, and which is kept open.
async fn served_http1(server: &TestServer) -> TlsStream<TcpStream> {
    let mut config = server.tls(&server.svid("/holder"));
    config.alpn_protocols.clear();
    let mut stream = connect(server.addresses.mtls, config).await.unwrap();
    stream.write_all(b"GET /oauth2/jwks HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    assert_eq!(within(stream.read_u8()).await.unwrap(), b'H');
    stream
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_ended() {
    let server = start("  handshake_timeout: 300ms").await;
    for address in [server.addresses.mtls, server.addresses.public] {
        let mut silent = TcpStream::connect(address).await.unwrap();
        assert_eq!(read_to_end(&mut silent).await, b"");
    }
    let mut half = half_handshake(&server).await;
    read_to_end(&mut half).await;
    let hello = client_hello(&server);
    let mut torn = TcpStream::connect(server.addresses.mtls).await.unwrap();
    torn.write_all(&hello[..hello.len() / 2]).await.unwrap();
    assert_eq!(read_to_end(&mut torn).await, b"");
    assert_serves(&server, "slow handshakes").await;
}

#[tokio::test]
async fn a_peer_that_does_not_get_on_with_its_first_request_is_cut_off() {
    let server = TestServer::start().await;
    let leaf = server.svid("/checkout");
    let begun: [&[u8]; 5] =
        [b"", &PREFACE[..10], b"G", b"GET /oauth2/jwks HTTP/1.1\r\nhost: loc", b"POST / HTTP/1.1\r\nx: y\r\n"];
    let mut waiting = JoinSet::new();
    for begun in begun {
        for alpn in [&b"h2"[..], b"http/1.1"] {
            let mut config = server.tls(&leaf);
            config.alpn_protocols = vec![alpn.to_vec()];
            let mut stream = connect(server.addresses.mtls, config).await.unwrap();
            stream.write_all(begun).await.unwrap();
            waiting.spawn(async move { drop(read_to_end(&mut stream).await) });
        }
        let mut stream = TcpStream::connect(server.addresses.ops).await.unwrap();
        stream.write_all(begun).await.unwrap();
        waiting.spawn(async move { drop(read_to_end(&mut stream).await) });
    }
    // The one who has said that it speaks HTTP/2 may wait with its first call, but not with its answers to pings.
    let mut idle = Frames::open(connect_h2(&server, &leaf).await).await;
    while let Some(ended) = waiting.join_next().await {
        ended.unwrap();
    }
    idle.send(HEADERS, END_HEADERS | END_STREAM, 1, &call("/no.Such/Call")).await.unwrap();
    assert!(within(idle.next_of(HEADERS)).await.is_some());
    assert_serves(&server, "slow requests").await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_until_one_ends() {
    let server = start("  max_connections: 2\n  handshake_timeout: 60s").await;
    let (mut first, _second) = (served_http1(&server).await, half_handshake(&server).await);
    for _ in 0..10 {
        let mut surplus = TcpStream::connect(server.addresses.mtls).await.unwrap();
        assert_eq!(read_to_end(&mut surplus).await, b"");
    }
    // Each listener has its own.
    let public = server.tls_builder().with_no_client_auth();
    assert!(knock(server.addresses.public, public).await.is_jwks());
    first.shutdown().await.unwrap();
    read_to_end(&mut first).await;
    // The place is given back a moment after the end that the client sees.
    let leaf = server.svid("/next");
    within(async { while !knock(server.addresses.mtls, server.tls(&leaf)).await.is_jwks() {} }).await;
}

#[tokio::test]
async fn a_stalled_handshake_holds_up_nobody_on_other_listeners_or_open_connections() {
    let server = start("  max_handshakes: 1\n  handshake_timeout: 60s").await;
    let leaf = server.svid("/checkout");
    let established = connect_h2(&server, &leaf).await;
    let half = half_handshake(&server).await;
    // Whoever is through with its own is served,
    let mut frames = Frames::open(established).await;
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &call("/no.Such/Call")).await.unwrap();
    assert!(within(frames.next_of(HEADERS)).await.is_some());
    // and so are the other listeners.
    assert!(knock(server.addresses.public, server.tls_builder().with_no_client_auth()).await.is_jwks());
    drop(half);
    assert_serves(&server, "a stalled handshake").await;
}

#[tokio::test]
async fn a_thousand_calls_at_once_on_one_connection_are_all_answered() {
    let server = TestServer::start().await;
    let keys = KeyServiceClient::new(server.channel(&server.svid("/checkout")));
    let mut calls = JoinSet::new();
    for _ in 0..1000 {
        let mut keys = keys.clone();
        calls.spawn(async move { keys.get_jwks(GetJwksRequest {}).await.map(drop) });
    }
    while let Some(answered) = within(calls.join_next()).await {
        answered.unwrap().unwrap();
    }
}

#[tokio::test]
async fn of_streams_left_open_100_are_kept_and_no_more() {
    let server = TestServer::start().await;
    let mut frames = Frames::open(connect_h2(&server, &server.svid("/checkout")).await).await;
    for number in 0..100 {
        frames.send(HEADERS, END_HEADERS, 2 * number + 1, &call(GET_JWKS)).await.unwrap();
    }
    frames.send(HEADERS, END_HEADERS, 201, &call(GET_JWKS)).await.unwrap();
    let refused = within(frames.next_of(RST_STREAM)).await.unwrap();
    // REFUSED_STREAM, and nothing for those before it.
    assert_eq!((refused.stream, refused.payload), (201, vec![0, 0, 0, 7]));
    frames.send(DATA, END_STREAM, 1, &[0; 5]).await.unwrap();
    assert_eq!(within(frames.next_of(HEADERS)).await.unwrap().stream, 1);
    assert_serves(&server, "open streams").await;
}

#[tokio::test]
async fn a_head_of_100_kib_is_refused_and_one_of_30_kib_is_not() {
    let server = TestServer::start().await;
    for (kib, accepted) in [(30, true), (100, false)] {
        let mut config = server.tls(&server.svid("/checkout"));
        config.alpn_protocols.clear();
        let mut stream = connect(server.addresses.mtls, config).await.unwrap();
        let filler = "x".repeat(kib * 1024);
        let head = format!("GET /oauth2/jwks HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx: {filler}\r\n\r\n");
        drop(stream.write_all(head.as_bytes()).await);
        let answer = read_to_end(&mut stream).await;
        assert_eq!(answer.starts_with(b"HTTP/1.1 200 "), accepted, "{kib} KiB");

        let mut frames = Frames::open(connect_h2(&server, &server.svid("/checkout")).await).await;
        let mut block = call("/no.Such/Call");
        field(&mut block, "x", &filler);
        let mut chunks = block.chunks(16 * 1024);
        frames.send(HEADERS, END_STREAM, 1, chunks.next().unwrap()).await.unwrap();
        for chunk in chunks {
            drop(frames.send(CONTINUATION, 0, 1, chunk).await);
        }
        drop(frames.send(CONTINUATION, END_HEADERS, 1, &[]).await);
        // The same method is unknown with the head that is let in; 431 is literal in the answer's own head.
        let answer = within(frames.next_of(HEADERS)).await;
        let too_large = answer.as_ref().is_none_or(|head| head.payload.windows(3).any(|three| three == b"431"));
        assert_eq!(!too_large, accepted, "{kib} KiB: {answer:?}");
        assert_serves(&server, "a large head").await;
    }
}

#[tokio::test]
async fn streams_that_are_opened_and_reset_by_the_thousand_keep_nobody_else_waiting() {
    let server = TestServer::start().await;
    let mut frames = Frames::open(connect_h2(&server, &server.svid("/attacker")).await).await;
    let attack = tokio::spawn(async move {
        for number in 0..5000 {
            let stream = 2 * number + 1;
            let opened = frame(HEADERS, END_HEADERS | END_STREAM, stream, &call(GET_JWKS));
            let reset = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
            if frames.0.write_all(&[opened, reset].concat()).await.is_err() {
                break;
            }
        }
        drop(frames.0.shutdown().await);
        read_to_end(&mut frames.0).await;
    });
    for _ in 0..20 {
        assert_serves(&server, "some of the resets").await;
    }
    within(attack).await.unwrap();
    assert_serves(&server, "all resets").await;
}

/// What a hostile client sends once it speaks HTTP/2.
fn floods() -> Vec<(&'static str, Vec<u8>)> {
    let many = |frame: Vec<u8>| frame.repeat(20_000);
    let opened = frame(HEADERS, END_HEADERS, 1, &call(GET_JWKS));
    vec![
        ("pings", many(frame(PING, 0, 0, &[0; 8]))),
        ("settings", many(frame(SETTINGS, 0, 0, &[]))),
        (
            "continuations without an end",
            [frame(HEADERS, 0, 1, &call(GET_JWKS)), many(frame(CONTINUATION, 0, 1, &[]))].concat(),
        ),
        ("empty data", [opened.clone(), many(frame(DATA, 0, 1, &[]))].concat()),
        (
            "windows too wide",
            [opened.clone(), frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff]).repeat(2)].concat(),
        ),
        ("a window of nothing", [opened, frame(WINDOW_UPDATE, 0, 1, &[0; 4])].concat()),
        ("data on no stream", frame(DATA, 0, 7, b"x")),
        ("a frame too large", frame(DATA, 0, 1, &[0; 100_000])),
        ("unknown frames", many(frame(0xee, 0xff, 0, b"x"))),
        ("a header that points nowhere", frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0xff, 0xff, 0x0f])),
        ("a stream of the server's", frame(HEADERS, END_HEADERS, 2, &call(GET_JWKS))),
        ("a request that goes away", frame(GOAWAY, 0, 0, &[0; 8])),
        ("garbage", vec![0xaa; 1024 * 1024]),
    ]
}

#[tokio::test]
async fn after_every_hostile_client_others_are_served() {
    let server = TestServer::start().await;
    let leaf = server.svid("/attacker");
    for (what, flood) in floods() {
        let mut frames = Frames::open(connect_h2(&server, &leaf).await).await;
        // The server may end the connection in the midst of it.
        drop(frames.0.write_all(&flood).await);
        drop(frames.0.shutdown().await);
        assert_serves(&server, what).await;
        within(async { while frames.next().await.is_some() {} }).await;
    }
    let mut keys = connect_h2(&server, &leaf).await;
    for _ in 0..2000 {
        keys.get_mut().1.refresh_traffic_keys().unwrap();
        drop(keys.flush().await);
    }
    assert_serves(&server, "key updates").await;
    let hello = client_hello(&server);
    let mut torn = hello.clone();
    torn[20..].fill(0xff);
    let raw: [(&str, Vec<u8>); 7] = [
        ("a megabyte of garbage", (0..1024 * 1024_u32).map(|number| (number * 31 % 251) as u8).collect()),
        ("a record too large", [vec![22, 3, 1, 0xff, 0xff], vec![0; 70_000]].concat()),
        ("empty records", [22, 3, 1, 0, 0].repeat(20_000)),
        ("an alert", vec![21, 3, 1, 0, 2, 1, 0]),
        ("a broken hello", torn),
        ("two hellos", [hello.clone(), hello].concat()),
        ("HTTP", b"POST /lanyard.v1.TokenService/IssueToken HTTP/1.1\r\n\r\n".repeat(1000)),
    ];
    for (what, bytes) in raw {
        for address in [server.addresses.mtls, server.addresses.public, server.addresses.ops] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            drop(stream.write_all(&bytes).await);
            drop(stream.shutdown().await);
            assert_serves(&server, what).await;
            read_to_end(&mut stream).await;
        }
    }
}
