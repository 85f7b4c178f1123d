//! `lanyard why`.

mod elsewhere;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use serde_json::json;

use crate::authority::clock::Clock as _;
use crate::authority::clock::SystemClock;
use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::explanation::certificate_document;
use crate::cli::explanation::claim_document;
use crate::cli::explanation::claims;
use crate::cli::explanation::present_rows;
use crate::cli::explanation::presented;
use crate::cli::explanation::step_document;
use crate::cli::explanation::steps;
use crate::cli::moment::at;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::output::present;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::messages::timestamp;
use crate::proto::ExplainRefusalRequest;
use crate::proto::ListRefusalsRequest;
use crate::proto::Refusal;
use crate::proto::explanation_service_client::ExplanationServiceClient;

#[derive(Args, Debug)]
pub(in crate::cli) struct WhyArguments {
    /// The reference that came with the refusal, such as 3xk-5w2m9r7kd0qa. Without one, the newest refusals that the server
    /// remembers, which needs the role Admin.
    #[arg(value_name = "REFERENCE", conflicts_with_all = ["resource", "since", "caller", "reason", "limit"])]
    reference: Option<String>,
    /// Only refusals at this protected resource, by its audience, or at a destination that no resource is registered for.
    #[arg(long, value_name = "URI")]
    resource: Option<String>,
    /// Only refusals of the last while, such as 1h.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// Only refusals of a caller or client with such a name: a SPIFFE ID, another name in the certificate, a `client_id`, or
    /// an address. `*` stands for any text.
    #[arg(long, value_name = "PATTERN")]
    caller: Option<String>,
    /// Only refusals with this code, such as `CERTIFICATE_MISMATCH`.
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// How many refusals, from 1 to 100.
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(i32).range(1..=100))]
    limit: i32,
    /// Where the other replicas are: a name with the addresses of all of them, such as lanyard-ops.identity.svc, or each by its own.
    /// A refusal that the server did not make is asked for there. The certificates must be valid for the host of --server, which is
    /// looked up where nothing is named, and the port is that of --server where none is.
    #[arg(long = "replica", value_name = "HOST[:PORT]", requires = "reference")]
    replicas: Vec<String>,
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(in crate::cli) async fn run(arguments: WhyArguments, format: Format) -> Result<ExitCode, CommandError> {
    let WhyArguments { reference, resource, since, caller, reason, limit, replicas, connection } = arguments;
    let mut explanations = ExplanationServiceClient::new(connection.open().await?);
    if let Some(reference) = reference {
        let answer = explanations.explain_refusal(ExplainRefusalRequest { reference: reference.clone() }).await;
        let refusal = match answer {
            Err(status) if elsewhere::is_of_another(&status) => {
                elsewhere::ask(&connection, &replicas, &reference, &status).await?
            }
            answer => answer.map_err(|status| status::explain(&status, Needs::AnyRole))?.into_inner().refusal,
        };
        let refusal = refusal.unwrap_or_default();
        match format {
            Format::Json => output::print_json(&document(&refusal))?,
            Format::Text => output::print(&text(&refusal))?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let since = since.map(|since| timestamp(SystemClock.now().before(since)));
    let request = ListRefusalsRequest {
        resource: resource.unwrap_or_default(),
        since,
        caller: caller.unwrap_or_default(),
        reason: reason.unwrap_or_default(),
        page_size: limit,
    };
    let answer = explanations.list_refusals(request).await;
    let refusals = answer.map_err(|status| status::explain(&status, Needs::Refusals))?.into_inner().refusals;
    match format {
        Format::Json => output::print_json(&json!({ "refusals": refusals.iter().map(document).collect::<Vec<_>>() }))?,
        Format::Text if refusals.is_empty() => {
            output::print("none is remembered here: another replica may have refused it, or it was allowed")?;
        }
        Format::Text => output::print(&refusals.iter().map(text).collect::<Vec<_>>().join("\n\n"))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn text(refusal: &Refusal) -> String {
    let Refusal { reference, reason, event, cause, .. } = refusal;
    let time = refusal.time.as_ref().and_then(at).unwrap_or_default();
    let outcome = if refusal.let_through { ", let through in the mode report" } else { "" };
    let from = [&refusal.remote, &refusal.listener].map(String::as_str).join(" ");
    let unverified = if refusal.caller.is_empty() { " (nothing of it is proven)" } else { "" };
    let asked = [&refusal.method, &refusal.path].map(String::as_str).join(" ");
    let rows = [
        ("reference", reference.clone()),
        ("refused", format!("{time} ({event}{outcome})")),
        ("reason", reason.clone()),
        ("cause", cause.clone()),
        ("caller", refusal.caller.clone()),
        ("from", from.trim().to_owned()),
        ("connection", refusal.connection.as_ref().map(|one| presented(one) + unverified).unwrap_or_default()),
        ("evidence", refusal.evidence.as_ref().map_or_else(|| refusal.evidence_text.clone(), presented)),
        ("client", refusal.client_id.clone()),
        ("registration", refusal.registration.clone()),
        ("resource", refusal.resource.clone()),
        ("request", asked.trim().to_owned()),
        ("route", refusal.route.clone()),
        ("jti", refusal.jti.clone()),
    ];
    let mut lines = present_rows(rows);
    lines.extend(steps("steps", &refusal.steps));
    lines.extend(claims("registrations that claim the client now", &refusal.claims));
    lines.push(format!("{:<13} {}", "fix", refusal.fix));
    lines.join("\n")
}

fn document(refusal: &Refusal) -> Value {
    json!({
        "reference": refusal.reference,
        "time": refusal.time.as_ref().and_then(at),
        "event": refusal.event,
        "reason": refusal.reason,
        "cause": present(&refusal.cause),
        "fix": refusal.fix,
        "let_through": refusal.let_through,
        "caller": present(&refusal.caller),
        "remote": present(&refusal.remote),
        "listener": present(&refusal.listener),
        "connection": certificate_document(refusal.connection.as_ref()),
        "evidence": certificate_document(refusal.evidence.as_ref()),
        "evidence_text": present(&refusal.evidence_text),
        "client_id": present(&refusal.client_id),
        "registration": present(&refusal.registration),
        "resource": present(&refusal.resource),
        "route": present(&refusal.route),
        "method": present(&refusal.method),
        "path": present(&refusal.path),
        "jti": present(&refusal.jti),
        "steps": refusal.steps.iter().map(step_document).collect::<Vec<_>>(),
        "claims": refusal.claims.iter().map(claim_document).collect::<Vec<_>>(),
    })
}
