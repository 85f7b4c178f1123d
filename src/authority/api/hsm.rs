//! Private keys in a hardware security module that are no longer used are deleted there.

use crate::authority::Authority;
use crate::authority::decision::KeyChangeError;
use crate::authority::keys::KeyLocation;
use crate::authority::keys::KeyRecord;
use crate::authority::keys::StoredKey;

impl Authority {
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

    /// Deletes in the module a key that was made for a change which came to nothing, unless it is not known whether its
    /// record was stored.
    pub(in crate::authority::api) async fn discard_unused(
        &self,
        made: Option<(StoredKey, KeyRecord)>,
        error: Option<KeyChangeError>,
    ) {
        let Some((key, _)) = made else { return };
        if error == Some(KeyChangeError::Unavailable) || self.keys().named(key.key_id().as_str()).is_some() {
            return;
        }
        self.delete_in_hsm(&key).await;
    }
}
