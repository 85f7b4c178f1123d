//! `lanyard apply` of what waits for a second admin, and `lanyard proposals`.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use crate::support::dev::ANY;
use crate::support::dev::Files;
use crate::support::dev::LAST_LINE;
use crate::support::dev::dev;
use crate::support::dev::server;
use crate::support::process::Process;
use crate::support::process::text;

const GRANT: &str = "kind: Grant\nname: shop\nadmins: [spiffe://dev.internal/ci]\n\
                     spiffe_ids: ['spiffe://dev.internal/shop/*']\nscope: orders.read\nowners: [team-shop]\n";
const CLIENT: &str = "client_id: spiffe://dev.internal/shop/basket\ntoken_endpoint_auth_method: spiffe_x509\n\
                      scope: orders.read\naudience: ['https://orders.dev.internal']\n";

#[test]
fn what_is_applied_waits_is_shown_and_is_made_once_another_admin_approves_it() {
    let directory = TempDir::new().unwrap();
    let mut command = dev(directory.path(), ANY);
    let admins = "{admins: [{spiffe_id: spiffe://dev.internal/admin}, {spiffe_id: spiffe://dev.internal/workload}]}";
    command.env("LANYARD_ROLES", admins).env("LANYARD_DUAL_CONTROL", "{changes: [{kind: grant}]}");
    let process = Process::start(&mut command);
    let files = Files { dir: directory.path().to_owned(), server: server(&process.until(LAST_LINE)) };
    let [admin, second] = ["admin", "workload"].map(|who| {
        let files = files.clone();
        move |arguments: &[&str]| files.run(who, arguments)
    });
    let both = files.path("both.yaml");
    fs::write(&both, format!("{GRANT}---\n{CLIENT}")).unwrap();

    assert!(admin(&["apply", "-f", text(&both), "--dry-run"]).ok().contains("shop would be created\n"));
    let applied = admin(&["apply", "-f", text(&both), "--reason", "TICKET-7"]);
    assert_eq!(applied.code, Some(5), "{applied:?}");
    let line = applied.stdout.lines().find(|line| line.starts_with("shop proposed as ")).unwrap().to_owned();
    let id = line.rsplit(' ').next().unwrap();
    // What does not wait is made.
    assert!(applied.stdout.contains("spiffe://dev.internal/shop/basket created\n"), "{applied:?}");
    assert!(
        applied.stderr.contains("(PROPOSED)") && applied.stderr.contains("lanyard proposals approve"),
        "{applied:?}"
    );
    let again = admin(&["apply", "-f", text(&both), "-o", "json"]);
    assert_eq!(again.code, Some(5), "{again:?}");
    let again: serde_json::Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!((&again[0]["result"], &again[0]["proposal"]), (&json!("proposed"), &json!(id)));

    let listed = second(&["proposals", "list"]).ok();
    assert!(listed.contains(id) && listed.contains("create grant") && listed.contains("spiffe://dev.internal/admin"));
    let shown = second(&["proposals", "show", id]).ok();
    for part in ["create grant shop", "TICKET-7", "+ scope: \"orders.read\"", "spiffe://dev.internal/shop/*"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let as_json = second(&["proposals", "show", id, "-o", "json"]).json(0);
    assert_eq!((&as_json["outdated"], &as_json["by_team"]), (&json!(false), &json!(false)));
    assert!(as_json["differences"].as_array().unwrap().iter().any(|one| one["field"] == "scope"), "{as_json}");

    admin(&["proposals", "approve", id, "--yes"]).refused("(OWN_PROPOSAL)", "another admin");
    // Without a terminal nobody confirms it.
    let unconfirmed = second(&["proposals", "approve", id]);
    assert_eq!(unconfirmed.code, Some(1), "{unconfirmed:?}");
    assert!(unconfirmed.stderr.contains("--yes"), "{unconfirmed:?}");
    assert_eq!(second(&["proposals", "approve", id, "--yes"]).ok(), format!("{id} approved: create grant shop\n"));
    let history = second(&["history", "grant", "shop"]).ok();
    assert!(history.contains("by spiffe://dev.internal/admin, approved by spiffe://dev.internal/workload  (TICKET-7)"));
    assert!(admin(&["apply", "-f", text(&both)]).ok().contains("shop unchanged\n"));
    second(&["proposals", "approve", id, "--yes"]).refused("(PROPOSAL_NOT_FOUND)", "lanyard proposals list");

    fs::write(&both, GRANT.replace("orders.read", "orders.read orders.write")).unwrap();
    let wider = admin(&["grant", "apply", "-f", text(&both)]);
    let id = wider.stdout.trim_end().rsplit(' ').next().unwrap().to_owned();
    assert_eq!(admin(&["proposals", "reject", &id]).ok(), format!("{id} rejected: update grant shop\n"));
    admin(&["grant", "delete", "shop"]).ok();
}
