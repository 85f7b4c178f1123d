//! Which schemas of records this version reads.

use std::collections::BTreeMap;

use crate::authority::keys::KEYS;
use crate::authority::keys::NEWEST_KEY_SCHEMA;
use crate::authority::records::Registration as _;
use crate::authority::registration::CLIENTS;
use crate::authority::registration::ClientRegistration;
use crate::authority::resources::ProtectedResource;
use crate::authority::resources::RESOURCES;
use crate::authority::state::lineages;
use crate::authority::state::lineages::LINEAGES;
use crate::authority::state::revoked;
use crate::authority::state::revoked::REVOCATIONS;

/// The newest schema that this version reads of the records under each prefix.
pub(in crate::authority) fn readable_schemas() -> BTreeMap<String, u32> {
    let schemas = [
        (CLIENTS, ClientRegistration::SCHEMA),
        (KEYS, NEWEST_KEY_SCHEMA),
        (LINEAGES, lineages::SCHEMA),
        (RESOURCES, ProtectedResource::SCHEMA),
        (REVOCATIONS, revoked::SCHEMA),
    ];
    schemas.into_iter().map(|(prefix, schema)| (prefix.to_owned(), schema)).collect()
}
