//! What is remembered, and for how long: as much as fits, of each kind of refusal the newest.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::hash::DefaultHasher;
use std::hash::Hash as _;
use std::hash::Hasher as _;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::authority::clock::Entropy;
use crate::authority::clock::Timestamp;
use crate::authority::observe::audit::AuditEvent;
use crate::authority::observe::pattern::matches;
use crate::authority::observe::recent::refusal::RecentRefusal;
use crate::authority::reference::Reference;
use crate::authority::reference::ReplicaTag;

/// What all refusals of peers with a proven certificate may take, in bytes, about. Those of strangers may take a quarter of
/// it besides, so that a stranger displaces no caller.
pub const MAX_REFUSALS_BYTES: usize = 12 * 1024 * 1024;

/// The most refusals of one kind: a flood of one displaces no other.
const MAX_OF_A_KIND: usize = 8;

/// How many locks there are. Refusals of one kind are behind one.
const SHARDS: usize = 16;

/// What the entry of a kind and the places of a refusal in the three maps take, in bytes, about.
const OVERHEAD_BYTES: usize = 256;

/// The refusals of a replica.
#[derive(Debug)]
pub struct RecentRefusals {
    replica: ReplicaTag,
    /// The number of refusals so far.
    count: AtomicU64,
    of_peers: Box<[Mutex<Shard>]>,
    of_strangers: Box<[Mutex<Shard>]>,
}

/// What refusals have in common of which only the newest are kept. Nothing in it is a caller's choice.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Kind {
    event: AuditEvent,
    reason: Option<&'static str>,
    resource: Option<String>,
    sender: Option<String>,
    evidence: Option<String>,
}

#[derive(Debug, Default)]
struct Shard {
    /// By the order of their arrival.
    refusals: BTreeMap<u64, (Kind, Arc<RecentRefusal>)>,
    /// Their places in the order, by the random part of their references.
    places: BTreeMap<u64, u64>,
    /// Their places in the order, by their kinds.
    kinds: BTreeMap<Kind, VecDeque<u64>>,
    bytes: usize,
}

/// Which refusals are asked for.
#[derive(Clone, Debug, Default)]
pub struct RefusalFilter {
    /// Those of this resource, by its audience.
    pub resource: Option<String>,
    /// Those from this time on.
    pub since: Option<Timestamp>,
    /// Those whose caller has a name that this pattern matches; `*` in it stands for any text.
    pub caller: Option<String>,
    /// Those with this code.
    pub reason: Option<String>,
}

