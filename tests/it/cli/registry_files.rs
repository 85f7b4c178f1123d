//! Registrations that live in files: what differs from what is registered, what is probably not meant, and the way back
//! from the registry into files.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use crate::support::dev::Dev;
use crate::support::process::Finished;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::run_with;
use crate::support::process::text;

const CLIENT: &str = "client_id: one\ntoken_endpoint_auth_method: spiffe_x509\n\
                      spiffe_id: spiffe://dev.internal/one\naudience: [urn:a]\nscope: a.read\nowner: team-a\n";
const RESOURCE: &str = "audience: urn:a\nscope: a.read a.write\nowner: team-b\n\
                        routes: [{methods: [GET], path: /, scope: a.read}]\n";

fn with_code(finished: Finished, code: i32) -> (String, String) {
    assert_eq!(finished.code, Some(code), "{finished:?}");
    (finished.stdout, finished.stderr)
}

#[test]
fn a_difference_is_shown_field_by_field_and_nothing_is_written() {
    let Dev { files, .. } = &Dev::start();
    let diff = |text: &str| run_with(&mut files.command("admin", &["diff", "-f", "-"]), text);
    let apply = |text: &str| run_with(&mut files.command("admin", &["apply", "-f", "-"]), text);
    let (shown, said) = with_code(diff(&format!("{CLIENT}---\n{RESOURCE}")), 1);
    assert!(shown.starts_with("client one is not registered\n"), "{shown}");
    assert!(
        shown.contains("\n+ scope: \"a.read\"\n") && shown.contains("resource urn:a is not registered\n"),
        "{shown}"
    );
    assert!(said.contains("2 of 2 documents differ"), "{said}");
    files.run("admin", &["client", "get", "one"]).refused("CLIENT_NOT_FOUND", "");

    apply(&format!("{CLIENT}---\n{RESOURCE}")).ok();
    // What the server fills in is no difference.
    assert_eq!(with_code(diff(&format!("{CLIENT}---\n{RESOURCE}")), 0).0, "");
    let changed = CLIENT.replace("[urn:a]", "[urn:b, urn:a]").replace("a.read", "a.read a.write");
    let routes = RESOURCE.replace("path: /,", "path: /new,").replace("owner: team-b\n", "");
    let (shown, said) = with_code(diff(&format!("{changed}---\n{routes}")), 1);
    assert_eq!(
        shown,
        "client one\n+ audience: \"urn:b\"\n  scope: \"a.read\" -> \"a.read a.write\"\nresource urn:a\n- owner: \
         \"team-b\"\n- routes: {\"methods\":[\"GET\"],\"path\":\"/\",\"scope\":\"a.read\"}\n+ routes: \
         {\"methods\":[\"GET\"],\"path\":\"/new\",\"scope\":\"a.read\"}\n"
    );
    assert!(said.contains("2 of 2 documents differ"), "{said}");
    let in_json = run_with(&mut files.command("admin", &["diff", "-f", "-", "-o", "json"]), &changed).json(1);
    let differences = json!([{"field": "audience", "from": null, "to": "urn:b"},
        {"field": "scope", "from": "a.read", "to": "a.read a.write"}]);
    let expected = json!([{"kind": "client", "client_id": "one", "registered": true, "differences": differences}]);
    assert_eq!(in_json, expected);
    // Another certificate, name or method says what becomes of tokens.
    let (shown, _) = with_code(diff(&CLIENT.replace("internal/one", "internal/two")), 1);
    assert!(shown.contains("tokens issued before, with up to 5m left, would be denied"), "{shown}");
}

#[test]
fn a_comparison_that_cannot_be_made_is_no_difference() {
    let Dev { files, .. } = &Dev::start();
    let diff = |who: &str, text: &str| run_with(&mut files.command(who, &["diff", "-f", "-"]), text);
    let (shown, said) = with_code(diff("admin", &CLIENT.replace("spiffe_x509", "none")), 4);
    assert!(shown.is_empty() && said.contains("error: one: "), "{shown} {said}");
    let (shown, said) = with_code(diff("workload", CLIENT), 2);
    assert!(shown.is_empty() && said.contains("WRONG_ROLE"), "{shown} {said}");
    let mut elsewhere = files.clone();
    elsewhere.server = "https://localhost:1".to_owned();
    let unreachable = run_with(&mut elsewhere.command("admin", &["diff", "-f", "-"]), CLIENT);
    assert!(with_code(unreachable, 2).1.contains("cannot reach"));
}

