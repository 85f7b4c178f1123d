//! Why the registry of resources refuses.

use crate::authority::resources::metadata::InvalidResource;
use crate::authority::store::StoreError;

/// Why a resource could not be registered, changed, deleted or found.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ResourceError {
    /// The metadata cannot stand.
    #[error(transparent)]
    Invalid(#[from] InvalidResource),
    /// The audience is taken.
    #[error("a protected resource with this audience is registered already")]
    Exists,
    /// No such resource.
    #[error("no protected resource with this audience is registered")]
    NotFound,
    /// The `etag` is not the present one.
    #[error("the resource has changed since it was read: read it again and repeat the change")]
    Conflict,
    /// Not read from a resource: every update names the state that it was made from.
    #[error("etag is missing or malformed: it must be the one that the resource was read with")]
    EtagMissing,
    /// The record is larger than the store takes.
    #[error("the resource is too large to be stored")]
    TooLarge,
    /// The store does not answer.
    #[error("the registry is unavailable")]
    Unavailable,
}

impl From<StoreError> for ResourceError {
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
