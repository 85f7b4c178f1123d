//! A token that is kept valid in the background, for a whole program.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::info;
use tracing::warn;

use crate::client::files::FileError;
use crate::client::renewal::Event;
use crate::client::renewal::Renewal;
use crate::client::renewal::TokenSettings;
use crate::client::token::BoundToken;
use crate::client::token::TokenError;

/// Keeps a token valid in the background. Clones share it. The background task ends when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct TokenSource {
    state: watch::Receiver<State>,
    _work: Arc<Work>,
}

#[derive(Clone, Debug, Default)]
struct State {
    token: Option<BoundToken>,
    problem: Option<Arc<TokenError>>,
}

#[derive(Debug)]
struct Work(JoinHandle<()>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl TokenSource {
    /// Reads the files and starts a task on the current tokio runtime. Whether there is a token, and why not, is
    /// reported by [`token`](Self::token).
    pub fn start(settings: TokenSettings) -> Result<Self, FileError> {
        let renewal = Renewal::new(settings)?;
        let (sender, state) = watch::channel(State::default());
        let work = Work(tokio::spawn(keep(renewal, sender)));
        Ok(Self { state, _work: Arc::new(work) })
    }

    /// The present token. Waits while there is none and the server is unreachable or busy.
    ///
    /// # Errors
    /// Where waiting does not help: the certificate is not accepted, or the request is refused.
    pub async fn token(&self) -> Result<BoundToken, Arc<TokenError>> {
        let mut state = self.state.clone();
        loop {
            {
                let State { token, problem } = &*state.borrow_and_update();
                if let Some(token) = token.as_ref().filter(|token| token.is_usable()) {
                    return Ok(token.clone());
                }
                if let Some(problem) = problem.as_ref().filter(|problem| !problem.is_temporary()) {
                    return Err(Arc::clone(problem));
                }
            }
            if state.changed().await.is_err() {
                return Err(Arc::new(TokenError::NoToken));
            }
        }
    }

    /// The present token, if there is a usable one.
    pub fn current(&self) -> Option<BoundToken> {
        self.state.borrow().token.clone().filter(BoundToken::is_usable)
    }

    /// The error of the last attempt to get a token, if it failed.
    pub fn problem(&self) -> Option<Arc<TokenError>> {
        self.state.borrow().problem.clone()
    }

    /// Waits until the token or the problem changes. Returns `false` if they will not change any more.
    pub async fn changed(&mut self) -> bool {
        self.state.changed().await.is_ok()
    }
}

async fn keep(mut renewal: Renewal, state: watch::Sender<State>) {
    loop {
        match renewal.next().await {
            Event::Renewed(token) => {
                info!(life = token.life().as_secs(), "the token was renewed");
                state.send_replace(State { token: Some(token), problem: None });
            }
            Event::Announced { .. } => info!("the next certificate was announced"),
            Event::NotLineage => info!("the registration has no rotation by lineage: certificates are not announced"),
            Event::NotAnnounced(error) => warn!(%error, "the next certificate could not be announced"),
            Event::Unusable(error) => {
                warn!(%error, "no usable certificate; the previous one stays in use");
                state.send_modify(|state| state.problem = Some(Arc::new(error)));
            }
            Event::Failed { error, retry_in } => {
                warn!(%error, ?retry_in, "no new token yet");
                state.send_modify(|state| state.problem = Some(Arc::new(error)));
            }
            Event::Expired => {
                warn!("the token has expired, and there is no other");
                state.send_modify(|state| state.token = None);
            }
        }
    }
}
