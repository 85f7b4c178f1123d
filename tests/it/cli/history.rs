//! `lanyard history`, `lanyard show` and `lanyard rollback`: from what to what, by whom, when and why; and back.

use std::fs;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::support::dev::Dev;
use crate::support::process::run;
use crate::support::process::run_with;
use crate::support::process::text;

const CLIENT: &str = "client_id: one\ntoken_endpoint_auth_method: spiffe_x509\n\
                      spiffe_id: spiffe://dev.internal/one\naudience: [urn:a]\nscope: a.read\n";

#[test]
fn who_changed_this_from_what_to_what_when_and_why_is_one_command_and_so_is_the_way_back() {
    let Dev { files, .. } = &Dev::start();
    let admin = |arguments: &[&str]| files.run("admin", arguments);
    let apply = |text: &str, reason: &str| {
        run_with(&mut files.command("admin", &["apply", "-f", "-", "--reason", reason]), text).ok()
    };
    apply(CLIENT, "a new service");
    apply(&CLIENT.replace("a.read", "a.read a.write"), "it writes now");
    let shown = admin(&["history", "client", "one"]).ok();
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with("1  "), "{shown}");
    assert!(lines[0].ends_with("created by spiffe://dev.internal/admin  (a new service)"), "{shown}");
    let last = lines.iter().rposition(|line| line.starts_with("2  ")).unwrap();
    assert!(lines[last].ends_with("updated by spiffe://dev.internal/admin  (it writes now)"), "{shown}");
    assert_eq!(lines[last + 1..], ["    scope: \"a.read\" -> \"a.read a.write\""]);

    let first = "one@1";
    let then = admin(&["show", "client", first]).ok();
    assert!(then.contains("scope: a.read\n"), "{then}");
    assert_eq!(
        admin(&["rollback", "client", first, "--dry-run"]).ok(),
        "one would be updated\n  scope: \"a.read a.write\" -> \"a.read\"\n"
    );
    assert_eq!(admin(&["rollback", "client", first]).ok(), "one updated\n  scope: \"a.read a.write\" -> \"a.read\"\n");
    assert_eq!(admin(&["rollback", "client", first]).ok(), "one unchanged\n");
    let reasons = admin(&["history", "client", "one", "-o", "json"]).json(0);
    assert_eq!(reasons[2]["reason"], "rolled back to change 1");

    // Also what is deleted comes back, with a creation id of its own.
    admin(&["client", "delete", "one", "--reason", "by mistake"]).ok();
    assert!(
        admin(&["history", "client", "one"]).ok().ends_with("deleted by spiffe://dev.internal/admin  (by mistake)\n")
    );
    let back = admin(&["rollback", "client", "one@2"]).ok();
    assert!(back.starts_with("one created\n"), "{back}");
    assert_eq!(admin(&["client", "get", "one", "-o", "json"]).json(0)["scope"], "a.read a.write");

    admin(&["show", "client", "one@999999"]).refused("what change 999999 made of 'one' is not kept", "lanyard history");
    admin(&["history", "client", "nobody"]).refused("CLIENT_NOT_FOUND", "");
    files.run("workload", &["history", "client", "one"]).refused("WRONG_ROLE", "role Admin");
    assert_eq!(admin(&["show", "client", "one"]).code, Some(2));
    let kept = admin(&["history", "resource", "https://orders.dev.internal", "-o", "json"]).json(0);
    assert_eq!((&kept[0]["change"], &kept[0]["number"]), (&json!("created"), &json!(1)));
}

#[test]
fn what_is_applied_from_a_repository_names_its_commit() {
    let Dev { files, .. } = &Dev::start();
    let folder = TempDir::new().unwrap();
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(folder.path()).args(["-c", "user.name=a", "-c", "user.email=a@a.test"]).args(arguments);
        run(&mut command).ok()
    };
    let file = folder.path().join("one.yaml");
    let reason = || {
        files.run("admin", &["apply", "-f", text(folder.path())]).ok();
        let kept = files.run("admin", &["history", "client", "one", "-o", "json"]).json(0);
        kept.as_array().unwrap().last().unwrap()["reason"].as_str().unwrap().to_owned()
    };
    fs::write(&file, CLIENT).unwrap();
    assert_eq!(reason(), "");
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "one"]);
    let commit = git(&["rev-parse", "--short=12", "HEAD"]);
    fs::write(&file, CLIENT.replace("a.read", "a.read a.write")).unwrap();
    assert_eq!(reason(), format!("git {} and uncommitted changes", commit.trim()));
    git(&["commit", "-q", "-a", "-m", "two"]);
    fs::write(folder.path().join("two.yaml"), CLIENT.replace("one", "two")).unwrap();
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "three"]);
    files.run("admin", &["apply", "-f", text(folder.path())]).ok();
    let commit = git(&["rev-parse", "--short=12", "HEAD"]);
    let kept = files.run("admin", &["history", "client", "two", "-o", "json"]).json(0);
    assert_eq!(kept[0]["reason"], format!("git {}", commit.trim()));
}
