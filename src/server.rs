//! The composition root: opens the store and the files, builds the components, binds, serves and drains.
//!
//! Only this module decides on runtimes and threads. One current-thread runtime for each core serves connections, which
//! are distributed among them (measured: twice the throughput of one runtime over all cores). The thread that started
//! the server accepts connections, reloads files and follows the store.

mod audit;
mod bounds;
mod descriptors;
mod edge_reports;
mod error;
mod executor;
mod further;
mod host_name;
mod keys_error;
mod metrics;
mod middleware;
mod probes;
mod reload;
mod socket;
mod socket_file;
mod stage;
mod start;
mod store_feed;
mod supervised;
mod token_check;
mod transport;
mod trust;

pub(crate) use crate::server::descriptors::FurtherListeners;
pub(crate) use crate::server::descriptors::Permitted as PermittedConnections;
pub(crate) use crate::server::descriptors::reachable as reachable_descriptors;
pub use crate::server::error::StartError;
pub(crate) use crate::server::keys_error::KeysError;
pub(crate) use crate::server::start::key_sealer;
pub(crate) use crate::server::start::key_sealer_with_token;
pub(crate) use crate::server::start::open_signing_keys;
pub(crate) use crate::server::start::open_store;
pub(crate) use crate::server::start::prove_signing_keys;
#[cfg(any(test, fuzzing))]
pub(crate) use crate::server::transport::fuzzing;
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
use crate::authority::observe::AuditSink;
use crate::authority::observe::LogSink;
use crate::authority::observe::MetricsReader;
use crate::authority::store::Store;
use crate::config::Config;
use crate::config::Listeners;
use crate::grpc;
use crate::http;
use crate::limits::Admission;
use crate::limits::Lateness;
use crate::limits::Refusals;
use crate::limits::Shares;
use crate::server::audit::Audit;
use crate::server::further::Further;
use crate::server::metrics::Sources;
use crate::server::middleware::ThreadLimits;
use crate::server::probes::Probes;
use crate::server::reload::Reloader;
use crate::server::socket::Socket;
use crate::server::socket_file::SocketFile;
use crate::server::stage::Stage;
use crate::server::start::Components;
use crate::server::transport::Door;
use crate::server::transport::Limits;
use crate::server::transport::Listener;
use crate::server::transport::Newcomers;
use crate::server::transport::Workers;
use crate::server::trust::Federation;
use crate::server::trust::OwnBundle;
use crate::server::trust::TrustedIssuers;
use crate::server::trust::WorkloadIdentity;
use crate::server::trust::follow_workload_api;
use crate::server::trust::start_jwks_polling;
use crate::telemetry::ExportFailures;
use crate::tls::acceptor::Acceptor;
use crate::trust_sources::jwks_uri::Discovery;
use crate::trust_sources::jwks_uri::Poller;

/// The three listening sockets. They are bound before anything else, so that a configured port of 0 is already a
/// number.
#[derive(Debug)]
pub struct Sockets {
    mtls: TcpListener,
    public: TcpListener,
    ops: TcpListener,
}

impl Sockets {
    /// Binds all three sockets.
    pub async fn bind(listeners: &Listeners) -> Result<Self, StartError> {
        let bind =
            async |address| TcpListener::bind(address).await.map_err(|error| StartError::Bind { address, error });
        let (mtls, public, ops) =
            (bind(listeners.mtls).await?, bind(listeners.public).await?, bind(listeners.ops).await?);
        Ok(Self { mtls, public, ops })
    }

    /// The addresses that the sockets are bound to.
    pub fn addresses(&self) -> io::Result<Listeners> {
        let (mtls, public, ops) = (self.mtls.local_addr()?, self.public.local_addr()?, self.ops.local_addr()?);
        Ok(Listeners { mtls, public, ops })
    }
}

/// The parts of the system that tests replace.
#[derive(Debug)]
pub struct Environment {
    /// The clock of the whole server.
    pub clock: Arc<dyn Clock>,
    /// The source of random bytes.
    pub entropy: Arc<dyn Entropy>,
    /// A store that replaces the configured one.
    pub store: Option<Arc<dyn Store>>,
    /// The number of threads that serve connections.
    pub threads: usize,
    /// The count of exports that a collector did not accept. It is passed in because traces belong to the whole
    /// process.
    pub export_failures: Arc<ExportFailures>,
    /// Where the audit trail goes.
    pub audit: Arc<dyn AuditSink>,
    /// How late the serving threads are; `None` measures it.
    pub lateness: Option<Lateness>,
}

