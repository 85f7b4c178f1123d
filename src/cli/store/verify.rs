//! `lanyard store verify`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::authority::backup;
use crate::authority::backup::AboutExchange;
use crate::authority::backup::Checked;
use crate::authority::backup::MovedRecord;
use crate::authority::keys::KeySealer;
use crate::authority::store::Store as _;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::store::copy::Copy;
use crate::cli::store::copy::NoCopy;
use crate::cli::store::import;
use crate::cli::store::opened::Configured;
use crate::cli::store::opened::failed;
use crate::cli::store::opened::is_in_use;
use crate::cli::store::opened::not_open;
use crate::store::sled::OpenError;
use crate::store::sled::SledOptions;
use crate::store::sled::SledStore;

const IN_USE: &str = "a running server uses it, and has verified its files when it started: stop it first, or export from it \
                      and verify the export";

#[derive(Args, Debug)]
pub(in crate::cli) struct VerifyArguments {
    /// An export to verify instead of the store.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The configuration of the stopped server, which names the store and the key-encryption key.
    #[arg(long, value_name = "FILE", env = "LANYARD_CONFIG")]
    config: PathBuf,
}

pub(in crate::cli) async fn run(arguments: VerifyArguments, format: Format) -> Result<ExitCode, CommandError> {
    let configured = Configured::read(&arguments.config)?;
    let sealer = configured.sealer()?;
    let checked = match &arguments.file {
        Some(path) => {
            let export = import::read(path).map_err(|error| {
                error.with_next(|_| {
                    "nothing after that line was looked at: use the export as it was written, or another one".to_owned()
                })
            })?;
            let records = export.records.iter().map(|record| (record.key.as_str(), &*record.value));
            backup::verify(records, &sealer)
        }
        None => check_store(&configured, &sealer).await?,
    };
    print(&checked, format)?;
    Ok(if checked.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads the store in a copy: to open one writes to it, and the engine drops what comes after damage.
async fn check_store(configured: &Configured, sealer: &KeySealer) -> Result<Checked, CommandError> {
    configured.check_present()?;
    let Some(directory) = configured.config.store.directory() else {
        let listing = configured.open(IN_USE).await?.list("").await.map_err(|error| failed(&error))?;
        let records = MovedRecord::all(&listing);
        let records = records.iter().map(|record| (record.key.as_str(), &*record.value));
        return Ok(backup::verify(records, sealer));
    };
    let unreadable = |error: &dyn std::fmt::Display| {
        let problem = format!("the store in {} cannot be read: {error}", directory.display());
        CommandError::new(problem, "nothing was looked at: see its permissions")
    };
    let in_use = || not_open(&OpenError::InUse { directory: directory.to_owned() }, IN_USE);
    if is_in_use(directory).map_err(|error| unreadable(&error))? {
        return Err(in_use());
    }
    let copy = Copy::of(directory).map_err(|error| match error {
        NoCopy::Source(error) => unreadable(&error),
        NoCopy::NoPlace => CommandError::new(
            "the store is verified in a copy, and there is no room for one in TMPDIR, /tmp or /dev/shm",
            "nothing was looked at: set TMPDIR to a folder with room",
        ),
    })?;
    // A server that started meanwhile has written while the store was copied.
    if is_in_use(directory).unwrap_or(true) {
        return Err(in_use());
    }
    let store =
        SledStore::open(copy.path(), SledOptions { image_from: None, ..SledOptions::default() }).map_err(|error| {
            let next = "what follows the damage was not looked at: restore the store from an export or a backup";
            CommandError::new(error.in_directory(directory).to_string(), next)
        })?;
    let listing = store.list("").await.map_err(|error| failed(&error))?;
    let records = listing.entries.iter().map(|(key, stored)| (key.as_str(), &*stored.value));
    Ok(backup::verify(records, sealer))
}

fn print(checked: &Checked, format: Format) -> Result<(), CommandError> {
    let (records, faults) = (checked.counts.values().sum::<usize>(), &checked.faults);
    if format == Format::Json {
        let faults = faults.iter().map(|fault| json!({ "key": fault.key, "problem": fault.wrong.to_string() }));
        return output::print_json(&json!({
            "records": records,
            "kinds": checked.counts,
            "exchange": {
                "clients": checked.exchange.clients,
                "resources": checked.exchange.resources,
                "receipt_keys": checked.exchange.receipt_keys,
            },
            "faults": faults.collect::<Vec<_>>(),
        }));
    }
    for fault in faults {
        output::print(&fault.to_string())?;
    }
    let kinds: Vec<String> = checked.counts.iter().map(|(kind, count)| format!("\n  {kind} {count}")).collect();
    let result = match faults.len() {
        0 => "nothing is wrong with them".to_owned(),
        count => format!("{count} faults"),
    };
    output::print(&format!("{records} records were read: {result}{}", kinds.concat()))?;
    if let Some(note) = of_exchange(checked.exchange) {
        output::note(&note);
    }
    Ok(())
}

/// What matters before a version without token exchange runs on this store.
fn of_exchange(found: AboutExchange) -> Option<String> {
    let AboutExchange { clients, resources, receipt_keys } = found;
    (found != AboutExchange::default()).then(|| {
        format!(
            "note: {clients} clients, {resources} resources and {receipt_keys} keys are about token exchange. Before going back to a \
             version without it, set exchange.enabled to false everywhere and wait five minutes: it takes a delegated token for its \
             subject's own. There, these clients and resources are denied everything"
        )
    })
}
