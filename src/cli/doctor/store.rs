//! The store, and the sealed signing keys in it.
//!
//! Opening a store writes to it, so a copy is opened. The copy contains no secrets that are not sealed, only this user
//! can read it, and it is removed after the check. What is in etcd is read into memory.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use tokio::time::timeout;

use crate::authority::backup::UnfinishedImport;
use crate::authority::clock::SystemClock;
use crate::authority::clock::SystemEntropy;
use crate::authority::keys::KeyEncryptionKeys;
use crate::authority::keys::KeyRecordError;
use crate::authority::keys::SealError;
use crate::authority::store::Expected;
use crate::authority::store::Store;
use crate::cli::doctor::Environment;
use crate::cli::doctor::clients;
use crate::cli::doctor::exchange;
use crate::cli::doctor::fault::Fault;
use crate::cli::doctor::pkcs11;
use crate::cli::doctor::registrations;
use crate::cli::doctor::report::Report;
use crate::cli::doctor::resources;
use crate::cli::store::Copy;
use crate::cli::store::NoCopy;
use crate::cli::store::is_in_use;
use crate::config::Config;
use crate::config::StoreConfig;
use crate::server::KeysError;
use crate::server::key_sealer;
use crate::server::key_sealer_with_token;
use crate::server::open_signing_keys;
use crate::server::open_store;
use crate::signer::pkcs11::Pkcs11;
use crate::store::etcd::EtcdConfig;
use crate::store::memory::MemoryStore;
use crate::store::sled::OpenError;
use crate::store::sled::SledOptions;
use crate::store::sled::SledStore;

const CHECK: &str = "store";
const KEY: &str = "key_encryption_key";

/// How long the servers of the centre may take to send everything.
const LISTING_TIMEOUT: Duration = Duration::from_secs(30);

/// Whether a process has the store open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::cli::doctor) enum Held {
    /// No process has it open.
    Free,
    /// A process has it open.
    InUse,
    /// Unknown: the store is in memory, or cannot be read.
    Unknown,
}

/// Checks the store and the key-encryption key.
pub(in crate::cli::doctor) async fn check(
    config: &Config,
    key: Option<&KeyEncryptionKeys>,
    token: Option<&Pkcs11>,
    environment: &Environment,
    report: &mut Report,
) -> Held {
    let (held, opened) = match &config.store {
        StoreConfig::Upstream(upstream) => {
            of_an_edge(config, &upstream.endpoints.join(", "), report).await;
            return Held::Unknown;
        }
        StoreConfig::Sled(directory) => open(directory, report),
        StoreConfig::Memory => (Held::Unknown, in_memory(config, report)),
        StoreConfig::Etcd(etcd) => (Held::Unknown, in_etcd(config, etcd, report).await),
    };
    match &opened {
        Opened::Copy(store, _copy) => {
            if let Ok(Some(unfinished)) = UnfinishedImport::find(&**store).await {
                report.fault(CHECK, "", Fault::StoreImportUnfinished, unfinished.to_string());
            }
            resources::check(&**store, report).await;
            clients::check(&**store, environment.now, report).await;
            exchange::check(&**store, config, report).await;
        }
        Opened::Nothing(why) => {
            report.ok(resources::CHECK, "", *why);
            report.ok(exchange::CHECK, "", *why);
        }
        Opened::Unavailable(why) => {
            resources::not_checked(why, held == Held::InUse, report);
            report.not_checked(exchange::CHECK, "", *why);
        }
    }
    match (key, opened) {
        // The fault of the key is already reported.
        (None, _) => {}
        (Some(_), Opened::Nothing(why)) => report.ok(KEY, "", format!("it can be read, and {why}")),
        (Some(_), Opened::Unavailable(why)) => {
            report.not_checked(KEY, "", why);
            if held == Held::InUse {
                registrations::check_running(config, report);
            }
        }
        (Some(key), Opened::Copy(store, _copy)) => {
            registrations::check(&*store, &key_sealer(key.clone()), config, report).await;
            let sealer = key_sealer_with_token(config, key.clone(), token);
            match open_signing_keys(&*store, &sealer, config.algorithm).await {
                Ok(keys) => {
                    report.ok(KEY, "", "it opens the signing keys in the store");
                    if token.is_some() || config.pkcs11.is_none() {
                        pkcs11::check_keys(&keys, token, report).await;
                    }
                }
                Err(error) => report_unopened(error, report),
            }
        }
    }
    held
}

