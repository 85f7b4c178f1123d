//! `lanyard client apply` and `lanyard resource apply`.

use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;
use serde_json::json;
use tonic::Code;
use tonic::Status;

use crate::cli::connect::ConnectionArguments;
use crate::cli::documents;
use crate::cli::documents::Registered;
use crate::cli::documents::Registry;
use crate::cli::documents::sources;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::status;

/// How often a change is made anew because somebody else changed the same record in between.
const ATTEMPTS: usize = 4;

#[derive(Args, Debug)]
pub(in crate::cli) struct ApplyArguments {
    /// A YAML file of one or more documents, a directory of *.yaml and *.yml files, or - for stdin.
    ///
    /// Each document stands for the whole: a field that is left out gets its default, also if it was set before. All
    /// documents are checked, by the server too, before the first is written.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-")]
    filename: PathBuf,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// What became of a document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Change {
    Created,
    Updated,
    Unchanged,
}

pub(in crate::cli) async fn run<K: Registered>(arguments: ApplyArguments, format: Format) -> Result<(), CommandError> {
    let documents: Vec<K> = sources::read(&arguments.filename)?;
    let mut registry = documents::open(&arguments.connection).await?;
    // The first round only asks, so that a document which the server refuses is found before anything is written.
    let checked = round(&mut registry, &documents, true, format, arguments.dry_run).await;
    if arguments.dry_run {
        return checked;
    }
    checked.map_err(|error| error.of("nothing was written"))?;
    round(&mut registry, &documents, false, format, true).await
}

/// Applies a file without a word.
pub(in crate::cli) async fn quietly<K: Registered>(
    filename: &Path,
    connection: &ConnectionArguments,
) -> Result<(), CommandError> {
    let documents: Vec<K> = sources::read(filename)?;
    let mut registry = documents::open(connection).await?;
    round(&mut registry, &documents, false, Format::Text, false).await
}

/// Applies every document, and says what became of each; what was done before a failure is said too.
async fn round<K: Registered>(
    registry: &mut Registry,
    documents: &[K],
    dry_run: bool,
    format: Format,
    tell: bool,
) -> Result<(), CommandError> {
    let mut done = Vec::new();
    let mut failure = None;
    for document in documents {
        match apply(registry, document, dry_run).await {
            Ok(change) => {
                if tell && format == Format::Text {
                    output::print(&format!("{} {}", document.name(), change.sentence(dry_run)))?;
                }
                done.push(applied(document, change, dry_run));
            }
            Err(status) => {
                failure = Some(status::explain(&status, K::NEEDS).of(document.name()));
                break;
            }
        }
    }
    if tell && format == Format::Json {
        output::print_json(&done)?;
    }
    failure.map_or(Ok(()), Err)
}

async fn apply<K: Registered>(registry: &mut Registry, document: &K, validate_only: bool) -> Result<Change, Status> {
    let mut last = Status::aborted("");
    for _ in 0..ATTEMPTS {
        let written = match K::read(registry, document.name()).await {
            Ok(present) => {
                let wanted = document.message(K::etag(&present).to_owned());
                let updated = K::update(registry, wanted, validate_only).await;
                // A write that changes nothing leaves the etag as it was; so does one that was only checked, where the
                // contents tell.
                updated.map(|updated| if present == updated { Change::Unchanged } else { Change::Updated })
            }
            Err(status) if status.code() == Code::NotFound => {
                let created = K::create(registry, document.message(String::new()), validate_only).await;
                created.map(|_| Change::Created)
            }
            Err(status) => return Err(status),
        };
        match written {
            // Changed, registered or deleted by somebody else since it was read.
            Err(status) if matches!(status.code(), Code::Aborted | Code::AlreadyExists | Code::NotFound) => {
                last = status;
            }
            decided => return decided,
        }
    }
    Err(last)
}

fn applied<K: Registered>(document: &K, change: Change, dry_run: bool) -> Value {
    json!({ (K::NAME): document.name(), "result": change.sentence(false), "dry_run": dry_run })
}

impl Change {
    fn sentence(self, dry_run: bool) -> &'static str {
        match (self, dry_run) {
            (Self::Created, false) => "created",
            (Self::Created, true) => "would be created",
            (Self::Updated, false) => "updated",
            (Self::Updated, true) => "would be updated",
            (Self::Unchanged, _) => "unchanged",
        }
    }
}
