//! What a token request would come to, printed.

use serde_json::Value;
use serde_json::json;

use crate::cli::explanation::present_rows;
use crate::cli::explanation::step_document;
use crate::cli::explanation::steps;
use crate::cli::moment::span;
use crate::cli::output::present;
use crate::proto::TokenOutcome;

pub(super) fn lines(outcome: &TokenOutcome) -> Vec<String> {
    let granted = if outcome.granted { "would be issued" } else { "would not be issued" };
    let bound = if outcome.bound { "to the certificate" } else { "to no certificate" };
    let of_granted = |text: &str| if outcome.granted { text.to_owned() } else { String::new() };
    let expires_in = outcome.expires_in.and_then(span).unwrap_or_default();
    let mut lines = present_rows([
        ("token", granted.to_owned()),
        ("  client", outcome.client_id.clone()),
        ("  registered", outcome.registration.clone()),
        ("  scope", outcome.scope.clone()),
        ("  audience", outcome.audience.join(" ")),
        ("  lifetime", expires_in),
        ("  bound", of_granted(bound)),
        ("  rotation", outcome.rotation.clone()),
        ("  reason", outcome.reason.clone()),
        ("  cause", outcome.cause.clone()),
        ("  fix", outcome.fix.clone()),
    ]);
    lines.extend(steps("steps of the token request", &outcome.steps));
    lines
}

pub(super) fn document(outcome: &TokenOutcome) -> Value {
    json!({
        "client_id": present(&outcome.client_id),
        "registration": present(&outcome.registration),
        "granted": outcome.granted,
        "scope": Some(&outcome.scope).filter(|_| outcome.granted),
        "audience": outcome.audience,
        "expires_in": outcome.expires_in.map(|span| span.seconds),
        "bound": Some(outcome.bound).filter(|_| outcome.granted),
        "rotation": present(&outcome.rotation),
        "reason": present(&outcome.reason),
        "cause": present(&outcome.cause),
        "fix": present(&outcome.fix),
        "steps": outcome.steps.iter().map(step_document).collect::<Vec<_>>(),
    })
}