impl Default for Environment {
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let entropy = Arc::new(SystemEntropy::default());
        Self {
            clock: Arc::new(SystemClock),
            entropy,
            store: None,
            threads,
            export_failures: Arc::default(),
            audit: Arc::new(LogSink),
            lateness: None,
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    authority: Arc<Authority>,
    audit: Audit,
    addresses: Listeners,
    forwarded_address: Option<SocketAddr>,
    /// Removed when the server is dropped.
    socket_files: Vec<SocketFile>,
    stage: watch::Sender<Stage>,
    readiness: watch::Receiver<Result<(), &'static str>>,
    trust_updates: watch::Receiver<u64>,
    /// `None` once the server has been marked ready.
    probes: Option<Probes>,
    reloader: Arc<Reloader>,
    /// `None` where no client may publish its certificates.
    poller: Option<Arc<Poller>>,
    federation: Arc<Federation>,
    trusted_issuers: Arc<TrustedIssuers>,
    sources: Arc<Sources>,
    tasks: JoinSet<()>,
    workers: Workers,
    drain_delay: Duration,
    drain_timeout: Duration,
}

impl Server {
    /// Starts the server. When this returns, it is ready.
    pub async fn start(config: Config, sockets: Sockets, environment: Environment) -> Result<Self, StartError> {
        let mut server = Self::prepare(config, sockets, environment).await?;
        server.ready();
        Ok(server)
    }

    /// Starts the server, but the probes report that it is starting until [`Server::ready`].
    pub async fn prepare(config: Config, sockets: Sockets, environment: Environment) -> Result<Self, StartError> {
        let setup = |error: io::Error| StartError::Setup(error.into());
        // Registered first: until then a SIGHUP ends the process.
        let hangup = signal(SignalKind::hangup()).map_err(setup)?;
        let addresses = sockets.addresses().map_err(setup)?;
        let (descriptors, further) = (descriptors::raise(), FurtherListeners::of(&config));
        let Environment { clock, entropy, store, threads, export_failures, audit, lateness } = environment;
        let chance = Arc::clone(&entropy);
        let components = Components::build(&config, (clock, entropy), store, (audit, &export_failures)).await?;
        let Components { provider, certificate, stored, authority, audit, feeds, contents, published, loaded, .. } =
            components;
        let (store, mut tasks) = (Arc::clone(&stored.store), JoinSet::new());
        if let Some(reports) = &stored.reports {
            edge_reports::start(&mut tasks, &authority, reports);
        }
        let (federation, trusted_issuers) = (Arc::new(components.federation), Arc::new(components.trusted_issuers));
        let mut identity = None;
        if let Some(section) = config.workload_api {
            let svid_for = config.tls.certificate.is_none().then(|| Arc::clone(&certificate));
            let (workload_api, own) = WorkloadIdentity::new(section, &authority, chance, Arc::clone(&feeds), svid_for);
            follow_workload_api(&mut tasks, &authority, &workload_api).await?;
            identity = Some(own);
        }
        let trust_updates = feeds.updates();
        token_check::start(&mut tasks, &authority, components.token.as_ref());

        let (stage, stages) = watch::channel(Stage::Serving);
        let (probes, readiness, ready) = Probes::new(&authority, &store, &certificate, identity, stages.clone());
        let own_bundle = OwnBundle::new(Arc::clone(authority.clock()));
        let public = http::discovery::routes(Arc::clone(&authority))
            .merge(http::spiffe_bundle::routes(own_bundle.printed()))
            .merge(http::audit_keys::routes(audit.public_keys()));
        let http = public.clone().merge(http::routes(Arc::clone(&authority)));
        let mtls = grpc::routes(http, &authority, ready).map_err(|error| StartError::Setup(error.into()))?;
        let acceptor =
            Acceptor::new(Arc::clone(&authority), Arc::clone(&certificate), provider, config.tls.client_auth);
        let limits = Limits::from(&config.tls);
        // Twice as many as may be connected at a time, and those that terminators forward.
        let shares = Shares::new(config.limits.clone(), config.tls.max_connections.saturating_mul(2).max(8192));
        let refusals = Arc::new(Refusals::default());
        let thread_limits = || ThreadLimits {
            shares: Arc::clone(&shares),
            admission: Admission::new(config.limits.queue_delay, Arc::clone(&refusals), lateness.clone()),
        };
        let workers =
            Workers::start(threads, &Arc::new(acceptor), &authority, limits, thread_limits, &stages).map_err(setup)?;
        let routes = mtls.clone();
        let newcomers = Newcomers::new(descriptors, &config.tls, further);
        let (limits, stored, outputs) =
            ((shares, refusals), (stored, components.token), (export_failures, audit.trail()));
        let sources = Sources::new(&authority, &certificate, &readiness, stored, &newcomers, limits, outputs);
        let ops = http::ops::routes(readiness.clone(), probes.degraded(), sources.metrics_reader());
        let doors = vec![
            (Socket::Tcp(sockets.mtls), Door::Mutual(mtls)),
            (Socket::Tcp(sockets.public), Door::ServerOnly(public)),
            (Socket::Tcp(sockets.ops), Door::Plain(ops)),
        ];
        let further = Further::bind(config.forwarded, config.local, routes).await?;
        let doors = doors.into_iter().chain(further.doors);
        for ((socket, door), (connection_limits, gate)) in doors.zip(newcomers.of_listeners) {
            let listener = Listener::new(socket, door, connection_limits, gate, Arc::clone(&newcomers.accept_errors));
            listener.start(&mut tasks, &authority, workers.dispatcher(), stages.clone());
        }
        let (trust, targets) = ((config.trust, contents), (Arc::clone(&authority), feeds));
        let reloader = Arc::new(Reloader::new(config.source, trust, Arc::clone(&certificate), targets, own_bundle));
        reloader.start(&mut tasks, &authority, hangup, stages.clone());
        store_feed::start(&mut tasks, &authority, &store, loaded);
        audit.start(&mut tasks, &authority);
        if let Some(client) = published.as_ref().filter(|_| !authority.is_edge()) {
            authority.discover_by(Arc::new(Discovery::new(&authority, Arc::clone(client))));
        }
        let poller = published.map(|client| Arc::new(Poller::new(Arc::clone(&authority), client)));
        if let Some(poller) = &poller {
            start_jwks_polling(&mut tasks, &authority, poller, config.jwks_uri.poll, stages.clone());
        }
        federation.start(&mut tasks, &authority, &stages);
        trusted_issuers.start(&mut tasks, config.jwks_uri.poll, &stages);
        if let Some(otlp) = &config.otlp {
            sources.push(&mut tasks, otlp)?;
        }
        tracing::info!(mtls = %addresses.mtls, public = %addresses.public, ops = %addresses.ops, "serving");
        Ok(Self {
            authority,
            audit,
            addresses,
            forwarded_address: further.forwarded_address,
            socket_files: further.files,
            stage,
            readiness,
            trust_updates,
            probes: Some(probes),
            reloader,
            poller,
            federation,
            trusted_issuers,
            sources,
            tasks,
            workers,
            drain_delay: config.drain_delay,
            drain_timeout: config.drain_timeout,
        })
    }

