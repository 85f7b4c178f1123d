//! The unique index: a SPIFFE ID, or a pattern of SPIFFE IDs, belongs to at most one client. Each has its own key in
//! the store, written in the transaction that writes the client, so that of two conflicting claims only one succeeds,
//! in any process.

use serde::Deserialize;
use serde::Serialize;

use crate::authority::records::Registered;
use crate::authority::records::RegistryError;
use crate::authority::registration::auth_method::TokenEndpointAuthMethod;
use crate::authority::registration::client::ClientRegistration;
use crate::authority::store::read_record;

/// The prefix of all keys of the index in the store. No snapshot is built from them, because they repeat what the
/// records contain.
pub const INDEX: &str = "/index/";

/// The prefix of the index keys of SPIFFE IDs and patterns. The registered text follows.
pub const SPIFFE: &str = "/index/spiffe/";

/// The schema of the records that this version writes.
const SCHEMA: u32 = 1;

/// The value of an index key: the client that owns it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct IndexRecord {
    schema: u32,
    client_id: String,
}

/// The index key that a registration claims, if it claims one.
pub fn key_of(registration: &ClientRegistration) -> Option<String> {
    let claimed = match &registration.method {
        TokenEndpointAuthMethod::Spiffe(_, claim) => claim.to_string(),
        TokenEndpointAuthMethod::TlsClientAuth(_)
        | TokenEndpointAuthMethod::SelfSignedTlsClientAuth(_)
        | TokenEndpointAuthMethod::PublishedTlsClientAuth(_)
        | TokenEndpointAuthMethod::IssuerJwt(_) => registration.client_id.spiffe_id()?.to_string(),
    };
    Some(format!("{SPIFFE}{claimed}"))
}

/// The value that records a client as the owner of an index key.
pub(in crate::authority) fn claim(client_id: &str) -> Option<Vec<u8>> {
    serde_json::to_vec(&IndexRecord { schema: SCHEMA, client_id: client_id.to_owned() }).ok()
}

/// The client that owns an index key.
pub(in crate::authority) fn owner(key: &str, value: &[u8]) -> Result<String, RegistryError> {
    let read = read_record::<IndexRecord>(value, SCHEMA).map_err(|error| {
        tracing::error!(%error, key, "a record of the index cannot be read");
        RegistryError::Unavailable
    })?;
    Ok(read.client_id)
}

/// Whether a stored client may claim an index key. A record that this version cannot read may claim any key.
pub(in crate::authority) fn may_claim(client: &[u8], key: &str) -> bool {
    let read = Registered::<ClientRegistration>::parse(client);
    read.map_or(true, |registration| key_of(&registration).as_deref() == Some(key))
}
