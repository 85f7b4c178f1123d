//! `lanyard why`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use serde_json::json;

use crate::authority::clock::Clock as _;
use crate::authority::clock::SystemClock;
use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateThumbprint;
use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::moment::moment;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::cli::table;
use crate::messages::timestamp;
use crate::proto::DecisionStep;
use crate::proto::ExplainRefusalRequest;
use crate::proto::ListRefusalsRequest;
use crate::proto::PresentedCertificate;
use crate::proto::Refusal;
use crate::proto::RegistrationClaim;
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
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(in crate::cli) async fn run(arguments: WhyArguments, format: Format) -> Result<ExitCode, CommandError> {
    let WhyArguments { reference, resource, since, caller, reason, limit, connection } = arguments;
    let mut explanations = ExplanationServiceClient::new(connection.open().await?);
    if let Some(reference) = reference {
        let answer = explanations.explain_refusal(ExplainRefusalRequest { reference }).await;
        let answer = answer.map_err(|status| status::explain(&status, Needs::AnyRole))?.into_inner();
        let refusal = answer.refusal.unwrap_or_default();
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
    let outcome = if refusal.let_through { ", let through: the resource is in the mode report" } else { "" };
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
    let row = |(name, value): (&str, String)| (!value.is_empty()).then(|| format!("{name:<13} {value}"));
    let mut lines: Vec<String> = rows.into_iter().filter_map(row).collect();
    lines.push("steps".to_owned());
    lines.push(indented(&refusal.steps.iter().map(step).collect::<Vec<_>>()));
    if !refusal.claims.is_empty() {
        lines.push("registrations that claim the client now".to_owned());
        lines.push(indented(&refusal.claims.iter().map(claim).collect::<Vec<_>>()));
    }
    lines.push(format!("{:<13} {}", "fix", refusal.fix));
    lines.join("\n")
}

fn presented(certificate: &PresentedCertificate) -> String {
    let mut parts = vec![thumbprint(certificate)];
    parts.extend(certificate.names.iter().cloned());
    let validity = certificate.not_before.as_ref().and_then(at).zip(certificate.not_after.as_ref().and_then(at));
    parts.extend(validity.map(|(from, until)| format!("valid from {from} to {until}")));
    parts.join(" ")
}

fn thumbprint(certificate: &PresentedCertificate) -> String {
    let thumbprint = CertificateThumbprint::from_digest(&certificate.thumbprint);
    thumbprint.map(|thumbprint| format!("x5t#S256:{thumbprint}")).unwrap_or_default()
}

fn at(time: &prost_types::Timestamp) -> Option<String> {
    u64::try_from(time.seconds).ok().map(Timestamp).map(moment)
}

fn step(step: &DecisionStep) -> Vec<String> {
    let compared = match (step.found.as_str(), step.expected.as_str()) {
        ("", "") => String::new(),
        (found, "") => found.to_owned(),
        ("", expected) => format!("nothing; expected: {expected}"),
        (found, expected) => format!("{found}; expected: {expected}"),
    };
    vec![if step.passed { "ok" } else { "no" }.to_owned(), step.check.replace('_', " "), compared]
}

fn claim(claim: &RegistrationClaim) -> Vec<String> {
    let applies = if claim.applies { "yes" } else { "no" }.to_owned();
    vec![applies, claim.client_id.clone(), claim.expects.clone(), claim.outcome.clone()]
}

fn indented(rows: &[Vec<String>]) -> String {
    let text = table::rows(rows);
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

fn document(refusal: &Refusal) -> Value {
    let present = |text: &str| Some(text).filter(|text| !text.is_empty()).map(ToOwned::to_owned);
    let certificate = |certificate: &Option<PresentedCertificate>| {
        certificate.as_ref().map(|one| {
            json!({
                "x5t#S256": CertificateThumbprint::from_digest(&one.thumbprint).map(|one| one.to_string()),
                "names": one.names,
                "not_before": one.not_before.as_ref().and_then(at),
                "not_after": one.not_after.as_ref().and_then(at),
            })
        })
    };
    let step = |step: &DecisionStep| {
        json!({
            "check": step.check,
            "found": step.found,
            "expected": step.expected,
            "passed": step.passed,
        })
    };
    let claim = |claim: &RegistrationClaim| {
        json!({
            "client_id": claim.client_id,
            "etag": claim.etag,
            "expects": claim.expects,
            "applies": claim.applies,
            "outcome": claim.outcome,
        })
    };
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
        "connection": certificate(&refusal.connection),
        "evidence": certificate(&refusal.evidence),
        "evidence_text": present(&refusal.evidence_text),
        "client_id": present(&refusal.client_id),
        "registration": present(&refusal.registration),
        "resource": present(&refusal.resource),
        "route": present(&refusal.route),
        "method": present(&refusal.method),
        "path": present(&refusal.path),
        "jti": present(&refusal.jti),
        "steps": refusal.steps.iter().map(step).collect::<Vec<_>>(),
        "claims": refusal.claims.iter().map(claim).collect::<Vec<_>>(),
    })
}
