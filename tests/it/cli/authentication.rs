//! What `apply`, `list` and `doctor` say of changes and records that decide which tokens and certificates are accepted.

use serde_json::json;

use crate::support::ca::self_signed;
use crate::support::dev::AUDIENCE;
use crate::support::dev::Dev;
use crate::support::process::run_with;

fn self_signed_document(pem: &str, more: &str) -> String {
    let pem: String = pem.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "client_id: batch\ntoken_endpoint_auth_method: self_signed_tls_client_auth\ncertificate_pem: |\n{pem}\
         audience: [{AUDIENCE}]\naccess_token_ttl: 10m\n{more}"
    )
}

#[test]
fn apply_says_how_long_tokens_would_have_lived_that_a_change_denies() {
    let Dev { files, .. } = &Dev::start();
    let [old, new] = ["old", "new"].map(|name| self_signed(name).issue());
    let apply = |document: &str, flags: &[&str]| {
        run_with(&mut files.command("admin", &[&["client", "apply", "-f", "-"], flags].concat()), document)
    };
    let first = self_signed_document(&old.pem(), "");
    assert_eq!(apply(&first, &[]).ok(), "batch created\n");
    // Nothing else denies a token.
    let owned = self_signed_document(&old.pem(), "owner: team-batch\n");
    assert_eq!(apply(&owned, &["--dry-run"]).ok(), "batch would be updated\n");
    let second = self_signed_document(&new.pem(), "");
    let denied = "its authentication changes, and tokens issued before, with up to 10m left,";
    assert_eq!(apply(&second, &["--dry-run"]).ok(), format!("batch would be updated: {denied} would be denied\n"));
    let dry = apply(&second, &["--dry-run", "-o", "json"]).json(0);
    let line = json!({"client_id": "batch", "result": "updated", "dry_run": true, "denied_tokens_lifetime": "10m"});
    assert_eq!(dry, json!([line]));
    assert_eq!(apply(&second, &[]).ok(), format!("batch updated: {denied} are denied\n"));
    assert_eq!(apply(&second, &[]).ok(), "batch unchanged\n");
}
