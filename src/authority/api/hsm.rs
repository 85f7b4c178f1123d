//! Private keys in a hardware security module: made before the change that needs one, and deleted when they are no longer
//! used.

use crate::authority::Authority;
use crate::authority::decision::KeyChangeError;
use crate::authority::keys::KeyLocation;
use crate::authority::keys::KeyRecord;
use crate::authority::keys::KeyStage;
use crate::authority::keys::SigningAlgorithm;
use crate::authority::keys::SigningFailed;
use crate::authority::keys::SigningKeys;
use crate::authority::keys::StoredKey;
use crate::authority::state::KeyStep;
use crate::authority::store::Expected;

/// What a key that was made before signs to show that it is still there. It is no token and no other JWT.
const PROOF: &[u8] = b"lanyard: this signature shows that the key is still in the module";

/// A new key, which is made once however often its change is tried.
pub(in crate::authority::api) type Made = Option<(StoredKey, KeyRecord)>;

impl Authority {
    /// Makes the key that a step adds, where it is made in the module, before the change is put together, since this takes
    /// long. No key is made for a store that accepts no writes. Returns whether the store is to be read again.
    pub(in crate::authority::api) async fn make_ahead(
        &self,
        step: &KeyStep,
        stored: &SigningKeys,
        guard: Expected,
        made: &mut Made,
    ) -> Result<bool, KeyChangeError> {
        let algorithm = match step {
            KeyStep::Publish(algorithm) | KeyStep::Replace(algorithm) => *algorithm,
            KeyStep::Activate(_) => return Ok(false),
        };
        if made.is_some() || self.key_sealer.location() == KeyLocation::Store {
            return Ok(false);
        }
        *made = self.spare_key(algorithm, stored).await?;
        if made.is_some() {
            return Ok(false);
        }
        let Some(hsm) = self.key_sealer.hsm() else { return Err(KeyChangeError::NotMade) };
        self.store.health()?;
        hsm.check().await.map_err(not_made)?;
        if !self.claim_key_change(guard).await? {
            return Ok(true);
        }
        let public_key = hsm.generate(algorithm).await.map_err(not_made)?;
        *made = Some(self.recorded(algorithm, public_key)?);
        Ok(true)
    }

    /// A key that was made before for a change that was not stored, if there is one and it still signs.
    async fn spare_key(&self, algorithm: SigningAlgorithm, stored: &SigningKeys) -> Result<Made, KeyChangeError> {
        while let Some(public_key) = self.spare_keys.take() {
            let (key, record) = self.recorded(algorithm, public_key.clone())?;
            let kid = key.key_id();
            if stored.named(kid.as_str()).is_some() {
                continue;
            }
            let Some(opened) = key.key() else { continue };
            match opened.signer().sign(PROOF).await {
                Ok(_) => return Ok(Some((key, record))),
                Err(error @ (SigningFailed::NotHeld | SigningFailed::OtherKey)) => {
                    tracing::warn!(%kid, %error, "a signing key that was made before is not used");
                }
                Err(
                    error @ (SigningFailed::Failed
                    | SigningFailed::Busy
                    | SigningFailed::Unavailable
                    | SigningFailed::NotConfigured),
                ) => {
                    self.spare_keys.keep(public_key);
                    return Err(not_made(error));
                }
            }
        }
        Ok(None)
    }

    /// A key of the module with a record as of now: until it is published no verifier knows it.
    fn recorded(
        &self,
        algorithm: SigningAlgorithm,
        public_key: Vec<u8>,
    ) -> Result<(StoredKey, KeyRecord), KeyChangeError> {
        let recorded = self.key_sealer.made_in_hsm(algorithm, &public_key, self.clock.now(), KeyStage::Next);
        recorded.map_err(|error| {
            tracing::error!(%error, "a signing key cannot be recorded");
            self.spare_keys.keep(public_key);
            KeyChangeError::NotMade
        })
    }

    /// Deletes the private key, if it is in the module. Returns whether it is gone, or cannot be deleted by this server.
    pub(in crate::authority::api) async fn delete_in_hsm(&self, key: &StoredKey) -> bool {
        if key.location() == KeyLocation::Store {
            return true;
        }
        let kid = key.key_id();
        let Some(hsm) = self.key_sealer.hsm() else {
            tracing::warn!(%kid, "a signing key remains in a hardware security module that is not configured");
            return true;
        };
        match hsm.delete(kid.as_str()).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%kid, %error, "a signing key was not deleted in the hardware security module");
                false
            }
        }
    }

    /// Deletes in the module a key that was made for a change which came to nothing. Where it is not known whether its
    /// record was stored, the key is kept for the next change.
    pub(in crate::authority::api) async fn discard_unused(&self, made: Made, error: Option<KeyChangeError>) {
        let Some((key, record)) = made else { return };
        if key.location() == KeyLocation::Store || self.keys().named(key.key_id().as_str()).is_some() {
            return;
        }
        let is_known = error != Some(KeyChangeError::Unavailable);
        let stored = if is_known { self.store.get(&record.store_key()).await.ok() } else { None };
        match (stored, key.key()) {
            (Some(Some(_)), _) => {}
            (Some(None), _) | (None, None) => {
                self.delete_in_hsm(&key).await;
            }
            (None, Some(opened)) => self.spare_keys.keep(opened.signer().public_key().to_vec()),
        }
    }
}

fn not_made(error: SigningFailed) -> KeyChangeError {
    tracing::error!(%error, "a signing key cannot be made");
    KeyChangeError::NotMade
}
