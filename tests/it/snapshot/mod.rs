//! What edges and verifiers follow of a server's snapshot.

mod changes;
mod narrowed;
mod reports;
mod verifiers;

use std::collections::BTreeMap;

use lanyard::proto::SnapshotRecord;
use lanyard::proto::SnapshotRecords;
use lanyard::proto::WatchBeat;
use lanyard::proto::WatchProgress;
use lanyard::proto::WatchSnapshotRequest;
use lanyard::proto::WatchSnapshotResponse;
use lanyard::proto::WatchStart;
use lanyard::proto::snapshot_service_client::SnapshotServiceClient;
use lanyard::proto::watch_snapshot_request::Request;
use lanyard::proto::watch_snapshot_response::Response;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::Streaming;

use crate::support::door::within;
use crate::support::leaf::Leaf;
use crate::support::server::TestServer;

/// A stream, as an edge follows it.
struct Edge {
    requests: mpsc::Sender<WatchSnapshotRequest>,
    responses: Streaming<WatchSnapshotResponse>,
    resumed: bool,
    beats: u64,
    /// The records that it has by now.
    records: BTreeMap<String, Value>,
    /// Up to which revision.
    revision: u64,
}

impl Edge {
    /// Follows from the beginning, until everything was listed.
    async fn listed(server: &TestServer, leaf: &Leaf) -> Self {
        let mut edge = Self::start(server, leaf, None).await.unwrap();
        assert!(!edge.resumed);
        edge.until_progress().await;
        edge
    }

    async fn start(server: &TestServer, leaf: &Leaf, after: Option<u64>) -> Result<Self, Status> {
        let (requests, sent) = mpsc::channel(8);
        let start = Request::Start(WatchStart { after_revision: after });
        requests.send(WatchSnapshotRequest { request: Some(start) }).await.unwrap();
        let mut client = SnapshotServiceClient::new(server.channel(leaf));
        let mut responses = within(client.watch_snapshot(ReceiverStream::new(sent))).await?.into_inner();
        let Response::Started(started) = next(&mut responses).await? else { panic!("the first message is another") };
        assert_eq!(started.issuer, crate::support::server::ISSUER);
        let (records, beats, revision) = (BTreeMap::new(), 0, after.unwrap_or_default());
        Ok(Self { requests, responses, resumed: started.resumed, beats, records, revision })
    }

    /// Takes what comes up to the next progress.
    async fn until_progress(&mut self) -> WatchProgress {
        loop {
            match next(&mut self.responses).await.unwrap() {
                Response::Listed(part) => self.take(part),
                Response::Changed(changed) => {
                    assert!(changed.revision > self.revision, "{changed:?} after {}", self.revision);
                    self.revision = changed.revision;
                    self.take(changed);
                }
                Response::Progress(progress) => {
                    self.revision = self.revision.max(progress.revision);
                    return progress;
                }
                Response::Started(_) => panic!("it starts twice"),
            }
        }
    }

    /// Takes everything that the server knows now.
    async fn beat(&mut self) -> WatchProgress {
        self.beats += 1;
        let beat = Request::Beat(WatchBeat { number: self.beats });
        self.requests.send(WatchSnapshotRequest { request: Some(beat) }).await.unwrap();
        loop {
            let progress = self.until_progress().await;
            if progress.beat == Some(self.beats) {
                return progress;
            }
        }
    }

    fn take(&mut self, records: SnapshotRecords) {
        for SnapshotRecord { key, value, .. } in records.records {
            match value {
                Some(value) => drop(self.records.insert(key, serde_json::from_slice(&value).unwrap())),
                None => drop(self.records.remove(&key)),
            }
        }
    }

    /// The names of the clients that it has.
    fn clients(&self) -> Vec<&str> {
        self.records.keys().filter_map(|key| key.strip_prefix("/clients/")).collect()
    }

    /// Why the stream ends.
    async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = next(&mut self.responses).await {
                return status;
            }
        }
    }
}

async fn next(responses: &mut Streaming<WatchSnapshotResponse>) -> Result<Response, Status> {
    let message = within(responses.message()).await?;
    Ok(message.and_then(|message| message.response).expect("the stream ended without a status"))
}
