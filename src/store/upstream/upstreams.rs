//! The servers that can be followed, in the order of this process, and how long to wait for the next attempt.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::runtime::Handle;
use tonic::transport::Uri;

use crate::authority::clock::Clock;
use crate::authority::clock::Entropy;
use crate::authority::store::StoreError;
use crate::store::peer::TlsSource;
use crate::store::upstream::reports::DecisionReports;

/// The pause after each upstream has failed once. It doubles with each further round.
const PAUSE: Duration = Duration::from_millis(250);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The pause where each upstream has refused this server: somebody must change its configuration, or theirs.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// The most by which an attempt without a pause is put off, so that not all edges come at once.
const SPREAD: Duration = Duration::from_millis(100);

/// Why an upstream is not followed any further.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// It is not there, or does not go on.
    Broken(String),
    /// It ended an old connection, as it said that it would.
    Over,
    /// It answers, and refuses this server, or is another one than the configuration means.
    Refused(String),
}

/// The upstreams. They are tried in turn.
pub(super) struct Upstreams {
    endpoints: Vec<Uri>,
    pub(super) tls: Option<TlsSource>,
    /// The issuer that must be theirs.
    pub(super) issuer: String,
    pub(super) clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// The runtime that drives the connections: the store is asked from several.
    pub(super) home: Handle,
    /// What this edge has decided.
    pub(super) reports: Arc<DecisionReports>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The number of attempts that have begun.
    attempts: usize,
    /// How many have failed one after the other.
    failed: u32,
    /// How many of these, the last ones, were refused.
    refused: u32,
    /// Why no upstream is followed at present.
    down: Option<String>,
}

impl Upstreams {
    /// Upstreams in an order that chance decides, so that many edges spread over them. The present runtime drives the connections.
    pub(super) fn new(
        mut endpoints: Vec<Uri>,
        tls: Option<TlsSource>,
        issuer: String,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        for last in (1..endpoints.len()).rev() {
            let other = usize::from(chance(&*entropy)) % (last + 1);
            endpoints.swap(last, other);
        }
        let down = Some("no upstream has been followed yet".to_owned());
        let state = Mutex::new(State { attempts: 0, failed: 0, refused: 0, down });
        Self { endpoints, tls, issuer, clock, entropy, home: Handle::current(), reports: Arc::default(), state }
    }

    /// The upstream for the next attempt.
    pub(super) fn next(&self) -> Option<Uri> {
        let mut state = self.state();
        let at = state.attempts % self.endpoints.len().max(1);
        state.attempts = state.attempts.wrapping_add(1);
        self.endpoints.get(at).cloned()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.endpoints.len()
    }

    /// Records why an upstream is not followed any further. `held` says that it was followed for a while.
    pub(super) fn failed(&self, fault: &Fault, held: bool) {
        let mut state = self.state();
        if held {
            (state.failed, state.refused) = (0, 0);
        }
        match fault {
            Fault::Over if held => return,
            // To end each connection at once is no way to go on.
            Fault::Over | Fault::Broken(_) => state.refused = 0,
            Fault::Refused(_) => state.refused = state.refused.saturating_add(1),
        }
        state.failed = state.failed.saturating_add(1);
        state.down = Some(fault.to_string());
    }

    /// Records that an upstream is followed.
    pub(super) fn follows(&self, endpoint: &Uri) {
        if let Some(cause) = self.state().down.take() {
            tracing::info!(%endpoint, before = cause, "an upstream is followed");
        }
    }

    /// How long to wait before the next attempt.
    pub(super) fn pause(&self) -> Duration {
        let (failed, refused) = {
            let state = self.state();
            (state.failed, state.refused)
        };
        let count = u32::try_from(self.endpoints.len()).unwrap_or(u32::MAX).max(1);
        let share = f64::from(chance(&*self.entropy)) / f64::from(u16::MAX);
        if failed < count {
            return if failed == 0 { Duration::ZERO } else { SPREAD.mul_f64(share) };
        }
        let longest = if refused >= count {
            REFUSED_PAUSE
        } else {
            PAUSE.saturating_mul(2_u32.saturating_pow(failed / count - 1)).min(LONGEST_PAUSE)
        };
        longest.mul_f64(0.5 + share / 2.0)
    }

    /// Whether one is followed.
    pub(super) fn health(&self) -> Result<(), StoreError> {
        self.state().down.clone().map_or(Ok(()), |cause| Err(StoreError::Unavailable(cause)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Broken(cause) | Self::Refused(cause) => formatter.write_str(cause),
            Self::Over => formatter.write_str("it ended the connection, which was as old as it may get"),
        }
    }
}

impl std::fmt::Debug for Upstreams {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Upstreams").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

/// A number that nobody can foresee. Without randomness the order is that of the configuration.
fn chance(entropy: &dyn Entropy) -> u16 {
    let mut bytes = [0; 2];
    entropy.fill(&mut bytes).map_or(0, |()| u16::from_be_bytes(bytes))
}
