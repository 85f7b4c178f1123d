//! What many depend on is deleted or revoked after a question at a terminal; a script says `--yes`, and a revocation in
//! one is not held up.

use crate::support::dev::AUDIENCE;
use crate::support::dev::Dev;
use crate::support::dev::Files;
use crate::support::process::Finished;
use crate::support::process::run_at_a_terminal;

const PATTERN: &str = "client_id: shop\ntoken_endpoint_auth_method: spiffe_x509\n\
     spiffe_id: spiffe://dev.internal/shop/*\nscope: orders.read\naudience: [https://orders.dev.internal]\n";

fn at_a_terminal(files: &Files, who: &str, arguments: &[&str], typed: &str) -> Finished {
    run_at_a_terminal(&files.command(who, arguments), &[], typed)
}

fn is_registered(files: &Files, arguments: &[&str]) -> bool {
    files.run("admin", arguments).code == Some(0)
}

#[test]
fn a_script_deletes_a_pattern_only_with_yes_and_a_single_client_as_ever() {
    let Dev { files, .. } = &Dev::start();
    files.apply(PATTERN).ok();
    let delete = |more: &[&str]| files.run("admin", &[&["client", "delete"], more].concat());
    delete(&["shop"]).refused("shop covers all SPIFFE IDs below spiffe://dev.internal/shop", "--yes");
    assert!(is_registered(files, &["client", "get", "shop"]));
    assert_eq!(delete(&["shop", "--yes"]).ok(), "shop deleted\n");
    delete(&["shop"]).refused("CLIENT_NOT_FOUND", "lanyard client list");
    assert_eq!(delete(&["spiffe://dev.internal/workload"]).ok(), "spiffe://dev.internal/workload deleted\n");
}

#[test]
fn a_script_deletes_a_resource_that_clients_name_only_with_yes() {
    let Dev { files, .. } = &Dev::start();
    let delete = |more: &[&str]| files.run("admin", &[&["resource", "delete"], more].concat());
    delete(&[AUDIENCE]).refused("have the audience https://orders.dev.internal", "--yes");
    assert!(is_registered(files, &["resource", "get", AUDIENCE]));
    let clients = files.run("admin", &["client", "list", "-o", "name"]).ok();
    for client in clients.lines() {
        let shown = files.run("admin", &["client", "get", client, "-o", "json"]).json(0);
        if shown["audience"].as_array().is_some_and(|audience| audience.contains(&AUDIENCE.into())) {
            files.run("admin", &["client", "delete", client]).ok();
        }
    }
    // No client names it any more.
    assert_eq!(delete(&[AUDIENCE]).ok(), format!("{AUDIENCE} deleted\n"));
}

#[test]
fn a_person_is_shown_the_impact_and_asked() {
    let Dev { files, .. } = &Dev::start();
    files.apply(PATTERN).ok();
    let delete = ["client", "delete", "shop"];
    for no in ["n\n", "\n", "yess\n"] {
        let kept = at_a_terminal(files, "admin", &delete, no);
        assert_eq!(kept.code, Some(1), "{kept:?}");
        assert!(kept.stdout.contains("covers all SPIFFE IDs") && kept.stdout.contains("[y/N]"), "{kept:?}");
        assert!(kept.stdout.contains("not confirmed: nothing was changed"), "{kept:?}");
        assert!(is_registered(files, &["client", "get", "shop"]));
    }
    let deleted = at_a_terminal(files, "admin", &delete, "y\n");
    assert!(deleted.code == Some(0) && deleted.stdout.contains("shop deleted"), "{deleted:?}");
    assert!(!is_registered(files, &["client", "get", "shop"]));

    // What says --yes, and what concerns one alone, is not asked.
    files.apply(PATTERN).ok();
    let unasked = at_a_terminal(files, "admin", &["client", "delete", "shop", "--yes"], "");
    assert!(unasked.code == Some(0) && !unasked.stdout.contains("[y/N]"), "{unasked:?}");
    let one = at_a_terminal(files, "admin", &["client", "delete", "selfsigned"], "");
    assert!(one.code == Some(0) && !one.stdout.contains("[y/N]"), "{one:?}");
}

#[test]
fn a_revocation_of_many_asks_a_person_and_never_a_script() {
    let Dev { files, .. } = &Dev::start();
    let many = ["token", "revoke", "--identity", "spiffe://dev.internal/shop/*"];
    let list = || files.run("admin", &["revocation", "list"]).ok();
    let kept = at_a_terminal(files, "admin", &many, "n\n");
    assert_eq!(kept.code, Some(1), "{kept:?}");
    assert!(kept.stdout.contains("all SPIFFE IDs of spiffe://dev.internal/shop/* are refused then"), "{kept:?}");
    assert!(!list().contains("spiffe://dev.internal/shop/*"));
    let revoked = at_a_terminal(files, "admin", &many, "yes\n");
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    assert!(list().contains("spiffe://dev.internal/shop/*"));
    // Lifting asks nobody, and neither does what concerns one.
    let lifted = at_a_terminal(files, "admin", &[&many[..], &["--lift"]].concat(), "");
    assert_eq!(lifted.code, Some(0), "{lifted:?}");
    for one in [["--client", "spiffe://dev.internal/thief"], ["--issued-to", "spiffe://dev.internal/workload"]] {
        let revoked = at_a_terminal(files, "admin", &[&["token", "revoke"][..], &one].concat(), "");
        assert_eq!(revoked.code, Some(0), "{revoked:?}");
    }
    // Without a terminal nothing holds it up.
    files.run("admin", &many).ok();
    files.run("admin", &["token", "revoke", "--trust-domain", "elsewhere.internal"]).ok();
}
