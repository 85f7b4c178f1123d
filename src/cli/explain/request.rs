//! `lanyard explain request`.

use std::process::ExitCode;

use clap::Args;
use clap::ValueEnum;
use serde_json::Value;
use serde_json::json;
use tonic::transport::Uri;

use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::explain::asked::IdentityArgument;
use crate::cli::explain::outcome;
use crate::cli::explanation::certificate_document;
use crate::cli::explanation::claim_document;
use crate::cli::explanation::claims;
use crate::cli::explanation::present_rows;
use crate::cli::explanation::presented;
use crate::cli::explanation::step_document;
use crate::cli::explanation::steps;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::output::present;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::cli::token_input::TokenInput;
use crate::cli::validate::DENIED;
use crate::proto::Decision;
use crate::proto::EvidenceGrade;
use crate::proto::ExplainCheckRequest;
use crate::proto::ExplainCheckResponse;
use crate::proto::explanation_service_client::ExplanationServiceClient;

#[derive(Args, Debug)]
pub(in crate::cli) struct RequestArguments {
    /// The method of the request, such as GET.
    #[arg(value_name = "METHOD")]
    method: String,
    /// Where the request is for. It need not be reachable.
    #[arg(value_name = "URL", value_parser = url)]
    url: Uri,
    /// Who makes it: a SPIFFE ID, or a PEM file with a certificate and its intermediates. Without the role Admin or Auditor
    /// only your own.
    #[arg(long = "as", value_name = "ID|CERT.pem")]
    identity: IdentityArgument,
    /// The token that it has: @FILE, or - for stdin. Given here itself, it shows in the list of processes.
    #[arg(long, value_name = "TOKEN|-|@FILE", conflicts_with_all = ["scope", "client_id"])]
    token: Option<TokenInput>,
    /// Space-separated scopes of the token that its sender would ask for. Left out: all that are registered.
    #[arg(long)]
    scope: Option<String>,
    /// The client to ask for the token as. May be left out with a SPIFFE ID.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// The resource, by its audience, where the configuration of the proxy names it instead of the host.
    #[arg(long, value_name = "URI")]
    resource: Option<String>,
    /// The SPIFFE ID of the resource's workload, where the proxy reports it.
    #[arg(long, value_name = "ID")]
    destination: Option<String>,
    /// How much of the sender's certificate the proxy shows.
    #[arg(long, value_enum, value_name = "GRADE", default_value_t = Shown::Certificate)]
    evidence: Shown,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// The grades of evidence, as resources have them.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Shown {
    /// The whole certificate.
    Certificate,
    /// Its thumbprint.
    Thumbprint,
    /// Its SPIFFE ID alone.
    SpiffeId,
}

impl From<Shown> for EvidenceGrade {
    fn from(shown: Shown) -> Self {
        match shown {
            Shown::Certificate => Self::Certificate,
            Shown::Thumbprint => Self::Thumbprint,
            Shown::SpiffeId => Self::SpiffeId,
        }
    }
}

fn url(text: &str) -> Result<Uri, String> {
    let url = text.parse::<Uri>().ok().filter(|url| url.scheme().is_some() && url.authority().is_some());
    url.ok_or_else(|| "is not a URL such as https://orders.dev.internal/orders/1".to_owned())
}

pub(super) async fn run(arguments: RequestArguments, format: Format) -> Result<ExitCode, CommandError> {
    let url = arguments.url;
    let request = ExplainCheckRequest {
        identity: Some(arguments.identity.read()?),
        method: arguments.method,
        authority: url.authority().map(ToString::to_string).unwrap_or_default(),
        path: url.path_and_query().map(ToString::to_string).unwrap_or_default(),
        resource: arguments.resource.unwrap_or_default(),
        destination_principal: arguments.destination.unwrap_or_default(),
        access_token: arguments.token.map(TokenInput::read).transpose()?.unwrap_or_default(),
        client_id: arguments.client_id.unwrap_or_default(),
        scope: arguments.scope.unwrap_or_default(),
        evidence_grade: EvidenceGrade::from(arguments.evidence).into(),
    };
    // The query may have secrets, and decides nothing.
    let asked = format!("{} {}{}", request.method, request.authority, url.path());
    let mut explanations = ExplanationServiceClient::new(arguments.connection.open().await?);
    let answer = explanations.explain_check(request).await;
    let answer = answer.map_err(|status| status::explain(&status, Needs::Explanations))?.into_inner();
    let exit_code = match answer.decision() {
        Decision::Allow => ExitCode::SUCCESS,
        Decision::Deny if answer.let_through => ExitCode::SUCCESS,
        Decision::Deny => ExitCode::from(DENIED),
        // A decision that this version does not know is not an allow.
        Decision::Unspecified => {
            let next = "see that this command is not older than the server";
            return Err(CommandError::new("the server's answer holds no decision", next));
        }
    };
    match format {
        Format::Json => output::print_json(&document(&answer))?,
        Format::Text => output::print(&text(&answer, asked))?,
    }
    Ok(exit_code)
}

fn text(answer: &ExplainCheckResponse, asked: String) -> String {
    let decision = match (answer.decision(), answer.let_through) {
        (Decision::Allow, _) => "ALLOW",
        (_, true) => "DENY, let through in the mode report",
        (_, false) => "DENY",
    };
    let mut lines = present_rows([
        ("decision", decision.to_owned()),
        ("reason", answer.reason.clone()),
        ("cause", answer.cause.clone()),
        ("request", asked),
        ("sender", answer.spiffe_id.clone()),
        ("certificate", answer.certificate.as_ref().map(presented).unwrap_or_default()),
        ("client", answer.client_id.clone()),
        ("registration", answer.registration.clone()),
        ("resource", answer.resource.clone()),
        ("route", answer.route.clone()),
        ("scope", answer.scope.clone()),
    ]);
    lines.extend(answer.token.iter().flat_map(outcome::lines));
    lines.extend(steps("steps of the check", &answer.steps));
    lines.extend(claims("registrations that claim the client", &answer.claims));
    lines.extend(present_rows([("fix", answer.fix.clone())]));
    lines.join("\n")
}

fn document(answer: &ExplainCheckResponse) -> Value {
    json!({
        "decision": answer.decision().as_str_name(),
        "let_through": answer.let_through,
        "reason": present(&answer.reason),
        "cause": present(&answer.cause),
        "fix": present(&answer.fix),
        "spiffe_id": present(&answer.spiffe_id),
        "certificate": certificate_document(answer.certificate.as_ref()),
        "client_id": present(&answer.client_id),
        "registration": present(&answer.registration),
        "resource": present(&answer.resource),
        "route": present(&answer.route),
        "scope": answer.scope,
        "token": answer.token.as_ref().map(outcome::document),
        "steps": answer.steps.iter().map(step_document).collect::<Vec<_>>(),
        "claims": answer.claims.iter().map(claim_document).collect::<Vec<_>>(),
    })
}
