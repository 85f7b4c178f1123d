//! Certificates and the successors that their holders announced. A token that is bound to one certificate stays usable
//! with its successor, and with no other certificate of the same identity.

use std::sync::Arc;
use std::time::Duration;

use imbl::HashMap;
use serde::Deserialize;
use serde::Serialize;

use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::records::Shared;
use crate::authority::store::Revision;

/// The prefix of all store keys of lineages. The thumbprint of the certificate that has a successor follows it.
pub const LINEAGES: &str = "/lineages/";

/// The schema of the records that this version writes.
pub(super) const SCHEMA: u32 = 1;

/// The limits of a lineage.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LineagePolicy {
    /// How long after the announcement a token that is bound to the predecessor is accepted with the successor.
    pub overlap: Duration,
    /// The most successions between the certificate that a token is bound to and the presented one.
    pub max_generations: u32,
}

impl Default for LineagePolicy {
    fn default() -> Self {
        Self { overlap: Duration::from_mins(15), max_generations: 3 }
    }
}

/// The record of one succession in the store.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LineageRecord {
    schema: u32,
    /// The thumbprint of the succeeding certificate, as `x5t#S256`.
    pub successor: String,
    /// The SPIFFE ID of both certificates.
    pub spiffe_id: Arc<str>,
    /// The time of the announcement.
    pub announced_at: Timestamp,
    /// The notAfter of the predecessor. The record is kept until then, because a certificate has at most one successor.
    pub not_after: Timestamp,
}

impl LineageRecord {
    /// A succession that is announced now.
    pub fn new(successor: CertificateThumbprint, spiffe_id: &str, now: Timestamp, not_after: Timestamp) -> Self {
        let (successor, spiffe_id) = (successor.to_string(), spiffe_id.into());
        Self { schema: SCHEMA, successor, spiffe_id, announced_at: now, not_after }
    }

    /// Parses a stored value; `None` where this version cannot.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let record = serde_json::from_slice::<Self>(bytes).ok().filter(|record| record.schema == SCHEMA)?;
        CertificateThumbprint::parse(&record.successor).map(|_| record)
    }

    /// The value to store; `None` where it cannot be serialized.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }
}

/// The store key of a certificate's succession.
pub fn store_key(predecessor: CertificateThumbprint) -> String {
    format!("{LINEAGES}{predecessor}")
}

/// The certificate of a store key.
pub(super) fn predecessor(key: &str) -> Option<CertificateThumbprint> {
    key.strip_prefix(LINEAGES).and_then(CertificateThumbprint::parse)
}

/// All successions at one moment.
#[derive(Clone, Debug, Default)]
pub struct Lineages {
    successions: HashMap<CertificateThumbprint, (LineageRecord, Revision)>,
    identities: Shared<str>,
}

/// How one certificate descends from another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Descent {
    /// It descends by this many successions, and is accepted until this time.
    Of(u32, Timestamp),
    /// It descends, but one of the successions is too long ago, or there are too many of them.
    Over,
    /// It does not descend.
    None,
}

impl Lineages {
    /// Adds a succession.
    pub fn insert(&mut self, predecessor: CertificateThumbprint, mut record: LineageRecord, revision: Revision) {
        self.remove(&predecessor);
        self.identities.add(&mut record.spiffe_id);
        self.successions.insert(predecessor, (record, revision));
    }

    /// Removes a certificate's succession.
    pub fn remove(&mut self, predecessor: &CertificateThumbprint) {
        if let Some((record, _)) = self.successions.remove(predecessor) {
            self.identities.remove(&record.spiffe_id);
        }
    }

    /// The number of successions.
    pub fn len(&self) -> usize {
        self.successions.len()
    }

    /// Whether there are no successions.
    pub fn is_empty(&self) -> bool {
        self.successions.is_empty()
    }

    /// The number of successions of a SPIFFE ID's certificates.
    pub fn count_of(&self, spiffe_id: &str) -> usize {
        self.identities.count(spiffe_id)
    }

    /// All successions, with their predecessors and revisions.
    pub fn all(&self) -> impl Iterator<Item = (CertificateThumbprint, &LineageRecord, Revision)> {
        self.successions.iter().map(|(predecessor, (record, revision))| (*predecessor, record, *revision))
    }

    /// The succession of a certificate.
    pub fn of(&self, predecessor: &CertificateThumbprint) -> Option<&LineageRecord> {
        self.successions.get(predecessor).map(|(record, _)| record)
    }

    /// Whether a certificate is in any succession.
    pub fn names(&self, thumbprint: &CertificateThumbprint) -> bool {
        let text = thumbprint.to_string();
        self.successions.contains_key(thumbprint)
            || self.successions.values().any(|(record, _)| record.successor == text)
    }

    /// The store revision of a certificate's succession.
    pub fn revision_of(&self, predecessor: &CertificateThumbprint) -> Option<Revision> {
        self.successions.get(predecessor).map(|(_, revision)| *revision)
    }

    /// The successions that have no effect any more: both the overlap and the predecessor's validity have ended.
    pub fn ended(&self, policy: LineagePolicy, now: Timestamp) -> Vec<(CertificateThumbprint, Revision)> {
        let over = |record: &LineageRecord| now > record.not_after.max(record.announced_at.after(policy.overlap));
        let ended = self.all().filter(|(_, record, _)| over(record));
        ended.map(|(predecessor, _, revision)| (predecessor, revision)).collect()
    }

    /// How `presented` descends from `bound`. Every succession on the way must be within its overlap.
    pub fn descent(
        &self,
        bound: CertificateThumbprint,
        presented: CertificateThumbprint,
        policy: LineagePolicy,
        now: Timestamp,
    ) -> Descent {
        let (mut at, mut until, mut over) = (bound, Timestamp(u64::MAX), false);
        // One step more than the limit distinguishes a descendant that is too far away from an unrelated certificate.
        for generation in 1..=policy.max_generations.saturating_add(1) {
            let Some(record) = self.of(&at) else { return Descent::None };
            let Some(next) = CertificateThumbprint::parse(&record.successor) else { return Descent::None };
            let end = record.announced_at.after(policy.overlap);
            over |= now >= end || generation > policy.max_generations;
            until = until.min(end);
            if next == presented {
                return if over { Descent::Over } else { Descent::Of(generation, until) };
            }
            at = next;
        }
        Descent::None
    }

    /// Whether the lineage from `bound` to `presented` has a certificate between the two for which `cut` holds.
    pub fn passes(
        &self,
        bound: CertificateThumbprint,
        presented: CertificateThumbprint,
        policy: LineagePolicy,
        cut: impl Fn(CertificateThumbprint) -> bool,
    ) -> bool {
        let (mut at, mut is_cut) = (bound, false);
        for _ in 1..=policy.max_generations.saturating_add(1) {
            let next = self.of(&at).and_then(|record| CertificateThumbprint::parse(&record.successor));
            let Some(next) = next else { return false };
            if next == presented {
                return is_cut;
            }
            is_cut |= cut(next);
            at = next;
        }
        false
    }
}
