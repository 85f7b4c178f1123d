//! The configuration: one YAML file, overridden by `LANYARD_SECTION__KEY` from the environment. Unknown keys are
//! refused with their line. The results are domain types; each error names its key.

mod audit;
mod chaining;
pub mod digest;
mod dual_control;
mod environment;
mod error;
mod federation;
mod file;
pub mod forwarded;
mod jwks_uri;
mod key_command;
mod keys;
mod limits;
mod listeners;
pub mod local;
mod peers;
mod pkcs11;
mod reading;
mod roles;
mod settings;
mod store;
mod telemetry;
mod trusted_issuers;
mod txn_tokens;
mod workload_api;

pub use crate::config::error::ConfigError;
pub use crate::config::settings::Config;
pub use crate::config::settings::Listeners;
pub use crate::config::settings::Source;
pub use crate::config::store::StoreConfig;

use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use crate::authority::clock::NoEntropy;
use crate::authority::keys::KeyEncryptionKey;
use crate::config::digest::ConfigDigest;
use crate::config::error::value;
use crate::config::file::File;
use crate::config::keys::Commands;
use crate::yaml;
use crate::yaml::Node;
use crate::yaml::PlainScalars;

/// A configuration that is read for inspection, without starting a server: an unreadable key-encryption key does not
/// hide the rest.
#[derive(Debug)]
pub(crate) struct Inspected {
    /// The whole configuration. If the key-encryption key cannot be read, it contains a generated one that opens
    /// nothing.
    pub(crate) config: Config,
    /// The files of key-encryption keys, the one that seals first. A file that is itself sealed is not among them.
    pub(crate) key_encryption_key_files: Vec<PathBuf>,
    /// The file with the PIN of the token that holds signing keys.
    pub(crate) pin_file: Option<PathBuf>,
    /// Why the key-encryption keys cannot be read.
    pub(crate) key_encryption_key_error: Option<ConfigError>,
}

/// Reads a configuration file. Relative paths in it are resolved against the file's folder.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    load_by(path, Commands::Run)
}

/// Reads a configuration file while a server runs by it. No command is run for a key-encryption key, which stays as it
/// is until a restart; the one in what is returned opens nothing.
pub(crate) fn load_again(path: &Path) -> Result<Config, ConfigError> {
    load_by(path, Commands::Skip)
}

fn load_by(path: &Path, commands: Commands) -> Result<Config, ConfigError> {
    let Read { file, folder, tree } = read(path)?;
    let written =
        yaml::read(&tree).map(|values| ConfigDigest::of(&values)).map_err(|error| ConfigError::of(path, error))?;
    let keys = file.key_encryption_keys(folder, commands);
    let config = file.resolve(folder, keys).map_err(|error| error.located(path, &tree))?;
    Ok(Config { source: Some(Source { path: path.to_owned(), written }), ..config })
}

/// Reads a configuration file for inspection.
pub(crate) fn inspect(path: &Path) -> Result<Inspected, ConfigError> {
    let Read { file, folder, tree } = read(path)?;
    let key_encryption_key_files = file.keys().key_encryption_key_files(folder);
    let pin_file = file.keys().pin_file(folder);
    let (key, key_encryption_key_error) = match file.key_encryption_keys(folder, Commands::Run) {
        Ok(key) => (Ok(key), None),
        Err(error) => match KeyEncryptionKey::generate() {
            Ok(stand_in) => (Ok(stand_in.into()), Some(error.located(path, &tree))),
            Err(NoEntropy) => (Err(error), None),
        },
    };
    let config = file.resolve(folder, key).map_err(|error| error.located(path, &tree))?;
    Ok(Inspected { config, key_encryption_key_files, pin_file, key_encryption_key_error })
}

struct Read<'a> {
    file: File,
    folder: &'a Path,
    tree: Node,
}

fn read(path: &Path) -> Result<Read<'_>, ConfigError> {
    let text = fs::read_to_string(path).map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
    let refused = |error| ConfigError::of(path, error);
    let mut tree = yaml::document(&text, PlainScalars::AreNoText).map_err(refused)?;
    if tree.is_mapping() {
        environment::overlay(&mut tree, env::vars_os(), is_key)?;
    }
    if tree.get("keys").is_some_and(|keys| !keys.is_mapping()) {
        let problem = "is a section: put key_encryption_key_file, or another key of it, below it";
        return Err(value("keys", problem).located(path, &tree));
    }
    let file = yaml::read(&tree).map_err(refused)?;
    Ok(Read { file, folder: path.parent().unwrap_or(Path::new("")), tree })
}

/// Whether the file may have a key. To find out, a text is placed there, which must be parsed as far as that key.
fn is_key(keys: &[&str]) -> bool {
    let text = yaml::variable("", "");
    yaml::read::<File>(&Node::nested(keys, text)).map_or_else(
        |error| !error.is_unknown_field() && error.mistyped_key().is_none_or(|key| key == keys.join(".")),
        |_| true,
    )
}
