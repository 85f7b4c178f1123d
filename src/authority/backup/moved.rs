//! What is moved from one store to another: each record with its key, its value byte for byte, and its end.

use std::sync::Arc;

use crate::authority::backup::mark::IMPORT;
use crate::authority::clock::Timestamp;
use crate::authority::store::Listing;
use crate::authority::store::Versioned;

/// The prefixes of keys that mean nothing in another store: the heartbeats of the running servers, which of them does what
/// one of them should do, and what is proposed for revisions of this one.
const OF_ONE_STORE: [&str; 3] = [REPLICAS, "/leader", "/proposals/"];

/// The prefix of the heartbeats of the servers that share a store. They expire when a server has ended.
const REPLICAS: &str = "/replicas/";

/// A record without its revision, which belongs to the store that it is in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MovedRecord {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: Arc<[u8]>,
    /// The time from which it is expired, if it expires.
    pub expires: Option<Timestamp>,
}

impl MovedRecord {
    /// The records of a listing that are moved, in the order of their keys.
    pub fn all(listing: &Listing) -> Vec<Self> {
        let moved = listing.entries.iter().filter(|(key, _)| is_moved(key));
        moved.map(|(key, stored)| Self::of(key, stored)).collect()
    }

    fn of(key: &str, stored: &Versioned<Arc<[u8]>>) -> Self {
        Self { key: key.to_owned(), value: Arc::clone(&stored.value), expires: stored.expires }
    }

    /// Whether it is what a store has at its key.
    pub(super) fn is(&self, stored: &Versioned<Arc<[u8]>>) -> bool {
        self.value == stored.value && self.expires == stored.expires
    }
}

/// The name of a server that uses the store, if any does that shares it.
pub fn in_use(listing: &Listing) -> Option<&str> {
    listing.entries.iter().find_map(|(key, _)| key.strip_prefix(REPLICAS))
}

/// Whether the record at a key is moved. `/index/` is: its records are written together with what they index, so that they
/// are right wherever all of them are.
pub fn is_moved(key: &str) -> bool {
    key != IMPORT && !OF_ONE_STORE.iter().any(|prefix| key.starts_with(prefix))
}
