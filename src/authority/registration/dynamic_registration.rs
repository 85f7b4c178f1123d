//! The stored data of a dynamic registration.

use serde::Deserialize;
use serde::Serialize;

/// The data that is stored for a dynamic registration in addition to the client.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DynamicRegistration {
    /// The identity that registered the client. Only it may read, change and delete the registration.
    pub(in crate::authority) registrant: String,
    /// SHA-256 of the registration access token, base64url. The token itself is not stored.
    pub(in crate::authority) access_token_hash: String,
    /// Whether a workload registered its own identity. Such a client never gets more than an operator registered for
    /// that identity.
    pub own_identity: bool,
}

impl DynamicRegistration {
    /// Leaves out what only changes of the registration need.
    pub(in crate::authority) fn forget_registrant(&mut self) {
        self.registrant.clear();
        self.access_token_hash.clear();
    }
}
