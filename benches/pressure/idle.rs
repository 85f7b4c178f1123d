//! What connections hold that do nothing, or do not end what they begin.

use std::process::Command;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;

use crate::attacks::send_unfinished;
use crate::support::Failure;
use crate::support::frames::Request;
use crate::support::requests;
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

/// The connections that begin many requests each.
const BUSY: u32 = 12;
const REQUESTS: u32 = 250;

/// Prints what many unfinished requests take, beside what is counted of it.
pub(crate) async fn unfinished() -> Result<(), Failure> {
    let server = Server::start(&[]).await?;
    let proxy = server.sample("proxy")?;
    let check = requests::encoded_check(&server.token()?, &server.certificate()?, false);
    drop(proxy.connect().await?.closed_loop(std::slice::from_ref(&check), 10_000, 64, requests::checked).await?);
    let before = server.memory_kib()?;
    let unfinished = Request::unary(requests::CHECK, &requests::check("a.b.c", &server.certificate()?, true));
    let mut open = Vec::new();
    for _ in 0..BUSY {
        let mut stream = proxy.handshake().await?;
        send_unfinished(&mut stream, &unfinished, REQUESTS).await?;
        open.push(tokio::spawn(async move {
            // Until the server ends the connection.
            let mut answer = [0; 4096];
            while stream.read(&mut answer).await.is_ok_and(|read| read > 0) {}
        }));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let grown = (server.memory_kib()? - before) / 1024.0;
    let page = server.page("/metrics")?;
    println!("\n{BUSY} connections with {REQUESTS} unfinished requests each: {grown:.1} MiB");
    for line in page.lines().filter(|line| line.starts_with("lanyard_limit_") && line.contains("role=\"proxy\"")) {
        println!("    {line}");
    }
    println!("    {} connections ended", open.iter().filter(|open| open.is_finished()).count());
    Ok(())
}
