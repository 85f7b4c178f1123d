//! `LANYARD_SKIP`: which tests are left out, and what is then not fetched.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::process::Command;

use crate::support::process::Finished;
use crate::support::process::run;
use crate::support::server::in_crate;
use crate::support::tools::leaves_out;

/// Counterparts that are on the machine, or are made there, so that nothing is fetched for them.
const NOT_FETCHED: [&str; 5] = ["curl", "image", "jq", "openssl", "unshare"];

/// Parts of the names of tests that have fetched counterparts, at least one for each counterpart.
const WITH_COUNTERPARTS: [&str; 13] = [
    "alerts",
    "authlib",
    "client_pages",
    "deploy::consul",
    "deploy::manifests",
    "envoy",
    "example_clients",
    "helm",
    "openid_client",
    "pkcs11",
    "python_client",
    "resource_server",
    "spire",
];

#[test]
fn a_counterpart_is_left_out_by_its_name_or_with_all_others() {
    for (names, name, left_out) in [
        ("all", "helm", true),
        ("python, all", "helm", true),
        (" helm ,node", "helm", true),
        ("", "helm", false),
        ("python,node", "helm", false),
        ("helmet,overall,ALL", "helm", false),
    ] {
        assert_eq!(leaves_out(names, name), left_out, "{names}: {name}");
    }
}

/// Runs tests of this binary on a machine where no command is found and no tool can be kept.
fn on_a_bare_machine(filters: &[&str], skip: &str) -> Finished {
    let bare = tempfile::tempdir().unwrap();
    let mut tests = Command::new(env::current_exe().unwrap());
    tests
        .arg("--include-ignored")
        .args(filters)
        .env("LANYARD_SKIP", skip)
        .env("PATH", bare.path())
        .env("LANYARD_TOOLS", "/dev/null/tools");
    run(&mut tests)
}

#[test]
fn with_all_left_out_no_test_asks_for_a_counterpart() {
    let finished = on_a_bare_machine(&WITH_COUNTERPARTS, "all");
    assert_eq!(finished.code, Some(0), "{finished:?}");
    for filter in WITH_COUNTERPARTS {
        assert!(finished.stdout.lines().any(|line| line.contains(filter) && line.ends_with(" ok")), "{filter}");
    }
}

#[test]
fn with_one_left_out_the_tests_of_another_still_ask_for_it() {
    let finished = on_a_bare_machine(&["authlib"], "helm,node,openssl");
    assert_eq!(finished.code, Some(101), "{finished:?}");
    assert!(finished.stdout.contains("these tests need python3"), "{finished:?}");
}

/// The names that the support of the tests leaves out by.
fn counterparts() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut paths = vec![in_crate("tests/it/support")];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        for call in ["skipped(\"", "command(\""] {
            let found = source.split(call).skip(1).filter_map(|rest| rest.split('"').next());
            names.extend(found.map(str::to_owned));
        }
    }
    names
}

/// The names at the beginnings of the lines that `.ci/fetches` prints.
fn announced(skip: &str) -> BTreeSet<String> {
    let printed = run(Command::new(in_crate(".ci/fetches")).env("LANYARD_SKIP", skip)).ok();
    printed.lines().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

#[test]
fn what_is_fetched_is_announced_counterpart_by_counterpart() {
    let fetched = counterparts().into_iter().filter(|name| !NOT_FETCHED.contains(&name.as_str()));
    let all = fetched.chain(["crates".to_owned()]).collect::<BTreeSet<_>>();
    assert_eq!(announced(""), all);
    assert_eq!(announced("all"), BTreeSet::from(["crates".to_owned()]));
    let mut rest = all;
    rest.retain(|name| name != "python" && name != "spire");
    assert_eq!(announced(" python, spire"), rest);
}

#[test]
fn the_readme_names_every_counterpart_that_can_be_left_out() {
    let readme = fs::read_to_string(in_crate("README.md")).unwrap();
    let listed = readme.split('`').find(|text| text.starts_with("python,node,")).unwrap();
    assert_eq!(listed.split(',').map(str::to_owned).collect::<BTreeSet<_>>(), counterparts());
    assert!(readme.contains("LANYARD_SKIP=all cargo test --offline"));
}
