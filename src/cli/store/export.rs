//! `lanyard store export`.

use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::authority::backup::Export;
use crate::authority::backup::UnfinishedImport;
use crate::authority::clock::Clock as _;
use crate::authority::clock::SystemClock;
use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::cli::store::opened::Configured;
use crate::cli::store::opened::failed;
use crate::cli::store::out::Out;
use crate::proto::ExportStoreRequest;
use crate::proto::admin_service_client::AdminServiceClient;

#[derive(Args, Debug)]
pub(in crate::cli) struct ExportArguments {
    // The first: where `config` is given, nothing is asked of the connection.
    #[command(flatten)]
    connection: ConnectionArguments,
    /// The configuration of a stopped server, whose store is read. Left out: the running server is asked.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write the export to this file instead of stdout. It is there only when it is whole, and only its owner may read it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(in crate::cli) async fn run(arguments: ExportArguments, format: Format) -> Result<(), CommandError> {
    let mut out = Out::open(arguments.out.as_deref())?;
    match &arguments.config {
        Some(config) => from_store(config, &mut out).await?,
        None => from_server(&arguments.connection, &mut out).await?,
    }
    let Some(written) = out.finish()? else { return Ok(()) };
    let (records, revision) = (written.records, written.revision);
    match format {
        Format::Json => output::print_json(&json!({ "result": "exported", "records": records, "revision": revision })),
        Format::Text => output::print(&format!("{records} records exported, as of revision {revision}")),
    }
}

async fn from_store(config: &Path, out: &mut Out) -> Result<(), CommandError> {
    let in_use = "a running server uses it: leave out --config to export from that server, or stop it first";
    let store = Configured::read(config)?.open(in_use).await?;
    if let Some(unfinished) = UnfinishedImport::find(&*store).await.map_err(|error| failed(&error))? {
        return Err(CommandError::new(unfinished.to_string(), "finish the import first, by the same command again"));
    }
    let listing = store.list("").await.map_err(|error| failed(&error))?;
    let progress = out.progress(Some(listing.entries.len()));
    for (count, line) in Export::of(&listing, SystemClock.now()).into_lines().enumerate() {
        if let Some(progress) = &progress {
            progress.at(count);
        }
        let line = line.map_err(|error| {
            CommandError::new(format!("a record cannot be exported: {error}"), "`lanyard store verify` names it")
        })?;
        out.write(&line)?;
    }
    Ok(())
}

async fn from_server(connection: &ConnectionArguments, out: &mut Out) -> Result<(), CommandError> {
    let explain = |error| status::explain(&error, Needs::Store);
    let mut admin = AdminServiceClient::new(connection.open().await?);
    let mut messages = admin.export_store(ExportStoreRequest {}).await.map_err(explain)?.into_inner();
    let (progress, mut lines) = (out.progress(None), 0);
    while let Some(message) = messages.message().await.map_err(explain)? {
        lines += message.data.split(|byte| *byte == b'\n').skip(1).count();
        if let Some(progress) = &progress {
            progress.at(lines);
        }
        out.write(&message.data)?;
    }
    Ok(())
}
