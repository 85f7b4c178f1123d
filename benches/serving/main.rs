//! Measures what calls cost beside servers that answer without judging, in the same run: `cargo bench --bench serving
//! [ROUNDS]`. With the name of a figure after it, that one alone; with `trail`, what they cost with an audit trail beside
//! what they cost without; with `exchange`, the same of receipts and token exchange; with `envoy`, what a check adds to a
//! request through a real Envoy; with `edge`, what one costs that Envoy asks over a Unix socket on its own machine.
//!
//! Each server runs on one core in a process of its own, and the raw client of `support` on another. The rounds of one
//! figure are interleaved: ours, the other, ours, the other. A figure is the median of the rounds' ratios, with its 95 %
//! interval. Ratios are comparable between machines, microseconds are not. `bench/serving.json` in cargo's target
//! directory has the same.

#[path = "../support/mod.rs"]
mod support;

mod edge;
mod envoy;
mod exchange;
mod figures;
mod handshakes;
mod noop;
mod primitives;
mod trail;

use std::fs;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::binding_service_client::BindingServiceClient;
use lanyard::proto::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use lanyard::proto::token_service_client::TokenServiceClient;
use lanyard::proto::validate_binding_request::Evidence;
use prost::Message as _;
use sha2::Digest as _;
use sha2::Sha256;

use crate::figures::Figure;
use crate::figures::Figures;
use crate::figures::Round;
use crate::support::Failure;
use crate::support::client::Connection;
use crate::support::client::Measured;
use crate::support::client::Peer;
use crate::support::client::Reader;
use crate::support::frames::Request;
use crate::support::requests;
use crate::support::server::Noop;
use crate::support::server::Process;
use crate::support::server::Server;
use crate::support::server::UNSHARED;
use crate::support::server::leave_the_servers_core;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The load: how many connections, calls under way on each, calls a round, and different tokens.
const CONNECTIONS: usize = 4;
const CONCURRENT: usize = 32;
const CALLS: usize = 40_000;
const TOKENS: usize = 2_000;

/// The load of a server that has time: one call under way, this often.
const UNLOADED: (f64, Duration) = (500.0, Duration::from_secs(2));

/// How many tokens a round has that were not seen before: seven of eight under load, the others now and then.
const UNCACHED: usize = 8_000;

const ROUNDS: usize = 7;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [noop, kind, folder] = arguments.as_slice()
        && noop == "--noop"
    {
        return noop::serve(kind, Path::new(folder));
    }
    let rounds = arguments.first().map_or(Ok(ROUNDS), |rounds| rounds.parse())?;
    leave_the_servers_core()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments.get(1).map(String::as_str) {
        Some("trail") => runtime.block_on(trail::with_and_without(rounds)),
        Some("exchange") => runtime.block_on(exchange::with_and_without(rounds)),
        Some("envoy") => runtime.block_on(envoy::beside_noop(rounds)),
        Some("edge") => runtime.block_on(edge::over_a_socket(rounds)),
        figure => runtime.block_on(measure(rounds, figure)),
    }
}

