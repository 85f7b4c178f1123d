//! Errors of the registry.

use crate::authority::records::held::Held;
use crate::authority::store::StoreError;
use crate::authority::store::TooNew;

/// The kinds of registrations.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A client, named by its `client_id`.
    Client,
    /// A protected resource, named by its audience.
    Resource,
    /// A grant to the admins of a team.
    Grant,
}

impl Kind {
    fn noun(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Resource => "resource",
            Self::Grant => "grant",
        }
    }

    fn by_name(self) -> &'static str {
        match self {
            Self::Client => "client with this client_id",
            Self::Resource => "protected resource with this audience",
            Self::Grant => "grant with this name",
        }
    }

    fn stored(self) -> &'static str {
        match self {
            Self::Client => "registration",
            Self::Resource => "resource",
            Self::Grant => "grant",
        }
    }
}

/// An invalid metadata field (`invalid_client_metadata` of RFC 7591 section 3.2.2).
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidMetadata {
    /// The kind of the registration.
    pub kind: Kind,
    /// The field's name.
    pub field: &'static str,
    /// Why the value is invalid.
    pub problem: String,
}

/// A registration that does not lie within a grant of the caller as a whole.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{}, and by {member} lies beyond the grant '{grant}': stay within it, or have an admin change the grant or make this change",
    if *.is_present { "the name is registered" } else { "the registration is refused" }
)]
pub struct NotGranted {
    /// The name of the grant that covers the most of it.
    pub grant: String,
    /// The first member that this grant does not cover.
    pub member: &'static str,
    /// Whether it is the registration as it is, not as it was to be.
    pub is_present: bool,
}

impl NotGranted {
    /// The code of errors that it is the cause of.
    pub const CODE: &'static str = "NOT_GRANTED";
}

/// A replica that runs, and cannot read what would be written.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the replica {replica} runs version '{version}', which cannot read it: upgrade or stop that replica first")]
pub struct OldReplica {
    /// Its name.
    pub replica: String,
    /// Its version; empty where its heartbeat does not say.
    pub version: String,
}

impl OldReplica {
    /// The code of errors that name one.
    pub const CODE: &'static str = "REPLICA_TOO_OLD";
}

/// Why a registration could not be created, changed, deleted or found.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RegistryError {
    /// The metadata is invalid.
    #[error(transparent)]
    Invalid(#[from] InvalidMetadata),
    /// A registration with this name exists.
    #[error("a {} is registered already", .0.by_name())]
    Exists(Kind),
    /// The SPIFFE ID or the pattern belongs to the client with this name.
    #[error("the client '{0}' is registered for the same SPIFFE ID or pattern")]
    IdentityTaken(String),
    /// Another resource has the authority, and the two may not share it.
    #[error(
        "the resource '{audience}' is registered for the authority '{authority}': two resources share one only \
             where both have destination_principals and none in common"
    )]
    AuthorityTaken {
        /// The other resource, by its audience.
        audience: String,
        /// The authority.
        authority: String,
    },
    /// There is no registration with this name.
    #[error("no {} is registered", .0.by_name())]
    NotFound(Kind),
    /// There is no registration with this SPIFFE ID as its name, but that of the client with this name covers it.
    #[error("no client with this client_id is registered, but the registration '{0}' covers it")]
    Covered(String),
    /// The protected resource was deleted, and its mark remains.
    #[error("no protected resource with this audience is registered: it was deleted, and not forgotten")]
    Deleted,
    /// There is no mark of a deleted resource with this audience.
    #[error("no protected resource with this audience was deleted, or it has been registered again or forgotten")]
    NotDeleted,
    /// The `etag` is not the current one.
    #[error("the {} has changed since it was read: read it again and repeat the change", .0.noun())]
    Conflict(Kind),
    /// The `etag` is missing or malformed. Every update names the revision that it is based on.
    #[error("etag is missing or malformed: it must be the one that the {} was read with", .0.noun())]
    EtagMissing(Kind),
    /// The page token was not returned by a list request.
    #[error("page_token is not one that a list returned")]
    InvalidPageToken,
    /// The record is larger than the store accepts.
    #[error("the {} is too large to be stored", .0.stored())]
    TooLarge(Kind),
    /// A newer version wrote the record: a change by this one would lose what it says.
    #[error("the {} cannot be changed: {too_new}", .kind.noun())]
    TooNew {
        /// The kind of the registration.
        kind: Kind,
        /// The schema of its record.
        too_new: TooNew,
    },
    /// The field needs a feature that is not enabled.
    #[error(
        "{field} needs the feature {feature}, whose records earlier versions cannot read: once no earlier version is to run              again, `lanyard store feature enable {feature}`"
    )]
    FeatureNotEnabled {
        /// The field's name.
        field: &'static str,
        /// The feature's name.
        feature: &'static str,
    },
    /// A replica that runs cannot read the record.
    #[error(transparent)]
    ReplicaTooOld(#[from] OldReplica),
    /// The registration does not lie within a grant of the caller.
    #[error(transparent)]
    NotGranted(#[from] NotGranted),
    /// A second admin has to approve it.
    #[error(transparent)]
    Held(#[from] Held),
    /// The store does not respond, or the system has no random bytes.
    #[error("the registry is unavailable")]
    Unavailable,
}

impl RegistryError {
    /// The fixed code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(InvalidMetadata { kind: Kind::Client, .. }) => "INVALID_CLIENT_METADATA",
            Self::Invalid(InvalidMetadata { kind: Kind::Resource, .. }) => "INVALID_RESOURCE",
            Self::Invalid(InvalidMetadata { kind: Kind::Grant, .. }) => "INVALID_GRANT_METADATA",
            Self::Exists(Kind::Client) => "CLIENT_EXISTS",
            Self::Exists(Kind::Grant) => "GRANT_EXISTS",
            Self::NotFound(Kind::Grant) => "GRANT_NOT_FOUND",
            Self::Exists(Kind::Resource) => "RESOURCE_EXISTS",
            Self::IdentityTaken(_) => "IDENTITY_TAKEN",
            Self::NotFound(Kind::Client) | Self::Covered(_) => "CLIENT_NOT_FOUND",
            Self::AuthorityTaken { .. } => "AUTHORITY_TAKEN",
            Self::NotDeleted => "RESOURCE_NOT_DELETED",
            Self::NotFound(Kind::Resource) | Self::Deleted => "RESOURCE_NOT_FOUND",
            Self::Conflict(_) => "ETAG_MISMATCH",
            Self::EtagMissing(_) => "ETAG_MISSING",
            Self::InvalidPageToken => "INVALID_PAGE_TOKEN",
            Self::TooLarge(_) => "REGISTRATION_TOO_LARGE",
            Self::TooNew { .. } => "RECORD_TOO_NEW",
            Self::FeatureNotEnabled { .. } => "FEATURE_NOT_ENABLED",
            Self::ReplicaTooOld(_) => OldReplica::CODE,
            Self::NotGranted(_) => NotGranted::CODE,
            Self::Held(held) => held.code(),
            Self::Unavailable => "REGISTRY_UNAVAILABLE",
        }
    }

    /// The registry error for a failure of the store, for a registration of this kind.
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
