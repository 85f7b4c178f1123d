//! The composition root: opens the store and the files, builds the rooms, binds, serves, drains.
//!
//! It alone decides on runtimes and threads: one current-thread runtime a core serves connections, which are dealt out to
//! them (measured: twice the throughput of one runtime over all cores); the thread that started the server accepts,
//! reloads and follows the store.

mod error;
mod keys_error;
mod metrics;
mod middleware;
mod probes;
mod reload;
mod socket;
mod stage;
mod start;
mod store_feed;
mod supervised;
mod transport;
mod trust;

pub use crate::server::error::StartError;
pub(crate) use crate::server::keys_error::KeysError;
pub(crate) use crate::server::start::open_signing_keys;
pub(crate) use crate::server::trust::federation_endpoint;

use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::authority::Authority;
use crate::authority::clock::Clock;
use crate::authority::clock::Entropy;
use crate::authority::clock::SystemClock;
use crate::authority::clock::SystemEntropy;
use crate::authority::observe::MetricsReader;
use crate::authority::store::Store;
use crate::config::Config;
use crate::config::Listeners;
use crate::grpc;
use crate::http;
use crate::server::metrics::Sources;
use crate::server::middleware::SocketFile;
use crate::server::middleware::bind_forwarded;
use crate::server::probes::Probes;
use crate::server::reload::Reloader;
use crate::server::socket::Socket;
use crate::server::stage::Stage;
use crate::server::start::Components;
use crate::server::transport::ConnectionLimit;
use crate::server::transport::Door;
use crate::server::transport::Limits;
use crate::server::transport::Listener;
use crate::server::transport::Workers;
use crate::server::trust::Federation;
use crate::server::trust::OwnBundle;
use crate::server::trust::WorkloadIdentity;
use crate::server::trust::follow_workload_api;
use crate::server::trust::start_jwks_polling;
use crate::telemetry::ExportFailures;
use crate::tls::acceptor::Acceptor;
use crate::trust_sources::jwks_uri::Discovery;
use crate::trust_sources::jwks_uri::Poller;

/// The three listening sockets, bound before anything else so that a port of 0 has become a number.
#[derive(Debug)]
pub struct Sockets {
    mtls: TcpListener,
    public: TcpListener,
    ops: TcpListener,
}

impl Sockets {
    /// Binds all three.
    pub async fn bind(listeners: &Listeners) -> Result<Self, StartError> {
        let bind =
            async |address| TcpListener::bind(address).await.map_err(|error| StartError::Bind { address, error });
        let (mtls, public, ops) =
            (bind(listeners.mtls).await?, bind(listeners.public).await?, bind(listeners.ops).await?);
        Ok(Self { mtls, public, ops })
    }

    /// Where they listen.
    pub fn addresses(&self) -> io::Result<Listeners> {
        let (mtls, public, ops) = (self.mtls.local_addr()?, self.public.local_addr()?, self.ops.local_addr()?);
        Ok(Listeners { mtls, public, ops })
    }
}

/// What tests put in the place of the machine's own.
#[derive(Debug)]
pub struct Environment {
    /// The clock that everything goes by.
    pub clock: Arc<dyn Clock>,
    /// Where random bytes come from.
    pub entropy: Arc<dyn Entropy>,
    /// The store, in the place of the one that the configuration names.
    pub store: Option<Arc<dyn Store>>,
    /// How many threads serve connections.
    pub threads: usize,
    /// Where it is counted that a collector did not take something: traces are the whole process's.
    pub export_failures: Arc<ExportFailures>,
}

impl Default for Environment {
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let entropy = Arc::new(SystemEntropy::default());
        Self { clock: Arc::new(SystemClock), entropy, store: None, threads, export_failures: Arc::default() }
    }
}

/// A server that serves.
#[derive(Debug)]
pub struct Server {
    authority: Arc<Authority>,
    addresses: Listeners,
    forwarded_address: Option<SocketAddr>,
    /// Goes with the server.
    socket_file: Option<SocketFile>,
    stage: watch::Sender<Stage>,
    readiness: watch::Receiver<Result<(), &'static str>>,
    trust_heard: watch::Receiver<u64>,
    /// Not there any more once the server was said to be ready.
    probes: Option<Probes>,
    reloader: Arc<Reloader>,
    /// Not there where no client may publish its certificates.
    poller: Option<Arc<Poller>>,
    federation: Arc<Federation>,
    sources: Arc<Sources>,
    tasks: JoinSet<()>,
    workers: Workers,
    drain_delay: Duration,
    drain_timeout: Duration,
}

