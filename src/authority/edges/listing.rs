//! Everything that an edge needs, in parts.

use std::sync::Arc;
use std::vec;

use strum::VariantArray as _;

use crate::authority::edges::needed::Needed;
use crate::authority::edges::sent;
use crate::authority::edges::sent::Sent;
use crate::authority::edges::sent::SentRecord;
use crate::authority::keys::KEYS;
use crate::authority::registration::CLIENTS;
use crate::authority::registration::RegisteredClient;
use crate::authority::resources::DeletedResource;
use crate::authority::resources::RESOURCES;
use crate::authority::state::FETCHED_BUNDLES;
use crate::authority::state::PUBLISHED;
use crate::authority::state::Revoked;
use crate::authority::state::RevokedKind;
use crate::authority::state::Snapshot;
use crate::authority::state::succession_key;
use crate::authority::store::Revision;

/// How many records a part has at most, and about how many bytes: it is made on a thread that answers requests.
const PART: usize = 128;
const PART_BYTES: usize = 128 * 1024;

/// What is left to list of a snapshot.
#[derive(Debug)]
pub(super) struct Listing {
    snapshot: Arc<Snapshot>,
    /// Whether it is for a verifier, which gets no records.
    for_verifiers: bool,
    /// What is neither a client nor a revocation: there are few.
    others: vec::IntoIter<Sent>,
    clients: vec::IntoIter<Arc<RegisteredClient>>,
    /// The last revocation that was listed.
    revoked: Option<Revoked>,
    has_revocations: bool,
}

impl Listing {
    /// Lists for an edge that needs this, or for a verifier.
    pub(super) fn new(snapshot: Arc<Snapshot>, needed: Option<&Needed>) -> Self {
        let directory = &snapshot.directory;
        let clients: Vec<_> = match needed {
            None => Vec::new(),
            Some(needed) if needed.has_all_clients() => directory.all().map(Arc::clone).collect(),
            Some(needed) => needed.names().filter_map(|name| directory.named(name)).map(Arc::clone).collect(),
        };
        let others = match needed {
            Some(needed) => records(&snapshot, needed),
            None => snapshot.keys.all().map(|(key, _)| Sent::Key(key.key_id().to_string(), key.jwk())).collect(),
        };
        Self {
            for_verifiers: needed.is_none(),
            others: others.into_iter(),
            clients: clients.into_iter(),
            revoked: None,
            has_revocations: true,
            snapshot,
        }
    }

    /// The next part; `None` after the last one.
    pub(super) fn next_part(&mut self) -> Option<Vec<Sent>> {
        let mut part = Part::default();
        while !part.is_full()
            && let Some(other) = self.others.next()
        {
            part.push(other);
        }
        while !part.is_full()
            && let Some(client) = self.clients.next()
        {
            let key = format!("{CLIENTS}{}", client.registration.client_id.as_str());
            part.extend(record(key, sent::client_value(&client), client.revision));
        }
        while !part.is_full() && self.has_revocations {
            let page = self.snapshot.revocations.page(RevokedKind::VARIANTS, self.revoked.as_ref(), PART);
            self.revoked = page.last().map(|(last, _, _)| last.clone());
            self.has_revocations = self.revoked.is_some();
            for (revoked, revocation, revision) in page {
                if self.for_verifiers {
                    part.push(Sent::Revocation(revoked, Some(revocation.into_owned())));
                } else {
                    let value = sent::revocation_value(revocation.into_owned());
                    part.extend(record(revoked.store_key(), value, revision));
                }
            }
        }
        (!part.sent.is_empty()).then_some(part.sent)
    }
}

#[derive(Default)]
struct Part {
    sent: Vec<Sent>,
    bytes: usize,
}

impl Part {
    fn is_full(&self) -> bool {
        self.sent.len() >= PART || self.bytes >= PART_BYTES
    }

    fn push(&mut self, sent: Sent) {
        if let Sent::Record(SentRecord { value: Some(value), .. }) = &sent {
            self.bytes += value.len();
        }
        self.sent.push(sent);
    }

    fn extend(&mut self, sent: Option<Sent>) {
        if let Some(sent) = sent {
            self.push(sent);
        }
    }
}

fn record(key: String, value: Option<Vec<u8>>, revision: Revision) -> Option<Sent> {
    value.map(|value| Sent::Record(SentRecord { key, value: Some(value), revision }))
}

/// The records that are neither clients nor revocations.
fn records(snapshot: &Snapshot, needed: &Needed) -> Vec<Sent> {
    let keys = snapshot.keys.all().map(|(key, at)| (format!("{KEYS}{}", key.key_id()), key.public_record(), at));
    let resources = snapshot.resources.all().map(|resource| {
        let key = format!("{RESOURCES}{}", resource.registration.audience());
        (key, sent::resource_value(resource), resource.revision)
    });
    let marks = snapshot.resources.marks();
    let marks = marks.map(|(mark, at)| (DeletedResource::key(&mark.audience), mark.to_bytes(), at));
    let successions = snapshot.lineages.all().filter(|(_, succession, _)| needed.has_identity(&succession.spiffe_id));
    let successions =
        successions.map(|(predecessor, succession, at)| (succession_key(predecessor), succession.to_bytes(), at));
    let stored = |bytes: &[u8]| Some(bytes.to_vec()).filter(|bytes| !bytes.is_empty());
    let published = snapshot.published_jwks.all_stored();
    let published = published.map(|(name, fetched, at)| (format!("{PUBLISHED}{name}"), stored(&fetched.stored), at));
    let bundles = snapshot.fetched_bundles.all();
    let bundles = bundles.map(|(name, fetched, at)| (format!("{FETCHED_BUNDLES}{name}"), stored(&fetched.stored), at));
    // Those of registrations are among these already, as suspended ones.
    let unreadable = snapshot.unreadable().filter(|(key, ..)| sent::is_sent(key) && !key.starts_with(CLIENTS));
    let unreadable = unreadable.filter(|(key, ..)| !key.starts_with(RESOURCES));
    let unreadable =
        unreadable.map(|(key, at, newer)| (key.to_owned(), Some(sent::unreadable_value(newer.is_some())), at));
    let all = keys.chain(resources).chain(marks).chain(successions).chain(published).chain(bundles).chain(unreadable);
    let all = all.filter(|(key, ..)| needed.has_key(key));
    all.filter_map(|(key, value, revision)| record(key, value, revision)).collect()
}
