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
use crate::cli::status;
use crate::client::connection::Channel;

#[derive(Args, Debug)]
pub(in crate::cli) struct ListArguments {
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(in crate::cli) async fn run<K: Registered>(arguments: ListArguments, format: Format) -> Result<(), CommandError> {
    let mut registry = documents::open(&arguments.connection).await?;
    let records = all::<K>(&mut registry).await?;
    match format {
        Format::Json => output::print_json(&records)?,
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

/// Formats rows under a header, with columns as wide as their widest cell. A line break in a cell does not start a new
/// line.
pub(in crate::cli) fn table(header: [&str; 5], rows: impl Iterator<Item = [String; 5]>) -> String {
    let rows = rows.map(|row| row.map(|cell| cell.replace('\n', "\\n")));
    let rows: Vec<[String; 5]> = std::iter::once(header.map(ToOwned::to_owned)).chain(rows).collect();
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; 5]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
