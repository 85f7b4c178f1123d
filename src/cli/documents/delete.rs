//! `lanyard client delete` and `lanyard resource delete`.

use clap::Args;
use serde_json::json;

use crate::apply::Document as _;
use crate::cli::confirm;
use crate::cli::connect::ConnectionArguments;
use crate::cli::documents;
use crate::cli::documents::Registered;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::status;

/// The value name of `name` depends on the kind and is set where the command is listed.
#[derive(Args, Debug)]
pub(in crate::cli) struct DeleteArguments {
    #[arg(value_name = "NAME")]
    name: String,
    /// Delete it only if this is still its etag, as `get` shows it.
    #[arg(long)]
    etag: Option<String>,
    /// Why: it is kept with the change.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Delete it without asking, also if much depends on it: a pattern, or a resource that clients name in their audience.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(in crate::cli) async fn run<K: Registered>(arguments: DeleteArguments, format: Format) -> Result<(), CommandError> {
    let DeleteArguments { name, etag, reason, yes, connection } = arguments;
    let mut registry = documents::open(&connection).await?;
    if !yes && let Some(impact) = K::deletion_impact(&mut registry, &name).await? {
        confirm::require(&impact).await?;
    }
    let deleted = K::Metadata::delete(&mut registry, name.clone(), etag.unwrap_or_default(), &reason).await;
    deleted.map_err(|status| status::explain(&status, K::NEEDS).of(&name))?;
    match format {
        Format::Json => output::print_json(&json!({ (K::NAME): name, "result": "deleted" }))?,
        Format::Text => output::print(&format!("{name} deleted"))?,
    }
    if let Some(note) = K::deletion_note(&name) {
        output::note(&note);
    }
    Ok(())
}
