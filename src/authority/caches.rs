//! Caches of verified tokens, of certificates with a path to their bundle, and of chains without one.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use sha2::Digest as _;
use sha2::Sha256;

use crate::authority::clock::Timestamp;
use crate::authority::deny_reason::DenyReason;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::keys::SigningKeys;
use crate::authority::observe::Lookup;
use crate::authority::tokens::MAX_TOKEN_BYTES;
use crate::authority::tokens::VerifiedToken;
use crate::authority::tokens::verify;
use crate::authority::trust::Unproven;

/// Remembers which tokens' signatures verified with which key, and their parsed claims. Keyed by the SHA-256 of the
/// whole text, so that keys have a fixed size and only the same text is found.
pub(in crate::authority) struct VerifiedTokens(Cache<[u8; 32], Arc<VerifiedToken>>);

/// The most tokens in the cache: about 20 MB, with what protocols print of them.
const REMEMBERED_TOKENS: usize = 10_000;

impl Default for VerifiedTokens {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED_TOKENS))
    }
}

impl VerifiedTokens {
    /// Returns the verified token, and whether it was in the cache. The signature must be by one of these keys.
    pub(in crate::authority) fn verify(
        &self,
        keys: &SigningKeys,
        access_token: &str,
    ) -> (Result<Arc<VerifiedToken>, DenyReason>, Option<Lookup>) {
        if access_token.len() > MAX_TOKEN_BYTES {
            return (Err(DenyReason::TokenMalformed), None);
        }
        let hash = Sha256::digest(access_token).into();
        if let Some(known) = self.0.get(&hash) {
            // A token whose key was removed from the key set is no longer valid.
            let is_current = keys.find(known.key_id.as_str()).is_some();
            return (if is_current { Ok(known) } else { Err(DenyReason::UnknownKey) }, Some(Lookup::Hit));
        }
        let verified = verify(keys, access_token).map(Arc::new);
        if let Ok(token) = &verified {
            self.0.insert(hash, Arc::clone(token));
        }
        (verified, Some(Lookup::Miss))
    }

    /// Whether any token in the cache meets a condition. It reads the whole cache.
    pub(in crate::authority) fn has(&self, condition: impl Fn(&VerifiedToken) -> bool) -> bool {
        self.0.iter().any(|(_, token)| condition(&token))
    }
}

/// The most certificates in the cache.
const REMEMBERED_CERTIFICATES: usize = 10_000;

/// Remembers which certificates had a path to their trust domain's bundle, and in which generation of the bundles. In
/// another generation the path is validated again.
pub(in crate::authority) struct VouchedCertificates(Cache<CertificateThumbprint, u64>);

impl Default for VouchedCertificates {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED_CERTIFICATES))
    }
}

impl VouchedCertificates {
    /// Whether a path was found in this generation.
    pub(in crate::authority) fn has(&self, thumbprint: &CertificateThumbprint, generation: u64) -> bool {
        self.0.get(thumbprint) == Some(generation)
    }

    /// Records that a path was found in this generation.
    pub(in crate::authority) fn insert(&self, thumbprint: CertificateThumbprint, generation: u64) {
        self.0.insert(thumbprint, generation);
    }
}

/// The most refused chains in the cache: about 500 KB.
const REMEMBERED_REFUSALS: usize = 4096;

/// How long a refusal is remembered. It cannot become wrong before the bundles change.
const REFUSAL_LIFETIME: Duration = Duration::from_mins(1);

/// Remembers which chains have no path to any CA, so that a peer that shows one again and again, in requests or on new
/// connections, causes signatures to be verified once. What is accepted is never remembered here.
pub(in crate::authority) struct RefusedChains(Cache<[u8; 32], RefusedChain>);

#[derive(Clone, Copy)]
struct RefusedChain {
    why: Unproven,
    generation: u64,
    since: Timestamp,
}

impl Default for RefusedChains {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED_REFUSALS))
    }
}

impl RefusedChains {
    /// Why the chain with this fingerprint was refused in this generation of the bundles.
    pub(in crate::authority) fn why(&self, chain: &[u8; 32], generation: u64, now: Timestamp) -> Option<Unproven> {
        let refused = self.0.get(chain).filter(|refused| refused.generation == generation)?;
        (refused.since <= now && refused.since.until(now) < REFUSAL_LIFETIME).then_some(refused.why)
    }

    /// Records a refusal, if it stays the same for as long as the bundles do. One by the time does not.
    pub(in crate::authority) fn insert(&self, chain: [u8; 32], why: Unproven, generation: u64, now: Timestamp) {
        if matches!(why, Unproven::NoPath | Unproven::Unknown | Unproven::PathTooComplex) {
            self.0.insert(chain, RefusedChain { why, generation, since: now });
        }
    }
}
