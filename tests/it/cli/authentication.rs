//! What `apply`, `list` and `doctor` say of changes and records that decide which tokens and certificates are accepted.

use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;
use lanyard::store::sled::SledOptions;
use lanyard::store::sled::SledStore;
use serde_json::json;

use crate::support::ca::self_signed;
use crate::support::dev::AUDIENCE;
use crate::support::dev::Dev;
use crate::support::doctor::DoctorFixture;
use crate::support::process::run_with;

fn self_signed_document(pem: &str, more: &str) -> String {
    let pem = pem.trim_end().replace('\n', "\n  ");
    format!(
        "client_id: batch\ntoken_endpoint_auth_method: self_signed_tls_client_auth\ncertificate_pem: |\n  {pem}\n\
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

#[test]
fn apply_warns_of_a_resource_that_defines_no_scope() {
    let Dev { files, .. } = &Dev::start();
    let apply = |document: &str, flags: &[&str]| {
        run_with(&mut files.command("admin", &[&["resource", "apply", "-f", "-"], flags].concat()), document)
    };
    for flags in [&["--dry-run"][..], &[]] {
        let applied = apply("audience: urn:plain\n", flags);
        assert!(applied.stderr.contains("\nwarning: urn:plain: it defines no scope: every scope"), "{applied:?}");
        let applied = apply("audience: urn:scoped\nscope: stock.read\nmode: enforce\nroutes: [{path: /a}]\n", flags);
        assert_eq!((applied.code, applied.stderr.as_str()), (Some(0), ""), "{applied:?}");
    }
}

const EARLIER: &str = r#"{"schema":1,"creation_id":"AAAAAAAAAAAAAAAAAAAAAA","metadata":{"client_id":"legacy","token_endpoint_auth_method":"tls_client_auth","tls_client_auth_san_dns":"legacy.example","audience":["https://orders.prod.example"]},"create_time":1800000000,"created_by":"admin","update_time":1800000000,"updated_by":"admin"}"#;

#[test]
fn doctor_names_a_client_that_any_of_several_client_cas_vouches_for() {
    let fixture = DoctorFixture::new().served();
    let put = |record: &str, expected| {
        let store = SledStore::open(&fixture.path("volume/data"), SledOptions::default()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(store.put("/clients/legacy", record.as_bytes().to_vec(), expected)).unwrap();
    };
    put(EARLIER, Expected::Absent);
    // It is pinned to the only one.
    fixture.seen().healthy();
    fixture.configure("client_cas: {corp: corp.pem}", "client_cas: {corp: corp.pem, other: other.pem}");
    let seen = fixture.seen();
    seen.only_warns("CLIENT_CA_NOT_NAMED");
    assert!(seen.lines().any(|line| line["check"] == "registrations" && line["subject"] == "legacy"), "{seen:#?}");
    put(&EARLIER.replace("\"audience\"", "\"client_ca\":\"corp\",\"audience\""), Expected::Any);
    let seen = fixture.seen();
    seen.healthy();
    assert!(seen.checks("ok").contains(&"registrations"), "{seen:#?}");
    let _server = fixture.serve();
    assert!(fixture.seen().checks("not_checked").contains(&"registrations"));
}
