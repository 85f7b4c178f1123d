//! Results of dynamic registration (RFC 7591, RFC 7592).

use std::sync::Arc;

use crate::authority::records::Held;
use crate::authority::records::InvalidMetadata;
use crate::authority::records::NotGranted;
use crate::authority::records::RegistryError;
use crate::authority::registration::client::RegisteredClient;
use crate::authority::registration::metadata::invalid;

/// A newly registered client. Its registration access token is returned only here.
#[derive(Debug)]
pub struct DynamicallyRegistered {
    /// The registered client.
    pub client: Arc<RegisteredClient>,
    /// The token with which the registrant reads, changes and deletes the client: 256 random bits, base64url.
    pub registration_access_token: RegistrationAccessToken,
}

/// A registration access token (RFC 7592 section 3). It is never logged.
pub struct RegistrationAccessToken(pub(in crate::authority) String);

impl RegistrationAccessToken {
    /// The token as text, for the response that returns it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for RegistrationAccessToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("RegistrationAccessToken(…)")
    }
}

/// Why a dynamic registration request was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DynamicRegistrationError {
    /// The policy does not allow this caller to register clients.
    #[error("this caller may not register clients")]
    Forbidden,
    /// The metadata is invalid.
    #[error(transparent)]
    Invalid(#[from] InvalidMetadata),
    /// The registration access token is not the client's, the caller is not its registrant, or there is no such client.
    /// The three cases are not distinguished (RFC 7592 section 2.1).
    #[error("the registration access token does not open this registration to this caller")]
    InvalidToken,
    /// As many clients are registered over HTTP as may be.
    #[error("as many clients are registered over HTTP as this server allows")]
    QuotaExceeded,
    /// The client does not lie within a grant of the caller.
    #[error(transparent)]
    NotGranted(#[from] NotGranted),
    /// A second admin has to approve it.
    #[error(transparent)]
    Held(#[from] Held),
    /// The store is unavailable.
    #[error("the registry is unavailable")]
    Unavailable,
}

impl From<RegistryError> for DynamicRegistrationError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Invalid(invalid) => Self::Invalid(invalid),
            RegistryError::NotGranted(beyond) => Self::NotGranted(beyond),
            RegistryError::Held(held) => Self::Held(held),
            RegistryError::Exists(_) => Self::Invalid(invalid("client_id", "is registered already")),
            RegistryError::IdentityTaken(_) => Self::Invalid(invalid("spiffe_id", "is registered already")),
            RegistryError::TooLarge(_) => Self::Invalid(invalid("jwks", "is too large")),
            RegistryError::NotFound(_) | RegistryError::Covered(_) => Self::InvalidToken,
            // The last five are of resources.
            RegistryError::Conflict(_)
            | RegistryError::EtagMissing(_)
            | RegistryError::InvalidPageToken
            | RegistryError::Unavailable
            | RegistryError::TooNew { .. }
            | RegistryError::AuthorityTaken { .. }
            | RegistryError::Deleted
            | RegistryError::NotDeleted
            | RegistryError::FeatureNotEnabled { .. }
            | RegistryError::ReplicaTooOld(_) => Self::Unavailable,
        }
    }
}
