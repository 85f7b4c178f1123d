//! The map of what decisions look up by name.

use imbl::GenericHashMap;
use imbl::shared_ptr::DefaultSharedPtr;

/// A map whose clones share what is unchanged. Its hash is keyed at random, as that of the standard library is, and takes a
/// fraction of its time.
pub(in crate::authority) type HashMap<K, V> = GenericHashMap<K, V, ahash::RandomState, DefaultSharedPtr>;
