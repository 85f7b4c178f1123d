//! This server's X.509-SVID, and the bundles of its own and of federated trust domains, streamed from the SPIFFE
//! Workload API.
//!
//! Each message is complete (Workload API section 4.4): what it leaves out is removed. X.509 and JWT bundles come over
//! a stream each, so that a failure of one does not delay the other.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use futures_core::Stream;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::PrivatePkcs8KeyDer;
use spiffe::JwtBundleSet;
use spiffe::SpiffeId;
use spiffe::WorkloadApiClient;
use spiffe::WorkloadApiError;
use spiffe::X509Context;
use spiffe::X509Svid;
use spiffe::transport::Endpoint;
use spiffe::transport::GrpcStatusCode;
use spiffe::transport::TransportError;
use tokio::sync::watch;
use tokio_stream::StreamExt as _;

use crate::authority::clock::Clock;
use crate::authority::clock::Entropy;
use crate::authority::trust::TrustBundles;
use crate::trust_sources::workload_bundles::WorkloadBundles;

/// The timeout for connecting, and for the first message of a stream.
const PATIENCE: Duration = Duration::from_secs(10);

/// The wait before the next attempt after a first failure. It doubles with each further failure,
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How often the age of the last messages is checked.
const TICK: Duration = Duration::from_secs(1);

/// The configuration of the Workload API.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address of the socket.
    pub endpoint: Endpoint,
    /// How long the last message stays in effect without a newer one.
    pub max_age: Duration,
    /// How long the start of the server waits for the first messages.
    pub start_timeout: Duration,
}

/// The address has another form.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be unix:///PATH or tcp://IP:PORT")]
pub struct InvalidEndpoint;

/// Parses the address of a Workload API in exactly the two forms of SPIFFE Workload Endpoint section 4.
pub fn parse_endpoint(text: &str) -> Result<Endpoint, InvalidEndpoint> {
    // The parser also accepts shorthands, and changes some paths.
    let endpoint = Endpoint::parse(text).map_err(|_| InvalidEndpoint)?;
    if endpoint_text(&endpoint).as_deref() == Some(text) { Ok(endpoint) } else { Err(InvalidEndpoint) }
}

/// The address in the form that [`parse_endpoint`] reads.
#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is not exhaustive: an unknown form is refused")]
pub(crate) fn endpoint_text(endpoint: &Endpoint) -> Option<String> {
    match endpoint {
        Endpoint::Unix(path) => path.to_str().map(|path| format!("unix://{path}")),
        Endpoint::Tcp { host, port: port @ 1.. } => Some(format!("tcp://{}", SocketAddr::new(*host, *port))),
        _ => None,
    }
}

/// An X.509-SVID of this server.
#[derive(Debug)]
pub struct Svid {
    /// Its SPIFFE ID.
    pub spiffe_id: SpiffeId,
    /// The certificate, followed by its intermediates.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its private key.
    pub key: PrivatePkcs8KeyDer<'static>,
}

impl From<&X509Svid> for Svid {
    fn from(svid: &X509Svid) -> Self {
        Self {
            spiffe_id: svid.spiffe_id().clone(),
            chain: svid.cert_chain().iter().map(|one| CertificateDer::from(one.as_bytes().to_vec())).collect(),
            key: PrivatePkcs8KeyDer::from(svid.private_key().as_bytes().to_vec()),
        }
    }
}

/// The callbacks for each message. The SVID of a message is delivered before its bundles.
pub struct Receivers {
    /// Receives all bundles, each time.
    pub bundles: Box<dyn Fn(TrustBundles) + Send + Sync>,
    /// Receives the SVID; `None` when this server must not use one any more.
    pub svid: Box<dyn Fn(Option<Svid>) + Send + Sync>,
}

impl fmt::Debug for Receivers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Receivers").finish_non_exhaustive()
    }
}

/// The Workload API sent no SVID and bundles in time.
#[derive(Debug, thiserror::Error)]
#[error("the Workload API at {endpoint} gave no SVID and bundles: {problem}")]
pub struct Unanswered {
    endpoint: String,
    problem: String,
}