impl RecentRefusals {
    /// The memory of this replica.
    pub fn new(replica: ReplicaTag) -> Self {
        let shards = || (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { replica, count: AtomicU64::new(0), of_peers: shards(), of_strangers: shards() }
    }

    /// The replica whose refusals these are.
    pub fn replica(&self) -> ReplicaTag {
        self.replica
    }

    /// A new reference. Without randomness it is one that can be guessed: who may see a refusal does not depend on it.
    pub(in crate::authority) fn reference(&self, entropy: &dyn Entropy) -> Reference {
        let mut chance = [0; 8];
        let number = match entropy.fill(&mut chance) {
            Ok(()) => u64::from_be_bytes(chance),
            Err(_) => self.count.load(Ordering::Relaxed),
        };
        Reference::new(self.replica, number)
    }

    /// Keeps a refusal, and forgets what there is no more room for.
    pub(in crate::authority) fn keep(&self, refusal: RecentRefusal) {
        let kind = Kind::of(&refusal);
        let mut hasher = DefaultHasher::new();
        kind.hash(&mut hasher);
        let place = usize::try_from(hasher.finish() % SHARDS as u64).unwrap_or_default();
        let (shards, most) = if refusal.grounds.sender.is_some() {
            (&self.of_peers, MAX_REFUSALS_BYTES / SHARDS)
        } else {
            (&self.of_strangers, MAX_REFUSALS_BYTES / 4 / SHARDS)
        };
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        if let Some(shard) = shards.get(place) {
            let forgotten = lock(shard).keep(count, kind, refusal, most);
            // Freed without the lock.
            drop(forgotten);
        }
    }

    /// The refusal with this reference, unless it is forgotten.
    pub fn find(&self, reference: Reference) -> Option<Arc<RecentRefusal>> {
        if reference.replica() != self.replica {
            return None;
        }
        self.shards().find_map(|shard| lock(shard).find(reference.number()))
    }

    /// The newest refusals that are asked for, at most this many, the newest first.
    pub fn newest(&self, filter: &RefusalFilter, most: usize) -> Vec<Arc<RecentRefusal>> {
        let mut found = Vec::new();
        for shard in self.shards() {
            let shard = lock(shard);
            let wanted = shard.refusals.iter().rev().filter(|(_, (_, refusal))| filter.takes(refusal));
            found.extend(wanted.take(most).map(|(place, (_, refusal))| (*place, Arc::clone(refusal))));
        }
        found.sort_by_key(|(place, _)| std::cmp::Reverse(*place));
        found.into_iter().take(most).map(|(_, refusal)| refusal).collect()
    }

    /// How many refusals are remembered, and how many bytes they take, about.
    pub fn size(&self) -> (usize, usize) {
        self.shards()
            .map(|shard| lock(shard))
            .fold((0, 0), |(count, bytes), shard| (count + shard.refusals.len(), bytes + shard.bytes))
    }

    fn shards(&self) -> impl Iterator<Item = &Mutex<Shard>> {
        self.of_peers.iter().chain(&self.of_strangers)
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kind {
    fn of(refusal: &RecentRefusal) -> Self {
        let RecentRefusal { record, grounds, .. } = refusal;
        Self {
            event: record.event,
            reason: record.reason,
            resource: record.resource.clone().filter(|_| grounds.is_registered),
            sender: grounds.sender.clone().or_else(|| record.remote_host().map(ToOwned::to_owned)),
            evidence: record.evidence.clone(),
        }
    }

    fn bytes(&self) -> usize {
        let texts = [&self.resource, &self.sender, &self.evidence];
        texts.into_iter().flatten().map(String::len).sum::<usize>() + size_of::<Self>()
    }
}

impl Shard {
    fn keep(&mut self, place: u64, kind: Kind, refusal: RecentRefusal, most: usize) -> Vec<Arc<RecentRefusal>> {
        let mut forgotten = Vec::new();
        self.bytes += cost(&kind, &refusal);
        self.places.insert(refusal.reference.number(), place);
        let of_kind = self.kinds.entry(kind.clone()).or_default();
        of_kind.push_back(place);
        let surplus = if of_kind.len() > MAX_OF_A_KIND { of_kind.front().copied() } else { None };
        self.refusals.insert(place, (kind, Arc::new(refusal)));
        forgotten.extend(surplus.and_then(|place| self.forget(place)));
        while self.bytes > most
            && let Some((oldest, _)) = self.refusals.first_key_value()
        {
            let oldest = *oldest;
            forgotten.extend(self.forget(oldest));
        }
        forgotten
    }

    fn forget(&mut self, place: u64) -> Option<Arc<RecentRefusal>> {
        let (kind, refusal) = self.refusals.remove(&place)?;
        self.bytes = self.bytes.saturating_sub(cost(&kind, &refusal));
        self.places.remove(&refusal.reference.number());
        if let Some(of_kind) = self.kinds.get_mut(&kind) {
            of_kind.retain(|other| *other != place);
            if of_kind.is_empty() {
                self.kinds.remove(&kind);
            }
        }
        Some(refusal)
    }

    fn find(&self, number: u64) -> Option<Arc<RecentRefusal>> {
        self.refusals.get(self.places.get(&number)?).map(|(_, refusal)| Arc::clone(refusal))
    }
}

/// A kind is in two maps.
fn cost(kind: &Kind, refusal: &RecentRefusal) -> usize {
    2 * kind.bytes() + refusal.bytes() + OVERHEAD_BYTES
}

impl RefusalFilter {
    /// Whether the refusal is asked for.
    pub fn takes(&self, refusal: &RecentRefusal) -> bool {
        let RecentRefusal { at, record, grounds, .. } = refusal;
        let of_resource = || self.resource.as_deref().is_none_or(|resource| record.is_at(resource));
        let of_caller = || {
            self.caller.as_ref().is_none_or(|pattern| {
                let of_evidence = grounds.evidence.iter().flat_map(|evidence| &evidence.names);
                let others = grounds.sender.iter().chain(of_evidence).map(String::as_str);
                record.names().chain(others).any(|name| matches(pattern, name))
            })
        };
        self.since.is_none_or(|since| *at >= since)
            && self.reason.as_deref().is_none_or(|reason| record.reason == Some(reason))
            && of_resource()
            && of_caller()
    }
}
