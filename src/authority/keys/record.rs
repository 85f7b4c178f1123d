//! The record of a signing key in the store, at `/keys/<kid>`.
//!
//! Records of schema 1 have no state: of these the newest signs. Schema 2 has states. A record is written in schema 1 as
//! long as it needs no state, so that the version before can still read the store. Schema 3 is that of keys in a hardware
//! security module, with or without a state: what is sealed is the public key.

use serde::Deserialize;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::authority::clock::Timestamp;
use crate::authority::keys::location::KeyLocation;
use crate::authority::keys::sealing;
use crate::authority::keys::sealing::KEYS;
use crate::authority::keys::sealing::KeyEncryptionKey;
use crate::authority::keys::sealing::SealError;
use crate::authority::keys::sealing::Sealed;
use crate::authority::keys::signing_key::KeyId;
use crate::authority::keys::signing_key::SigningAlgorithm;
use crate::authority::keys::signing_keys::StoredKey;
use crate::authority::keys::standing::KeyRevocation;
use crate::authority::keys::standing::KeyStage;
use crate::authority::keys::standing::KeyState;

/// The schema of records without a state.
const STATELESS: u32 = 1;

/// The schema of records with one.
const WITH_STATE: u32 = 2;

/// The schema of records of keys in a hardware security module.
const IN_HSM: u32 = 3;

/// The newest schema that this version reads.
pub(in crate::authority) const NEWEST_KEY_SCHEMA: u32 = IN_HSM;

/// A signing key in the store, at `/keys/<kid>`.
#[derive(Clone, Debug)]
pub struct KeyRecord {
    kid: String,
    /// The algorithm of the key.
    pub algorithm: SigningAlgorithm,
    /// When the key was made.
    pub create_time: Timestamp,
    /// The state of the key.
    pub stage: KeyStage,
    /// Where the private key is.
    pub location: KeyLocation,
    /// Nonce, ciphertext and tag, in base64, of the PKCS#8 private key, or of the `SubjectPublicKeyInfo` of a key in a
    /// hardware security module. That of a revoked key is gone.
    sealed: Option<String>,
}

/// The members of a record, as they are stored.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Members {
    schema: u32,
    kid: String,
    algorithm: SigningAlgorithm,
    create_time: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    location: Option<KeyLocation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<KeyState>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    activate_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retire_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoke_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
}

impl Members {
    /// Where the key is. Only records of schema 3 say so.
    fn location(&self) -> Option<KeyLocation> {
        match (self.schema, self.location) {
            (STATELESS | WITH_STATE, None) => Some(KeyLocation::Store),
            (IN_HSM, Some(KeyLocation::Hsm)) => Some(KeyLocation::Hsm),
            _ => None,
        }
    }

    /// The stage that these members describe, all of them and no others.
    fn stage(&self) -> Option<KeyStage> {
        let Self { schema, state, activate_time, retire_time, revoke_time, revoked_by, reason, sealed, .. } = self;
        let revocation = (*revoke_time, revoked_by.as_ref(), reason.as_ref());
        let stage = match (*schema, *state, *activate_time, *retire_time, revocation) {
            (STATELESS | IN_HSM, None, None, None, (None, None, None)) => KeyStage::ByAge,
            (WITH_STATE | IN_HSM, Some(KeyState::Next), None, None, (None, None, None)) => KeyStage::Next,
            (WITH_STATE | IN_HSM, Some(KeyState::Active), Some(since), None, (None, None, None)) => {
                KeyStage::Active { since }
            }
            (WITH_STATE | IN_HSM, Some(KeyState::Retired), activated, Some(since), (None, None, None)) => {
                KeyStage::Retired { activated, since }
            }
            (WITH_STATE | IN_HSM, Some(KeyState::Revoked), None, None, (Some(at), Some(by), Some(reason))) => {
                KeyStage::Revoked(KeyRevocation { at, by: by.clone(), reason: reason.clone() })
            }
            _ => return None,
        };
        (sealed.is_none() == matches!(stage, KeyStage::Revoked(_))).then_some(stage)
    }
}