impl Server {
    /// Starts to serve; when this returns, the server is ready.
    pub async fn start(config: Config, sockets: Sockets, environment: Environment) -> Result<Self, StartError> {
        let mut server = Self::prepare(config, sockets, environment).await?;
        server.ready();
        Ok(server)
    }

    /// Starts to serve, but the probes say that it is starting until [`Server::ready`].
    pub async fn prepare(config: Config, sockets: Sockets, environment: Environment) -> Result<Self, StartError> {
        let setup = |error: io::Error| StartError::Setup(error.into());
        // Watched from the first moment on: until it is, a SIGHUP ends the process.
        let hangup = signal(SignalKind::hangup()).map_err(setup)?;
        let addresses = sockets.addresses().map_err(setup)?;
        let Environment { clock, entropy, store, threads, export_failures } = environment;
        let chance = Arc::clone(&entropy);
        let components = Components::build(&config, clock, entropy, store).await?;
        let Components { provider, certificate, stored, authority, feeds, contents, published, loaded, .. } =
            components;
        let (store, federation) = (Arc::clone(&stored.store), Arc::new(components.federation));
        let mut tasks = JoinSet::new();
        let takes_svid = config.tls.certificate.is_none();
        let mut identity = None;
        if let Some(config) = config.workload_api {
            let svid_for = takes_svid.then(|| Arc::clone(&certificate));
            let (workload_api, own) = WorkloadIdentity::new(config, &authority, chance, Arc::clone(&feeds), svid_for);
            follow_workload_api(&mut tasks, &authority, &workload_api).await?;
            identity = Some(own);
        }
        let trust_heard = feeds.heard();

        let (stage, stages) = watch::channel(Stage::Serving);
        let (probes, readiness, ready) = Probes::new(&authority, &store, &certificate, identity, stages.clone());
        let own_bundle = OwnBundle::new(Arc::clone(authority.clock()));
        let public =
            http::discovery::routes(Arc::clone(&authority)).merge(http::spiffe_bundle::routes(own_bundle.printed()));
        let http = public.clone().merge(http::routes(Arc::clone(&authority)));
        let mtls = grpc::routes(http, &authority, ready).map_err(|error| StartError::Setup(error.into()))?;
        let acceptor =
            Acceptor::new(Arc::clone(&authority), Arc::clone(&certificate), provider, config.tls.client_auth);
        let limits = Limits::from(&config.tls);
        let workers = Workers::start(threads, &Arc::new(acceptor), &authority, limits, &stages).map_err(setup)?;
        let routes = mtls.clone();
        let connection_limits = ConnectionLimit::of_all(config.forwarded.is_some(), config.tls.max_connections);
        let sources = Sources::new(&authority, &certificate, &readiness, stored, &connection_limits, export_failures);
        let mut doors = vec![
            (Socket::Tcp(sockets.mtls), Door::Mutual(mtls)),
            (Socket::Tcp(sockets.public), Door::ServerOnly(public)),
            (Socket::Tcp(sockets.ops), Door::Plain(http::ops::routes(readiness.clone(), sources.metrics_reader()))),
        ];
        let (mut forwarded_address, mut socket_file) = (None, None);
        if let Some(forwarded) = config.forwarded {
            let bound = bind_forwarded(forwarded, routes).await.map_err(StartError::Forwarded)?;
            (forwarded_address, socket_file) = (bound.address, bound.file);
            doors.push((bound.socket, Door::Forwarded(Arc::new(bound.forwarded_service))));
        }
        for ((socket, door), connection_limits) in doors.into_iter().zip(connection_limits) {
            let listener = Listener::new(socket, door, connection_limits, config.tls.max_handshakes);
            listener.start(&mut tasks, &authority, workers.dispatcher(), stages.clone());
        }
        let (trust, told) = ((config.trust, contents), (Arc::clone(&authority), feeds));
        let reloader = Reloader::new(config.source, trust, Arc::clone(&certificate), told, own_bundle);
        let reloader = Arc::new(reloader);
        reloader.start(&mut tasks, &authority, hangup, stages.clone());
        store_feed::start(&mut tasks, &authority, &store, loaded);
        if let Some(client) = &published {
            authority.discover_by(Arc::new(Discovery::new(&authority, Arc::clone(client))));
        }
        let poller = published.map(|client| Arc::new(Poller::new(Arc::clone(&authority), client)));
        if let Some(poller) = &poller {
            start_jwks_polling(&mut tasks, &authority, poller, config.jwks_uri.poll, stages.clone());
        }
        federation.start(&mut tasks, &authority, &stages);
        if let Some(otlp) = &config.otlp {
            sources.push(&mut tasks, otlp)?;
        }
        tracing::info!(mtls = %addresses.mtls, public = %addresses.public, ops = %addresses.ops, "serving");
        let (drain_delay, drain_timeout) = (config.drain_delay, config.drain_timeout);
        let probes = Some(probes);
        Ok(Self {
            authority,
            addresses,
            forwarded_address,
            socket_file,
            stage,
            readiness,
            trust_heard,
            probes,
            reloader,
            poller,
            federation,
            sources,
            tasks,
            workers,
            drain_delay,
            drain_timeout,
        })
    }