/// Which of the first messages have arrived.
#[derive(Debug, Default)]
struct Progress {
    x509: bool,
    /// Also true if JWT bundles are unavailable: X509-SVIDs do not wait for them.
    jwt: bool,
    problem: Option<String>,
    /// No further attempt is made.
    over: bool,
}

/// The kind of a stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Profile {
    X509,
    Jwt,
}

enum Message {
    X509(X509Context),
    Jwt(JwtBundleSet),
}

type Messages = Pin<Box<dyn Stream<Item = Result<Message, WorkloadApiError>> + Send>>;

/// Why a stream is opened again.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Failed(#[from] WorkloadApiError),
    #[error("the stream ended")]
    Ended,
    #[error("no answer came in time")]
    Silent,
}

impl Broken {
    fn is_denied(&self) -> bool {
        matches!(self, Self::Failed(WorkloadApiError::PermissionDenied(_) | WorkloadApiError::NoIdentityIssued))
    }

    fn has_code(&self, code: GrpcStatusCode) -> bool {
        matches!(self, Self::Failed(WorkloadApiError::Transport(TransportError::Status(status))) if status.code() == code)
    }
}

/// Receives the messages of a Workload API.
#[derive(Debug)]
pub struct WorkloadApi {
    config: Config,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    receivers: Receivers,
    held: Mutex<WorkloadBundles>,
    progress: watch::Sender<Progress>,
}

impl WorkloadApi {
    /// Calls `receivers` while [`run`](Self::run) is running.
    pub fn new(config: Config, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>, receivers: Receivers) -> Self {
        Self { config, clock, entropy, receivers, held: Mutex::default(), progress: watch::Sender::default() }
    }

    /// Receives messages indefinitely.
    pub async fn run(self: Arc<Self>) {
        tokio::join!(self.follow(Profile::X509), self.follow(Profile::Jwt), self.watch_age());
    }

    /// Waits for the first messages, or for the start timeout.
    pub async fn answered(&self) -> Result<(), Unanswered> {
        let mut progress = self.progress.subscribe();
        let wait = progress.wait_for(|progress| (progress.x509 && progress.jwt) || progress.over);
        let in_time = tokio::time::timeout(self.config.start_timeout, wait).await.is_ok();
        let progress = self.progress.borrow();
        if progress.x509 {
            return Ok(());
        }
        let problem = match &progress.problem {
            Some(problem) => problem.clone(),
            None if in_time => "it ended".to_owned(),
            None => "no answer came in time".to_owned(),
        };
        Err(Unanswered { endpoint: endpoint_text(&self.config.endpoint).unwrap_or_default(), problem })
    }

    async fn follow(&self, profile: Profile) {
        let mut failures = 0;
        loop {
            let broken = match self.session(profile, &mut failures).await {
                Ok(never) => match never {},
                Err(broken) => broken,
            };
            if profile == Profile::Jwt && broken.has_code(GrpcStatusCode::Unimplemented) {
                tracing::info!("the Workload API has no JWT bundles");
                self.progress.send_modify(|progress| progress.jwt = true);
                return;
            }
            if profile == Profile::X509 && broken.is_denied() {
                (self.receivers.svid)(None);
            }
            // The agent does not accept this client as a SPIFFE client. A further attempt would not change that
            // (Workload Endpoint section 3).
            let over = broken.has_code(GrpcStatusCode::InvalidArgument);
            self.progress.send_modify(|progress| {
                progress.jwt |= profile == Profile::Jwt;
                if profile == Profile::X509 {
                    progress.problem = Some(broken.to_string());
                    progress.over |= over;
                }
            });
            if over {
                tracing::error!(?profile, %broken, "the Workload API refuses the request as invalid; no further attempt is made");
                return;
            }
            tracing::warn!(?profile, %broken, "the stream of the Workload API broke off");
            tokio::time::sleep(self.pause(failures)).await;
            failures += 1;
        }
    }

