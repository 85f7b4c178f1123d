//! What is kept of a dynamic registration.

use serde::Deserialize;
use serde::Serialize;

/// What is kept of a dynamic registration beside the client itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DynamicRegistration {
    /// Who may read, change and delete it: the one who made it.
    pub(in crate::authority) registrant: String,
    /// SHA-256 of the registration access token, base64url. The token itself is not kept.
    pub(in crate::authority) access_token_hash: String,
    /// Whether a workload registered itself, so that it never has more than an operator registered for it.
    pub own_identity: bool,
}
