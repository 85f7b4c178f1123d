//! Measures what many registrations, revocations and writes of them cost: `cargo bench --bench scale [MOST] [SECTION]`.
//! A store is read from its image at the first start, and from its log at the one after a kill.
//!
//! MOST is the largest number of registrations, a million if there is none. The sections are `registrations`,
//! `revocations`, `edges` and `writes`. A server runs on one core in a process of its own, over a store that was filled before it
//! started. `bench/scale.json` in cargo's target directory has the same figures.

#[path = "../support/mod.rs"]
mod support;

mod edges;
mod fill;
mod rounds;
mod writes;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use lanyard::proto::IssueTokenRequest;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::token_service_client::TokenServiceClient;
use lanyard::proto::validate_binding_request::Evidence;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use sha2::Digest as _;
use sha2::Sha256;
use tokio::time::Instant;

use crate::rounds::Callers;
use crate::rounds::median;
use crate::support::Failure;
use crate::support::frames::Request;
use crate::support::requests;
use crate::support::server::Folder;
use crate::support::server::Process as _;
use crate::support::server::Server;
use crate::support::server::UNSHARED;
use crate::support::server::leave_the_servers_core;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const COUNTS: [usize; 3] = [1_000, 100_000, 1_000_000];

/// How many workloads have tokens, how many each has, and how many each has where many are live.
const WORKLOADS: usize = 1_000;
const TOKENS: usize = 2;
const MANY_TOKENS: usize = 100;

/// Calls a round, and rounds.
const CALLS: usize = 40_000;
const ROUNDS: usize = 7;

/// Rounds where each call verifies a signature.
const SLOW_ROUNDS: usize = 3;

fn main() -> Result<(), Failure> {
    leave_the_servers_core()?;
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let most = arguments.iter().find_map(|argument| argument.parse().ok());
    let most = most.unwrap_or(COUNTS.into_iter().max().unwrap_or_default()).max(WORKLOADS);
    let sections: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|argument| argument.parse::<usize>().is_err()).collect();
    let is_wanted = |section: &str| sections.is_empty() || sections.contains(&section);
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut figures = Map::new();
        let empty = Served::start(Folder::new()?).await?.memory;
        if is_wanted("registrations") {
            registrations(most, empty, &mut figures).await?;
        }
        if is_wanted("revocations") {
            revocations(most, empty, &mut figures).await?;
        }
        if is_wanted("edges") {
            edges::measure(&mut figures).await?;
        }
        if is_wanted("writes") {
            figures.insert("writes".to_owned(), writes::beside_raw_writes(ROUNDS).await?);
        }
        write(&figures)
    })
}

/// What is measured is what calls cost, not when they are refused.
const SETTINGS: [(&str, &str); 2] = [UNSHARED, ("LANYARD_LIMITS__QUEUE_DELAY", "10s")];

/// A server that has started, and what that took: seconds, seconds of CPU time, and bytes of memory then and at most.
struct Served {
    server: Server,
    time: f64,
    cpu: f64,
    memory: f64,
    peak: f64,
}

impl Served {
    async fn start(folder: Folder) -> Result<Self, Failure> {
        let begin = Instant::now();
        let server = folder.serve(&SETTINGS, Stdio::null()).await?;
        let (time, cpu) = (begin.elapsed().as_secs_f64(), server.cpu_seconds()?);
        let (memory, peak) = (server.memory_kib()? * 1024.0, server.peak_memory_kib()? * 1024.0);
        Ok(Self { server, time, cpu, memory, peak })
    }

    /// Starts the server again after a kill, so that it reads the store's log. The seconds that takes, and those of CPU time.
    async fn start_after_kill(&mut self) -> Result<[f64; 2], Failure> {
        let begin = Instant::now();
        self.server.start_after_kill(&SETTINGS).await?;
        Ok([begin.elapsed().as_secs_f64(), self.server.cpu_seconds()?])
    }
}