    /// Makes the probes report the server's state. They do when this returns.
    pub fn ready(&mut self) {
        if let Some(probes) = self.probes.take().map(Arc::new) {
            probes.update();
            supervised::spawn(&mut self.tasks, &self.authority, "probes", move || Arc::clone(&probes).run());
        }
    }

    /// The addresses of the listeners.
    pub fn addresses(&self) -> Listeners {
        self.addresses
    }

    /// The address of the listener for a terminator, if it has a TCP port.
    pub fn forwarded_address(&self) -> Option<SocketAddr> {
        self.forwarded_address
    }

    /// The core of the server, which all protocols share.
    pub fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    /// A reader of all the server's metrics.
    pub fn metrics_reader(&self) -> MetricsReader {
        self.sources.metrics_reader()
    }

    /// The count of exports that a collector did not accept.
    pub fn export_failures(&self) -> &Arc<ExportFailures> {
        &self.sources.export_failures
    }

    /// The readiness, and its changes.
    pub fn readiness(&self) -> watch::Receiver<Result<(), &'static str>> {
        self.readiness.clone()
    }

    /// How many updates of bundles and client CAs have been applied, from all sources together.
    pub fn trust_updates(&self) -> watch::Receiver<u64> {
        self.trust_updates.clone()
    }

    /// Reads the configuration, certificate, bundles and CAs again, as SIGHUP does. A broken file leaves the present
    /// state in effect.
    pub fn reload(&self) {
        self.reloader.reload();
    }

    /// Fetches what clients and trusted issuers publish at their `jwks_uri` now, as is also done periodically.
    pub async fn poll_jwks_uris(&self) {
        self.trusted_issuers.refresh_all().await;
        if let Some(poller) = &self.poller {
            poller.poll().await;
        }
    }

    /// Fetches the bundles of federated trust domains now, as is also done periodically.
    pub async fn refresh_federation(&self) {
        self.federation.refresh_all().await;
    }

    /// Stops the server: it is not ready at once, and accepts no new connections after a delay. Open connections finish
    /// the requests under way, and are closed if they exceed the time limit.
    pub async fn stop(self) {
        let Self {
            stage,
            mut readiness,
            mut tasks,
            workers,
            drain_delay,
            drain_timeout,
            socket_files,
            audit,
            authority,
            ..
        } = self;
        stage.send_replace(Stage::Leaving);
        // Readiness first: a health Watch must report it before it ends.
        drop(readiness.wait_for(Result::is_err).await);
        tracing::info!(delay = ?drain_delay, "no longer ready");
        tokio::time::sleep(drain_delay).await;
        stage.send_replace(Stage::Draining);
        tracing::info!(limit = ?drain_timeout, "draining: no new connections, and open ones end");
        drop(socket_files);
        // This runtime's thread has nothing else to do by now, so the worker threads measure the time limit.
        workers.finish(drain_timeout).await;
        tasks.shutdown().await;
        // After the task that writes heartbeats.
        store_feed::leave(&authority).await;
        audit.finish(&authority).await;
        tracing::info!("stopped");
    }
}
