//! What has arrived of an upstream and was not taken yet. Its count and its size are bounded: the stream waits, and at last
//! the upstream ends it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;

use crate::authority::store::Batch;
use crate::authority::store::Revision;
use crate::authority::store::StoreError;
use crate::proto::SnapshotRecord;

/// How many pieces of news wait for a slow reader.
const PIECES: usize = 64;

/// How much may wait, in units. What is larger than all of it waits alone.
const UNITS: u32 = 16 * 1024;

/// The size of a unit, in bytes.
const UNIT_BYTES: usize = 1024;

/// What follows a record in memory besides its bytes.
const RECORD_BYTES: usize = 128;

/// What an upstream has said.
#[derive(Debug)]
pub(super) enum News {
    /// A part of the listing.
    Listed(Vec<SnapshotRecord>),
    /// The listing begins again, of another upstream.
    Anew,
    /// The listing is whole, as of this revision. It contains each change that was made until this moment.
    Whole(Revision, Duration),
    /// A change, or none. Where there is a moment, everything that was made until then has been delivered with it.
    Batch(Batch, Option<Duration>),
    /// It cannot be followed any further from there.
    Over(StoreError),
}

/// A piece of news, which keeps its room in the queue.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) news: News,
    _room: OwnedSemaphorePermit,
}

/// The end of the queue that news is put in.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    sender: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
}

/// Nobody takes the news.
#[derive(Debug)]
pub(super) struct Unread;

/// A queue, with the end that news is taken from.
pub(super) fn queue() -> (Queue, mpsc::Receiver<Queued>) {
    let (sender, receiver) = mpsc::channel(PIECES);
    (Queue { sender, room: Arc::new(Semaphore::new(UNITS as usize)) }, receiver)
}

impl Queue {
    /// Puts news in, once there is room.
    pub(super) async fn put(&self, news: News) -> Result<(), Unread> {
        let units = u32::try_from(bytes(&news) / UNIT_BYTES).unwrap_or(UNITS).clamp(1, UNITS);
        let room = Arc::clone(&self.room).acquire_many_owned(units).await.map_err(|_| Unread)?;
        self.sender.send(Queued { news, _room: room }).await.map_err(|_| Unread)
    }

    /// Completes once nobody takes the news any more.
    pub(super) async fn closed(&self) {
        self.sender.closed().await;
    }
}

fn bytes(news: &News) -> usize {
    let record = |key: &str, value: Option<usize>| RECORD_BYTES + key.len() + value.unwrap_or(0);
    match news {
        News::Listed(records) => records.iter().map(|one| record(&one.key, one.value.as_ref().map(Vec::len))).sum(),
        News::Batch(batch, _) => {
            batch.changes.iter().map(|one| record(&one.key, one.value.as_ref().map(|value| value.len()))).sum()
        }
        News::Anew | News::Whole(..) | News::Over(_) => 0,
    }
}
