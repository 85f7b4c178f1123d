//! Renews a token before it expires, and when the certificate changes.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::future::pending;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use tokio::time::Instant;
use tokio::time::sleep_until;
use tokio_stream::StreamExt as _;
use tonic::Response;
use tonic::Status;
use tonic::transport::Uri;

use crate::client::assertion::asserted;
use crate::client::connection;
use crate::client::connection::Channel;
use crate::client::files::FileError;
use crate::client::pace;
use crate::client::supply::Credentials;
use crate::client::supply::Identity;
use crate::client::supply::Supply;
use crate::client::token::BoundToken;
use crate::client::token::TokenError;
use crate::proto::AnnounceRotationRequest;
use crate::proto::AnnounceRotationResponse;
use crate::proto::IssueTokenRequest;
use crate::proto::IssueTokenResponse;
use crate::proto::token_service_client::TokenServiceClient;

/// How often an announcement is tried that the server cannot accept now, before the token for the next certificate is
/// requested without it.
const MAX_ANNOUNCEMENTS: u32 = 3;

/// How many unannounced certificates are kept: more than any server lets a token follow.
const MAX_SUCCESSIONS: usize = 8;

/// The server, the credentials and the request for tokens.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// The server's mTLS listener, such as `https://lanyard.prod.example:8443`.
    pub server: Uri,
    /// The trusted CAs, and the workload's certificate and key.
    pub credentials: Credentials,
    /// The request. Left empty, it asks for everything that is registered.
    pub request: IssueTokenRequest,
    /// The file with the client assertion, for a client that sends one. It is read for each request, whose
    /// `client_assertion_type` says what is in it.
    pub assertion: Option<PathBuf>,
}

/// An event of the renewal.
#[derive(Debug)]
pub enum Event {
    /// There is a new token. The previous one is no longer used.
    Renewed(BoundToken),
    /// The next certificate was announced: for a while, it is also accepted with tokens that are bound to the previous
    /// one.
    Announced {
        /// The next certificate, DER.
        certificate: CertificateDer<'static>,
        /// The end of that time, by the server's clock.
        overlap_until: Option<SystemTime>,
    },
    /// The registration has no `rotation: lineage`. Certificates are no longer announced.
    NotLineage,
    /// The next certificate could not be announced. It is used nevertheless, and the token is renewed at once.
    NotAnnounced(TokenError),
    /// A token request or an announcement failed. It is tried again later.
    Failed {
        /// The cause.
        error: TokenError,
        /// The time until the next attempt.
        retry_in: Duration,
    },
    /// There is no usable certificate from the files or the Workload API. The previous one stays in use.
    Unusable(TokenError),
    /// The token has expired, and no other was issued in time.
    Expired,
}

/// Keeps one token valid while [`next`](Self::next) is awaited.
///
/// A token is renewed after about two thirds of its lifetime, and at once when the certificate changes that it is bound
/// to. Before that, if the registration has `rotation: lineage`, the next certificate is announced over a connection
/// with the previous one.
pub struct Renewal {
    settings: TokenSettings,
    supply: Supply,
    present: Option<Presented>,
    /// Certificate changes that are not announced yet, oldest first.
    successions: VecDeque<Succession>,
    /// Whether the registration permits announcements, as far as is known.
    lineage: bool,
    token: Option<BoundToken>,
    attempt: Option<Attempt>,
    failures: u32,
    due: Instant,
}

/// A certificate chain, and a channel that presents it.
struct Presented {
    chain: Vec<CertificateDer<'static>>,
    channel: Channel,
}

struct Succession {
    before: Channel,
    next: Vec<CertificateDer<'static>>,
    tried: u32,
}

enum Attempt {
    Issue(Instant, Answer<IssueTokenResponse>),
    Announce(Answer<AnnounceRotationResponse>),
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;

enum Answered {
    Issue(Instant, Result<IssueTokenResponse, Status>),
    Announce(Result<AnnounceRotationResponse, Status>),
}

enum Woken {
    Answered(Answered),
    Expired,
    Due,
    Supplied(Option<Box<Result<Identity, TokenError>>>),
}

impl Renewal {
    /// Reads the files, if any, at once. Connects only in [`next`](Self::next).
    pub fn new(settings: TokenSettings) -> Result<Self, FileError> {
        let (first, supply) = settings.credentials.clone().supply()?;
        Ok(Self {
            present: first.map(|first| Presented::new(&settings.server, first)),
            settings,
            supply,
            successions: VecDeque::new(),
            lineage: true,
            token: None,
            attempt: None,
            failures: 0,
            due: Instant::now(),
        })
    }

    /// Waits for the next event. If the future is dropped before it is ready, nothing is lost: the next call continues.
    pub async fn next(&mut self) -> Event {
        loop {
            if self.attempt.is_none() && self.due <= Instant::now() {
                self.attempt = self.begin();
            }
            let end = self.token.as_ref().map(BoundToken::usable_until);
            let woken = tokio::select! {
                answered = progress(&mut self.attempt) => Woken::Answered(answered),
                () = at(end) => Woken::Expired,
                () = sleep_until(self.due), if self.attempt.is_none() && self.present.is_some() => Woken::Due,
                supplied = self.supply.next() => Woken::Supplied(supplied.map(Box::new)),
            };
            let event = match woken {
                Woken::Answered(Answered::Issue(asked, issued)) => {
                    self.attempt = None;
                    Some(self.issued(asked, issued))
                }
                Woken::Answered(Answered::Announce(announced)) => {
                    self.attempt = None;
                    Some(self.announced(announced))
                }
                Woken::Expired => {
                    self.token = None;
                    Some(Event::Expired)
                }
                Woken::Due => None,
                Woken::Supplied(Some(supplied)) => match *supplied {
                    Ok(next) => {
                        self.change(next);
                        None
                    }
                    Err(error) => Some(Event::Unusable(error)),
                },
                // The supply never ends.
                Woken::Supplied(None) => pending().await,
            };
            if let Some(event) = event {
                return event;
            }
        }
    }

