//! Follows one upstream at a time, and the next one from where it was when that fails.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::MissedTickBehavior;
use tokio::time::interval;
use tokio::time::sleep;
use tokio_stream::StreamExt as _;

use crate::authority::store::Batch;
use crate::authority::store::Change;
use crate::authority::store::MAX_KEY_BYTES;
use crate::authority::store::MAX_VALUE_BYTES;
use crate::authority::store::Revision;
use crate::authority::store::StoreError;
use crate::proto::SnapshotRecord;
use crate::proto::SnapshotRecords;
use crate::proto::WatchBeat;
use crate::proto::WatchProgress;
use crate::proto::WatchSnapshotRequest;
use crate::proto::WatchSnapshotResponse;
use crate::proto::watch_snapshot_request::Request;
use crate::proto::watch_snapshot_response::Response;
use crate::store::upstream::opening;
use crate::store::upstream::opening::End;
use crate::store::upstream::opening::Opened;
use crate::store::upstream::opening::ended;
use crate::store::upstream::queue::News;
use crate::store::upstream::queue::Queue;
use crate::store::upstream::queue::Unread;
use crate::store::upstream::reports::DecisionReports;
use crate::store::upstream::upstreams::Fault;
use crate::store::upstream::upstreams::Upstreams;

/// How often a beat is sent.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// How long an upstream may be silent before the next one is tried.
const SILENCE: Duration = Duration::from_secs(5);

/// How long an upstream may send changes without answering a beat, and how old its own snapshot may be, before the next one is
/// tried.
const BEHIND: Duration = Duration::from_secs(15);

/// For how long an upstream must have been followed so that its end is no failure.
const HELD: Duration = Duration::from_secs(10);

/// How many beats may be under way.
const MAX_BEATS: usize = 64;

/// Follows the upstreams for one reader.
#[derive(Debug)]
pub(super) struct Following {
    pub(super) upstreams: Arc<Upstreams>,
    /// Everything up to this revision is in the queue; `None` until the listing is whole.
    pub(super) reached: Option<Revision>,
    pub(super) queue: Queue,
    /// Closed with the store.
    pub(super) store: watch::Receiver<()>,
}

/// A stream that is being followed.
struct Live {
    stream: Opened,
    /// The beats that are not answered, and when each was sent.
    beats: VecDeque<(u64, Duration)>,
    sent: u64,
    /// The number of the last report that was sent over it.
    reported: u64,
    began: Instant,
    /// When something arrived.
    heard: Instant,
    /// When a beat was answered, of a server that was not behind itself.
    answered: Instant,
}

impl Following {
    /// Runs until the reader or the store is gone, or until it cannot go on.
    pub(super) async fn run(mut self) {
        let (mut store, queue) = (self.store.clone(), self.queue.clone());
        tokio::select! {
            // The news says how it ended.
            _ = self.follow() => {}
            // Fails when the store drops its end.
            _ = store.changed() => {}
            () = queue.closed() => {}
        }
    }

    async fn follow(&mut self) -> Result<(), Unread> {
        let mut listings = 0;
        let mut is_interrupted = false;
        loop {
            sleep(self.upstreams.pause()).await;
            let began = Instant::now();
            let fault = match self.attempt(&mut is_interrupted).await {
                End::Unread => return Err(Unread),
                End::Over(error) => return self.queue.put(News::Over(error)).await,
                End::Upstream(fault) => fault,
            };
            self.upstreams.failed(&fault, began.elapsed() >= HELD);
            report(&fault, std::mem::replace(&mut is_interrupted, true));
            if self.reached.is_none() {
                listings += 1;
                if listings >= self.upstreams.count() {
                    return self.queue.put(News::Over(StoreError::Unavailable(fault.to_string()))).await;
                }
                self.queue.put(News::Anew).await?;
            }
        }
    }

    /// Follows the next upstream for as long as it goes.
    async fn attempt(&mut self, is_interrupted: &mut bool) -> End {
        let stream = match opening::open(&self.upstreams, self.reached).await {
            Ok(stream) => stream,
            Err(end) => return end,
        };
        let now = Instant::now();
        let mut live =
            Live { stream, beats: VecDeque::new(), sent: 0, reported: 0, began: now, heard: now, answered: now };
        let mut ticks = interval(BEAT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                answer = live.stream.answers.next() => {
                    live.heard = Instant::now();
                    let answer = match answer {
                        Some(Ok(answer)) => answer,
                        Some(Err(status)) => return ended(&live.stream.endpoint, &status),
                        None => return live.broken("it ended the stream"),
                    };
                    if let Err(end) = self.take(&mut live, answer, is_interrupted).await {
                        return end;
                    }
                    // Where the reader was slow, the silence was its own.
                    live.heard = Instant::now();
                }
                _ = ticks.tick() => {
                    if live.heard.elapsed() > SILENCE {
                        return live.broken("it is silent");
                    }
                    if self.reached.is_some() && live.answered.elapsed() > BEHIND && self.upstreams.count() > 1 {
                        return live.broken("it is too far behind");
                    }
                    live.beat(&self.upstreams);
                }
            }
        }
    }

    /// Puts what an answer says into the queue.
    async fn take(
        &mut self,
        live: &mut Live,
        answer: WatchSnapshotResponse,
        is_interrupted: &mut bool,
    ) -> Result<(), End> {
        let news = match (answer.response, self.reached) {
            (Some(Response::Listed(listed)), None) => {
                if let Some(cause) = listed.records.iter().find_map(unfit) {
                    return Err(live.broken(&cause));
                }
                News::Listed(listed.records)
            }
            (Some(Response::Changed(changed)), Some(reached)) => {
                let Some(batch) = batch_of(changed, reached).map_err(|cause| live.broken(&cause))? else {
                    return Ok(());
                };
                self.reached = Some(batch.revision);
                News::Batch(batch, None)
            }
            (Some(Response::Progress(progress)), None) => {
                if progress.beat.is_some() {
                    // The listing is not whole yet.
                    return Ok(());
                }
                let revision = Revision(progress.revision);
                self.reached = Some(revision);
                live.answered = Instant::now();
                News::Whole(revision, before(live.stream.asked, &progress))
            }
            (Some(Response::Progress(progress)), Some(reached)) => {
                if progress.reported != 0 && progress.reported == live.reported {
                    self.upstreams.reports.taken(progress.reported);
                }
                let revision = Revision(progress.revision);
                if revision < reached {
                    return Err(live.broken("it went back to an earlier revision"));
                }
                self.reached = Some(revision);
                News::Batch(Batch { revision, changes: Vec::new() }, live.proven(&progress))
            }
            (Some(Response::Started(_) | Response::Listed(_) | Response::Changed(_)) | None, _) => {
                return Err(live.broken("it sends what does not belong there"));
            }
        };
        if matches!(news, News::Whole(..) | News::Batch(..)) {
            self.upstreams.follows(&live.stream.endpoint);
            *is_interrupted = false;
        }
        self.queue.put(news).await.map_err(|Unread| End::Unread)
    }
}

