//! The signing keys at start: opened from the store, and found in the token that holds some of them.

use std::sync::Arc;

use crate::authority::clock::Clock;
use crate::authority::keys::KEYS;
use crate::authority::keys::KeyEncryptionKeys;
use crate::authority::keys::KeyLocation;
use crate::authority::keys::KeySealer;
use crate::authority::keys::KeyState;
use crate::authority::keys::SigningAlgorithm;
use crate::authority::keys::SigningFailed;
use crate::authority::keys::SigningKeys;
use crate::authority::state::too_new;
use crate::authority::store::Store;
use crate::config::Config;
use crate::server::keys_error::KeysError;
use crate::signer::local::LocalSigner;
use crate::signer::pkcs11::HsmError;
use crate::signer::pkcs11::Pkcs11;

/// What a key in a token signs to show that it is there. It is no token and no other JWT.
const PROOF: &[u8] = b"lanyard: this signature shows that the key is in the token";

/// Creates the sealer that opens the stored keys into this process's memory with these key-encryption keys. Keys in a token
/// only verify with it.
pub(crate) fn sealer(keys: KeyEncryptionKeys) -> KeySealer {
    KeySealer::new(keys, LocalSigner::FACTORY)
}

/// What an edge has in their place: it reads public halves, none of them yet.
pub(crate) fn of_an_edge(algorithm: SigningAlgorithm) -> (KeySealer, SigningKeys) {
    (KeySealer::of_edge(LocalSigner::FACTORY), SigningKeys::new(algorithm))
}

/// Opens the token that is configured, if any. It blocks.
pub(crate) fn open_token(config: &Config, clock: Arc<dyn Clock>) -> Result<Option<Pkcs11>, HsmError> {
    config.pkcs11.clone().map(|token| Pkcs11::open(token, config.algorithm, clock)).transpose()
}

/// The same with the token.
pub(crate) fn sealer_with_token(config: &Config, keys: KeyEncryptionKeys, token: Option<&Pkcs11>) -> KeySealer {
    let sealer = sealer(keys);
    let Some(token) = token else { return sealer };
    let is_for_new_keys = config.pkcs11.as_ref().is_some_and(|token| token.new_keys);
    let location = if is_for_new_keys { KeyLocation::Hsm } else { KeyLocation::Store };
    sealer.with_hsm(Arc::new(token.clone()), location)
}

/// Opens the keys in the store. Each key that is not of a newer version must open, unlike later, when the store is followed.
pub(crate) async fn open(
    store: &dyn Store,
    sealer: &KeySealer,
    algorithm: SigningAlgorithm,
) -> Result<SigningKeys, KeysError> {
    let mut keys = SigningKeys::new(algorithm).with_new_keys_at(sealer.location());
    for (key, entry) in store.list(KEYS).await?.entries {
        match sealer.open(&key, &entry.value) {
            Ok(opened) => keys.insert(opened, entry.revision),
            // No decision is made while it is there.
            Err(_) if too_new(&key, &entry.value).is_some() => {}
            Err(error) => return Err(KeysError::Record { key, error }),
        }
    }
    Ok(keys)
}

/// Lets each key in a token that signs, or is to sign next, sign once. Where the token may be away, those are left out.
/// Returns how many have signed.
pub(crate) async fn prove(keys: &SigningKeys, may_be_away: bool) -> Result<usize, KeysError> {
    let mut proven = 0;
    for (stored, _) in keys.all().filter(|(stored, _)| stored.location() == KeyLocation::Hsm) {
        let signs = matches!(keys.state_of(stored), KeyState::Active | KeyState::Next);
        let Some(key) = stored.key().filter(|_| signs) else { continue };
        match key.signer().sign(PROOF).await {
            Ok(_) => proven += 1,
            Err(SigningFailed::Unavailable) if may_be_away => {}
            Err(error) => return Err(KeysError::NotInToken { kid: key.key_id().to_string(), error }),
        }
    }
    Ok(proven)
}
