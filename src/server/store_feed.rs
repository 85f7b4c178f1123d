//! Follows the store: applies its changes to the core, deletes records that no longer have an effect, and rotates the
//! signing keys.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_stream::StreamExt as _;

use crate::authority::Authority;
use crate::authority::state::Difference;
use crate::authority::store::KeyRevisions;
use crate::authority::store::Revision;
use crate::authority::store::Store;
use crate::server::supervised;

/// How long to wait before the store is read again after its watch ended.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often expired revocations and lineages are deleted.
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);

/// How often it is looked whether something is due about the signing keys.
const KEYS_INTERVAL: Duration = Duration::from_secs(5);

/// How often the changes that wait for a second admin are counted.
const PROPOSALS_INTERVAL: Duration = Duration::from_secs(30);

/// How often a heartbeat is written.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// How long a stopping replica tries to withdraw its heartbeat.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// How many heartbeats may be under way.
const HEARTBEATS: usize = 8;

/// How often the lease of the leader is renewed, or tried.
const ELECTION_INTERVAL: Duration = Duration::from_secs(5);

/// How many parts the store is compared in.
const PARTS: usize = 64;

/// The smallest part, in records.
const MIN_PART: usize = 128;

/// How often a difference must be seen.
const READINGS: usize = 3;

/// How often it is tried whether the watch has come as far as a reading.
const REACHED_ATTEMPTS: usize = 20;
const REACHED_INTERVAL: Duration = Duration::from_millis(250);

/// Follows the store from the loaded revision for as long as the server runs.
pub(super) fn start(tasks: &mut JoinSet<()>, authority: &Arc<Authority>, store: &Arc<dyn Store>, loaded: Revision) {
    let kept = Arc::clone(store);
    let (store, core, loaded) = (Arc::clone(store), Arc::clone(authority), Arc::new(Mutex::new(Some(loaded))));
    let diverged = Arc::new(Notify::new());
    let again = Arc::clone(&diverged);
    let feed = move || changes(Arc::clone(&store), Arc::clone(&core), Arc::clone(&loaded), Arc::clone(&again));
    supervised::spawn(tasks, authority, "follower", feed);
    if authority.is_edge() {
        // All that follows writes to the store, or reads what an edge is not sent.
        return;
    }
    let core = Arc::clone(authority);
    supervised::spawn(tasks, authority, "sweeper", move || sweep(Arc::clone(&core)));
    let core = Arc::clone(authority);
    supervised::spawn(tasks, authority, "keys", move || tend_keys(Arc::clone(&core)));
    let core = Arc::clone(authority);
    supervised::spawn(tasks, authority, "proposals", move || count_proposals(Arc::clone(&core)));
    if authority.is_replica() {
        let core = Arc::clone(authority);
        supervised::spawn(tasks, authority, "heartbeat", move || beat(Arc::clone(&core)));
        let core = Arc::clone(authority);
        supervised::spawn(tasks, authority, "election", move || stand(Arc::clone(&core)));
        let core = Arc::clone(authority);
        supervised::spawn(tasks, authority, "comparison", move || {
            compare(Arc::clone(&core), Arc::clone(&kept), Arc::clone(&diverged))
        });
    }
}

/// Withdraws the heartbeat of a replica that stops, so that the others do not wait for it. If the store does not answer, the
/// heartbeat expires.
pub(super) async fn leave(authority: &Authority) {
    let left = tokio::time::timeout(LEAVE_TIMEOUT, authority.leave()).await;
    if !matches!(left, Ok(Ok(()))) {
        tracing::debug!("the store did not take the end of the heartbeats");
    }
}

/// Writes a heartbeat each second. None waits for the one before: its time is the age of the snapshot.
async fn beat(authority: Arc<Authority>) {
    let mut beats = JoinSet::new();
    let mut ticks = tokio::time::interval(HEARTBEAT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        while beats.try_join_next().is_some() {}
        if beats.len() < HEARTBEATS {
            let authority = Arc::clone(&authority);
            beats.spawn(async move {
                if let Err(error) = authority.beat().await {
                    tracing::debug!(%error, "a heartbeat was not written");
                }
            });
        }
    }
}

/// Takes part in the election of the leader.
async fn stand(authority: Arc<Authority>) {
    loop {
        if let Err(error) = authority.stand().await {
            tracing::debug!(%error, "the lease of the leader could not be read or written");
        }
        tokio::time::sleep(ELECTION_INTERVAL).await;
    }
}

