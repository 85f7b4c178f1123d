//! Digests of a configuration's values, key by key, for comparing two configurations.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_json::Value;
use sha2::Digest as _;
use sha2::Sha256;

/// The keys that are set, by the file or the environment, each with a digest of its value. The values are not kept,
/// since one of them may be the key-encryption key.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ConfigDigest(BTreeMap<String, [u8; 32]>);

impl ConfigDigest {
    pub(super) fn of(values: &Value) -> Self {
        let mut written = Self::default();
        written.add(String::new(), values);
        written
    }

    /// Descends into sections; a list is one value.
    fn add(&mut self, path: String, value: &Value) {
        match value {
            Value::Object(section) if !section.is_empty() || path.is_empty() => {
                for (key, value) in section {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    self.add(path, value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                self.0.insert(path, Sha256::digest(value.to_string()).into());
            }
        }
    }

    /// The keys that only one of the two sets, or that they set to different values, such as `log.level` or
    /// `trust.bundles.prod.example`.
    pub fn differences<'a>(&'a self, other: &'a Self) -> BTreeSet<&'a str> {
        let keys = self.0.keys().chain(other.0.keys());
        let mut keys: BTreeSet<_> =
            keys.filter(|key| self.0.get(*key) != other.0.get(*key)).map(String::as_str).collect();
        // A section that was empty is reported by the keys that were added to it.
        let all = keys.clone();
        keys.retain(|key| !all.iter().any(|below| below.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'))));
        keys
    }
}
