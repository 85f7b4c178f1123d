//! `lanyard exchange explain`.

use std::process::ExitCode;

use clap::Args;
use clap::Subcommand;
use serde_json::Value;
use serde_json::json;

use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::explain::asked::IdentityArgument;
use crate::cli::explain::outcome;
use crate::cli::explanation::present_rows;
use crate::cli::explanation::step_document;
use crate::cli::explanation::steps;
use crate::cli::explanation::under;
use crate::cli::moment::span;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::output::present;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::cli::validate::DENIED;
use crate::proto::ExchangeRule;
use crate::proto::ExchangeRuleClaim;
use crate::proto::ExplainExchangeRequest;
use crate::proto::ExplainExchangeResponse;
use crate::proto::explanation_service_client::ExplanationServiceClient;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ExchangeCommand {
    /// Says whether a service could exchange the token of a caller, and why, without exchanging one: by the token that the caller would
    /// get now, and by each rule that is, or nearly is, about it. For admins and auditors.
    ///
    /// Exit codes: 0 a token would be issued, 3 none would be, 1 no answer, 2 the command line cannot be read.
    Explain(Box<ExchangeArguments>),
}

#[derive(Args, Debug)]
pub(in crate::cli) struct ExchangeArguments {
    /// Whose token it is: a SPIFFE ID, or a PEM file with a certificate and its intermediates.
    #[arg(long, value_name = "ID|CERT.pem")]
    subject: IdentityArgument,
    /// The resource at which the token is presented, by its audience.
    #[arg(long, value_name = "URI")]
    presented_at: String,
    /// Who exchanges it: a SPIFFE ID, or a PEM file with a certificate and its intermediates.
    #[arg(long = "as", value_name = "ID|CERT.pem")]
    exchanger: IdentityArgument,
    /// The resource that the new token would be for, by its audience.
    #[arg(long, value_name = "URI")]
    audience: String,
    /// Space-separated scopes of the new token. Left out: all that the rule gives.
    #[arg(long)]
    scope: Option<String>,
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(in crate::cli) async fn run(command: ExchangeCommand, format: Format) -> Result<ExitCode, CommandError> {
    let ExchangeCommand::Explain(arguments) = command;
    let request = ExplainExchangeRequest {
        subject: Some(arguments.subject.read()?),
        presented_at: arguments.presented_at,
        exchanger: Some(arguments.exchanger.read()?),
        audience: arguments.audience,
        scope: arguments.scope.unwrap_or_default(),
    };
    let mut explanations = ExplanationServiceClient::new(arguments.connection.open().await?);
    let answer = explanations.explain_exchange(request.clone()).await;
    let answer = answer.map_err(|status| status::explain(&status, Needs::Explanations))?.into_inner();
    match format {
        Format::Json => output::print_json(&document(&answer))?,
        Format::Text => output::print(&text(&answer, request))?,
    }
    Ok(if answer.granted { ExitCode::SUCCESS } else { ExitCode::from(DENIED) })
}

fn text(answer: &ExplainExchangeResponse, asked: ExplainExchangeRequest) -> String {
    let exchange = match (answer.granted, answer.reported) {
        (true, true) => "would be issued, and reported: the rule asks for a receipt",
        (true, false) => "would be issued",
        (false, _) => "would not be issued",
    };
    let mut lines = present_rows([
        ("exchange", exchange.to_owned()),
        ("reason", answer.reason.clone()),
        ("cause", answer.cause.clone()),
        ("presented at", asked.presented_at),
        ("client", answer.client_id.clone()),
        ("registration", answer.registration.clone()),
        ("audience", asked.audience),
        ("subject", answer.subject.clone()),
        ("actors", answer.actors.join(" ")),
        ("scope", answer.scope.clone()),
        ("lifetime", answer.expires_in.and_then(span).unwrap_or_default()),
    ]);
    if let Some(token) = &answer.subject_token {
        lines.push("what the subject presents".to_owned());
        lines.extend(outcome::lines(token));
    }
    lines.extend(steps("steps of the exchange", &answer.steps));
    if !answer.rules.is_empty() {
        lines.extend(under("rules of the client", &answer.rules.iter().map(rule).collect::<Vec<_>>()));
    }
    lines.extend(present_rows([("fix", answer.fix.clone())]));
    lines.join("\n")
}

fn rule(claim: &ExchangeRuleClaim) -> Vec<String> {
    let applies = if claim.applies { "yes" } else { "no" }.to_owned();
    let ExchangeRule { subjects, presented_at, audience, .. } = claim.rule.clone().unwrap_or_default();
    vec![applies, subjects.join(" "), format!("at {presented_at}"), format!("for {audience}"), claim.outcome.clone()]
}

fn document(answer: &ExplainExchangeResponse) -> Value {
    json!({
        "granted": answer.granted,
        "reported": answer.reported,
        "reason": present(&answer.reason),
        "cause": present(&answer.cause),
        "fix": present(&answer.fix),
        "subject_token": answer.subject_token.as_ref().map(outcome::document),
        "client_id": present(&answer.client_id),
        "registration": present(&answer.registration),
        "rules": answer.rules.iter().map(rule_document).collect::<Vec<_>>(),
        "subject": present(&answer.subject),
        "actors": answer.actors,
        "scope": Some(&answer.scope).filter(|_| answer.granted),
        "expires_in": answer.expires_in.map(|span| span.seconds),
        "steps": answer.steps.iter().map(step_document).collect::<Vec<_>>(),
    })
}

fn rule_document(claim: &ExchangeRuleClaim) -> Value {
    let rule = claim.rule.clone().unwrap_or_default();
    json!({
        "subjects": rule.subjects,
        "presented_at": rule.presented_at,
        "audience": rule.audience,
        "presentation": rule.presentation,
        "applies": claim.applies,
        "outcome": claim.outcome,
    })
}
