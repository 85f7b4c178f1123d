//! The check of every record: that it can be read, that it is in its place, and that the records agree with each other.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::authority::access::GRANTS;
use crate::authority::backup::mark::IMPORT;
use crate::authority::backup::moved::is_moved;
use crate::authority::keys::KEYS;
use crate::authority::keys::KEYS_INDEX;
use crate::authority::keys::KeySealer;
use crate::authority::keys::RECEIPT_KEYS;
use crate::authority::keys::RECEIPT_KEYS_INDEX;
use crate::authority::observe::AUDIT_HEADS;
use crate::authority::observe::AuditHead;
use crate::authority::records::ChangeRecord;
use crate::authority::records::HISTORY;
use crate::authority::registration::CLIENTS;
use crate::authority::registration::ClientRegistration;
use crate::authority::registration::SPIFFE_INDEX;
use crate::authority::registration::index_owner;
use crate::authority::registration::unique_index_key;
use crate::authority::resources::AUTHORITY_INDEX;
use crate::authority::resources::DELETED;
use crate::authority::resources::Finding;
use crate::authority::resources::RESOURCES;
use crate::authority::resources::ResourceMetadata;
use crate::authority::resources::findings;
use crate::authority::state::Entry;
use crate::authority::state::FEATURES;
use crate::authority::state::FETCHED_BUNDLES;
use crate::authority::state::LINEAGES;
use crate::authority::state::PUBLISHED;
use crate::authority::state::REVOCATIONS;
use crate::authority::state::ROLES;
use crate::authority::state::Unusable;
use crate::authority::state::UnusableBundle;
use crate::authority::state::UnusableJwks;
use crate::authority::state::too_new;
use crate::authority::store::Revision;
use crate::authority::store::UnreadableRecord;
use crate::authority::store::read_record;
use crate::authority::tokens::RECEIPTS;

/// The schema of the records of the index.
const INDEX_SCHEMA: u32 = 1;

/// What was found in a store.
#[derive(Debug, Default)]
pub struct Checked {
    /// How many records there are of each kind, by the beginning of their keys.
    pub counts: BTreeMap<&'static str, usize>,
    /// How much of it is about token exchange, which earlier versions do not know.
    pub exchange: AboutExchange,
    /// What is wrong, in the order in which it was found.
    pub faults: Vec<Fault>,
}

/// What of a store is about token exchange.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AboutExchange {
    /// The clients that exchange, or say who may act for them.
    pub clients: usize,
    /// The resources that leave receipts or take delegated tokens.
    pub resources: usize,
    /// The keys of receipts.
    pub receipt_keys: usize,
}

/// A record that is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {wrong}")]
pub struct Fault {
    /// Its key.
    pub key: String,
    /// What is wrong with it.
    pub wrong: Wrong,
}

/// What is wrong with a record.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// No server starts on it.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// No server of this version reads it.
    #[error("no record of this version has such a key")]
    Unknown,
    /// A record of the index cannot be read.
    #[error("the record of the index cannot be read")]
    Index,
    /// What is kept of a change cannot be read.
    #[error("what is kept of a change cannot be read")]
    Change,
    /// What is kept of a published JWK Set cannot be read.
    #[error("what is kept of a client's jwks_uri cannot be used: {0}")]
    Published(UnusableJwks),
    /// The head of a chain of the audit trail cannot be read.
    #[error("the last record of a chain of the audit trail cannot be read")]
    AuditHead,
    /// What is kept of another trust domain's bundle cannot be read.
    #[error("what is kept of a trust domain's bundle cannot be used: {0}")]
    Bundle(UnusableBundle),
    /// An import was interrupted.
    #[error("an import was not finished: the store holds a part of the records")]
    Unfinished,
    /// Two clients have one SPIFFE ID or pattern.
    #[error("the client {other} has the same SPIFFE ID, or pattern")]
    TwoClients {
        /// The other client.
        other: String,
    },
    /// The client's SPIFFE ID or pattern has no record in the index, or another client's.
    #[error("{index} does not name the client: apply its document again with a change, so that it is written anew")]
    NotInIndex {
        /// The key in the index.
        index: String,
    },
    /// The index names a client that has no such SPIFFE ID or pattern.
    #[error("the index names the client {owner}, which does not have this SPIFFE ID or pattern")]
    Leftover {
        /// The client.
        owner: String,
    },
    /// Resources have an authority that they may not share.
    #[error("the resource has the authority {authority} with {others}, and requests to it are denied where it decides")]
    SharedAuthority {
        /// The authority.
        authority: String,
        /// The other resources.
        others: String,
    },
    /// The resource is registered and marked as deleted.
    #[error("the resource is registered, and yet marked as deleted")]
    RegisteredAndDeleted,
    /// There was a receipt key, and there is none.
    #[error(
        "there are no keys of receipts any more: no server starts here with exchange.enabled, before one has without it"
    )]
    ReceiptKeysLost,
}

