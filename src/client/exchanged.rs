//! Tokens with which a service acts for those who call it: what was presented to it is exchanged at the server (RFC 8693).
//!
//! ```no_run
//! use hyper::Request;
//! use hyper::header::AUTHORIZATION;
//! use lanyard::client::exchanged::ExchangeSettings;
//! use lanyard::client::exchanged::Exchanged;
//! use lanyard::client::files::ConnectionFiles;
//! use lanyard::client::presented::Presented;
//! use lanyard::client::supply::Credentials;
//! use lanyard::client::token::TokenError;
//! use tonic::transport::Uri;
//!
//! # fn started() -> Result<Exchanged, Box<dyn std::error::Error>> {
//! // Once, when the service starts.
//! let file = |name| std::path::Path::new("/var/run/svid").join(name);
//! let files = ConnectionFiles { ca: file("ca.pem"), cert: file("svid.pem"), key: file("svid-key.pem") };
//! let server = Uri::from_static("https://lanyard.prod.example:8443");
//! let settings = ExchangeSettings { server, credentials: Credentials::Files(files), client_id: String::new() };
//! let exchanged = Exchanged::start(settings)?;
//! # Ok(exchanged)
//! # }
//!
//! # async fn handle<B>(
//! #     exchanged: &Exchanged,
//! #     incoming: &Request<B>,
//! #     onward: &mut Request<()>,
//! # ) -> Result<(), std::sync::Arc<TokenError>> {
//! // For each request that is answered with the help of another service.
//! let presented = Presented::from_headers(incoming.headers()).ok_or(TokenError::NoToken)?;
//! let token = exchanged.token(&presented, "https://orders.shop.internal", "orders.read").await?;
//! onward.headers_mut().insert(AUTHORIZATION, token.authorization().clone());
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use aws_lc_rs::digest;
use aws_lc_rs::digest::SHA256;
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_stream::StreamExt as _;
use tonic::transport::Uri;
use tracing::info;
use tracing::warn;

use crate::client::connection;
use crate::client::connection::Channel;
use crate::client::files::FileError;
use crate::client::flights::Fetched;
use crate::client::flights::Flights;
use crate::client::flights::Found;
use crate::client::flights::Key;
use crate::client::presented::Presented;
use crate::client::supply::Credentials;
use crate::client::supply::Identity;
use crate::client::supply::Supply;
use crate::client::token::BoundToken;
use crate::client::token::TokenError;
use crate::proto::ExchangeTokenRequest;
use crate::proto::IssueTokenResponse;
use crate::proto::token_service_client::TokenServiceClient;

/// How long before its end a token is no longer given out again: the time for the calls that it is used in.
const MARGIN: Duration = Duration::from_secs(10);

/// The most tokens that are kept. Each has some 4 KiB.
const MAX_KEPT: usize = 4096;

/// The server, the credentials and the client.
#[derive(Clone, Debug)]
pub struct ExchangeSettings {
    /// The server's mTLS listener, such as `https://lanyard.prod.example:8443`.
    pub server: Uri,
    /// The trusted CAs, and the service's certificate and key.
    pub credentials: Credentials,
    /// The client as which it exchanges. Empty: the SPIFFE ID of its certificate.
    pub client_id: String,
}

/// Exchanges what was presented to a service for tokens of its own, each bound to the service's certificate. Clones share the
/// connection and what is kept.
///
/// A token is kept for what was presented, the audience and the scope together, until 10 seconds before its end or until the
/// certificate changes, so that it never gets to another subject, nor to another presentation of the same one. All who ask for the same
/// at the same time wait for one exchange. A refusal is told to them and not kept. 4096 tokens are kept at most: the oldest gives way.
#[derive(Clone)]
pub struct Exchanged {
    client_id: Arc<str>,
    own: watch::Receiver<State>,
    flights: Arc<Mutex<Flights<BoundToken>>>,
    _work: Arc<Work>,
}

#[derive(Clone)]
enum State {
    /// Neither a certificate nor an error so far.
    Waiting,
    Without(Arc<TokenError>),
    With(Own),
}

/// The present certificate, and a channel that presents it.
#[derive(Clone)]
struct Own {
    certificate: CertificateDer<'static>,
    channel: Channel,
}

