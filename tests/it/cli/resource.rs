//! `lanyard resource` against a running server: what it prints, its exit codes, and what it says when something is wrong.

use std::fs;
use std::thread;

use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::support::dev::AUDIENCE;
use crate::support::dev::Dev;
use crate::support::dev::Files;
use crate::support::dev::RELAY;
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
    let relay = resource(files, &["get", RELAY, "-o", "json"]).json(0);
    assert_eq!(resource(files, &["list", "-o", "json"]).json(0), json!([sample, relay, shown]));

    let etag = shown["etag"].as_str().unwrap();
    let delete = |flags: &[&str]| resource(files, &[&["delete", STOCK], flags].concat());
    delete(&["--etag", "1"]).refused("(ETAG_MISMATCH)", "lanyard resource get");
    delete(&["--etag", "x"]).refused("(ETAG_MISSING)", "lanyard resource get");
    assert_eq!(delete(&["--etag", etag, "-o", "json"]).json(0), json!({"audience": STOCK, "result": "deleted"}));
    for again in [delete(&[]), resource(files, &["get", STOCK])] {
        again.refused(&format!("{STOCK}: no protected resource with this audience"), "lanyard resource list");
    }
    let deleted = resource(files, &["delete", AUDIENCE, "--yes"]);
    assert!(deleted.stderr.contains(&format!("`lanyard resource forget {AUDIENCE}`")), "{deleted:?}");
    assert_eq!(deleted.ok(), format!("{AUDIENCE} deleted\n"));
    resource(files, &["delete", RELAY, "--yes"]).ok();
    assert_eq!(resource(files, &["list", "-o", "json"]).json(0), json!([]));
}

#[test]
fn a_deleted_resource_is_denied_until_it_is_forgotten() {
    let Dev { files, .. } = &Dev::start();
    let token = files.token("workload", &[]);
    resource(files, &["delete", AUDIENCE, "--yes"]).ok();
    let denied = files.validate(&token, "workload.pem");
    assert_eq!(denied.code, Some(3), "{denied:?}");
    assert!(denied.stdout.contains("RESOURCE_DELETED"), "{denied:?}");
    let forget = |flags: &[&str]| resource(files, &[&["forget", AUDIENCE], flags].concat());
    assert_eq!(forget(&["-o", "json"]).json(0), json!({"audience": AUDIENCE, "result": "forgotten"}));
    files.validate(&token, "workload.pem").ok();
    forget(&[]).refused("(RESOURCE_NOT_DELETED)", "lanyard resource list");
    applied(files, &format!("audience: {AUDIENCE}\n")).ok();
    resource(files, &["delete", AUDIENCE, "--yes"]).ok();
    assert_eq!(forget(&[]).ok(), format!("{AUDIENCE} forgotten\n"));
}

