//! Requests that never end, and unread answers: each ends at a limit, and what is held of them is bounded.

use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;

use crate::pressure::peer::GET_JWKS;
use crate::pressure::peer::Honest;
use crate::pressure::peer::VALIDATE_BINDING;
use crate::pressure::peer::VALIDATE_BINDINGS;
use crate::pressure::peer::at_its_limit;
use crate::support::door::connect_h2;
use crate::support::door::within;
use crate::support::frames::DATA;
use crate::support::frames::END_HEADERS;
use crate::support::frames::END_STREAM;
use crate::support::frames::Frames;
use crate::support::frames::HEADERS;
use crate::support::frames::PREFACE;
use crate::support::frames::RST_STREAM;
use crate::support::frames::SETTINGS;
use crate::support::frames::call;
use crate::support::frames::field;
use crate::support::frames::frame;
use crate::support::server::TestServer;
use crate::support::server::connect;

/// A message of 100 bytes, of which the last is missing.
const UNFINISHED: [u8; 104] = {
    let mut message = [0; 104];
    message[4] = 100;
    message
};

#[tokio::test]
async fn a_body_or_message_that_has_begun_ends_at_its_limit_and_an_idle_stream_goes_on() {
    let server = TestServer::start().await;
    let mut honest = Honest::of(&server).await;
    let mut frames = Frames::open(connect_h2(&server, &server.svid("/proxy")).await).await;
    // Idle from its beginning, idle after a message, within a message's head, within a message, within a unary message.
    for (stream, method, begun) in [
        (1, VALIDATE_BINDINGS, &[][..]),
        (3, VALIDATE_BINDINGS, &[0; 5]),
        (5, VALIDATE_BINDINGS, &[0; 2]),
        (7, VALIDATE_BINDINGS, &UNFINISHED),
        (9, VALIDATE_BINDING, &UNFINISHED),
    ] {
        frames.send(HEADERS, END_HEADERS, stream, &call(method)).await.unwrap();
        frames.send(DATA, 0, stream, begun).await.unwrap();
    }
    // :method POST, :scheme https, :path, :authority, content-type.
    let mut form = vec![0x83, 0x87];
    field(&mut form, ":path", "/oauth2/token");
    field(&mut form, ":authority", "localhost");
    field(&mut form, "content-type", "application/x-www-form-urlencoded");
    frames.send(HEADERS, END_HEADERS, 11, &form).await.unwrap();
    frames.send(DATA, 0, 11, b"grant_type=").await.unwrap();

    let mut config = server.tls(&server.workload("/checkout").await);
    config.alpn_protocols.clear();
    let mut http1 = connect(server.addresses.mtls, config).await.unwrap();
    let head = "POST /oauth2/token HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\n";
    http1.write_all(format!("{head}content-length: 100\r\n\r\ngrant_type=").as_bytes()).await.unwrap();
    honest.are_served("bodies that have begun").await;

    let mut answer = String::new();
    at_its_limit(http1.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("the body did not arrive in time"), "{answer}");
    let mut ended = Vec::new();
    let mut refused = Vec::new();
    at_its_limit(async {
        while ended.len() < 4 {
            let frame = frames.next().await.expect("the connection ended");
            if frame.kind == DATA && frame.stream == 11 {
                refused.extend(&frame.payload);
            }
            let ends = matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0;
            if ends && frame.stream != 0 {
                ended.push(frame.stream);
            }
        }
    })
    .await;
    ended.sort_unstable();
    assert_eq!(ended, [5, 7, 9, 11]);
    let refused = String::from_utf8(refused).unwrap();
    assert!(refused.contains("the body did not arrive in time"), "{refused}");
    // The idle ones answer: an empty message has no token, which is an error of this message alone.
    for stream in [1, 3] {
        frames.send(DATA, 0, stream, &[0; 5]).await.unwrap();
        within(async { while frames.next_of(DATA).await.expect("the connection ended").stream != stream {} }).await;
    }
}

#[tokio::test]
async fn a_peer_that_reads_no_answers_is_cut_off() {
    let server = TestServer::start().await;
    let mut honest = Honest::of(&server).await;
    // Over HTTP/2 by windows of nothing, while it reads all else and answers pings.
    let mut stream = connect_h2(&server, &server.svid("/attacker")).await;
    let no_window = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    stream.write_all(&[PREFACE, &no_window].concat()).await.unwrap();
    let mut closed = Frames(stream);
    for number in 0..100 {
        closed.send(HEADERS, END_HEADERS, 2 * number + 1, &call(GET_JWKS)).await.unwrap();
        closed.send(DATA, END_STREAM, 2 * number + 1, &[0; 5]).await.unwrap();
    }
    // Over HTTP/1.1 by not reading at all.
    let mut config = server.tls(&server.svid("/attacker"));
    config.alpn_protocols.clear();
    let mut deaf = connect(server.addresses.mtls, config).await.unwrap();
    let asking = tokio::spawn(async move {
        let requests = b"GET /oauth2/jwks HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(100);
        while deaf.write_all(&requests).await.is_ok() {}
    });
    honest.are_served("unread answers").await;
    at_its_limit(async {
        while let Some(frame) = closed.next().await {
            assert!(frame.kind != DATA && frame.kind != RST_STREAM, "{frame:?}");
        }
    })
    .await;
    at_its_limit(asking).await.unwrap();
    honest.are_served("peers that were cut off").await;
}
