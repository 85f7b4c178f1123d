//! Who may connect, and how connections begin and end.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use lanyard::config;
use lanyard::proto::DenyReason;
use lanyard::proto::ValidateBindingRequest;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tonic::Code;

use crate::support::binding_stream::BindingStream;
use crate::support::binding_stream::StreamOutcome;
use crate::support::calls::use_of;
use crate::support::door::read_to_end;
use crate::support::door::within;
use crate::support::local::SOCKET;
use crate::support::local::listen_locally;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::terminator::own_uid;

const EVERY: &str = "resources: ['*']";

/// What a client of HTTP/2 sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Whether a connection is served HTTP/2, and not closed at once.
async fn is_served(server: &TestServer) -> io::Result<bool> {
    let mut stream = UnixStream::connect(server.local_socket()).await?;
    // Where it is closed already, this may fail.
    stream.write_all(PREFACE).await.ok();
    let mut head = [0; 9];
    // The first frame is the server's SETTINGS.
    Ok(within(stream.read_exact(&mut head)).await.is_ok_and(|_| head[3] == 4))
}

fn name(server: &TestServer, from: u32, to: u32) {
    let path = server.setup.path("lanyard.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let (before, after) = (format!("uid: {from},"), format!("uid: {to},"));
    assert!(text.contains(&before), "{text}");
    fs::write(path, text.replace(&before, &after)).unwrap();
    server.server.reload();
}

#[tokio::test]
async fn a_user_that_is_not_named_is_closed_out_at_once_counted_and_recorded() {
    let server = TestServer::started(|setup| listen_locally(setup, EVERY)).await;
    let own = own_uid(&server.setup);
    assert!(is_served(&server).await.unwrap());
    let (checkout, question) = (server.workload("/checkout").await, use_of(""));
    let token = server.token(&checkout).await;
    let question = ValidateBindingRequest { access_token: token, evidence: certificate_of(&checkout), ..question };
    let mut stream = BindingStream::open(server.local_bindings()).await;
    assert_eq!(stream.ask(&question).await.unwrap(), StreamOutcome::Allowed);
    name(&server, own, own + 1);
    assert!(!is_served(&server).await.unwrap());
    let counted = "lanyard_handshakes_refused_total{reason=\"USER_UNKNOWN\"}";
    assert_eq!(server.page().await.get(counted), Some(1));
    // What is open holds the role no more either.
    assert_eq!(stream.ask(&question).await.unwrap_err().code(), Code::PermissionDenied);
    name(&server, own + 1, own);
    assert!(is_served(&server).await.unwrap());
    assert_eq!(server.page().await.get(counted), Some(1));
}

#[tokio::test]
async fn only_http2_is_spoken_there() {
    let server = TestServer::started(|setup| listen_locally(setup, EVERY)).await;
    let mut stream = UnixStream::connect(server.local_socket()).await.unwrap();
    stream.write_all(b"GET /oauth2/jwks HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let answer = within(read_to_end(&mut stream)).await;
    assert!(!answer.starts_with(b"HTTP/1.1"), "{}", String::from_utf8_lossy(&answer));
    assert!(is_served(&server).await.unwrap());
}

#[tokio::test]
async fn connections_end_at_their_maximum_age_and_when_the_server_stops() {
    let server = TestServer::started(|setup| {
        listen_locally(setup, EVERY);
        setup.tls = "  connection_max_age: 300ms".to_owned();
    })
    .await;
    let mut stream = UnixStream::connect(server.local_socket()).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    within(read_to_end(&mut stream)).await;
    let server = TestServer::started(|setup| listen_locally(setup, EVERY)).await;
    let socket = server.local_socket();
    let mut stream = UnixStream::connect(&socket).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    // It is known to have been taken up.
    stream.read_exact(&mut [0; 9]).await.unwrap();
    server.server.stop().await;
    within(read_to_end(&mut stream)).await;
    assert!(UnixStream::connect(&socket).await.is_err() && !socket.exists());
}

#[tokio::test]
async fn the_file_is_for_its_owner_and_its_group_and_takes_the_place_of_one_that_was_left() {
    let mut setup = Setup::default();
    listen_locally(&mut setup, EVERY);
    setup.write();
    let path = setup.path(SOCKET);
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let server = Box::pin(setup.start()).await.unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    assert!(is_served(&server).await.unwrap());
    // One that somebody listens on stays.
    let local = Some(format!("{{unix: {}, proxies: [{{uid: 0, {EVERY}}}]}}", path.display()));
    let second = Setup { local, ..Setup::default() };
    second.write();
    let refused = Box::pin(second.start()).await.err().expect("a socket for two").to_string();
    assert!(refused.contains("`local`"), "{refused}");
    assert!(is_served(&server).await.unwrap());
}

#[tokio::test]
async fn the_file_belongs_to_the_group_that_is_configured() {
    let setup = Setup::default();
    // The groups of this process: it may give a file to each.
    let own = setup.dir.path().metadata().unwrap().gid();
    let group = if own_uid(&setup) == 0 { own + 1337 } else { own };
    let server = TestServer::started(|setup| {
        let uid = own_uid(setup);
        setup.local = Some(format!("{{unix: {SOCKET}, group: {group}, proxies: [{{uid: {uid}, {EVERY}}}]}}"));
    })
    .await;
    let file = fs::metadata(server.local_socket()).unwrap();
    assert_eq!((file.gid(), file.permissions().mode() & 0o777), (group, 0o660));
    assert!(is_served(&server).await.unwrap());
}

#[tokio::test]
async fn a_proxy_on_this_machine_has_a_share_as_any_other() {
    let server = TestServer::started(|setup| {
        listen_locally(setup, EVERY);
        setup.limits = "{queue_delay: 1h, callers: [{role: proxy, identity: {requests_per_second: 3}}]}".to_owned();
    })
    .await;
    let mut bindings = server.local_bindings();
    let mut codes = Vec::new();
    for _ in 0..40 {
        let answered = bindings.validate_binding(use_of("x")).await;
        codes.push(answered.map_or_else(
            |status| status.code(),
            |answer| {
                assert_eq!(answer.into_inner().reason(), DenyReason::TokenMalformed);
                Code::Ok
            },
        ));
    }
    assert!(codes[0] == Code::Ok && codes.contains(&Code::ResourceExhausted), "{codes:?}");
}

#[test]
fn a_configuration_that_says_less_or_more_than_who_may_ask_is_refused() {
    let refused = |local: &str| {
        let setup = Setup { local: Some(local.to_owned()), ..Setup::default() };
        setup.write();
        config::load(&setup.path("lanyard.yaml")).err().map(|error| error.to_string())
    };
    let proxies = |entries: &str| format!("{{unix: a.sock, proxies: [{entries}]}}");
    assert_eq!(refused(&proxies("{uid: 0, resources: ['*']}, {uid: 1337, resources: ['https://a.example']}")), None);
    let own = "{uid: 1337, spiffe_id: spiffe://prod.example/proxy, resources: ['*']}";
    assert_eq!(refused(&proxies(own)), None);
    for (local, says) in [
        (proxies(""), "at least one proxy"),
        (proxies("{uid: 1337, resources: []}"), "\"*\" for all"),
        (proxies("{uid: 1337}"), "resources"),
        (proxies("{resources: ['*']}"), "uid"),
        (proxies("{uid: -1, resources: ['*']}"), "uid"),
        (proxies("{uid: 1337, resources: ['orders']}"), "absolute URI"),
        (
            proxies("{uid: 1, resources: ['*']}, {uid: 1, resources: ['https://a.example']}"),
            "two entries are for uid 1",
        ),
        (proxies("{uid: 65534, resources: ['*']}"), "user namespace"),
        (proxies("{uid: 4294967295, resources: ['*']}"), "user namespace"),
        (proxies("{uid: 1, spiffe_id: 'spiffe://prod.example', resources: ['*']}"), "SPIFFE ID"),
        (proxies("{uid: 1, spiffe_id: 'spiffe://other.example/proxy', resources: ['*']}"), "own trust domain"),
        ("{unix: a.sock}".to_owned(), "proxies"),
        (proxies("{uid: 1, resources: ['*'], roles: [admin]}"), "roles"),
        ("{proxies: [{uid: 1, resources: ['*']}]}".to_owned(), "unix"),
    ] {
        let error = refused(&local).unwrap_or_else(|| panic!("taken: {local}"));
        assert!(error.contains(says), "{local}: {error}");
    }
}

// What a stopping server does to requests under way is the same on every listener: `life_cycle::drain`.
#[tokio::test]
async fn a_request_that_is_under_way_is_answered_while_the_server_stops() {
    let server = TestServer::started(|setup| listen_locally(setup, EVERY)).await;
    let checkout = server.workload("/checkout").await;
    let question = ValidateBindingRequest {
        access_token: server.token(&checkout).await,
        evidence: certificate_of(&checkout),
        ..use_of("")
    };
    let mut stream = BindingStream::open(server.local_bindings()).await;
    assert_eq!(stream.ask(&question).await.unwrap(), StreamOutcome::Allowed);
    let stopped = tokio::spawn(server.server.stop());
    let ended = within(stream.answers.message()).await;
    // A stream is ended with a status that says to come back, not cut.
    assert_eq!(ended.err().map(|status| status.code()), Some(Code::Unavailable));
    tokio::time::timeout(Duration::from_mins(1), stopped).await.unwrap().unwrap();
}
