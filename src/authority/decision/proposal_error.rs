//! Why a proposed change is not shown, approved or rejected.

use crate::authority::decision::key_change::KeyChangeError;
use crate::authority::decision::revocation::RevokeError;
use crate::authority::records::RegistryError;
use crate::authority::state::FeatureError;
use crate::authority::store::StoreError;

/// Why a proposed change is not shown, approved or rejected.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProposalError {
    /// Nothing of this identifier waits.
    #[error("no change waits under this identifier: it was approved or rejected, or its time has passed")]
    NotFound,
    /// Who proposed a change does not approve it, whatever certificate it has.
    #[error("who proposed a change does not approve it: another admin does")]
    OwnProposal,
    /// What the change was proposed for has changed.
    #[error("what the change was proposed for has changed since: propose it anew")]
    Outdated,
    /// Who proposed it may not any more.
    #[error("who proposed the change is revoked, or does not hold any more what it was proposed with")]
    ProposerNotAllowed,
    /// A team's admin rejects what it proposed itself.
    #[error("a team's admin withdraws what it proposed itself, and rejects nothing else")]
    NotYours,
    /// A newer version wrote the proposal, or it is damaged.
    #[error("the proposal cannot be read by this version")]
    Unreadable,
    /// The registration is refused.
    #[error(transparent)]
    Registry(RegistryError),
    /// The keys are not changed.
    #[error(transparent)]
    Key(KeyChangeError),
    /// The revocation is not lifted.
    #[error(transparent)]
    Revocation(RevokeError),
    /// The feature is not enabled.
    #[error(transparent)]
    Feature(FeatureError),
    /// The store does not answer.
    #[error("the store is unavailable")]
    Unavailable,
}

impl ProposalError {
    /// The fixed code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "PROPOSAL_NOT_FOUND",
            Self::OwnProposal => "OWN_PROPOSAL",
            Self::Outdated => "PROPOSAL_OUTDATED",
            Self::ProposerNotAllowed => "PROPOSER_NOT_ALLOWED",
            Self::NotYours => "PROPOSAL_NOT_YOURS",
            Self::Unreadable => "RECORD_TOO_NEW",
            Self::Registry(error) => error.code(),
            Self::Key(error) => error.code(),
            Self::Revocation(error) => error.code(),
            Self::Feature(error) => error.code(),
            Self::Unavailable => "STORE_UNAVAILABLE",
        }
    }
}

impl From<StoreError> for ProposalError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed a request about a proposal");
        Self::Unavailable
    }
}

impl From<RegistryError> for ProposalError {
    /// That the record is another one by now says so in several ways.
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Conflict(_)
            | RegistryError::Exists(_)
            | RegistryError::NotFound(_)
            | RegistryError::NotDeleted => Self::Outdated,
            error @ (RegistryError::Invalid(_)
            | RegistryError::IdentityTaken(_)
            | RegistryError::AuthorityTaken { .. }
            | RegistryError::Covered(_)
            | RegistryError::Deleted
            | RegistryError::EtagMissing(_)
            | RegistryError::InvalidPageToken
            | RegistryError::TooLarge(_)
            | RegistryError::TooNew { .. }
            | RegistryError::FeatureNotEnabled { .. }
            | RegistryError::ReplicaTooOld(_)
            | RegistryError::NotGranted(_)
            | RegistryError::Held(_)
            | RegistryError::Unavailable) => Self::Registry(error),
        }
    }
}
