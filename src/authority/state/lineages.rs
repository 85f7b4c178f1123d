//! Certificates and the successors that their holders announced: by them a token that is bound to one certificate stays
//! usable with the next, and with no sibling's.

use std::time::Duration;

use imbl::HashMap;
use serde::Deserialize;
use serde::Serialize;

use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::store::Revision;

/// The prefix of all keys of lineages in the store; the thumbprint of the certificate that has a successor follows.
pub const LINEAGES: &str = "/lineages/";

/// The schema of the records that this version writes.
const SCHEMA: u32 = 1;

/// How far a lineage reaches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LineagePolicy {
    /// How long after the announcement tokens that are bound to the predecessor pass with the successor.
    pub overlap: Duration,
    /// How many successions may lie between the certificate that a token is bound to and the one that is shown.
    pub max_generations: u32,
}

impl Default for LineagePolicy {
    fn default() -> Self {
        Self { overlap: Duration::from_mins(15), max_generations: 3 }
    }
}

/// One succession in the store.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LineageRecord {
    schema: u32,
    /// The certificate that follows, as `x5t#S256`.
    pub successor: String,
    /// The SPIFFE ID that both bear.
    pub spiffe_id: String,
    /// When it was announced.
    pub announced_at: Timestamp,
    /// The notAfter of the predecessor. Until then the record is kept: a certificate has one successor and no other.
    pub not_after: Timestamp,
}

impl LineageRecord {
    /// A succession that is announced now.
    pub fn new(successor: CertificateThumbprint, spiffe_id: &str, now: Timestamp, not_after: Timestamp) -> Self {
        let (successor, spiffe_id) = (successor.to_string(), spiffe_id.to_owned());
        Self { schema: SCHEMA, successor, spiffe_id, announced_at: now, not_after }
    }

    /// Reads a stored value; `None` where this version cannot.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let record = serde_json::from_slice::<Self>(bytes).ok().filter(|record| record.schema == SCHEMA)?;
        CertificateThumbprint::parse(&record.successor).map(|_| record)
    }

    /// The value to store.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }
}

/// Where the succession of a certificate is stored.
pub fn store_key(predecessor: CertificateThumbprint) -> String {
    format!("{LINEAGES}{predecessor}")
}

/// The certificate that a store key is about.
pub(super) fn predecessor(key: &str) -> Option<CertificateThumbprint> {
    key.strip_prefix(LINEAGES).and_then(CertificateThumbprint::parse)
}

/// All successions at one moment.
#[derive(Clone, Debug, Default)]
pub struct Lineages(HashMap<CertificateThumbprint, (LineageRecord, Revision)>);

/// How one certificate descends from another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Descent {
    /// By so many successions, until then.
    Of(u32, Timestamp),
    /// It does, but one of the successions is too long ago, or there are too many of them.
    Over,
    /// It does not.
    None,
}

impl Lineages {
    /// Takes in a succession.
    pub fn insert(&mut self, predecessor: CertificateThumbprint, record: LineageRecord, revision: Revision) {
        self.0.insert(predecessor, (record, revision));
    }

    /// Forgets one.
    pub fn remove(&mut self, predecessor: &CertificateThumbprint) {
        self.0.remove(predecessor);
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = (CertificateThumbprint, &LineageRecord, Revision)> {
        self.0.iter().map(|(predecessor, (record, revision))| (*predecessor, record, *revision))
    }

    /// The succession of a certificate.
    pub fn of(&self, predecessor: &CertificateThumbprint) -> Option<&LineageRecord> {
        self.0.get(predecessor).map(|(record, _)| record)
    }

    /// The revision of one.
    pub fn revision_of(&self, predecessor: &CertificateThumbprint) -> Option<Revision> {
        self.0.get(predecessor).map(|(_, revision)| *revision)
    }

    /// Those that matter no longer: neither the window nor the predecessor's validity is open.
    pub fn ended(&self, policy: LineagePolicy, now: Timestamp) -> Vec<(CertificateThumbprint, Revision)> {
        let over = |record: &LineageRecord| now > record.not_after.max(record.announced_at.after(policy.overlap));
        let ended = self.all().filter(|(_, record, _)| over(record));
        ended.map(|(predecessor, _, revision)| (predecessor, revision)).collect()
    }

    /// How `shown` descends from `bound`. Every succession on the way must be within its window.
    pub fn descent(
        &self,
        bound: CertificateThumbprint,
        shown: CertificateThumbprint,
        policy: LineagePolicy,
        now: Timestamp,
    ) -> Descent {
        let (mut at, mut until, mut over) = (bound, Timestamp(u64::MAX), false);
        // One step more than may be taken tells a descendant that is too far away from a stranger.
        for generation in 1..=policy.max_generations.saturating_add(1) {
            let Some(record) = self.of(&at) else { return Descent::None };
            let Some(next) = CertificateThumbprint::parse(&record.successor) else { return Descent::None };
            let end = record.announced_at.after(policy.overlap);
            over |= now >= end || generation > policy.max_generations;
            until = until.min(end);
            if next == shown {
                return if over { Descent::Over } else { Descent::Of(generation, until) };
            }
            at = next;
        }
        Descent::None
    }
}
