//! `lanyard apply`: clients and resources from one place, all of them or none.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use crate::support::dev::Dev;
use crate::support::process::Finished;
use crate::support::process::run_with;
use crate::support::process::text;

fn client(client_id: &str, identity: &str) -> String {
    format!(
        "client_id: {client_id}\ntoken_endpoint_auth_method: spiffe_x509\nspiffe_id: spiffe://dev.internal/{identity}\naudience: [urn:a]\n"
    )
}

fn resource(audience: &str) -> String {
    format!("audience: {audience}\nroutes: [{{path: /, public: true}}]\n")
}

/// A refused document: exit code 4, two lines, and nothing on stdout.
#[track_caller]
fn refused(finished: &Finished, problem: &str) {
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(4), ""), "{finished:?}");
    assert!(finished.stderr.starts_with("error: ") && finished.stderr.contains(problem), "{finished:?}");
    assert!(finished.stderr.contains("\n  next: "), "{finished:?}");
}

#[test]
fn both_kinds_are_applied_from_a_folder_and_clients_come_first() {
    let Dev { files, .. } = &Dev::start();
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a.yaml"), format!("{}---\n{}", resource("urn:one"), client("one", "one"))).unwrap();
    fs::write(folder.path().join("b.yml"), client("two", "two")).unwrap();
    let apply = |flags: &[&str]| files.run("admin", &[&["apply", "-f", text(folder.path())], flags].concat());
    let dry = "one would be created\ntwo would be created\nurn:one would be created\n";
    assert_eq!(apply(&["--dry-run"]).ok(), dry);
    assert_eq!(apply(&["--dry-run"]).ok(), dry, "nothing was written");
    assert_eq!(apply(&[]).ok(), "one created\ntwo created\nurn:one created\n");
    let again = apply(&["-o", "json"]).json(0);
    assert_eq!(
        again,
        json!([{"client_id": "one", "result": "unchanged", "dry_run": false},
            {"client_id": "two", "result": "unchanged", "dry_run": false},
            {"audience": "urn:one", "result": "unchanged", "dry_run": false}])
    );
    let from_stdin = run_with(&mut files.command("admin", &["apply", "-f", "-"]), &resource("urn:two"));
    assert_eq!(from_stdin.ok(), "urn:two created\n");
}

#[test]
fn one_that_is_refused_spoils_all_and_has_its_own_exit_code() {
    let Dev { files, .. } = &Dev::start();
    let apply = |text: &str| run_with(&mut files.command("admin", &["apply", "-f", "-"]), text);
    let good = format!("{}---\n{}", client("good", "good"), resource("urn:good"));
    refused(&apply(&format!("{good}---\n{}mode: loose\n", resource("urn:bad"))), "nothing was written: urn:bad: ");
    refused(&apply(&format!("{good}---\n{}scope: two  spaces\n", client("bad", "bad"))), "nothing was written: bad: ");
    refused(&apply(&format!("{good}---\n{}onwer: me\n", client("bad", "bad"))), "unknown field `onwer`");
    refused(&apply(&format!("{good}---\n{}", resource("urn:good"))), "audience 'urn:good' appears twice");
    refused(&apply("a: b\n"), "client_id");
    refused(&apply(""), "no client, no resource and no grant in -");
    // Each is valid without the other.
    let both = format!("{good}---\n{}---\n{}", client("first", "same"), client("second", "same"));
    refused(&apply(&both), "what was written is undone: second: ");
    for name in ["good", "first", "second"] {
        files.run("admin", &["client", "get", name]).refused("CLIENT_NOT_FOUND", "");
    }
    files.run("admin", &["resource", "get", "urn:good"]).refused("RESOURCE_NOT_FOUND", "");
    apply(&good).ok();
}

#[test]
fn what_may_succeed_later_has_the_usual_exit_code() {
    let Dev { files, .. } = &Dev::start();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("client.yaml");
    fs::write(&file, client("one", "one")).unwrap();
    let apply = |who: &str| files.run(who, &["apply", "-f", text(&file)]);
    apply("workload").refused("WRONG_ROLE", "role Admin");
    files.run("admin", &["apply", "-f", text(&folder.path().join("none.yaml"))]).refused("No such file", "path");
    let mut elsewhere = files.clone();
    elsewhere.server = "https://localhost:1".to_owned();
    elsewhere.run("admin", &["apply", "-f", text(&file)]).refused("cannot reach", "server runs");
    assert_eq!(apply("admin").ok(), "one created\n");
}

#[test]
fn a_document_with_an_etag_is_applied_over_that_revision_alone() {
    let Dev { files, .. } = &Dev::start();
    let apply = |text: &str, flags: &[&str]| {
        run_with(&mut files.command("admin", &[&["apply", "-f", "-"], flags].concat()), text)
    };
    assert_eq!(apply(&client("one", "one"), &[]).ok(), "one created\n");
    let etag = files.run("admin", &["client", "get", "one", "-o", "json"]).json(0)["etag"].as_str().unwrap().to_owned();
    let changed = |scope: &str| format!("etag: '{etag}'\n{}scope: {scope}\n", client("one", "one"));
    assert_eq!(apply(&changed("a.read"), &[]).ok(), "one updated\n");
    for flags in [&[][..], &["--dry-run"]] {
        let refused = apply(&changed("a.write"), flags);
        assert!(refused.code == Some(1) && refused.stderr.contains("(ETAG_MISMATCH)"), "{flags:?}: {refused:?}");
    }
    assert!(files.run("admin", &["client", "get", "one"]).ok().contains("scope: a.read\n"));
    // Nor is one that is gone registered again.
    files.run("admin", &["client", "delete", "one"]).ok();
    apply(&changed("a.write"), &[]).refused("(ETAG_MISMATCH)", "read it again");
    assert_eq!(apply(&client("one", "one"), &[]).ok(), "one created\n");
}
