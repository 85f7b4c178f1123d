//! Caches of verified tokens and transaction tokens, of certificates with a path to their bundle, of chains without one, and of
//! redeemed receipts.

use std::convert::Infallible;
use std::hash::Hash;
use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::Equivalent;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::authority::clock::Timestamp;
use crate::authority::deny_reason::DenyReason;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::keys::SigningKeys;
use crate::authority::observe::Lookup;
use crate::authority::tokens::MAX_TOKEN_BYTES;
use crate::authority::tokens::VerifiedToken;
use crate::authority::tokens::VerifiedTxnToken;
use crate::authority::tokens::verify;
use crate::authority::tokens::verify_txn_token;
use crate::authority::trust::Unproven;

/// Remembers which tokens' signatures verified with which key, and their parsed claims.
pub(in crate::authority) struct VerifiedTokens(Cache<KnownText, Arc<VerifiedToken>, TextBytes>);

/// How many tokens of the usual size there is room for.
const REMEMBERED_TOKENS: usize = 10_000;

/// The most bytes of the texts in the cache. What is parsed of a token, and what protocols print of it, takes about twice as
/// much besides: about 30 MB together.
const REMEMBERED_TEXTS: u64 = 10 << 20;

/// Tokens count by the length of their texts: one may be 16 times as long as usual.
#[derive(Clone, Copy, Debug)]
struct TextBytes;

impl<V> Weighter<KnownText, V> for TextBytes {
    fn weight(&self, KnownText(text): &KnownText, _: &V) -> u64 {
        text.len() as u64
    }
}

/// The text of a token that is remembered. Only the same text is found.
#[derive(Clone, Debug, Eq, PartialEq)]
struct KnownText(Box<str>);

/// The text of a token that is looked for.
#[derive(Clone, Copy, Debug)]
struct Text<'a>(&'a str);

impl Hash for KnownText {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        Text(&self.0).hash(hasher);
    }
}

/// How much of a text is hashed, in bytes: 192 bits of the signature.
const HASHED_BYTES: usize = 32;

/// The hash of the text's end: it is of the signature, and as good as random. What is remembered has verified, so that
/// nobody can make many texts with one end.
impl Hash for Text<'_> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let text = self.0.as_bytes();
        hasher.write(text.last_chunk::<HASHED_BYTES>().map_or(text, <[u8; HASHED_BYTES]>::as_slice));
    }
}

impl Equivalent<KnownText> for Text<'_> {
    fn equivalent(&self, known: &KnownText) -> bool {
        *self.0 == *known.0
    }
}

impl Default for VerifiedTokens {
    fn default() -> Self {
        Self(Cache::with_weighter(REMEMBERED_TOKENS, REMEMBERED_TEXTS, TextBytes))
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
        if let Some(known) = self.0.get(&Text(access_token)) {
            // A token whose key was removed from the key set is no longer valid.
            let is_current = keys.find(known.key_id.as_str()).is_some();
            return (if is_current { Ok(known) } else { Err(DenyReason::UnknownKey) }, Some(Lookup::Hit));
        }
        let verified = verify(keys, access_token).map(Arc::new);
        if let Ok(token) = &verified {
            self.0.insert(KnownText(access_token.into()), Arc::clone(token));
        }
        (verified, Some(Lookup::Miss))
    }

    /// Whether any token in the cache meets a condition. It reads the whole cache.
    pub(in crate::authority) fn has(&self, condition: impl Fn(&VerifiedToken) -> bool) -> bool {
        self.0.iter().any(|(_, token)| condition(&token))
    }
}

/// The most transaction tokens in the cache, and the longest of them in bytes: about 16 MB.
const REMEMBERED_TXN_TOKENS: usize = 2048;
const LONGEST_REMEMBERED: usize = 4096;

/// Remembers which transaction tokens' signatures verified with which key: each one comes with all the requests of its transaction.
pub(in crate::authority) struct VerifiedTxnTokens(Cache<KnownText, Arc<VerifiedTxnToken>>);

