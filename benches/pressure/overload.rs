//! More than a server can do.

use std::time::Duration;

use tokio::time::Instant;

use crate::lasting;
use crate::support::Failure;
use crate::support::client::Connection;
use crate::support::client::Measured;
use crate::support::frames::Request;
use crate::support::requests;
use crate::support::server::Process as _;
use crate::support::server::Server;
use crate::support::server::UNSHARED;

/// The connections that send the load, and how long each load lasts.
const CONNECTIONS: usize = 16;
const LOADED: Duration = Duration::from_secs(30);

/// How many checks the capacity is measured by.
const MEASURED_CALLS: usize = 100_000;

/// The load as a multiple of the capacity.
const LOADS: [f64; 3] = [1.0, 2.0, 5.0];

/// Prints how many checks are answered at each load, and how long answers and refusals take.
pub(crate) async fn beyond_capacity() -> Result<(), Failure> {
    let server = Server::start(&[UNSHARED]).await?;
    let proxy = server.sample("proxy")?;
    let check = [requests::encoded_check(&server.token()?, &server.certificate()?, false)];
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(proxy.connect().await?);
    }
    capacity(&mut connections, &check, 10_000).await?;
    let before = server.cpu_seconds()?;
    let capacity = capacity(&mut connections, &check, MEASURED_CALLS).await?;
    let each = (server.cpu_seconds()? - before) * 1e6 / count(u64::try_from(MEASURED_CALLS)?);
    println!("\ncapacity: {capacity:.0} checks a second; {each:.1} us of the server's CPU each");
    println!(
        "| load | sent, of capacity | served, of capacity | p50, p99 of the served, µs | refused | p50, p99 of the \
         refused, µs | not sent | failed | server's CPU |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let time = lasting(LOADED);
    for load in LOADS {
        let before = server.cpu_seconds()?;
        let measured = at_rate(&mut connections, &check, capacity * load, time).await?;
        let cpu = (server.cpu_seconds()? - before) / time.as_secs_f64();
        row(&load.to_string(), &measured, capacity * time.as_secs_f64(), cpu);
        let before = server.cpu_seconds()?;
        let after = at_rate(&mut connections, &check, capacity / 10.0, Duration::from_secs(1)).await?;
        row("the second after it, at 0.1", &after, capacity, server.cpu_seconds()? - before);
    }
    Ok(())
}

/// Prints a row of the table. `capacity`: the checks that could be served in this time.
fn row(load: &str, measured: &Measured, capacity: f64, cpu: f64) {
    let (served, refused) = (&measured.served, &measured.refused);
    println!(
        "| {load} | {:.3} | {:.3} | {}, {} | {} | {}, {} | {} | {} | {:.0} % |",
        count(served.len() + refused.len() + measured.failed) / capacity,
        count(served.len()) / capacity,
        served.value_at_quantile(0.5),
        served.value_at_quantile(0.99),
        refused.len(),
        refused.value_at_quantile(0.5),
        refused.value_at_quantile(0.99),
        measured.unsent,
        measured.failed,
        cpu * 100.0,
    );
}

/// One proxy that sends twice its share, and what another one gets.
pub(crate) async fn beside_a_greedy_proxy() -> Result<(), Failure> {
    let settings = [
        ("LANYARD_LIMITS__CALLERS", "[{role: proxy, address: {requests_per_second: 5000}}]"),
        ("LANYARD_ROLES__PROXIES", "[{spiffe_id: \"spiffe://dev.internal/*\", resources: [\"*\"]}]"),
    ];
    let server = Server::start(&settings).await?;
    let (token, certificate) = (server.token()?, server.certificate()?);
    let check = [requests::encoded_check(&token, &certificate, false)];
    // Each proxy names itself: evidence that another one has taken is denied.
    let own = requests::check_by("spiffe://dev.internal/greedy", &token, &certificate, false);
    let own = [Request::unary(requests::CHECK, &own)];
    let (mut honest, mut greedy) =
        (server.sample("proxy")?.connect().await?, server.workload("greedy")?.connect().await?);
    let time = lasting(BESIDE);
    let alone = honest.at_rate(&check, HONEST, time, requests::checked).await?;
    let (beside, greedy) = tokio::join!(
        honest.at_rate(&check, HONEST, time, requests::checked),
        greedy.at_rate(&own, 2.0 * SHARE, time, requests::checked),
    );
    let (beside, greedy) = (beside?, greedy?);
    println!(
        "\na proxy at twice its share of {SHARE} a second: {} served, {} refused, {} not sent; another at {HONEST} a \
         second: p50 {} us, alone {} us; p99 {} us, alone {} us; {} refused",
        greedy.served.len(),
        greedy.refused.len(),
        greedy.unsent,
        beside.served.value_at_quantile(0.5),
        alone.served.value_at_quantile(0.5),
        beside.served.value_at_quantile(0.99),
        alone.served.value_at_quantile(0.99),
        beside.refused.len(),
    );
    Ok(())
}

/// The share of each proxy, what the honest one sends, a second, and how long.
const SHARE: f64 = 5_000.0;
const HONEST: f64 = 200.0;
const BESIDE: Duration = Duration::from_secs(10);

async fn capacity(connections: &mut [Connection], check: &[Request], calls: usize) -> Result<f64, Failure> {
    let begin = Instant::now();
    let share = calls / connections.len();
    let all = connections.iter_mut().map(|connection| connection.closed_loop(check, share, 8, requests::checked));
    let mut measured = Measured::default();
    for one in futures_util::future::join_all(all).await {
        measured.add(&one?)?;
    }
    Ok(count(measured.served.len()) / begin.elapsed().as_secs_f64())
}

async fn at_rate(
    connections: &mut [Connection],
    check: &[Request],
    a_second: f64,
    time: Duration,
) -> Result<Measured, Failure> {
    let share = a_second / count(u64::try_from(connections.len())?);
    let all = connections.iter_mut().map(|connection| connection.at_rate(check, share, time, requests::checked));
    let mut measured = Measured::default();
    for one in futures_util::future::join_all(all).await {
        measured.add(&one?)?;
    }
    Ok(measured)
}

#[expect(clippy::cast_precision_loss, reason = "a count")]
fn count(number: u64) -> f64 {
    number as f64
}
