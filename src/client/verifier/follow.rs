//! Follows the stream of a server, and goes on at another one where it ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future;
use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::time::interval;
use tokio::time::sleep;
use tokio::time::timeout;
use tokio_stream::Stream;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::IntervalStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::Status;
use tonic::transport::Uri;
use tonic_types::StatusExt;
use tracing::debug;
use tracing::warn;

use crate::client::connection;
use crate::client::pace;
use crate::client::supply::Supply;
use crate::client::token::TokenError;
use crate::client::verifier::copy::Confirmed;
use crate::client::verifier::copy::Copy;
use crate::client::verifier::copy::Moment;
use crate::client::verifier::follow_error::FollowError;
use crate::client::verifier::shared::Shared;
use crate::proto::WatchBeat;
use crate::proto::WatchProgress;
use crate::proto::WatchRevocationsRequest;
use crate::proto::WatchRevocationsResponse;
use crate::proto::WatchStart;
use crate::proto::WatchStarted;
use crate::proto::snapshot_service_client::SnapshotServiceClient;
use crate::proto::watch_revocations_request::Request;
use crate::proto::watch_revocations_response::Response;

/// The interval of beats.
const BEAT: Duration = Duration::from_secs(1);

/// How long a server may send nothing that is awaited, before another one is asked.
const SILENCE: Duration = Duration::from_secs(10);

/// The most beats that are not answered yet.
const MAX_BEATS: usize = 16;

/// How the next stream begins.
enum Next {
    /// It goes on where this one ended.
    Resume,
    /// Everything is listed.
    List,
}

pub(super) struct Follower {
    pub(super) servers: Vec<Uri>,
    pub(super) issuer: String,
    pub(super) shared: Arc<Shared>,
}

/// What happens during a stream.
enum Event {
    Message(Result<WatchRevocationsResponse, Status>),
    Ended,
    Beat,
}

/// Follows until it is dropped.
pub(super) async fn run(follower: Follower, first: Option<Arc<ClientConfig>>, supply: Supply) {
    let (sender, identity) = watch::channel(first);
    let shared = Arc::clone(&follower.shared);
    let supplied = std::pin::pin!(keep_identity(supply, sender, shared));
    let running = std::pin::pin!(follower.run(identity));
    future::select(supplied, running).await;
}

async fn keep_identity(mut supply: Supply, identity: watch::Sender<Option<Arc<ClientConfig>>>, shared: Arc<Shared>) {
    while let Some(supplied) = supply.next().await {
        match supplied {
            Ok(next) => drop(identity.send_replace(Some(next.tls))),
            Err(error) => {
                warn!(%error, "no usable certificate; the previous one stays in use");
                shared.report(Some(error.into()));
            }
        }
    }
    future::pending::<()>().await;
}

impl Follower {
    async fn run(self, mut identity: watch::Receiver<Option<Arc<ClientConfig>>>) {
        let mut server = usize::try_from(pace::random(u32::from(u16::MAX))).unwrap_or_default();
        let (mut failures, mut next) = (0_u32, Next::List);
        loop {
            let tls = identity.wait_for(Option::is_some).await.ok().and_then(|tls| tls.clone());
            let Some(tls) = tls else { return };
            let Some(uri) = self.servers.get(server % self.servers.len().max(1)) else {
                self.shared.report(Some(FollowError::NoServer));
                return future::pending().await;
            };
            let mut session = Session::new(&self, matches!(next, Next::Resume));
            let error = match session.follow(uri, tls).await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            let progressed = session.progressed && !matches!(error, FollowError::Behind);
            failures = if progressed { 1 } else { failures.saturating_add(1) };
            next = self.next(&error);
            let wait = pace::backoff(failures);
            if is_routine(&error) {
                debug!(server = %uri, %error, "the stream of revocations goes on at the next server");
            } else {
                warn!(server = %uri, %error, ?wait, "the stream of revocations ended");
            }
            self.shared.report(Some(error));
            server = server.wrapping_add(1);
            sleep(wait).await;
        }
    }

    /// A replica that is behind may have been restored from a backup: nothing can be resumed then, and once the copy is too old,
    /// it is of no more use.
    fn next(&self, error: &FollowError) -> Next {
        let behind = matches!(error, FollowError::Behind) || reason(error).as_deref() == Some("BEHIND");
        let again = code(error) == Some(Code::Aborted);
        let lists = again || behind && self.shared.is_stale() || self.shared.read().confirmed.is_none();
        if lists { Next::List } else { Next::Resume }
    }
}

fn code(error: &FollowError) -> Option<Code> {
    let FollowError::Failed(error) = error else { return None };
    error.status().map(Status::code)
}

fn reason(error: &FollowError) -> Option<String> {
    let FollowError::Failed(error) = error else { return None };
    error.status().and_then(StatusExt::get_details_error_info).map(|info| info.reason)
}

/// Whether the server ended the stream only for the age of the connection, or for it to be listed anew.
fn is_routine(error: &FollowError) -> bool {
    reason(error).is_some_and(|reason| matches!(reason.as_str(), "CONNECTION_OVER" | "LIST_AGAIN"))
}

/// One stream.
struct Session<'a> {
    follower: &'a Follower,
    resume: bool,
    started: bool,
    asked: Moment,
    heard: Moment,
    /// The listing, until it is complete.
    listing: Option<Copy>,
    /// Whether the first progress has come.
    progressed: bool,
    number: u64,
    beats: VecDeque<(u64, Moment)>,
}

