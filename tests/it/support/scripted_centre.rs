//! A server of the centre that sends edges what the test says.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use futures_util::FutureExt as _;
use lanyard::proto::SnapshotRecord;
use lanyard::proto::SnapshotRecords;
use lanyard::proto::WatchProgress;
use lanyard::proto::WatchRevocationsRequest;
use lanyard::proto::WatchRevocationsResponse;
use lanyard::proto::WatchSnapshotRequest;
use lanyard::proto::WatchSnapshotResponse;
use lanyard::proto::WatchStart;
use lanyard::proto::WatchStarted;
use lanyard::proto::snapshot_service_server::SnapshotService;
use lanyard::proto::snapshot_service_server::SnapshotServiceServer;
use lanyard::proto::watch_snapshot_request::Request;
use lanyard::proto::watch_snapshot_response::Response;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_stream::Stream;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Code;
use tonic::Status;
use tonic::Streaming;
use tonic::transport::Server;
use tonic_types::ErrorDetails;
use tonic_types::StatusExt as _;

use crate::support::door::within;
use crate::support::server::ISSUER;

/// Without TLS, at a port of its own. Dropping it ends it.
pub struct ScriptedCentre {
    pub address: SocketAddr,
    streams: mpsc::UnboundedReceiver<ScriptedStream>,
    refuses: Arc<AtomicBool>,
    serving: AbortHandle,
}

/// A stream that an edge has opened.
pub struct ScriptedStream {
    requests: Streaming<WatchSnapshotRequest>,
    answers: mpsc::UnboundedSender<Result<WatchSnapshotResponse, Status>>,
    waiting: Option<WatchSnapshotRequest>,
    /// What the edge asked for.
    pub start: WatchStart,
}

impl ScriptedCentre {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (opened, streams) = mpsc::unbounded_channel();
        let refuses = Arc::new(AtomicBool::new(false));
        let service = SnapshotServiceServer::new(Service { opened, refuses: Arc::clone(&refuses) });
        let serving = Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener));
        let serving = tokio::spawn(async move { serving.await.unwrap() }).abort_handle();
        Self { address, streams, refuses, serving }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next stream that an edge opens.
    pub async fn stream(&mut self) -> ScriptedStream {
        within(self.streams.recv()).await.unwrap()
    }

    /// From now on each stream is refused for want of the role.
    pub fn refuse(&self) {
        self.refuses.store(true, Ordering::SeqCst);
    }

    /// Whether an edge has opened a stream that the test has not taken.
    pub fn has_stream(&self) -> bool {
        !self.streams.is_empty()
    }
}

impl Drop for ScriptedCentre {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl ScriptedStream {
    pub fn send(&self, response: Response) {
        drop(self.answers.send(Ok(WatchSnapshotResponse { response: Some(response) })));
    }

    pub fn started(&self, resumed: bool) {
        self.started_of(ISSUER, resumed);
    }

    pub fn started_of(&self, issuer: &str, resumed: bool) {
        let version = "0.1.0".to_owned();
        self.send(Response::Started(WatchStarted { resumed, issuer: issuer.to_owned(), version }));
    }

    /// Each with its key, its value and its revision.
    pub fn listed(&self, records: &[(&str, &str, u64)]) {
        let records = records.iter().map(|(key, value, revision)| SnapshotRecord {
            key: (*key).to_owned(),
            value: Some(value.as_bytes().to_vec()),
            revision: *revision,
        });
        self.send(Response::Listed(SnapshotRecords { revision: 0, records: records.collect() }));
    }

    /// Each with its key, and its value if it is there still.
    pub fn changed(&self, revision: u64, records: &[(&str, Option<&str>)]) {
        let records = records.iter().map(|(key, value)| SnapshotRecord {
            key: (*key).to_owned(),
            value: value.map(|value| value.as_bytes().to_vec()),
            revision: 0,
        });
        self.send(Response::Changed(SnapshotRecords { revision, records: records.collect() }));
    }

    pub fn progress(&self, revision: u64, beat: Option<u64>, age_ms: u64) {
        self.send(Response::Progress(WatchProgress { revision, beat, age_ms, reported: 0 }));
    }

    /// Lists these records as of a revision.
    pub fn lists(&self, records: &[(&str, &str, u64)], revision: u64) {
        self.started(false);
        self.listed(records);
        self.progress(revision, None, 0);
    }

    /// The number of the next beat that arrives.
    pub async fn beat(&mut self) -> u64 {
        let request = match self.waiting.take() {
            Some(request) => request,
            None => within(self.requests.next()).await.expect("the edge has ended the stream").unwrap(),
        };
        match request.request {
            Some(Request::Beat(beat)) => beat.number,
            other => panic!("no beat: {other:?}"),
        }
    }

    /// Whether a beat has arrived that was not taken.
    pub fn has_beat(&mut self) -> bool {
        if self.waiting.is_none() {
            self.waiting = self.requests.next().now_or_never().flatten().map(Result::unwrap);
        }
        self.waiting.is_some()
    }

    pub fn end(self, code: Code, reason: &str) {
        let details = ErrorDetails::with_error_info(reason, "lanyard", HashMap::new());
        drop(self.answers.send(Err(Status::with_error_details(code, "the test ends it", details))));
    }

    /// Whether the edge has left.
    pub async fn is_left(&mut self) -> bool {
        within(self.answers.closed()).await;
        true
    }
}

struct Service {
    opened: mpsc::UnboundedSender<ScriptedStream>,
    refuses: Arc<AtomicBool>,
}

#[tonic::async_trait]
impl SnapshotService for Service {
    type WatchSnapshotStream = Pin<Box<dyn Stream<Item = Result<WatchSnapshotResponse, Status>> + Send>>;
    type WatchRevocationsStream = Pin<Box<dyn Stream<Item = Result<WatchRevocationsResponse, Status>> + Send>>;

    async fn watch_snapshot(
        &self,
        request: tonic::Request<Streaming<WatchSnapshotRequest>>,
    ) -> Result<tonic::Response<Self::WatchSnapshotStream>, Status> {
        if self.refuses.load(Ordering::SeqCst) {
            return Err(Status::permission_denied("the caller holds none of the roles that this method asks for"));
        }
        let mut requests = request.into_inner();
        let first = requests.next().await.unwrap()?.request;
        let Some(Request::Start(start)) = first else { panic!("no start: {first:?}") };
        let (answers, sent) = mpsc::unbounded_channel();
        drop(self.opened.send(ScriptedStream { requests, answers, waiting: None, start }));
        Ok(tonic::Response::new(Box::pin(UnboundedReceiverStream::new(sent))))
    }

    async fn watch_revocations(
        &self,
        _: tonic::Request<Streaming<WatchRevocationsRequest>>,
    ) -> Result<tonic::Response<Self::WatchRevocationsStream>, Status> {
        Err(Status::unimplemented("edges do not ask for it"))
    }
}
