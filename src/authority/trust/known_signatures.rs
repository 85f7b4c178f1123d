//! Signatures of certificates that need not be verified again.

use quick_cache::sync::Cache;

/// The most signatures that are remembered: about 800 KB.
const REMEMBERED_SIGNATURES: usize = 10_000;

/// Which signatures of which keys on which certificates were valid, by the hash of all three, in paths that were accepted. That
/// stays so whatever becomes of the bundles and of the time; everything else of a path is looked at each time.
#[derive(Debug)]
pub struct KnownSignatures(Cache<[u8; 32], ()>);

impl Default for KnownSignatures {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED_SIGNATURES))
    }
}

impl KnownSignatures {
    pub(super) fn has(&self, digest: &[u8; 32]) -> bool {
        self.0.get(digest).is_some()
    }

    pub(super) fn insert(&self, digest: [u8; 32]) {
        self.0.insert(digest, ());
    }
}
