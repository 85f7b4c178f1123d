//! In which state a signing key is, and since when.

use serde::Deserialize;
use serde::Serialize;

use crate::authority::clock::Timestamp;

/// What a signing key is used for.
#[derive(
    Clone,
    Copy,
    Debug,
    Deserialize,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd,
    Serialize,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum KeyState {
    /// It is published, so that verifiers know it before it signs.
    Next,
    /// It signs.
    Active,
    /// It has signed, and is published until the last token that it signed has expired.
    Retired,
    /// It verifies nothing, and never will again.
    Revoked,
}

impl KeyState {
    /// Its name in the metrics and on the command line.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// What a record says about the state of its key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeyStage {
    /// Nothing, as records of schema 1: of these keys the newest signs, unless another key is active.
    ByAge,
    /// The key is published and does not sign yet.
    Next,
    /// The key signs.
    Active {
        /// Since when.
        since: Timestamp,
    },
    /// The key has signed.
    Retired {
        /// Since when it signed, if that is known.
        activated: Option<Timestamp>,
        /// When it stopped signing.
        since: Timestamp,
    },
    /// The key is revoked. Its record has no private key.
    Revoked(KeyRevocation),
}

/// Who revoked a key, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyRevocation {
    /// When.
    pub at: Timestamp,
    /// The admin.
    pub by: String,
    /// The reason, in the admin's words.
    pub reason: String,
}

impl KeyStage {
    /// Its name in the history of a key. Of keys `by_age` the newest signs.
    pub(in crate::authority) fn label(&self) -> &'static str {
        match self {
            Self::ByAge => "by_age",
            Self::Next => KeyState::Next.label(),
            Self::Active { .. } => KeyState::Active.label(),
            Self::Retired { .. } => KeyState::Retired.label(),
            Self::Revoked(_) => KeyState::Revoked.label(),
        }
    }

    /// The stage of a key that stops signing now.
    pub(in crate::authority) fn retired(&self, now: Timestamp) -> Self {
        let activated = match self {
            Self::Active { since } => Some(*since),
            Self::Retired { activated, .. } => *activated,
            Self::ByAge | Self::Next | Self::Revoked(_) => None,
        };
        Self::Retired { activated, since: now }
    }
}
