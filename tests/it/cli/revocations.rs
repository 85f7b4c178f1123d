//! The command line of revocations: what is warned of, what is listed, and what is lifted in a stopped server's store.

use std::fs;

use serde_json::Value;
use serde_json::json;

use crate::support::dev::Dev;
use crate::support::dev::Files;
use crate::support::process::Finished;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::text;
use crate::support::revocation::client;
use crate::support::revocation::of;
use crate::support::server::TestServer;

const WORKLOAD: &str = "spiffe://dev.internal/workload";

fn revoke(files: &Files, flags: &[&str]) -> Finished {
    files.run("admin", &[&["token", "revoke"], flags].concat())
}

/// The warnings, in JSON and as text.
fn warns(files: &Files, flags: &[&str], codes: &[&str], words: &str) {
    let warned = revoke(files, &[flags, &["-o", "json"]].concat());
    assert_eq!(warned.stderr.contains(words), !codes.is_empty(), "{warned:?}");
    let warnings = warned.json(0).get("warnings").cloned().unwrap_or_else(|| json!([]));
    assert_eq!(warnings, json!(codes), "{flags:?}");
}

#[test]
fn what_is_unknown_or_lasts_longer_already_is_warned_of_and_what_is_usual_is_not() {
    let Dev { files, .. } = &Dev::start();
    warns(files, &["--client", "typo"], &["UNKNOWN_TARGET"], "see that the name is right");
    warns(files, &["--client", WORKLOAD, "--for", "1h"], &[], "warning");
    warns(files, &["--client", WORKLOAD], &[], "warning");
    warns(files, &["--client", WORKLOAD, "--for", "1h"], &["LATER_END_KEPT"], "lift it first");
    warns(files, &["--client", WORKLOAD, "--lift"], &[], "warning");
    warns(files, &["--client", WORKLOAD, "--lift"], &["NOT_REVOKED"], "it was not revoked");
    warns(files, &["nonsense"], &["TOKEN_NOT_VALID"], "nothing was revoked");
    warns(files, &["--trust-domain", "nowhere.example"], &["UNKNOWN_TARGET"], "see that the name is right");
    // The answer names the end that stays.
    revoke(files, &["--client", WORKLOAD, "--until", "2100-01-01T00:00:00Z"]).ok();
    let kept = revoke(files, &["--client", WORKLOAD, "--until", "2099-01-01T00:00:00Z", "-o", "json"]).json(0);
    assert_eq!(kept["until"], "2100-01-01T00:00:00Z");
}

#[test]
fn the_last_admin_is_revoked_only_with_yes() {
    let Dev { files, .. } = &Dev::start();
    let admin = "spiffe://dev.internal/admin";
    for target in [["--client", admin], ["--trust-domain", "dev.internal"], ["--role", "admin"]] {
        revoke(files, &target).refused("(LAST_ADMIN)", "--yes");
    }
    revoke(files, &["--identity", "spiffe://dev.internal/nowhere/*"]).ok();
    revoke(files, &["--role", "proxy"]).ok();
    revoke(files, &["--role", "proxy", "--lift"]).ok();
    assert_eq!(revoke(files, &["--role", "admin", "--yes"]).ok(), "role admin revoked\n");
    assert_eq!(revoke(files, &["--role", "admin", "--lift"]).code, Some(1));
}

