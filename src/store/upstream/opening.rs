//! One stream from one upstream: the connection, the first message and the first answer.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::Status;
use tonic::Streaming;
use tonic::transport::Uri;
use tonic_types::StatusExt as _;

use crate::authority::store::Revision;
use crate::authority::store::StoreError;
use crate::proto::WatchSnapshotRequest;
use crate::proto::WatchSnapshotResponse;
use crate::proto::WatchStart;
use crate::proto::WatchStarted;
use crate::proto::snapshot_service_client::SnapshotServiceClient;
use crate::proto::watch_snapshot_request::Request;
use crate::proto::watch_snapshot_response::Response;
use crate::store::channel;
use crate::store::channel::root_cause;
use crate::store::upstream::upstreams::Fault;
use crate::store::upstream::upstreams::Upstreams;

/// The time limit for a connection with its TLS handshake, and for the first answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The largest message, in bytes. The largest is a change by which many records are needed that were not.
const MAX_MESSAGE_BYTES: usize = 32 * 1024 * 1024;

/// A stream that has begun.
pub(super) struct Opened {
    pub(super) endpoint: Uri,
    /// When `start` was sent.
    pub(super) asked: Duration,
    pub(super) requests: mpsc::Sender<WatchSnapshotRequest>,
    pub(super) answers: Streaming<WatchSnapshotResponse>,
}

/// Why a stream does not begin, or ends.
pub(super) enum End {
    /// Another upstream is to be tried.
    Upstream(Fault),
    /// It cannot go on from there, at no upstream.
    Over(StoreError),
    /// Nobody takes the news.
    Unread,
}

/// Opens a stream from the next upstream, after this revision, or from the beginning.
pub(super) async fn open(upstreams: &Upstreams, after: Option<Revision>) -> Result<Opened, End> {
    let broken = |cause: String| End::Upstream(Fault::Broken(cause));
    let endpoint = upstreams.next().ok_or_else(|| broken("there is no upstream".to_owned()))?;
    let named = |cause: &str| format!("{endpoint}: {cause}");
    let connecting = channel::connect(endpoint.clone(), upstreams.tls.clone(), upstreams.home.clone());
    let channel = match timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(channel)) => channel,
        Ok(Err(cause)) => return Err(broken(named(&cause))),
        Err(_) => return Err(broken(named("it accepts no connection in time"))),
    };
    // Room for a few beats besides the start: what an upstream does not read proves nothing later.
    let (requests, queue) = mpsc::channel(4);
    let start = WatchStart { after_revision: after.map(|revision| revision.0) };
    let asked = upstreams.clock.elapsed();
    if requests.try_send(WatchSnapshotRequest { request: Some(Request::Start(start)) }).is_err() {
        return Err(broken(named("its requests end")));
    }
    let mut service = SnapshotServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let opening = async {
        let mut answers = service.watch_snapshot(ReceiverStream::new(queue)).await?.into_inner();
        let first = answers.next().await.transpose()?;
        Ok::<_, Status>((answers, first))
    };
    let (answers, first) = match timeout(CONNECT_TIMEOUT, opening).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(status)) => return Err(ended(&endpoint, &status)),
        Err(_) => return Err(broken(named("it does not answer in time"))),
    };
    let Some(Response::Started(started)) = first.and_then(|first| first.response) else {
        return Err(broken(named("its first message does not say whom it is from")));
    };
    expect(upstreams, &endpoint, &started, after)?;
    Ok(Opened { endpoint, asked, requests, answers })
}

/// Checks what an upstream says of itself.
fn expect(upstreams: &Upstreams, endpoint: &Uri, started: &WatchStarted, after: Option<Revision>) -> Result<(), End> {
    if started.issuer != upstreams.issuer {
        let (theirs, ours) = (started.issuer.escape_debug(), &upstreams.issuer);
        let cause = format!("{endpoint}: it is of the issuer {theirs}, and `issuer` in the configuration is {ours}");
        return Err(End::Upstream(Fault::Refused(cause)));
    }
    match (started.resumed, after) {
        (true, Some(_)) | (false, None) => Ok(()),
        // It lists everything, so what is known beside that is gone.
        (false, Some(_)) => Err(End::Over(StoreError::Compacted)),
        (true, None) => {
            Err(End::Upstream(Fault::Broken(format!("{endpoint}: it goes on from a revision that was not named"))))
        }
    }
}

/// What the end of a stream means.
pub(super) fn ended(endpoint: &Uri, status: &Status) -> End {
    let cause = std::error::Error::source(status).map_or_else(|| status.message().to_owned(), root_cause);
    let cause = format!("{endpoint}: {}", cause.escape_debug());
    let details = status.get_error_details();
    let reason = details.error_info().map_or("", |info| info.reason.as_str());
    match (status.code(), reason) {
        (Code::Aborted, "LIST_AGAIN") => End::Over(StoreError::Compacted),
        (Code::Unavailable, "CONNECTION_OVER") => End::Upstream(Fault::Over),
        (Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented | Code::FailedPrecondition, _) => {
            End::Upstream(Fault::Refused(cause))
        }
        _ => End::Upstream(Fault::Broken(cause)),
    }
}
