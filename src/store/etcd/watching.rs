//! A watch that moves to the next member when the present one fails, and goes on from where it was.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::MissedTickBehavior;
use tokio::time::interval;
use tokio::time::sleep;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::authority::store::Batch;
use crate::authority::store::Change;
use crate::authority::store::Revision;
use crate::authority::store::StoreError;
use crate::store::etcd::connection::ATTEMPT_TIMEOUT;
use crate::store::etcd::connection::Connection;
use crate::store::etcd::connection::MAX_ANSWER_BYTES;
use crate::store::etcd::connection::to_led_member;
use crate::store::etcd::proto::etcdserverpb::WatchCreateRequest;
use crate::store::etcd::proto::etcdserverpb::WatchProgressRequest;
use crate::store::etcd::proto::etcdserverpb::WatchRequest;
use crate::store::etcd::proto::etcdserverpb::WatchResponse;
use crate::store::etcd::proto::etcdserverpb::watch_client::WatchClient;
use crate::store::etcd::proto::etcdserverpb::watch_request::RequestUnion;
use crate::store::etcd::proto::mvccpb::Event;
use crate::store::etcd::proto::mvccpb::event::EventType;
use crate::store::etcd::value;
use crate::store::etcd::value::after_prefix;
use crate::store::etcd::value::foreign;
use crate::store::etcd::value::revision;
use crate::store::etcd::value::signed;

/// How often etcd is asked how far the watch has come.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// How long a watch may be silent before another member is tried.
const SILENCE: Duration = Duration::from_secs(3);

/// How long to wait before the next attempt.
const PAUSE: Duration = Duration::from_millis(250);

/// How many batches wait for a slow reader.
pub(super) const BATCHES: usize = 64;

/// Where batches go.
pub(super) type Batches = mpsc::Sender<Result<Batch, StoreError>>;

/// A watch of a range of keys.
#[derive(Debug)]
pub(super) struct Watching {
    pub(super) connection: Arc<Connection>,
    /// The place of the store in etcd, which the keys in batches are without.
    pub(super) place: String,
    /// The watched prefix, with the place.
    pub(super) prefix: Vec<u8>,
    /// Everything up to this revision has been delivered.
    pub(super) reached: Revision,
    pub(super) batches: Batches,
    /// Whether no member has answered since the last one failed.
    pub(super) is_interrupted: bool,
    /// Closed with the store.
    pub(super) store: watch::Receiver<()>,
}

/// Why a watch on one member ended.
enum End {
    /// Another member is to be tried.
    Broken(String),
    /// The watch cannot go on.
    Over(StoreError),
    /// Nobody reads the batches.
    Unread,
}

impl Watching {
    /// Runs until the reader or the store is gone, or until etcd no longer has the changes.
    pub(super) async fn run(mut self) {
        let mut store = self.store.clone();
        let batches = self.batches.clone();
        tokio::select! {
            () = self.follow() => {}
            // Fails when the store drops its end.
            _ = store.changed() => {}
            () = batches.closed() => {}
        }
    }

    async fn follow(&mut self) {
        loop {
            let cause = match self.attempt().await {
                End::Unread => return,
                End::Over(error) => return drop(self.batches.send(Err(error)).await),
                End::Broken(cause) => cause,
            };
            // Once, and not at each attempt of an outage.
            if self.is_interrupted {
                tracing::debug!(cause, "the watch of etcd is not resumed yet");
            } else {
                tracing::warn!(cause, "the watch of etcd is interrupted, and moves to another member");
            }
            self.is_interrupted = true;
            sleep(PAUSE).await;
        }
    }

    async fn attempt(&mut self) -> End {
        // etcd would wait for a revision that is still to come. After its data was restored, what was reached may be one.
        match self.connection.revision().await {
            Ok(present) if present < self.reached => return End::Over(StoreError::Compacted),
            Ok(_) => {}
            Err(fault) => return End::Broken(StoreError::from(fault).to_string()),
        }
        let numbers = self.connection.numbers();
        let connected = match self.connection.connected().await {
            Ok(connected) => connected,
            Err(cause) => {
                self.connection.health.failed(&cause);
                return End::Broken(cause);
            }
        };
        let end = self.on(connected.channel, connected.number, numbers).await;
        if matches!(end, End::Broken(_)) {
            self.connection.replace(connected.number).await;
        }
        end
    }

