//! Registrations in YAML that other programs write in their own ways.

use std::fmt::Write as _;
use std::fs;

use serde_json::json;
use tempfile::TempDir;

use crate::support::dev::Dev;
use crate::support::process::Finished;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::text;

const NULL_SCOPE: &str = include_str!("yaml/null-scope.yaml");
const NULL_CLIENT_ID: &str = include_str!("yaml/null-client-id.yaml");
const BYTE_ORDER_MARK: &str = include_str!("yaml/byte-order-mark.yaml");

/// Applies a file with no server to ask: what is said of it is said before one is.
fn unasked(kind: &str, contents: &str) -> Finished {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("it.yaml");
    fs::write(&file, contents).unwrap();
    let files = ["--ca", "nowhere", "--cert", "nowhere", "--key", "nowhere"];
    run(lanyard().args([kind, "apply", "-f", text(&file), "--server", "https://localhost:1"]).args(files))
}

#[test]
fn null_is_refused_where_text_is_meant_and_not_taken_for_its_spelling() {
    let shape = "lanyard client get";
    unasked("client", NULL_SCOPE)
        .refused("it.yaml: scope: invalid type: null, expected text at line 3 column 8", shape);
    unasked("client", NULL_CLIENT_ID)
        .refused("it.yaml: client_id: invalid type: null, expected text at line 1 column 12", shape);
    for (from, to, key) in [
        ("scope: null", "scope: ~", "scope"),
        ("scope: null", "scope:", "scope"),
        ("scope: null", "scope: NULL", "scope"),
        ("spiffe_x509", "~", "token_endpoint_auth_method"),
        ("[https://orders.test]", "[~]", "audience[0]"),
        ("[https://orders.test]", "", "audience"),
        ("scope: null", "disabled: ~", "disabled"),
    ] {
        let refused = unasked("client", &NULL_SCOPE.replace(from, to).replace("scope: null", "scope: a"));
        refused.refused(&format!("it.yaml: {key}: invalid type: null, expected "), shape);
    }
    for (document, key) in [
        ("audience: urn:orders\nscope: null\n", "scope"),
        ("audience: ~\n", "audience"),
        ("audience: urn:orders\nroutes: [{path: /a, scope: }]\n", "routes[0].scope"),
        ("audience: urn:orders\ntrust_domains:\n", "trust_domains"),
    ] {
        unasked("resource", document)
            .refused(&format!("it.yaml: {key}: invalid type: null, expected "), "lanyard resource get");
    }
}

#[test]
fn a_file_may_begin_with_a_byte_order_mark_and_text_may_spell_null_in_quotes() {
    assert!(BYTE_ORDER_MARK.starts_with('\u{feff}'));
    let Dev { files, .. } = &Dev::start();
    let document = BYTE_ORDER_MARK
        .replace("dev.test", "dev.internal")
        .replace("https://orders.test", "https://orders.dev.internal");
    assert_eq!(files.apply(&document).ok(), "spiffe://dev.internal/workload updated\n");
    let quoted = document.replace("scope: a", "scope: 'null'\nowner: '~'\nspiffe_id: null");
    assert_eq!(files.apply(&quoted).ok(), "spiffe://dev.internal/workload updated\n");
    let shown = || files.run("admin", &["client", "get", "spiffe://dev.internal/workload"]);
    let json = files.run("admin", &["client", "get", "spiffe://dev.internal/workload", "-o", "json"]).json(0);
    assert_eq!((&json["scope"], &json["owner"]), (&json!("null"), &json!("~")));
    assert_eq!(files.apply(&shown().ok()).ok(), "spiffe://dev.internal/workload unchanged\n");
    // Inside a file it is an error, not part of a name.
    let second = format!("{document}---\n{}", document.replace("client_id", "\u{feff}client_id"));
    unasked("client", &second).refused("it.yaml: ", "lanyard client get");
}

#[test]
fn aliases_are_followed_as_far_as_a_document_can_be_meant() {
    let shared = "client_id: a\ntoken_endpoint_auth_method: &m spiffe_x509\nowner: *m\n";
    // It is read, and the next step fails.
    unasked("client", shared).refused("nowhere", "");
    let mut bomb =
        "client_id: a\ntoken_endpoint_auth_method: b\njwks:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(bomb, "  a{level}: &a{level} [{aliases}]").unwrap();
    }
    unasked("client", &bomb).refused("it.yaml: too many aliases, or nested too deeply at line ", "lanyard client get");
    let deep = format!("client_id: a\ntoken_endpoint_auth_method: b\njwks: {}", "[".repeat(100_000));
    unasked("client", &deep).refused("it.yaml: ", "lanyard client get");
    unasked("client", "client_id: &a [*a]\n").refused("it.yaml: an alias within its own anchor at line 1", "");
    unasked("client", "<<: {client_id: a}\ntoken_endpoint_auth_method: b\n").refused("unknown field `<<`", "");
}
