//! Records as edges get them: those of the store, without what decisions do not read.

use std::sync::Arc;

use serde_json::Value;
use serde_json::json;

use crate::authority::keys::KEYS;
use crate::authority::records::Record;
use crate::authority::records::Registered;
use crate::authority::records::Registration;
use crate::authority::registration::CLIENTS;
use crate::authority::registration::ClientId;
use crate::authority::registration::RegisteredClient;
use crate::authority::resources::DELETED;
use crate::authority::resources::RESOURCES;
use crate::authority::resources::RegisteredResource;
use crate::authority::state::Entry;
use crate::authority::state::FETCHED_BUNDLES;
use crate::authority::state::LINEAGES;
use crate::authority::state::Lifted;
use crate::authority::state::PUBLISHED;
use crate::authority::state::REVOCATIONS;
use crate::authority::state::RevocationRecord;
use crate::authority::state::Revoked;
use crate::authority::state::Snapshot;
use crate::authority::store::Revision;

/// The schema in which an edge gets what the centre cannot read: no version reads it, so that each treats the record as one of a
/// newer version.
const UNREADABLE: u32 = u32::MAX;

/// A record, a revocation or a key, as it is now.
#[derive(Clone, Debug)]
pub enum Sent {
    /// For edges: a record of the store.
    Record(SentRecord),
    /// For verifiers: a revocation, or its end.
    Revocation(Revoked, Option<RevocationRecord>),
    /// For verifiers: a key by its `kid`, as a JWK; without one it verifies nothing any more.
    Key(String, Option<String>),
}

/// A record of the store.
#[derive(Clone, Debug)]
pub struct SentRecord {
    /// Its key.
    pub key: String,
    /// Its value; `None` where it is gone.
    pub value: Option<Vec<u8>>,
    /// The revision of the write, in a listing.
    pub revision: Revision,
}

/// A change that the store's watch delivered, read once for all.
#[derive(Debug)]
pub(in crate::authority) struct ReadChange {
    /// The key.
    pub(in crate::authority) key: String,
    /// What is there now.
    pub(in crate::authority) now: ReadValue,
}

/// What is at a key.
#[derive(Debug)]
pub(in crate::authority) enum ReadValue {
    /// Nothing.
    Gone,
    /// A record.
    Entry(Entry),
    /// A record that this version cannot read, and whether it is of a newer schema. The snapshot has suspended what it names.
    Unreadable {
        /// Whether it is of a newer schema.
        newer: bool,
    },
}

impl SentRecord {
    pub(super) fn gone(key: &str) -> Self {
        Self { key: key.to_owned(), value: None, revision: Revision::default() }
    }
}

/// What edges get of a record; `None` where they need nothing of its kind.
pub(super) fn value_of(entry: &Entry) -> Option<Vec<u8>> {
    match entry {
        Entry::Client(client) => client_value(client),
        Entry::Resource(resource) => resource_value(resource),
        Entry::Deleted(mark) => mark.to_bytes(),
        Entry::Revocation(record) => revocation_value(record.clone()),
        Entry::Lineage(record) => record.to_bytes(),
        Entry::SigningKey(key) => key.public_record(),
        Entry::PublishedJwks(fetched) => Some(fetched.stored.to_vec()),
        Entry::FetchedBundle(fetched) => Some(fetched.stored.to_vec()),
        Entry::ReceiptKey(_) | Entry::Heartbeat(_) | Entry::Feature(_) | Entry::Grant(_) => None,
    }
}

/// Whether edges get records of the kind of this key.
pub(super) fn is_sent(key: &str) -> bool {
    [CLIENTS, RESOURCES, DELETED, REVOCATIONS, LINEAGES, KEYS, PUBLISHED, FETCHED_BUNDLES]
        .iter()
        .any(|prefix| key.starts_with(prefix))
}

/// A client without the hash of its registration access token and without who registered and changed it.
pub(super) fn client_value(client: &RegisteredClient) -> Option<Vec<u8>> {
    if client.suspended.is_some() {
        return outline(client);
    }
    let mut client = client.clone();
    without_authors(&mut client.record);
    if let Some(dynamic) = &mut client.record.dynamic {
        dynamic.forget_registrant();
    }
    client.to_bytes().ok()
}

/// A resource without who registered and changed it.
pub(super) fn resource_value(resource: &RegisteredResource) -> Option<Vec<u8>> {
    if resource.suspended.is_some() {
        return outline(resource);
    }
    let mut resource = resource.clone();
    without_authors(&mut resource.record);
    resource.to_bytes().ok()
}

/// A revocation without who revoked and lifted it.
pub(super) fn revocation_value(mut record: RevocationRecord) -> Option<Vec<u8>> {
    record.revoked_by = "".into();
    record.lifted = record.lifted.map(|lifted| Box::new(Lifted { at: lifted.at, by: None }));
    record.to_bytes()
}

/// A record that cannot be read and names nothing. A damaged one is as if it were not there, for edges too.
pub(super) fn unreadable_value(newer: bool) -> Vec<u8> {
    let schema = if newer { json!({ "schema": UNREADABLE }) } else { json!({}) };
    schema.to_string().into_bytes()
}

/// What a suspended registration names.
fn outline<T: Registration>(registered: &Registered<T>) -> Option<Vec<u8>> {
    let metadata: Value = serde_json::to_value(&*registered.registration.metadata()).ok()?;
    serde_json::to_vec(&json!({ "schema": UNREADABLE, "metadata": metadata })).ok()
}

fn without_authors<C, D>(record: &mut Record<C, D>) {
    let nobody: Arc<str> = "".into();
    record.created_by = Arc::clone(&nobody);
    record.updated_by = nobody;
}

/// What verifiers get of a change; `None` where it is about neither a revocation nor a signing key. A revoked client that is
/// registered anew has another creation id.
pub(super) fn for_verifiers(change: &ReadChange, snapshot: &Snapshot) -> Vec<Sent> {
    if let Some(client_id) = change.key.strip_prefix(CLIENTS).and_then(ClientId::parse) {
        let revoked = [Revoked::Client(client_id.clone()), Revoked::IssuedTo(client_id)];
        let of_client = revoked.into_iter().filter_map(|revoked| {
            let record = snapshot.revocations.record(&revoked)?;
            Some(Sent::Revocation(revoked, Some(record)))
        });
        return of_client.collect();
    }
    for_verifier(change).into_iter().collect()
}

fn for_verifier(change: &ReadChange) -> Option<Sent> {
    if let Some(kid) = change.key.strip_prefix(KEYS) {
        let jwk = match &change.now {
            ReadValue::Entry(Entry::SigningKey(key)) => key.jwk(),
            ReadValue::Entry(_) | ReadValue::Gone | ReadValue::Unreadable { .. } => None,
        };
        return Some(Sent::Key(kid.to_owned(), jwk));
    }
    let revoked = Revoked::from_store_key(&change.key)?;
    match &change.now {
        ReadValue::Entry(Entry::Revocation(record)) => Some(Sent::Revocation(revoked, Some(record.clone()))),
        ReadValue::Gone => Some(Sent::Revocation(revoked, None)),
        ReadValue::Entry(_) | ReadValue::Unreadable { .. } => None,
    }
}
