//! Ten thousand connections that do nothing.

use std::process::Command;

use crate::support::Failure;
use crate::support::server::Server;

const CONNECTIONS: usize = 10_000;

/// Prints what each costs in memory.
pub(crate) async fn ten_thousand() -> Result<(), Failure> {
    // Each listener of the server gets a part of its descriptors.
    let this = std::process::id().to_string();
    let raised = Command::new("prlimit").args(["--nofile=20000:", "--pid", &this]).status()?;
    if !raised.success() {
        return Err("prlimit failed: the limit of open files is too low for this section".into());
    }
    let most = (CONNECTIONS + 100).to_string();
    let server = Server::start(&[
        ("LANYARD_TLS__MAX_CONNECTIONS", &most),
        ("LANYARD_LIMITS__CALLERS", "[{role: proxy, address: {connections: 20000}}]"),
    ])
    .await?;
    let proxy = server.sample("proxy")?;
    let first = proxy.connect().await?;
    let before = server.memory_kib()?;
    let mut open = vec![first];
    for _ in 1..CONNECTIONS {
        open.push(proxy.connect().await?);
    }
    // What a handshake needs is free again once the server has answered on the connection.
    let grown = server.memory_kib()? - before;
    #[expect(clippy::cast_precision_loss, reason = "a count of connections")]
    let each = grown / open.len() as f64;
    println!("\n{} idle mTLS connections: {each:.1} KiB each", open.len());
    Ok(())
}
