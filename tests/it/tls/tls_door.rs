//! The doors of the three listeners: which TLS and which HTTP they speak, and that no roundabout way leads past the verifier.

use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use lanyard::proto::GetJwksRequest;
use lanyard::proto::key_service_client::KeyServiceClient;
use rustls::AlertDescription;
use rustls::ClientConfig;
use rustls::HandshakeKind;
use rustls::SignatureScheme;
use rustls::SupportedProtocolVersion;
use rustls::client::ResolvesClientCert;
use rustls::client::Resumption;
use rustls::sign::CertifiedKey;
use rustls::version::TLS12;
use rustls::version::TLS13;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::io::DuplexStream;
use tokio::net::TcpStream;

use crate::support::door::AnyServer;
use crate::support::door::Outcome;
use crate::support::door::assert_serves;
use crate::support::door::knock;
use crate::support::door::knock_as;
use crate::support::door::read_to_end;
use crate::support::door::request;
use crate::support::door::within;
use crate::support::leaf::Leaf;
use crate::support::server::TestServer;
use crate::support::server::connect;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

fn client(server: &TestServer, version: &'static SupportedProtocolVersion, leaf: &Leaf) -> ClientConfig {
    let builder = server.setup.tls_builder(&[version]);
    builder.with_client_auth_cert(leaf.chain.clone(), leaf.private_key()).unwrap()
}

fn nobody(server: &TestServer, version: &'static SupportedProtocolVersion) -> ClientConfig {
    server.setup.tls_builder(&[version]).with_no_client_auth()
}

#[tokio::test]
async fn both_versions_of_tls_and_of_http_are_served_on_the_one_mtls_port() {
    let server = TestServer::start().await;
    let leaf = server.svid("/checkout");
    for version in VERSIONS {
        for (alpn, spoken) in [(&[&b"h2"[..], b"http/1.1"][..], &b"h2"[..]), (&[b"http/1.1"], b"http/1.1")] {
            let mut config = client(&server, version, &leaf);
            config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
            let stream = connect(server.addresses.mtls, config).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(spoken));
            assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        }
        assert!(knock(server.addresses.mtls, client(&server, version, &leaf)).await.is_jwks());
    }
    let answer = KeyServiceClient::new(server.channel(&leaf)).get_jwks(GetJwksRequest {}).await.unwrap();
    assert!(answer.into_inner().jwks.starts_with("{\"keys\":["));
}

