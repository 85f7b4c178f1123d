//! Floods below HTTP: what TLS itself lets a peer send without end.

use std::process::Command;
use std::process::Stdio;

use rustls::ClientConfig;
use rustls::version::TLS13;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::child::real_time;
use crate::support::door::assert_serves;
use crate::support::door::read_to_end;
use crate::support::door::within;
use crate::support::observed::Observed;
use crate::support::server::TestServer;
use crate::support::server::connect;

fn http1(server: &TestServer) -> ClientConfig {
    let leaf = server.svid("/flood");
    let mut config = server.setup.tls_builder(&[&TLS13]).with_client_auth_cert(leaf.chain.clone(), leaf.private_key());
    config.as_mut().unwrap().alpn_protocols = vec![b"http/1.1".to_vec()];
    config.unwrap()
}

/// Updates its keys this many times without a byte of a request between, and returns whether a request is answered then.
async fn answered_after_key_updates(server: &TestServer, updates: usize) -> bool {
    let mut stream = connect(server.addresses.mtls, http1(server)).await.unwrap();
    for _ in 0..updates {
        stream.get_mut().1.refresh_traffic_keys().unwrap();
        if stream.flush().await.is_err() {
            return false;
        }
    }
    let sent = stream.write_all(b"GET /oauth2/jwks HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    sent.is_ok() && within(stream.read_u8()).await.is_ok()
}

// RFC 8446 section 4.6.3. rustls's own bound: 32 without application data between.
#[tokio::test]
async fn keys_that_are_updated_again_and_again_end_the_connection() {
    let server = TestServer::start().await;
    assert!(answered_after_key_updates(&server, 32).await);
    assert!(!answered_after_key_updates(&server, 33).await);
    assert!(!answered_after_key_updates(&server, 2000).await);
    assert_serves(&server, "key updates").await;
}

#[tokio::test]
async fn records_of_one_byte_are_served_and_a_handshake_without_end_is_ended() {
    let server = TestServer::start().await;
    let mut stream = connect(server.addresses.mtls, http1(&server)).await.unwrap();
    for byte in b"GET /oauth2/jwks HTTP/1.1\r\nhost: localhost\r\n\r\n" {
        // Each write is a record of its own.
        stream.write_all(&[*byte]).await.unwrap();
        stream.flush().await.unwrap();
    }
    assert_eq!(within(stream.read_u8()).await.unwrap(), b'H');

    let observed = Observed::start("");
    let mut flood = TcpStream::connect(observed.mtls).await.unwrap();
    // The head of a ClientHello of the largest size, then its bytes one by one.
    let begun = [22, 3, 1, 0, 4, 1, 0, 0xff, 0xff];
    drop(flood.write_all(&begun).await);
    drop(flood.write_all(&[22, 3, 1, 0, 1, 7].repeat(30_000)).await);
    read_to_end(&mut flood).await;
    let line = observed.process.until("a handshake failed").pop().unwrap();
    assert!(line.contains("HANDSHAKE_FAILED") && line.contains("message buffer full"), "{line}");
    assert_serves(&server, "records of one byte").await;
}

// RFC 5746. rustls does not answer the first attempt, and ends the connection at the second.
#[tokio::test]
async fn renegotiation_is_refused() {
    let server = Observed::start_on(real_time(), "", &[]);
    let leaf = server.svid("/renegotiates");
    std::fs::write(server.setup.path("client.pem"), leaf.chain_pem() + &leaf.key_pem()).unwrap();
    let mut command = Command::new("openssl");
    command
        .args(["s_client", "-tls1_2", "-connect", &server.mtls.to_string(), "-cert", "client.pem"])
        .current_dir(server.setup.dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // Where there is no such command, rustls's own tests have to do.
    let Ok(mut client) = command.spawn() else { return };
    std::io::Write::write_all(&mut client.stdin.take().unwrap(), b"R\nR\nR\n").unwrap();
    let output = within(tokio::task::spawn_blocking(move || client.wait_with_output())).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    let (_, after) = said.split_once("RENEGOTIATING").unwrap_or_else(|| panic!("{said}"));
    assert!(after.lines().nth(1).is_some_and(|line| line.contains(":error:")), "{said}");
}
