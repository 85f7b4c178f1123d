//! The section `keys`: the signing keys and their rotation, and the key-encryption keys.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use secrecy::SecretString;
use serde::Deserialize;
use serde::Deserializer;
use zeroize::Zeroizing;

use crate::authority::clock::NoEntropy;
use crate::authority::keys::KeyEncryptionKey;
use crate::authority::keys::KeyEncryptionKeys;
use crate::authority::keys::SigningAlgorithm;
use crate::authority::state::KeyPolicy;
use crate::config::error::ConfigError;
use crate::config::error::value;
use crate::config::key_command;
use crate::config::pkcs11::Pkcs11;
use crate::config::reading::duration;
use crate::signer::pkcs11;

/// The shortest time for which a key signs. Each key is published for as long as verifiers may keep a JWK Set.
const SHORTEST_PERIOD: Duration = Duration::from_hours(1);

/// The most former key-encryption keys.
const MOST_PREVIOUS: usize = 8;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    #[serde(default)]
    pub(super) algorithm: SigningAlgorithm,
    #[serde(default)]
    rotation_period: Period,
    #[serde(default, deserialize_with = "duration")]
    verifier_cache_time: Option<Duration>,
    key_encryption_key_file: Option<PathBuf>,
    key_encryption_key: Option<SecretString>,
    key_encryption_key_command: Option<Vec<String>>,
    #[serde(default)]
    previous: Vec<Previous>,
    pkcs11: Option<Pkcs11>,
}

/// How long a key signs; `off` for no schedule.
#[derive(Debug, Default)]
struct Period(Option<Duration>);

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "off" {
            return Ok(Self(None));
        }
        let period = humantime::parse_duration(&text).ok().filter(|period| *period >= SHORTEST_PERIOD);
        period.map(|period| Self(Some(period))).ok_or_else(|| {
            let text = text.escape_default();
            serde::de::Error::custom(format!("'{text}' is neither off nor a duration of 1h or more, such as 30d"))
        })
    }
}

/// A key-encryption key that sealed keys before.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_field_names, reason = "the fields are the keys of the file")]
struct Previous {
    key_encryption_key_file: Option<PathBuf>,
    key_encryption_key: Option<SecretString>,
    key_encryption_key_command: Option<Vec<String>>,
}

/// Where a key-encryption key comes from.
struct Source<'a> {
    file: Option<&'a Path>,
    text: Option<&'a SecretString>,
    command: Option<&'a [String]>,
    /// The keys of the file and of the command, for errors.
    keys: [&'static str; 2],
}

/// Whether commands are run for keys that are to be opened by one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Commands {
    Run,
    /// The keys are not needed; others stand in for them, which open nothing.
    Skip,
}

