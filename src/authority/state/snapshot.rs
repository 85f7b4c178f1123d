//! The view of the store that decisions use: all registrations, resources, revocations and signing keys at one moment,
//! in memory.
//!
//! Changes arrive in two ways: from the caller that made them, at once, so that callers see their own writes, and from
//! the store's watch, in order. Revisions keep the two from undoing each other.

use std::sync::Arc;

use imbl::HashMap;

use crate::authority::access::GRANTS;
use crate::authority::access::RegisteredGrant;
use crate::authority::access::TeamGrant;
use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::PeerIdentity;
use crate::authority::keys::KEYS;
use crate::authority::keys::RECEIPT_KEYS;
use crate::authority::keys::ReceiptKeys;
use crate::authority::keys::SigningKeys;
use crate::authority::records::ByName;
use crate::authority::records::Registered;
use crate::authority::records::Registration;
use crate::authority::registration::CLIENTS;
use crate::authority::registration::ClientRegistration;
use crate::authority::registration::Directory;
use crate::authority::registration::RegisteredClient;
use crate::authority::resources::DELETED;
use crate::authority::resources::DeletedResource;
use crate::authority::resources::ProtectedResource;
use crate::authority::resources::RESOURCES;
use crate::authority::resources::RegisteredResource;
use crate::authority::resources::Resources;
use crate::authority::state::entry::Entry;
use crate::authority::state::features::FEATURES;
use crate::authority::state::features::Features;
use crate::authority::state::fetched_bundles::FETCHED_BUNDLES;
use crate::authority::state::fetched_bundles::FetchedBundle;
use crate::authority::state::fetched_bundles::FetchedBundles;
use crate::authority::state::lineages;
use crate::authority::state::lineages::LINEAGES;
use crate::authority::state::lineages::Lineages;
use crate::authority::state::published_jwks::FetchedJwks;
use crate::authority::state::published_jwks::PublishedJwks;
use crate::authority::state::published_record::PUBLISHED;
use crate::authority::state::replicas::REPLICAS;
use crate::authority::state::replicas::Replicas;
use crate::authority::state::revocations::Revocations;
use crate::authority::state::revoked::REVOCATIONS;
use crate::authority::state::revoked::Revoked;
use crate::authority::state::schemas::ROLES;
use crate::authority::state::unreadable::Unreadable;
use crate::authority::store::Revision;
use crate::authority::store::TooNew;

/// The prefixes of the keys that a snapshot is made from, in the order in which they are listed. The only others
/// are `/index/` and the lease of the leader. A resource and the mark of its deletion replace each other in one transaction: with the marks listed
/// before and after the resources, no moment is read that has neither.
pub const PREFIXES: [&str; 14] = [
    CLIENTS,
    KEYS,
    RECEIPT_KEYS,
    LINEAGES,
    DELETED,
    RESOURCES,
    DELETED,
    REVOCATIONS,
    ROLES,
    GRANTS,
    FEATURES,
    REPLICAS,
    PUBLISHED,
    FETCHED_BUNDLES,
];

/// All state that decisions read. Cloning is cheap: a changed snapshot shares what did not change.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The clients.
    pub directory: Directory,
    /// The protected resources.
    pub resources: Resources,
    /// The grants to the admins of teams.
    pub grants: ByName<TeamGrant>,
    /// The revocations.
    pub revocations: Revocations,
    /// The successors of certificates.
    pub lineages: Lineages,
    /// The signing keys.
    pub keys: Arc<SigningKeys>,
    /// The receipt keys.
    pub receipt_keys: Arc<ReceiptKeys>,
    /// The replicas that use the same store.
    pub replicas: Replicas,
    /// The features that are enabled in the store.
    pub features: Features,
    /// What clients publish at their `jwks_uri`, as it was stored or has been fetched since.
    pub published_jwks: PublishedJwks,
    /// The bundles of other trust domains, as they were stored.
    pub fetched_bundles: FetchedBundles,
    /// Deletions that the store's watch has not reported yet, so that an older change that it still reports restores
    /// nothing.
    pub(super) removed: HashMap<String, Revision>,
    /// The records that this version cannot read.
    pub(super) unreadable: Unreadable,
    /// The revision up to which the store has been followed: each earlier write has been applied or superseded.
    pub(super) reached: Revision,
}

/// A kind of registration that snapshots hold.
pub trait Indexed: Registration {
    /// Wraps a registration in its kind of entry.
    fn entry(registered: Registered<Self>) -> Entry;

