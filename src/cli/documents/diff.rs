//! `lanyard diff`.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;
use serde_json::json;

use crate::apply::Applied;
use crate::apply::Conditions;
use crate::apply::Difference;
use crate::apply::Outcome;
use crate::apply::check;
use crate::authority::access::GrantMetadata;
use crate::cli::client::yaml::ClientYaml;
use crate::cli::colour::Colour;
use crate::cli::connect::ConnectionArguments;
use crate::cli::documents;
use crate::cli::documents::Registered;
use crate::cli::documents::apply::print_warnings;
use crate::cli::documents::apply::refusal;
use crate::cli::documents::apply::warnings;
use crate::cli::documents::sources;
use crate::cli::documents::sources::Documents;
use crate::cli::documents::sources::SourceArguments;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::resource::yaml::ResourceYaml;

/// How many characters of a value are shown: a certificate says no more by its other thousand.
const SHOWN: usize = 160;

#[derive(Args, Debug)]
pub(in crate::cli) struct DiffArguments {
    #[command(flatten)]
    sources: SourceArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Prints how documents differ from what is registered, as the server would register them: its defaults count.
pub(in crate::cli) async fn run(arguments: DiffArguments, format: Format) -> Result<ExitCode, CommandError> {
    let Documents { grants, clients, resources } = sources::read_all(&arguments.sources.filenames)?;
    let (grants, clients, resources) = (grants.documents, clients.documents, resources.documents);
    let mut registry = documents::open(&arguments.connection).await?;
    // Nothing is applied, so that nothing needs to be allowed.
    let conditions = Conditions { allow_report: true, ..Conditions::default() };
    let checked_grants = check(&mut registry, &grants, &conditions).await;
    let checked_clients = check(&mut registry, &clients, &conditions).await;
    let checked_resources = check(&mut registry, &resources, &conditions).await;
    let mut warned = warnings::<GrantMetadata>(&grants, &checked_grants);
    warned.extend(warnings::<ClientYaml>(&clients, &checked_clients));
    warned.extend(warnings::<ResourceYaml>(&resources, &checked_resources));
    let refused = refusal::<GrantMetadata>(&checked_grants)
        .or_else(|| refusal::<ClientYaml>(&checked_clients))
        .or_else(|| refusal::<ResourceYaml>(&checked_resources));
    if let Some(refused) = refused {
        return Err(refused);
    }
    let checked = || checked_grants.iter().chain(&checked_clients).chain(&checked_resources);
    let compared = || checked().filter(|one| differs(one));
    match format {
        Format::Text => {
            text::<GrantMetadata>(&checked_grants)?;
            text::<ClientYaml>(&checked_clients)?;
            text::<ResourceYaml>(&checked_resources)?;
            let count = checked().count();
            output::note(&format!("{} of {count} documents differ from what is registered", compared().count()));
        }
        Format::Json => {
            let objects = objects::<GrantMetadata>(&checked_grants)
                .chain(objects::<ClientYaml>(&checked_clients))
                .chain(objects::<ResourceYaml>(&checked_resources));
            output::print_json(&objects.collect::<Vec<_>>())?;
        }
    }
    print_warnings(&warned);
    Ok(if compared().next().is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The colours of what is added, and of what is removed.
const MARKS: [(&str, Colour); 2] = [("+", Colour::Green), ("-", Colour::Red)];

fn differs(applied: &Applied) -> bool {
    match applied.outcome {
        Outcome::Created | Outcome::Updated | Outcome::Proposed(_) => true,
        Outcome::Unchanged | Outcome::Refused(_) => false,
    }
}

fn text<K: Registered>(checked: &[Applied]) -> Result<(), CommandError> {
    for one in checked.iter().filter(|one| differs(one)) {
        let is_new = if matches!(one.outcome, Outcome::Created) { " is not registered" } else { "" };
        let lines: Vec<String> = one.differences.iter().map(line).collect();
        output::print_marked(&format!("{} {}{is_new}\n{}", K::KIND, one.name, lines.join("\n")), &MARKS)?;
        if let Some(lifetime) = one.denied_tokens {
            let lifetime = humantime::format_duration(lifetime);
            output::print(&format!(
                "  its authentication changes: tokens issued before, with up to {lifetime} left, would be denied"
            ))?;
        }
    }
    Ok(())
}

/// A line for a difference.
pub(in crate::cli) fn line(Difference { field, from, to }: &Difference) -> String {
    match (from, to) {
        (Some(from), Some(to)) => format!("  {field}: {} -> {}", shown(from), shown(to)),
        (Some(from), None) => format!("- {field}: {}", shown(from)),
        (None, Some(to)) => format!("+ {field}: {}", shown(to)),
        (None, None) => format!("  {field}"),
    }
}

/// A value as JSON, without the rest of a long one.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN).and_then(|(place, _)| text.get(..place)) {
        Some(begin) => format!("{begin}… ({} characters)", text.chars().count()),
        None => text,
    }
}

fn objects<K: Registered>(checked: &[Applied]) -> impl Iterator<Item = Value> {
    let object = |one: &Applied| {
        let registered = !matches!(one.outcome, Outcome::Created);
        json!({ "kind": K::KIND, (K::NAME): one.name, "registered": registered, "differences": one.differences })
    };
    checked.iter().filter(|one| differs(one)).map(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_shown_by_its_beginning() {
        assert_eq!(shown(&json!("abc")), "\"abc\"");
        let long = shown(&json!("é".repeat(1000)));
        assert!(long.ends_with("é… (1002 characters)") && long.chars().count() < 200, "{long}");
    }
}
