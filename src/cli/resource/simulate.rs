//! `lanyard resource simulate`.

use clap::Args;
use serde_json::Value;
use serde_json::json;
use tonic::Response;

use crate::apply::Document as _;
use crate::authority::resources::ResourceMetadata;
use crate::cli::connect::ConnectionArguments;
use crate::cli::documents;
use crate::cli::documents::sources;
use crate::cli::documents::sources::SourceArguments;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::output::present;
use crate::cli::resource::report::MAX_ANSWER_BYTES;
use crate::cli::resource::report::caller;
use crate::cli::resource::report::counted;
use crate::cli::resource::report::route;
use crate::cli::resource::report::time;
use crate::cli::resource::yaml::ResourceYaml;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::cli::table::table;
use crate::proto::NotReplayed;
use crate::proto::SimulateResourceRequest;
use crate::proto::SimulateResourceResponse;
use crate::proto::SimulatedChange;
use crate::proto::explanation_service_client::ExplanationServiceClient;

#[derive(Args, Debug)]
pub(in crate::cli) struct SimulateArguments {
    #[command(flatten)]
    sources: SourceArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(super) async fn run(arguments: SimulateArguments, format: Format) -> Result<(), CommandError> {
    let SimulateArguments { sources, connection } = arguments;
    let documents = sources::read::<ResourceYaml>(&sources.filenames)?.documents;
    let channel = connection.open().await?;
    let mut registry = documents::registry(channel.clone());
    let mut explanations = ExplanationServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
    let mut simulated = Vec::new();
    for document in documents {
        let audience = document.audience.clone();
        let refused = |status| status::explain(&status, Needs::ResourceReports).of(&audience);
        let present = ResourceMetadata::read(&mut registry, &audience).await.map_err(refused)?;
        // As `apply` does: what the document leaves open stays as it is.
        let resource = Some(document.over(&present).message(String::new()));
        let answer = explanations.simulate_resource(SimulateResourceRequest { resource }).await;
        let answer = answer.map(Response::into_inner).map_err(refused)?;
        simulated.push((audience, answer));
    }
    match format {
        Format::Json => {
            let documents = simulated.iter().map(|(audience, answer)| document(audience, answer));
            output::print_json(&documents.collect::<Vec<_>>())
        }
        Format::Text => {
            let texts = simulated.iter().map(|(audience, answer)| text(audience, answer));
            output::print(&texts.collect::<Vec<_>>().join("\n\n"))
        }
    }
}

fn text(audience: &str, answer: &SimulateResourceResponse) -> String {
    let SimulateResourceResponse { replica, since, changes, unchanged, not_replayed, unknown } = answer;
    let counted = counted(replica, since.as_ref());
    let mut lines = vec![format!("{audience}\ncounted {counted}; requests of the last day, of which samples are kept")];
    if changes.is_empty() {
        lines.push("would change: nothing that is known".to_owned());
    } else {
        lines.push(format!("would change\n{}", rows(changes)));
    }
    lines.push(format!("would stay as they are: {unchanged} requests"));
    let not = |one: &NotReplayed| format!("not known of {} requests: {} ({})", one.count, one.explanation, one.reason);
    lines.extend(not_replayed.iter().map(not));
    lines.extend(unknown.iter().map(|sentence| format!("not known: {sentence}")));
    lines.join("\n")
}

fn rows(changes: &[SimulatedChange]) -> String {
    let header = ["CALLER", "ROUTE", "NOW", "THEN", "REQUESTS", "SAMPLES", "SUCH AS", "FIX"];
    let row = |one: &SimulatedChange| {
        [
            caller(&one.caller, one.registered),
            route(&one.route, &one.question),
            outcome(&one.outcome_before, &one.reason_before),
            outcome(&one.outcome_after, &one.reason_after),
            one.count.to_string(),
            format!("{} of {}", one.changed_samples, one.samples),
            one.sample.clone(),
            one.fix.clone(),
        ]
    };
    table(header, changes.iter().map(row))
}

/// An outcome for people.
fn outcome(name: &str, reason: &str) -> String {
    match (name, reason) {
        (name, "") => name.to_owned(),
        ("let_through", reason) => format!("let through ({reason})"),
        (name, reason) => format!("{name} ({reason})"),
    }
}

fn document(audience: &str, answer: &SimulateResourceResponse) -> Value {
    let change = |one: &SimulatedChange| {
        json!({
            "caller": present(&one.caller),
            "registered": one.registered,
            "question": one.question,
            "route": present(&one.route),
            "before": {"outcome": one.outcome_before, "reason": present(&one.reason_before)},
            "after": {"outcome": one.outcome_after, "reason": present(&one.reason_after)},
            "fix": present(&one.fix),
            "count": one.count,
            "changed_samples": one.changed_samples,
            "samples": one.samples,
            "sample": one.sample,
        })
    };
    let not_replayed = |one: &NotReplayed| {
        json!({
            "reason": one.reason,
            "explanation": one.explanation,
            "count": one.count,
        })
    };
    json!({
        "audience": audience,
        "replica": present(&answer.replica),
        "since": time(answer.since.as_ref()),
        "changes": answer.changes.iter().map(change).collect::<Vec<_>>(),
        "unchanged": answer.unchanged,
        "not_replayed": answer.not_replayed.iter().map(not_replayed).collect::<Vec<_>>(),
        "unknown": answer.unknown,
    })
}
