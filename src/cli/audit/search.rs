//! `lanyard audit search`.

use std::fmt::Write as _;
use std::fs::File;
use std::io::BufRead as _;
use std::io::BufReader;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::authority::clock::Clock as _;
use crate::authority::clock::SystemClock;
use crate::authority::clock::Timestamp;
use crate::authority::observe::matches;
use crate::cli::error::CommandError;
use crate::cli::moment;
use crate::cli::output;
use crate::cli::output::Format;
use crate::telemetry::trail::record_in;

/// The most records that are printed if `--limit` names no other number.
const LIMIT: usize = 1000;

/// The members of a line that the text names first, and those that say nothing to people.
const OTHERS: [&str; 7] = ["time", "event", "outcome", "chain", "sequence", "previous", "severity"];

#[derive(Args, Debug)]
pub(in crate::cli) struct SearchArguments {
    /// The files, in the order in which their records are printed.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Only records of this event, such as `token_issued`.
    #[arg(long, value_name = "EVENT")]
    event: Option<String>,
    /// Only records with this reason, such as `CERTIFICATE_MISMATCH`.
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// Only records about this client, or tokens of this registration: a name, in which `*` stands for any text.
    #[arg(long, value_name = "PATTERN")]
    client: Option<String>,
    /// Only records about this resource: an audience, in which `*` stands for any text.
    #[arg(long, value_name = "PATTERN")]
    resource: Option<String>,
    /// Only records of who did it, by certificate or by address: a name, in which `*` stands for any text.
    #[arg(long, value_name = "PATTERN")]
    actor: Option<String>,
    /// Only records with this revision: of a change, and of the tokens that were issued by what it made.
    #[arg(long, value_name = "NUMBER")]
    revision: Option<u64>,
    /// Only records of the request with this trace ID.
    #[arg(long, value_name = "ID")]
    trace: Option<String>,
    /// Only records from this time on: in RFC 3339 form, or how long ago, such as `2h`.
    #[arg(long, value_name = "TIME", value_parser = moment_of)]
    since: Option<Timestamp>,
    /// Only records until this time: in the same forms.
    #[arg(long, value_name = "TIME", value_parser = moment_of)]
    until: Option<Timestamp>,
    /// The most records to print; how many more there are is said at the end.
    #[arg(long, value_name = "NUMBER", default_value_t = LIMIT)]
    limit: usize,
}

/// Reads a time in RFC 3339 form, or how long ago it was.
fn moment_of(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(SystemClock.now().before(ago));
    }
    let time = humantime::parse_rfc3339_weak(text).ok();
    let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    let problem = || "neither a time such as 2026-11-30T14:03:00Z nor a duration such as 2h".to_owned();
    since.map(|since| Timestamp(since.as_secs())).ok_or_else(problem)
}

impl SearchArguments {
    fn wants(&self, record: &Map<String, Value>) -> bool {
        let text = |name: &str| record.get(name).and_then(Value::as_str);
        let number = |name: &str| record.get(name).and_then(Value::as_u64);
        let is = |asked: &Option<String>, name: &str| asked.as_deref().is_none_or(|asked| text(name) == Some(asked));
        let is_like = |asked: &Option<String>, names: &[&str]| {
            asked
                .as_deref()
                .is_none_or(|asked| names.iter().filter_map(|name| text(name)).any(|name| matches(asked, name)))
        };
        let time = number("time").map(Timestamp);
        is(&self.event, "event")
            && is(&self.reason, "reason")
            && is(&self.trace, "trace_id")
            && is_like(&self.client, &["client_id", "registration"])
            && is_like(&self.resource, &["resource", "requested"])
            && is_like(&self.actor, &["actor", "caller", "spiffe_id", "principal", "remote"])
            && self.revision.is_none_or(|revision| number("revision") == Some(revision))
            && self.since.is_none_or(|since| time.is_some_and(|time| time >= since))
            && self.until.is_none_or(|until| time.is_some_and(|time| time <= until))
    }
}

pub(in crate::cli) fn run(arguments: &SearchArguments, format: Format) -> Result<(), CommandError> {
    let (mut found, mut more, mut unread) = (Vec::new(), 0_u64, 0_u64);
    for file in &arguments.files {
        let unreadable = |error| CommandError::unreadable(file.display(), &error);
        for line in BufReader::new(File::open(file).map_err(unreadable)?).split(b'\n') {
            let line = line.map_err(unreadable)?;
            let record = record_in(&line).map(serde_json::from_slice::<Map<String, Value>>);
            let Some(Ok(record)) = record else {
                unread += 1;
                continue;
            };
            if !arguments.wants(&record) {
                continue;
            }
            if found.len() < arguments.limit {
                found.push(record);
            } else {
                more += 1;
            }
        }
    }
    match format {
        Format::Json => output::print_json(&json!({"records": found, "more": more, "unread_lines": unread}))?,
        Format::Text => {
            found.iter().try_for_each(|record| output::print(&line(record)))?;
            if more > 0 {
                output::note(&format!("{more} more: narrow the search, or ask for more with --limit"));
            }
            if unread > 0 {
                output::note(&format!("{unread} lines are no records: `lanyard audit verify` says which"));
            }
        }
    }
    Ok(())
}

fn line(record: &Map<String, Value>) -> String {
    let time = record.get("time").and_then(Value::as_u64).unwrap_or_default();
    let first = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default().replace('_', " ");
    let mut line = format!("{} {} {}", moment::moment(Timestamp(time)), first("event"), first("outcome"));
    for (name, value) in record.iter().filter(|(name, _)| !OTHERS.contains(&name.as_str())) {
        let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        let is_plain = !value.chars().any(|character| character.is_whitespace() || character.is_control());
        let quoted = if is_plain { value } else { format!("{value:?}") };
        let _written = write!(line, " {name}={quoted}").is_ok();
    }
    line.trim_end().to_owned()
}