    /// From when this returns, the probes say how the server stands.
    pub fn ready(&mut self) {
        if let Some(probes) = self.probes.take().map(Arc::new) {
            probes.look();
            supervised::spawn(&mut self.tasks, &self.authority, "probes", move || Arc::clone(&probes).run());
        }
    }

    /// Where it listens.
    pub fn addresses(&self) -> Listeners {
        self.addresses
    }

    /// Where it listens for a terminator, if that has a port.
    pub fn forwarded_address(&self) -> Option<SocketAddr> {
        self.forwarded_address
    }

    /// The core behind all voices.
    pub fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    /// All that it metrics.
    pub fn metrics_reader(&self) -> MetricsReader {
        self.sources.metrics_reader()
    }

    /// Where it is counted that a collector did not take something.
    pub fn export_failures(&self) -> &Arc<ExportFailures> {
        &self.sources.export_failures
    }

    /// Whether it is ready, as it changes.
    pub fn readiness(&self) -> watch::Receiver<Result<(), &'static str>> {
        self.readiness.clone()
    }

    /// How often what vouches for peers was told anew, by any of its sources, and taken in.
    pub fn trust_heard(&self) -> watch::Receiver<u64> {
        self.trust_heard.clone()
    }

    /// Reads the configuration, certificate, bundles and CAs again, as SIGHUP does. A broken file keeps what it should
    /// replace.
    pub fn reload(&self) {
        self.reloader.reload();
    }

    /// Fetches what clients publish at their `jwks_uri` now, as it is done every so often.
    pub async fn poll_jwks_uris(&self) {
        if let Some(poller) = &self.poller {
            poller.poll().await;
        }
    }

    /// Fetches the bundles of federated trust domains now, as is done every so often.
    pub async fn refresh_federation(&self) {
        self.federation.refresh_all().await;
    }

    /// Not ready, and after a delay no new connections; open ones finish what is under way, and what is not finished in time
    /// is cut off.
    pub async fn stop(self) {
        let Self { stage, mut readiness, mut tasks, workers, drain_delay, drain_timeout, socket_file, .. } = self;
        stage.send_replace(Stage::Leaving);
        // Health first: a Watch must have something to say before it ends.
        drop(readiness.wait_for(Result::is_err).await);
        tracing::info!(delay = ?drain_delay, "not ready any more");
        tokio::time::sleep(drain_delay).await;
        stage.send_replace(Stage::Draining);
        tracing::info!(limit = ?drain_timeout, "no new connections, and open ones end");
        drop(socket_file);
        // Off this runtime's thread, which has nothing else to do by now; the threads watch the time themselves.
        workers.finish(drain_timeout).await;
        tasks.shutdown().await;
        tracing::info!("stopped");
    }
}