impl<'a> Session<'a> {
    fn new(follower: &'a Follower, resume: bool) -> Self {
        let (asked, beats) = (Moment::now(), VecDeque::new());
        Self {
            follower,
            resume,
            started: false,
            asked,
            heard: asked,
            listing: None,
            progressed: false,
            number: 0,
            beats,
        }
    }

    async fn follow(&mut self, server: &Uri, tls: Arc<ClientConfig>) -> Result<std::convert::Infallible, FollowError> {
        let (requests, receiver) = mpsc::channel(2 * MAX_BEATS);
        let after_revision = self.resume.then(|| self.follower.shared.read().copy.revision);
        send(&requests, Request::Start(WatchStart { after_revision }))?;
        let mut client = SnapshotServiceClient::new(connection::connect_lazily(server, tls));
        self.asked = Moment::now();
        let answer = timeout(SILENCE, client.watch_revocations(ReceiverStream::new(receiver))).await;
        let messages = answer.map_err(|_| FollowError::Silent)?.map_err(failed)?.into_inner();
        self.heard = Moment::now();
        let mut events = std::pin::pin!(events(messages));
        while let Some(event) = events.next().await {
            match event {
                Event::Message(message) => self.message(message.map_err(failed)?)?,
                Event::Ended => break,
                Event::Beat => self.beat(&requests)?,
            }
        }
        Err(failed(Status::unavailable("the stream ended")))
    }

    fn beat(&mut self, requests: &mpsc::Sender<WatchRevocationsRequest>) -> Result<(), FollowError> {
        if self.heard.elapsed() > SILENCE {
            return Err(FollowError::Silent);
        }
        // Until then no beat is answered.
        if !self.progressed {
            return Ok(());
        }
        self.number += 1;
        self.beats.push_back((self.number, Moment::now()));
        if self.beats.len() > MAX_BEATS {
            return Err(FollowError::Silent);
        }
        send(requests, Request::Beat(WatchBeat { number: self.number }))
    }

    fn message(&mut self, message: WatchRevocationsResponse) -> Result<(), FollowError> {
        let response = message.response.ok_or(FollowError::Unexpected)?;
        if matches!(response, Response::Started(_)) == self.started {
            return Err(FollowError::Unexpected);
        }
        match response {
            Response::Started(started) => self.start(started),
            Response::Listed(entries) => {
                self.heard = Moment::now();
                self.listing.as_mut().ok_or(FollowError::Unexpected)?.apply(entries);
                Ok(())
            }
            Response::Changed(entries) => {
                match &mut self.listing {
                    Some(listing) => listing.apply(entries),
                    None => self.follower.shared.write().copy.apply(entries),
                }
                Ok(())
            }
            Response::Progress(progress) => self.progress(progress),
        }
    }

    fn start(&mut self, started: WatchStarted) -> Result<(), FollowError> {
        let WatchStarted { resumed, issuer, version } = started;
        if issuer != self.follower.issuer {
            return Err(FollowError::OtherIssuer(issuer));
        }
        if resumed && !self.resume {
            return Err(FollowError::Unexpected);
        }
        debug!(version, resumed, "the stream of revocations has started");
        self.started = true;
        self.listing = (!resumed).then(Copy::default);
        Ok(())
    }

    fn progress(&mut self, progress: WatchProgress) -> Result<(), FollowError> {
        let WatchProgress { revision, beat, age_ms, .. } = progress;
        let behind = Duration::from_millis(age_ms);
        self.heard = Moment::now();
        let asked = match beat {
            Some(number) => Some(self.asked_at(number).ok_or(FollowError::Unexpected)?),
            None => (!self.progressed).then_some(self.asked),
        };
        let confirmed = asked.map(|asked| Confirmed { asked, behind });
        let shared = &self.follower.shared;
        if let Some((mut listing, confirmed)) = self.listing.take().zip(confirmed) {
            listing.advance(revision);
            // What was revoked must not be forgotten for a replica that has not learned of it yet.
            if listing.revision < shared.read().copy.revision && !shared.is_stale() {
                return Err(FollowError::Behind);
            }
            listing.revocations.forget(self.heard.seconds());
            debug!(revision, revocations = listing.revocations.len(), "the revocations were listed");
            shared.write().replace(listing, confirmed);
        } else {
            shared.write().confirm(revision, confirmed, self.heard.seconds());
        }
        self.progressed = true;
        if behind > shared.max_age / 2 && self.follower.servers.len() > 1 {
            return Err(FollowError::Behind);
        }
        shared.report(None);
        Ok(())
    }

    /// When this beat was sent. Those before it are not answered any more.
    fn asked_at(&mut self, number: u64) -> Option<Moment> {
        while let Some((known, asked)) = self.beats.pop_front() {
            if known == number {
                return Some(asked);
            }
        }
        None
    }
}

fn events(messages: tonic::Streaming<WatchRevocationsResponse>) -> impl Stream<Item = Event> {
    let beats = IntervalStream::new(interval(BEAT)).map(|_| Event::Beat);
    messages.map(Event::Message).chain(tokio_stream::once(Event::Ended)).merge(beats)
}

fn send(requests: &mpsc::Sender<WatchRevocationsRequest>, request: Request) -> Result<(), FollowError> {
    // Full: the connection takes nothing any more.
    requests.try_send(WatchRevocationsRequest { request: Some(request) }).map_err(|_| FollowError::Silent)
}

fn failed(status: Status) -> FollowError {
    TokenError::of(status).into()
}
