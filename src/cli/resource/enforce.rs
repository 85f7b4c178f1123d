//! `lanyard resource enforce`.

use std::time::Duration;

use clap::Args;
use prost_types::FieldMask;
use serde_json::json;
use tonic::Status;

use crate::apply::Registry;
use crate::authority::clock::Clock as _;
use crate::authority::clock::SystemClock;
use crate::cli::confirm;
use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::resource::report;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::messages::timestamp;
use crate::proto::Delegated;
use crate::proto::GetProtectedResourceRequest;
use crate::proto::ProtectedResource;
use crate::proto::ReportResourceResponse;
use crate::proto::RolledUpRequests;
use crate::proto::UpdateProtectedResourceRequest;

#[derive(Args, Debug)]
pub(in crate::cli) struct EnforceArguments {
    /// The resource's audience, a URI.
    audience: String,
    /// Why: it is kept with the change.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Enforce also if requests of callers that are registered will be denied.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// The most kinds of requests that are named.
const MOST_NAMED: usize = 10;

/// Sets the mode `enforce`, that of `delegated` included, unless callers that are registered would break.
pub(super) async fn run(arguments: EnforceArguments, format: Format) -> Result<(), CommandError> {
    let EnforceArguments { audience, reason, yes, connection } = arguments;
    let channel = connection.open().await?;
    let report = report::read(channel.clone(), &audience).await?;
    let delegated = report.delegated_mode == "report";
    let result = if report.mode == "enforce" && !delegated {
        "unchanged"
    } else {
        note_limits(&report);
        if let Some(impact) = impact(&report).filter(|_| !yes) {
            confirm::require(&impact).await?;
        }
        let mut registry = Registry::new(channel);
        let refused = |status: Status| status::explain(&status, Needs::Resources).of(&audience);
        // The header goes only with the mode report.
        let mut paths = vec!["mode", "report_header"];
        let mut resource = ProtectedResource {
            audience: audience.clone(),
            etag: report.etag,
            mode: "enforce".to_owned(),
            ..ProtectedResource::default()
        };
        if delegated {
            paths.push("delegated");
            let present = registry.get_protected_resource(GetProtectedResourceRequest { audience: audience.clone() });
            let present = present.await.map_err(refused)?.into_inner().delegated;
            resource.delegated = present.map(|present| Delegated { mode: String::new(), ..present });
        }
        let update_mask = Some(FieldMask { paths: paths.into_iter().map(ToOwned::to_owned).collect() });
        let resource = Some(resource);
        let request = UpdateProtectedResourceRequest { resource, update_mask, validate_only: false, reason };
        registry.update_protected_resource(request).await.map_err(refused)?;
        "enforced"
    };
    match format {
        Format::Json => output::print_json(&json!({ "audience": audience, "result": result })),
        Format::Text => output::print(&format!("{audience} {result}")),
    }
}

/// Which requests of registered callers pass now and would not; `None` where there are none.
fn impact(report: &ReportResourceResponse) -> Option<String> {
    let breaks = |one: &&RolledUpRequests| one.outcome == "let_through" && one.registered;
    let broken: Vec<&RolledUpRequests> = report.requests.iter().filter(breaks).collect();
    let line = |one: &&RolledUpRequests| {
        let route = report::route(&one.route, &one.question);
        format!("{} at {route}, {} requests ({})", one.caller, one.count, one.reason)
    };
    let mut lines: Vec<String> = broken.iter().take(MOST_NAMED).map(line).collect();
    if broken.len() > MOST_NAMED {
        lines.push(format!("and {} more that `lanyard resource report` lists", broken.len() - MOST_NAMED));
    }
    let others = report.others.map_or(0, |others| others.let_through);
    if others > 0 {
        lines.push(format!("{others} requests that were not told apart, perhaps of registered callers"));
    }
    (!lines.is_empty()).then(|| format!("registered callers would be denied: {}", lines.join("; ")))
}

/// Says how far the evidence goes.
fn note_limits(report: &ReportResourceResponse) {
    let counted = report::counted(&report.replica, report.since.as_ref());
    let day_ago = timestamp(SystemClock.now().before(Duration::from_hours(24)));
    let is_young = report.since.is_none_or(|since| since.seconds > day_ago.seconds);
    if is_young || !report.replica.is_empty() {
        output::note(&format!("note: requests are counted {counted}"));
    }
    if report.requests.is_empty() {
        output::note("note: no request to the resource was counted: see that its proxy asks");
    }
}