/// What the key-encryption key can be tried on.
enum Opened {
    /// An open copy. The store is closed before its directory, if it has one, is removed.
    Copy(Box<dyn Store>, Option<Copy>),
    /// Nothing is sealed yet.
    Nothing(&'static str),
    /// The sealed keys are unavailable.
    Unavailable(&'static str),
}

fn in_memory(config: &Config, report: &mut Report) -> Opened {
    if config.dev {
        report.ok(CHECK, "", "in memory");
    } else {
        report.fault(CHECK, "", Fault::StoreInMemory, "the store is in memory");
    }
    Opened::Nothing("the store is in memory")
}

async fn in_etcd(config: &Config, etcd: &EtcdConfig, report: &mut Report) -> Opened {
    let subject = etcd.endpoints.join(", ");
    match copy_of_etcd(config).await {
        Ok((copy, records)) => {
            report.ok(CHECK, subject, format!("etcd answers: {records} records under {}", etcd.prefix));
            Opened::Copy(Box::new(copy), None)
        }
        Err(problem) => {
            report.fault(CHECK, subject, Fault::StoreUnreachable, problem);
            Opened::Unavailable("the store was not read")
        }
    }
}

/// An edge has nothing of its own: what the centre sends is what there is to see.
async fn of_an_edge(config: &Config, endpoints: &str, report: &mut Report) {
    let why = "it is an edge, which has none of its own";
    for check in [KEY, resources::CHECK, exchange::CHECK] {
        report.ok(check, "", why);
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let listed = async {
        let store = open_store(config, &provider, Arc::new(SystemClock), Arc::new(SystemEntropy::default())).await;
        let listing = store.map_err(|error| error.to_string())?.list("").await;
        listing.map(|listing| listing.entries.len()).map_err(|error| error.to_string())
    };
    match timeout(LISTING_TIMEOUT, listed).await {
        Ok(Ok(records)) => {
            report.ok(CHECK, endpoints, format!("a server of the centre answers: it sends {records} records"));
        }
        Ok(Err(problem)) => report.fault(CHECK, endpoints, Fault::CentreUnreachable, problem),
        Err(_) => report.fault(CHECK, endpoints, Fault::CentreUnreachable, "no server of the centre answers in time"),
    }
}

/// Everything that is in etcd, in memory: checks make a signing key where there is none.
async fn copy_of_etcd(config: &Config) -> Result<(MemoryStore, usize), String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let store = open_store(config, &provider, Arc::new(SystemClock), Arc::new(SystemEntropy::default())).await;
    let listing = store.map_err(|error| error.to_string())?.list("").await.map_err(|error| error.to_string())?;
    let copy = MemoryStore::new();
    for (key, entry) in &listing.entries {
        let put = copy.put(key, entry.value.to_vec(), Expected::Absent).await;
        put.map_err(|error| format!("{key}: {error}"))?;
    }
    Ok((copy, listing.entries.len()))
}

fn open(directory: &Path, report: &mut Report) -> (Held, Opened) {
    let subject = directory.display().to_string();
    let unreadable = |report: &mut Report, error: &io::Error| {
        let problem = format!("cannot read the store: {error}");
        report.fault(CHECK, directory.display().to_string(), Fault::StoreUnreadable, problem);
        Opened::Unavailable("the store cannot be read")
    };
    let names = match names_in(directory) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            report.ok(CHECK, subject, "there is none yet: a server creates it");
            return (Held::Free, Opened::Nothing("there is no store yet"));
        }
        Err(error) => return (Held::Unknown, unreadable(report, &error)),
    };
    if !names.iter().any(|name| name == "LOCK" || name == "MARK") {
        if names.iter().any(|name| name != "lost+found") {
            let problem = "the directory is not empty and holds no store";
            report.fault(CHECK, subject, Fault::StoreForeign, problem);
            return (Held::Free, Opened::Unavailable("there is no store"));
        }
        report.ok(CHECK, subject, "the directory is empty: a server creates a store there");
        return (Held::Free, Opened::Nothing("there is no store yet"));
    }
    let in_use = (Held::InUse, Opened::Unavailable("a running server has the store open"));
    match is_in_use(directory) {
        Ok(false) => {}
        Ok(true) => {
            report.ok(CHECK, subject, "a running server has it open");
            return in_use;
        }
        Err(error) => return (Held::Unknown, unreadable(report, &error)),
    }
    let copy = match Copy::of(directory) {
        Ok(copy) => copy,
        Err(NoCopy::Source(error)) => return (Held::Free, unreadable(report, &error)),
        Err(NoCopy::NoPlace) => {
            let reason = "it is opened in a copy, and there is no room for one in TMPDIR, /tmp or /dev/shm";
            report.not_checked(CHECK, subject, reason);
            return (Held::Free, Opened::Unavailable("the store was not opened"));
        }
    };
    // A server that started meanwhile has written while the store was copied.
    if is_in_use(directory).unwrap_or(true) {
        report.ok(CHECK, subject, "a running server has it open");
        return in_use;
    }
    match SledStore::open(copy.path(), SledOptions { image_from: None, ..SledOptions::default() }) {
        Ok(store) => {
            report.ok(CHECK, subject, "no server has it open, and a copy of it opens: every record is valid");
            (Held::Free, Opened::Copy(Box::new(store), Some(copy)))
        }
        Err(OpenError::Io { source, .. }) => {
            report.not_checked(CHECK, subject, format!("a copy of it cannot be used: {source}"));
            (Held::Free, Opened::Unavailable("the store was not opened"))
        }
        Err(OpenError::NoSpace { .. }) => {
            report.not_checked(CHECK, subject, "a copy of it cannot be used: no space is left where it was made");
            (Held::Free, Opened::Unavailable("the store was not opened"))
        }
        Err(error) => {
            report.fault(CHECK, subject, Fault::StoreDamaged, problem(&error));
            (Held::Free, Opened::Unavailable("the store does not open"))
        }
    }
}