impl Keys {
    /// What an edge has no use for, and should not be given: it has no private keys.
    pub(super) fn for_private_keys(&self) -> Option<&'static str> {
        let Self { key_encryption_key_file, key_encryption_key, key_encryption_key_command, .. } = self;
        if key_encryption_key_file.is_some() {
            return Some("keys.key_encryption_key_file");
        }
        if key_encryption_key.is_some() {
            return Some("keys.key_encryption_key");
        }
        if key_encryption_key_command.is_some() {
            return Some("keys.key_encryption_key_command");
        }
        if !self.previous.is_empty() {
            return Some("keys.previous");
        }
        self.pkcs11.as_ref().map(|_| "keys.pkcs11")
    }

    /// The settings of rotation.
    pub(super) fn policy(&self) -> Result<KeyPolicy, ConfigError> {
        let default = KeyPolicy::default();
        let verifier_cache_time = self.verifier_cache_time.unwrap_or(default.verifier_cache_time);
        if self.rotation_period.0.is_some_and(|period| period < verifier_cache_time) {
            return Err(value(
                "keys.rotation_period",
                "must not be shorter than keys.verifier_cache_time, for which each key is published before it signs",
            ));
        }
        Ok(KeyPolicy { rotation_period: self.rotation_period.0, verifier_cache_time })
    }

    /// All key-encryption keys, the one that seals first.
    pub(super) fn key_encryption_keys(
        &self,
        folder: &Path,
        commands: Commands,
    ) -> Result<KeyEncryptionKeys, ConfigError> {
        let current = self.current().read(folder, commands)?;
        if self.previous.len() > MOST_PREVIOUS {
            return Err(value("keys.previous", &format!("has more than {MOST_PREVIOUS} keys")));
        }
        let previous = self.previous.iter().map(|previous| previous.source().read(folder, commands));
        Ok(KeyEncryptionKeys { current, previous: previous.collect::<Result<_, _>>()? })
    }

    /// The token that holds signing keys, if there is one.
    pub(super) fn pkcs11(&self, folder: &Path) -> Result<Option<pkcs11::Config>, ConfigError> {
        self.pkcs11.as_ref().map(|section| section.resolve(folder, self.algorithm)).transpose()
    }

    /// The file with the PIN of the token, if there is one.
    pub(super) fn pin_file(&self, folder: &Path) -> Option<PathBuf> {
        self.pkcs11.as_ref().and_then(|section| section.pin_file(folder))
    }

    /// The files with key-encryption keys that are not sealed themselves, the one that seals first.
    pub(super) fn key_encryption_key_files(&self, folder: &Path) -> Vec<PathBuf> {
        let sources = std::iter::once(self.current()).chain(self.previous.iter().map(Previous::source));
        let files = sources.filter(|source| source.command.is_none()).filter_map(|source| source.file);
        files.map(|path| folder.join(path)).collect()
    }

    fn current(&self) -> Source<'_> {
        Source {
            file: self.key_encryption_key_file.as_deref(),
            text: self.key_encryption_key.as_ref(),
            command: self.key_encryption_key_command.as_deref(),
            keys: ["keys.key_encryption_key_file", "keys.key_encryption_key_command"],
        }
    }
}

impl Previous {
    fn source(&self) -> Source<'_> {
        Source {
            file: self.key_encryption_key_file.as_deref(),
            text: self.key_encryption_key.as_ref(),
            command: self.key_encryption_key_command.as_deref(),
            keys: ["keys.previous", "keys.previous"],
        }
    }
}

impl Source<'_> {
    fn read(&self, folder: &Path, commands: Commands) -> Result<KeyEncryptionKey, ConfigError> {
        let [file_key, command_key] = self.keys;
        let parse = |key, text: &str| KeyEncryptionKey::parse(text).map_err(|error| value(key, &error.to_string()));
        match (self.file, self.text, self.command) {
            (Some(path), None, None) => {
                let path = folder.join(path);
                let text = fs::read_to_string(&path).map(Zeroizing::new);
                parse(file_key, &text.map_err(|error| ConfigError::Unreadable { path, error })?)
            }
            (None, Some(text), None) => parse(file_key, text.expose_secret()),
            (Some(_), None, Some(_)) if commands == Commands::Skip => KeyEncryptionKey::generate()
                .map_err(|NoEntropy| value(command_key, "the machine gives no random bytes")),
            (Some(path), None, Some(command)) => {
                let path = folder.join(path);
                let sealed = fs::read(&path).map_err(|error| ConfigError::Unreadable { path, error })?;
                let opened = key_command::opened(command, &sealed).map_err(|error| value(command_key, &error))?;
                parse(command_key, &opened)
            }
            (Some(_), Some(_), _) => Err(value(file_key, "goes only without keys.key_encryption_key")),
            (None, _, Some(_)) => Err(value(
                command_key,
                "opens the sealed key in keys.key_encryption_key_file, which is missing or is not a file's",
            )),
            (None, None, None) => Err(value(
                file_key,
                "is missing, and LANYARD_KEYS__KEY_ENCRYPTION_KEY is not set: make one with `openssl rand -base64 32`",
            )),
        }
    }
}
