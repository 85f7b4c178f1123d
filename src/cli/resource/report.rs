//! `lanyard resource report`.

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
use crate::cli::table::table;
use crate::client::connection::Channel;
use crate::proto::OtherRequests;
use crate::proto::ReportResourceRequest;
use crate::proto::ReportResourceResponse;
use crate::proto::RolledUpRequests;
use crate::proto::explanation_service_client::ExplanationServiceClient;

#[derive(Args, Debug)]
pub(in crate::cli) struct ReportArguments {
    /// The resource's audience, a URI.
    audience: String,
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(super) async fn run(arguments: ReportArguments, format: Format) -> Result<(), CommandError> {
    let ReportArguments { audience, connection } = arguments;
    let report = read(connection.open().await?, &audience).await?;
    match format {
        Format::Json => output::print_json(&document(&audience, &report)),
        Format::Text => output::print(&text(&audience, &report)),
    }
}

/// What the server has counted at a resource.
pub(super) async fn read(channel: Channel, audience: &str) -> Result<ReportResourceResponse, CommandError> {
    let request = ReportResourceRequest { audience: audience.to_owned() };
    let mut explanations = ExplanationServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
    let answer = explanations.report_resource(request).await;
    answer
        .map(tonic::Response::into_inner)
        .map_err(|status| status::explain(&status, Needs::ResourceReports).of(audience))
}

/// The most bytes of an answer: some thousand kinds of requests.
pub(super) const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Which replica has counted, and since when, for people.
pub(super) fn counted(replica: &str, since: Option<&prost_types::Timestamp>) -> String {
    let since = time(since);
    if replica.is_empty() {
        format!("since {since}, when the server started")
    } else {
        format!("since {since} by the replica {replica}, which the others do not tell what they count")
    }
}

pub(super) fn time(time: Option<&prost_types::Timestamp>) -> String {
    time.and_then(at).unwrap_or_default()
}

/// The caller for people, where it may be unknown.
pub(super) fn caller(name: &str, registered: bool) -> String {
    match (name, registered) {
        ("", _) => "(not known)".to_owned(),
        (name, true) => name.to_owned(),
        (name, false) => format!("{name} (not registered)"),
    }
}

/// The route for people.
pub(super) fn route(route: &str, question: &str) -> String {
    match (route, question) {
        ("", "validate_binding") => "(ValidateBinding)".to_owned(),
        ("", _) => "(none matches)".to_owned(),
        (route, _) => route.to_owned(),
    }
}

fn text(audience: &str, report: &ReportResourceResponse) -> String {
    let delegated = if report.delegated_mode == "report" { ", of delegated: report" } else { "" };
    let mut parts = vec![format!(
        "{audience}  mode: {}{delegated}\ncounted {}; requests of the last day",
        report.mode,
        counted(&report.replica, report.since.as_ref())
    )];
    for (outcome, title) in
        [("let_through", "would be denied in the mode enforce"), ("denied", "denied"), ("allowed", "allowed")]
    {
        let requests: Vec<&RolledUpRequests> = report.requests.iter().filter(|one| one.outcome == outcome).collect();
        if requests.is_empty() {
            parts.push(format!("{title}: none"));
        } else {
            parts.push(format!("{title}\n{}", rows(&requests)));
        }
    }
    let OtherRequests { allowed, let_through, denied, kinds } = report.others.unwrap_or_default();
    if allowed + let_through + denied > 0 {
        parts.push(format!(
            "beside them, too many to be told apart: {let_through} that would be denied, {denied} denied, {allowed} allowed, \
             of about {kinds} different callers, routes and reasons"
        ));
    }
    parts.join("\n\n")
}

fn rows(requests: &[&RolledUpRequests]) -> String {
    let header = ["CALLER", "ROUTE", "REASON", "REQUESTS", "SINCE", "LAST", "FIX"];
    let row = |one: &&RolledUpRequests| {
        let more = if one.missed > 0 { format!(" to {}", one.count + one.missed) } else { String::new() };
        [
            caller(&one.caller, one.registered),
            route(&one.route, &one.question),
            one.reason.clone(),
            format!("{}{more}", one.count),
            time(one.first.as_ref()),
            time(one.last.as_ref()),
            one.fix.clone(),
        ]
    };
    table(header, requests.iter().map(row))
}

fn document(audience: &str, report: &ReportResourceResponse) -> Value {
    let requests = |one: &RolledUpRequests| {
        json!({
            "caller": present(&one.caller),
            "registered": one.registered,
            "question": one.question,
            "route": present(&one.route),
            "outcome": one.outcome,
            "reason": present(&one.reason),
            "fix": present(&one.fix),
            "count": one.count,
            "missed": one.missed,
            "first": time(one.first.as_ref()),
            "last": time(one.last.as_ref()),
            "samples": one.samples,
        })
    };
    let OtherRequests { allowed, let_through, denied, kinds } = report.others.unwrap_or_default();
    json!({
        "audience": audience,
        "mode": report.mode,
        "delegated_mode": present(&report.delegated_mode),
        "etag": report.etag,
        "replica": present(&report.replica),
        "since": time(report.since.as_ref()),
        "requests": report.requests.iter().map(requests).collect::<Vec<_>>(),
        "others": {"allowed": allowed, "let_through": let_through, "denied": denied, "kinds": kinds},
    })
}
