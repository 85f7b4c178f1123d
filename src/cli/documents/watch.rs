//! `list --watch` of each kind: the list, and then each change of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use tokio::time::MissedTickBehavior;
use tokio::time::interval;

use crate::apply::Document as _;
use crate::authority::clock::Clock as _;
use crate::authority::clock::SystemClock;
use crate::cli::documents::Record;
use crate::cli::documents::Registered;
use crate::cli::documents::list;
use crate::cli::documents::list::ListArguments;
use crate::cli::documents::list::Listed;
use crate::cli::error::CommandError;
use crate::cli::moment::moment;
use crate::cli::output;
use crate::cli::output::RecordFormat;

/// How long after a look at the records the next one follows.
const INTERVAL: Duration = Duration::from_secs(2);

/// How many looks in a row may fail: a minute's.
const MOST_FAILURES: u32 = 30;

/// Prints the list, and then a line for each change, until the process is ended or nobody reads any more.
pub(in crate::cli) async fn run<K: Registered>(
    arguments: &ListArguments,
    format: RecordFormat,
) -> Result<(), CommandError> {
    match format {
        RecordFormat::Text | RecordFormat::Wide | RecordFormat::Json => {}
        RecordFormat::Yaml | RecordFormat::Name => {
            return Err(CommandError::new(
                "a change is no document, and more than a name",
                "use -o text, wide or json",
            ));
        }
    }
    let Listed { mut registry, mut etags } = list::show::<K>(arguments, format).await?;
    let mut turn = interval(INTERVAL);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first is at once.
    turn.tick().await;
    let mut failures = 0;
    loop {
        turn.tick().await;
        let records = match list::all::<K>(&mut registry).await {
            Ok(records) => records,
            Err(error) if failures < MOST_FAILURES => {
                if failures == 0 {
                    output::note(&format!("not known at present, trying again: {error}"));
                }
                failures += 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        failures = 0;
        let records: Vec<Record<K>> = records.into_iter().filter(|record| arguments.wants(record)).collect();
        let present = list::etags(&records);
        for record in &records {
            let name = record.document.metadata().name();
            let change = match etags.get(name) {
                None => "added",
                Some(etag) if *etag != record.etag => "changed",
                Some(_) => continue,
            };
            if !print(change, name, Some(record), format)? {
                return Ok(());
            }
        }
        for name in gone(&etags, &present) {
            if !print::<K>("removed", name, None, format)? {
                return Ok(());
            }
        }
        etags = present;
    }
}

/// The names that are no longer there.
fn gone<'a>(before: &'a BTreeMap<String, String>, present: &BTreeMap<String, String>) -> Vec<&'a str> {
    before.keys().filter(|name| !present.contains_key(*name)).map(String::as_str).collect()
}

/// Prints one change. Returns whether there is a reader.
fn print<K: Registered>(
    change: &str,
    name: &str,
    record: Option<&Record<K>>,
    format: RecordFormat,
) -> Result<bool, CommandError> {
    let time = moment(SystemClock.now());
    output::print_while_read(&match format {
        RecordFormat::Json => json!({ "time": time, "change": change, (K::NAME): name, "record": record }).to_string(),
        RecordFormat::Text | RecordFormat::Wide | RecordFormat::Yaml | RecordFormat::Name => {
            let by = record.map(|record| format!("  by {}", record.updated_by)).unwrap_or_default();
            format!("{time}  {change:<8} {name}{by}")
        }
    })
}
