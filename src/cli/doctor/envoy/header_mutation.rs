//! Whether clients' own headers of Lanyard's names are removed before the check.

use serde_json::Value;

use crate::authority::decision::IDENTITY_HEADERS;
use crate::cli::doctor::envoy::document::field;
use crate::cli::doctor::envoy::document::is_true;
use crate::cli::doctor::envoy::document::list;
use crate::cli::doctor::envoy::document::text;
use crate::cli::doctor::envoy::messages::holds;
use crate::cli::doctor::envoy::messages::typed;

/// Whether a connection manager has a check among its filters.
pub(in crate::cli::doctor::envoy) fn asks(manager: &Value) -> bool {
    list(manager, "http_filters").iter().any(is_check)
}

/// Whether the filters before the first check, or the mutations before all filters, remove the identity headers.
pub(in crate::cli::doctor::envoy) fn removes_identity_headers(manager: &Value) -> bool {
    let filters = list(manager, "http_filters").iter().take_while(|filter| !is_check(filter));
    let early = list(manager, "early_header_mutation_extensions").iter();
    let removals: Vec<&Value> =
        filters.filter(|filter| !is_true(field(filter, "disabled"))).chain(early).flat_map(mutations).collect();
    IDENTITY_HEADERS.iter().all(|name| removals.iter().any(|removal| removes(removal, name)))
}

/// A filter whose configuration comes from elsewhere is known by its name.
fn is_check(filter: &Value) -> bool {
    holds("ExtAuthz", filter) || text(filter, "name") == Some("envoy.filters.http.ext_authz")
}

/// The changes of request headers. In the filter they have a list of their own, before all filters they are the only
/// ones.
fn mutations(filter: &Value) -> &[Value] {
    let mutation = field(filter, "typed_config").and_then(typed).filter(|(kind, _)| *kind == "HeaderMutation");
    let Some((_, mutation)) = mutation else { return &[] };
    match field(mutation, "mutations") {
        Some(of_requests @ Value::Object(_)) => list(of_requests, "request_mutations"),
        Some(Value::Array(all)) => all,
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => &[],
    }
}

/// Whether a mutation removes the header of this name.
fn removes(mutation: &Value, name: &str) -> bool {
    let exact = text(mutation, "remove").is_some_and(|removed| removed.eq_ignore_ascii_case(name));
    let matcher = field(mutation, "remove_on_match").and_then(|removal| field(removal, "key_matcher"));
    exact || matcher.is_some_and(|matcher| matches(matcher, name))
}

/// Whether a `StringMatcher` matches. A regular expression is matched as a whole and not evaluated here: it must name
/// Lanyard, and end in `.*` or `.+`.
fn matches(matcher: &Value, name: &str) -> bool {
    let is = |kind: &str, test: fn(&str, &str) -> bool| {
        text(matcher, kind).is_some_and(|wanted| test(name, &wanted.to_ascii_lowercase()))
    };
    let regex = field(matcher, "safe_regex").and_then(|safe_regex| text(safe_regex, "regex"));
    is("exact", |name, wanted| name == wanted)
        || is("prefix", |name, wanted| name.starts_with(wanted))
        || is("suffix", |name, wanted| name.ends_with(wanted))
        || is("contains", |name, wanted| name.contains(wanted))
        || regex.is_some_and(|regex| regex.contains("lanyard") && (regex.ends_with(".*") || regex.ends_with(".+")))
}
