//! `lanyard resource` against a running server: what it prints, its exit codes, and what it says when something is wrong.

use std::fs;
use std::thread;

use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::support::dev::AUDIENCE;
use crate::support::dev::Dev;
use crate::support::dev::Files;
use crate::support::process::Finished;
use crate::support::process::run_with;
use crate::support::process::text;

const WHOLE: &str = r#"audience: https://stock.dev.internal
scope: stock.read stock.write
routes:
- {methods: [GET], path: "/stock/{id}", scope: stock.read}
- {methods: [POST, PUT], path: /stock, scope: stock.write}
- {path: /healthz, public: true}
least_evidence: certificate
evidence_from: {via: [spiffe://dev.internal/gateway]}
trust_domains: [dev.internal]
mode: report
report_header: true
remove_authorization: true
destination_principals: [spiffe://dev.internal/stock]
authorities: [stock.dev.internal, "stock.dev.internal:8443"]
owner: team-stock
"#;

const STOCK: &str = "https://stock.dev.internal";

fn document(name: &str, more: &str) -> String {
    format!("audience: urn:{name}\n{more}")
}

fn resource(files: &Files, arguments: &[&str]) -> Finished {
    files.run("admin", &[&["resource"], arguments].concat())
}

/// Applies a text through stdin.
fn applied(files: &Files, yaml: &str) -> Finished {
    run_with(&mut files.command("admin", &["resource", "apply", "-f", "-"]), yaml)
}

fn results(applied: &Value) -> Vec<(&str, &str)> {
    let entry = |entry: &'_ Value| (entry["audience"].clone(), entry["result"].clone());
    let text = |value: Value| value.as_str().unwrap().to_owned().leak() as &str;
    applied.as_array().unwrap().iter().map(entry).map(|(name, result)| (text(name), text(result))).collect()
}

#[test]
fn apply_creates_updates_and_leaves_alone_and_says_which() {
    let Dev { files, .. } = &Dev::start();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("both.yaml");
    let both = |owner: &str| format!("{}---\n{}", document("one", ""), document("two", &format!("owner: {owner}\n")));
    let apply = |flags: &[&str]| resource(files, &[&["apply", "-f", text(&file)], flags].concat());
    fs::write(&file, both("a")).unwrap();

    assert_eq!(apply(&["--dry-run"]).ok(), "urn:one would be created\nurn:two would be created\n");
    assert_eq!(resource(files, &["get", "urn:one"]).code, Some(1));
    assert_eq!(apply(&[]).ok(), "urn:one created\nurn:two created\n");
    assert_eq!(apply(&[]).ok(), "urn:one unchanged\nurn:two unchanged\n");
    fs::write(&file, both("b")).unwrap();
    let reported = apply(&["--dry-run", "-o", "json"]).json(0);
    assert_eq!(reported[1], json!({"audience": "urn:two", "result": "updated", "dry_run": true}));
    assert_eq!(resource(files, &["get", "urn:two", "-o", "json"]).json(0)["owner"], "a");
    let reported = apply(&["-o", "json"]).json(0);
    assert_eq!(results(&reported), [("urn:one", "unchanged"), ("urn:two", "updated")]);
    assert_eq!(resource(files, &["get", "urn:two", "-o", "json"]).json(0)["owner"], "b");

    // A folder, in the order of its names, without what is not YAML; and what a document leaves out is not kept.
    fs::write(&file, both("b").replace("owner: b\n", "")).unwrap();
    fs::write(folder.path().join("third.yml"), document("three", "")).unwrap();
    fs::write(folder.path().join("notes.txt"), "not: a resource").unwrap();
    let reported = resource(files, &["apply", "-f", text(folder.path()), "-o", "json"]).json(0);
    assert_eq!(results(&reported), [("urn:one", "unchanged"), ("urn:two", "updated"), ("urn:three", "created")]);
    assert_eq!(resource(files, &["get", "urn:two", "-o", "json"]).json(0)["owner"], Value::Null);
    assert_eq!(applied(files, &document("four", "")).ok(), "urn:four created\n");
}

#[test]
fn what_get_prints_can_be_applied_again_and_what_is_deleted_is_gone() {
    let Dev { files, .. } = &Dev::start();
    applied(files, WHOLE).ok();
    let by_header = "urn:by-header";
    applied(files, &document("by-header", "evidence_from: header\n")).ok();
    for audience in [STOCK, AUDIENCE, by_header] {
        let printed = resource(files, &["get", audience]).ok();
        assert!(printed.starts_with("# etag: "), "{printed}");
        assert_eq!(applied(files, &printed).ok(), format!("{audience} unchanged\n"), "{printed}");
    }
    assert_eq!(resource(files, &["get", by_header, "-o", "json"]).json(0)["evidence_from"], "header");
    resource(files, &["delete", by_header]).ok();
    let shown = resource(files, &["get", STOCK, "-o", "json"]).json(0);
    assert_eq!(shown["created_by"], "spiffe://dev.internal/admin");
    assert_eq!(shown["evidence_from"], json!({"via": ["spiffe://dev.internal/gateway"]}));
    assert_eq!(shown["routes"][2], json!({"path": "/healthz", "public": true}));
    let sample = resource(files, &["get", AUDIENCE, "-o", "json"]).json(0);
    assert_eq!((&sample["evidence_from"], &sample["least_evidence"]), (&json!("peer"), &json!("thumbprint")));
    assert_eq!(resource(files, &["list", "-o", "json"]).json(0), json!([sample, shown]));

    let etag = shown["etag"].as_str().unwrap();
    let delete = |flags: &[&str]| resource(files, &[&["delete", STOCK], flags].concat());
    delete(&["--etag", "1"]).refused("(ETAG_MISMATCH)", "lanyard resource get");
    delete(&["--etag", "x"]).refused("(ETAG_MISSING)", "lanyard resource get");
    assert_eq!(delete(&["--etag", etag, "-o", "json"]).json(0), json!({"audience": STOCK, "result": "deleted"}));
    for again in [delete(&[]), resource(files, &["get", STOCK])] {
        again.refused(&format!("{STOCK}: no protected resource with this audience"), "lanyard resource list");
    }
    assert_eq!(resource(files, &["delete", AUDIENCE]).ok(), format!("{AUDIENCE} deleted\n"));
    assert_eq!(resource(files, &["list", "-o", "json"]).json(0), json!([]));
}

#[test]
fn the_list_is_a_table_with_a_line_for_each() {
    let Dev { files, .. } = &Dev::start();
    applied(files, WHOLE).ok();
    let two = "evidence_from: {via: [spiffe://dev.internal/a, spiffe://dev.internal/b]}\n";
    applied(files, &document("two-gateways", two)).ok();
    applied(files, &document("by-header", "evidence_from: header\n")).ok();
    applied(files, &document("with-lines", "owner: \"me\\nurn:other  enforce\"\n")).ok();
    let list = resource(files, &["list"]).ok();
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split("  ").map(str::trim).collect()).collect();
    let cells = |row: &[&'static str]| row.to_vec();
    let filled: Vec<Vec<&str>> =
        rows.into_iter().map(|row| row.into_iter().filter(|cell| !cell.is_empty()).collect()).collect();
    assert_eq!(
        filled,
        [
            cells(&["AUDIENCE", "MODE", "EVIDENCE", "ROUTES", "OWNER"]),
            cells(&[AUDIENCE, "enforce", "thumbprint", "3", "-"]),
            cells(&[STOCK, "report", "certificate via spiffe://dev.internal/gateway", "3", "team-stock"]),
            cells(&["urn:by-header", "enforce", "thumbprint by the header", "0", "-"]),
            cells(&["urn:two-gateways", "enforce", "thumbprint via 2 gateways", "0", "-"]),
            cells(&["urn:with-lines", "enforce", "thumbprint", "0", r"me\nurn:other", "enforce"]),
        ]
    );
}

#[test]
fn a_document_that_is_wrong_is_named_and_spoils_the_whole_file() {
    let Dev { files, .. } = &Dev::start();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("resources.yaml");
    let good = document("good", "");
    let apply = |bad: &str| {
        fs::write(&file, format!("{good}---\n{bad}")).unwrap();
        resource(files, &["apply", "-f", text(&file)])
    };
    let shape = "lanyard resource get";
    apply(&document("bad", "onwer: me\n")).refused("resources.yaml: unknown field `onwer`", shape);
    let nested = apply(&document("bad", "routes:\n- path: /\n  pubic: true\n"));
    assert!(nested.stderr.contains("unknown field `pubic`") && nested.stderr.contains("line 6"), "{nested:?}");
    nested.refused("resources.yaml: ", shape);
    apply("scope: a\n").refused("missing field `audience` at line 3", shape);
    apply("- bad\n").refused("expected a mapping, with the fields of a protected resource", shape);
    apply("audience: [bad\n").refused("resources.yaml: ", shape);
    apply(&document("bad", "evidence_from: gateway\n")).refused("evidence_from: peer, header, or {via: ", shape);
    apply(&good).refused("audience 'urn:good' appears twice", "leave one of the two out");
    fs::write(&file, "").unwrap();
    resource(files, &["apply", "-f", text(&file)]).refused("no resource in ", "audience");

    // What only the server can tell.
    apply(&document("bad", "mode: maybe\n")).refused("urn:bad: mode: ", "correct the named field");
    apply(&document("bad", "routes: [{path: /a, scope: b}]\n"))
        .refused("(INVALID_RESOURCE)", "correct the named field");
    apply(&document("bad", "evidence_from: {via: []}\n")).refused("nothing was written: urn:bad: evidence_from: ", "");

    resource(files, &["get", "urn:good"]).refused("RESOURCE_NOT_FOUND", "lanyard resource list");
    let nowhere = folder.path().join("nowhere.yaml");
    resource(files, &["apply", "-f", text(&nowhere)])
        .refused("nowhere.yaml: No such file", "whether the path is right");
}

#[test]
fn a_document_of_the_other_kind_is_refused_with_the_command_that_takes_it() {
    let Dev { files, .. } = &Dev::start();
    let client = format!("client_id: one\ntoken_endpoint_auth_method: spiffe_x509\naudience: [{AUDIENCE}]\n");
    for yaml in [client.clone(), format!("{}---\n{client}", document("good", ""))] {
        applied(files, &yaml)
            .refused("there is a client in it, and this command is for resources", "`lanyard client apply`");
    }
    for yaml in [WHOLE.to_owned(), format!("{client}---\n{WHOLE}")] {
        let command = &mut files.command("admin", &["client", "apply", "-f", "-"]);
        let refused = run_with(command, &yaml);
        refused.refused("there is a resource in it, and this command is for clients", "`lanyard resource apply`");
    }
    // The samples lie beside each other, and neither command takes the other's.
    let own = |command: &str, file: &str| files.run("admin", &[command, "apply", "-f", text(&files.path(file))]);
    own("client", "resources.yaml").refused("there is a resource in it", "`lanyard resource apply`");
    own("resource", "clients.yaml").refused("there is a client in it", "`lanyard client apply`");
    assert_eq!(own("resource", "resources.yaml").ok(), format!("{AUDIENCE} unchanged\n"));
    own("client", "clients.yaml").ok();
    assert_eq!(resource(files, &["list", "-o", "json"]).json(0).as_array().unwrap().len(), 1);
    assert_eq!(files.run("admin", &["client", "list", "-o", "json"]).json(0).as_array().unwrap().len(), 3);
}

#[test]
fn of_two_who_apply_at_once_neither_fails_and_one_of_them_has_the_last_word() {
    let Dev { files, .. } = &Dev::start();
    // Registering, and then changing: in both the other may come in between.
    for round in ["first", "second"] {
        let all = |owner: &str| {
            let owner = format!("owner: {round}-{owner}\n");
            (0..40).map(|n| document(&n.to_string(), &owner)).collect::<Vec<_>>().join("---\n")
        };
        let both = thread::scope(|scope| {
            let start = |yaml: String| scope.spawn(move || applied(files, &yaml));
            [all("a"), all("b")].map(start).map(|applying| applying.join().unwrap())
        });
        assert!(both.iter().all(|finished| finished.code == Some(0)), "{both:?}");
    }
    let listed = resource(files, &["list", "-o", "json"]).json(0);
    let owners = listed.as_array().unwrap().iter().filter_map(|one| one["owner"].as_str());
    assert_eq!(owners.filter(|owner| ["second-a", "second-b"].contains(owner)).count(), 40);
}

#[test]
fn only_an_admin_may() {
    let Dev { files, .. } = &Dev::start();
    let file = files.path("resources.yaml");
    let commands: [&[&str]; 4] = [&["apply", "-f", text(&file)], &["get", AUDIENCE], &["list"], &["delete", AUDIENCE]];
    for who in ["workload", "proxy"] {
        for command in commands {
            files.run(who, &[&["resource"], command].concat()).refused("(WRONG_ROLE)", "role Admin");
        }
    }
    for command in commands {
        files.run("admin", &[&["resource"], command].concat()).ok();
    }
}

#[test]
fn what_is_applied_counts_in_the_next_decision() {
    let Dev { files, .. } = &Dev::start();
    let token = files.token("workload", &[]);
    files.validate(&token, "workload.pem").ok();
    applied(files, &format!("audience: {AUDIENCE}\ntrust_domains: [elsewhere.internal]\n")).ok();
    let denied = files.validate(&token, "workload.pem");
    assert_eq!(denied.code, Some(3), "{denied:?}");
    assert!(denied.stdout.contains("TRUST_DOMAIN_NOT_ACCEPTED"), "{denied:?}");
    resource(files, &["delete", AUDIENCE]).ok();
    files.validate(&token, "workload.pem").ok();
}

#[test]
fn records_as_large_as_they_may_be_are_listed_whole() {
    let Dev { files, .. } = &Dev::start();
    let owner = "x".repeat(60_000);
    // More than the 4 MiB that a gRPC client takes by default, in one page.
    let many: Vec<String> = (0..75).map(|n| document(&n.to_string(), &format!("owner: {owner}\n"))).collect();
    applied(files, &many.join("---\n")).ok();
    let listed = resource(files, &["list", "-o", "json"]).json(0);
    assert_eq!(listed.as_array().unwrap().iter().filter(|one| one["owner"] == *owner).count(), 75);
}
