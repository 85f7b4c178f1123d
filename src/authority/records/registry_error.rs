//! Why the registry refuses.

use crate::authority::store::StoreError;

/// The kinds of registrations.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A client, by its `client_id`.
    Client,
    /// A protected resource, by its audience.
    Resource,
}

impl Kind {
    fn noun(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Resource => "resource",
        }
    }

    fn by_name(self) -> &'static str {
        match self {
            Self::Client => "client with this client_id",
            Self::Resource => "protected resource with this audience",
        }
    }

    fn stored(self) -> &'static str {
        match self {
            Self::Client => "registration",
            Self::Resource => "resource",
        }
    }
}

/// A field of the metadata that is refused, and why (`invalid_client_metadata` of RFC 7591 section 3.2.2).
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidMetadata {
    /// Of what.
    pub kind: Kind,
    /// The field's name.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

/// Why a registration could not be made, changed, deleted or found.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RegistryError {
    /// The metadata is refused.
    #[error(transparent)]
    Invalid(#[from] InvalidMetadata),
    /// The name is taken.
    #[error("a {} is registered already", .0.by_name())]
    Exists(Kind),
    /// The SPIFFE ID, or the pattern, is taken by the client of this name.
    #[error("the client '{0}' is registered for the same SPIFFE ID or pattern")]
    IdentityTaken(String),
    /// Nothing is registered under the name.
    #[error("no {} is registered", .0.by_name())]
    NotFound(Kind),
    /// The `etag` is not the present one.
    #[error("the {} has changed since it was read: read it again and repeat the change", .0.noun())]
    Conflict(Kind),
    /// Every update names the state that it was made from.
    #[error("etag is missing or malformed: it must be the one that the {} was read with", .0.noun())]
    EtagMissing(Kind),
    /// The page token was returned by no list.
    #[error("page_token is not one that a list returned")]
    InvalidPageToken,
    /// The record is larger than the store takes.
    #[error("the {} is too large to be stored", .0.stored())]
    TooLarge(Kind),
    /// The store does not answer, or there are no random bytes.
    #[error("the registry is unavailable")]
    Unavailable,
}

impl RegistryError {
    /// The fixed code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(InvalidMetadata { kind: Kind::Client, .. }) => "INVALID_CLIENT_METADATA",
            Self::Invalid(InvalidMetadata { kind: Kind::Resource, .. }) => "INVALID_RESOURCE",
            Self::Exists(Kind::Client) => "CLIENT_EXISTS",
            Self::Exists(Kind::Resource) => "RESOURCE_EXISTS",
            Self::IdentityTaken(_) => "IDENTITY_TAKEN",
            Self::NotFound(Kind::Client) => "CLIENT_NOT_FOUND",
            Self::NotFound(Kind::Resource) => "RESOURCE_NOT_FOUND",
            Self::Conflict(_) => "ETAG_MISMATCH",
            Self::EtagMissing(_) => "ETAG_MISSING",
            Self::InvalidPageToken => "INVALID_PAGE_TOKEN",
            Self::TooLarge(_) => "REGISTRATION_TOO_LARGE",
            Self::Unavailable => "REGISTRY_UNAVAILABLE",
        }
    }

    /// What a failure of the store means for a registration of this kind.
    pub(in crate::authority) fn of_store(kind: Kind, error: &StoreError) -> Self {
        match error {
            StoreError::Conflict { .. } => Self::Conflict(kind),
            StoreError::TooLarge { .. } | StoreError::TooMany { .. } => Self::TooLarge(kind),
            StoreError::Compacted | StoreError::Unavailable(_) => {
                tracing::error!(%error, "the store failed a registry request");
                Self::Unavailable
            }
        }
    }
}