impl Default for VerifiedTxnTokens {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED_TXN_TOKENS))
    }
}

impl VerifiedTxnTokens {
    /// The verified token. The signature must be by one of these keys.
    pub(in crate::authority) fn verify(
        &self,
        keys: &SigningKeys,
        token: &str,
    ) -> Result<Arc<VerifiedTxnToken>, DenyReason> {
        if let Some(known) = self.0.get(&Text(token)) {
            let is_current = keys.find(known.key_id.as_str()).is_some();
            return if is_current { Ok(known) } else { Err(DenyReason::UnknownKey) };
        }
        let verified = verify_txn_token(keys, token).map(Arc::new)?;
        if token.len() <= LONGEST_REMEMBERED {
            self.0.insert(KnownText(token.into()), Arc::clone(&verified));
        }
        Ok(verified)
    }
}

/// The most transactions that are remembered: about 15 MB.
const REMEMBERED_TRANSACTIONS: usize = 100_000;

/// Remembers which transactions were seen at which resource, for resources that take each once. Where there are too many, some are
/// forgotten, and other replicas do not know of them.
pub(in crate::authority) struct SeenTransactions(Cache<String, ()>);

impl Default for SeenTransactions {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED_TRANSACTIONS))
    }
}

impl SeenTransactions {
    /// Remembers a transaction. Returns whether it is the first time that it is seen at the resource: of requests at the same
    /// moment one is the first.
    pub(in crate::authority) fn note(&self, audience: &str, txn: &str) -> bool {
        let mut first = false;
        let seen = self.0.get_or_insert_with(format!("{txn} {audience}").as_str(), || {
            first = true;
            Ok::<(), Infallible>(())
        });
        seen.is_ok() && first
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

/// The most redeemed receipts that are remembered: about 15 MB.
const REMEMBERED_RECEIPTS: usize = 100_000;

/// Remembers which receipts were redeemed over which certificate, and first for which target, to say so where one is redeemed
/// again. Nothing is decided by it.
pub(in crate::authority) struct RedeemedReceipts(Cache<Box<str>, (CertificateThumbprint, Box<str>)>);

/// A receipt that was redeemed before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::authority) enum SeenAgain {
    /// Over the same certificate, for the same target.
    Retry,
    /// Over another certificate.
    OtherCertificate,
}

impl Default for RedeemedReceipts {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED_RECEIPTS))
    }
}

impl RedeemedReceipts {
    /// Remembers a redemption, and says what it is if there was one before.
    pub(in crate::authority) fn note(
        &self,
        jti: &str,
        certificate: CertificateThumbprint,
        target: &str,
    ) -> Option<SeenAgain> {
        match self.0.get(jti) {
            Some((known, _)) if known != certificate => Some(SeenAgain::OtherCertificate),
            Some((_, first)) => (*first == *target).then_some(SeenAgain::Retry),
            None => {
                self.0.insert(jti.into(), (certificate, target.into()));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(number: usize, length: usize) -> KnownText {
        KnownText(format!("{number:0length$}").into())
    }

    #[test]
    fn the_texts_of_tokens_are_bounded_in_bytes_and_as_many_of_the_usual_size_stay_as_before() {
        let cache = || Cache::with_weighter(REMEMBERED_TOKENS, REMEMBERED_TEXTS, TextBytes);
        let [long, usual]: [Cache<KnownText, (), TextBytes>; 2] = [cache(), cache()];
        for number in 0..REMEMBERED_TOKENS {
            long.insert(text(number, MAX_TOKEN_BYTES), ());
            usual.insert(text(number, 1000), ());
        }
        assert!(long.weight() <= REMEMBERED_TEXTS, "{}", long.weight());
        assert!((500..1000).contains(&long.len()), "{}", long.len());
        assert!(usual.len() > REMEMBERED_TOKENS * 9 / 10, "{}", usual.len());
    }
}
