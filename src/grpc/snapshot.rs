//! `lanyard.v1.SnapshotService`: the snapshot, to edges and verifiers.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::LazyLock;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use futures_core::Stream;
use tonic::Extensions;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;

use crate::authority::Authority;
use crate::authority::access::CalledMethod;
use crate::authority::access::ConnectionInfo;
use crate::authority::access::NotAdmitted;
use crate::authority::access::Peer;
use crate::authority::access::Sender;
use crate::authority::clock::Timestamp;
use crate::authority::edges::FollowedSnapshot;
use crate::authority::edges::ListAgain;
use crate::authority::edges::NotFollowed;
use crate::authority::edges::Progress;
use crate::authority::edges::RefusedTokens;
use crate::authority::edges::Sent;
use crate::authority::edges::SentRecord;
use crate::authority::edges::SnapshotFollower;
use crate::authority::edges::TokensOf;
use crate::authority::observe::Decided;
use crate::authority::observe::Kind;
use crate::authority::observe::MAX_REPORTED;
use crate::authority::observe::Outcome;
use crate::authority::observe::Question;
use crate::authority::observe::known_reason;
use crate::authority::state::Admitted;
use crate::authority::state::Caller;
use crate::authority::store::Revision;
use crate::grpc::Services;
use crate::grpc::caller;
use crate::grpc::not_followed;
use crate::grpc::status;
use crate::grpc::status::malformed;
use crate::proto::DecidedOutcome;
use crate::proto::DecidedRequests;
use crate::proto::DecisionReport;
use crate::proto::RevocationEntries;
use crate::proto::RevocationEntry;
use crate::proto::RevokedTokens;
use crate::proto::SnapshotRecord;
use crate::proto::SnapshotRecords;
use crate::proto::VerificationKey;
use crate::proto::WatchProgress;
use crate::proto::WatchRevocationsRequest;
use crate::proto::WatchRevocationsResponse;
use crate::proto::WatchSnapshotRequest;
use crate::proto::WatchSnapshotResponse;
use crate::proto::WatchStart;
use crate::proto::WatchStarted;
use crate::proto::revoked_tokens::Tokens;
use crate::proto::snapshot_service_server::SnapshotService;
use crate::proto::watch_revocations_request;
use crate::proto::watch_revocations_response;
use crate::proto::watch_snapshot_request;
use crate::proto::watch_snapshot_response;

/// One of the two methods: how its messages are read and printed.
trait Watched: Send + Sync + 'static {
    type Request: Send + 'static;
    type Response: Send + 'static;

    /// The method, resolved once, because each message needs it.
    fn method() -> CalledMethod;
    /// Its full name, as in the access table.
    const METHOD: &'static str;

    fn asked(request: Self::Request) -> Option<Asked>;
    fn started(started: WatchStarted) -> Self::Response;
    fn listed(authority: &Authority, sent: Vec<Sent>) -> Self::Response;
    fn changed(authority: &Authority, revision: Revision, sent: Vec<Sent>) -> Self::Response;
    fn progress(progress: WatchProgress) -> Self::Response;
}

