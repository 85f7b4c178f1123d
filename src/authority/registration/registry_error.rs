//! Why the registry of clients refuses.

use crate::authority::registration::metadata::InvalidClientMetadata;
use crate::authority::store::StoreError;

/// Why a registration could not be made, changed, deleted or found.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RegistryError {
    /// The metadata cannot stand.
    #[error(transparent)]
    Invalid(#[from] InvalidClientMetadata),
    /// The `client_id` is taken.
    #[error("a client with this client_id is registered already")]
    Exists,
    /// The SPIFFE ID, or the pattern, is taken.
    #[error("the client '{0}' is registered for the same SPIFFE ID or pattern")]
    IdentityTaken(String),
    /// No such client.
    #[error("no client with this client_id is registered")]
    NotFound,
    /// The `etag` is not the present one.
    #[error("the client has changed since it was read: read it again and repeat the change")]
    Conflict,
    /// Not read from a client: every update names the state that it was made from.
    #[error("etag is missing or malformed: it must be the one that the client was read with")]
    EtagMissing,
    /// The page token is not one of ours.
    #[error("page_token is not one that a list returned")]
    InvalidPageToken,
    /// The record is larger than the store takes.
    #[error("the registration is too large to be stored")]
    TooLarge,
    /// The store does not answer, or chance has run out.
    #[error("the registry is unavailable")]
    Unavailable,
}

impl From<StoreError> for RegistryError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { .. } => Self::Conflict,
            StoreError::TooLarge { .. } | StoreError::TooMany { .. } => Self::TooLarge,
            StoreError::Compacted | StoreError::Unavailable(_) => {
                tracing::error!(%error, "the store failed a registry request");
                Self::Unavailable
            }
        }
    }
}
