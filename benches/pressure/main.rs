//! Measures what honest callers get while others attack, and what a server does beyond its capacity: `cargo bench --bench
//! pressure [SECTION]`.
//!
//! The server runs on one core in a process of its own; the honest callers and, behind them in priority, the attackers
//! run on another. Times are those from writing a request to its answer. Ratios are of one run; the times themselves say
//! little about other machines.

#[path = "../support/mod.rs"]
mod support;

mod attacks;
mod idle;
mod overload;

use std::time::Duration;

use crate::attacks::Attack;
use crate::attacks::unread_pipe;
use crate::support::Failure;
use crate::support::client::Measured;
use crate::support::client::Peer;
use crate::support::frames::Request;
use crate::support::requests;
use crate::support::server::Process as _;
use crate::support::server::Server;
use crate::support::server::leave_the_servers_core;

/// The honest caller: a proxy that checks, on each of its connections.
const CONNECTIONS: usize = 2;
const CHECKS_A_SECOND: f64 = 200.0;

/// How long it is measured, and how long an attack runs before that.
const MEASURED: Duration = Duration::from_secs(6);
const BEGUN: Duration = Duration::from_secs(2);

/// The most seconds that anything is measured, for trying; what is recorded is measured without it.
const SHORT: &str = "PRESSURE_SECONDS";

/// This time, or a shorter one where one is asked for.
#[expect(clippy::disallowed_methods, reason = "the environment of a bench, which has no configuration")]
fn lasting(time: Duration) -> Duration {
    let short = std::env::var(SHORT).ok().and_then(|seconds| seconds.parse().ok());
    short.map_or(time, |seconds| time.min(Duration::from_secs(seconds)))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    leave_the_servers_core()?;
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |section: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == section);
    if is_wanted("attacks") {
        attacked().await?;
    }
    if is_wanted("log") {
        unread_log().await?;
    }
    if is_wanted("shares") {
        overload::beside_a_greedy_proxy().await?;
    }
    if is_wanted("overload") {
        overload::beyond_capacity().await?;
    }
    if is_wanted("unfinished") {
        idle::unfinished().await?;
    }
    if is_wanted("idle") {
        idle::ten_thousand().await?;
    }
    Ok(())
}

/// Each attack, at the rate that was seen and at ten times it.
async fn attacked() -> Result<(), Failure> {
    println!("| attack | a second | done | p50 µs, × | p99 µs, × | refused, failed | CPU for it | memory MiB |");
    println!("|---|---|---|---|---|---|---|---|");
    for (attack, name, a_second) in Attack::ALL {
        for a_second in [a_second, a_second * 10.0] {
            let server = Server::start(&[]).await?;
            let alone = observe(&server).await?;
            let attack = attack.prepare(&server)?.start(a_second);
            tokio::time::sleep(BEGUN).await;
            let attacked = observe(&server).await;
            let done = attack.end();
            match attacked {
                Ok(attacked) => println!("| {name} | {a_second} | {done} | {} |", attacked.beside(&alone)),
                Err(error) => println!("| {name} | {a_second} | {done} | the honest proxy was cut off: {error} |"),
            }
        }
    }
    Ok(())
}

/// A log that nobody reads, while many requests are refused.
async fn unread_log() -> Result<(), Failure> {
    let alone = observe(&Server::start(&[]).await?).await?;
    let (mut reader, log) = unread_pipe()?;
    let server = Server::start_with(&[], log).await?;
    println!("| attack | a second | done | p50 µs, × | p99 µs, × | refused, failed | CPU for it | memory MiB |");
    println!("|---|---|---|---|---|---|---|---|");
    let attack = Attack::Refusals.prepare(&server)?.start(REFUSALS_A_SECOND);
    tokio::time::sleep(BEGUN).await;
    let attacked = observe(&server).await;
    let done = attack.end();
    let row = match attacked {
        Ok(attacked) => attacked.beside(&alone),
        Err(error) => format!("cut off: {error} |"),
    };
    println!("| refusals, and a log that nobody reads | {REFUSALS_A_SECOND} | {done} | {row} |");
    let dropped = server.page("/metrics")?;
    let dropped = dropped.lines().find(|line| line.starts_with("lanyard_log_lines_dropped_total"));
    // The server's end of the pipe is closed with it, so that this ends.
    drop(server);
    let waiting = std::io::copy(&mut reader, &mut std::io::sink())?;
    println!("\nin the pipe at the end: {waiting} bytes; {}", dropped.unwrap_or("nothing was counted as dropped"));
    Ok(())
}

/// How many requests are refused, with a log that nobody reads.
const REFUSALS_A_SECOND: f64 = 2000.0;

/// What an honest proxy got, and what the server took for all that it did meanwhile.
#[derive(Debug)]
struct Observed {
    measured: Measured,
    /// The server's CPU time, as a part of one core.
    cpu: f64,
    memory_kib: f64,
}

impl Observed {
    /// The columns of the table, beside the same without the attack.
    fn beside(&self, alone: &Self) -> String {
        let figure = |quantile: f64| {
            let (with, without) =
                (self.measured.served.value_at_quantile(quantile), alone.measured.served.value_at_quantile(quantile));
            format!("{with}, {:.2}", ratio(with, without))
        };
        let (refused, failed) = (self.measured.refused.len(), self.measured.failed);
        let (cpu, memory) = ((self.cpu - alone.cpu) * 100.0, self.memory_kib / 1024.0);
        format!("{} | {} | {refused}, {failed} | {cpu:.0} % | {memory:.0}", figure(0.5), figure(0.99))
    }
}

/// Checks at a fixed rate, on connections that stand before anything is measured.
async fn observe(server: &Server) -> Result<Observed, Failure> {
    let proxy = server.sample("proxy")?;
    let check = requests::encoded_check(&server.token()?, &server.certificate()?, false);
    let before = server.cpu_seconds()?;
    let measured = honest(&proxy, &check).await?;
    let cpu = (server.cpu_seconds()? - before) / lasting(MEASURED).as_secs_f64();
    Ok(Observed { measured, cpu, memory_kib: server.memory_kib()? })
}

/// The checks of an honest proxy.
async fn honest(proxy: &Peer, check: &Request) -> Result<Measured, Failure> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(tokio::time::timeout(Duration::from_secs(10), proxy.connect()).await??);
    }
    let checks = [check.clone()];
    let one = connections
        .iter_mut()
        .map(|connection| connection.at_rate(&checks, CHECKS_A_SECOND / 2.0, lasting(MEASURED), requests::checked));
    let mut all = Measured::default();
    for measured in futures_util::future::join_all(one).await {
        all.add(&measured?)?;
    }
    Ok(all)
}

#[expect(clippy::cast_precision_loss, reason = "microseconds and counts")]
fn ratio(with: u64, without: u64) -> f64 {
    with as f64 / without.max(1) as f64
}
