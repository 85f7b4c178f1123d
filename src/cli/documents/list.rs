//! `lanyard client list` and `lanyard resource list`.

use std::collections::BTreeMap;

use clap::Args;

use crate::apply::Document as _;
use crate::apply::Registry;
use crate::authority::observe::matches;
use crate::cli::connect::ConnectionArguments;
use crate::cli::documents;
use crate::cli::documents::Record;
use crate::cli::documents::Registered;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::RecordFormat;
use crate::cli::revocation::ListedRevocation;
use crate::cli::status;
use crate::cli::table::rows;
use crate::client::connection::Channel;

#[derive(Args, Debug)]
pub(in crate::cli) struct ListArguments {
    /// Only those whose name is this; `*` stands for any text.
    #[arg(value_name = "PATTERN")]
    pattern: Option<String>,
    /// Only those of this owner.
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// Only clients that authenticate by this method.
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
    /// Leave out the header of the table.
    #[arg(long)]
    no_headers: bool,
    /// Then print each change, as it is seen every two seconds, until this is ended.
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// What was listed.
pub(in crate::cli::documents) struct Listed {
    pub(in crate::cli::documents) registry: Registry<Channel>,
    /// The etag of each record, by its name.
    pub(in crate::cli::documents) etags: BTreeMap<String, String>,
}

impl ListArguments {
    /// Whether changes are asked for.
    pub(in crate::cli) fn is_watch(&self) -> bool {
        self.watch
    }

    /// Whether a record is one of those that are asked for.
    pub(in crate::cli::documents) fn wants<K: Registered>(&self, record: &Record<K>) -> bool {
        let document = &record.document;
        self.pattern.as_deref().is_none_or(|pattern| matches(pattern, document.metadata().name()))
            && self.owner.as_deref().is_none_or(|owner| document.owner() == Some(owner))
            && self.method.as_deref().is_none_or(|method| document.method() == Some(method))
    }
}

pub(in crate::cli) async fn run<K: Registered>(
    arguments: &ListArguments,
    format: RecordFormat,
) -> Result<(), CommandError> {
    show::<K>(arguments, format).await.map(drop)
}

/// Prints the list.
pub(in crate::cli::documents) async fn show<K: Registered>(
    arguments: &ListArguments,
    format: RecordFormat,
) -> Result<Listed, CommandError> {
    let channel = arguments.connection.open().await?;
    let mut registry = documents::registry(channel.clone());
    let all = all::<K>(&mut registry).await?;
    let is_partial = arguments.pattern.is_some() || arguments.owner.is_some() || arguments.method.is_some();
    let notes = if is_partial { Vec::new() } else { notes::<K>(&all) };
    let mut records: Vec<Record<K>> = all.into_iter().filter(|record| arguments.wants(record)).collect();
    let shows_revocations = match format {
        RecordFormat::Text | RecordFormat::Wide | RecordFormat::Json => K::IS_REVOCABLE,
        RecordFormat::Name | RecordFormat::Yaml => false,
    };
    if shows_revocations {
        let revocations = documents::revocations::<K>(channel).await?;
        records = records.into_iter().map(|record| record.with_revocations(&revocations)).collect();
    }
    match format {
        RecordFormat::Json => output::print_json(&records)?,
        RecordFormat::Yaml => {
            let texts: Vec<String> = records.iter().map(Record::text).collect::<Result<_, _>>()?;
            output::print(&texts.join("---\n"))?;
        }
        RecordFormat::Name => {
            for record in &records {
                output::print(record.document.metadata().name())?;
            }
        }
        RecordFormat::Text | RecordFormat::Wide => {
            let is_wide = format == RecordFormat::Wide;
            let lines = records.iter().map(|record| row(record, is_wide));
            let header = (!arguments.no_headers).then(|| header::<K>(is_wide));
            let table: Vec<Vec<String>> = header.into_iter().chain(lines).collect();
            if !table.is_empty() {
                output::print(&rows(&table))?;
            }
        }
    }
    for record in records.iter().filter(|record| !record.suspended.is_empty()) {
        output::note(&format!("note: {} is suspended: {}", record.document.metadata().name(), record.suspended));
    }
    for note in notes {
        output::note(&note);
    }
    Ok(Listed { registry, etags: etags(&records) })
}

/// The etag of each record, by its name.
pub(in crate::cli::documents) fn etags<K: Registered>(records: &[Record<K>]) -> BTreeMap<String, String> {
    records.iter().map(|record| (record.document.metadata().name().to_owned(), record.etag.clone())).collect()
}

fn header<K: Registered>(is_wide: bool) -> Vec<String> {
    let revoked = K::IS_REVOCABLE.then_some("REVOKED");
    let more: &[&str] = if is_wide { &["OWNED_BY", "UPDATE_TIME", "UPDATED_BY", "ETAG"] } else { &[] };
    K::HEADER.iter().copied().chain(revoked).chain(more.iter().copied()).map(ToOwned::to_owned).collect()
}

fn row<K: Registered>(record: &Record<K>, is_wide: bool) -> Vec<String> {
    let or_dash = |text: Option<&str>| text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned();
    let mut cells = record.document.row().to_vec();
    cells.extend(K::IS_REVOCABLE.then(|| revoked(&record.revocations)));
    if is_wide {
        cells.push(or_dash(record.document.owner()));
        cells.push(or_dash(record.update_time.as_deref()));
        cells.push(or_dash(Some(&record.updated_by)));
        cells.push(record.etag.clone());
    }
    cells
}

fn notes<K: Registered>(records: &[Record<K>]) -> Vec<String> {
    let registered: Vec<&K::Metadata> = records.iter().map(|record| record.document.metadata()).collect();
    K::notes(&registered)
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
