//! Contexts: the connection's settings by a name, in a file.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::support::dev::Dev;
use crate::support::dev::Files;
use crate::support::process::Finished;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::text;

/// A command without connection flags, whose contexts are in this file.
fn command(contexts: &Path, line: &[&str]) -> Command {
    let mut command = lanyard();
    command.args(line).env("LANYARD_CONTEXTS", contexts);
    command
}

fn with(contexts: &Path, line: &[&str]) -> Finished {
    run(&mut command(contexts, line))
}

/// Makes a context with the certificate of `who`.
fn set(contexts: &Path, name: &str, files: &Files, who: &str) {
    let (cert, key) = (files.path(&format!("{who}.pem")), files.path(&format!("{who}-key.pem")));
    let paths =
        ["--ca", text(&files.path("ca.pem")), "--cert", text(&cert), "--key", text(&key)].map(ToOwned::to_owned);
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let line = [&["context", "set", name, "--server", &files.server][..], &paths].concat();
    assert_eq!(with(contexts, &line).ok(), format!("{name} set\n"));
}

fn roles(contexts: &Path, more: &[&str]) -> serde_json::Value {
    with(contexts, &[&["whoami", "-o", "json"], more].concat()).json(0)
}

#[test]
fn a_context_says_what_neither_a_flag_nor_a_variable_does() {
    let (Dev { files, .. }, folder) = (&Dev::start(), TempDir::new().unwrap());
    let contexts = folder.path().join("made/contexts.yaml");
    set(&contexts, "operator", files, "admin");
    set(&contexts, "shop", files, "workload");
    // None is in use yet, so nothing is taken from either.
    let missing = with(&contexts, &["whoami"]);
    assert_eq!(missing.code, Some(2), "{missing:?}");
    assert!(missing.stderr.contains("--ca <FILE>\n  --cert <FILE>\n  --key <FILE>"), "{missing:?}");
    assert!(missing.stderr.contains("tip: so may a context"), "{missing:?}");

    assert_eq!(with(&contexts, &["context", "use", "operator"]).ok(), "operator in use\n");
    let own = roles(&contexts, &[]);
    assert_eq!((&own["context"], &own["roles"]), (&json!("operator"), &json!(["workload", "admin"])));
    assert!(with(&contexts, &["whoami"]).ok().starts_with("context      operator\n"));
    // By the flag, by the variable, and the flag before the variable.
    assert_eq!(roles(&contexts, &["--context", "shop"])["roles"], json!(["workload"]));
    let by_variable = |more: &[&str]| {
        let mut whoami = command(&contexts, &[&["whoami", "-o", "json"], more].concat());
        run(whoami.env("LANYARD_CONTEXT", "shop")).json(0)["context"].clone()
    };
    assert_eq!((by_variable(&[]), by_variable(&["--context", "operator"])), (json!("shop"), json!("operator")));

    // A variable goes before the context, and a flag before both.
    let (cert, key) = (files.path("proxy.pem"), files.path("proxy-key.pem"));
    let mut proxy = command(&contexts, &["whoami", "-o", "json"]);
    proxy.env("LANYARD_CERT", &cert).env("LANYARD_KEY", &key);
    assert_eq!(run(&mut proxy).json(0)["roles"], json!(["workload", "proxy"]));
    proxy.args(["--cert", text(&files.path("workload.pem")), "--key", text(&files.path("workload-key.pem"))]);
    assert_eq!(run(&mut proxy).json(0)["roles"], json!(["workload"]));

    // With everything given, no context has a part, not even a broken one.
    fs::write(&contexts, "contexts: [").unwrap();
    let mut whole = files.command("workload", &["whoami", "-o", "json"]);
    assert_eq!(run(whole.env("LANYARD_CONTEXTS", &contexts)).json(0)["context"], json!(null));
}

