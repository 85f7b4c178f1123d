//! Signing keys, sealed in a store.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::keys::KeyEncryptionKey;
use lanyard::authority::keys::KeyRecord;
use lanyard::authority::keys::KeySealer;
use lanyard::authority::keys::SigningAlgorithm;
use lanyard::authority::keys::SigningKeys;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store;
use lanyard::signer::local::LocalSigner;

use crate::support::NOW;
use crate::support::authority::ready;

/// Seals under the key-encryption key that is 32 times this byte.
pub fn sealer(byte: u8) -> KeySealer {
    KeySealer::new(KeyEncryptionKey::parse(&STANDARD.encode([byte; 32])).unwrap(), LocalSigner::FACTORY)
}

/// The record of a new key that was made at `made`, and its private key.
pub fn new_record(sealer: &KeySealer, algorithm: SigningAlgorithm, made: Timestamp) -> (KeyRecord, Vec<u8>) {
    let private = LocalSigner::generate(algorithm).unwrap();
    let (_, record) = sealer.seal(algorithm, made, &private).unwrap();
    (record, private.to_vec())
}

/// Writes a record at its place.
pub async fn put(store: &dyn Store, record: &KeyRecord, expected: Expected) -> Revision {
    store.put(&record.store_key(), record.to_bytes().unwrap(), expected).await.unwrap()
}

/// Keys for the store of an authority, made at [`NOW`], all of one algorithm. The last one signs.
#[derive(Clone)]
pub struct TestKeys {
    algorithm: SigningAlgorithm,
    records: Arc<[KeyRecord]>,
    sealer: Arc<dyn Fn() -> KeySealer>,
}

impl TestKeys {
    /// One new key.
    pub fn new(algorithm: SigningAlgorithm) -> Self {
        Self::of(algorithm, [new_record(&sealer(1), algorithm, NOW).0])
    }

    pub fn of(algorithm: SigningAlgorithm, records: impl Into<Arc<[KeyRecord]>>) -> Self {
        Self { algorithm, records: records.into(), sealer: Arc::new(|| sealer(1)) }
    }

    /// Those that are in the store, if any, and ES256 for new ones.
    pub fn none() -> Self {
        Self::of(SigningAlgorithm::Es256, [])
    }

    /// The same with another sealer.
    pub fn sealed_by(self, sealer: impl Fn() -> KeySealer + 'static) -> Self {
        Self { sealer: Arc::new(sealer), ..self }
    }

    /// Puts those into the store that are not there yet, and opens these keys alone, as an authority does that has not
    /// loaded the store.
    pub fn open_in(self, store: &dyn Store) -> (SigningKeys, KeySealer) {
        let (mut keys, sealer) = (SigningKeys::new(self.algorithm), (self.sealer)());
        keys = keys.with_new_keys_at(sealer.location());
        for record in &*self.records {
            let (key, value) = (record.store_key(), record.to_bytes().unwrap());
            let revision = match ready(store.get(&key)).unwrap() {
                Some(present) => present.revision,
                None => ready(put(store, record, Expected::Absent)),
            };
            keys.insert(sealer.open(&key, &value).unwrap(), revision);
        }
        (keys, sealer)
    }
}