    /// All registrations of this kind in a snapshot.
    fn all(snapshot: &Snapshot) -> &ByName<Self>;
}

impl Indexed for ClientRegistration {
    fn entry(registered: RegisteredClient) -> Entry {
        Entry::Client(Box::new(registered))
    }

    fn all(snapshot: &Snapshot) -> &ByName<Self> {
        snapshot.directory.by_name()
    }
}

impl Indexed for ProtectedResource {
    fn entry(registered: RegisteredResource) -> Entry {
        Entry::Resource(Box::new(registered))
    }

    fn all(snapshot: &Snapshot) -> &ByName<Self> {
        snapshot.resources.by_name()
    }
}

impl Indexed for TeamGrant {
    fn entry(registered: RegisteredGrant) -> Entry {
        Entry::Grant(Box::new(registered))
    }

    fn all(snapshot: &Snapshot) -> &ByName<Self> {
        &snapshot.grants
    }
}

impl Snapshot {
    /// Creates a snapshot with these signing keys and nothing else.
    pub fn new(keys: SigningKeys) -> Self {
        Self { keys: Arc::new(keys), ..Self::default() }
    }

    /// Whether every live replica serves this signing key, so that its tokens are accepted everywhere.
    pub fn served_by_all(&self, key_id: &str) -> bool {
        self.keys.find(key_id).is_some() && self.replicas.all_serve(key_id)
    }

    /// Whether a certificate is itself registered, or is published by a client that is registered to publish.
    pub fn has_certificate(&self, thumbprint: &CertificateThumbprint, now: Timestamp) -> bool {
        self.directory.has_certificate(thumbprint) || self.publishers(thumbprint, now).next().is_some()
    }

    /// The clients that are registered to publish, and have published a certificate.
    fn publishers(
        &self,
        thumbprint: &CertificateThumbprint,
        now: Timestamp,
    ) -> impl Iterator<Item = &Arc<RegisteredClient>> {
        self.published_jwks.publishers(thumbprint).iter().filter_map(move |name| {
            let client = self.directory.named(name)?;
            self.published_jwks.has(client, thumbprint, now).then_some(client)
        })
    }

    /// The registrations that a peer's certificate proves.
    pub fn clients_of(&self, peer: &PeerIdentity, now: Timestamp) -> Vec<Arc<RegisteredClient>> {
        let mut clients = self.directory.clients_of(peer);
        if peer.spiffe_id().is_none() {
            clients.extend(self.publishers(&peer.thumbprint(), now).map(Arc::clone));
        }
        clients
    }

    /// Whether any client matches this peer.
    pub fn knows(&self, peer: &PeerIdentity, now: Timestamp) -> bool {
        self.directory.knows(peer) || (peer.spiffe_id().is_none() && self.has_certificate(&peer.thumbprint(), now))
    }

