//! `lanyard client list` and `lanyard resource list`.

use clap::Args;

use crate::apply::Document as _;
use crate::apply::Registry;
use crate::cli::connect::ConnectionArguments;
use crate::cli::documents;
use crate::cli::documents::Record;
use crate::cli::documents::Registered;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::revocation::ListedRevocation;
use crate::cli::status;
use crate::cli::table::table;
use crate::client::connection::Channel;

#[derive(Args, Debug)]
pub(in crate::cli) struct ListArguments {
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(in crate::cli) async fn run<K: Registered>(arguments: ListArguments, format: Format) -> Result<(), CommandError> {
    let channel = arguments.connection.open().await?;
    let mut registry = documents::registry(channel.clone());
    let records = all::<K>(&mut registry).await?;
    let revocations = documents::revocations::<K>(channel).await?;
    let records: Vec<Record<K>> = records.into_iter().map(|record| record.with_revocations(&revocations)).collect();
    match format {
        Format::Json => output::print_json(&records)?,
        Format::Text if K::IS_REVOCABLE => {
            let [first, second, third, fourth, fifth] = K::HEADER;
            let header = [first, second, third, fourth, fifth, "REVOKED"];
            let row = |record: &Record<K>| {
                let [first, second, third, fourth, fifth] = record.document.row();
                [first, second, third, fourth, fifth, revoked(&record.revocations)]
            };
            output::print(&table(header, records.iter().map(row)))?;
        }
        Format::Text => output::print(&table(K::HEADER, records.iter().map(|record| record.document.row())))?,
    }
    let registered: Vec<&K::Metadata> = records.iter().map(|record| record.document.metadata()).collect();
    for note in K::notes(&registered) {
        output::note(&note);
    }
    Ok(())
}

/// All records, in the order of their names.
pub(in crate::cli) async fn all<K: Registered>(
    registry: &mut Registry<Channel>,
) -> Result<Vec<Record<K>>, CommandError> {
    let mut records: Vec<Record<K>> = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = K::Metadata::page(registry, page_token).await;
        let (messages, next) = page.map_err(|status| status::explain(&status, K::NEEDS))?;
        for message in messages {
            records.push(Record::read(message)?);
        }
        if next.is_empty() {
            return Ok(records);
        }
        page_token = next;
    }
}

/// The kinds of the revocations that are in effect.
fn revoked(revocations: &[ListedRevocation]) -> String {
    let mut kinds: Vec<&str> = revocations.iter().filter(|one| one.in_effect).map(|one| one.kind).collect();
    kinds.dedup();
    if kinds.is_empty() { "-".to_owned() } else { kinds.join(",") }
}
