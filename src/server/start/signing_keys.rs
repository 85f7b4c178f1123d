//! The signing keys at start: opened from the store, or made where there is none for the configured algorithm.

use std::sync::Arc;

use crate::authority::clock::Timestamp;
use crate::authority::keys::KEYS;
use crate::authority::keys::KeyEncryptionKey;
use crate::authority::keys::KeyRecord;
use crate::authority::keys::SigningAlgorithm;
use crate::authority::keys::SigningKey;
use crate::authority::keys::SigningKeys;
use crate::authority::store::Expected;
use crate::authority::store::Store;
use crate::server::keys_error::KeysError;
use crate::signer::local::LocalSigner;

/// The keys in the store. The newest one of the configured algorithm signs; the others verify what they signed.
pub(crate) async fn open(
    store: &dyn Store,
    seal: &KeyEncryptionKey,
    algorithm: SigningAlgorithm,
    now: Timestamp,
) -> Result<SigningKeys, KeysError> {
    let mut keys = Vec::new();
    for (key, entry) in store.list(KEYS).await?.entries {
        let sealed = |error| KeysError::Sealed { key: key.clone(), error };
        let record = KeyRecord::from_bytes(&entry.value).map_err(sealed)?;
        let private = record.open(seal).map_err(sealed)?;
        let opened = signing_key(record.algorithm, &private)?.made_at(record.create_time);
        if key != record.store_key() || opened.key_id().as_str() != record.key_id() {
            return Err(KeysError::Misplaced(key));
        }
        keys.push((record.create_time, entry.revision, opened));
    }
    keys.sort_by_key(|(made, revision, _)| (*made, *revision));
    let mut keys: Vec<SigningKey> = keys.into_iter().map(|(_, _, key)| key).collect();
    let newest = keys.iter().rposition(|key| key.algorithm() == algorithm);
    let active = match newest {
        Some(at) => keys.remove(at),
        None => make(store, seal, algorithm, now).await?,
    };
    Ok(SigningKeys::new(active, keys))
}

async fn make(
    store: &dyn Store,
    seal: &KeyEncryptionKey,
    algorithm: SigningAlgorithm,
    now: Timestamp,
) -> Result<SigningKey, KeysError> {
    let private = LocalSigner::generate(algorithm)?;
    let key = signing_key(algorithm, &private)?.made_at(now);
    let record = KeyRecord::seal(seal, key.key_id().as_str(), algorithm, now, &private).map_err(KeysError::Sealing)?;
    let bytes = record.to_bytes().map_err(KeysError::Sealing)?;
    // It signs nothing before it is on the disk: a token outlives the process that issued it.
    store.put(&record.store_key(), bytes, Expected::Absent).await?;
    tracing::info!(kid = %key.key_id(), algorithm = algorithm.name(), "a signing key was made");
    Ok(key)
}

fn signing_key(algorithm: SigningAlgorithm, private: &[u8]) -> Result<SigningKey, KeysError> {
    Ok(SigningKey::new(Arc::new(LocalSigner::from_pkcs8(algorithm, private)?))?)
}
