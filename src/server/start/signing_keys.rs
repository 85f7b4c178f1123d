//! The signing keys at start: opened from the store.

use crate::authority::keys::KEYS;
use crate::authority::keys::KeyEncryptionKeys;
use crate::authority::keys::KeySealer;
use crate::authority::keys::SigningAlgorithm;
use crate::authority::keys::SigningKeys;
use crate::authority::store::Store;
use crate::server::keys_error::KeysError;
use crate::signer::local::LocalSigner;

/// Creates the sealer that opens the stored keys into this process's memory with these key-encryption keys.
pub(crate) fn sealer(keys: KeyEncryptionKeys) -> KeySealer {
    KeySealer::new(keys, LocalSigner::FACTORY)
}

/// Opens the keys in the store. Each key must open, unlike later, when the store is followed.
pub(crate) async fn open(
    store: &dyn Store,
    sealer: &KeySealer,
    algorithm: SigningAlgorithm,
) -> Result<SigningKeys, KeysError> {
    let mut keys = SigningKeys::new(algorithm);
    for (key, entry) in store.list(KEYS).await?.entries {
        let opened = sealer.open(&key, &entry.value).map_err(|error| KeysError::Record { key, error })?;
        keys.insert(opened, entry.revision);
    }
    Ok(keys)
}
