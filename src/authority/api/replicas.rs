//! What a replica does beside the others that share its store: heartbeats, the lease of the leader, and the comparison of
//! its snapshot with the store.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::authority::Authority;
use crate::authority::state::Difference;
use crate::authority::state::Heartbeat;
use crate::authority::state::PREFIXES;
use crate::authority::state::REPLICAS;
use crate::authority::state::Sent;
use crate::authority::state::readable_schemas;
use crate::authority::store::Batch;
use crate::authority::store::Expected;
use crate::authority::store::KeyRevisions;
use crate::authority::store::Revision;
use crate::authority::store::StoreError;
use crate::authority::store::Transaction;

/// How long a heartbeat counts.
const HEARTBEAT_EXPIRY: Duration = Duration::from_secs(10);

/// The key of the lease of the leader.
const LEADER: &str = "/leader/lease";

/// How long the leader's lease lasts without being renewed.
const LEASE: Duration = Duration::from_secs(15);

/// The schema of heartbeats.
const SCHEMA: u32 = 1;

/// Who leads.
#[derive(Debug, Deserialize, Serialize)]
struct Leader {
    schema: u32,
    replica: String,
}

impl Authority {
    /// Whether other replicas share the store.
    pub fn is_replica(&self) -> bool {
        self.replica.is_some()
    }

    /// Writes this replica's heartbeat. When it comes back on the watch, the snapshot contains every change up to now.
    ///
    /// A store that is full takes no heartbeat, and no other write either. Then a linearizable read proves the same, once
    /// the watch has reached its revision.
    pub async fn beat(&self) -> Result<(), StoreError> {
        let Some(replica) = &self.replica else { return Ok(()) };
        let beat = replica.beats.fetch_add(1, Ordering::Relaxed) + 1;
        let snapshot = self.snapshot.load_full();
        let served =
            snapshot.keys.all().map(|(key, _)| key.key_id()).filter(|kid| snapshot.keys.find(kid.as_str()).is_some());
        let keys = served.map(ToString::to_string).collect();
        let (version, reads) = (env!("CARGO_PKG_VERSION").to_owned(), readable_schemas());
        let heartbeat = Heartbeat { schema: SCHEMA, beat, version, keys, reads };
        let value = serde_json::to_vec(&heartbeat).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let write = Transaction::default().put_until(&replica.key(), value, self.clock.now().after(HEARTBEAT_EXPIRY));
        let sent = self.clock.elapsed();
        self.store_feed.sent(Sent::Beat(beat), sent);
        let Err(error) = self.store.transact(write).await else { return Ok(()) };
        let (asked, reached) = (self.clock.elapsed(), self.snapshot.load().reached());
        let page = self.store.key_revisions(REPLICAS, 1).await?;
        if page.revision < reached {
            // The store was replaced by older data: what is known is not of this history.
            return Err(error);
        }
        self.store_feed.sent(Sent::Read(page.revision), asked);
        if self.snapshot.load().reached() >= page.revision {
            self.store_feed.came_back(|sent| *sent == Sent::Read(page.revision));
        }
        Err(error)
    }

    /// Removes this replica's heartbeat, so that the others do not wait for it.
    pub async fn leave(&self) -> Result<(), StoreError> {
        let Some(replica) = &self.replica else { return Ok(()) };
        let leads = self.leads();
        replica.leads_until.store(0, Ordering::Release);
        let mut leaving = Transaction::default().delete(&replica.key());
        if leads && let Some((revision, _)) = self.leader().await?.filter(|(_, leader)| leader.replica == replica.name)
        {
            leaving = leaving.compare(LEADER, Expected::At(revision)).delete(LEADER);
        }
        match self.store.transact(leaving).await {
            // The lease was renewed, or another replica has it.
            Err(StoreError::Conflict { .. }) => self.store.delete(&replica.key(), Expected::Any).await.map(drop),
            left => left.map(drop),
        }
    }

