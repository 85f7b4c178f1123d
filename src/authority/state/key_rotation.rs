//! When signing keys change their states: pure functions of the keys, the settings and the time.

use std::time::Duration;

use crate::authority::clock::Timestamp;
use crate::authority::keys::KeyStage;
use crate::authority::keys::KeyState;
use crate::authority::keys::SigningAlgorithm;
use crate::authority::keys::SigningKeys;
use crate::authority::keys::StoredKey;
use crate::authority::registration::MAX_TTL;

/// How long a retired key is kept beyond the longest lifetime of a token, because the clocks of replicas differ.
const LEEWAY: Duration = Duration::from_mins(5);

/// The settings of rotation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyPolicy {
    /// How long a key signs before a new one is published. `None`: until an admin rotates.
    pub rotation_period: Option<Duration>,
    /// How long verifiers elsewhere may use a JWK Set before they fetch it again.
    pub verifier_cache_time: Duration,
}

impl Default for KeyPolicy {
    fn default() -> Self {
        Self { rotation_period: None, verifier_cache_time: Duration::from_mins(10) }
    }
}

/// The times that the changes of keys go by.
#[derive(Clone, Copy, Debug)]
pub struct KeyTimes {
    /// How long a key is published before it signs.
    pub publication: Duration,
    /// How long a key is published after it has signed.
    pub retention: Duration,
    /// How long a key signs before the next one is published.
    pub period: Option<Duration>,
}

impl KeyTimes {
    /// `max_staleness` is how much later than others a replica may learn of a change.
    pub fn new(policy: &KeyPolicy, max_staleness: Option<Duration>) -> Self {
        let lag = max_staleness.unwrap_or_default();
        Self {
            publication: policy.verifier_cache_time.saturating_add(lag),
            retention: MAX_TTL.saturating_add(lag).saturating_add(LEEWAY),
            period: policy.rotation_period,
        }
    }

    /// From when on a next key may sign.
    pub fn may_sign_from(&self, next: &StoredKey) -> Timestamp {
        next.made().after(self.publication)
    }

    /// From when on a retired key is deleted; `None` for any other key, and for one of which it is not known when it
    /// stopped signing.
    pub fn kept_until(&self, key: &StoredKey) -> Option<Timestamp> {
        match key.stage() {
            KeyStage::Retired { since, .. } => Some(since.after(self.retention)),
            KeyStage::ByAge | KeyStage::Next | KeyStage::Active { .. } | KeyStage::Revoked(_) => None,
        }
    }
}

/// What is to be done about the keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeyStep {
    /// A new key of this algorithm is to be published as the next one.
    Publish(SigningAlgorithm),
    /// The key with this `kid` is to sign.
    Activate(String),
    /// A new key of this algorithm is to sign at once, since there is no other.
    Replace(SigningAlgorithm),
}

/// The step that is due. `is_served` is whether every live replica serves a key.
pub fn due(
    keys: &SigningKeys,
    times: &KeyTimes,
    now: Timestamp,
    is_served: impl FnOnce(&str) -> bool,
) -> Option<KeyStep> {
    match (keys.active_key(), keys.next_key()) {
        (None, None) => Some(KeyStep::Replace(keys.algorithm())),
        // Nothing signs, so that there is nothing to wait for.
        (None, Some(next)) => Some(KeyStep::Activate(next.key_id().to_string())),
        (Some(_), Some(next)) => {
            let kid = next.key_id().as_str();
            (now >= times.may_sign_from(next) && is_served(kid)).then(|| KeyStep::Activate(kid.to_owned()))
        }
        (Some(active), None) => {
            let is_old = times.period.is_some_and(|period| now >= active.active_since().after(period));
            let is_other = active.algorithm() != keys.algorithm() || active.location() != keys.location();
            (is_old || is_other).then(|| KeyStep::Publish(keys.algorithm()))
        }
    }
}

/// The keys that signed no token that is still valid.
pub fn ended(keys: &SigningKeys, times: &KeyTimes, now: Timestamp) -> Vec<String> {
    let retired = keys.all().filter(|(key, _)| keys.state_of(key) == KeyState::Retired);
    let ended = retired.filter(|(key, _)| times.kept_until(key).is_some_and(|end| now >= end));
    ended.map(|(key, _)| key.key_id().to_string()).collect()
}