#[test]
fn a_broken_file_a_missing_name_and_a_gap_are_errors() {
    let (Dev { files, .. }, folder) = (&Dev::start(), TempDir::new().unwrap());
    let contexts = folder.path().join("contexts.yaml");
    let list = |more: &[&str]| with(&contexts, &[&["client", "list"], more].concat());
    list(&["--context", "prod"]).refused("there is no context 'prod' in", "lanyard context list");
    // Also where everything is given: the name was asked for.
    let mut named = files.command("admin", &["client", "list", "--context", "prod"]);
    run(named.env("LANYARD_CONTEXTS", &contexts)).refused("there is no context 'prod'", "lanyard context list");

    fs::write(&contexts, "current: prod\ncontexts: {}\n").unwrap();
    list(&[]).refused("there is no context 'prod'", "lanyard context set");
    for broken in ["contexts: [", "", "contexts: {a: {password: x}}", "contexts: {a: {server: 'http://x'}}"] {
        fs::write(&contexts, broken).unwrap();
        list(&[]).refused("contexts.yaml: ", "correct the file");
        with(&contexts, &["context", "set", "a"]).refused("contexts.yaml: ", "correct the file");
        assert_eq!(fs::read_to_string(&contexts).unwrap(), broken);
    }
    fs::write(&contexts, "current: prod\ncontexts: {prod: {server: 'https://localhost:1', ca: ca.pem}}\n").unwrap();
    list(&[]).refused("the context 'prod' leaves open: --cert, --key", "lanyard context set prod");
    // A path in the file is relative to the file, and an error names the context that it came from.
    let (cert, key) = (files.path("admin.pem"), files.path("admin-key.pem"));
    let mut by_flags = command(&contexts, &["client", "list", "--cert", text(&cert), "--key", text(&key)]);
    let ca = text(&folder.path().join("ca.pem")).to_owned();
    run(&mut by_flags).refused(&format!("{ca}: No such file"), "--ca (from the context prod) names it");
    fs::copy(files.path("ca.pem"), &ca).unwrap();
    run(&mut by_flags).refused("cannot reach the server", "--server (from the context prod) names its host");
    by_flags.args(["--server", &files.server]);
    assert_eq!(run(&mut by_flags).code, Some(0));
}

#[test]
fn contexts_are_listed_shown_changed_and_deleted() {
    let (Dev { files, .. }, folder) = (&Dev::start(), TempDir::new().unwrap());
    let contexts = folder.path().join("contexts.yaml");
    let context = |line: &[&str]| with(&contexts, &[&["context"], line].concat());
    assert_eq!(context(&["list", "-o", "json"]).json(0), json!([]));
    context(&["show"]).refused("no context is in use", "lanyard context use");
    context(&["use", "operator"]).refused("there is no context 'operator'", "lanyard context set");
    context(&["delete", "operator"]).refused("there is no context 'operator'", "lanyard context list");
    set(&contexts, "operator", files, "admin");
    context(&["use", "operator"]).ok();
    // Only what is given changes, and paths are kept whole.
    let mut changed = command(&contexts, &["context", "set", "operator", "--ca", "other-ca.pem"]);
    run(changed.current_dir(folder.path())).ok();
    let shown = context(&["show", "-o", "json"]).json(0);
    let here = fs::canonicalize(folder.path()).unwrap();
    let expected = json!({
        "context": "operator",
        "in_use": true,
        "server": files.server,
        "ca": here.join("other-ca.pem"),
        "cert": files.path("admin.pem"),
        "key": files.path("admin-key.pem"),
    });
    assert_eq!(shown, expected);
    let listed = context(&["list"]).ok();
    assert!(listed.contains(&format!("*  operator  {}", files.server)), "{listed}");
    assert!(context(&["show", "operator"]).ok().starts_with("context  operator (in use)\nserver   https://"));

    let deleted = context(&["delete", "operator"]);
    assert!(deleted.stderr.contains("it was in use"), "{deleted:?}");
    assert_eq!(context(&["list", "-o", "json"]).json(0), json!([]));
    assert_eq!(context(&["set", "a b"]).code, Some(2));
    // It names the key, and never holds it.
    assert_eq!(context(&["set", "a", "--server", "http://localhost"]).code, Some(2));
    let key = fs::read_to_string(files.path("admin-key.pem")).unwrap();
    assert!(!fs::read_to_string(&contexts).unwrap().contains(key.lines().nth(1).unwrap()));
}