struct Work(JoinHandle<()>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Exchanged {
    /// Reads the files and starts a task on the current tokio runtime, which follows the certificate. Connects at the first exchange.
    pub fn start(settings: ExchangeSettings) -> Result<Self, FileError> {
        let ExchangeSettings { server, credentials, client_id } = settings;
        let (first, supply) = credentials.supply()?;
        let first = first.map_or(State::Waiting, |first| State::With(Own::new(&server, first)));
        let (sender, own) = watch::channel(first);
        let work = Work(tokio::spawn(follow(server, supply, sender)));
        let flights = Arc::new(Mutex::new(Flights::new(MAX_KEPT)));
        Ok(Self { client_id: client_id.into(), own, flights, _work: Arc::new(work) })
    }

    /// The token to call the resource of an audience with, for the one who presented this. `scope` is space-separated; empty: all that
    /// the rule gives. Waits while the Workload API has not answered yet.
    ///
    /// # Errors
    /// Where the server refuses, cannot be reached, or does not answer within 30 seconds. It is not asked again by itself: a
    /// receipt is over soon.
    pub async fn token(&self, presented: &Presented, audience: &str, scope: &str) -> Fetched<BoundToken> {
        let own = self.own().await?;
        let key = key(&own.certificate, presented, audience, scope);
        let flight = {
            let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            match flights.find(&key, now) {
                Some(Found::Kept(token)) => return Ok(token),
                Some(Found::UnderWay(flight)) => flight,
                None => {
                    let request = ExchangeTokenRequest {
                        client_id: self.client_id.to_string(),
                        subject: Some(presented.subject()),
                        audience: vec![audience.to_owned()],
                        scope: scope.to_owned(),
                        ..ExchangeTokenRequest::default()
                    };
                    let kept = Arc::clone(&self.flights);
                    flights.begin(key, now, |number| async move {
                        let exchanged = own.exchange(request).await;
                        let landed = exchanged.as_ref().ok().cloned();
                        kept.lock().unwrap_or_else(PoisonError::into_inner).land(&key, number, landed);
                        exchanged.map(|(token, _)| token).map_err(Arc::new)
                    })
                }
            }
        };
        flight.await
    }

    async fn own(&self) -> Fetched<Own> {
        let mut state = self.own.clone();
        let known = state.wait_for(|state| !matches!(state, State::Waiting)).await;
        match known.as_deref() {
            Ok(State::With(own)) => Ok(own.clone()),
            Ok(State::Without(error)) => Err(Arc::clone(error)),
            Ok(State::Waiting) | Err(_) => Err(Arc::new(TokenError::NoToken)),
        }
    }
}

impl fmt::Debug for Exchanged {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Exchanged").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

impl Own {
    fn new(server: &Uri, Identity { chain, tls }: Identity) -> Self {
        let certificate = chain.into_iter().next().unwrap_or_else(|| CertificateDer::from(Vec::new()));
        Self { certificate, channel: connection::connect_lazily(server, tls) }
    }

    /// The token, and until when it is kept.
    async fn exchange(self, request: ExchangeTokenRequest) -> Result<(BoundToken, Instant), TokenError> {
        let asked = Instant::now();
        let answer = TokenServiceClient::new(self.channel).exchange_token(request).await;
        let answer = answer.map_err(TokenError::of)?.into_inner();
        let issued = IssueTokenResponse {
            access_token: answer.access_token,
            expires_in: answer.expires_in,
            scope: answer.scope,
            ..IssueTokenResponse::default()
        };
        let token = BoundToken::new(issued, asked, self.certificate)?;
        let until = asked.checked_add(token.life().saturating_sub(MARGIN)).unwrap_or(asked);
        Ok((token, until))
    }
}

/// Follows the certificate. While there is no usable one, the one before it stays in use.
async fn follow(server: Uri, mut supply: Supply, state: watch::Sender<State>) {
    while let Some(supplied) = supply.next().await {
        match supplied {
            Ok(identity) => {
                info!("the certificate for exchanges was renewed");
                state.send_replace(State::With(Own::new(&server, identity)));
            }
            Err(error) => {
                warn!(%error, "no usable certificate for exchanges; the previous one stays in use");
                let error = Arc::new(error);
                state.send_if_modified(|state| {
                    let without = !matches!(state, State::With(_));
                    if without {
                        *state = State::Without(error);
                    }
                    without
                });
            }
        }
    }
}

/// A hash of all that a token depends on, each part with its length.
fn key(certificate: &CertificateDer<'_>, presented: &Presented, audience: &str, scope: &str) -> Key {
    let mut hash = digest::Context::new(&SHA256);
    let [kind, text] = presented.parts().map(str::as_bytes);
    for part in [certificate.as_ref(), kind, text, audience.as_bytes(), scope.as_bytes()] {
        hash.update(&part.len().to_be_bytes());
        hash.update(part);
    }
    let mut key = Key::default();
    // A SHA-256 has as many bytes.
    key.copy_from_slice(hash.finish().as_ref());
    key
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn whatever_differs_of_a_question_is_another_key() {
        let [one, other] = [1, 2].map(|byte| CertificateDer::from(vec![byte; 3]));
        let receipt = Presented::receipt("lr1.a");
        let all = [
            key(&one, &receipt, "https://a", "b"),
            key(&other, &receipt, "https://a", "b"),
            key(&one, &Presented::receipt("lr1.b"), "https://a", "b"),
            key(&one, &Presented::access_token("lr1.a"), "https://a", "b"),
            key(&one, &receipt, "https://", "ab"),
            key(&one, &receipt, "https://ab", ""),
            key(&one, &receipt, "https://a", ""),
        ];
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        assert_eq!(key(&one, &receipt, "https://a", "b"), all[0]);
    }
}
