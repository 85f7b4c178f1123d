//! `lanyard export`.

use clap::Args;
use serde::Serialize;

use crate::apply::Document as _;
use crate::authority::access::GrantMetadata;
use crate::cli::client::yaml::ClientYaml;
use crate::cli::connect::ConnectionArguments;
use crate::cli::documents;
use crate::cli::documents::Record;
use crate::cli::documents::Registered;
use crate::cli::documents::list;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::resource::yaml::ResourceYaml;

#[derive(Args, Debug)]
pub(in crate::cli) struct ExportArguments {
    /// Only the registrations of this owner.
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// What is registered, in the form in which it is applied.
#[derive(Serialize)]
struct Exported<'a> {
    grants: Vec<&'a GrantMetadata>,
    clients: Vec<&'a ClientYaml>,
    resources: Vec<&'a ResourceYaml>,
}

pub(in crate::cli) async fn run(arguments: ExportArguments, format: Format) -> Result<(), CommandError> {
    let mut registry = documents::open(&arguments.connection).await?;
    let clients = list::all::<ClientYaml>(&mut registry).await?;
    let resources = list::all::<ResourceYaml>(&mut registry).await?;
    let grants = list::all::<GrantMetadata>(&mut registry).await?;
    whole(&grants)?;
    whole(&clients)?;
    whole(&resources)?;
    let owner = arguments.owner.as_deref();
    let exported =
        Exported { grants: of(&grants, owner), clients: of(&clients, owner), resources: of(&resources, owner) };
    match format {
        Format::Json => output::print_json(&exported),
        Format::Text => {
            let mut texts = texts(&exported.grants)?;
            texts.extend(self::texts(&exported.clients)?);
            texts.extend(self::texts(&exported.resources)?);
            output::print(&texts.join("---\n"))
        }
    }
}

/// Refuses records of which the server can read only the names: applied again, they would lose the rest.
fn whole<K: Registered>(records: &[Record<K>]) -> Result<(), CommandError> {
    let Some(suspended) = records.iter().find(|record| !record.suspended.is_empty()) else { return Ok(()) };
    let (name, why) = (suspended.document.metadata().name(), &suspended.suspended);
    Err(CommandError::new(
        format!("{name} is suspended: {why}"),
        "ask a server of the version that wrote the record, or delete it",
    ))
}

fn of<'a, K: Registered>(records: &'a [Record<K>], owner: Option<&str>) -> Vec<&'a K> {
    let documents = records.iter().map(|record| &record.document);
    documents.filter(|document| owner.is_none_or(|owner| document.owner() == Some(owner))).collect()
}

fn texts<K: Registered>(documents: &[&K]) -> Result<Vec<String>, CommandError> {
    documents.iter().map(|document| documents::text_of(*document)).collect()
}