#[test]
fn revocations_are_listed_and_shown_with_the_clients_that_they_concern() {
    let Dev { files, .. } = &Dev::start();
    let list = |flags: &[&str]| files.run("admin", &[&["revocation", "list"], flags].concat());
    // What the demonstration revoked.
    let before = list(&["-o", "json"]).json(0);
    let before: Vec<&Value> = before.as_array().unwrap().iter().map(|one| &one["kind"]).collect();
    assert_eq!(before, ["token"]);
    let shown = files.run("admin", &["client", "get", WORKLOAD, "-o", "json"]).json(0);
    assert!(shown.get("revocations").is_none());
    revoke(files, &["--client", WORKLOAD, "--until", "2100-01-01T00:00:00Z"]).ok();
    revoke(files, &["--issued-to", "spiffe://dev.internal/thief"]).ok();
    revoke(files, &["--identity", "spiffe://dev.internal/nowhere/*"]).ok();
    revoke(files, &["--jti", "AAAA"]).ok();
    let all = list(&["-o", "json"]).json(0);
    let kinds: Vec<&Value> = all.as_array().unwrap().iter().map(|one| &one["kind"]).collect();
    assert_eq!(kinds, ["token", "token", "client", "issued", "identity"]);
    assert_eq!(all[2]["name"], WORKLOAD);
    assert_eq!((&all[2]["in_effect"], &all[2]["until"]), (&json!(true), &json!("2100-01-01T00:00:00Z")));
    assert_eq!(all[2]["revoked_by"], "spiffe://dev.internal/admin");
    let text = list(&["--kind", "client", "--kind", "issued"]).ok();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["KIND", "NAME", "REVOKED", "UNTIL", "BY"]);
    assert!(lines.len() == 3 && lines[1].contains(WORKLOAD) && lines[2].starts_with("issued"), "{text}");
    files.run("workload", &["revocation", "list"]).refused("", "");

    let clients = files.run("admin", &["client", "list"]).ok();
    let last_cell =
        |name: &str| clients.lines().find(|line| line.starts_with(name)).unwrap().split(' ').next_back().unwrap();
    let names = ["CLIENT_ID", "selfsigned", "spiffe://dev.internal/thief", WORKLOAD];
    assert_eq!(names.map(last_cell), ["REVOKED", "-", "issued", "client"]);
    let document = files.run("admin", &["client", "get", WORKLOAD]).ok();
    assert!(document.contains(&format!("# revoked: client {WORKLOAD} since ")), "{document}");
    // It is still a document that can be applied.
    assert_eq!(files.apply(&document).ok(), format!("{WORKLOAD} unchanged\n"));
    assert!(!files.run("admin", &["client", "get", "selfsigned"]).ok().contains("# revoked:"));
    let in_json = files.run("admin", &["client", "get", WORKLOAD, "-o", "json"]).json(0);
    assert_eq!(in_json["revocations"], json!([all[2]]));
    // What covers a client concerns it too.
    revoke(files, &["--client", WORKLOAD, "--lift"]).ok();
    revoke(files, &["--trust-domain", "dev.internal", "--yes"]).ok();
    files.run("admin", &["client", "list"]).refused("", "");
}

#[tokio::test]
async fn on_a_stopped_server_a_revocation_is_lifted_in_the_store_and_on_a_running_one_it_is_not() {
    let server = TestServer::started(|setup| setup.store = "{sled: {path: data}}".to_owned()).await;
    let admin = "spiffe://prod.example/admin";
    let request = lanyard::proto::RevokeTokenRequest { allow_no_admin: true, ..of(client(admin)) };
    server.revoke_as(&server.svid("/admin"), request).await.unwrap();
    let config = server.setup.path("lanyard.yaml");
    let unrevoke = |flags: &[&str]| run(lanyard().args(["store", "unrevoke", "--config", text(&config)]).args(flags));
    unrevoke(&["--client", admin]).refused("another process uses the store", "stop that server first");
    let TestServer { server, setup, .. } = server;
    server.stop().await;
    unrevoke(&["--client", "other"]).refused("client other is not revoked", &format!("client {admin}"));
    let lifted = unrevoke(&["--client", admin, "-o", "json"]).json(0);
    assert_eq!(lifted, json!({"result": "lifted", "kind": "client", "name": admin}));
    unrevoke(&["--client", admin]).refused("is not revoked", "no revocation in this store");
    let server = setup.start().await.unwrap();
    let revoked =
        lanyard::authority::state::Revoked::Client(lanyard::authority::registration::ClientId::parse(admin).unwrap());
    let named = lanyard::proto::list_changes_request::Registration::Revoked(revoked.store_key());
    let request = lanyard::proto::ListChangesRequest { registration: Some(named) };
    let changes = server.registry(&server.svid("/admin")).list_changes(request).await.unwrap().into_inner().changes;
    let who: Vec<_> = changes.iter().map(|one| (one.change.as_str(), one.changed_by.as_str())).collect();
    assert_eq!(who, [("lifted", "lanyard store unrevoke")]);
    server.revoke(client("spiffe://prod.example/somebody")).await;
    let memory = server.setup.path("memory.yaml");
    fs::write(&memory, fs::read_to_string(&config).unwrap().replace("{sled: {path: data}}", "{memory: true}")).unwrap();
    let on = |config: &str| run(lanyard().args(["store", "unrevoke", "--role", "admin", "--config", config]));
    on(text(&memory)).refused("the store is in memory", "on a disk");
    let nowhere = server.setup.path("nowhere.yaml");
    fs::write(&nowhere, fs::read_to_string(&config).unwrap().replace("path: data", "path: elsewhere")).unwrap();
    on(text(&nowhere)).refused("there is no store in", "right directory");
    assert!(!server.setup.path("elsewhere").exists());
}
