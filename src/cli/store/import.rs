//! `lanyard store import`.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::authority::backup;
use crate::authority::backup::Cutoff;
use crate::authority::backup::Export;
use crate::authority::backup::ImportError;
use crate::authority::backup::Imported;
use crate::authority::backup::Plan;
use crate::authority::backup::Replayed;
use crate::authority::clock::SystemClock;
use crate::authority::clock::Timestamp;
use crate::authority::state::Revoked;
use crate::cli::error::CommandError;
use crate::cli::moment::moment;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::progress::Progress;
use crate::cli::serve::files_for_this_user_only;
use crate::cli::store::opened::Configured;

/// Who refuses the tokens that were issued before, in the record.
const BY: &str = "lanyard store import";

/// The most keys that an error lists.
const MOST_LISTED: usize = 10;

pub(super) const IN_USE: &str = "a running server uses it: stop that server first";

#[derive(Args, Debug)]
pub(in crate::cli) struct ImportArguments {
    /// The export.
    #[arg(value_name = "FILE", required_unless_present = "clear")]
    file: Option<PathBuf>,
    /// The configuration of the stopped server, which names the store. One that is not there yet is made.
    #[arg(long, value_name = "FILE", env = "LANYARD_CONFIG")]
    config: PathBuf,
    /// Import into a store that holds records. They stay as they are; if one differs from the export's, nothing is imported.
    #[arg(long, conflicts_with = "clear")]
    merge: bool,
    /// Accept the tokens that were issued until now, although they may have been revoked after the export.
    #[arg(long, conflicts_with = "clear")]
    trust_tokens: bool,
    /// Repeat the revocations, disablings and deletions that this log in JSON has after the export; may
    /// be given several times, the oldest log first.
    #[arg(long, value_name = "FILE", conflicts_with = "clear")]
    audit: Vec<PathBuf>,
    /// Delete what an import that was interrupted has written.
    #[arg(long, conflicts_with = "file")]
    clear: bool,
}

pub(in crate::cli) async fn run(arguments: ImportArguments, format: Format) -> Result<(), CommandError> {
    files_for_this_user_only();
    let configured = Configured::read(&arguments.config)?;
    let Some(path) = &arguments.file else { return clear(&configured, format).await };
    // Everything that can be refused is read before the store is opened, which may make it.
    let sealer = configured.sealer()?;
    let mut export = read(path)?;
    let replayed = replay(&mut export, &arguments.audit)?;
    let cutoff = (!arguments.trust_tokens).then_some(Cutoff { by: BY, not_before: export.time });
    if cutoff.is_some() {
        // The new one refuses what an earlier one does.
        let earlier = Revoked::AllIssued.store_key();
        export.records.retain(|record| record.key != earlier);
    }
    let store = configured.open_or_create(IN_USE).await?;
    let plan = Plan { records: &export.records, merge: arguments.merge, cutoff };
    let progress = Progress::new("imported", Some(export.records.len()));
    let imported = backup::import(&*store, &plan, &sealer, &SystemClock, |count| progress.at(count)).await;
    drop(progress);
    let imported = imported.map_err(|error| refused(&error))?;
    drop(store);
    warn(&export, &replayed, &arguments);
    print(&imported, &replayed, &arguments, format)
}

/// Reads and verifies an export.
pub(super) fn read(path: &Path) -> Result<Export, CommandError> {
    let file = File::open(path).map_err(|error| {
        CommandError::new(
            format!("cannot read {}: {error}", path.display()),
            "name a file that `lanyard store export` wrote",
        )
    })?;
    backup::read(BufReader::new(file)).map_err(|error| {
        let problem = format!("{}: {error}", path.display());
        CommandError::new(problem, "nothing was imported: use the export as it was written, or another one")
            .not_retryable()
    })
}

fn replay(export: &mut Export, logs: &[PathBuf]) -> Result<Replayed, CommandError> {
    let time_of = |text: &str| {
        let time = humantime::parse_rfc3339(text).ok()?;
        time.duration_since(std::time::SystemTime::UNIX_EPOCH).ok().map(|since| Timestamp(since.as_secs()))
    };
    let mut replayed = Replayed::default();
    for path in logs {
        let unread = |error: &dyn std::fmt::Display| {
            let problem = format!("{}: {error}", path.display());
            CommandError::new(problem, "nothing was imported: name a log that a server wrote with `log.format: json`")
        };
        let log = File::open(path).map_err(|error| unread(&error))?;
        backup::replay(export, BufReader::new(log), time_of, &mut replayed).map_err(|error| unread(&error))?;
    }
    Ok(replayed)
}