    /// Applies a write at a key, or its deletion, unless a later change is already known.
    pub fn apply(&mut self, key: &str, entry: Option<Entry>, revision: Revision) {
        if self.is_superseded(key, revision) {
            return;
        }
        if !self.removed.is_empty() {
            self.removed.remove(key);
        }
        self.unreadable.remove(key);
        let revoked = Revoked::from_store_key(key);
        match (entry, revoked) {
            (Some(Entry::Client(client)), _) => {
                self.note_published(&client);
                self.directory.insert(*client);
            }
            (Some(Entry::Resource(resource)), _) => self.resources.insert(*resource),
            (Some(Entry::Grant(grant)), _) => self.grants.insert(Arc::new(*grant)),
            (Some(Entry::Deleted(mark)), _) => self.resources.insert_mark(*mark, revision),
            (Some(Entry::Revocation(record)), Some(revoked)) => self.revocations.insert(revoked, record, revision),
            (Some(Entry::Revocation(_)), None) => {}
            (Some(Entry::Lineage(record)), _) => {
                if let Some(predecessor) = lineages::predecessor(key) {
                    self.lineages.insert(predecessor, record, revision);
                }
            }
            (Some(Entry::Heartbeat(heartbeat)), _) => {
                if let Some(name) = key.strip_prefix(REPLICAS) {
                    self.replicas.insert(name, heartbeat, revision);
                }
            }
            (Some(Entry::Feature(record)), _) => {
                if let Some(name) = key.strip_prefix(FEATURES) {
                    self.features.insert(name, record, revision);
                }
            }
            (Some(Entry::PublishedJwks(fetched)), _) => {
                if let Some(name) = key.strip_prefix(PUBLISHED) {
                    self.insert_stored_jwks(name, fetched, revision);
                }
            }
            (Some(Entry::FetchedBundle(fetched)), _) => {
                if let Some(name) = key.strip_prefix(FETCHED_BUNDLES) {
                    self.fetched_bundles.insert(name, fetched, revision);
                }
            }
            (Some(Entry::ReceiptKey(key)), _) => Arc::make_mut(&mut self.receipt_keys).insert(*key, revision),
            (Some(Entry::SigningKey(signing_key)), _) => Arc::make_mut(&mut self.keys).insert(signing_key, revision),
            (None, revoked) => {
                self.removed.insert(key.to_owned(), revision);
                if let Some(name) = key.strip_prefix(CLIENTS) {
                    self.directory.remove(name);
                    self.published_jwks.forget(name);
                } else if let Some(audience) = key.strip_prefix(RESOURCES) {
                    self.resources.remove(audience);
                } else if let Some(name) = key.strip_prefix(GRANTS) {
                    self.grants.remove(name);
                } else if let Some(audience) = key.strip_prefix(DELETED) {
                    self.resources.remove_mark(audience);
                } else if let Some(key_id) = key.strip_prefix(KEYS) {
                    Arc::make_mut(&mut self.keys).remove(key_id);
                } else if let Some(id) = key.strip_prefix(RECEIPT_KEYS) {
                    Arc::make_mut(&mut self.receipt_keys).remove(id);
                } else if let Some(name) = key.strip_prefix(REPLICAS) {
                    self.replicas.remove(name);
                } else if let Some(name) = key.strip_prefix(FEATURES) {
                    self.features.remove(name);
                } else if let Some(name) = key.strip_prefix(PUBLISHED) {
                    self.remove_stored_jwks(name);
                } else if let Some(name) = key.strip_prefix(FETCHED_BUNDLES) {
                    self.fetched_bundles.remove(name);
                } else if let Some(predecessor) = lineages::predecessor(key) {
                    self.lineages.remove(&predecessor);
                } else if let Some(revoked) = revoked {
                    self.revocations.remove(&revoked);
                }
            }
        }
    }

    /// Whether a write at a key changes nothing, because a later change is known.
    pub(super) fn is_superseded(&self, key: &str, revision: Revision) -> bool {
        revision < self.reached || self.has(key, revision)
    }

    /// Whether this write at a key, or a later one, has been applied.
    pub fn has(&self, key: &str, revision: Revision) -> bool {
        self.last_change(key).is_some_and(|known| known >= revision)
    }

    /// Records that the store has been followed up to `revision`: every write until then has been applied.
    pub fn advance_to(&mut self, revision: Revision) {
        self.removed.retain(|_, removed| *removed > revision);
        self.reached = self.reached.max(revision);
    }

    /// The revision up to which the store has been followed.
    pub fn reached(&self) -> Revision {
        self.reached
    }

    /// The keys with revisions that the snapshot holds after one key, up to and including another; to the end without
    /// one. It looks at all of them.
    pub fn keys_between(&self, after: &str, last: Option<&str>) -> Vec<(String, Revision)> {
        let clients = self.directory.all().map(|one| (format!("{CLIENTS}{}", one.registration.name()), one.revision));
        let resources =
            self.resources.all().map(|one| (format!("{RESOURCES}{}", one.registration.name()), one.revision));
        let marks = self.resources.marks().map(|(mark, revision)| (DeletedResource::key(&mark.audience), revision));
        let keys = self.keys.all().map(|(key, revision)| (format!("{KEYS}{}", key.key_id()), revision));
        let receipt_keys = self.receipt_keys.all().map(|(key, revision)| (key.store_key(), revision));
        let lineages = self.lineages.all().map(|(predecessor, _, at)| (lineages::store_key(predecessor), at));
        let revocations = self.revocations.all().map(|(revoked, _, revision)| (revoked.store_key(), revision));
        let features = self.features.all().map(|(name, _, revision)| (format!("{FEATURES}{name}"), revision));
        // One that cannot be read may be gone too.
        let unreadable = self.unreadable.all().map(|(key, revision, _)| (key.to_owned(), revision));
        let records = clients.chain(resources).chain(marks).chain(keys).chain(receipt_keys);
        let records = records.chain(lineages).chain(revocations);
        let published = self.published_jwks.all_stored().map(|(name, _, revision)| (FetchedJwks::key(name), revision));
        let bundles = self.fetched_bundles.all().map(|(name, _, revision)| (FetchedBundle::key(name), revision));
        let grants = self.grants.all().map(|one| (TeamGrant::key(one.registration.name()), one.revision));
        let all = records.chain(grants).chain(features).chain(published).chain(bundles).chain(unreadable);
        all.filter(|(key, _)| key.as_str() > after && last.is_none_or(|last| key.as_str() <= last)).collect()
    }

