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
use crate::cli::token_input::TokenInput;
use crate::cli::validate::DENIED;
use crate::proto::AskedForeignSubject;
use crate::proto::ExchangeRule;
use crate::proto::ExchangeRuleClaim;
use crate::proto::ExplainExchangeRequest;
use crate::proto::ExplainExchangeResponse;
use crate::proto::TokenType;
use crate::proto::TxnRule;
use crate::proto::TxnRuleClaim;
use crate::proto::explanation_service_client::ExplanationServiceClient;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ExchangeCommand {
    /// Says whether a service could exchange the token of a caller, and why, without exchanging one: by the token that the caller would
    /// get now, or one of another issuer, and by each rule that is, or nearly is, about it. So for transaction tokens and for grants. For
    /// admins and auditors.
    ///
    /// Exit codes: 0 a token would be issued, 3 none would be, 1 no answer, 2 the command line cannot be read.
    Explain(Box<ExchangeArguments>),
}

#[derive(Args, Debug)]
pub(in crate::cli) struct ExchangeArguments {
    /// Whose token it is: a SPIFFE ID, or a PEM file with a certificate and its intermediates. With --issuer: the sub, as the issuer has it.
    #[arg(long, value_name = "ID|CERT.pem|SUB")]
    subject: String,
    /// The resource at which the token is presented, by its audience. Left out with --txn or --grant: nothing is presented, and the
    /// exchanger names the subject itself.
    #[arg(long, value_name = "URI", required_unless_present_any = ["issuer", "txn", "grant"])]
    presented_at: Option<String>,
    /// The token is one of another issuer: its iss.
    #[arg(long, value_name = "URI", conflicts_with_all = ["presented_at", "grant"])]
    issuer: Option<String>,
    /// The scopes of a token of another issuer, space-separated.
    #[arg(long, value_name = "SCOPE", requires = "issuer", conflicts_with = "presented_at")]
    subject_scope: Option<String>,
    /// Who exchanges it: a SPIFFE ID, or a PEM file with a certificate and its intermediates.
    #[arg(long = "as", value_name = "ID|CERT.pem")]
    exchanger: IdentityArgument,
    /// The resource that the new token would be for, by its audience; of a transaction token the trust domain; of a grant the issuer of the
    /// other authorization server.
    #[arg(long, value_name = "URI|TRUST_DOMAIN")]
    audience: String,
    /// Space-separated scopes of the new token. Left out: all that the rule gives.
    #[arg(long)]
    scope: Option<String>,
    /// Ask about a transaction token.
    #[arg(long, requires = "scope", conflicts_with = "grant")]
    txn: bool,
    /// Ask about a grant for the authorization server of another trust domain.
    #[arg(long)]
    grant: bool,
    /// What the transaction token would say of the call: a JSON object, as text, @FILE, or - for stdin.
    #[arg(long, value_name = "JSON|@FILE|-", requires = "txn")]
    request_details: Option<TokenInput>,
    /// What the transaction token would say of the request's circumstances: a JSON object, as text, @FILE, or - for stdin.
    #[arg(long, value_name = "JSON|@FILE|-", requires = "txn")]
    request_context: Option<TokenInput>,
    #[command(flatten)]
    connection: ConnectionArguments,
}

impl ExchangeArguments {
    /// The question, and how to reach the server.
    fn read(self) -> Result<(ExplainExchangeRequest, ConnectionArguments), CommandError> {
        let requested = match (self.txn, self.grant) {
            (true, _) => TokenType::TxnToken,
            (false, true) => TokenType::JwtGrant,
            (false, false) => TokenType::AccessToken,
        };
        let (subject, foreign_subject) = match self.issuer {
            None => (Some(IdentityArgument::from(self.subject.as_str()).read()?), None),
            Some(issuer) => {
                let scope = self.subject_scope.unwrap_or_default();
                (None, Some(AskedForeignSubject { issuer, subject: self.subject, scope }))
            }
        };
        let request = ExplainExchangeRequest {
            subject,
            presented_at: self.presented_at.unwrap_or_default(),
            exchanger: Some(self.exchanger.read()?),
            audience: self.audience,
            scope: self.scope.unwrap_or_default(),
            foreign_subject,
            requested: requested.into(),
            request_context: self.request_context.map(|input| input.read_object("--request-context")).transpose()?,
            request_details: self.request_details.map(|input| input.read_object("--request-details")).transpose()?,
        };
        Ok((request, self.connection))
    }
}

pub(in crate::cli) async fn run(command: ExchangeCommand, format: Format) -> Result<ExitCode, CommandError> {
    let ExchangeCommand::Explain(arguments) = command;
    let (request, connection) = arguments.read()?;
    let mut explanations = ExplanationServiceClient::new(connection.open().await?);
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
        ("issuer", asked.foreign_subject.map(|subject| subject.issuer).unwrap_or_default()),
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
    let rules: Vec<_> = answer.rules.iter().map(rule).chain(answer.txn_rules.iter().map(txn_rule)).collect();
    if !rules.is_empty() {
        lines.extend(under("rules of the client", &rules));
    }
    lines.extend(present_rows([("fix", answer.fix.clone())]));
    lines.join("\n")
}

fn rule(claim: &ExchangeRuleClaim) -> Vec<String> {
    let ExchangeRule { subjects, issuer, presented_at, audience, .. } = claim.rule.clone().unwrap_or_default();
    let place = presented(&issuer, &presented_at);
    vec![yes_or_no(claim.applies), subjects.join(" "), place, format!("for {audience}"), claim.outcome.clone()]
}

fn txn_rule(claim: &TxnRuleClaim) -> Vec<String> {
    let TxnRule { subjects, issuer, presented_at, grants, scope, .. } = claim.rule.clone().unwrap_or_default();
    let gives = grants.iter().map(|grant| grant.gives.as_str()).chain([scope.as_str()]).filter(|one| !one.is_empty());
    let gives = format!("gives {}", gives.collect::<Vec<_>>().join(" "));
    vec![yes_or_no(claim.applies), subjects.join(" "), presented(&issuer, &presented_at), gives, claim.outcome.clone()]
}

fn yes_or_no(applies: bool) -> String {
    if applies { "yes" } else { "no" }.to_owned()
}

/// Where what a rule is about comes from.
fn presented(issuer: &str, presented_at: &str) -> String {
    match (issuer, presented_at) {
        ("", "") => "named by the client".to_owned(),
        ("", place) => format!("at {place}"),
        (issuer, "") => format!("of {issuer}"),
        (issuer, place) => format!("of {issuer} at {place}"),
    }
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
        "txn_rules": answer.txn_rules.iter().map(txn_rule_document).collect::<Vec<_>>(),
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
        "issuer": present(&rule.issuer),
        "presented_at": rule.presented_at,
        "audience": rule.audience,
        "presentation": rule.presentation,
        "applies": claim.applies,
        "outcome": claim.outcome,
    })
}

fn txn_rule_document(claim: &TxnRuleClaim) -> Value {
    let rule = claim.rule.clone().unwrap_or_default();
    json!({
        "subjects": rule.subjects,
        "issuer": present(&rule.issuer),
        "presented_at": present(&rule.presented_at),
        "scope": present(&rule.scope),
        "details": rule.details,
        "context": rule.context,
        "applies": claim.applies,
        "outcome": claim.outcome,
    })
}