    /// Records what a batch proves of the age of the snapshot, which contains it by now.
    pub(in crate::authority) fn confirm(&self, batch: &Batch) {
        let Some(replica) = &self.replica else { return self.store_feed.progress(self.delivered_until()) };
        let own = replica.key();
        let written = batch.changes.iter().find(|change| change.key == own).and_then(|change| change.value.as_ref());
        let beat = written.and_then(|value| serde_json::from_slice::<Heartbeat>(value).ok()).map(|read| read.beat);
        self.store_feed.came_back(|sent| match sent {
            Sent::Beat(sent) => beat == Some(*sent),
            Sent::Read(revision) => *revision <= batch.revision,
        });
    }

    /// Whether this replica does what only one should do: it leads, or the store is its own, which that of an edge is not. Two may lead for a moment,
    /// when one of them was stopped; whatever the leader writes is compared with what was read.
    pub fn leads(&self) -> bool {
        let Some(replica) = &self.replica else { return !self.is_edge };
        self.clock.elapsed() < Duration::from_millis(replica.leads_until.load(Ordering::Acquire))
    }

    /// Takes the lease of the leader if it is free, and renews it if this replica has it.
    pub async fn stand(&self) -> Result<(), StoreError> {
        let Some(replica) = &self.replica else { return Ok(()) };
        let (asked, now) = (self.clock.elapsed(), self.clock.now());
        let expected = match self.leader().await? {
            None => Expected::Absent,
            Some((revision, leader)) if leader.replica == replica.name => Expected::At(revision),
            Some(_) => return Ok(()),
        };
        let leader = Leader { schema: SCHEMA, replica: replica.name.clone() };
        let value = serde_json::to_vec(&leader).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let lease = Transaction::default().compare(LEADER, expected).put_until(LEADER, value, now.after(LEASE));
        match self.store.transact(lease).await {
            Ok(_) => {
                let until = u64::try_from((asked + LEASE).as_millis()).unwrap_or(u64::MAX);
                if replica.leads_until.swap(until, Ordering::AcqRel) == 0 {
                    tracing::info!(replica = replica.name, "this replica leads");
                }
                Ok(())
            }
            // Another replica was first.
            Err(StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn leader(&self) -> Result<Option<(Revision, Leader)>, StoreError> {
        let Some(stored) = self.store.get(LEADER).await? else { return Ok(None) };
        Ok(serde_json::from_slice(&stored.value).ok().map(|leader| (stored.revision, leader)))
    }

    /// Compares the snapshot with some keys of the store, all that come after `after`. `None` until the watch has
    /// reached the revision at which they were read. A difference may be a change that was made just then; one that
    /// stays is a fault.
    pub fn compare(&self, after: &str, page: &KeyRevisions) -> Option<Vec<Difference>> {
        let snapshot = self.snapshot.load_full();
        if snapshot.reached() < page.revision {
            return None;
        }
        let compared = |(key, _): &&(String, Revision)| {
            PREFIXES.iter().any(|prefix| key.starts_with(prefix)) && !key.starts_with(REPLICAS)
        };
        let newer = |revision: Option<Revision>| revision.is_some_and(|revision| revision > page.revision);
        let mut differences = Vec::new();
        for (key, stored) in page.keys.iter().filter(compared) {
            let held = snapshot.revision_of(key);
            if snapshot.is_unreadable(key, *stored) {
                continue;
            }
            if held != Some(*stored) && !newer(held) && !snapshot.removed_after(key, page.revision) {
                differences.push(Difference { key: key.clone(), stored: Some(*stored), held });
            }
        }
        let last = page.keys.last().filter(|_| page.more).map(|(key, _)| key.as_str());
        for (key, held) in snapshot.keys_between(after, last) {
            let listed = page.keys.binary_search_by(|(listed, _)| listed.as_str().cmp(&key)).is_ok();
            if !listed && held <= page.revision {
                differences.push(Difference { key, stored: None, held: Some(held) });
            }
        }
        Some(differences)
    }
}