/// The message without the path of the copy.
fn problem(error: &OpenError) -> String {
    match error {
        OpenError::Damaged { damage, .. } => format!("it is damaged: {damage}"),
        OpenError::Emptied { missing, .. } => format!("it was emptied: {missing} is missing"),
        OpenError::RolledBack { found, marked, .. } => {
            format!("its log ends at revision {found}, but {marked} was reached: it was cut short or replaced")
        }
        OpenError::Stuck { limit, .. } => format!("a copy of it did not open within {limit:?}"),
        OpenError::Io { .. } | OpenError::NoSpace { .. } | OpenError::InUse { .. } | OpenError::Foreign { .. } => {
            "a copy of it is not recognised as a store".to_owned()
        }
    }
}

fn report_unopened(error: KeysError, report: &mut Report) {
    match error {
        error @ KeysError::Record { error: KeyRecordError::Seal(SealError::WrongKey), .. } => {
            report.fault(KEY, "", Fault::KeyEncryptionKeyWrong, error.to_string());
        }
        error @ (KeysError::Record { .. }
        | KeysError::NotInToken { .. }
        | KeysError::NotMade(_)
        | KeysError::Receipts(_)
        | KeysError::Store(_)) => report.fault(KEY, "", Fault::SigningKeyInvalid, error.to_string()),
    }
}

fn names_in(directory: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}
