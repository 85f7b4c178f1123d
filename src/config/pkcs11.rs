//! The section `keys.pkcs11`: the token that holds signing keys.

use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::authority::keys::SigningAlgorithm;
use crate::config::error::ConfigError;
use crate::config::error::value;
use crate::signer::pkcs11::Config;
use crate::signer::pkcs11::TokenName;

/// How many signatures are made at the same time, by default.
const SESSIONS: usize = 4;

/// The most sessions. Each has a thread while it signs.
const MOST_SESSIONS: usize = 64;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pkcs11 {
    module: PathBuf,
    token_label: Option<String>,
    token_serial: Option<String>,
    pin_file: Option<PathBuf>,
    pin: Option<SecretString>,
    sessions: Option<NonZero<usize>>,
    new_keys: Option<bool>,
    #[serde(default)]
    start_without_token: bool,
}

impl Pkcs11 {
    pub(super) fn resolve(&self, folder: &Path, algorithm: SigningAlgorithm) -> Result<Config, ConfigError> {
        let new_keys = self.new_keys.unwrap_or(true);
        if new_keys && algorithm == SigningAlgorithm::EdDsa {
            return Err(value(
                "keys.algorithm",
                "is EdDSA, which is not supported with keys.pkcs11: use ES256 or RS256, or keys.pkcs11.new_keys: false",
            ));
        }
        let sessions = self.sessions.map_or(SESSIONS, NonZero::get);
        if sessions > MOST_SESSIONS {
            return Err(value("keys.pkcs11.sessions", &format!("must not be more than {MOST_SESSIONS}")));
        }
        let token = match (&self.token_label, &self.token_serial) {
            (Some(label), None) => TokenName::Label(label.clone()),
            (None, Some(serial)) => TokenName::Serial(serial.clone()),
            (Some(_), Some(_)) => return Err(value("keys.pkcs11.token_label", "goes only without token_serial")),
            (None, None) => {
                return Err(value("keys.pkcs11.token_label", "is missing, and token_serial too: name the token"));
            }
        };
        let (module, pin, start_without_token) =
            (folder.join(&self.module), self.pin(folder)?, self.start_without_token);
        Ok(Config { module, token, pin, sessions, new_keys, start_without_token })
    }

    /// The file with the PIN, if there is one.
    pub(super) fn pin_file(&self, folder: &Path) -> Option<PathBuf> {
        self.pin_file.as_ref().map(|path| folder.join(path))
    }

    fn pin(&self, folder: &Path) -> Result<SecretString, ConfigError> {
        match (self.pin_file(folder), &self.pin) {
            (Some(path), None) => {
                let text = fs::read_to_string(&path).map(Zeroizing::new);
                let text = text.map_err(|error| ConfigError::Unreadable { path, error })?;
                // Editors end the last line; other white space may be part of the PIN.
                let pin = text.strip_suffix('\n').map_or(&**text, |line| line.strip_suffix('\r').unwrap_or(line));
                if pin.is_empty() { Err(value("keys.pkcs11.pin_file", "is empty")) } else { Ok(pin.into()) }
            }
            (None, Some(pin)) => Ok(pin.clone()),
            (Some(_), Some(_)) => Err(value("keys.pkcs11.pin_file", "goes only without keys.pkcs11.pin")),
            (None, None) => Err(value("keys.pkcs11.pin_file", "is missing, and LANYARD_KEYS__PKCS11__PIN is not set")),
        }
    }
}
