//! What need not be worked out again: tokens whose signatures verified, certificates with a path to their bundle.

use std::sync::Arc;

use quick_cache::sync::Cache;
use sha2::Digest as _;
use sha2::Sha256;

use crate::authority::deny_reason::DenyReason;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::keys::SigningKeys;
use crate::authority::observe::Lookup;
use crate::authority::tokens::MAX_TOKEN_BYTES;
use crate::authority::tokens::VerifiedToken;
use crate::authority::tokens::verify;

/// Remembers which tokens' signatures verified under which key, and what they say; nothing else. Keyed by the SHA-256 of
/// the whole text, so that a key has a fixed size and only the very same text finds it.
pub(in crate::authority) struct VerifiedTokens(Cache<[u8; 32], Arc<VerifiedToken>>);

/// How many tokens are remembered: about 10 MB.
const REMEMBERED_TOKENS: usize = 10_000;

impl Default for VerifiedTokens {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED_TOKENS))
    }
}

impl VerifiedTokens {
    /// A token whose signature is one of these keys' over it, and whether that was known.
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
            // A key that was taken out of the ring takes its tokens with it.
            let counts = keys.find(known.key_id.as_str()).is_some();
            return (if counts { Ok(known) } else { Err(DenyReason::UnknownKey) }, Some(Lookup::Hit));
        }
        let verified = verify(keys, access_token).map(Arc::new);
        if let Ok(token) = &verified {
            self.0.insert(hash, Arc::clone(token));
        }
        (verified, Some(Lookup::Miss))
    }
}

/// How many certificates are remembered.
const REMEMBERED_CERTIFICATES: usize = 10_000;

/// Remembers which certificates had a path to their trust domain's bundle, and under which count of changes of the bundles.
/// Under another count the path is verified again.
pub(in crate::authority) struct VouchedCertificates(Cache<CertificateThumbprint, u64>);

impl Default for VouchedCertificates {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED_CERTIFICATES))
    }
}

impl VouchedCertificates {
    /// Whether a path was found under this count.
    pub(in crate::authority) fn has(&self, thumbprint: &CertificateThumbprint, generation: u64) -> bool {
        self.0.get(thumbprint) == Some(generation)
    }

    /// A path was found under this count.
    pub(in crate::authority) fn insert(&self, thumbprint: CertificateThumbprint, generation: u64) {
        self.0.insert(thumbprint, generation);
    }
}
