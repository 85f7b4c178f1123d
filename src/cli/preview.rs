//! `lanyard preview`.

use clap::Args;
use serde_json::Value;
use serde_json::json;

use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::moment::at;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::output::present;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::cli::table::rows;
use crate::proto::Overlap;
use crate::proto::OverlappingRegistration;
use crate::proto::PreviewPatternRequest;
use crate::proto::PreviewPatternResponse;
use crate::proto::SeenIdentity;
use crate::proto::registry_service_client::RegistryServiceClient;

#[derive(Args, Debug)]
pub(in crate::cli) struct PreviewArguments {
    /// What the registration would have as `spiffe_id`: a SPIFFE ID, or a pattern such as `spiffe://prod.example/ns/shop/*`.
    #[arg(value_name = "PATTERN")]
    pattern: String,
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(in crate::cli) async fn run(arguments: PreviewArguments, format: Format) -> Result<(), CommandError> {
    let mut registry = RegistryServiceClient::new(arguments.connection.open().await?);
    let request = PreviewPatternRequest { spiffe_id: arguments.pattern };
    let answer = registry.preview_pattern(request).await;
    let answer = answer.map_err(|status| status::explain(&status, Needs::Clients))?.into_inner();
    match format {
        Format::Json => output::print_json(&document(&answer)),
        Format::Text => output::print(&text(&answer)),
    }
}

fn text(answer: &PreviewPatternResponse) -> String {
    let mut lines = Vec::new();
    if answer.registrations.is_empty() {
        lines.push("no registration has a SPIFFE ID in common with it".to_owned());
    } else {
        lines.push("registrations with SPIFFE IDs in common with it".to_owned());
        lines.push(indented(&answer.registrations.iter().map(registration).collect::<Vec<_>>()));
    }
    lines.extend(more(answer.more_registrations));
    let since = answer.seen_since.as_ref().and_then(at).unwrap_or_default();
    if answer.identities.is_empty() {
        lines.push(format!("it matches no identity that this replica has seen since {since}"));
    } else {
        lines.push(format!("identities that it matches, of those that this replica has seen since {since}"));
        lines.push(indented(&answer.identities.iter().map(identity).collect::<Vec<_>>()));
    }
    lines.extend(more(answer.more_identities));
    lines.join("\n")
}

fn more(count: u32) -> Option<String> {
    (count > 0).then(|| format!("  and {count} more"))
}

fn indented(table: &[Vec<String>]) -> String {
    rows(table).lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

fn registration(registration: &OverlappingRegistration) -> Vec<String> {
    let meaning = match (registration.overlap(), registration.refuses) {
        (Overlap::Wider, true) => {
            "is disabled or cannot be read: refuses all that it matches, also by a new registration"
        }
        (Overlap::Narrower, true) => "is disabled or cannot be read: refuses what it matches",
        (Overlap::Wider, false) => "would no longer apply to what the pattern matches",
        (Overlap::Narrower, false) => "stays the one that applies to what it matches",
        (Overlap::Same, _) => "has the same: no two clients may",
        (Overlap::Unspecified, _) => "",
    };
    vec![
        overlap(registration).to_owned(),
        registration.client_id.clone(),
        registration.expects.clone(),
        meaning.to_owned(),
    ]
}

fn overlap(registration: &OverlappingRegistration) -> &'static str {
    match registration.overlap() {
        Overlap::Wider => "wider",
        Overlap::Same => "same",
        Overlap::Narrower => "narrower",
        Overlap::Unspecified => "unknown",
    }
}

fn identity(identity: &SeenIdentity) -> Vec<String> {
    let now = if identity.client_id.is_empty() { "no registration applies now" } else { &identity.client_id };
    let then = if identity.would_apply { "the pattern would apply" } else { "the pattern would not apply" };
    let seen = identity.last_seen.as_ref().and_then(at).unwrap_or_default();
    vec![seen, identity.spiffe_id.clone(), now.to_owned(), then.to_owned()]
}

fn document(answer: &PreviewPatternResponse) -> Value {
    let registration = |one: &OverlappingRegistration| {
        json!({
            "client_id": one.client_id,
            "etag": one.etag,
            "expects": one.expects,
            "overlap": overlap(one),
            "refuses": one.refuses,
        })
    };
    let identity = |one: &SeenIdentity| {
        json!({
            "spiffe_id": one.spiffe_id,
            "last_seen": one.last_seen.as_ref().and_then(at),
            "client_id": present(&one.client_id),
            "would_apply": one.would_apply,
        })
    };
    json!({
        "registrations": answer.registrations.iter().map(registration).collect::<Vec<_>>(),
        "more_registrations": answer.more_registrations,
        "identities": answer.identities.iter().map(identity).collect::<Vec<_>>(),
        "more_identities": answer.more_identities,
        "seen_since": answer.seen_since.as_ref().and_then(at),
    })
}
