//! The changes of the snapshot, narrowed once for each grant and kept for a while.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::task::Waker;

use crate::authority::access::EdgeGrant;
use crate::authority::edges::needed::Growth;
use crate::authority::edges::needed::Needed;
use crate::authority::edges::sent;
use crate::authority::edges::sent::ReadChange;
use crate::authority::edges::sent::ReadValue;
use crate::authority::edges::sent::Sent;
use crate::authority::edges::sent::SentRecord;
use crate::authority::registration::CLIENTS;
use crate::authority::resources::RESOURCES;
use crate::authority::state::Entry;
use crate::authority::state::Snapshot;
use crate::authority::store::Revision;

/// How many transactions are kept for each grant, and their records' bytes. A stream that is further behind lists again.
const MAX_KEPT: usize = 8192;
const MAX_KEPT_BYTES: usize = 16 * 1024 * 1024;

/// What a record takes besides its key and value, in bytes.
const OVERHEAD: usize = 128;

/// The feeds of this replica, one for each grant that somebody holds or has.
#[derive(Debug, Default)]
pub(in crate::authority) struct SnapshotFeed {
    /// Whether there are any: all that a change looks at while there are none.
    any: AtomicBool,
    feeds: Mutex<Vec<Arc<Feed>>>,
}

/// The changes for one grant.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) grant: EdgeGrant,
    kept: Mutex<Kept>,
}

/// What is kept.
#[derive(Debug)]
pub(super) struct Kept {
    /// `None` of a feed of revocations.
    pub(super) needed: Option<Needed>,
    /// The transactions that changed something of it, the oldest first.
    transactions: VecDeque<Arc<Transaction>>,
    bytes: usize,
    /// The number of the first of them.
    first: u64,
    /// The revision after which all are kept.
    floor: Revision,
    /// The revision up to which changes were published.
    pub(super) reached: Revision,
    /// Counts how often everybody had to list again.
    pub(super) listing: u64,
    /// Those who wait for the next change.
    wakers: HashMap<u64, Waker>,
    next_waker: u64,
}

/// What one transaction changed.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) revision: Revision,
    pub(super) records: Vec<Sent>,
}

