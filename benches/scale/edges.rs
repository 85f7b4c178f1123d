//! What edges cost the centre, and what memory an edge takes.

use std::process::Stdio;
use std::time::Duration;

use lanyard::proto::RevokeTokenRequest;
use lanyard::proto::WatchBeat;
use lanyard::proto::WatchSnapshotRequest;
use lanyard::proto::WatchSnapshotResponse;
use lanyard::proto::WatchStart;
use lanyard::proto::revoke_token_request::Target;
use lanyard::proto::snapshot_service_client::SnapshotServiceClient;
use lanyard::proto::token_service_client::TokenServiceClient;
use lanyard::proto::watch_snapshot_request;
use lanyard::proto::watch_snapshot_response;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::fill;
use crate::support::Failure;
use crate::support::server::Folder;
use crate::support::server::Process as _;
use crate::support::server::Server;
use crate::support::server::UNSHARED;

/// The streams of edges, and how many share a connection.
const STREAMS: usize = 1_000;
const OF_ONE_CONNECTION: usize = 100;

/// How many changes there are in a row.
const CHANGES: usize = 200;

/// Which registrations an edge and its centre have.
const COUNTS: [usize; 2] = [1_000, 100_000];

const ROLES: (&str, &str) = ("LANYARD_ROLES__EDGES", "[{spiffe_id: 'spiffe://dev.internal/edge', resources: ['*']}]");

/// Streams of one connection, as edges have them.
struct Stream {
    requests: mpsc::Sender<WatchSnapshotRequest>,
    responses: Streaming<WatchSnapshotResponse>,
}

/// What edges cost: on simulated streams, and one as a process.
pub(crate) async fn measure(figures: &mut Map<String, Value>) -> Result<(), Failure> {
    let settings = [UNSHARED, ("LANYARD_LIMITS__QUEUE_DELAY", "10s"), ROLES];
    let server = Server::start(&settings).await?;
    let mut streams = Vec::new();
    for _ in 0..STREAMS / OF_ONE_CONNECTION {
        let channel = server.workload("edge")?.channel().await?;
        for _ in 0..OF_ONE_CONNECTION {
            streams.push(start(SnapshotServiceClient::new(channel.clone())).await?);
        }
    }
    for stream in &mut streams {
        until(stream, |response| matches!(response, watch_snapshot_response::Response::Progress(_))).await?;
    }
    // A second of beats, each answered.
    let before = server.cpu_seconds()?;
    for number in 1..=5 {
        for stream in &streams {
            let beat = watch_snapshot_request::Request::Beat(WatchBeat { number });
            stream.requests.send(WatchSnapshotRequest { request: Some(beat) }).await?;
        }
        for stream in &mut streams {
            until(stream, |response| {
                matches!(response, watch_snapshot_response::Response::Progress(progress) if progress.beat == Some(number))
            })
            .await?;
        }
    }
    let beat_us = (server.cpu_seconds()? - before) / 5.0 / as_float(STREAMS) * 1e6;
    let mut tokens = TokenServiceClient::new(server.sample("admin")?.channel().await?);
    let alone = revoke(&server, &mut tokens, &mut [], "alone").await?;
    let followed = revoke(&server, &mut tokens, &mut streams, "followed").await?;
    let each_ms = (followed - alone) * 1e3;
    println!(
        "{STREAMS} edges: {each_ms:.2} ms of the centre's CPU time a change besides the change itself, {:.1} us for each edge; \
         {beat_us:.1} us a beat",
        each_ms * 1e3 / as_float(STREAMS)
    );
    figures.insert("edges_1000".to_owned(), json!({ "change_cpu_ms": each_ms, "beat_cpu_us": beat_us }));
    drop(streams);
    drop(server);
    for count in COUNTS {
        let (centre_mib, edge_mib, start_s) = beside(count, &settings).await?;
        println!(
            "{count} registrations: an edge takes {edge_mib:.0} MiB where its centre takes {centre_mib:.0} MiB, and is ready \
             after {start_s:.2} s"
        );
        let values = json!({ "centre_mib": centre_mib, "edge_mib": edge_mib, "start_s": start_s });
        figures.insert(format!("edge_of_{count}"), values);
    }
    Ok(())
}

async fn start(mut client: SnapshotServiceClient<tonic::transport::Channel>) -> Result<Stream, Failure> {
    let (requests, sent) = mpsc::channel(4);
    let start = watch_snapshot_request::Request::Start(WatchStart { after_revision: None });
    requests.send(WatchSnapshotRequest { request: Some(start) }).await?;
    let responses = client.watch_snapshot(ReceiverStream::new(sent)).await?.into_inner();
    Ok(Stream { requests, responses })
}

async fn until(stream: &mut Stream, is_it: impl Fn(&watch_snapshot_response::Response) -> bool) -> Result<(), Failure> {
    loop {
        let message = stream.responses.message().await?.ok_or("a stream has ended")?;
        if message.response.as_ref().is_some_and(&is_it) {
            return Ok(());
        }
    }
}

/// Revokes tokens, each of which all streams learn of. The server's CPU time for each, in seconds.
async fn revoke(
    server: &Server,
    tokens: &mut TokenServiceClient<tonic::transport::Channel>,
    streams: &mut [Stream],
    name: &str,
) -> Result<f64, Failure> {
    let before = server.cpu_seconds()?;
    for number in 0..CHANGES {
        let target = Some(Target::Jti(format!("{name}-{number}")));
        tokens.revoke_token(RevokeTokenRequest { target, ..RevokeTokenRequest::default() }).await?;
        for stream in &mut *streams {
            until(stream, |response| matches!(response, watch_snapshot_response::Response::Changed(_))).await?;
        }
    }
    Ok((server.cpu_seconds()? - before) / as_float(CHANGES))
}

/// A centre with so many registrations and an edge of it: the memory of both in MiB, and how long the edge took to be ready.
async fn beside(count: usize, settings: &[(&str, &str)]) -> Result<(f64, f64, f64), Failure> {
    let folder = Folder::new()?;
    fill::registrations(&folder.store(), count).await?;
    let centre = folder.serve(settings, Stdio::null()).await?;
    let folder = Folder::of_edge(&centre)?;
    let begin = tokio::time::Instant::now();
    let edge = folder.serve(&[UNSHARED], Stdio::null()).await?;
    let start = begin.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok((centre.memory_kib()? / 1024.0, edge.memory_kib()? / 1024.0, start))
}

fn as_float(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
