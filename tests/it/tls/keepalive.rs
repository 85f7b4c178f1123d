//! HTTP/2 pings (RFC 9113 section 6.7) of clients with short keepalive intervals, such as gRPC's with
//! `grpc.keepalive_time_ms=1000` and pings without calls.

use crate::support::door::connect_h2;
use crate::support::door::within;
use crate::support::frames::ACK;
use crate::support::frames::DATA;
use crate::support::frames::END_HEADERS;
use crate::support::frames::END_STREAM;
use crate::support::frames::Frames;
use crate::support::frames::GOAWAY;
use crate::support::frames::HEADERS;
use crate::support::frames::PING;
use crate::support::frames::call;
use crate::support::server::TestServer;

#[tokio::test]
async fn four_hundred_pings_without_a_call_are_answered_and_the_connection_goes_on() {
    let server = TestServer::start().await;
    let mut frames = Frames::open(connect_h2(&server, &server.svid("/checkout")).await).await;
    let mut acknowledged = 0;
    for number in 0..400_u64 {
        frames.send(PING, 0, 0, &number.to_be_bytes()).await.unwrap();
        while acknowledged <= number {
            let frame = within(frames.next()).await.expect("the connection ended");
            assert_ne!(frame.kind, GOAWAY, "{frame:?}");
            if frame.kind == PING && frame.flags & ACK != 0 {
                assert_eq!(frame.payload, acknowledged.to_be_bytes());
                acknowledged += 1;
            }
        }
    }
    frames.send(HEADERS, END_HEADERS, 1, &call("/lanyard.v1.KeyService/GetJwks")).await.unwrap();
    frames.send(DATA, END_STREAM, 1, &[0; 5]).await.unwrap();
    assert!(within(frames.next_of(DATA)).await.is_some_and(|frame| frame.payload.len() > 5));
}
