//! `lanyard history`, `lanyard show` and `lanyard rollback`.

use clap::Args;
use clap::ValueEnum;
use serde_json::Value;
use serde_json::json;

use crate::apply::Conditions;
use crate::apply::Difference;
use crate::apply::Document as _;
use crate::apply::Journal;
use crate::apply::Mode;
use crate::apply::Registry;
use crate::apply::check;
use crate::apply::differences;
use crate::apply::write;
use crate::authority::access::GrantMetadata;
use crate::cli::client::yaml::ClientYaml;
use crate::cli::connect::ConnectionArguments;
use crate::cli::documents;
use crate::cli::documents::Kind;
use crate::cli::documents::Registered;
use crate::cli::documents::apply::print;
use crate::cli::documents::apply::proposed;
use crate::cli::documents::apply::refusal;
use crate::cli::documents::apply::waiting;
use crate::cli::documents::diff;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::resource::yaml::ResourceYaml;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::client::connection::Channel;
use crate::proto::ListChangesRequest;
use crate::proto::RegistrationChange;
use crate::proto::list_changes_request::Registration as Named;
use crate::proto::registration_change::After;
use crate::proto::registration_change::Before;

/// What has a history.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kept {
    Client,
    Resource,
    Grant,
    /// A signing key.
    Key,
    /// A revocation: who lifted it.
    Revocation,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct HistoryArguments {
    /// Of what.
    #[arg(value_enum)]
    kind: Kept,
    /// The client's `client_id`, the resource's audience, the grant's name or the key's `kid`, also of one that is deleted; of
    /// a revocation its key in the store, as `revoked` in the audit trail.
    // A `kid` is base64url, which may begin with a hyphen.
    #[arg(value_name = "NAME", allow_hyphen_values = true)]
    name: String,
    #[command(flatten)]
    connection: ConnectionArguments,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct ShowArguments {
    /// The kind of registration.
    #[arg(value_enum)]
    kind: Kind,
    /// The client's `client_id`, the resource's audience or the grant's name, and after an `@` the number of the change that made it so, as
    /// `lanyard history` prints it.
    #[arg(value_name = "NAME@NUMBER", value_parser = Then::parse)]
    then: Then,
    #[command(flatten)]
    connection: ConnectionArguments,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct RollbackArguments {
    /// The kind of registration.
    #[arg(value_enum)]
    kind: Kind,
    /// The client's `client_id`, the resource's audience or the grant's name, and after an `@` the number of the change that made it so, as
    /// `lanyard history` prints it.
    #[arg(value_name = "NAME@NUMBER", value_parser = Then::parse)]
    then: Then,
    /// Why: it is kept with the change. Left out, it names the number.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Let `mode: report` of a resource replace `mode: enforce`: what is denied now would pass.
    #[arg(long)]
    allow_report: bool,
    /// Only print what would be done.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// A registration as it was at some time.
#[derive(Clone, Debug)]
struct Then {
    name: String,
    number: u64,
}

impl Then {
    fn parse(text: &str) -> Result<Self, String> {
        match text.rsplit_once('@') {
            Some((name, number))
                if !name.is_empty()
                    && let Ok(number) = number.parse() =>
            {
                Ok(Self { name: name.to_owned(), number })
            }
            _ => Err("expected NAME@NUMBER, with the number of a change that `lanyard history` prints".to_owned()),
        }
    }
}

pub(in crate::cli) async fn run(arguments: HistoryArguments, format: Format) -> Result<(), CommandError> {
    let HistoryArguments { kind, name, connection } = arguments;
    let mut registry = documents::open(&connection).await?;
    match kind {
        Kept::Client => history::<ClientYaml>(&mut registry, &name, format).await,
        Kept::Resource => history::<ResourceYaml>(&mut registry, &name, format).await,
        Kept::Grant => history::<GrantMetadata>(&mut registry, &name, format).await,
        Kept::Key => states(&mut registry, Named::KeyId(name), format).await,
        Kept::Revocation => states(&mut registry, Named::Revoked(name), format).await,
    }
}

pub(in crate::cli) async fn show(arguments: ShowArguments, format: Format) -> Result<(), CommandError> {
    let ShowArguments { kind, then, connection } = arguments;
    let mut registry = documents::open(&connection).await?;
    match kind {
        Kind::Client => print_as(&as_of::<ClientYaml>(&mut registry, &then).await?, format),
        Kind::Resource => print_as(&as_of::<ResourceYaml>(&mut registry, &then).await?, format),
        Kind::Grant => print_as(&as_of::<GrantMetadata>(&mut registry, &then).await?, format),
    }
}

pub(in crate::cli) async fn roll_back(arguments: RollbackArguments, format: Format) -> Result<(), CommandError> {
    let mut registry = documents::open(&arguments.connection).await?;
    match arguments.kind {
        Kind::Client => roll_back_to::<ClientYaml>(&mut registry, &arguments, format).await,
        Kind::Resource => roll_back_to::<ResourceYaml>(&mut registry, &arguments, format).await,
        Kind::Grant => roll_back_to::<GrantMetadata>(&mut registry, &arguments, format).await,
    }
}

/// The changes of a registration that are kept, the oldest first.
async fn changes<K: Registered>(
    registry: &mut Registry<Channel>,
    name: &str,
) -> Result<Vec<RegistrationChange>, CommandError> {
    let changes = K::Metadata::history(registry, name.to_owned()).await;
    changes.map_err(|status| status::explain(&status, K::NEEDS).of(name))
}

async fn history<K: Registered>(
    registry: &mut Registry<Channel>,
    name: &str,
    format: Format,
) -> Result<(), CommandError> {
    let mut entries = Vec::new();
    for change in changes::<K>(registry, name).await? {
        let (before, after) = read::<K>(&change)?;
        // Of what is not known, and is not nothing, no field is said to have changed.
        let is_new = change.change == "created" || change.change == "registered";
        let is_unknown = (change.change != "deleted" && after.is_none()) || (!is_new && before.is_none());
        let [from, to] = [&before, &after].map(|document| document.as_ref().map(K::metadata));
        let differences = if is_unknown { Vec::new() } else { differences(&from, &to) };
        entries.push((change, is_unknown, differences));
    }
    match format {
        Format::Text => {
            for (change, is_unknown, differences) in &entries {
                let reason = if change.reason.is_empty() { String::new() } else { format!("  ({})", change.reason) };
                let RegistrationChange { number, change: what, changed_by, .. } = change;
                let approved = approved(change);
                output::print(&format!("{number}  {}  {what} by {changed_by}{approved}{reason}", time(change)))?;
                if *is_unknown {
                    output::print("  what changed is not kept")?;
                } else if what != "deleted" {
                    for difference in differences {
                        output::print(&format!("  {}", diff::line(difference)))?;
                    }
                }
            }
            if entries.is_empty() {
                output::note("no change of it is kept: see history.keep in the configuration");
            }
            Ok(())
        }
        Format::Json => {
            let object = |(change, _, differences): &(RegistrationChange, bool, Vec<_>)| {
                json!({
                    "number": change.number,
                    "time": time(change),
                    "change": change.change,
                    "changed_by": change.changed_by,
                    "approved_by": output::present(&change.approved_by),
                    "reason": change.reason,
                    "differences": differences,
                })
            };
            output::print_json(&entries.iter().map(object).collect::<Vec<Value>>())
        }
    }
}

/// The changes of what has a state and is no document.
async fn states(registry: &mut Registry<Channel>, named: Named, format: Format) -> Result<(), CommandError> {
    let listed = registry.list_changes(ListChangesRequest { registration: Some(named) }).await;
    let changes = listed.map_err(|status| status::explain(&status, Needs::Store))?.into_inner().changes;
    match format {
        Format::Text => {
            for change in &changes {
                let (before, after) = states_of(change);
                let reason = if change.reason.is_empty() { String::new() } else { format!("  ({})", change.reason) };
                let by = if change.changed_by.is_empty() { "the schedule" } else { &change.changed_by };
                let RegistrationChange { number, change: what, .. } = change;
                let approved = approved(change);
                output::print(&format!("{number}  {}  {what} by {by}{approved}{reason}", time(change)))?;
                let [before, after] = [before, after].map(|state| state.unwrap_or_else(|| "none".to_owned()));
                output::print(&format!("  {before} -> {after}"))?;
            }
            if changes.is_empty() {
                output::note("no change of it is kept: see history.keep in the configuration");
            }
            Ok(())
        }
        Format::Json => {
            let object = |change: &RegistrationChange| {
                let (before, after) = states_of(change);
                json!({
                    "number": change.number,
                    "time": time(change),
                    "change": change.change,
                    "changed_by": change.changed_by,
                    "approved_by": output::present(&change.approved_by),
                    "reason": change.reason,
                    "before": before,
                    "after": after,
                })
            };
            output::print_json(&changes.iter().map(object).collect::<Vec<Value>>())
        }
    }
}

fn states_of(change: &RegistrationChange) -> (Option<String>, Option<String>) {
    let before = match &change.before {
        Some(Before::StateBefore(state)) => Some(state.clone()),
        Some(Before::ClientBefore(_) | Before::ResourceBefore(_) | Before::GrantBefore(_)) | None => None,
    };
    let after = match &change.after {
        Some(After::StateAfter(state)) => Some(state.clone()),
        Some(After::ClientAfter(_) | After::ResourceAfter(_) | After::GrantAfter(_)) | None => None,
    };
    (before, after)
}

/// The second admin, who approved a change.
fn approved(RegistrationChange { approved_by, .. }: &RegistrationChange) -> String {
    if approved_by.is_empty() { String::new() } else { format!(", approved by {approved_by}") }
}

/// In what a proposed change differs from what is there.
pub(in crate::cli) fn proposed_differences(
    kind: &str,
    change: &RegistrationChange,
) -> Result<Vec<Difference>, CommandError> {
    match kind {
        ClientYaml::KIND => compared::<ClientYaml>(change),
        ResourceYaml::KIND if !matches!(change.before, Some(Before::StateBefore(_))) => {
            compared::<ResourceYaml>(change)
        }
        GrantMetadata::KIND => compared::<GrantMetadata>(change),
        _ => {
            let (before, after) = states_of(change);
            let [from, to] = [before, after].map(|state| json!({ "state": state }));
            Ok(differences(&from, &to))
        }
    }
}

fn compared<K: Registered>(change: &RegistrationChange) -> Result<Vec<Difference>, CommandError> {
    let (before, after) = read::<K>(change)?;
    let [from, to] = [&before, &after].map(|document| document.as_ref().map(K::metadata));
    Ok(differences(&from, &to))
}

fn time(change: &RegistrationChange) -> String {
    change.time.map(|time| time.to_string()).unwrap_or_default()
}

/// What was before a change, and after it.
fn read<K: Registered>(change: &RegistrationChange) -> Result<(Option<K>, Option<K>), CommandError> {
    let (before, after) = K::Metadata::of_change(change.clone());
    Ok((before.map(documents::document_of).transpose()?, after.map(documents::document_of).transpose()?))
}

/// The registration as that change made it.
async fn as_of<K: Registered>(registry: &mut Registry<Channel>, then: &Then) -> Result<K, CommandError> {
    for change in changes::<K>(registry, &then.name).await? {
        if change.number == then.number {
            let (_, after) = read::<K>(&change)?;
            return after.ok_or_else(|| not_kept(then));
        }
    }
    Err(not_kept(then))
}

fn not_kept(Then { name, number }: &Then) -> CommandError {
    let problem = format!("what change {number} made of '{name}' is not kept");
    CommandError::new(problem, "see `lanyard history` for the changes that are kept, and what they made")
}

fn print_as<K: Registered>(document: &K, format: Format) -> Result<(), CommandError> {
    match format {
        Format::Json => output::print_json(document),
        Format::Text => output::print(&documents::text_of(document)?),
    }
}

async fn roll_back_to<K: Registered>(
    registry: &mut Registry<Channel>,
    arguments: &RollbackArguments,
    format: Format,
) -> Result<(), CommandError> {
    let document = as_of::<K>(registry, &arguments.then).await?;
    let mut metadata = document.metadata().clone();
    // A document that does not say what manages it keeps the present manager, and this one is to be as it was.
    K::managed_by(&mut metadata).get_or_insert_default();
    let documents = [metadata];
    let conditions = Conditions { allow_report: arguments.allow_report, ..Conditions::default() };
    let (applied, mode) = if arguments.dry_run {
        (check(registry, &documents, &conditions).await, Mode::Check)
    } else {
        let reason = arguments.reason.clone();
        let reason = reason.unwrap_or_else(|| format!("rolled back to change {}", arguments.then.number));
        (write(registry, &documents, (&reason, &conditions), &mut Journal::default()).await, Mode::Write)
    };
    if let Some(refused) = refusal::<K>(&applied) {
        return Err(refused);
    }
    print::<K>(&applied, mode, format)?;
    if format == Format::Text {
        for difference in applied.iter().flat_map(|one| &one.differences) {
            output::print(&diff::line(difference))?;
        }
    }
    waiting(&proposed(&applied))
}
