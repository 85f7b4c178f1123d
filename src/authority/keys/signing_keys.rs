//! The signing keys at one moment, each in its state.

use std::sync::Arc;

use serde_json::Value;
use serde_json::json;

use crate::authority::clock::Timestamp;
use crate::authority::keys::location::KeyLocation;
use crate::authority::keys::signing_key::KeyId;
use crate::authority::keys::signing_key::SigningAlgorithm;
use crate::authority::keys::signing_key::SigningKey;
use crate::authority::keys::standing::KeyStage;
use crate::authority::keys::standing::KeyState;
use crate::authority::store::Revision;

/// A signing key as its record describes it.
#[derive(Clone, Debug)]
pub struct StoredKey {
    key_id: KeyId,
    algorithm: SigningAlgorithm,
    made: Timestamp,
    stage: KeyStage,
    location: KeyLocation,
    /// `None` where the record was not opened; that of a revoked key never is.
    opened: Option<Arc<SigningKey>>,
}

impl StoredKey {
    /// A key whose record was not opened.
    pub(in crate::authority) fn closed(
        key_id: KeyId,
        algorithm: SigningAlgorithm,
        made: Timestamp,
        stage: KeyStage,
    ) -> Self {
        Self { key_id, algorithm, made, stage, location: KeyLocation::Store, opened: None }
    }

    /// A key that can sign and verify.
    pub fn opened(key: SigningKey, stage: KeyStage) -> Self {
        let (key_id, algorithm, made) = (key.key_id().clone(), key.algorithm(), key.made());
        let opened = if matches!(stage, KeyStage::Revoked(_)) { None } else { Some(Arc::new(key)) };
        Self { key_id, algorithm, made, stage, location: KeyLocation::Store, opened }
    }

    /// The same key with its private half in this place.
    #[must_use]
    pub(in crate::authority) fn at(self, location: KeyLocation) -> Self {
        Self { location, ..self }
    }

    /// The same key in another stage.
    #[must_use]
    pub(in crate::authority) fn in_stage(&self, stage: KeyStage) -> Self {
        let opened = if matches!(stage, KeyStage::Revoked(_)) { None } else { self.opened.clone() };
        Self { stage, opened, ..self.clone() }
    }

    /// The `kid` of the key.
    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    /// The algorithm of the key.
    pub fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    /// Where its private half is.
    pub fn location(&self) -> KeyLocation {
        self.location
    }

    /// When the key was made, and published.
    pub fn made(&self) -> Timestamp {
        self.made
    }

    /// What its record says about its state.
    pub fn stage(&self) -> &KeyStage {
        &self.stage
    }

    /// The key itself, if it is open.
    pub fn key(&self) -> Option<&Arc<SigningKey>> {
        self.opened.as_ref()
    }

    /// Since when an active key signs.
    pub fn active_since(&self) -> Timestamp {
        match &self.stage {
            KeyStage::Active { since } => *since,
            KeyStage::ByAge | KeyStage::Next | KeyStage::Retired { .. } | KeyStage::Revoked(_) => self.made,
        }
    }
}

/// The signing keys at one moment: one signs, and tokens signed by any of them are valid, unless it is revoked.
#[derive(Clone, Debug, Default)]
pub struct SigningKeys {
    algorithm: SigningAlgorithm,
    location: KeyLocation,
    /// Each key with the revision of its record, the oldest first.
    ring: Vec<(StoredKey, Revision)>,
    /// The place in `ring` of the key that signs.
    active: Option<usize>,
}

impl SigningKeys {
    /// Creates an empty set of keys; new keys are to be of this algorithm.
    pub fn new(algorithm: SigningAlgorithm) -> Self {
        Self { algorithm, location: KeyLocation::Store, ring: Vec::new(), active: None }
    }

    /// The same, where new keys are to be made in this place.
    #[must_use]
    pub fn with_new_keys_at(self, location: KeyLocation) -> Self {
        Self { location, ..self }
    }

