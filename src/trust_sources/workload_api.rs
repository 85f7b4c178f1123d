//! Our own X.509-SVID, and the bundles of our own and of federated trust domains, streamed from the SPIFFE Workload API.
//!
//! Each message says everything (Workload API section 4.4): what it leaves out is gone with it. X.509 and JWT bundles come
//! over a stream each, so that a break in the one does not hold up the other.

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

/// How long connecting may take, and how long a stream that was asked for may take to say something.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long until the next attempt after a failure. It doubles with each further one,
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How often the age of what was last said is looked at.
const TICK: Duration = Duration::from_secs(1);

/// How the Workload API is followed.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it is.
    pub endpoint: Endpoint,
    /// For how long what it last said counts without being confirmed.
    pub max_age: Duration,
    /// How long a start waits for its first answer.
    pub start_timeout: Duration,
}

/// An address of another form.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be unix:///PATH or tcp://IP:PORT")]
pub struct InvalidEndpoint;

/// Reads the address of a Workload API, in the two forms that there are and no other spelling (SPIFFE Workload Endpoint
/// section 4).
pub fn parse_endpoint(text: &str) -> Result<Endpoint, InvalidEndpoint> {
    // The parser takes shorthands too, and makes other paths of some.
    let endpoint = Endpoint::parse(text).map_err(|_| InvalidEndpoint)?;
    if spelled(&endpoint).as_deref() == Some(text) { Ok(endpoint) } else { Err(InvalidEndpoint) }
}

/// An address as [`parse_endpoint`] reads it.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enum is not exhaustive: a form that is not known here is refused"
)]
pub(crate) fn spelled(endpoint: &Endpoint) -> Option<String> {
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
    /// The certificate, and its intermediates.
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

/// Those who are told. Of one message, the SVID is told before the bundles.
pub struct Receivers {
    /// Takes all bundles, each time.
    pub bundles: Box<dyn Fn(TrustBundles) + Send + Sync>,
    /// Takes the SVID; `None` when this server must use none any more.
    pub svid: Box<dyn Fn(Option<Svid>) + Send + Sync>,
}

impl fmt::Debug for Receivers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Receivers").finish_non_exhaustive()
    }
}

/// The Workload API said nothing in time, or nothing that helps.
#[derive(Debug, thiserror::Error)]
#[error("the Workload API at {endpoint} gave no SVID and bundles: {problem}")]
pub struct Unanswered {
    endpoint: String,
    problem: String,
}

/// How far the first answers have come.
#[derive(Debug, Default)]
struct Progress {
    x509: bool,
    /// There, or not to be had at the moment: X509-SVIDs do not wait for it.
    jwt: bool,
    problem: Option<String>,
    /// No further attempt is made.
    over: bool,
}

/// Which of the streams.
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

/// Why a stream is asked for anew.
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

/// Follows a Workload API.
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
    /// Tells `receivers`, once it runs.
    pub fn new(config: Config, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>, receivers: Receivers) -> Self {
        Self { config, clock, entropy, receivers, held: Mutex::default(), progress: watch::Sender::default() }
    }

    /// Follows it without end.
    pub async fn run(self: Arc<Self>) {
        tokio::join!(self.follow(Profile::X509), self.follow(Profile::Jwt), self.watch_age());
    }

    /// Comes when the first answers are there, or the time for them is over.
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
        Err(Unanswered { endpoint: spelled(&self.config.endpoint).unwrap_or_default(), problem })
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
            // It does not know us for a SPIFFE client, which the next attempt would not change (Workload Endpoint section 3).
            let over = broken.has_code(GrpcStatusCode::InvalidArgument);
            self.progress.send_modify(|progress| {
                progress.jwt |= profile == Profile::Jwt;
                if profile == Profile::X509 {
                    progress.problem = Some(broken.to_string());
                    progress.over |= over;
                }
            });
            if over {
                tracing::error!(?profile, %broken, "the Workload API refuses our requests: it is not asked again");
                return;
            }
            tracing::warn!(?profile, %broken, "the stream of the Workload API broke off");
            tokio::time::sleep(self.pause(failures)).await;
            failures += 1;
        }
    }

    /// Takes in what comes, until the stream breaks.
    async fn session(&self, profile: Profile, failures: &mut u32) -> Result<Infallible, Broken> {
        let client = in_time(WorkloadApiClient::connect(self.config.endpoint.clone())).await?;
        let mut tick = tokio::time::interval(TICK);
        loop {
            let mut heard = self.clock.now();
            let mut messages = in_time(profile.open(&client)).await?;
            let mut silence = pin!(tokio::time::sleep(PATIENCE));
            let mut answered = false;
            loop {
                tokio::select! {
                    message = messages.next() => match message {
                        Some(Ok(message)) => {
                            self.take(&message);
                            (*failures, heard, answered) = (0, self.clock.now(), true);
                        }
                        Some(Err(error)) if is_of_the_stream(&error) => return Err(error.into()),
                        Some(Err(error)) => {
                            tracing::error!(?profile, %error, "a message of the Workload API is of no use; what it said before is kept");
                            self.progress.send_modify(|progress| progress.problem = Some(error.to_string()));
                            (heard, answered) = (self.clock.now(), true);
                        }
                        None => return Err(Broken::Ended),
                    },
                    () = &mut silence, if !answered => return Err(Broken::Silent),
                    _ = tick.tick() => {
                        // A stream where nothing changes is as quiet as one whose agent hangs: it is asked for anew, which
                        // makes the agent say everything again.
                        let now = self.clock.now();
                        if now < heard || heard.until(now) >= self.config.max_age / 4 {
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
        (self.receivers.bundles)(held.together(now, self.config.max_age));
        self.progress.send_modify(|progress| match message {
            Message::X509(_) => progress.x509 = true,
            Message::Jwt(_) => progress.jwt = true,
        });
    }

    /// Says when the time of what was last said is over. The bundles know their own end; JWT authorities are taken out.
    async fn watch_age(&self) {
        let mut tick = tokio::time::interval(TICK);
        let mut counted = (false, false);
        loop {
            tick.tick().await;
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            let now = self.clock.now();
            let counting = held.counting(now, self.config.max_age);
            if counted.0 && !counting.0 {
                tracing::error!("the Workload API has been silent for too long: its X.509 bundles count no longer");
            }
            if counted.1 && !counting.1 {
                tracing::error!("the Workload API has been silent for too long: its JWT bundles count no longer");
                (self.receivers.bundles)(held.together(now, self.config.max_age));
            }
            counted = counting;
        }
    }

    fn pause(&self, failures: u32) -> Duration {
        let longest = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
        // Half of it by chance: those who lost an agent together should not come back together.
        let mut chance = [u8::MAX];
        if self.entropy.fill(&mut chance).is_err() {
            return longest;
        }
        longest / 2 + longest / 2 * u32::from(chance[0]) / u32::from(u8::MAX)
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

/// Whether an error ends the stream. The others are about one message.
fn is_of_the_stream(error: &WorkloadApiError) -> bool {
    matches!(
        error,
        WorkloadApiError::Transport(_) | WorkloadApiError::PermissionDenied(_) | WorkloadApiError::NoIdentityIssued
    )
}

async fn in_time<T>(future: impl Future<Output = Result<T, WorkloadApiError>>) -> Result<T, Broken> {
    Ok(tokio::time::timeout(PATIENCE, future).await.map_err(|_| Broken::Silent)??)
}
