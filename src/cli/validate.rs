//! `lanyard validate`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;
use serde_json::json;

use crate::authority::identity::CertificateThumbprint;
use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::cli::thumbprint;
use crate::cli::token_input::TokenInput;
use crate::client::files;
use crate::messages;
use crate::proto::Decision;
use crate::proto::DenyReason;
use crate::proto::ValidateBindingRequest;
use crate::proto::ValidateBindingResponse;
use crate::proto::binding_service_client::BindingServiceClient;
use crate::proto::validate_binding_request::Evidence;

/// The exit code of a denial.
pub(in crate::cli) const DENIED: u8 = 3;

#[derive(Args, Debug)]
pub(in crate::cli) struct ValidateArguments {
    #[command(flatten)]
    token: TokenArgument,
    /// The protected resource that the token was presented to. A proxy that fronts exactly one may leave it out.
    #[arg(long, value_name = "URI")]
    audience: Option<String>,
    /// Space-separated scopes that the request needs.
    #[arg(long)]
    scope: Option<String>,
    #[command(flatten)]
    evidence: EvidenceArgument,
    /// Ask for a receipt, with which the service behind the proxy acts for the caller. Takes evidence of another connection.
    #[arg(long)]
    receipt: bool,
    #[command(flatten)]
    connection: ConnectionArguments,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct TokenArgument {
    /// The token: - reads it from stdin, @FILE from a file. Given here itself, it shows in the list of processes.
    #[arg(value_name = "TOKEN|-|@FILE")]
    positional: Option<TokenInput>,
    /// The same, as a flag.
    #[arg(long, value_name = "TOKEN|-|@FILE")]
    token: Option<TokenInput>,
}

/// Evidence of the certificate of the connection on which the token was presented.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct EvidenceArgument {
    /// Evidence: the certificate, in a PEM file (its first one) or a DER file.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Evidence: the SHA-256 of the certificate, as 43 characters of base64url or 64 of hex.
    // base64url may begin with a hyphen.
    #[arg(long, value_name = "SHA256", value_parser = thumbprint::parse, allow_hyphen_values = true)]
    thumbprint: Option<CertificateThumbprint>,
    /// Evidence: the SPIFFE ID in the certificate.
    #[arg(long, value_name = "ID")]
    spiffe_id: Option<String>,
    /// Evidence: the value of the x-forwarded-client-cert header that the proxy of --cert sends on.
    ///
    /// Only what that proxy wrote itself is accepted: the last element, and only if its By is the proxy's own SPIFFE
    /// ID. If the resource has `evidence_from: {via: [...]}`, it is the element before that, written by one of those
    /// gateways.
    #[arg(long, value_name = "HEADER")]
    xfcc: Option<String>,
    /// Evidence: the certificate of this very connection (--cert).
    #[arg(long)]
    own_connection: bool,
}

pub(in crate::cli) async fn run(arguments: ValidateArguments, format: Format) -> Result<ExitCode, CommandError> {
    let evidence = arguments.evidence.read()?;
    let TokenArgument { positional, token } = arguments.token;
    let input = token.or(positional).unwrap_or(TokenInput::Stdin);
    let request = ValidateBindingRequest {
        access_token: input.read()?,
        evidence,
        audience: arguments.audience.unwrap_or_default(),
        scope: arguments.scope.unwrap_or_default(),
        receipt: arguments.receipt,
    };
    let mut bindings = BindingServiceClient::new(arguments.connection.open().await?);
    let answer = bindings.validate_binding(request).await;
    let answer = answer.map_err(|status| status::explain(&status, Needs::WorkloadOrProxy))?.into_inner();
    let exit_code = match answer.decision() {
        Decision::Allow => ExitCode::SUCCESS,
        Decision::Deny => ExitCode::from(DENIED),
        // A decision that this version does not know is not an allow.
        Decision::Unspecified => {
            let next = "see that this command is not older than the server";
            return Err(CommandError::new("the server's answer holds no decision", next));
        }
    };
    match format {
        Format::Json => output::print_json(&to_json(&answer))?,
        Format::Text => output::print(&text(&answer))?,
    }
    Ok(exit_code)
}

impl EvidenceArgument {
    fn read(&self) -> Result<Option<Evidence>, CommandError> {
        let certificate = self.certificate.as_deref().map(files::certificate).transpose()?;
        Ok(certificate
            .map(|der| Evidence::Certificate(der.to_vec()))
            .or_else(|| self.thumbprint.map(|digest| Evidence::CertificateThumbprint(digest.as_bytes().to_vec())))
            .or_else(|| self.spiffe_id.clone().map(Evidence::SpiffeId))
            .or_else(|| self.xfcc.clone().map(Evidence::ForwardedClientCert))
            .or_else(|| self.own_connection.then_some(Evidence::OwnConnection(true))))
    }
}

fn text(answer: &ValidateBindingResponse) -> String {
    let short = |name: &str, prefix: &str| name.strip_prefix(prefix).unwrap_or(name).to_owned();
    let cache_until = answer.cache_until.as_ref().map_or_else(|| "must not be cached".to_owned(), ToString::to_string);
    let rows = [
        ("decision", short(answer.decision().as_str_name(), "DECISION_")),
        ("reason", reason_code(answer.reason()).to_owned()),
        ("match", short(answer.r#match().as_str_name(), "MATCH_")),
        ("evidence", short(answer.evidence_grade().as_str_name(), "EVIDENCE_GRADE_")),
        ("explanation", answer.explanation.clone()),
        ("reference", answer.reference.clone()),
        ("cache until", cache_until),
        ("receipt", answer.receipt.clone()),
    ];
    let present = rows.iter().filter(|(_, value)| !value.is_empty() && value != "UNSPECIFIED");
    present.map(|(label, value)| format!("{label:<12} {value}")).collect::<Vec<_>>().join("\n")
}

/// The code of a reason as the log, the metrics and the other protocols have it.
pub(in crate::cli) fn reason_code(reason: DenyReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("DENY_REASON_").unwrap_or(name)
}

/// The protobuf JSON form of the message, but for the reason, which has its code.
fn to_json(answer: &ValidateBindingResponse) -> Value {
    json!({
        "decision": answer.decision().as_str_name(),
        "reason": if answer.decision() == Decision::Deny { Some(reason_code(answer.reason())) } else { None },
        "match": answer.r#match().as_str_name(),
        "evidence_grade": answer.evidence_grade().as_str_name(),
        "explanation": answer.explanation,
        "reference": Some(&answer.reference).filter(|reference| !reference.is_empty()),
        "claims": answer.claims.as_ref().and_then(messages::json_object),
        "cache_until": answer.cache_until.as_ref().map(ToString::to_string),
        "receipt": Some(&answer.receipt).filter(|receipt| !receipt.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_is_shown_with_its_reason() {
        let answer = ValidateBindingResponse {
            decision: 2,
            reason: crate::proto::DenyReason::CertificateMismatch.into(),
            evidence_grade: 3,
            explanation: "the token is bound to another certificate".to_owned(),
            ..ValidateBindingResponse::default()
        };
        let text = text(&answer);
        assert!(text.starts_with("decision     DENY\nreason       CERTIFICATE_MISMATCH\n"), "{text}");
        assert!(!text.contains("match"), "{text}");
        assert_eq!(to_json(&answer)["reason"], "CERTIFICATE_MISMATCH");
    }
}