/// Measures one figure, or all of them.
async fn measure(rounds: usize, wanted: Option<&str>) -> Result<(), Failure> {
    let is_wanted = |name: &str| wanted.is_none_or(|wanted| wanted == name);
    // What is measured is what calls cost, not when they are refused.
    let server = Server::start(&[UNSHARED, ("LANYARD_LIMITS__QUEUE_DELAY", "1s")]).await?;
    let der = server.certificate()?;
    let tokens = issued_tokens(&server, TOKENS).await?;
    record_answers(&server, tokens.first().ok_or("no token")?, &der).await?;
    let start = |kind| Noop::start(kind, server.folder());
    let (own, stock, short) = (start("own")?, start("stock")?, start("short")?);

    let digest = Sha256::digest(&der).to_vec();
    let (thumbprint, whole) = (Evidence::CertificateThumbprint(digest), Evidence::Certificate(der.clone()));
    let unary = |token: &String, evidence| Request::unary(requests::VALIDATE, &requests::validate(token, evidence));
    let validate = |evidence| -> Vec<Request> { tokens.iter().map(|token| unary(token, evidence)).collect() };
    let check = |whole| -> Vec<Request> {
        tokens.iter().map(|token| Request::unary(requests::CHECK, &requests::check(token, &der, whole))).collect()
    };
    let hash = validate(&thumbprint);
    let certificate = validate(&whole);
    let (checked_hash, checked_certificate) = (check(false), check(true));
    let issue = vec![Request::unary(requests::ISSUE, &IssueTokenRequest::default())];

    let streamed =
        |token: &String| Request::streamed(requests::VALIDATE_STREAM, &requests::validate(token, &thumbprint));
    let stream: Vec<Request> = tokens.iter().map(streamed).collect();

    let (proxy, workload) = ((&server, server.sample("proxy")?), (&server, server.sample("workload")?));
    let (own, stock) = ((&own, own.peer(server.folder())?), (&stock, stock.peer(server.folder())?));
    let short = (&short, short.peer(server.folder())?);

    let mut figures = Figures::default();
    for (name, requests, reader) in [
        ("validate_vs_own", &hash, requests::validated as Reader),
        ("validate_certificate_vs_own", &certificate, requests::validated),
        ("check_hash_vs_own", &checked_hash, requests::checked),
        ("check_certificate_vs_own", &checked_certificate, requests::checked),
    ]
    .into_iter()
    .filter(|(name, ..)| is_wanted(name))
    {
        figures.add(name, compare(rounds, &proxy, &own, requests, requests, reader).await?);
    }
    if is_wanted("short_noop_vs_own") {
        let figure = compare(rounds, &short, &own, &hash, &hash, requests::answered).await?;
        figures.add("short_noop_vs_own", figure);
    }
    if is_wanted("validate_vs_stock") {
        let figure = compare(rounds, &proxy, &stock, &hash, &hash, requests::validated).await?;
        figures.add("validate_vs_stock", figure);
    }
    if is_wanted("stream_vs_own_stream") {
        figures.add("stream_vs_own_stream", streams(rounds, &proxy, &own, &stream).await?);
    }
    let (signature, verification) = (primitives::sign_es256()?, primitives::verify_es256()?);
    if is_wanted("issue_vs_limit") {
        let issued = compare(rounds, &workload, &own, &issue, &hash, requests::answered).await?;
        figures.add("issue_vs_limit", issued.beside_more(signature));
    }
    for (name, requests, reader) in [
        ("validate_unloaded_p50", &hash, requests::validated as Reader),
        ("check_unloaded_p50", &checked_hash, requests::checked),
    ]
    .into_iter()
    .filter(|(name, ..)| is_wanted(name))
    {
        figures.add(name, unloaded(rounds, &proxy, &own, requests, reader).await?);
    }
    if is_wanted("validate_uncached_vs_limit") || is_wanted("uncached_unloaded_p50") {
        let (loaded, alone) = uncached(rounds, &server, &proxy, &own, (&thumbprint, &hash)).await?;
        figures.add("validate_uncached_vs_limit", loaded.beside_more(verification));
        figures.add("uncached_unloaded_p50", alone);
    }
    if is_wanted("handshake_cpu_vs_openssl") {
        let handshakes = handshakes::beside_openssl(rounds, &proxy, server.folder()).await?;
        figures.add("handshake_cpu_vs_openssl", handshakes);
    }
    if figures.is_empty() {
        return Err("there is no such section or figure".into());
    }
    println!("an ES256 signature: {signature:.1} us, a verification: {verification:.1} us");
    figures.print();
    figures.write()
}

/// Connections to one server.
struct Callers<'a, P> {
    process: &'a P,
    connections: Vec<Connection>,
}

impl<'a, P: Process> Callers<'a, P> {
    async fn connect((process, peer): &(&'a P, Peer)) -> Result<Self, Failure> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(peer.connect().await?);
        }
        Ok(Self { process, connections })
    }

    /// Sends as many calls as the server can answer.
    async fn round(&mut self, requests: &[Request], calls: usize, reader: Reader) -> Result<Round, Failure> {
        let (share, part) = (calls / CONNECTIONS, requests.len().div_ceil(CONNECTIONS));
        let before = self.process.cpu_seconds()?;
        let begin = tokio::time::Instant::now();
        let all = self.connections.iter_mut().zip(requests.chunks(part).cycle());
        let all = all.map(|(connection, requests)| connection.closed_loop(requests, share, CONCURRENT, reader));
        let mut measured = Measured::default();
        for one in futures_util::future::join_all(all).await {
            measured.add(&one?)?;
        }
        let (time, cpu) = (begin.elapsed().as_secs_f64(), self.process.cpu_seconds()? - before);
        Round::new(&measured, time, cpu)
    }

    /// The same over one stream of each connection.
    async fn stream_round(&mut self, requests: &[Request], calls: usize, reader: Reader) -> Result<Round, Failure> {
        let (share, part) = (calls / CONNECTIONS, requests.len().div_ceil(CONNECTIONS));
        let before = self.process.cpu_seconds()?;
        let begin = tokio::time::Instant::now();
        let all = self.connections.iter_mut().zip(requests.chunks(part).cycle());
        let all = all.map(|(connection, requests)| connection.streamed_loop(requests, share, CONCURRENT, reader));
        let mut measured = Measured::default();
        for one in futures_util::future::join_all(all).await {
            measured.add(&one?)?;
        }
        let (time, cpu) = (begin.elapsed().as_secs_f64(), self.process.cpu_seconds()? - before);
        Round::new(&measured, time, cpu)
    }

    /// Sends a call now and then.
    async fn unloaded_round(&mut self, requests: &[Request], reader: Reader) -> Result<Round, Failure> {
        let (a_second, time) = UNLOADED;
        let before = self.process.cpu_seconds()?;
        let connection = self.connections.first_mut().ok_or("no connection")?;
        let measured = connection.at_rate(requests, a_second, time, reader).await?;
        Round::new(&measured, time.as_secs_f64(), self.process.cpu_seconds()? - before)
    }
}