#[test]
fn what_is_exported_goes_back_in_unchanged() {
    let Dev { files, .. } = &Dev::start();
    let admin = |arguments: &[&str]| files.run("admin", arguments);
    let apply = |text: &str| run_with(&mut files.command("admin", &["apply", "-f", "-"]), text);
    apply(&format!("{CLIENT}---\nkind: Resource\n{RESOURCE}")).ok();
    let all = admin(&["export"]).ok();
    let again = apply(&all);
    assert!(again.stdout.lines().count() > 2, "{again:?}");
    assert!(again.stdout.lines().all(|line| line.ends_with(" unchanged")), "{again:?}");
    assert_eq!(with_code(run_with(&mut files.command("admin", &["diff", "-f", "-"]), &all), 0).0, "");
    assert!(!all.contains("etag"), "what changes with each write has no place in git: {all}");

    let of_a = admin(&["export", "--owner", "team-a"]).ok();
    assert!(of_a.contains("client_id: one") && !of_a.contains("team-b"), "{of_a}");
    let in_json = admin(&["export", "--owner", "team-b", "-o", "json"]).json(0);
    assert_eq!((&in_json["clients"], &in_json["resources"][0]["audience"]), (&json!([]), &json!("urn:a")));
    files.run("workload", &["export"]).refused("WRONG_ROLE", "role Admin");

    // Lists in the same form, and in others.
    let listed = admin(&["resource", "list", "urn:*", "-o", "yaml"]).ok();
    assert_eq!(apply(&listed).ok(), "urn:a unchanged\n");
    assert_eq!(admin(&["client", "list", "on*", "-o", "name"]).ok(), "one\n");
    assert_eq!(admin(&["client", "list", "n*", "-o", "name"]).ok(), "");
    assert_eq!(admin(&["client", "list", "--owner", "team-b", "-o", "name"]).ok(), "");
    let selfsigned = admin(&["client", "list", "--method", "self_signed_tls_client_auth", "-o", "name"]).ok();
    assert_eq!(selfsigned, "selfsigned\n");
    let wide = admin(&["client", "list", "one", "-o", "wide"]).ok();
    assert!(wide.starts_with("CLIENT_ID") && wide.contains("UPDATED_BY") && wide.contains("team-a"), "{wide}");
    let bare = admin(&["client", "list", "one", "--no-headers"]).ok();
    assert!(bare.starts_with("one ") && bare.lines().count() == 1, "{bare}");
    let (_, said) = with_code(admin(&["whoami", "-o", "wide"]), 2);
    assert!(said.contains("prints text or JSON"), "{said}");
}

#[test]
fn many_documents_are_applied_together_all_or_none() {
    const COUNT: usize = 1200;
    let Dev { files, .. } = &Dev::start();
    let folder = TempDir::new().unwrap();
    let (clients, resources) = (folder.path().join("clients.yaml"), folder.path().join("resources.yaml"));
    let client = |n: usize| CLIENT.replace("one", &format!("c{n}"));
    let resource = |n: usize| RESOURCE.replace("urn:a", &format!("urn:r{n}"));
    let all: Vec<String> = (0..COUNT / 2).map(client).collect();
    fs::write(&clients, all.join("---\n")).unwrap();
    let all: Vec<String> = (0..COUNT / 2).map(resource).collect();
    fs::write(&resources, all.join("---\n")).unwrap();
    let apply = || files.run("admin", &["apply", "-f", text(&clients), "-f", text(&resources)]);
    // The last one is for the SPIFFE ID of the first.
    let sound = fs::read_to_string(&clients).unwrap();
    let stolen = client(COUNT).replace(&format!("internal/c{COUNT}"), "internal/c0");
    fs::write(&clients, format!("{sound}---\n{stolen}")).unwrap();
    let (shown, said) = with_code(apply(), 4);
    assert!(
        shown.is_empty() && said.contains("what was written is undone") && said.contains("IDENTITY_TAKEN"),
        "{said}"
    );
    assert_eq!(files.run("admin", &["client", "list", "c*", "-o", "name"]).ok(), "");
    assert_eq!(files.run("admin", &["resource", "list", "urn:r*", "-o", "name"]).ok(), "");

    fs::write(&clients, sound).unwrap();
    let applied = apply();
    assert_eq!(applied.stdout.lines().filter(|line| line.ends_with(" created")).count(), COUNT, "{}", applied.stderr);
    assert!(applied.stderr.contains(&format!("{COUNT} documents: {COUNT} created")), "{}", applied.stderr);
    let again = apply();
    assert!(again.stderr.contains(&format!("{COUNT} documents: {COUNT} unchanged")), "{}", again.stderr);
}