impl SnapshotFeed {
    /// Keeps feeds for these grants and no others: streams of other grants end.
    pub(in crate::authority) fn set_grants<'a>(
        &self,
        grants: impl Iterator<Item = &'a EdgeGrant>,
        snapshot: impl Fn() -> Arc<Snapshot>,
    ) {
        let mut feeds = self.feeds();
        let mut kept: Vec<Arc<Feed>> = Vec::new();
        for grant in grants {
            if kept.iter().any(|feed| feed.grant == *grant) {
                continue;
            }
            let known = feeds.iter().find(|feed| feed.grant == *grant).map(Arc::clone);
            kept.push(known.unwrap_or_else(|| Arc::new(Feed::new(grant.clone(), &snapshot()))));
        }
        // Proxies may ask for revocations without a grant of their own. What was said of those of roles may have changed.
        for feed in feeds.iter().filter(|feed| feed.grant == EdgeGrant::Revocations) {
            feed.kept().list_again(&snapshot());
            if !kept.iter().any(|other| Arc::ptr_eq(other, feed)) {
                kept.push(Arc::clone(feed));
            }
        }
        for feed in feeds.iter().filter(|feed| !kept.iter().any(|other| Arc::ptr_eq(other, feed))) {
            feed.kept().list_again(&snapshot());
        }
        self.any.store(!kept.is_empty(), Ordering::Release);
        *feeds = kept;
    }

    /// The feed of a grant.
    pub(super) fn of(&self, grant: &EdgeGrant, snapshot: impl Fn() -> Arc<Snapshot>) -> Arc<Feed> {
        let mut feeds = self.feeds();
        if let Some(feed) = feeds.iter().find(|feed| feed.grant == *grant) {
            return Arc::clone(feed);
        }
        // Published is after the snapshot has changed, and under this lock: none is missed.
        let feed = Arc::new(Feed::new(grant.clone(), &snapshot()));
        feeds.push(Arc::clone(&feed));
        self.any.store(true, Ordering::Release);
        feed
    }

    /// Whether anybody may follow.
    pub(in crate::authority) fn is_any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Publishes the changes of one transaction, or that there were none up to this revision. The snapshot has them.
    pub(in crate::authority) fn publish(&self, revision: Revision, changes: &[ReadChange], snapshot: &Snapshot) {
        for feed in self.feeds().iter() {
            feed.publish(revision, changes, snapshot);
        }
    }

    /// Everything was read again: some changes may never have been seen.
    pub(in crate::authority) fn list_again(&self, snapshot: &Snapshot) {
        for feed in self.feeds().iter() {
            feed.kept().list_again(snapshot);
        }
    }

    fn feeds(&self) -> MutexGuard<'_, Vec<Arc<Feed>>> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Feed {
    fn new(grant: EdgeGrant, snapshot: &Snapshot) -> Self {
        let needed = match &grant {
            EdgeGrant::Decisions(grant) => Some(Needed::new(grant.clone(), snapshot)),
            EdgeGrant::Revocations => None,
        };
        let kept = Kept {
            needed,
            transactions: VecDeque::new(),
            bytes: 0,
            first: 0,
            floor: snapshot.reached(),
            reached: snapshot.reached(),
            listing: 0,
            wakers: HashMap::new(),
            next_waker: 0,
        };
        Self { grant, kept: Mutex::new(kept) }
    }

    pub(super) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, revision: Revision, changes: &[ReadChange], snapshot: &Snapshot) {
        let woken = {
            let mut kept = self.kept();
            kept.reached = kept.reached.max(revision);
            let narrowed = match &mut kept.needed {
                Some(needed) => narrowed(needed, changes, snapshot),
                None => Some(changes.iter().flat_map(|change| sent::for_verifiers(change, snapshot)).collect()),
            };
            match narrowed {
                None => kept.list_again(snapshot),
                Some(records) if records.is_empty() => {}
                Some(records) => kept.push(Transaction { revision, records }),
            }
            if changes.is_empty() { HashMap::new() } else { mem::take(&mut kept.wakers) }
        };
        for waker in woken.into_values() {
            waker.wake();
        }
    }
}

impl Kept {
    /// The transaction with this number, if it is there already; `Err` where it is kept no more.
    pub(super) fn transaction(&self, number: u64) -> Result<Option<&Arc<Transaction>>, ()> {
        let place = number.checked_sub(self.first).ok_or(())?;
        Ok(usize::try_from(place).ok().and_then(|place| self.transactions.get(place)))
    }

    /// The number that the next transaction gets.
    pub(super) fn end(&self) -> u64 {
        self.first + self.transactions.len() as u64
    }

    /// The number of the first transaction after this revision; `None` where not all of them are kept.
    pub(super) fn after(&self, revision: Revision) -> Option<u64> {
        let seen = self.transactions.partition_point(|transaction| transaction.revision <= revision);
        (revision >= self.floor).then_some(self.first + seen as u64)
    }

    /// A number for who waits.
    pub(super) fn enter(&mut self) -> u64 {
        self.next_waker += 1;
        self.next_waker
    }

    pub(super) fn wait(&mut self, who: u64, waker: &Waker) {
        self.wakers.insert(who, waker.clone());
    }

    pub(super) fn leave(&mut self, who: u64) {
        self.wakers.remove(&who);
    }

    fn push(&mut self, transaction: Transaction) {
        self.bytes += transaction.bytes();
        self.transactions.push_back(Arc::new(transaction));
        while self.transactions.len() > MAX_KEPT || self.bytes > MAX_KEPT_BYTES && self.transactions.len() > 1 {
            let Some(oldest) = self.transactions.pop_front() else { break };
            (self.first, self.floor) = (self.first + 1, oldest.revision);
            self.bytes -= oldest.bytes();
        }
    }