/// The throughput of ours over that of the other.
async fn compare<P: Process, Q: Process>(
    rounds: usize,
    ours: &(&P, Peer),
    other: &(&Q, Peer),
    requests: &[Request],
    others: &[Request],
    reader: Reader,
) -> Result<Figure, Failure> {
    let (mut ours, mut other) = (Callers::connect(ours).await?, Callers::connect(other).await?);
    ours.round(requests, CALLS / 4, reader).await?;
    other.round(others, CALLS / 4, requests::answered).await?;
    let mut figure = Figure::throughput();
    for _ in 0..rounds {
        let ours = ours.round(requests, CALLS, reader).await?;
        figure.add(ours, other.round(others, CALLS, requests::answered).await?);
    }
    Ok(figure)
}

/// The throughput of ours over that of the other, over streams.
async fn streams<P: Process, Q: Process>(
    rounds: usize,
    ours: &(&P, Peer),
    other: &(&Q, Peer),
    requests: &[Request],
) -> Result<Figure, Failure> {
    let (mut ours, mut other) = (Callers::connect(ours).await?, Callers::connect(other).await?);
    ours.stream_round(requests, CALLS / 4, requests::validated_in_stream).await?;
    other.stream_round(requests, CALLS / 4, requests::answered).await?;
    let mut figure = Figure::throughput();
    for _ in 0..rounds {
        let ours = ours.stream_round(requests, CALLS, requests::validated_in_stream).await?;
        figure.add(ours, other.stream_round(requests, CALLS, requests::answered).await?);
    }
    Ok(figure)
}

/// The median time of ours over that of the other, where both have time.
async fn unloaded<P: Process, Q: Process>(
    rounds: usize,
    ours: &(&P, Peer),
    other: &(&Q, Peer),
    requests: &[Request],
    reader: Reader,
) -> Result<Figure, Failure> {
    let (mut ours, mut other) = (Callers::connect(ours).await?, Callers::connect(other).await?);
    let mut figure = Figure::median_time();
    for _ in 0..rounds {
        let ours = ours.unloaded_round(requests, reader).await?;
        figure.add(ours, other.unloaded_round(requests, requests::answered).await?);
    }
    Ok(figure)
}

/// The throughput and the median time of ours with tokens that were not seen before over that of the other.
async fn uncached<P: Process>(
    rounds: usize,
    server: &Server,
    ours: &(&Server, Peer),
    other: &(&P, Peer),
    (thumbprint, others): (&Evidence, &[Request]),
) -> Result<(Figure, Figure), Failure> {
    let (mut loaded, mut alone) = (Figure::throughput(), Figure::median_time());
    for _ in 0..rounds {
        let fresh = issued_tokens(server, UNCACHED).await?;
        let request = |token: &String| Request::unary(requests::VALIDATE, &requests::validate(token, thumbprint));
        let fresh: Vec<Request> = fresh.iter().map(request).collect();
        let (calls, few) = fresh.split_at(UNCACHED - UNCACHED / 8);
        let (mut ours, mut other) = (Callers::connect(ours).await?, Callers::connect(other).await?);
        let uncached = ours.round(calls, calls.len(), requests::validated).await?;
        loaded.add(uncached, other.round(others, CALLS, requests::answered).await?);
        let uncached = ours.unloaded_round(few, requests::validated).await?;
        alone.add(uncached, other.unloaded_round(others, requests::answered).await?);
    }
    Ok((loaded, alone))
}

/// Tokens of the sample workload, all different.
async fn issued_tokens(server: &Server, count: usize) -> Result<Vec<String>, Failure> {
    let client = TokenServiceClient::new(server.sample("workload")?.channel().await?);
    let issue = |_| {
        let mut client = client.clone();
        async move { client.issue_token(IssueTokenRequest::default()).await }
    };
    let mut issued = futures_util::stream::iter(0..count).map(issue).buffer_unordered(CONCURRENT);
    let mut tokens = Vec::new();
    while let Some(answer) = issued.next().await {
        tokens.push(answer?.into_inner().access_token);
    }
    Ok(tokens)
}

/// Writes down what Lanyard answers, for the servers that answer without judging.
async fn record_answers(server: &Server, token: &str, der: &[u8]) -> Result<(), Failure> {
    let channel = server.sample("proxy")?.channel().await?;
    let request = requests::validate(token, &Evidence::Certificate(der.to_vec()));
    let validated = BindingServiceClient::new(channel.clone()).validate_binding(request).await?.into_inner();
    let checked = AuthorizationClient::new(channel).check(requests::check(token, der, true)).await?.into_inner();
    fs::write(server.folder().join(noop::VALIDATED), validated.encode_to_vec())?;
    fs::write(server.folder().join(noop::CHECKED), checked.encode_to_vec())?;
    Ok(())
}