#[test]
fn documents_are_compared_with_each_other_without_a_server() {
    let lint = |text: &str| run_with(lanyard().args(["lint", "-f", "-"]), text);
    let (shown, said) = with_code(lint(&format!("{CLIENT}---\n{RESOURCE}")), 0);
    assert_eq!((shown.as_str(), said.contains("documents: 2; remarks: 0")), ("", true), "{said}");
    let catch_all = RESOURCE.replace("routes: [", "routes: [{path: /**, public: true}, ");
    let found = [
        (
            format!("{CLIENT}---\n{}", RESOURCE.replace("urn:a", "urn:c")),
            "client one: no document registers the audience urn:a",
        ),
        (
            format!("{}---\n{RESOURCE}", CLIENT.replace("a.read", "a.read b.read")),
            "client one: none of its audiences defines the scope b.read",
        ),
        (catch_all, "requests to / by other methods than GET fall to /**, which needs no token"),
        ("audience: urn:a\nscope: a\n".to_owned(), "resource urn:a: it has no routes"),
        (
            format!(
                "{RESOURCE}authorities: [a.test]\n---\n{}authorities: [a.test]\n",
                RESOURCE.replace("urn:a", "urn:b")
            ),
            "urn:a, urn:b share the authority a.test",
        ),
    ];
    for (documents, expected) in found {
        let (shown, _) = with_code(lint(&documents), 1);
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let (shown, said) = with_code(lint(CLIENT), 0);
    assert!(shown.is_empty() && said.contains("there is no resource among the documents"), "{said}");
    let (_, said) = with_code(lint(&RESOURCE.replace("path: /,", "path: nowhere,")), 4);
    assert!(said.contains("urn:a: ") && said.contains("routes"), "{said}");
    let in_json = run_with(lanyard().args(["lint", "-f", "-", "-o", "json"]), "audience: urn:a\nscope: a\n").json(1);
    assert_eq!(in_json[0]["name"], "urn:a");
}

#[test]
fn shells_complete_and_the_manual_has_a_page_for_each_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(lanyard().args(["completion", shell])).ok();
        assert!(script.contains("lanyard"), "{shell}");
        assert!(script.contains("revocation") && script.contains("no-headers"), "{shell}");
    }
    let folder = TempDir::new().unwrap();
    run(lanyard().args(["man", "--dir", text(&folder.path().join("man1"))])).ok();
    let page = |name: &str| fs::read_to_string(folder.path().join("man1").join(name)).unwrap();
    assert!(page("lanyard.1").contains("lanyard\\-diff(1)"), "{}", page("lanyard.1"));
    assert!(page("lanyard-token-get.1").contains(".TH"), "{}", page("lanyard-token-get.1"));
}

const CALLER: &str = "client_id: spiffe://dev.internal/web\ntoken_endpoint_auth_method: spiffe_x509\nscope: shop.buy\n\
                      audience: [https://shop.test]\n";
const EXCHANGER: &str = "client_id: spiffe://dev.internal/shop\ntoken_endpoint_auth_method: spiffe_x509\n\
                         audience: [https://orders.test]\n\
                         grant_types: [client_credentials, \"urn:ietf:params:oauth:grant-type:token-exchange\"]\n\
                         exchange:\n  - subjects: [spiffe://dev.internal/web]\n    presented_at: https://shop.test\n    \
                         audience: https://orders.test\n    grants: [{needs: shop.buy, gives: orders.write}]\n    \
                         presentation: none\n";
const PLACE: &str = "audience: https://shop.test\nscope: shop.buy\nroutes: [{path: /, scope: shop.buy}]\n";
const TARGET: &str = "audience: https://orders.test\nscope: orders.write\nroutes: [{path: /, scope: orders.write}]\n\
                      delegated: {actors: [spiffe://dev.internal/shop]}\n";

