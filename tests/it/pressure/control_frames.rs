//! Control frames, resets, and heads that grow: each ends the connection of its sender, after a bounded count.

use crate::pressure::peer::CALM;
use crate::pressure::peer::GET_JWKS;
use crate::pressure::peer::Honest;
use crate::pressure::peer::flood;
use crate::support::door::connect_h2;
use crate::support::door::within;
use crate::support::frames::ACK;
use crate::support::frames::CONTINUATION;
use crate::support::frames::DATA;
use crate::support::frames::END_HEADERS;
use crate::support::frames::END_STREAM;
use crate::support::frames::Frames;
use crate::support::frames::GOAWAY;
use crate::support::frames::HEADERS;
use crate::support::frames::PING;
use crate::support::frames::RST_STREAM;
use crate::support::frames::SETTINGS;
use crate::support::frames::WINDOW_UPDATE;
use crate::support::frames::call;
use crate::support::frames::field;
use crate::support::frames::frame;
use crate::support::server::TestServer;

const PRIORITY: u8 = 2;

/// What is sent once, and what again and again.
fn floods() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let opened = frame(HEADERS, END_HEADERS, 1, &call(GET_JWKS));
    let reset = frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    vec![
        ("pings", vec![], frame(PING, 0, 0, &[0; 8])),
        ("answers to no ping", vec![], frame(PING, ACK, 0, &[0; 8])),
        ("settings", vec![], frame(SETTINGS, 0, 0, &[])),
        ("windows of all streams", opened.clone(), frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0x10, 0])),
        ("windows of the connection", vec![], frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("windows of a stream", opened.clone(), frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
        ("priorities", vec![], frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1])),
        ("unknown frames", vec![], frame(0xee, 0, 0, b"x")),
        ("empty data", opened.clone(), frame(DATA, 0, 1, &[])),
        ("resets of one stream", [opened, reset.clone()].concat(), reset),
        ("a head without an end", frame(HEADERS, 0, 1, &call(GET_JWKS)), frame(CONTINUATION, 0, 1, &[])),
    ]
}

#[tokio::test]
async fn a_flood_of_control_frames_ends_with_enhance_your_calm() {
    let server = TestServer::start().await;
    let mut honest = Honest::of(&server).await;
    for (what, first, again) in floods() {
        let frames = Frames::open(connect_h2(&server, &server.svid("/attacker")).await).await;
        let (seen, ()) = tokio::join!(flood(frames, &first, &again), honest.are_served(what));
        // A peer that is not reading may lose it: the connection ends soon after.
        assert!(seen.goaway.is_none_or(|code| code == CALM), "{what}: {seen:?}");
        // Each ping is answered until then.
        let answered = seen.frames[usize::from(PING)] + seen.frames[usize::from(SETTINGS)];
        assert!(answered < 5000, "{what}: {seen:?}");
    }
}

#[tokio::test]
async fn a_flood_that_reads_gets_a_goaway_with_enhance_your_calm() {
    let server = TestServer::start().await;
    let mut frames = Frames::open(connect_h2(&server, &server.svid("/attacker")).await).await;
    let mut sent = 0;
    // Each is waited for, so that none is under way when the connection ends.
    let calm = within(async {
        loop {
            frames.send(PING, 0, 0, &[0; 8]).await.unwrap();
            sent += 1;
            match frames.next().await.expect("the connection ended without a word") {
                frame if frame.kind == GOAWAY => return frame.payload,
                _ => assert!(sent < 100_000, "there is no bound"),
            }
        }
    });
    assert_eq!(calm.await, [0, 0, 0, 0, 0, 0, 0, 11]);
    assert!(sent > 1000, "after {sent}");
    assert!(within(frames.next()).await.is_none());
}

