//! Which schemas of records this version reads, and what comes of newer ones.

use std::collections::BTreeMap;

use crate::authority::access::GRANT_SCHEMA;
use crate::authority::access::GRANTS;
use crate::authority::keys::KEYS;
use crate::authority::keys::NEWEST_KEY_SCHEMA;
use crate::authority::keys::RECEIPT_KEY_SCHEMA;
use crate::authority::keys::RECEIPT_KEYS;
use crate::authority::records::PROPOSAL_SCHEMA;
use crate::authority::records::PROPOSALS;
use crate::authority::records::Registration as _;
use crate::authority::registration::CLIENTS;
use crate::authority::registration::ClientRegistration;
use crate::authority::resources::DELETED;
use crate::authority::resources::DELETED_SCHEMA;
use crate::authority::resources::ProtectedResource;
use crate::authority::resources::RESOURCES;
use crate::authority::state::features;
use crate::authority::state::features::FEATURES;
use crate::authority::state::fetched_bundles;
use crate::authority::state::fetched_bundles::FETCHED_BUNDLES;
use crate::authority::state::lineages;
use crate::authority::state::lineages::LINEAGES;
use crate::authority::state::published_record;
use crate::authority::state::published_record::PUBLISHED;
use crate::authority::state::revoked;
use crate::authority::state::revoked::REVOCATIONS;
use crate::authority::store::TooNew;

/// The prefix under which a later version may keep who holds a role. This one reads none of these records.
pub const ROLES: &str = "/roles/";

/// The schema of records of which none is read.
const NONE: u32 = 0;

/// What a record in a newer schema changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Effect {
    /// What it names is suspended.
    Suspends,
    /// No decision is made: it may forbid any.
    Forbids,
    /// Nothing: without it less is allowed.
    Nothing,
}

/// A kind of record.
#[derive(Debug)]
pub(super) struct RecordKind {
    pub(super) prefix: &'static str,
    /// Its name in the metrics.
    pub(super) label: &'static str,
    /// The newest schema that this version reads.
    pub(super) newest: u32,
    pub(super) effect: Effect,
}

/// The kinds of records that have schemas.
pub(super) const KINDS: [RecordKind; 12] = [
    kind(CLIENTS, "client", ClientRegistration::SCHEMA, Effect::Suspends),
    kind(RESOURCES, "resource", ProtectedResource::SCHEMA, Effect::Suspends),
    // Its audience is denied, as with one that can be read.
    kind(DELETED, "deleted_resource", DELETED_SCHEMA, Effect::Suspends),
    // Its certificates do not authenticate the client.
    kind(PUBLISHED, "published_jwks", published_record::SCHEMA, Effect::Suspends),
    // Nothing proves the workloads of the trust domain.
    kind(FETCHED_BUNDLES, "fetched_bundle", fetched_bundles::SCHEMA, Effect::Suspends),
    kind(REVOCATIONS, "revocation", revoked::SCHEMA, Effect::Forbids),
    kind(KEYS, "signing_key", NEWEST_KEY_SCHEMA, Effect::Forbids),
    // Its receipts are refused, and none is made with it.
    kind(RECEIPT_KEYS, "receipt_key", RECEIPT_KEY_SCHEMA, Effect::Nothing),
    kind(ROLES, "role", NONE, Effect::Forbids),
    kind(GRANTS, "grant", GRANT_SCHEMA, Effect::Suspends),
    kind(LINEAGES, "succession", lineages::SCHEMA, Effect::Nothing),
    kind(FEATURES, "feature", features::SCHEMA, Effect::Nothing),
];

const fn kind(prefix: &'static str, label: &'static str, newest: u32, effect: Effect) -> RecordKind {
    RecordKind { prefix, label, newest, effect }
}

/// The kind of the record at a key, if it has schemas.
pub(super) fn kind_of(key: &str) -> Option<&'static RecordKind> {
    KINDS.iter().find(|kind| key.starts_with(kind.prefix))
}

/// The newest schema that this version reads of the records under each prefix.
pub(in crate::authority) fn readable_schemas() -> BTreeMap<String, u32> {
    let kinds = KINDS.iter().map(|kind| (kind.prefix.to_owned(), kind.newest));
    // What no snapshot holds, and replicas read all the same.
    kinds.chain([(PROPOSALS.to_owned(), PROPOSAL_SCHEMA)]).collect()
}

/// Whether the record at a key has a newer schema than this version reads.
pub fn too_new(key: &str, value: &[u8]) -> Option<TooNew> {
    TooNew::find(value, kind_of(key)?.newest)
}