// cases/02: two resources at one host
#[test]
fn an_authority_of_another_resource_is_refused_and_what_no_host_finds_is_noted() {
    let Dev { files, .. } = &Dev::start();
    let first = "audience: https://o.test\nscope: a\nmode: enforce\nauthorities: [o.test]\nroutes:\n  - path: /**\n";
    let second = first.replace("https://o.test", "https://p.test").replace("[o.test]", "[O.TEST]");
    let plain = applied(files, first);
    assert_eq!((plain.stderr.as_str(), plain.code), ("", Some(0)));
    applied(files, &second).refused("(AUTHORITY_TAKEN)", "destination_principals of its own");
    assert!(applied(files, &second).stderr.contains("'https://o.test'"));
    applied(files, &second.replace("O.TEST", "O.TEST:8443")).ok();
    let listed = resource(files, &["list"]);
    assert_eq!((listed.stderr.as_str(), listed.code), ("", Some(0)));
    let both = format!("{first}destination_principals: [spiffe://dev.internal/o]\n");
    assert_eq!(applied(files, &both).ok(), "https://o.test updated\n");
    let listed = resource(files, &["list"]);
    assert!(listed.stderr.contains("note: https://o.test has authorities and destination_principals"), "{listed:?}");
    assert_eq!(listed.code, Some(0));
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
            cells(&[RELAY, "enforce", "thumbprint", "1", "-"]),
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
    assert_eq!(own("resource", "resources.yaml").ok(), format!("{AUDIENCE} unchanged\n{RELAY} unchanged\n"));
    own("client", "clients.yaml").ok();
    assert_eq!(resource(files, &["list", "-o", "json"]).json(0).as_array().unwrap().len(), 2);
    assert_eq!(files.run("admin", &["client", "list", "-o", "json"]).json(0).as_array().unwrap().len(), 4);
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
    let commands: [&[&str]; 5] = [
        &["apply", "-f", text(&file)],
        &["get", AUDIENCE],
        &["list"],
        &["delete", AUDIENCE, "--yes"],
        &["forget", AUDIENCE],
    ];
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
    resource(files, &["delete", AUDIENCE, "--yes"]).ok();
    resource(files, &["forget", AUDIENCE]).ok();
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

#[test]
fn a_document_without_mode_keeps_the_mode_and_a_new_one_enforces_and_says_so() {
    let Dev { files, .. } = &Dev::start();
    let with = |more: &str| document("one", &format!("scope: a\nroutes: [{{path: /a}}]\n{more}"));
    let mode = || resource(files, &["get", "urn:one", "-o", "json"]).json(0)["mode"].clone();
    let created = applied(files, &with(""));
    assert!(created.stderr.contains("urn:one: the document names no mode: its denials are enforced"), "{created:?}");
    assert_eq!(mode(), "enforce");
    let named = run_with(
        &mut files.command("admin", &["resource", "apply", "-f", "-", "--allow-report"]),
        &with("mode: report\n"),
    );
    assert_eq!((named.stdout.as_str(), named.stderr.as_str()), ("urn:one updated\n", ""));
    assert_eq!(applied(files, &with("owner: me\n")).ok(), "urn:one updated\n");
    assert_eq!(mode(), "report");
    assert_eq!(applied(files, &with("owner: me\nmode: enforce\n")).ok(), "urn:one updated\n");
    assert_eq!(mode(), "enforce");
}

#[test]
fn what_means_something_else_than_its_author_meant_is_refused_by_field() {
    let Dev { files, .. } = &Dev::start();
    let routes = |route: &str| document("one", &format!("scope: pay a,b\nroutes:\n- {route}\n"));
    applied(files, &routes("{path: \"/pay/:id\"}")).refused("routes: ':id' matches only itself: write {id}", "field");
    applied(files, &document("one", "scope: \"orders.read, orders.write\"\n"))
        .refused("scope: 'orders.read,' has a comma: scopes are separated by spaces", "field");
    // A comma within a scope is allowed (RFC 6749 section 3.3), and so is a colon within a segment.
    assert_eq!(applied(files, &routes("{path: \"/pay/v1:id\", scope: \"a,b\"}")).stdout, "urn:one created\n");
    let client = "client_id: spiffe://dev.internal/new\ntoken_endpoint_auth_method: spiffe_x509\naudience: [urn:one]\n";
    files.apply(&format!("{client}scope: a, b\n")).refused("scope: 'a,' has a comma", "field");
    files.apply(&format!("{client}scope: a,b\n")).ok();
}

#[test]
fn what_may_not_be_meant_is_a_warning_and_refused_under_strict() {
    let Dev { files, .. } = &Dev::start();
    let file = files.path("strict.yaml");
    let apply = |kind: &str, yaml: &str, flags: &[&str]| {
        fs::write(&file, yaml).unwrap();
        files.run("admin", &[&[kind, "apply", "-f", text(&file)], flags].concat())
    };
    let empty = "audience: urn:empty\nscope: a\nmode: enforce\n";
    let refused = apply("resource", empty, &["--strict"]);
    assert!(refused.stderr.starts_with("warning: urn:empty: it has no routes"), "{refused:?}");
    assert!(refused.stderr.contains("error: nothing was written: there are warnings\n  next: "), "{refused:?}");
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    resource(files, &["get", "urn:empty"]).refused("RESOURCE_NOT_FOUND", "");
    assert_eq!(apply("resource", empty, &["--strict", "--dry-run"]).code, Some(1));
    let applied = apply("resource", empty, &[]);
    assert_eq!(applied.stdout, "urn:empty created\n");
    assert!(applied.stderr.contains("it has no routes: every request"), "{applied:?}");
    assert_eq!(apply("resource", empty, &[]).stdout, "urn:empty unchanged\n");

    let client = |id: &str, scope: &str| {
        format!("client_id: {id}\ntoken_endpoint_auth_method: spiffe_x509\naudience: [urn:empty]\nscope: {scope}\n")
    };
    let elsewhere = apply("client", &client("spiffe://elsewhere.internal/a", "a"), &[]);
    assert!(elsewhere.stderr.contains("no bundle of the trust domain elsewhere.internal"), "{elsewhere:?}");
    let undefined = apply("client", &client("spiffe://dev.internal/a", "a b"), &[]);
    assert!(undefined.stderr.contains("none of its audiences defines the scope b"), "{undefined:?}");
    // The nearest client without a warning.
    let good = apply("client", &client("spiffe://dev.internal/b", "a"), &["--strict"]);
    assert_eq!((good.stdout.as_str(), good.stderr.as_str()), ("spiffe://dev.internal/b created\n", ""));
    let route = "routes:\n- {path: /a, scope: a}\n";
    let good = apply("resource", &format!("{empty}{route}"), &["--strict"]);
    assert_eq!((good.stdout.as_str(), good.stderr.as_str()), ("urn:empty updated\n", ""));
}

#[test]
fn report_over_enforce_takes_a_flag_in_every_command_that_applies() {
    let Dev { files, .. } = &Dev::start();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("one.yaml");
    let document = |mode: &str| fs::write(&file, document("one", &format!("mode: {mode}\n"))).unwrap();
    let mode = || resource(files, &["get", "urn:one", "-o", "json"]).json(0)["mode"].clone();
    for command in [&["resource", "apply"][..], &["apply"]] {
        let apply = |flags: &[&str]| files.run("admin", &[command, &["-f", text(&file)], flags].concat());
        document("enforce");
        apply(&[]).ok();
        document("report");
        for flags in [&[][..], &["--dry-run"]] {
            let refused = apply(flags);
            // Of `apply` the code says that a further attempt changes nothing.
            assert_eq!(refused.code, Some(if command == ["apply"] { 4 } else { 1 }), "{refused:?}");
            assert!(refused.stderr.contains("(REPORT_OVER_ENFORCE)"), "{refused:?}");
            assert!(refused.stderr.contains("--allow-report"), "{refused:?}");
        }
        assert_eq!(mode(), "enforce");
        assert_eq!(apply(&["--allow-report"]).ok(), "urn:one updated\n");
        assert_eq!(mode(), "report");
        // What only compares needs no flag.
        document("enforce");
        apply(&[]).ok();
        document("report");
        let compared = files.run("admin", &["diff", "-f", text(&file)]);
        assert_eq!(compared.code, Some(1), "{compared:?}");
        assert!(compared.stdout.contains("mode: \"enforce\" -> \"report\""), "{compared:?}");
    }
    // The second change left enforcement, and so does the way back to it.
    let back = |flags: &[&str]| files.run("admin", &[&["rollback", "resource", "urn:one@2"], flags].concat());
    back(&[]).refused("(REPORT_OVER_ENFORCE)", "--allow-report");
    assert_eq!(mode(), "enforce");
    back(&["--allow-report"]).ok();
    assert_eq!(mode(), "report");
}
