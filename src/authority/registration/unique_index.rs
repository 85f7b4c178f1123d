//! What at most one client may have: a SPIFFE ID, or a pattern of them. Each has a key of its own in the store, which is
//! written in the transaction that writes the client, so that of two claims one wins, wherever they are made.

use serde::Deserialize;
use serde::Serialize;

use crate::authority::identity::SpiffeIdPattern;
use crate::authority::records::Registered;
use crate::authority::records::RegistryError;
use crate::authority::registration::auth_method::TokenEndpointAuthMethod;
use crate::authority::registration::client::ClientRegistration;
use crate::authority::store::read_record;

/// The prefix of all keys of the index in the store. No snapshot is made from them: they say nothing that the records do not.
pub const INDEX: &str = "/index/";

/// The prefix of those of SPIFFE IDs and patterns, which follow as they are registered.
const SPIFFE: &str = "/index/spiffe/";

/// The schema of the records that this version writes.
const SCHEMA: u32 = 1;

/// Who has what a key of the index is for.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct IndexRecord {
    schema: u32,
    client_id: String,
}

/// The key of the index that a registration claims, if it claims one.
pub fn key_of(registration: &ClientRegistration) -> Option<String> {
    let claimed = match &registration.method {
        TokenEndpointAuthMethod::Spiffe(_, SpiffeIdPattern::Exact(id)) => id.to_string(),
        TokenEndpointAuthMethod::Spiffe(_, SpiffeIdPattern::Below(prefix)) => format!("{prefix}*"),
        TokenEndpointAuthMethod::TlsClientAuth { .. }
        | TokenEndpointAuthMethod::SelfSignedTlsClientAuth(_)
        | TokenEndpointAuthMethod::PublishedTlsClientAuth(_) => registration.client_id.spiffe_id()?.to_string(),
    };
    Some(format!("{SPIFFE}{claimed}"))
}

/// The value that says that a client has what a key of the index is for.
pub(in crate::authority) fn claim(client_id: &str) -> Option<Vec<u8>> {
    serde_json::to_vec(&IndexRecord { schema: SCHEMA, client_id: client_id.to_owned() }).ok()
}

/// Who has what a key of the index is for.
pub(in crate::authority) fn owner(key: &str, value: &[u8]) -> Result<String, RegistryError> {
    let read = read_record::<IndexRecord>(value, SCHEMA).map_err(|error| {
        tracing::error!(%error, key, "a record of the index cannot be read");
        RegistryError::Unavailable
    })?;
    Ok(read.client_id)
}

/// Whether a stored client claims a key of the index. What this version cannot read may.
pub(in crate::authority) fn may_claim(client: &[u8], key: &str) -> bool {
    let read = Registered::<ClientRegistration>::parse(client);
    read.map_or(true, |registration| key_of(&registration).as_deref() == Some(key))
}
