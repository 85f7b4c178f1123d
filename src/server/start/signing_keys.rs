//! The signing keys at start: opened from the store, or generated if there is none for the configured algorithm.

use std::sync::Arc;

use crate::authority::clock::Timestamp;
use crate::authority::keys::KEYS;
use crate::authority::keys::KeyEncryptionKey;
use crate::authority::keys::KeySealer;
use crate::authority::keys::SigningAlgorithm;
use crate::authority::keys::SigningKeys;
use crate::authority::store::Expected;
use crate::authority::store::Store;
use crate::server::keys_error::KeysError;
use crate::signer::local::LocalSigner;

/// Creates the sealer that opens the stored keys into this process's memory with this key-encryption key.
pub(crate) fn sealer(key: KeyEncryptionKey) -> KeySealer {
    KeySealer::new(key, LocalSigner::shared)
}

/// Loads the keys in the store, and ensures that one of them can sign. Each key must open, unlike later, when the store
/// is followed.
pub(crate) async fn open(
    store: &dyn Store,
    sealer: &KeySealer,
    algorithm: SigningAlgorithm,
    now: Timestamp,
) -> Result<SigningKeys, KeysError> {
    let mut keys = SigningKeys::new(algorithm);
    for (key, entry) in store.list(KEYS).await?.entries {
        let opened = sealer.open(&key, &entry.value).map_err(|error| KeysError::Record { key, error })?;
        keys.insert(Arc::new(opened), entry.revision);
    }
    if keys.active().is_none() {
        make(store, sealer, now, &mut keys).await?;
    }
    Ok(keys)
}

async fn make(store: &dyn Store, sealer: &KeySealer, now: Timestamp, keys: &mut SigningKeys) -> Result<(), KeysError> {
    let algorithm = keys.algorithm();
    let private = LocalSigner::generate(algorithm)?;
    let (key, record) = sealer.seal(algorithm, now, &private).map_err(KeysError::Sealing)?;
    let bytes = record.to_bytes().map_err(|error| KeysError::Sealing(error.into()))?;
    // The key is on the disk before it signs anything: a token outlives the process that issued it.
    let revision = store.put(&record.store_key(), bytes, Expected::Absent).await?;
    tracing::info!(kid = %key.key_id(), algorithm = algorithm.name(), "a signing key was made");
    keys.insert(Arc::new(key), revision);
    Ok(())
}
