//! What `why` and `explain` both print: certificates, the steps of decisions, and the registrations that claim an identity.

use serde_json::Value;
use serde_json::json;

use crate::authority::identity::CertificateThumbprint;
use crate::cli::moment::at;
use crate::cli::table;
use crate::proto::DecisionStep;
use crate::proto::PresentedCertificate;
use crate::proto::RegistrationClaim;

/// Lines of a name and its value, without those that have none.
pub(in crate::cli) fn present_rows<const ROWS: usize>(rows: [(&str, String); ROWS]) -> Vec<String> {
    let row = |(name, value): (&str, String)| (!value.is_empty()).then(|| format!("{name:<13} {value}"));
    rows.into_iter().filter_map(row).collect()
}

/// The steps of a decision under a heading.
pub(in crate::cli) fn steps(heading: &str, steps: &[DecisionStep]) -> Vec<String> {
    under(heading, &steps.iter().map(step).collect::<Vec<_>>())
}

/// Registrations under a heading; nothing where there are none.
pub(in crate::cli) fn claims(heading: &str, claims: &[RegistrationClaim]) -> Vec<String> {
    if claims.is_empty() { Vec::new() } else { under(heading, &claims.iter().map(claim).collect::<Vec<_>>()) }
}

/// A certificate as text: its thumbprint, its names and its validity.
pub(in crate::cli) fn presented(certificate: &PresentedCertificate) -> String {
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

/// Rows of a table under a heading.
pub(in crate::cli) fn under(heading: &str, rows: &[Vec<String>]) -> Vec<String> {
    let indented = table::rows(rows).lines().map(|line| format!("  {line}")).collect::<Vec<_>>();
    [vec![heading.to_owned()], indented].concat()
}

/// A certificate in JSON.
pub(in crate::cli) fn certificate_document(certificate: Option<&PresentedCertificate>) -> Option<Value> {
    certificate.map(|one| {
        json!({
            "x5t#S256": CertificateThumbprint::from_digest(&one.thumbprint).map(|one| one.to_string()),
            "names": one.names,
            "not_before": one.not_before.as_ref().and_then(at),
            "not_after": one.not_after.as_ref().and_then(at),
        })
    })
}

/// A step in JSON.
pub(in crate::cli) fn step_document(step: &DecisionStep) -> Value {
    json!({
        "check": step.check,
        "found": step.found,
        "expected": step.expected,
        "passed": step.passed,
    })
}

/// A registration in JSON.
pub(in crate::cli) fn claim_document(claim: &RegistrationClaim) -> Value {
    json!({
        "client_id": claim.client_id,
        "etag": claim.etag,
        "expects": claim.expects,
        "applies": claim.applies,
        "outcome": claim.outcome,
    })
}