    fn list_again(&mut self, snapshot: &Snapshot) {
        if let Some(needed) = &mut self.needed {
            *needed = needed.anew(snapshot);
        }
        (self.first, self.bytes) = (self.end(), 0);
        self.transactions.clear();
        self.reached = self.reached.max(snapshot.reached());
        self.floor = self.reached;
        self.listing += 1;
        for (_, waker) in self.wakers.drain() {
            waker.wake();
        }
    }
}

impl Transaction {
    fn bytes(&self) -> usize {
        let sizes = self.records.iter().map(|sent| match sent {
            Sent::Record(SentRecord { key, value, .. }) => key.len() + value.as_ref().map_or(0, Vec::len),
            Sent::Revocation(..) => 0,
            Sent::Key(kid, jwk) => kid.len() + jwk.as_ref().map_or(0, String::len),
        });
        sizes.map(|size| size + OVERHEAD).sum()
    }
}

/// What an edge gets of these changes; `None` where it has to list again.
fn narrowed(needed: &mut Needed, changes: &[ReadChange], snapshot: &Snapshot) -> Option<Vec<Sent>> {
    let mut records = Vec::new();
    for change in changes {
        needed.note_change(&change.key);
        match &change.now {
            ReadValue::Entry(Entry::Client(client)) => {
                for name in grown(needed.note(client, snapshot))? {
                    let wider = snapshot.directory.named(&name);
                    records.extend(wider.map(|wider| record(&format!("{CLIENTS}{name}"), sent::client_value(wider))));
                }
            }
            ReadValue::Unreadable { .. } if change.key.starts_with(CLIENTS) => {
                let suspended = change.key.strip_prefix(CLIENTS).and_then(|name| snapshot.directory.named(name));
                if let Some(client) = suspended
                    && needed.note(client, snapshot) != Growth::Nothing
                {
                    return None;
                }
            }
            ReadValue::Entry(Entry::Resource(resource)) if needed.widens(&resource.registration) => return None,
            ReadValue::Entry(Entry::Lineage(succession)) if !needed.has_identity(&succession.spiffe_id) => continue,
            ReadValue::Entry(_) | ReadValue::Unreadable { .. } | ReadValue::Gone => {}
        }
        if needed.has_key(&change.key) {
            records.extend(changed(change, snapshot));
        }
    }
    Some(records)
}

fn grown(growth: Growth) -> Option<Vec<String>> {
    match growth {
        Growth::Nothing => Some(Vec::new()),
        Growth::Of(names) => Some(names),
        Growth::Unclear => None,
    }
}

/// A change as edges get it; `None` of kinds that they get nothing of.
fn changed(change: &ReadChange, snapshot: &Snapshot) -> Option<Sent> {
    let key = change.key.as_str();
    match &change.now {
        ReadValue::Gone if sent::is_sent(key) => Some(Sent::Record(SentRecord::gone(key))),
        ReadValue::Gone => None,
        ReadValue::Entry(entry) => sent::value_of(entry).map(|value| record(key, Some(value))),
        ReadValue::Unreadable { newer } => {
            let client = key.strip_prefix(CLIENTS).and_then(|name| snapshot.directory.named(name));
            let resource = key.strip_prefix(RESOURCES).and_then(|audience| snapshot.resources.named(audience));
            let suspended = client.and_then(|client| sent::client_value(client));
            let suspended = suspended.or_else(|| resource.and_then(|resource| sent::resource_value(resource)));
            let value = suspended.unwrap_or_else(|| sent::unreadable_value(*newer));
            sent::is_sent(key).then(|| record(key, Some(value)))
        }
    }
}

fn record(key: &str, value: Option<Vec<u8>>) -> Sent {
    Sent::Record(SentRecord { key: key.to_owned(), value, revision: Revision::default() })
}
