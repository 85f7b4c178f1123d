//! Strangers on addresses of their own, and what the metrics say of them.

use std::net::Ipv4Addr;
use std::net::SocketAddr;

use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;

use crate::support::door::within;
use crate::support::page::Page;
use crate::support::server::TestServer;

/// A connection from an address of the loopback network, over which nothing is sent.
pub async fn silent(address: SocketAddr, from: Ipv4Addr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(address).await.unwrap()
}

/// The address of the stranger with this number.
pub fn stranger(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, number)
}

/// The first bytes of a handshake.
pub fn client_hello(config: ClientConfig) -> Vec<u8> {
    let mut client = ClientConnection::new(config.into(), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

/// Sends a whole `ClientHello` and waits for the server's answer, so that the handshake is the client's turn.
pub async fn stall(stream: &mut TcpStream, config: ClientConfig) {
    stream.write_all(&client_hello(config)).await.unwrap();
    within(stream.read_u8()).await.unwrap();
}

/// The value of a series of the mTLS listener.
pub fn at_mtls(page: &Page, name: &str) -> u64 {
    at(page, name, "mtls")
}

/// The value of a series of a listener.
pub fn at(page: &Page, name: &str, listener: &str) -> u64 {
    page.get(&format!("{name}{{listener=\"{listener}\"}}")).unwrap()
}

/// How many unfinished connections of a listener made room for others: as the oldest, and over the share of their
/// address.
pub fn displaced(page: &Page, listener: &str) -> [u64; 2] {
    ["oldest", "over_share"].map(|reason| {
        let labels = format!("{{listener=\"{listener}\",reason=\"{reason}\"}}");
        page.get(&format!("lanyard_connections_unfinished_displaced_total{labels}")).unwrap()
    })
}

/// How many handshakes failed for this reason.
pub fn handshakes_refused(page: &Page, reason: &str) -> Option<u64> {
    page.get(&format!("lanyard_handshakes_refused_total{{reason=\"{reason}\"}}"))
}

/// Waits until this many connections of the mTLS listener are unfinished.
pub async fn unfinished(server: &TestServer, count: u64) {
    server.page_where(|page| at_mtls(page, "lanyard_connections_unfinished") == count).await;
}