async fn clear(configured: &Configured, format: Format) -> Result<(), CommandError> {
    let store = configured.open(IN_USE).await?;
    let cleared = backup::clear(&*store).await.map_err(|error| refused(&error))?;
    match format {
        Format::Json => output::print_json(&json!({ "result": "cleared", "records": cleared })),
        Format::Text => output::print(&format!("the import is cleared: {cleared} records deleted")),
    }
}

/// The error for an import that was refused, or failed.
pub(super) fn refused(error: &ImportError) -> CommandError {
    let listed = |keys: &mut dyn Iterator<Item = String>| keys.take(MOST_LISTED).collect::<Vec<_>>().join(", ");
    let (problem, next) = match error {
        ImportError::Store(_) => (
            error.to_string(),
            "see that the disk has room and works, and run the same command again: it goes on where it ended".to_owned(),
        ),
        ImportError::InUse(_) => {
            let next = "stop all servers on this store; one that was killed counts for a few seconds more";
            (error.to_string(), next.to_owned())
        }
        ImportError::NotEmpty { .. } => {
            let next = "name an empty store; or add --merge to keep what is there, which changes none of it";
            (error.to_string(), next.to_owned())
        }
        ImportError::Conflicts(keys) => (
            format!("{error}: {}", listed(&mut keys.iter().cloned())),
            "nothing was imported: delete or change those records on one of the two sides, or import into an empty store"
                .to_owned(),
        ),
        ImportError::Unfinished => {
            let next = "finish that one first, by the same command again, or delete what it wrote with \
                        `lanyard store import --clear`";
            (error.to_string(), next.to_owned())
        }
        ImportError::Finished => (error.to_string(), "nothing needs to be cleared".to_owned()),
        ImportError::Faults(faults) => (
            format!("{error}: {}", listed(&mut faults.iter().map(ToString::to_string))),
            "nothing was imported: a server would not start on them. If it is signing keys that do not open, configure the \
             key-encryption key that they were sealed with"
                .to_owned(),
        ),
        ImportError::Unserializable => (error.to_string(), "report this".to_owned()),
    };
    CommandError::new(problem, next)
}

/// What is lost, and what was repeated of it.
fn warn(export: &Export, replayed: &Replayed, arguments: &ImportArguments) {
    let made = moment(export.time);
    if arguments.audit.is_empty() {
        output::note(&format!(
            "warning: what was revoked, disabled, deleted or changed after the export was made, at {made}, is lost: repeat it \
             before you let requests in, or import with --audit"
        ));
    } else {
        output::note(&format!(
            "note: after the export was made, at {made}, the logs have {} revocations, {} that were lifted, {} \
             revoked signing keys, {} disabled clients and {} deletions, which were repeated",
            replayed.revoked, replayed.lifted, replayed.keys_revoked, replayed.disabled, replayed.deleted
        ));
        for key in &replayed.not_replayed {
            output::note(&format!(
                "warning: {key} was registered or changed after the export: apply its document again"
            ));
        }
    }
}

fn print(
    imported: &Imported,
    replayed: &Replayed,
    arguments: &ImportArguments,
    format: Format,
) -> Result<(), CommandError> {
    let Imported { written, present, expired, resumed } = imported;
    if format == Format::Json {
        return output::print_json(&json!({
            "result": "imported",
            "written": written,
            "present": present,
            "expired": expired,
            "resumed": resumed,
            "tokens_refused": !arguments.trust_tokens,
            "repeated": {
                "revoked": replayed.revoked,
                "lifted": replayed.lifted,
                "keys_revoked": replayed.keys_revoked,
                "disabled": replayed.disabled,
                "deleted": replayed.deleted,
            },
            "not_repeated": replayed.not_replayed,
        }));
    }
    let present = if *present > 0 { format!(", {present} were there already") } else { String::new() };
    let expired = if *expired > 0 { format!(", {expired} have expired") } else { String::new() };
    let tokens = if arguments.trust_tokens { "" } else { "\ntokens that were issued until now are refused" };
    output::print(&format!("{written} records imported{present}{expired}{tokens}"))
}
