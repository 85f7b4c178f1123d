//! Durable writes: registrations over gRPC beside the same bytes that are written to a file and synced.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use lanyard::proto::CreateClientRequest;
use lanyard::proto::registry_service_client::RegistryServiceClient;
use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::as_float;
use crate::fill;
use crate::rounds::median;
use crate::support::Failure;
use crate::support::server::Process as _;
use crate::support::server::Server;
use crate::support::server::UNSHARED;

/// How many write at a time, and how many registrations are in a round.
const WRITERS: usize = 32;
const ROUND: usize = 2_048;

/// The time of 32 writers for a round of registrations, over that of a raw write and `fdatasync` of the same bytes in groups
/// of 32.
pub(crate) async fn beside_raw_writes(rounds: usize) -> Result<Value, Failure> {
    let server = Server::start(&[UNSHARED, ("LANYARD_LIMITS__QUEUE_DELAY", "10s")]).await?;
    let mut writers = connect(&server).await?;
    let (mut ratios, mut rates, mut cpu, mut raw_rates) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let first = round * ROUND;
        let before = server.cpu_seconds()?;
        let written = registered(&mut writers, first).await?;
        let spent = server.cpu_seconds()? - before;
        let raw = raw(server.folder(), first)?;
        // The first round warms up.
        if round > 0 {
            ratios.push(written / raw);
            rates.push(as_float(ROUND) / written);
            raw_rates.push(as_float(ROUND) / raw);
            cpu.push(spent * 1e6 / as_float(ROUND));
        }
    }
    let [ratio, rate, raw_rate, cpu] = [ratios, rates, raw_rates, cpu].map(median);
    println!(
        "registration_write_vs_raw: {ratio:.2}; {rate:.0} registrations a second, {cpu:.0} us of CPU time each; raw \
         writes: {raw_rate:.0} a second"
    );
    Ok(json!({ "registration_write_vs_raw": ratio, "rps": rate, "cpu_us": cpu, "raw_rps": raw_rate }))
}

async fn connect(server: &Server) -> Result<Vec<RegistryServiceClient<Channel>>, Failure> {
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        writers.push(RegistryServiceClient::new(server.sample("admin")?.channel().await?));
    }
    Ok(writers)
}

/// The microseconds of CPU time that a registration beside so many others takes the server: the median of these rounds.
pub(crate) async fn cpu_us_beside(server: &Server, registered_before: usize, rounds: usize) -> Result<f64, Failure> {
    let mut writers = connect(server).await?;
    let mut cpu = Vec::new();
    for round in 0..rounds {
        let before = server.cpu_seconds()?;
        // A team begins with each of them, as in a store of so many.
        registered(&mut writers, registered_before.next_multiple_of(ROUND) + round * ROUND).await?;
        cpu.push((server.cpu_seconds()? - before) * 1e6 / as_float(ROUND));
    }
    Ok(median(cpu))
}

/// The seconds in which all writers together register a round.
async fn registered(writers: &mut [RegistryServiceClient<Channel>], first: usize) -> Result<f64, Failure> {
    let begin = Instant::now();
    let all = writers.iter_mut().enumerate().map(|(writer, registry)| async move {
        for number in (first + writer..first + ROUND).step_by(WRITERS) {
            let client = Some(fill::registration(number).into());
            let request = CreateClientRequest { client, ..CreateClientRequest::default() };
            registry.create_client(request).await?;
        }
        Ok::<_, Failure>(())
    });
    futures_util::future::try_join_all(all).await?;
    Ok(begin.elapsed().as_secs_f64())
}

/// The seconds in which the same bytes are written to a file and synced, in groups of as many as there are writers.
fn raw(folder: &Path, first: usize) -> Result<f64, Failure> {
    let mut groups = Vec::new();
    for begin in (first..first + ROUND).step_by(WRITERS) {
        let mut group = Vec::new();
        for number in begin..begin + WRITERS {
            for (key, value) in fill::written(number)? {
                group.extend_from_slice(key.as_bytes());
                group.extend_from_slice(&value);
            }
        }
        groups.push(group);
    }
    let mut file = File::create(folder.join("raw"))?;
    let begin = Instant::now();
    for group in groups {
        file.write_all(&group)?;
        file.sync_data()?;
    }
    Ok(begin.elapsed().as_secs_f64())
}
