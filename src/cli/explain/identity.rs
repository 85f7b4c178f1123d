//! `lanyard explain identity`.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;
use serde_json::json;

use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::explain::asked::IdentityArgument;
use crate::cli::explain::outcome;
use crate::cli::explanation::certificate_document;
use crate::cli::explanation::claim_document;
use crate::cli::explanation::claims;
use crate::cli::explanation::present_rows;
use crate::cli::explanation::presented;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::output::present;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::proto::ExplainIdentityRequest;
use crate::proto::ExplainIdentityResponse;
use crate::proto::explanation_service_client::ExplanationServiceClient;

#[derive(Args, Debug)]
pub(in crate::cli) struct IdentityArguments {
    /// A SPIFFE ID, or a PEM file with a certificate and its intermediates. Without the role Admin or Auditor only your own.
    #[arg(value_name = "ID|CERT.pem")]
    identity: IdentityArgument,
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(super) async fn run(arguments: IdentityArguments, format: Format) -> Result<ExitCode, CommandError> {
    let request = ExplainIdentityRequest { identity: Some(arguments.identity.read()?) };
    let mut explanations = ExplanationServiceClient::new(arguments.connection.open().await?);
    let answer = explanations.explain_identity(request).await;
    let answer = answer.map_err(|status| status::explain(&status, Needs::Explanations))?.into_inner();
    match format {
        Format::Json => output::print_json(&document(&answer))?,
        Format::Text => output::print(&text(&answer))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn text(answer: &ExplainIdentityResponse) -> String {
    let proven = match (answer.proven, &answer.certificate) {
        (true, Some(_)) => "yes: a rule accepts the certificate",
        (true, None) => "by a certificate with this SPIFFE ID: there is a bundle for its trust domain",
        (false, _) => "no",
    };
    let mut lines = present_rows([
        ("identity", answer.spiffe_id.clone()),
        ("certificate", answer.certificate.as_ref().map(presented).unwrap_or_default()),
        ("proven", proven.to_owned()),
        ("reason", answer.reason.clone()),
        ("cause", answer.cause.clone()),
        ("fix", answer.fix.clone()),
    ]);
    lines.extend(claims("registrations that claim it", &answer.claims));
    lines.extend(answer.tokens.iter().flat_map(outcome::lines));
    lines.join("\n")
}

fn document(answer: &ExplainIdentityResponse) -> Value {
    json!({
        "spiffe_id": present(&answer.spiffe_id),
        "certificate": certificate_document(answer.certificate.as_ref()),
        "proven": answer.proven,
        "reason": present(&answer.reason),
        "cause": present(&answer.cause),
        "fix": present(&answer.fix),
        "claims": answer.claims.iter().map(claim_document).collect::<Vec<_>>(),
        "tokens": answer.tokens.iter().map(outcome::document).collect::<Vec<_>>(),
    })
}
