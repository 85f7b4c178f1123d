//! `lanyard store migrate`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::authority::backup;
use crate::authority::backup::ImportError;
use crate::authority::backup::MovedRecord;
use crate::authority::backup::Plan;
use crate::authority::backup::UnfinishedImport;
use crate::authority::clock::SystemClock;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::progress::Progress;
use crate::cli::serve::files_for_this_user_only;
use crate::cli::store::import::IN_USE;
use crate::cli::store::import::refused;
use crate::cli::store::opened::Configured;
use crate::cli::store::opened::failed;

#[derive(Args, Debug)]
pub(in crate::cli) struct MigrateArguments {
    /// The configuration of the stopped server whose store is copied.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The configuration with the store that it is copied into. One that is not there yet is made. Its key-encryption key
    /// must be the same.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

pub(in crate::cli) async fn run(arguments: MigrateArguments, format: Format) -> Result<(), CommandError> {
    files_for_this_user_only();
    let (from, to) = (Configured::read(&arguments.from)?, Configured::read(&arguments.to)?);
    let sealer = to.sealer()?;
    // It stays open, so that no server writes to it meanwhile.
    let source = from.open(IN_USE).await?;
    if let Some(unfinished) = UnfinishedImport::find(&*source).await.map_err(|error| failed(&error))? {
        return Err(CommandError::new(unfinished.to_string(), "finish the import first, by the same command again"));
    }
    let listing = source.list("").await.map_err(|error| failed(&error))?;
    if let Some(server) = backup::in_use(&listing) {
        return Err(refused(&ImportError::InUse(server.to_owned())));
    }
    let records = MovedRecord::all(&listing);
    let in_use = "a server or this command uses it: name another store with --to, or stop that server";
    let target = to.open_or_create(in_use).await?;
    let plan = Plan { records: &records, merge: false, cutoff: None };
    let progress = Progress::new("copied", Some(records.len()));
    let copied = backup::import(&*target, &plan, &sealer, &SystemClock, |count| progress.at(count)).await;
    drop(progress);
    let copied = copied.map_err(|error| {
        let not_empty = matches!(error, ImportError::NotEmpty { .. });
        let next = "name an empty store with --to: a migration merges nothing";
        refused(&error).with_next(|other| if not_empty { next } else { other }.to_owned())
    })?;
    let records = copied.written + copied.present;
    match format {
        Format::Json => {
            output::print_json(&json!({ "result": "migrated", "records": records, "expired": copied.expired }))
        }
        Format::Text => output::print(&format!(
            "{records} records copied\nstart servers with the configuration {} alone, and keep the old store until you are \
             sure",
            arguments.to.display()
        )),
    }
}