impl Wrong {
    /// Whether servers decide rightly all the same: what is registered counts, the index is only for changes, and what
    /// others publish is fetched again.
    pub fn is_harmless(&self) -> bool {
        match self {
            Self::NotInIndex { .. }
            | Self::Leftover { .. }
            | Self::SharedAuthority { .. }
            | Self::Change
            | Self::Published(_)
            | Self::Bundle(_)
            | Self::AuditHead
            | Self::ReceiptKeysLost => true,
            Self::Unusable(_)
            | Self::Unknown
            | Self::Index
            | Self::Unfinished
            | Self::TwoClients { .. }
            | Self::RegisteredAndDeleted => false,
        }
    }
}

/// Reads every record, in the order of their keys, and compares them with each other.
pub fn verify<'a>(records: impl Iterator<Item = (&'a str, &'a [u8])>, sealer: &KeySealer) -> Checked {
    let mut found = Found::default();
    for (key, value) in records {
        if let Err(wrong) = found.read(key, value, sealer) {
            found.checked.faults.push(Fault { key: key.to_owned(), wrong });
        }
    }
    found.compare()
}

#[derive(Default)]
struct Found {
    checked: Checked,
    /// The index keys that the clients must have, with the clients.
    claims: BTreeMap<String, String>,
    /// The owners of the index keys.
    owners: BTreeMap<String, String>,
    resources: Vec<ResourceMetadata>,
    deleted: Vec<String>,
    /// Whether each client could be read: what is said of the index is wrong otherwise.
    unread: bool,
}

impl Found {
    fn read(&mut self, key: &str, value: &[u8], sealer: &KeySealer) -> Result<(), Wrong> {
        if key == IMPORT {
            return Err(Wrong::Unfinished);
        }
        if !is_moved(key) {
            return Ok(());
        }
        let kinds = [
            AUDIT_HEADS,
            CLIENTS,
            DELETED,
            FEATURES,
            FETCHED_BUNDLES,
            GRANTS,
            HISTORY,
            SPIFFE_INDEX,
            AUTHORITY_INDEX,
            KEYS_INDEX,
            RECEIPT_KEYS_INDEX,
            KEYS,
            RECEIPT_KEYS,
            RECEIPTS,
            LINEAGES,
            PUBLISHED,
            RESOURCES,
            REVOCATIONS,
            ROLES,
        ];
        let kind = kinds.into_iter().find(|prefix| key.starts_with(prefix)).ok_or(Wrong::Unknown)?;
        *self.checked.counts.entry(kind).or_default() += 1;
        if kind == HISTORY {
            return ChangeRecord::from_bytes(value).map(drop).map_err(|_| Wrong::Change);
        }
        if kind == AUDIT_HEADS {
            return AuditHead::from_bytes(key, value).map(drop).map_err(|_| Wrong::AuditHead);
        }
        if kind == SPIFFE_INDEX {
            let owner = index_owner(key, value).map_err(|_| Wrong::Index)?;
            self.owners.insert(key.to_owned(), owner);
            return Ok(());
        }
        if [AUTHORITY_INDEX, KEYS_INDEX, RECEIPT_KEYS_INDEX, RECEIPTS].contains(&kind) {
            return read_bare_index(value).map_err(|_| Wrong::Index);
        }
        let entry = Entry::read(key, value, Revision::default(), sealer);
        match entry.inspect_err(|_| self.unread |= kind == CLIENTS).map_err(|error| wrong(key, value, error))? {
            Some(Entry::Client(client)) => {
                self.checked.exchange.clients += usize::from(client.registration.terms.exchange.is_some());
                return self.claim(&client.registration);
            }
            Some(Entry::Resource(resource)) => {
                self.checked.exchange.resources += usize::from(resource.registration.takes_part_in_exchange());
                self.resources.push(resource.registration.metadata.clone());
            }
            Some(Entry::ReceiptKey(_)) => self.checked.exchange.receipt_keys += 1,
            Some(Entry::Deleted(mark)) => self.deleted.push(mark.audience),
            Some(
                Entry::Revocation(_)
                | Entry::Lineage(_)
                | Entry::SigningKey(_)
                | Entry::Feature(_)
                | Entry::Grant(_)
                | Entry::PublishedJwks(_)
                | Entry::FetchedBundle(_),
            ) => {}
            Some(Entry::Heartbeat(_)) | None => return Err(Wrong::Unknown),
        }
        Ok(())
    }

