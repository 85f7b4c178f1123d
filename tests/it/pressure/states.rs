//! The end of the process while peers send and read nothing on.

use tokio::io::AsyncWriteExt as _;

use crate::pressure::peer::GET_JWKS;
use crate::pressure::peer::VALIDATE_BINDINGS;
use crate::pressure::peer::settled;
use crate::support::child::Serve;
use crate::support::child::real_time;
use crate::support::frames::CONTINUATION;
use crate::support::frames::DATA;
use crate::support::frames::END_HEADERS;
use crate::support::frames::END_STREAM;
use crate::support::frames::Frames;
use crate::support::frames::HEADERS;
use crate::support::frames::PING;
use crate::support::frames::PREFACE;
use crate::support::frames::SETTINGS;
use crate::support::frames::call;
use crate::support::frames::frame;
use crate::support::server::connect;

#[tokio::test]
async fn sigterm_ends_the_process_whatever_its_peers_have_left_unfinished() {
    let opened = frame(HEADERS, END_HEADERS, 1, &call(GET_JWKS));
    let stream = frame(HEADERS, END_HEADERS, 1, &call(VALIDATE_BINDINGS));
    let asked = [opened.clone(), frame(DATA, END_STREAM, 1, &[0; 5])].concat();
    let states: [(&str, Vec<u8>, bool); 6] = [
        ("a request without its body", opened.clone(), true),
        ("an unfinished message", [stream.clone(), frame(DATA, 0, 1, &[0, 0])].concat(), true),
        ("an idle stream", [stream, frame(DATA, 0, 1, &[0; 5])].concat(), true),
        ("an unread answer", [frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]), asked].concat(), true),
        (
            "a head without an end",
            [frame(HEADERS, 0, 1, &call(GET_JWKS)), frame(CONTINUATION, 0, 1, &[])].concat(),
            false,
        ),
        ("a flood", frame(PING, 0, 0, &[0; 8]).repeat(1500), false),
    ];
    let setup = real_time();
    setup.write();
    let serve = Serve::start(&setup, 1024);
    let leaf = setup.ca.svid("spiffe://prod.example/proxy").issue();
    let mut open = Vec::new();
    for (what, bytes, settles) in states {
        let mut stream = connect(serve.mtls, setup.tls(&leaf)).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let mut frames = Frames(stream);
        if settles {
            settled(&mut frames).await;
        }
        open.push(frames);
    }
    serve.signal("TERM");
    assert!(serve.finish());
    drop(open);
}