    /// Watches on one member.
    async fn on(&mut self, channel: tonic::transport::Channel, number: u64, mut numbers: watch::Receiver<u64>) -> End {
        // Room for one request for progress at a time.
        let (requests, queue) = mpsc::channel(2);
        let create = RequestUnion::CreateRequest(WatchCreateRequest {
            key: self.prefix.clone(),
            range_end: after_prefix(self.prefix.clone()),
            // What was delivered already comes again and is skipped: etcd reports no progress of a watch whose first
            // revision is still to come. 0 would be the present revision.
            start_revision: signed(self.reached.max(Revision(1))),
        });
        if requests.send(WatchRequest { request_union: Some(create) }).await.is_err() {
            return End::Broken("its requests end".to_owned());
        }
        let mut etcd = WatchClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
        let opened = timeout(ATTEMPT_TIMEOUT, etcd.watch(to_led_member(ReceiverStream::new(queue)))).await;
        let mut answers: Streaming<WatchResponse> = match opened {
            Ok(Ok(answers)) => answers.into_inner(),
            Ok(Err(status)) => return End::Broken(status.message().to_owned()),
            Err(_) => return End::Broken("it did not answer in time".to_owned()),
        };
        let mut ticks = interval(PROGRESS_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                biased;
                // Requests failed on this connection, so it is not used any more.
                () = moved(&mut numbers, number) => {
                    return End::Broken("requests on the same connection failed".to_owned());
                }
                answer = answers.next() => {
                    heard = Instant::now();
                    let answer = match answer {
                        Some(Ok(answer)) => answer,
                        Some(Err(status)) => return End::Broken(status.message().to_owned()),
                        None => return End::Broken("it ended the watch".to_owned()),
                    };
                    match self.deliver(answer).await {
                        Ok(()) => {}
                        Err(end) => return end,
                    }
                }
                _ = ticks.tick() => {
                    if heard.elapsed() > SILENCE {
                        return End::Broken("it is silent".to_owned());
                    }
                    let progress = RequestUnion::ProgressRequest(WatchProgressRequest {});
                    // If the last request was not sent yet, this one is not needed.
                    drop(requests.try_send(WatchRequest { request_union: Some(progress) }));
                }
            }
        }
    }

    /// Delivers what an answer contains: the changes of each revision as one batch, or the progress.
    async fn deliver(&mut self, answer: WatchResponse) -> Result<(), End> {
        if answer.canceled {
            return Err(match answer.compact_revision {
                0 => End::Broken(format!("it cancelled the watch: {}", answer.cancel_reason)),
                _ => End::Over(StoreError::Compacted),
            });
        }
        if std::mem::take(&mut self.is_interrupted) {
            tracing::info!("the watch of etcd goes on");
        }
        if answer.created {
            return Ok(());
        }
        if answer.events.is_empty() {
            // A member that is behind the one before may not have come as far yet.
            let at = revision(answer.header.map(|header| header.revision));
            if at >= self.reached {
                self.reached = at;
                return self.send(Batch { revision: at, changes: Vec::new() }).await;
            }
            return Ok(());
        }
        for batch in self.batches_of(&answer.events)? {
            self.reached = batch.revision;
            self.send(batch).await?;
        }
        Ok(())
    }

    /// The batches of some events. All events of a revision are in one answer.
    fn batches_of(&self, events: &[Event]) -> Result<Vec<Batch>, End> {
        let mut batches: Vec<Batch> = Vec::new();
        for event in events {
            let Some(stored) = &event.kv else { continue };
            let at = revision(Some(stored.mod_revision));
            if at <= self.reached {
                continue;
            }
            let key = stored.key.strip_prefix(self.place.as_bytes()).and_then(|key| std::str::from_utf8(key).ok());
            let key = key.ok_or_else(|| End::Over(foreign(&stored.key)))?.to_owned();
            let value = match event.r#type() {
                EventType::Delete => None,
                EventType::Put => Some(value::decode(&stored.value).ok_or_else(|| End::Over(foreign(&stored.key)))?.0),
            };
            match batches.last_mut() {
                Some(batch) if batch.revision == at => batch.changes.push(Change { key, value }),
                _ => batches.push(Batch { revision: at, changes: vec![Change { key, value }] }),
            }
        }
        for batch in &mut batches {
            batch.changes.sort_by(|one, other| one.key.cmp(&other.key));
        }
        Ok(batches)
    }

    async fn send(&self, batch: Batch) -> Result<(), End> {
        self.batches.send(Ok(batch)).await.map_err(|_| End::Unread)
    }
}

/// Completes once another connection than this one is in use.
async fn moved(numbers: &mut watch::Receiver<u64>, number: u64) {
    drop(numbers.wait_for(|now| *now != number).await);
}
