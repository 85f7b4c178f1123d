//! Clients behind a load balancer: their addresses by the PROXY protocol, version 2, and from nobody else.

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::pressure::support::at_mtls;
use crate::pressure::support::displaced;
use crate::pressure::support::silent;
use crate::support::child::real_time;
use crate::support::door::Outcome;
use crate::support::door::assert_serves;
use crate::support::door::knock_as;
use crate::support::door::read_to_end;
use crate::support::door::request;
use crate::support::observed::Observed;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::wire::http1;

const BALANCER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// More keys of the section `listeners`.
const PROXIES: &str = ", proxy_protocol_from: [127.0.0.2/32, 'fd00::/8']";

fn setup() -> Setup {
    Setup { listeners: PROXIES.to_owned(), ..real_time() }
}

/// A header for a client at this address.
fn header(client: [u8; 4]) -> Vec<u8> {
    let rest = [&client[..], &[10, 0, 0, 1, 0x9c, 0x40, 0x01, 0xbb, 0x04, 0, 2, 7, 7]].concat();
    [SIGNATURE, &[0x21, 0x11, 0, u8::try_from(rest.len()).unwrap()], &rest].concat()
}

/// A connection that begins with these bytes.
async fn begun(address: SocketAddr, from: Ipv4Addr, bytes: &[u8]) -> TcpStream {
    let mut stream = silent(address, from).await;
    stream.write_all(bytes).await.unwrap();
    stream
}

#[tokio::test]
async fn the_header_is_required_of_the_load_balancer_and_read_from_nobody_else() {
    let server = Observed::start_on(setup(), "", &[]);
    let config = server.tls(&server.svid("/checkout"));
    let anybody = || server.setup.tls_builder(rustls::DEFAULT_VERSIONS).with_no_client_auth();
    let mtls = async |from, bytes: &[u8]| {
        let mut config = config.clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        knock_as("localhost", begun(server.mtls, from, bytes).await, config).await
    };
    let local = [SIGNATURE, &[0x20, 0, 0, 0]].concat();
    for bytes in [&header([203, 0, 113, 7]), &local] {
        assert!(mtls(BALANCER, bytes).await.is_jwks());
        assert!(knock_as("localhost", begun(server.public, BALANCER, bytes).await, anybody()).await.is_jwks());
    }
    assert!(mtls(OTHER, b"").await.is_jwks());
    // The probes come from the kubelet, not through the load balancer.
    let answer = http1(silent(server.ops, BALANCER).await, "GET /livez").await;
    assert_eq!(answer.status, 200);

    for (what, bytes) in [
        ("no header", &b""[..]),
        ("version 1", b"PROXY TCP4 203.0.113.7 10.0.0.1 40000 443\r\n"),
        ("another signature", &[0x0d; 28]),
        ("datagrams", &[SIGNATURE, &[0x21, 0x12, 0, 12], &[7; 12]].concat()),
    ] {
        assert_eq!(mtls(BALANCER, bytes).await, Outcome::Closed, "{what}");
        let line = server.process.until("a handshake failed").pop().unwrap();
        assert!(line.contains("PROXY_HEADER") && line.contains("remote=127.0.0.2:"), "{what}: {line}");
    }
    // From any other address the header is what it looks like: no TLS.
    assert!(!mtls(OTHER, &header([203, 0, 113, 7])).await.is_jwks());
    let line = server.process.until("a handshake failed").pop().unwrap();
    assert!(line.contains("HANDSHAKE_FAILED") && line.contains("remote=127.0.0.3:"), "{line}");
}

#[tokio::test]
async fn the_log_names_the_client_behind_the_load_balancer() {
    let server = Observed::start_on(setup(), "", &[]);
    let none = server.setup.tls_builder(rustls::DEFAULT_VERSIONS).with_no_client_auth();
    let stream = begun(server.mtls, BALANCER, &header([203, 0, 113, 7])).await;
    assert!(matches!(knock_as("localhost", stream, none).await, Outcome::Alert(_)));
    let line = server.process.until("a handshake failed").pop().unwrap();
    assert!(line.contains("remote=203.0.113.7:40000"), "{line}");
    // The records of calls name it too.
    let mut config = server.tls(&server.svid("/checkout"));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let stream = begun(server.mtls, BALANCER, &header([203, 0, 113, 8])).await;
    let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    let refused = request(&mut stream, "/nowhere").await;
    assert!(matches!(&refused, Outcome::Answered(answer) if answer.starts_with("HTTP/1.1 404 ")), "{refused:?}");
    let line = server.process.until("NO_SUCH_METHOD").pop().unwrap();
    assert!(line.contains("remote=203.0.113.8:40000"), "{line}");
}

#[tokio::test]
async fn shares_are_counted_by_the_client_behind_the_load_balancer() {
    // A sixteenth of 32 is two.
    let server = TestServer::started(|setup| {
        setup.listeners = PROXIES.to_owned();
        setup.tls = "  max_unfinished: 32\n  handshake_timeout: 1h".to_owned();
    })
    .await;
    let unfinished = async |count| {
        server.page_where(|page| at_mtls(page, "lanyard_connections_unfinished") == count).await;
    };
    let from = async |client| begun(server.addresses.mtls, BALANCER, &header(client)).await;
    // Many clients of one load balancer are many,
    let mut held = Vec::new();
    for number in 0..20 {
        held.push(from([10, 0, 0, number]).await);
        unfinished(u64::from(number) + 1).await;
    }
    assert_eq!(displaced(&server.page().await, "mtls"), [0, 0]);
    // and many connections of one client are one client's: the third one ends the first.
    let mut crowd = vec![from([10, 0, 1, 1]).await];
    unfinished(21).await;
    crowd.push(from([10, 0, 1, 1]).await);
    unfinished(22).await;
    crowd.push(from([10, 0, 1, 1]).await);
    server.page_where(|page| displaced(page, "mtls") == [0, 1]).await;
    assert_eq!(read_to_end(&mut crowd[0]).await, b"");
    unfinished(22).await;
    assert_serves(&server, "a crowd behind a load balancer").await;
}