#[tokio::test]
async fn a_client_without_alpn_is_served_and_one_that_offers_only_another_protocol_is_not() {
    let server = TestServer::start().await;
    let leaf = server.svid("/checkout");
    for version in VERSIONS {
        let mut config = client(&server, version, &leaf);
        let stream = TcpStream::connect(server.addresses.mtls).await.unwrap();
        assert!(knock_as("localhost", stream, config.clone()).await.is_jwks());
        config.alpn_protocols = vec![b"spdy/3".to_vec(), b"h2c".to_vec()];
        let stream = TcpStream::connect(server.addresses.mtls).await.unwrap();
        let refused = knock_as("localhost", stream, config).await;
        assert_eq!(refused, Outcome::Alert(AlertDescription::NoApplicationProtocol));
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused_by_name_or_none() {
    let server = TestServer::start().await;
    let stranger = server.setup.corp.intermediate("x").client_certificate().common_name("x").issue();
    assert_eq!(stranger.chain.len(), 2);
    let stranger = Leaf { chain: vec![stranger.certificate().clone()], ..stranger };
    let checkout = server.svid("/checkout");
    for version in VERSIONS {
        // The right name, none (an IP address is not sent), another one.
        for name in ["localhost", "127.0.0.1", "elsewhere.example"] {
            let knock = async |mut config: ClientConfig| {
                config.dangerous().set_certificate_verifier(Arc::new(AnyServer));
                knock_as(name, TcpStream::connect(server.addresses.mtls).await.unwrap(), config).await
            };
            let none = knock(nobody(&server, version)).await;
            assert_eq!(none, Outcome::Alert(AlertDescription::CertificateRequired), "{name}");
            let unknown = knock(client(&server, version, &stranger)).await;
            assert_eq!(unknown, Outcome::Alert(AlertDescription::UnknownCA), "{name}");
            assert!(knock(client(&server, version, &checkout)).await.is_jwks(), "{name}");
        }
    }
}

#[tokio::test]
async fn versions_before_tls_1_2_are_refused() {
    let server = TestServer::start().await;
    for version in [[3, 0], [3, 1], [3, 2]] {
        let mut hello = version.to_vec();
        hello.extend_from_slice(&[7; 32]);
        // No session, the suite ECDHE-ECDSA-AES128-GCM-SHA256, no compression;
        hello.extend_from_slice(&[0, 0, 2, 0xc0, 0x2b, 1, 0]);
        // the extensions supported_groups with P-256 and signature_algorithms with ECDSA on it.
        hello.extend_from_slice(&[0, 16, 0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3]);
        let mut record = vec![22, 3, 1, 0, 4 + u8::try_from(hello.len()).unwrap(), 1, 0, 0];
        record.push(u8::try_from(hello.len()).unwrap());
        record.extend_from_slice(&hello);
        let mut stream = TcpStream::connect(server.addresses.mtls).await.unwrap();
        stream.write_all(&record).await.unwrap();
        // A fatal alert: protocol_version.
        assert_eq!(read_to_end(&mut stream).await, [21, 3, 3, 0, 2, 2, 70], "{version:?}");
    }
}

#[tokio::test]
async fn a_client_hello_in_pieces_meets_the_same_verifier() {
    let server = TestServer::start().await;
    let checkout = server.svid("/checkout");
    for version in VERSIONS {
        for piece in [1, 7, 100] {
            let knock = async |config| {
                let (near, far) = tokio::io::duplex(64 * 1024);
                let stream = TcpStream::connect(server.addresses.mtls).await.unwrap();
                let relay = tokio::spawn(relay_in_pieces(far, stream, piece));
                let outcome = knock_as("localhost", near, config).await;
                within(relay).await.unwrap();
                outcome
            };
            let none = knock(nobody(&server, version)).await;
            assert_eq!(none, Outcome::Alert(AlertDescription::CertificateRequired), "{piece}");
            assert!(knock(client(&server, version, &checkout)).await.is_jwks(), "{piece}");
        }
    }
}

/// Sends the first record as records of `piece` bytes, and each of those byte by byte; then everything as it comes.
async fn relay_in_pieces(mut client: DuplexStream, mut server: TcpStream, piece: usize) {
    server.set_nodelay(true).unwrap();
    let mut head = [0; 5];
    client.read_exact(&mut head).await.unwrap();
    let mut hello = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    client.read_exact(&mut hello).await.unwrap();
    for piece in hello.chunks(piece) {
        let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
        for byte in [&head[..3], &length, piece].concat() {
            server.write_all(&[byte]).await.unwrap();
        }
    }
    drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
}

#[tokio::test]
async fn plain_http_gets_no_answer_from_the_tls_ports() {
    let server = TestServer::start().await;
    for address in [server.addresses.mtls, server.addresses.public] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /oauth2/jwks HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let answer = read_to_end(&mut stream).await;
        // An alert of seven bytes, or nothing: no HTTP.
        assert!(answer.is_empty() || (answer.len() == 7 && answer[0] == 21), "{answer:?}");
    }
    assert_serves(&server, "plain HTTP").await;
}

#[tokio::test]
async fn the_public_listener_asks_for_no_certificate_and_has_only_what_anybody_may_read() {
    let server = TestServer::start().await;
    for version in VERSIONS {
        assert!(knock(server.addresses.public, nobody(&server, version)).await.is_jwks());
        let asked = Arc::new(Asked::default());
        let config = server.setup.tls_builder(&[version]).with_client_cert_resolver(Arc::clone(&asked) as Arc<_>);
        assert!(knock(server.addresses.public, config.clone()).await.is_jwks());
        assert!(!asked.0.load(Ordering::Relaxed));
        // The other listener does ask.
        assert!(!knock(server.addresses.mtls, config).await.is_jwks());
        assert!(asked.0.load(Ordering::Relaxed));
    }
    for path in
        ["/lanyard.v1.KeyService/GetJwks", "/lanyard.v1.TokenService/IssueToken", "/livez", "/oauth2/token", "/"]
    {
        let mut stream = connect(server.addresses.public, nobody(&server, &TLS13)).await.unwrap();
        let Outcome::Answered(answer) = within(request(&mut stream, path)).await else { panic!("{path}") };
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
}

/// Has no certificate, and remembers whether it was asked for one.
#[derive(Debug, Default)]
struct Asked(AtomicBool);

impl ResolvesClientCert for Asked {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn the_ops_listener_speaks_plain_http_and_has_only_the_probes() {
    let server = TestServer::start().await;
    for (path, head, body) in [
        ("/livez", "HTTP/1.1 200 OK\r\n", "\r\n\r\nok"),
        ("/readyz", "HTTP/1.1 200 OK\r\n", "\r\n\r\nok"),
        ("/oauth2/jwks", "HTTP/1.1 404 Not Found\r\n", "the metadata names those that there are\"}"),
        ("/other", "HTTP/1.1 404 Not Found\r\n", "\r\n\r\nthere is no such path"),
    ] {
        let mut stream = TcpStream::connect(server.addresses.ops).await.unwrap();
        let Outcome::Answered(answer) = within(request(&mut stream, path)).await else { panic!("{path}") };
        assert!(answer.starts_with(head) && answer.ends_with(body), "{path}: {answer}");
    }
    let mut stream = TcpStream::connect(server.addresses.ops).await.unwrap();
    // The first bytes of any TLS connection.
    stream.write_all(&[22, 3, 1, 0, 5, 1, 0, 0, 1, 3, b'\r', b'\n', b'\r', b'\n']).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400 "), "{answer:?}");
}

#[tokio::test]
async fn no_session_is_resumed_by_a_client_that_would() {
    let server = TestServer::start().await;
    let leaf = server.svid("/checkout");
    for address in [server.addresses.mtls, server.addresses.public] {
        for version in VERSIONS {
            let mut config = client(&server, version, &leaf);
            config.resumption = Resumption::in_memory_sessions(16);
            for _ in 0..3 {
                let mut stream = connect(address, config.clone()).await.unwrap();
                // A ticket would come before the answer.
                assert!(within(request(&mut stream, "/oauth2/jwks")).await.is_jwks());
                assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
                assert_eq!(stream.get_ref().1.tls13_tickets_received(), 0);
            }
        }
    }
}

#[tokio::test]
async fn openssl_cannot_resume_a_session_either() {
    let server = TestServer::start().await;
    let leaf = server.svid("/checkout");
    std::fs::write(server.setup.path("client.pem"), leaf.chain_pem() + &leaf.key_pem()).unwrap();
    let s_client = async |arguments: &[&str]| {
        let mut command = Command::new("openssl");
        command
            .args(["s_client", "-connect", &server.addresses.mtls.to_string(), "-cert", "client.pem"])
            .args(arguments)
            .current_dir(server.setup.dir.path())
            .stdin(Stdio::null());
        let output = within(tokio::task::spawn_blocking(move || command.output())).await.unwrap();
        output.ok().map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    for (version, handshakes) in [("-tls1_2", 6), ("-tls1_3", 1)] {
        // Where there is no such command, the test above has to do.
        let Some(first) = s_client(&[version, "-reconnect", "-sess_out", "session"]).await else { return };
        assert!(first.matches("\nNew, TLSv1.").count() >= handshakes, "{first}");
        assert!(!first.contains("Reused, "), "{first}");
        // Where openssl took nothing for a session, there is no file, and nothing to come back with.
        if server.setup.path("session").exists() {
            let again = s_client(&[version, "-sess_in", "session"]).await.unwrap();
            assert!(again.contains("\nNew, TLSv1.") && !again.contains("Reused, "), "{again}");
        }
    }
}