    fn claim(&mut self, client: &ClientRegistration) -> Result<(), Wrong> {
        let Some(index) = unique_index_key(client) else { return Ok(()) };
        match self.claims.insert(index, client.client_id.to_string()) {
            Some(other) => Err(Wrong::TwoClients { other }),
            None => Ok(()),
        }
    }

    fn compare(self) -> Checked {
        let Self { mut checked, claims, owners, resources, deleted, unread } = self;
        let mut wrong = |key: String, wrong: Wrong| checked.faults.push(Fault { key, wrong });
        for (index, client) in claims.iter().filter(|(index, client)| owners.get(*index) != Some(client)) {
            wrong(format!("{CLIENTS}{client}"), Wrong::NotInIndex { index: index.clone() });
        }
        for (index, owner) in owners.iter().filter(|(index, owner)| !unread && claims.get(*index) != Some(owner)) {
            wrong(index.clone(), Wrong::Leftover { owner: owner.clone() });
        }
        for finding in findings(&resources.iter().collect::<Vec<_>>()) {
            if let Finding::SharedAuthority { authority, audiences } = finding
                && let Some((first, others)) = audiences.split_first()
            {
                wrong(
                    format!("{RESOURCES}{first}"),
                    Wrong::SharedAuthority { authority, others: others.join(" and ") },
                );
            }
        }
        for resource in resources.iter().filter(|resource| deleted.contains(&resource.audience)) {
            wrong(format!("{RESOURCES}{}", resource.audience), Wrong::RegisteredAndDeleted);
        }
        let counts = &checked.counts;
        if counts.contains_key(RECEIPT_KEYS_INDEX) && !counts.contains_key(RECEIPT_KEYS) {
            checked.faults.push(Fault { key: RECEIPT_KEYS_INDEX.to_owned(), wrong: Wrong::ReceiptKeysLost });
        }
        checked
    }
}

/// A damaged document of a client or a trust domain is left out by servers; one of a newer schema suspends.
fn wrong(key: &str, value: &[u8], error: Unusable) -> Wrong {
    match error {
        Unusable::PublishedJwks(why) if too_new(key, value).is_none() => Wrong::Published(why),
        Unusable::FetchedBundle(why) if too_new(key, value).is_none() => Wrong::Bundle(why),
        Unusable::PublishedJwks(_)
        | Unusable::FetchedBundle(_)
        | Unusable::Registration(_)
        | Unusable::SigningKey(_)
        | Unusable::ReceiptKey(_)
        | Unusable::Deleted
        | Unusable::Revocation
        | Unusable::Lineage
        | Unusable::Heartbeat
        | Unusable::Feature(_)
        | Unusable::Role => Wrong::Unusable(error),
    }
}

/// A record of which only the revision counts.
fn read_bare_index(value: &[u8]) -> Result<(), UnreadableRecord> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct IndexRecord {
        #[serde(rename = "schema")]
        _schema: u32,
    }
    read_record::<IndexRecord>(value, INDEX_SCHEMA).map(drop)
}
