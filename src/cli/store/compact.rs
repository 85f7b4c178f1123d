//! `lanyard store compact`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::serve::files_for_this_user_only;
use crate::cli::store::import::IN_USE;
use crate::cli::store::opened::Configured;
use crate::cli::store::opened::not_open;
use crate::store::sled::compact;

#[derive(Args, Debug)]
pub(in crate::cli) struct CompactArguments {
    /// The configuration of the stopped server, which names the store.
    #[arg(long, value_name = "FILE", env = "LANYARD_CONFIG")]
    config: PathBuf,
}

pub(in crate::cli) fn run(arguments: &CompactArguments, format: Format) -> Result<(), CommandError> {
    files_for_this_user_only();
    let configured = Configured::read(&arguments.config)?;
    configured.check_present()?;
    let instead = "etcd does it: `etcdctl compact`, then `etcdctl defrag`; or let it compact by itself";
    let compacted = compact(configured.directory(instead)?).map_err(|error| not_open(&error, IN_USE))?;
    let (records, before, after) = (compacted.records, compacted.before, compacted.after);
    match format {
        Format::Json => output::print_json(&json!({
            "result": "compacted",
            "records": records,
            "bytes_before": before,
            "bytes_after": after,
        })),
        Format::Text => output::print(&format!("{records} records rewritten: {before} bytes before, {after} now")),
    }
}
