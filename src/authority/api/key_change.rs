//! A change of signing keys that is being put together: its transaction, and what the snapshot and the records get of it.

use crate::authority::decision::KeyChangeError;
use crate::authority::keys::KEYS_INDEX;
use crate::authority::keys::KeyRecord;
use crate::authority::keys::KeyStage;
use crate::authority::keys::StoredKey;
use crate::authority::state::Entry;
use crate::authority::store::Expected;
use crate::authority::store::Revision;
use crate::authority::store::Transaction;

/// The value of [`KEYS_INDEX`].
pub(in crate::authority::api) const GUARD: &[u8] = b"{\"schema\":1}";

/// A change that is being put together.
pub(in crate::authority::api) struct Change {
    pub(in crate::authority::api) transaction: Transaction,
    /// For the snapshot.
    pub(in crate::authority::api) entries: Vec<(String, Option<Entry>)>,
    pub(in crate::authority::api) events: Vec<KeyEvent>,
}

/// What becomes of a key.
pub(in crate::authority::api) struct KeyEvent {
    pub(in crate::authority::api) kid: String,
    /// Its name in the audit trail.
    pub(in crate::authority::api) change: &'static str,
    /// The states of the key before and after it.
    pub(in crate::authority::api) states: (Option<&'static str>, &'static str),
}

impl Change {
    /// The key that it lets sign, or publishes.
    pub(in crate::authority::api) fn added(&self) -> Option<StoredKey> {
        self.entries.iter().find_map(|(_, entry)| match entry {
            Some(Entry::SigningKey(key)) if !matches!(key.stage(), KeyStage::Retired { .. } | KeyStage::Revoked(_)) => {
                Some(key.clone())
            }
            _ => None,
        })
    }

    /// A change of what was read when the guard was so.
    pub(in crate::authority::api) fn new(guard: Expected) -> Self {
        let transaction = Transaction::default().compare(KEYS_INDEX, guard).put(KEYS_INDEX, GUARD.to_vec());
        Self { transaction, entries: Vec::new(), events: Vec::new() }
    }

    /// Writes a record, and takes the key over into the snapshot, if it is open.
    pub(in crate::authority::api) fn put(
        self,
        (before, record): (Option<&(KeyRecord, Revision)>, &KeyRecord),
        key: Option<StoredKey>,
        change: &'static str,
    ) -> Result<Self, KeyChangeError> {
        let (Self { transaction, mut entries, mut events }, place) = (self, record.store_key());
        let expected = before.map_or(Expected::Absent, |(_, revision)| Expected::At(*revision));
        let states = (before.map(|(before, _)| before.stage.label()), record.stage.label());
        let bytes = record.to_bytes().map_err(|error| KeyChangeError::unreadable(&place, error.into()))?;
        let transaction = transaction.compare(&place, expected).put(&place, bytes);
        entries.extend(key.map(|key| (place, Some(Entry::SigningKey(key)))));
        events.push(KeyEvent { kid: record.key_id().to_owned(), change, states });
        Ok(Self { transaction, entries, events })
    }
}