    /// Records that the record at a key cannot be read, unless a later change is already known.
    pub(in crate::authority) fn mark_unreadable(&mut self, key: &str, revision: Revision, too_new: Option<TooNew>) {
        if self.last_change(key).is_none_or(|known| known <= revision) {
            self.unreadable.insert(key, revision, too_new);
        }
    }

    /// The revision of the last change of a key that is known, whether or not it was a record that can be read.
    fn last_change(&self, key: &str) -> Option<Revision> {
        let removed = if self.removed.is_empty() { None } else { self.removed.get(key).copied() };
        self.revision_of(key).max(removed).max(self.unreadable.revision_of(key))
    }

    /// Whether a record that only a newer version reads forbids every decision.
    pub fn needs_newer_version(&self) -> bool {
        self.unreadable.forbids_decisions()
    }

    /// How many records have a newer schema than this version reads, for each kind of record.
    pub fn too_new(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.unreadable.too_new()
    }

    /// Whether the record at a key, of this revision, was seen and could not be read.
    pub fn is_unreadable(&self, key: &str, revision: Revision) -> bool {
        self.unreadable.revision_of(key) == Some(revision)
    }

    /// Whether the record at a key cannot be read.
    pub(super) fn is_any_unreadable(&self, key: &str) -> bool {
        self.unreadable.revision_of(key).is_some()
    }

    /// Whether the record at a key has a newer schema than this version reads.
    pub fn is_too_new(&self, key: &str) -> bool {
        self.unreadable.is_too_new(key)
    }

    /// The revision of the record that the store has at a key as far as is known, whether or not it can be read.
    pub fn stored_revision(&self, key: &str) -> Option<Revision> {
        self.revision_of(key).max(self.unreadable.revision_of(key))
    }

    /// Whether a key was deleted after this revision, as far as is known.
    pub fn removed_after(&self, key: &str, revision: Revision) -> bool {
        self.removed.get(key).is_some_and(|removed| *removed > revision)
    }

    /// The revision of the write that the snapshot holds for a key.
    pub fn revision_of(&self, key: &str) -> Option<Revision> {
        // Of these there may be a million.
        if let Some(name) = key.strip_prefix(CLIENTS) {
            return self.directory.named(name).map(|client| client.revision);
        }
        if let Some(audience) = key.strip_prefix(RESOURCES) {
            return self.resources.named(audience).map(|resource| resource.revision);
        }
        if let Some(name) = key.strip_prefix(GRANTS) {
            return self.grants.named(name).map(|grant| grant.revision);
        }
        if let Some(audience) = key.strip_prefix(DELETED) {
            return self.resources.mark(audience).map(|(_, revision)| revision);
        }
        if let Some(key_id) = key.strip_prefix(KEYS) {
            return self.keys.named(key_id).map(|(_, revision)| revision);
        }
        if let Some(id) = key.strip_prefix(RECEIPT_KEYS) {
            return self.receipt_keys.named(id).map(|(_, revision)| revision);
        }
        if let Some(name) = key.strip_prefix(REPLICAS) {
            return self.replicas.revision_of(name);
        }
        if let Some(name) = key.strip_prefix(FEATURES) {
            return self.features.revision_of(name);
        }
        if let Some(name) = key.strip_prefix(PUBLISHED) {
            return self.published_jwks.revision_of(name);
        }
        if let Some(name) = key.strip_prefix(FETCHED_BUNDLES) {
            return self.fetched_bundles.of(name).map(|(_, revision)| revision);
        }
        if let Some(predecessor) = lineages::predecessor(key) {
            return self.lineages.revision_of(&predecessor);
        }
        Revoked::from_store_key(key).and_then(|revoked| self.revocations.revision_of(&revoked))
    }
}
