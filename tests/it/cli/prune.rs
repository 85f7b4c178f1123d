//! `lanyard apply --prune`: what its own name manages and no document registers goes, and nothing else.

use std::fs;

use tempfile::TempDir;

use crate::support::dev::Dev;
use crate::support::dev::Files;
use crate::support::process::Finished;
use crate::support::process::text;

fn client(name: &str) -> String {
    format!(
        "client_id: {name}\ntoken_endpoint_auth_method: spiffe_x509\nspiffe_id: spiffe://dev.internal/{name}\n\
         audience: ['urn:a']\n"
    )
}

fn resource(audience: &str) -> String {
    format!("audience: {audience}\nscope: a.read\nroutes: [{{path: /**}}]\n")
}

/// Applies these documents.
fn apply(files: &Files, documents: &[String], flags: &[&str]) -> Finished {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("all.yaml");
    fs::write(&file, documents.join("---\n")).unwrap();
    files.run("admin", &[&["apply", "-f", text(&file)], flags].concat())
}

fn names(files: &Files, kind: &str) -> Vec<String> {
    let listed = files.run("admin", &[kind, "list", "-o", "name"]).ok();
    listed
        .lines()
        .filter(|name| !name.contains("dev.internal") && *name != "selfsigned")
        .map(ToOwned::to_owned)
        .collect()
}

const MANAGED: [&str; 2] = ["--managed-by", "repo/one"];

#[test]
fn what_is_not_in_the_documents_any_more_goes_when_it_is_confirmed_and_nothing_of_others() {
    let Dev { files, .. } = &Dev::start();
    let with = |flags: &[&'static str]| [&MANAGED[..], flags].concat();
    apply(files, &[client("a"), client("b"), resource("urn:a"), resource("urn:b")], &MANAGED).ok();
    apply(files, &[client("other")], &["--managed-by", "repo/two"]).ok();
    apply(files, &[client("nobodys")], &[]).ok();
    let all = ["a", "b", "nobodys", "other"];

    let left = [client("a"), resource("urn:a")];
    let tried = apply(files, &left, &with(&["--prune", "--dry-run"]));
    assert_eq!(tried.ok(), "a unchanged\nurn:a unchanged\nurn:b would be deleted\nb would be deleted\n");
    let asked = apply(files, &left, &with(&["--prune"]));
    assert!(asked.code == Some(4) && asked.stdout.contains("b would be deleted\n"), "{asked:?}");
    assert!(asked.stderr.contains("nothing was written: --prune would delete") && asked.stderr.contains("--yes"));
    assert_eq!(names(files, "client"), all);
    let done = apply(files, &left, &with(&["--prune", "--yes", "--reason", "not used any more"]));
    assert!(done.stderr.contains("4 documents: 2 unchanged, 2 deleted"), "{done:?}");
    assert!(done.ok().ends_with("urn:b deleted\nb deleted\n"));
    assert_eq!(names(files, "client"), ["a", "nobodys", "other"]);
    assert_eq!(names(files, "resource"), ["urn:a"]);
    let history = files.run("admin", &["history", "client", "b"]).ok();
    assert!(history.contains("deleted by") && history.contains("(not used any more)"), "{history}");
    // There is nothing more to delete, and nothing to confirm.
    assert_eq!(apply(files, &left, &with(&["--prune"])).ok(), "a unchanged\nurn:a unchanged\n");
}

#[test]
fn no_documents_prune_nothing_and_what_another_manages_is_taken_over_with_a_warning() {
    let Dev { files, .. } = &Dev::start();
    apply(files, &[client("a"), client("b")], &MANAGED).ok();
    let empty = apply(files, &[], &[&MANAGED[..], &["--prune", "--yes"]].concat());
    assert!(empty.code == Some(4) && empty.stderr.contains("no client, no resource and no grant in"), "{empty:?}");
    assert_eq!(names(files, "client"), ["a", "b"]);
    // Without a name there is nothing to go by.
    assert_eq!(apply(files, &[client("a")], &["--prune", "--yes"]).code, Some(2));
    // What a document says nothing of stays.
    assert_eq!(apply(files, &[client("a")], &[]).ok(), "a unchanged\n");
    let by_two = ["--managed-by", "repo/two"];
    let strict = apply(files, &[client("a")], &[&by_two[..], &["--strict"]].concat());
    assert!(strict.code == Some(4) && strict.stderr.contains("there are warnings"), "{strict:?}");
    let taken = apply(files, &[client("a")], &by_two);
    assert!(taken.stderr.contains("it has been managed by 'repo/one'"), "{taken:?}");
    assert_eq!(taken.ok(), "a updated\n");
    // The first repository does not delete what is the second's now.
    let done = apply(files, &[client("b")], &[&MANAGED[..], &["--prune", "--yes"]].concat());
    assert_eq!(done.ok(), "b unchanged\n");
    assert_eq!(names(files, "client"), ["a", "b"]);
    assert!(files.run("admin", &["client", "get", "a"]).ok().contains("managed_by: repo/two\n"));
}