impl KeyRecord {
    /// Seals a PKCS#8 private key, whose record needs no state.
    pub fn seal(
        key: &KeyEncryptionKey,
        kid: &str,
        algorithm: SigningAlgorithm,
        create_time: Timestamp,
        private_key: &[u8],
    ) -> Result<Self, SealError> {
        let location = KeyLocation::Store;
        let sealed = Some(sealing::seal(key, Sealed::SigningKey(location, kid), private_key)?);
        Ok(Self { kid: kid.to_owned(), algorithm, create_time, stage: KeyStage::ByAge, location, sealed })
    }

    /// Seals the public key, a `SubjectPublicKeyInfo` in DER, of a private key in a hardware security module.
    pub fn seal_reference(
        key: &KeyEncryptionKey,
        kid: &str,
        algorithm: SigningAlgorithm,
        create_time: Timestamp,
        public_key: &[u8],
    ) -> Result<Self, SealError> {
        let location = KeyLocation::Hsm;
        let sealed = Some(sealing::seal(key, Sealed::SigningKey(location, kid), public_key)?);
        Ok(Self { kid: kid.to_owned(), algorithm, create_time, stage: KeyStage::ByAge, location, sealed })
    }

    /// Reads a stored value.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SealError> {
        let members: Members = serde_json::from_slice(bytes).map_err(|_| SealError::Unreadable)?;
        let stage = members.stage().ok_or(SealError::Unreadable)?;
        let location = members.location().ok_or(SealError::Unreadable)?;
        let Members { kid, algorithm, create_time, sealed, .. } = members;
        Ok(Self { kid, algorithm, create_time, stage, location, sealed })
    }

    /// The value to store, in the oldest schema that can say it.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SealError> {
        let mut members = Members {
            schema: WITH_STATE,
            kid: self.kid.clone(),
            algorithm: self.algorithm,
            create_time: self.create_time,
            location: None,
            state: None,
            activate_time: None,
            retire_time: None,
            revoke_time: None,
            revoked_by: None,
            reason: None,
            sealed: self.sealed.clone(),
        };
        match &self.stage {
            KeyStage::ByAge => members.schema = STATELESS,
            KeyStage::Next => members.state = Some(KeyState::Next),
            KeyStage::Active { since } => {
                (members.state, members.activate_time) = (Some(KeyState::Active), Some(*since));
            }
            KeyStage::Retired { activated, since } => {
                members.state = Some(KeyState::Retired);
                (members.activate_time, members.retire_time) = (*activated, Some(*since));
            }
            KeyStage::Revoked(KeyRevocation { at, by, reason }) => {
                members.state = Some(KeyState::Revoked);
                (members.revoke_time, members.revoked_by) = (Some(*at), Some(by.clone()));
                (members.reason, members.sealed) = (Some(reason.clone()), None);
            }
        }
        if self.location == KeyLocation::Hsm {
            (members.schema, members.location) = (IN_HSM, Some(KeyLocation::Hsm));
        }
        serde_json::to_vec(&members).map_err(|_| SealError::Unreadable)
    }

    /// The `kid` of the key.
    pub fn key_id(&self) -> &str {
        &self.kid
    }

    /// The key of the store under which the record is stored.
    pub fn store_key(&self) -> String {
        format!("{KEYS}{}", self.kid)
    }

    /// The same record for another state of the key.
    #[must_use]
    pub fn in_stage(&self, stage: KeyStage) -> Self {
        let sealed = if matches!(stage, KeyStage::Revoked(_)) { None } else { self.sealed.clone() };
        Self { stage, sealed, ..self.clone() }
    }

    /// The key without its private key.
    pub(in crate::authority) fn closed(&self) -> StoredKey {
        let key_id = KeyId::of_record(&self.kid);
        StoredKey::closed(key_id, self.algorithm, self.create_time, self.stage.clone()).at(self.location)
    }

    /// Opens the private key, or the public key of one in a hardware security module. A revoked key has none.
    pub fn open(&self, key: &KeyEncryptionKey) -> Result<Zeroizing<Vec<u8>>, SealError> {
        sealing::open(key, self.contents(), self.sealed.as_deref().ok_or(SealError::Unreadable)?)
    }

    /// The same record with what was opened sealed under another key-encryption key.
    pub(in crate::authority) fn resealed(&self, key: &KeyEncryptionKey, opened: &[u8]) -> Result<Self, SealError> {
        Ok(Self { sealed: Some(sealing::seal(key, self.contents(), opened)?), ..self.clone() })
    }

    fn contents(&self) -> Sealed<'_> {
        Sealed::SigningKey(self.location, &self.kid)
    }
}