async fn registrations(most: usize, empty: f64, figures: &mut Map<String, Value>) -> Result<(), Failure> {
    println!(
        "| registrations | start s | CPU s of it | after a kill s | CPU s of it | memory MiB | its peak | bytes each | disk bytes each | calls a second | CPU us a call | of the throughput at 1,000 |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut base: Option<(Served, Vec<Request>)> = None;
    for count in COUNTS.into_iter().filter(|count| *count < most).chain([most]) {
        let folder = Folder::new()?;
        fill::registrations(&folder.store(), count).await?;
        let disk = bytes_of(&folder.store())?;
        let mut served = Served::start(folder).await?;
        // Afterwards the log is not read again while calls are measured.
        let [killed, killed_cpu] = served.start_after_kill().await?;
        let tokens = tokens(&served.server, count, TOKENS).await?;
        let (base_server, base_tokens) = base.as_ref().map_or((&served, &tokens), |(server, tokens)| (server, tokens));
        let compared = compare(ROUNDS, (&served.server, &tokens), (&base_server.server, base_tokens)).await?;
        let Compared { ratio, rps, cpu_us } = compared;
        let (each, disk) = ((served.memory - empty) / as_float(count), disk / as_float(count));
        let Served { time, cpu, memory, peak, .. } = served;
        let [mib, peak_mib] = [memory, peak].map(|bytes| bytes / 1024.0 / 1024.0);
        println!(
            "| {count} | {time:.2} | {cpu:.2} | {killed:.2} | {killed_cpu:.2} | {mib:.0} | {peak_mib:.0} | {each:.0} | {disk:.0} | {rps:.0} | {cpu_us:.1} | {ratio:.3} |"
        );
        let values = json!({
            "start_s": time, "start_cpu_s": cpu, "start_after_kill_s": killed, "start_after_kill_cpu_s": killed_cpu,
            "memory_bytes": memory, "peak_memory_bytes": peak,
            "bytes_each": each, "disk_bytes_each": disk,
            "validate_rps": rps, "validate_cpu_us": cpu_us, "validate_vs_1000": ratio,
        });
        figures.insert(format!("registrations_{count}"), values);
        if count == most {
            let many = self::tokens(&served.server, count, MANY_TOKENS).await?;
            let Compared { ratio, rps, cpu_us } =
                compare(SLOW_ROUNDS, (&served.server, &many), (&served.server, &tokens)).await?;
            let live = many.len();
            println!(
                "{live} live tokens: {rps:.0} calls a second, {cpu_us:.1} us of CPU time, {ratio:.3} of those with {}",
                tokens.len()
            );
            let values =
                json!({ "live": live, "validate_rps": rps, "validate_cpu_us": cpu_us, "vs_few_tokens": ratio });
            figures.insert("tokens".to_owned(), values);
            let write = writes::cpu_us_beside(&served.server, count, SLOW_ROUNDS).await?;
            println!("a registration beside {count}: {write:.0} us of CPU time");
            figures.insert("registration_beside_them".to_owned(), json!({ "cpu_us": write }));
        }
        if base.is_none() {
            base = Some((served, tokens));
        }
    }
    Ok(())
}

async fn revocations(count: usize, empty: f64, figures: &mut Map<String, Value>) -> Result<(), Failure> {
    let folder = Folder::new()?;
    fill::revocations(&folder.store(), count).await?;
    let mut served = Served::start(folder).await?;
    let [killed, killed_cpu] = served.start_after_kill().await?;
    let Served { time, cpu, memory, .. } = served;
    let each = (memory - empty) / as_float(count);
    println!(
        "{count} revocations: start {time:.2} s, {cpu:.2} s of CPU time, after a kill {killed:.2} s, {killed_cpu:.2} s of \
         CPU time, {each:.0} bytes of memory each"
    );
    let values = json!({
        "count": count, "start_s": time, "start_cpu_s": cpu, "start_after_kill_s": killed,
        "start_after_kill_cpu_s": killed_cpu, "memory_bytes": memory, "bytes_each": each,
    });
    figures.insert("revocations".to_owned(), values);
    Ok(())
}

/// Requests of `ValidateBinding` with tokens of workloads among these registrations, for each of their workloads so many.
async fn tokens(server: &Server, registered: usize, each: usize) -> Result<Vec<Request>, Failure> {
    let mut all = Vec::with_capacity(WORKLOADS * each);
    for workload in 0..WORKLOADS {
        // Of all kinds, and from everywhere.
        let number = workload / 10 * 10 * (registered / WORKLOADS) + workload % 10;
        let (peer, certificate) = server.certified(&fill::path(number))?;
        let evidence = Evidence::CertificateThumbprint(Sha256::digest(&certificate).to_vec());
        let client = TokenServiceClient::new(peer.channel().await?);
        let issue = |_| {
            let mut client = client.clone();
            async move { client.issue_token(IssueTokenRequest::default()).await }
        };
        for issued in futures_util::future::try_join_all((0..each).map(issue)).await? {
            let request = ValidateBindingRequest {
                access_token: issued.into_inner().access_token,
                evidence: Some(evidence.clone()),
                audience: requests::AUDIENCE.to_owned(),
                scope: String::new(),
                receipt: false,
            };
            all.push(Request::unary(requests::VALIDATE, &request));
        }
    }
    Ok(all)
}

/// Throughput beside that of another server: the median of the rounds' ratios, and those of calls a second and of
/// microseconds of CPU time a call.
struct Compared {
    ratio: f64,
    rps: f64,
    cpu_us: f64,
}

/// Interleaved rounds. The ratio is that of CPU time a call, which what else runs on the machine does not change as much.
async fn compare(
    rounds: usize,
    (server, requests): (&Server, &[Request]),
    (other, others): (&Server, &[Request]),
) -> Result<Compared, Failure> {
    let mut ours = Callers::connect(server, &server.sample("proxy")?).await?;
    let mut theirs = Callers::connect(other, &other.sample("proxy")?).await?;
    let calls = CALLS.max(requests.len());
    ours.round(requests, CALLS).await?;
    theirs.round(others, CALLS).await?;
    let (mut ratios, mut rps, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (round, beside) = (ours.round(requests, calls).await?, theirs.round(others, CALLS).await?);
        ratios.push(beside.cpu_us / round.cpu_us);
        rps.push(round.rps);
        cpu.push(round.cpu_us);
    }
    Ok(Compared { ratio: median(ratios), rps: median(rps), cpu_us: median(cpu) })
}

fn bytes_of(directory: &Path) -> Result<f64, Failure> {
    let mut bytes = 0.0;
    for entry in fs::read_dir(directory)? {
        let metadata = entry?.metadata()?;
        if metadata.is_file() {
            bytes += as_float(usize::try_from(metadata.len())?);
        }
    }
    Ok(bytes)
}

#[expect(clippy::cast_precision_loss, reason = "counts of records, and bytes")]
pub(crate) fn as_float(count: usize) -> f64 {
    count as f64
}

/// Writes `bench/scale.json` under cargo's target directory.
fn write(figures: &Map<String, Value>) -> Result<(), Failure> {
    // The bench is in TARGET/release/deps.
    let program = std::env::current_exe()?;
    let folder = program.ancestors().nth(3).ok_or("not in a target directory")?.join("bench");
    fs::create_dir_all(&folder)?;
    Ok(fs::write(folder.join("scale.json"), serde_json::to_vec_pretty(figures)?)?)
}
