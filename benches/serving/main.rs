//! Measures what calls cost beside servers that answer without judging, in the same run: `cargo bench --bench serving
//! [ROUNDS]`.
//!
//! Each server runs on one core in a process of its own, and the raw client of `support` on another. The rounds of one
//! figure are interleaved: ours, the other, ours, the other. A figure is the median of the rounds' ratios, with its 95 %
//! interval. Ratios are comparable between machines, microseconds are not. `bench/serving.json` in cargo's target
//! directory has the same.

#[path = "../support/mod.rs"]
mod support;

mod figures;
mod noop;
mod primitives;

use std::fs;
use std::path::Path;
use std::time::Duration;

use lanyard::proto::IssueTokenRequest;
use lanyard::proto::ValidateBindingRequest;
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
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(rounds))
}

async fn measure(rounds: usize) -> Result<(), Failure> {
    // What is measured is what calls cost, not when they are refused.
    let server = Server::start(&[UNSHARED, ("LANYARD_LIMITS__QUEUE_DELAY", "1s")]).await?;
    let der = server.certificate()?;
    let tokens = tokens(&server).await?;
    record_answers(&server, tokens.first().ok_or("no token")?, &der).await?;
    let (own, stock) = (Noop::start("own", server.folder())?, Noop::start("stock", server.folder())?);

    let digest = Sha256::digest(&der).to_vec();
    let validate = |evidence: &Evidence| -> Vec<Request> {
        let request = |token: &String| ValidateBindingRequest {
            access_token: token.clone(),
            evidence: Some(evidence.clone()),
            audience: requests::AUDIENCE.to_owned(),
            scope: String::new(),
        };
        tokens.iter().map(|token| Request::unary(requests::VALIDATE, &request(token))).collect()
    };
    let check = |whole| -> Vec<Request> {
        tokens.iter().map(|token| Request::unary(requests::CHECK, &requests::check(token, &der, whole))).collect()
    };
    let (hash, certificate) =
        (validate(&Evidence::CertificateThumbprint(digest)), validate(&Evidence::Certificate(der.clone())));
    let (checked_hash, checked_certificate) = (check(false), check(true));
    let issue = vec![Request::unary(requests::ISSUE, &IssueTokenRequest::default())];

    let proxy = Callers::connect(&server, &server.sample("proxy")?).await?;
    let workload = Callers::connect(&server, &server.sample("workload")?).await?;
    let own = Callers::connect(&own, &own.peer(server.folder())?).await?;
    let stock = Callers::connect(&stock, &stock.peer(server.folder())?).await?;
    let (mut proxy, mut workload, mut own, mut stock) = (proxy, workload, own, stock);

    let mut figures = Figures::default();
    for (name, requests, reader) in [
        ("validate_vs_own", &hash, requests::validated as Reader),
        ("validate_certificate_vs_own", &certificate, requests::validated),
        ("check_hash_vs_own", &checked_hash, requests::checked),
        ("check_certificate_vs_own", &checked_certificate, requests::checked),
    ] {
        figures.add(name, compare(rounds, &mut proxy, &mut own, requests, requests, reader).await?);
    }
    figures.add("validate_vs_stock", compare(rounds, &mut proxy, &mut stock, &hash, &hash, requests::validated).await?);
    let signature = primitives::sign_es256()?;
    let issued = compare(rounds, &mut workload, &mut own, &issue, &hash, requests::answered).await?;
    figures.add("issue_vs_limit", issued.beside_more(signature));
    for (name, requests, reader) in [
        ("validate_unloaded_p50", &hash, requests::validated as Reader),
        ("check_unloaded_p50", &checked_hash, requests::checked),
    ] {
        figures.add(name, unloaded(rounds, &mut proxy, &mut own, requests, reader).await?);
    }
    println!("an ES256 signature: {signature:.1} us, a verification: {:.1} us", primitives::verify_es256()?);
    figures.print();
    figures.write()
}

/// Connections to one server.
struct Callers<'a, P> {
    process: &'a P,
    connections: Vec<Connection>,
}

impl<'a, P: Process> Callers<'a, P> {
    async fn connect(process: &'a P, peer: &Peer) -> Result<Self, Failure> {
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
    ours: &mut Callers<'_, P>,
    other: &mut Callers<'_, Q>,
    requests: &[Request],
    others: &[Request],
    reader: Reader,
) -> Result<Figure, Failure> {
    ours.round(requests, CALLS / 4, reader).await?;
    other.round(others, CALLS / 4, requests::answered).await?;
    let mut figure = Figure::throughput();
    for _ in 0..rounds {
        let ours = ours.round(requests, CALLS, reader).await?;
        figure.add(ours, other.round(others, CALLS, requests::answered).await?);
    }
    Ok(figure)
}

/// The median time of ours over that of the other, where both have time.
async fn unloaded<P: Process, Q: Process>(
    rounds: usize,
    ours: &mut Callers<'_, P>,
    other: &mut Callers<'_, Q>,
    requests: &[Request],
    reader: Reader,
) -> Result<Figure, Failure> {
    let mut figure = Figure::median_time();
    for _ in 0..rounds {
        let ours = ours.unloaded_round(requests, reader).await?;
        figure.add(ours, other.unloaded_round(requests, requests::answered).await?);
    }
    Ok(figure)
}

/// Tokens of the sample workload, all different.
async fn tokens(server: &Server) -> Result<Vec<String>, Failure> {
    let mut client = TokenServiceClient::new(server.sample("workload")?.channel().await?);
    let mut tokens = Vec::new();
    for _ in 0..TOKENS {
        tokens.push(client.issue_token(IssueTokenRequest::default()).await?.into_inner().access_token);
    }
    Ok(tokens)
}

/// Writes down what Lanyard answers, for the servers that answer without judging.
async fn record_answers(server: &Server, token: &str, der: &[u8]) -> Result<(), Failure> {
    let channel = server.sample("proxy")?.channel().await?;
    let request = ValidateBindingRequest {
        access_token: token.to_owned(),
        evidence: Some(Evidence::Certificate(der.to_vec())),
        audience: requests::AUDIENCE.to_owned(),
        scope: String::new(),
    };
    let validated = BindingServiceClient::new(channel.clone()).validate_binding(request).await?.into_inner();
    let checked = AuthorizationClient::new(channel).check(requests::check(token, der, true)).await?.into_inner();
    fs::write(server.folder().join(noop::VALIDATED), validated.encode_to_vec())?;
    fs::write(server.folder().join(noop::CHECKED), checked.encode_to_vec())?;
    Ok(())
}