#[tokio::test]
async fn pings_and_windows_among_requests_never_end_a_connection() {
    let server = TestServer::start().await;
    let mut frames = Frames::open(connect_h2(&server, &server.svid("/checkout")).await).await;
    for number in 0..600 {
        let stream = 2 * number + 1;
        frames.send(HEADERS, END_HEADERS, stream, &call(GET_JWKS)).await.unwrap();
        frames.send(DATA, END_STREAM, stream, &[0; 5]).await.unwrap();
        for _ in 0..10 {
            frames.send(PING, 0, 0, &[7; 8]).await.unwrap();
            frames.send(WINDOW_UPDATE, 0, 0, &[0, 0, 0x10, 0]).await.unwrap();
        }
        within(async {
            loop {
                let answer = frames.next().await.expect("the connection ended");
                assert_ne!(answer.kind, GOAWAY, "at request {number}: {answer:?}");
                if answer.kind == HEADERS && answer.flags & END_STREAM != 0 {
                    break;
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn resets_before_an_answer_and_streams_that_are_faulty_end_the_connection() {
    let server = TestServer::start().await;
    let mut honest = Honest::of(&server).await;
    let ask = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &call(GET_JWKS));
    let reset = |stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
    // A field of the connection is a fault of its stream (RFC 9113 section 8.2.2).
    let mut faulty = call(GET_JWKS);
    field(&mut faulty, "connection", "close");
    let faulty = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &faulty);
    let rapid: Vec<u8> = (0..2000).flat_map(|number| [ask(2 * number + 1), reset(2 * number + 1)].concat()).collect();
    let made: Vec<u8> = (0..2000).flat_map(|number| faulty(2 * number + 1)).collect();
    for (what, flood) in [("rapid reset", rapid), ("made you reset", made)] {
        let mut frames = Frames::open(connect_h2(&server, &server.svid("/attacker")).await).await;
        let (read, mut write) = tokio::io::split(frames.0);
        frames = {
            let sending = tokio::spawn(async move {
                drop(tokio::io::AsyncWriteExt::write_all(&mut write, &flood).await);
                write
            });
            let mut reading = Frames(tokio::io::join(read, tokio::io::sink()));
            let goaway = within(reading.next_of(GOAWAY)).await;
            let code = goaway.map(|frame| u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()));
            assert_eq!(code, Some(CALM), "{what}");
            let (read, _) = reading.0.into_inner();
            Frames(read.unsplit(within(sending).await.unwrap()))
        };
        honest.are_served(what).await;
        within(async { while frames.next().await.is_some() {} }).await;
    }
    // Twenty resets are a client that gave up its calls.
    let mut frames = Frames::open(connect_h2(&server, &server.svid("/checkout")).await).await;
    for number in 0..20 {
        frames.send(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &call(GET_JWKS)).await.unwrap();
        frames.send(RST_STREAM, 0, 2 * number + 1, &[0, 0, 0, 8]).await.unwrap();
    }
    frames.send(HEADERS, END_HEADERS | END_STREAM, 101, &call(GET_JWKS)).await.unwrap();
    within(async { while frames.next_of(HEADERS).await.expect("the connection ended").stream != 101 {} }).await;
}

#[tokio::test]
async fn a_head_that_unpacks_to_four_times_the_largest_ends_the_connection() {
    let server = TestServer::start().await;
    // One field of 3 KiB goes into the table of 4 KiB (RFC 7541 section 6.2.1), and each byte after it is that field, by
    // its index 62.
    let bomb = |count: usize| {
        let mut inserted = Vec::new();
        field(&mut inserted, "x", &"y".repeat(3 * 1024));
        inserted[0] = 0x40;
        [call("/no.Such/Call"), inserted, vec![0xbe; count]].concat()
    };
    for (count, ends) in [(10, false), (100, true)] {
        let mut frames = Frames::open(connect_h2(&server, &server.svid("/attacker")).await).await;
        frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &bomb(count)).await.unwrap();
        let answer = within(async {
            loop {
                match frames.next().await {
                    Some(frame) if matches!(frame.kind, HEADERS | GOAWAY) => return frame,
                    Some(_) => {}
                    None => panic!("{count}: no answer"),
                }
            }
        });
        let answer = answer.await;
        assert_eq!(answer.kind == GOAWAY, ends, "{count}: {answer:?}");
        if ends {
            assert_eq!(answer.payload[4..8], CALM.to_be_bytes());
        }
    }
    Honest::of(&server).await.are_served("a bomb").await;
}