    /// Handles the messages of one stream until it breaks.
    async fn session(&self, profile: Profile, failures: &mut u32) -> Result<Infallible, Broken> {
        let client = in_time(WorkloadApiClient::connect(self.config.endpoint.clone())).await?;
        let mut tick = tokio::time::interval(TICK);
        loop {
            let mut last_message = self.clock.now();
            let mut messages = in_time(profile.open(&client)).await?;
            let mut silence = pin!(tokio::time::sleep(PATIENCE));
            let mut answered = false;
            loop {
                tokio::select! {
                    message = messages.next() => match message {
                        Some(Ok(message)) => {
                            self.take(&message);
                            (*failures, last_message, answered) = (0, self.clock.now(), true);
                        }
                        Some(Err(error)) if ends_stream(&error) => return Err(error.into()),
                        Some(Err(error)) => {
                            tracing::error!(?profile, %error, "a message of the Workload API is invalid; the previous one is kept");
                            self.progress.send_modify(|progress| progress.problem = Some(error.to_string()));
                            (last_message, answered) = (self.clock.now(), true);
                        }
                        None => return Err(Broken::Ended),
                    },
                    () = &mut silence, if !answered => return Err(Broken::Silent),
                    _ = tick.tick() => {
                        // A stream without changes is as silent as one whose agent hangs. It is therefore opened again:
                        // the agent then sends everything again.
                        let now = self.clock.now();
                        if now < last_message || last_message.until(now) >= self.config.max_age / 4 {
                            break;
                        }
                    }
                }
            }
        }
    }

    fn take(&self, message: &Message) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        match message {
            Message::X509(context) => {
                if let Some(svid) = context.default_svid() {
                    (self.receivers.svid)(Some(Svid::from(&**svid)));
                }
                held.take_x509(context.bundle_set(), now);
            }
            Message::Jwt(bundles) => held.take_jwt(bundles, now),
        }
        (self.receivers.bundles)(held.merged(now, self.config.max_age));
        self.progress.send_modify(|progress| match message {
            Message::X509(_) => progress.x509 = true,
            Message::Jwt(_) => progress.jwt = true,
        });
    }

    /// Logs when the last messages expire. Bundles carry their own expiry; JWT authorities are removed here.
    async fn watch_age(&self) {
        let mut tick = tokio::time::interval(TICK);
        let mut before = (false, false);
        loop {
            tick.tick().await;
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            let now = self.clock.now();
            let current = held.current(now, self.config.max_age);
            if before.0 && !current.0 {
                tracing::error!("the Workload API has been silent for too long: its X.509 bundles are no longer used");
            }
            if before.1 && !current.1 {
                tracing::error!("the Workload API has been silent for too long: its JWT bundles are no longer used");
                (self.receivers.bundles)(held.merged(now, self.config.max_age));
            }
            before = current;
        }
    }

    fn pause(&self, failures: u32) -> Duration {
        let longest = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
        // Half of the wait is random, so that servers that lost an agent together do not reconnect together.
        let mut random = [u8::MAX];
        if self.entropy.fill(&mut random).is_err() {
            return longest;
        }
        longest / 2 + longest / 2 * u32::from(random[0]) / u32::from(u8::MAX)
    }
}

impl Profile {
    async fn open(self, client: &WorkloadApiClient) -> Result<Messages, WorkloadApiError> {
        Ok(match self {
            Self::X509 => Box::pin(client.stream_x509_contexts().await?.map(|message| message.map(Message::X509))),
            Self::Jwt => Box::pin(client.stream_jwt_bundles().await?.map(|message| message.map(Message::Jwt))),
        })
    }
}

/// Whether an error ends the stream. The others concern one message.
fn ends_stream(error: &WorkloadApiError) -> bool {
    matches!(
        error,
        WorkloadApiError::Transport(_) | WorkloadApiError::PermissionDenied(_) | WorkloadApiError::NoIdentityIssued
    )
}

async fn in_time<T>(future: impl Future<Output = Result<T, WorkloadApiError>>) -> Result<T, Broken> {
    Ok(tokio::time::timeout(PATIENCE, future).await.map_err(|_| Broken::Silent)??)
}