/// Compares the snapshot with the store, a 64th at a time. What differs three times in a row is a missed change: then the
/// whole store is read again.
async fn compare(authority: Arc<Authority>, store: Arc<dyn Store>, diverged: Arc<Notify>) {
    let (mut after, mut known) = (String::new(), 0);
    let mut counted = 0;
    loop {
        let part = (known / PARTS).max(MIN_PART);
        tokio::time::sleep(pause_for(part)).await;
        let Some((page, differences)) = part_of(&authority, &*store, &after, part).await else { continue };
        if let Some(Difference { key, stored, held }) = differences.first() {
            authority.metrics().diverged();
            let count = differences.len();
            tracing::error!(key, ?stored, ?held, count, "the snapshot differs from the store: the store is read again");
            // By the follower: while it applies changes, what is read would be behind them.
            diverged.notify_one();
        }
        counted += page.keys.len();
        match page.keys.last() {
            Some((last, _)) if page.more => after.clone_from(last),
            _ => {
                known = counted;
                counted = 0;
                after.clear();
            }
        }
    }
}

/// Reads a part of the store, and returns what differs in each of three readings. `None` if it cannot be read, or if the
/// watch does not reach it.
async fn part_of(
    authority: &Authority,
    store: &dyn Store,
    after: &str,
    part: usize,
) -> Option<(KeyRevisions, Vec<Difference>)> {
    let mut lasting: Option<(KeyRevisions, Vec<Difference>)> = None;
    for _ in 0..READINGS {
        let page = store.key_revisions(after, part).await.ok()?;
        let mut found = None;
        for _ in 0..REACHED_ATTEMPTS {
            found = authority.compare(after, &page);
            if found.is_some() {
                break;
            }
            tokio::time::sleep(REACHED_INTERVAL).await;
        }
        let found = found?;
        let still = match lasting {
            None => found,
            Some((_, before)) => before.into_iter().filter(|difference| found.contains(difference)).collect(),
        };
        if still.is_empty() {
            return Some((page, still));
        }
        lasting = Some((page, still));
        tokio::time::sleep(INTERVAL).await;
    }
    lasting
}

/// How long to wait between two parts: all 64 of 10,000 records take 10 seconds, and those of a million 10 minutes.
fn pause_for(part: usize) -> Duration {
    let records = u32::try_from(part).unwrap_or(u32::MAX);
    (records * (Duration::from_secs(10) / 10_000) * 6 / 10).max(Duration::from_millis(150))
}

/// Applies every change to the authority, starting at the loaded revision. When the watch ends, or where no loaded
/// revision is known, all registrations are read again.
async fn changes(
    store: Arc<dyn Store>,
    authority: Arc<Authority>,
    loaded: Arc<Mutex<Option<Revision>>>,
    diverged: Arc<Notify>,
) {
    let mut loaded = loaded.lock().unwrap_or_else(PoisonError::into_inner).take();
    loop {
        let from = match loaded.take() {
            Some(revision) => revision,
            None => load_again(&authority).await,
        };
        let mut watch = store.watch("", from);
        loop {
            let batch = tokio::select! {
                batch = watch.next() => batch,
                () = diverged.notified() => break,
            };
            let Some(batch) = batch else { break };
            match batch {
                Ok(batch) => authority.apply(&batch),
                Err(error) => {
                    tracing::warn!(%error, "the watch of the store ended");
                    break;
                }
            }
        }
    }
}

async fn load_again(authority: &Authority) -> Revision {
    authority.mark_disconnected();
    loop {
        tokio::time::sleep(INTERVAL).await;
        match authority.load().await {
            Ok(revision) => {
                authority.mark_synced();
                return revision;
            }
            Err(error) => tracing::error!(%error, "the registrations could not be read again"),
        }
    }
}

/// Deletes expired revocations and lineages, so that the store does not grow with every revoked token.
async fn sweep(authority: Arc<Authority>) {
    loop {
        // One replica does it for all.
        if !authority.leads() {
            tokio::time::sleep(ELECTION_INTERVAL).await;
            continue;
        }
        if let Err(error) = authority.sweep_revocations().await {
            tracing::warn!(%error, "expired revocations could not be deleted");
        }
        if let Err(error) = authority.sweep_lineages().await {
            tracing::warn!(%error, "successions of certificates that have ended could not be deleted");
        }
        tokio::time::sleep(SWEEP_INTERVAL).await;
    }
}

/// Rotates the signing keys and the receipt keys, and deletes those whose tokens and receipts have expired.
async fn tend_keys(authority: Arc<Authority>) {
    loop {
        if let Err(error) = authority.tend_signing_keys().await {
            tracing::warn!(%error, "what is due about the signing keys could not be done");
        }
        if let Err(error) = authority.tend_receipt_keys().await {
            tracing::warn!(%error, "what is due about the keys of receipts could not be done");
        }
        tokio::time::sleep(KEYS_INTERVAL).await;
    }
}

/// Counts the changes that wait for a second admin. They are in no snapshot.
async fn count_proposals(authority: Arc<Authority>) {
    loop {
        if let Err(error) = authority.count_proposals().await {
            tracing::debug!(%error, "the changes that wait for a second admin could not be counted");
        }
        tokio::time::sleep(PROPOSALS_INTERVAL).await;
    }
}
