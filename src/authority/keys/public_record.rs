//! The record of a signing key as edges get it: the public half, and the state. It is never stored at the centre, and no
//! server but an edge reads one: whoever can write to a store could otherwise name a key of their own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::Serialize;

use crate::authority::clock::Timestamp;
use crate::authority::keys::jwk::PublicJwk;
use crate::authority::keys::sealing::KEYS;
use crate::authority::keys::sealing::SealError;
use crate::authority::keys::signing_key::SigningAlgorithm;
use crate::authority::keys::signing_keys::StoredKey;
use crate::authority::keys::standing::KeyRevocation;
use crate::authority::keys::standing::KeyStage;

/// The schema of these records. It is counted with those of stored keys, so that an edge knows a newer one.
const SCHEMA: u32 = 1;

/// The members. Others, of later versions with the same schema, are ignored.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct PublicKeyRecord {
    schema: u32,
    pub(super) kid: String,
    pub(super) algorithm: SigningAlgorithm,
    pub(super) create_time: Timestamp,
    state: PublicState,
    /// The `SubjectPublicKeyInfo` in base64. That of a revoked key is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
}

/// [`KeyStage`], without who revoked the key and why.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum PublicState {
    ByAge,
    Next,
    Active { since: Timestamp },
    Retired { activated: Option<Timestamp>, since: Timestamp },
    Revoked { at: Timestamp },
}

impl StoredKey {
    /// The record that edges get; `None` of a key that is not open and not revoked either.
    pub fn public_record(&self) -> Option<Vec<u8>> {
        let state = match self.stage() {
            KeyStage::ByAge => PublicState::ByAge,
            KeyStage::Next => PublicState::Next,
            KeyStage::Active { since } => PublicState::Active { since: *since },
            KeyStage::Retired { activated, since } => PublicState::Retired { activated: *activated, since: *since },
            KeyStage::Revoked(revocation) => PublicState::Revoked { at: revocation.at },
        };
        let public_key = self.key().map(|key| STANDARD.encode(key.signer().public_key()));
        if public_key.is_none() && !matches!(state, PublicState::Revoked { .. }) {
            return None;
        }
        let (kid, create_time) = (self.key_id().as_str().to_owned(), self.made());
        let record =
            PublicKeyRecord { schema: SCHEMA, kid, algorithm: self.algorithm(), create_time, state, public_key };
        serde_json::to_vec(&record).ok()
    }

    /// The public key as a JWK; `None` where the key is revoked or not open.
    pub fn jwk(&self) -> Option<String> {
        self.key().map(|key| key.published().to_string())
    }
}

impl PublicKeyRecord {
    pub(super) fn from_bytes(value: &[u8]) -> Result<Self, SealError> {
        let record: Self = serde_json::from_slice(value).map_err(|_| SealError::Unreadable)?;
        Some(record).filter(|record| record.schema == SCHEMA).ok_or(SealError::Unreadable)
    }

    pub(super) fn store_key(&self) -> String {
        format!("{KEYS}{}", self.kid)
    }

    pub(super) fn stage(&self) -> KeyStage {
        match self.state {
            PublicState::ByAge => KeyStage::ByAge,
            PublicState::Next => KeyStage::Next,
            PublicState::Active { since } => KeyStage::Active { since },
            PublicState::Retired { activated, since } => KeyStage::Retired { activated, since },
            PublicState::Revoked { at } => {
                KeyStage::Revoked(KeyRevocation { at, by: String::new(), reason: String::new() })
            }
        }
    }

    /// The public key, which must be the one that the record is named after.
    pub(super) fn public_key(&self) -> Result<Vec<u8>, SealError> {
        let text = self.public_key.as_deref().ok_or(SealError::Unreadable)?;
        let public_key = STANDARD.decode(text).map_err(|_| SealError::Unreadable)?;
        let named = PublicJwk::from_spki(&public_key).is_some_and(|jwk| jwk.thumbprint() == self.kid);
        if named { Ok(public_key) } else { Err(SealError::Unreadable) }
    }
}