impl Live {
    fn broken(&self, cause: &str) -> End {
        End::Upstream(Fault::Broken(format!("{}: {cause}, after {:?}", self.stream.endpoint, self.began.elapsed())))
    }

    /// Sends a beat. If those before were not sent yet, this one would prove no more.
    fn beat(&mut self, upstreams: &Upstreams) {
        let number = self.sent + 1;
        let moment = upstreams.clock.elapsed();
        let beat = WatchSnapshotRequest { request: Some(Request::Beat(WatchBeat { number })) };
        if self.stream.requests.try_send(beat).is_err() {
            return;
        }
        self.sent = number;
        if self.beats.len() == MAX_BEATS {
            self.beats.pop_front();
        }
        self.beats.push_back((number, moment));
        self.report(&upstreams.reports);
    }

    /// Sends the report that waits, once. One goes after a beat, and is taken before the next is answered.
    fn report(&mut self, reports: &DecisionReports) {
        let Some(report) = reports.waiting().filter(|report| report.number != self.reported) else { return };
        let number = report.number;
        if self.stream.requests.try_send(WatchSnapshotRequest { request: Some(Request::Report(report)) }).is_ok() {
            self.reported = number;
        }
    }

    /// The moment up to which everything has been delivered, if this progress answers a beat.
    fn proven(&mut self, progress: &WatchProgress) -> Option<Duration> {
        let answered = progress.beat?;
        let at = self.beats.iter().position(|(number, _)| *number == answered)?;
        let (_, sent) = self.beats.drain(..=at).next_back()?;
        if Duration::from_millis(progress.age_ms) < BEHIND {
            self.answered = Instant::now();
        }
        Some(before(sent, progress))
    }
}

/// The moment until which the upstream's snapshot contained everything, if it was this old at that moment.
fn before(moment: Duration, progress: &WatchProgress) -> Duration {
    moment.saturating_sub(Duration::from_millis(progress.age_ms))
}

/// The changes of a transaction; `None` where they were delivered before.
fn batch_of(transaction: SnapshotRecords, reached: Revision) -> Result<Option<Batch>, String> {
    let revision = Revision(transaction.revision);
    if revision <= reached {
        return Ok(None);
    }
    if let Some(cause) = transaction.records.iter().find_map(too_large) {
        return Err(cause);
    }
    let read = |record: SnapshotRecord| Change { key: record.key, value: record.value.map(Into::into) };
    let mut changes: Vec<Change> = transaction.records.into_iter().map(read).collect();
    changes.sort_by(|one, other| one.key.cmp(&other.key));
    if changes.windows(2).any(|pair| matches!(pair, [one, other] if one.key == other.key)) {
        return Err("it sends two values of one record in one transaction".to_owned());
    }
    Ok(Some(Batch { revision, changes }))
}

/// Why a record does not belong into a listing.
fn unfit(record: &SnapshotRecord) -> Option<String> {
    if record.value.is_none() {
        return Some("it lists a record that has no value".to_owned());
    }
    too_large(record)
}

fn too_large(record: &SnapshotRecord) -> Option<String> {
    let value = record.value.as_ref().map_or(0, Vec::len);
    (record.key.len() > MAX_KEY_BYTES || value > MAX_VALUE_BYTES)
        .then(|| "it sends a record that is larger than records are".to_owned())
}

/// Logs why an upstream is not followed any further: once, and not at each attempt of an outage. A refusal is said each time.
fn report(fault: &Fault, is_interrupted: bool) {
    match fault {
        Fault::Over => tracing::debug!("the stream moves to another upstream: the connection was old"),
        Fault::Refused(cause) => {
            tracing::error!(cause, "an upstream refuses this server, or is not the configured one");
        }
        Fault::Broken(cause) if is_interrupted => tracing::debug!(cause, "no upstream is followed yet"),
        Fault::Broken(cause) => tracing::warn!(cause, "the upstream is not followed any more: the next one is tried"),
    }
}
