//! A proxy's configuration: whether it proves callers to Lanyard, and lets nothing through that Lanyard has not seen.

mod document;
mod findings;
mod header_mutation;
mod messages;

use std::path::Path;

use serde_json::Value;

use crate::cli::doctor::envoy::document::field;
use crate::cli::doctor::envoy::document::is_true;
use crate::cli::doctor::envoy::document::text;
use crate::cli::doctor::envoy::document::under;
use crate::cli::doctor::envoy::findings::CHECK;
use crate::cli::doctor::envoy::findings::Findings;
use crate::cli::doctor::envoy::messages::Found;
use crate::cli::doctor::envoy::messages::Messages;
use crate::cli::doctor::fault::Fault;
use crate::cli::doctor::report::Report;

/// Checks a configuration of Envoy in YAML or JSON, or what its admin interface prints at `/config_dump`.
pub(in crate::cli::doctor) fn check(path: &Path, report: &mut Report) {
    let file = path.display().to_string();
    let documents = match document::read(path) {
        Ok(documents) => documents,
        Err((fault, problem)) => return report.fault(CHECK, file, fault, problem),
    };
    let messages = Messages::of(&documents);
    if messages.managers.is_empty() {
        let problem = "it holds no HTTP connection manager with its listener";
        return report.fault(CHECK, file, Fault::EnvoyInvalid, problem);
    }
    let before = report.len();
    let mut findings = Findings::new(&file, report);
    for manager in &messages.managers {
        check_header(manager, &mut findings);
        if header_mutation::asks(manager.body) && !header_mutation::removes_identity_headers(manager.body) {
            let problem = "no header mutation before the check removes every x-lanyard- header that clients send";
            findings.fault(manager, Fault::EnvoyIdentityHeaders, problem);
        }
    }
    for context in &messages.downstream_tls {
        check_resumption(context, &mut findings);
    }
    let asking: Vec<_> = messages.checks.iter().filter(|check| field(check.body, "grpc_service").is_some()).collect();
    for check in &asking {
        if is_true(field(check.body, "failure_mode_allow")) {
            let problem = "failure_mode_allow is true: requests pass while Lanyard does not answer";
            findings.fault(check, Fault::EnvoyFailureModeAllow, problem);
        }
        check_certificate(check, &messages, &mut findings);
    }
    if asking.is_empty() {
        let problem = "no ext_authz filter in it asks over gRPC";
        report.fault(CHECK, file, Fault::EnvoyWithoutChecks, problem);
    } else if report.len() == before {
        report.ok(CHECK, file, "what it forwards was checked, with the header that it writes itself");
    }
}

/// Envoy's enumerations may be written as numbers.
fn is_value(value: &Value, name: &str, number: u64) -> bool {
    value.as_str() == Some(name) || value.as_u64() == Some(number)
}

/// How the connection manager treats `x-forwarded-client-cert`, also where it depends on the request
/// (`forward_client_cert_matcher`).
fn check_header(manager: &Found<'_>, findings: &mut Findings<'_>) {
    for mode in under("forward_client_cert_details", manager.body) {
        for (name, number) in [("FORWARD_ONLY", 1), ("ALWAYS_FORWARD_ONLY", 4)] {
            if is_value(mode, name, number) {
                let problem = format!("forward_client_cert_details is {name}: the header is what the client wrote");
                findings.fault(manager, Fault::EnvoyHeaderPassedOn, problem);
            }
        }
    }
    for details in under("set_current_client_cert_details", manager.body) {
        if field(details, "format").is_some_and(|format| is_value(format, "JSON", 1)) {
            let problem = "set_current_client_cert_details writes x-forwarded-client-cert as JSON";
            findings.fault(manager, Fault::EnvoyHeaderFormat, problem);
        }
    }
}

/// Whether sessions can be resumed where clients present certificates.
fn check_resumption(context: &Found<'_>, findings: &mut Findings<'_>) {
    let common = field(context.body, "common_tls_context").and_then(Value::as_object);
    let validates = common.is_some_and(|common| {
        common.keys().any(|key| {
            let key = key.to_ascii_lowercase().replace('_', "");
            key.starts_with("validationcontext") || key.starts_with("combinedvalidationcontext")
        })
    });
    if !validates && !is_true(field(context.body, "require_client_certificate")) {
        return;
    }
    for key in ["disable_stateless_session_resumption", "disable_stateful_session_resumption"] {
        if !is_true(field(context.body, key)) {
            findings.fault(
                context,
                Fault::EnvoyTlsResumption,
                format!("TLS sessions can be resumed: {key} is not true"),
            );
        }
    }
}

/// Whether the filter's calls present a client certificate.
fn check_certificate(check: &Found<'_>, messages: &Messages<'_>, findings: &mut Findings<'_>) {
    let service = field(check.body, "grpc_service");
    if let Some(google) = service.and_then(|service| field(service, "google_grpc")) {
        let credentials = field(google, "channel_credentials").and_then(|one| field(one, "ssl_credentials"));
        let has = |name| credentials.is_some_and(|credentials| field(credentials, name).is_some());
        if !has("cert_chain") || !has("private_key") {
            let problem = "google_grpc has no ssl_credentials with cert_chain and private_key";
            findings.fault(check, Fault::EnvoyWithoutCertificate, problem);
        }
        return;
    }
    let envoy = service.and_then(|service| field(service, "envoy_grpc"));
    let Some(name) = envoy.and_then(|envoy| text(envoy, "cluster_name")) else {
        return findings.fault(check, Fault::EnvoyWithoutCertificate, "grpc_service names no cluster");
    };
    match messages.cluster(name) {
        None => findings.not_checked(check, format!("the cluster {name}, which the filter asks, is not in the file")),
        Some(cluster) if messages::presents_certificate(cluster) => {}
        Some(_) => {
            let problem = format!("the cluster {name}, which the filter asks, presents no client certificate");
            findings.fault(check, Fault::EnvoyWithoutCertificate, problem);
        }
    }
}
