//! The configuration file and the key-encryption key, as far as they can be read.

use std::path::Path;

use crate::authority::keys::KeyEncryptionKeys;
use crate::cli::doctor::fault::Fault;
use crate::cli::doctor::report::Report;
use crate::config;
use crate::config::ConfigError;
use crate::config::Inspected;

const CHECK: &str = "configuration";
const KEY: &str = "key_encryption_key";

/// The key of the configuration that names the file of the key that seals.
const KEY_FILE: &str = "keys.key_encryption_key_file";

/// Reads the file; `None` if its content cannot be used at all.
pub(in crate::cli::doctor) fn check(path: &Path, report: &mut Report) -> Option<Inspected> {
    let subject = path.display().to_string();
    let error = match config::inspect(path) {
        Ok(inspected) => {
            report.ok(CHECK, subject, "it can be read, and every key in it is known");
            return Some(inspected);
        }
        Err(error) => error,
    };
    let text = without_quotations(&error.to_string());
    let fault = match error {
        ConfigError::Unreadable { .. } => Fault::ConfigurationUnreadable,
        _ if error.is_unknown_key() => Fault::ConfigurationUnknownKey,
        ConfigError::Yaml { .. }
        | ConfigError::Environment { .. }
        | ConfigError::UnknownVariable { .. }
        | ConfigError::Value { .. } => Fault::ConfigurationInvalid,
    };
    report.fault(CHECK, subject, fault, text);
    None
}

/// The key-encryption key, if it can be read. Whether it is the right one is checked with the store.
pub(in crate::cli::doctor) fn check_key<'a>(
    inspected: &'a Inspected,
    report: &mut Report,
) -> Option<&'a KeyEncryptionKeys> {
    let Some(error) = &inspected.key_encryption_key_error else {
        // It is reported where it is tried on the store.
        return Some(&inspected.config.key_encryption_keys);
    };
    let (subject, fault) = match (error, inspected.key_encryption_key_files.first()) {
        (ConfigError::Unreadable { path, .. }, _) => (path.display().to_string(), Fault::KeyEncryptionKeyUnreadable),
        (ConfigError::Value { key: KEY_FILE, .. }, Some(path)) => {
            (path.display().to_string(), Fault::KeyEncryptionKeyInvalid)
        }
        (ConfigError::Value { key, .. }, _) if *key != KEY_FILE => ((*key).to_owned(), Fault::KeyEncryptionKeyInvalid),
        _ => ("keys.key_encryption_key".to_owned(), Fault::KeyEncryptionKeyInvalid),
    };
    report.fault(KEY, subject, fault, error.to_string());
    None
}

/// Removes quoted values from a message: a value in a wrong place may be a key.
fn without_quotations(text: &str) -> String {
    let mut redacted = String::with_capacity(text.len());
    for (place, part) in text.split('"').enumerate() {
        redacted.push_str(if place % 2 == 0 { part } else { "\"…\"" });
    }
    redacted
}

#[cfg(test)]
mod tests {
    use super::without_quotations;

    #[test]
    fn quoted_values_are_left_out() {
        let text = "keys: invalid type: string \"BwcHBw==\", expected struct Keys at line 3";
        assert_eq!(without_quotations(text), "keys: invalid type: string \"…\", expected struct Keys at line 3");
        assert_eq!(without_quotations("string \"broken off"), "string \"…\"");
    }
}