    /// An empty set in which new keys are to be as in this one.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self::new(self.algorithm).with_new_keys_at(self.location)
    }

    /// Adds a key whose record was written at `revision`, replacing any key with the same `kid`.
    pub fn insert(&mut self, key: StoredKey, revision: Revision) {
        self.ring.retain(|(other, _)| other.key_id != key.key_id);
        self.ring.push((key, revision));
        // Of two keys that were made in the same second, the one with the later record is the newer.
        self.ring.sort_by_key(|(key, revision)| (key.made, *revision));
        self.active = self.find_active();
    }

    /// Removes the key with this `kid`: tokens that it signed are refused from now on.
    pub fn remove(&mut self, key_id: &str) {
        self.ring.retain(|(key, _)| key.key_id.as_str() != key_id);
        self.active = self.find_active();
    }

    /// The one that was activated last. Where no record says so, the newest whose record does not know of states: of
    /// the configured algorithm, if there is one, as earlier versions chose.
    fn find_active(&self) -> Option<usize> {
        let ring = || self.ring.iter().enumerate();
        let activated = ring().filter_map(|(place, (key, revision))| match key.stage {
            KeyStage::Active { since } => Some((since, *revision, place)),
            KeyStage::ByAge | KeyStage::Next | KeyStage::Retired { .. } | KeyStage::Revoked(_) => None,
        });
        let newest = |algorithm: Option<SigningAlgorithm>| {
            ring().rfind(|(_, (key, _))| {
                key.stage == KeyStage::ByAge && algorithm.is_none_or(|algorithm| key.algorithm == algorithm)
            })
        };
        let by_age = || newest(Some(self.algorithm)).or_else(|| newest(None));
        activated.max().map(|(.., place)| place).or_else(|| by_age().map(|(place, _)| place))
    }

    /// The algorithm of new keys, whether or not there is a key for it.
    pub fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    /// Where new keys are to be made.
    pub fn location(&self) -> KeyLocation {
        self.location
    }

    /// The key that signs; `None` if there is none.
    pub fn active(&self) -> Option<&SigningKey> {
        self.active_key().and_then(|key| key.opened.as_deref())
    }

    /// Whether a signature is there at once: by a key in memory that signs quickly.
    pub fn sign_at_once(&self) -> bool {
        let quick = |key: &StoredKey| key.location == KeyLocation::Store && key.algorithm != SigningAlgorithm::Rs256;
        self.active_key().is_some_and(quick)
    }

    /// The record of the key that signs.
    pub fn active_key(&self) -> Option<&StoredKey> {
        self.active.and_then(|place| self.ring.get(place)).map(|(key, _)| key)
    }

    /// The key that is to sign next.
    pub fn next_key(&self) -> Option<&StoredKey> {
        self.ring.iter().map(|(key, _)| key).find(|key| key.stage == KeyStage::Next)
    }

    /// The state of a key of this set.
    pub fn state_of(&self, key: &StoredKey) -> KeyState {
        match key.stage {
            KeyStage::Next => KeyState::Next,
            KeyStage::Revoked(_) => KeyState::Revoked,
            _ if self.active_key().is_some_and(|active| active.key_id == key.key_id) => KeyState::Active,
            KeyStage::ByAge | KeyStage::Active { .. } | KeyStage::Retired { .. } => KeyState::Retired,
        }
    }

    /// All keys with the revisions of their records, the oldest first, the revoked ones too.
    pub fn all(&self) -> impl Iterator<Item = (&StoredKey, Revision)> {
        self.ring.iter().map(|(key, revision)| (key, *revision))
    }

    /// A key with the revision of its record.
    pub fn named(&self, key_id: &str) -> Option<(&StoredKey, Revision)> {
        self.all().find(|(key, _)| key.key_id.as_str() == key_id)
    }

    /// The key with this `kid` that verifies, found by the exact text and in this ring only: a `kid` is no path and no
    /// query (RFC 8725 section 3.10). A key that is to sign next verifies, since another replica may sign with it already.
    pub fn find(&self, key_id: &str) -> Option<&SigningKey> {
        self.named(key_id).and_then(|(key, _)| key.opened.as_deref())
    }

    /// The public keys as a JWK Set (RFC 7517 section 5): the one that signs, then the others.
    pub fn jwks(&self) -> String {
        let active = self.active();
        let others = self.ring.iter().filter_map(|(key, _)| key.opened.as_deref());
        let others = others.filter(|key| active.is_none_or(|active| active.key_id() != key.key_id()));
        let keys: Vec<Value> = active.into_iter().chain(others).map(SigningKey::published).collect();
        json!({ "keys": keys }).to_string()
    }
}