/// What a message of the caller says.
enum Asked {
    Start(Option<Revision>),
    Beat(u64),
    Report(DecisionReport),
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SnapshotService for Services {
    type WatchSnapshotStream = Responses<WatchSnapshotResponse>;
    type WatchRevocationsStream = Responses<WatchRevocationsResponse>;

    async fn watch_snapshot(
        &self,
        request: Request<Streaming<WatchSnapshotRequest>>,
    ) -> Result<Response<Self::WatchSnapshotStream>, Status> {
        let (_, extensions, requests) = request.into_parts();
        let follow = |caller: &Caller, after| self.authority.follow_snapshot(caller, after);
        watch::<Records>(&self.authority, &extensions, requests, follow).await
    }

    async fn watch_revocations(
        &self,
        request: Request<Streaming<WatchRevocationsRequest>>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        let (_, extensions, requests) = request.into_parts();
        watch::<Revocations>(&self.authority, &extensions, requests, |_, after| {
            self.authority.follow_revocations(after)
        })
        .await
    }
}

async fn watch<T: Watched>(
    authority: &Arc<Authority>,
    extensions: &Extensions,
    mut requests: Streaming<T::Request>,
    follow: impl Fn(&Caller, Option<Revision>) -> Result<SnapshotFollower, NotFollowed>,
) -> Result<Response<Responses<T::Response>>, Status> {
    let caller = caller(extensions)?;
    let peer = extensions.get::<Peer>().cloned();
    let peer = peer.ok_or_else(|| Status::internal("the request did not pass the guard"))?;
    let Some(Asked::Start(after)) = requests.message().await?.and_then(T::asked) else {
        return Err(malformed("start", "must be the first message"));
    };
    let follower = follow(caller, after).map_err(not_followed::not_granted)?;
    let started = WatchStarted {
        resumed: follower.is_resumed(),
        issuer: authority.policy().issuer.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let watching = Watching::<T> {
        authority: Arc::clone(authority),
        peer,
        connection: caller.connection,
        requests,
        started: Some(started),
        reported: 0,
        takes_report: false,
        follower: Some(follower),
    };
    Ok(Response::new(Box::pin(watching)))
}

/// The responses of one stream. Before each the caller is authorized again, as at a request.
struct Watching<T: Watched> {
    authority: Arc<Authority>,
    peer: Peer,
    connection: ConnectionInfo,
    requests: Streaming<T::Request>,
    started: Option<WatchStarted>,
    /// The number of the last report.
    reported: u64,
    /// Whether another one is taken before the next beat.
    takes_report: bool,
    /// `None` once the stream has ended.
    follower: Option<SnapshotFollower>,
}

impl<T: Watched> Stream for Watching<T> {
    type Item = Result<T::Response, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(follower) = &mut this.follower else { return Poll::Ready(None) };
        if let Some(started) = this.started.take() {
            return Poll::Ready(Some(Ok(T::started(started))));
        }
        while let Poll::Ready(request) = Pin::new(&mut this.requests).poll_next(context) {
            match request.map(|request| request.map(T::asked)) {
                Some(Ok(Some(Asked::Beat(number)))) => {
                    let age = this.authority.age_of_snapshot(follower.is_for_verifiers());
                    follower.beat(number, age);
                    this.takes_report = true;
                }
                Some(Ok(Some(Asked::Report(report)))) if this.takes_report => {
                    let authorized = this.authority.authorize(this.authority.view(), Some(&this.peer), T::method());
                    // One who may no longer is told so below.
                    if let Ok(Some(Admitted::Caller(caller))) = authorized {
                        let decided = report.decided.into_iter().take(MAX_REPORTED).filter_map(decided).collect();
                        this.authority.take_report(&caller, decided, report.not_told_apart);
                    }
                    (this.reported, this.takes_report) = (report.number, false);
                }
                Some(Ok(Some(Asked::Start(_) | Asked::Report(_)) | None)) => {
                    this.follower = None;
                    return Poll::Ready(Some(Err(malformed("request", "must be a beat, or one report after it"))));
                }
                Some(Err(_)) | None => {
                    this.follower = None;
                    return Poll::Ready(None);
                }
            }
        }
        let next = ready!(follower.poll_next(context));
        let authorized = this.authority.authorize(this.authority.view(), Some(&this.peer), T::method());
        let authorized = authorized.and_then(|caller| {
            let still = caller.is_some_and(|caller| follower.is_by(caller.roles().edge.as_ref()));
            if still { Ok(()) } else { Err(NotAdmitted::WrongRole) }
        });
        Poll::Ready(Some(match (authorized, next) {
            (Ok(()), Ok(next)) => Ok(printed::<T>(&this.authority, this.reported, next)),
            (Ok(()), Err(ListAgain)) => {
                this.follower = None;
                Err(not_followed::list_again())
            }
            (Err(error), _) => {
                this.follower = None;
                let sender = Sender::of(Some(&this.peer), this.connection);
                let reference = this.authority.report_not_admitted(&sender, T::METHOD, error, true);
                Err(status::referring(&status::not_admitted(error), reference))
            }
        }))
    }
}

fn printed<T: Watched>(authority: &Authority, reported: u64, next: FollowedSnapshot) -> T::Response {
    match next {
        FollowedSnapshot::Listed(sent) => T::listed(authority, sent),
        FollowedSnapshot::Changed(revision, sent) => T::changed(authority, revision, sent),
        FollowedSnapshot::Progress(Progress { revision, beat, age }) => {
            T::progress(WatchProgress { revision: revision.0, beat, age_ms: milliseconds(age), reported })
        }
    }
}

/// Requests as an edge reports them; `None` where that is not readable. What one of a later version says is another reason.
fn decided(reported: DecidedRequests) -> Option<Decided> {
    let DecidedRequests { resource, caller, check, route, outcome, reason, fix, count } = reported;
    let reason = known_reason(&reason);
    let outcome = match DecidedOutcome::try_from(outcome).ok()? {
        DecidedOutcome::Allowed => Outcome::Allowed,
        DecidedOutcome::Denied => Outcome::Denied(reason),
        DecidedOutcome::LetThrough => Outcome::LetThrough(reason),
        DecidedOutcome::Unspecified => return None,
    };
    let question = if check { Question::Check } else { Question::ValidateBinding };
    Some(Decided { kind: Kind::reported((&resource, &caller, &route, &fix), question, outcome), count })
}

/// Rounded up, so that nothing seems younger than it is.
fn milliseconds(age: Duration) -> u64 {
    u64::try_from(age.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn start(start: WatchStart) -> Asked {
    Asked::Start(start.after_revision.map(Revision))
}

/// `WatchSnapshot`.
struct Records;

static WATCH_SNAPSHOT: LazyLock<CalledMethod> = LazyLock::new(|| CalledMethod::find(Records::METHOD, true));

impl Watched for Records {
    type Request = WatchSnapshotRequest;
    type Response = WatchSnapshotResponse;

    const METHOD: &'static str = "/lanyard.v1.SnapshotService/WatchSnapshot";

    fn method() -> CalledMethod {
        *WATCH_SNAPSHOT
    }

    fn asked(request: WatchSnapshotRequest) -> Option<Asked> {
        request.request.map(|request| match request {
            watch_snapshot_request::Request::Start(message) => start(message),
            watch_snapshot_request::Request::Beat(beat) => Asked::Beat(beat.number),
            watch_snapshot_request::Request::Report(report) => Asked::Report(report),
        })
    }

    fn started(started: WatchStarted) -> WatchSnapshotResponse {
        WatchSnapshotResponse { response: Some(watch_snapshot_response::Response::Started(started)) }
    }

    fn listed(_: &Authority, sent: Vec<Sent>) -> WatchSnapshotResponse {
        let listed = watch_snapshot_response::Response::Listed(records(Revision::default(), sent));
        WatchSnapshotResponse { response: Some(listed) }
    }

    fn changed(_: &Authority, revision: Revision, sent: Vec<Sent>) -> WatchSnapshotResponse {
        let changed = watch_snapshot_response::Response::Changed(records(revision, sent));
        WatchSnapshotResponse { response: Some(changed) }
    }

    fn progress(progress: WatchProgress) -> WatchSnapshotResponse {
        WatchSnapshotResponse { response: Some(watch_snapshot_response::Response::Progress(progress)) }
    }
}

fn records(revision: Revision, sent: Vec<Sent>) -> SnapshotRecords {
    let records = sent.into_iter().filter_map(|sent| match sent {
        Sent::Record(SentRecord { key, value, revision }) => Some(SnapshotRecord { key, value, revision: revision.0 }),
        Sent::Revocation(..) | Sent::Key(..) => None,
    });
    SnapshotRecords { revision: revision.0, records: records.collect() }
}

/// `WatchRevocations`.
struct Revocations;

static WATCH_REVOCATIONS: LazyLock<CalledMethod> = LazyLock::new(|| CalledMethod::find(Revocations::METHOD, true));

impl Watched for Revocations {
    type Request = WatchRevocationsRequest;
    type Response = WatchRevocationsResponse;

    const METHOD: &'static str = "/lanyard.v1.SnapshotService/WatchRevocations";

    fn method() -> CalledMethod {
        *WATCH_REVOCATIONS
    }

    fn asked(request: WatchRevocationsRequest) -> Option<Asked> {
        request.request.map(|request| match request {
            watch_revocations_request::Request::Start(message) => start(message),
            watch_revocations_request::Request::Beat(beat) => Asked::Beat(beat.number),
        })
    }

    fn started(started: WatchStarted) -> WatchRevocationsResponse {
        WatchRevocationsResponse { response: Some(watch_revocations_response::Response::Started(started)) }
    }

    fn listed(authority: &Authority, sent: Vec<Sent>) -> WatchRevocationsResponse {
        let listed = watch_revocations_response::Response::Listed(entries(authority, Revision::default(), sent));
        WatchRevocationsResponse { response: Some(listed) }
    }

    fn changed(authority: &Authority, revision: Revision, sent: Vec<Sent>) -> WatchRevocationsResponse {
        let changed = watch_revocations_response::Response::Changed(entries(authority, revision, sent));
        WatchRevocationsResponse { response: Some(changed) }
    }

    fn progress(progress: WatchProgress) -> WatchRevocationsResponse {
        WatchRevocationsResponse { response: Some(watch_revocations_response::Response::Progress(progress)) }
    }
}

fn entries(authority: &Authority, revision: Revision, sent: Vec<Sent>) -> RevocationEntries {
    let mut entries = RevocationEntries { revision: revision.0, ..RevocationEntries::default() };
    for sent in sent {
        match sent {
            Sent::Revocation(revoked, record) => {
                let refused = authority.refused_tokens(&revoked, record.as_ref());
                entries.revocations.extend(refused.into_iter().map(entry));
            }
            Sent::Key(kid, jwk) => entries.keys.push(VerificationKey { kid, jwk }),
            Sent::Record(_) => {}
        }
    }
    entries
}

fn entry(refused: RefusedTokens) -> RevocationEntry {
    let RefusedTokens { id, tokens, issued_until, expires } = refused;
    let tokens = tokens.into_iter().map(|tokens| {
        let tokens = match tokens {
            TokensOf::Token(jti) => Tokens::Jti(jti),
            TokensOf::Client(client_id) => Tokens::ClientId(client_id),
            TokensOf::Registration(creation) => Tokens::Registration(creation),
            TokensOf::Certificate(thumbprint) => Tokens::Certificate(thumbprint),
            TokensOf::Identities(pattern) => Tokens::Identities(pattern),
            TokensOf::TrustDomain(name) => Tokens::TrustDomain(name),
            TokensOf::All => Tokens::All(true),
        };
        RevokedTokens { tokens: Some(tokens) }
    });
    let (issued_until, expires) = (issued_until.map(seconds), expires.map(seconds));
    RevocationEntry { id, tokens: tokens.collect(), issued_until, expires }
}

fn seconds(time: Timestamp) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}