#[test]
fn a_rule_of_exchange_is_compared_with_what_its_resources_and_its_subjects_say() {
    let lint = |documents: [&str; 4]| run_with(lanyard().args(["lint", "-f", "-"]), &documents.join("---\n"));
    // Whoever is covered by a pattern is registered.
    let pattern = CALLER.replace("client_id: ", "client_id: all\nspiffe_id: ").replace("/web\n", "/*\n");
    for documents in [[CALLER, EXCHANGER, PLACE, TARGET], [&pattern, EXCHANGER, PLACE, TARGET]] {
        let (shown, said) = with_code(lint(documents), 0);
        assert!(shown.is_empty() && said.contains("documents: 4; remarks: 0"), "{shown}{said}");
    }
    // A resource that defines no scope takes each, which is a remark of its own.
    let plain = TARGET.replace("scope: orders.write\nroutes: [{path: /, scope: orders.write}]", "routes: [{path: /}]");
    let (shown, _) = with_code(lint([CALLER, EXCHANGER, PLACE, &plain]), 1);
    assert!(
        shown.starts_with("resource https://orders.test: it defines no scope") && shown.lines().count() == 1,
        "{shown}"
    );
    let of_rule = "client spiffe://dev.internal/shop: its rule for https://orders.test";
    let closed = TARGET.replace("delegated: {actors: [spiffe://dev.internal/shop]}\n", "");
    let others = TARGET.replace("/shop]", "/web]");
    let absent = TARGET.replace("/shop]", "/shop, spiffe://dev.internal/absent]");
    let narrow = TARGET.replace("orders.write", "orders.read");
    let elsewhere = PLACE.replace("https://shop.test", "https://other.test");
    let other_scope = PLACE.replace("shop.buy", "shop.look");
    let stranger = EXCHANGER.replace("[spiffe://dev.internal/web]", "[spiffe://dev.internal/absent]");
    let asking = EXCHANGER.replace("presentation: none", "presentation: receipt");
    let leaving = |exchanger: &str| format!("{PLACE}receipts: {{exchangers: [spiffe://dev.internal/{exchanger}]}}\n");
    let (shown, _) = with_code(lint([CALLER, &asking, &leaving("shop"), TARGET]), 0);
    assert_eq!(shown, "");
    let delegating = format!("{CALLER}delegates: [spiffe://dev.internal/absent]\n");
    for (documents, expected) in [
        (
            [CALLER, EXCHANGER, PLACE, &closed],
            format!("{of_rule} comes to nothing: that resource takes no delegated tokens\n"),
        ),
        (
            [CALLER, EXCHANGER, PLACE, &others],
            format!("{of_rule} comes to nothing: that resource takes no delegated tokens of spiffe://dev.internal/shop\n"),
        ),
        (
            [CALLER, EXCHANGER, PLACE, &absent],
            "resource https://orders.test: it takes delegated tokens of spiffe://dev.internal/absent, which no document \
             registers\n"
                .to_owned(),
        ),
        (
            [CALLER, EXCHANGER, PLACE, &narrow],
            format!("{of_rule} gives orders.write, which that resource does not define\n"),
        ),
        (
            [CALLER, EXCHANGER, &elsewhere, TARGET],
            format!("{of_rule} is about tokens that are presented at https://shop.test, which no document registers\n"),
        ),
        (
            [CALLER, EXCHANGER, &other_scope, TARGET],
            format!("{of_rule} needs shop.buy, which https://shop.test does not define\n"),
        ),
        (
            [CALLER, &asking, PLACE, TARGET],
            format!("{of_rule} comes to nothing: it asks for receipts, and https://shop.test leaves none\n"),
        ),
        (
            [CALLER, &asking, &leaving("web"), TARGET],
            format!(
                "{of_rule} comes to nothing: it asks for receipts, and https://shop.test has none for \
                 spiffe://dev.internal/shop\n"
            ),
        ),
        (
            [CALLER, EXCHANGER, &leaving("absent"), TARGET],
            "resource https://shop.test: it leaves receipts for spiffe://dev.internal/absent, which no document registers\n"
                .to_owned(),
        ),
        (
            [CALLER, &stranger, PLACE, TARGET],
            "client spiffe://dev.internal/shop: it exchanges tokens of spiffe://dev.internal/absent, which no document \
             registers\n"
                .to_owned(),
        ),
        (
            [&delegating, EXCHANGER, PLACE, TARGET],
            "client spiffe://dev.internal/web: among its delegates is spiffe://dev.internal/absent, which no document \
             registers\n"
                .to_owned(),
        ),
    ] {
        let (shown, _) = with_code(lint(documents), 1);
        assert!(shown.contains(&expected), "{expected}: {shown}");
    }
}