    fn begin(&self) -> Option<Attempt> {
        if let Some(Succession { before, next, .. }) = self.successions.front() {
            let mut chain = next.iter().map(|certificate| certificate.to_vec());
            let certificate = chain.next().unwrap_or_default();
            let request = AnnounceRotationRequest { certificate, intermediates: chain.collect() };
            let mut tokens = TokenServiceClient::new(before.clone());
            return Some(Attempt::Announce(Box::pin(async move { tokens.announce_rotation(request).await })));
        }
        let mut tokens = TokenServiceClient::new(self.present.as_ref()?.channel.clone());
        let request = self.settings.request.clone();
        let request = match &self.settings.assertion {
            Some(path) => asserted(request, path).map_err(|error| Status::from_error(error.into())),
            None => Ok(request),
        };
        Some(Attempt::Issue(Instant::now(), Box::pin(async move { tokens.issue_token(request?).await })))
    }

    fn issued(&mut self, asked: Instant, issued: Result<IssueTokenResponse, Status>) -> Event {
        let certificate = self.present.as_ref().and_then(|present| present.chain.first()).cloned();
        let certificate = certificate.unwrap_or_else(|| CertificateDer::from(Vec::new()));
        let token = issued.map_err(TokenError::of).and_then(|issued| BoundToken::new(issued, asked, certificate));
        match token {
            Ok(token) => {
                self.failures = 0;
                self.due = asked + pace::renewal(token.usable_until().saturating_duration_since(asked));
                self.token = Some(token.clone());
                Event::Renewed(token)
            }
            Err(error) => self.failed(error),
        }
    }

    fn announced(&mut self, announced: Result<AnnounceRotationResponse, Status>) -> Event {
        let error = match announced.map_err(TokenError::of) {
            Ok(announced) => {
                let overlap_until = announced.overlap_until.and_then(|time| SystemTime::try_from(time).ok());
                let succession = self.next_succession();
                let certificate = succession.and_then(|done| done.next.into_iter().next());
                let certificate = certificate.unwrap_or_else(|| CertificateDer::from(Vec::new()));
                return Event::Announced { certificate, overlap_until };
            }
            Err(error) => error,
        };
        if error.reason().as_deref() == Some("NOT_LINEAGE") {
            self.lineage = false;
            self.successions.clear();
            self.next_succession();
            return Event::NotLineage;
        }
        // While the server is unreachable, no token can be issued either, so nothing is lost by waiting.
        let tried = self.successions.front_mut().map_or(u32::MAX, |succession| {
            succession.tried = succession.tried.saturating_add(u32::from(!error.is_unreachable()));
            succession.tried
        });
        if error.is_temporary() && tried < MAX_ANNOUNCEMENTS {
            return self.failed(error);
        }
        self.next_succession();
        Event::NotAnnounced(error)
    }

    /// Removes the oldest succession. The next step is due at once.
    fn next_succession(&mut self) -> Option<Succession> {
        self.failures = 0;
        self.due = Instant::now();
        self.successions.pop_front()
    }

    fn failed(&mut self, error: TokenError) -> Event {
        self.failures = self.failures.saturating_add(1);
        let retry_in = pace::backoff(self.failures);
        self.due = Instant::now() + retry_in;
        Event::Failed { error, retry_in }
    }

    fn change(&mut self, next: Identity) {
        let next = Presented::new(&self.settings.server, next);
        let chain = next.chain.clone();
        let before = self.present.replace(next);
        if let Some(before) = before {
            if before.chain.first() == chain.first() {
                return;
            }
            if self.lineage {
                self.successions.push_back(Succession { before: before.channel, next: chain, tried: 0 });
            }
        }
        if self.successions.len() > MAX_SUCCESSIONS {
            self.successions.pop_front();
            // The removed one may be the one that is being announced.
            self.attempt = None;
        }
        // A token for the previous certificate is no longer wanted.
        if matches!(self.attempt, Some(Attempt::Issue(..))) {
            self.attempt = None;
        }
        self.failures = 0;
        self.due = Instant::now();
    }
}

impl Presented {
    fn new(server: &Uri, Identity { chain, tls }: Identity) -> Self {
        Self { chain, channel: connection::connect_lazily(server, tls) }
    }
}

impl fmt::Debug for Renewal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Renewal")
            .field("settings", &self.settings)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

async fn progress(attempt: &mut Option<Attempt>) -> Answered {
    match attempt {
        Some(Attempt::Issue(asked, answer)) => Answered::Issue(*asked, answer.await.map(Response::into_inner)),
        Some(Attempt::Announce(answer)) => Answered::Announce(answer.await.map(Response::into_inner)),
        None => pending().await,
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}
