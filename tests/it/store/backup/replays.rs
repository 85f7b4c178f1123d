//! What was revoked and deleted after an export is repeated from the log.

use std::fs;
use std::path::Path;

use lanyard::proto::DenyReason;
use serde_json::Value;
use serde_json::json;

use crate::store::backup::config_of;
use crate::store::backup::export;
use crate::store::backup::records;
use crate::store::backup::running::developing;
use crate::store::backup::stopped;
use crate::store::backup::store;
use crate::support::calls::opened;
use crate::support::dev::AUDIENCE;
use crate::support::process::Finished;
use crate::support::process::Process;
use crate::support::process::lanyard;
use crate::support::process::text;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;

const ADMIN: &str = "spiffe://prod.example/admin";

/// A line as the log has it in JSON.
fn line(time: &str, message: &str, members: &Value) -> String {
    let mut line = json!({"timestamp": time, "level": "INFO", "message": message, "target": "lanyard::audit"});
    line.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    line.to_string()
}

fn revocation(time: &str, key: &str, change: &str, revision: u64, until: Option<u64>) -> String {
    let mut members = json!({"by": ADMIN, "key": key, "change": change, "revision": revision});
    if let Some(until) = until {
        members["until"] = until.into();
    }
    line(time, "revocation", &members)
}

fn has(config: &Path, key: &str) -> Option<Value> {
    let start = format!("{{\"key\":{}", json!(key));
    let line = export(config).into_iter().find(|line| line.starts_with(&start))?;
    Some(serde_json::from_str::<Value>(&line).unwrap()["value"].clone())
}

#[tokio::test]
async fn revocations_disablings_and_deletions_after_the_export_are_repeated_and_what_cannot_be_is_named() {
    let setup = stopped().await;
    let (config, other, file) = (setup.path("lanyard.yaml"), config_of(&setup, "other"), setup.path("backup"));
    store(&["export", "--config", text(&config), "--out", text(&file)]).ok();
    let at: Value = serde_json::from_str(export(&config)[0].as_str()).unwrap();
    let now = at["revision"].as_u64().unwrap();
    let (before, after) = ("2020-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.123456Z");
    let log = setup.path("log");
    let lines = [
        // Before the export: its record has it, or it has been lifted since.
        revocation(before, "/revocations/client/early", "revoked", now, None),
        revocation(after, "/revocations/client/spiffe://prod.example/mallory", "revoked", now + 1, Some(5_000_000_000)),
        revocation(after, "/revocations/token/abc", "revoked", now + 2, None),
        revocation(after, "/revocations/client/spiffe://prod.example/somebody", "lifted", now + 3, None),
        revocation(after, "/revocations/trust-domain/evil.example", "revoked", now + 4, None),
        revocation(
            after,
            "/revocations/certificate/A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0",
            "revoked",
            now + 5,
            None,
        ),
        revocation(
            after,
            "/revocations/certificate/A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0",
            "lifted",
            now + 6,
            None,
        ),
        line(
            after,
            "client changed",
            &json!({"admin": ADMIN, "client_id": "all", "change": "disabled", "revision": now + 7}),
        ),
        line(
            after,
            "client changed",
            &json!({"admin": ADMIN, "client_id": "spiffe://prod.example/checkout", "change": "deleted", "revision": now + 8}),
        ),
        line(
            after,
            "resource changed",
            &json!({"admin": ADMIN, "audience": "https://orders.prod.example", "change": "deleted", "revision": now + 9}),
        ),
        line(
            after,
            "client changed",
            &json!({"admin": ADMIN, "client_id": "new", "change": "created", "revision": now + 10}),
        ),
        line(after, "token issued", &json!({"client_id": "new"})),
        "lanyard::other: a line of something else".to_owned(),
        json!({"timestamp": after, "level": "INFO", "message": "serving", "target": "lanyard::server"}).to_string(),
    ];
    fs::write(&log, lines.join("\n")).unwrap();
    let import = |log: &Path| -> Finished {
        store(&["import", text(&file), "--config", text(&other), "--audit", text(log), "-o", "json"])
    };
    // A line that says of a change what cannot be read ends the import before it begins.
    for (broken, why) in [
        (revocation(after, "/revocations/nonsense/x", "revoked", now + 1, None), "is nothing that can be revoked"),
        (revocation("yesterday", "/revocations/client/x", "revoked", now + 1, None), "is no time"),
        ("{\"target\":\"lanyard::audit\",\"message\":\"revoc".to_owned(), "no whole line"),
        ("INFO lanyard::audit: revocation by=\"a\" key=\"/revocations/client/x\"".to_owned(), "log.format: json"),
    ] {
        let log = setup.path("broken");
        fs::write(&log, broken).unwrap();
        import(&log).code.filter(|code| *code == 1).unwrap();
        let refused = store(&["import", text(&file), "--config", text(&other), "--audit", text(&log)]);
        refused.refused(why, "nothing was imported");
        assert!(!setup.path("other").exists());
    }
    let done = import(&log);
    assert!(done.stderr.contains("/clients/all was registered or changed after the export"), "{done:?}");
    let done = done.json(0);
    assert_eq!(done["repeated"], json!({"revoked": 4, "lifted": 2, "keys_revoked": 0, "disabled": 1, "deleted": 2}));
    assert_eq!(done["not_repeated"], json!(["/clients/all", "/clients/new"]));
    let revoked_at = 4_070_908_800_u64;
    assert!(has(&other, "/revocations/client/early").is_none());
    let mallory = has(&other, "/revocations/client/spiffe://prod.example/mallory").unwrap();
    assert_eq!(
        mallory,
        json!({"schema": 1, "revoked_at": revoked_at, "revoked_by": ADMIN, "until": 5_000_000_000_u64})
    );
    assert_eq!(has(&other, "/revocations/token/abc").unwrap()["until"], revoked_at + 3600);
    let evil = has(&other, "/revocations/trust-domain/evil.example").unwrap();
    assert_eq!((evil.get("until"), evil.get("lifted_at")), (None, None));
    let somebody = has(&other, "/revocations/client/spiffe://prod.example/somebody").unwrap();
    assert_eq!(somebody["lifted_at"], revoked_at);
    assert!(!export(&other).iter().any(|line| line.contains("/revocations/certificate/")));
    for gone in [
        "/clients/spiffe://prod.example/checkout",
        "/index/spiffe/spiffe://prod.example/checkout",
        "/resources/https://orders.prod.example",
    ] {
        assert!(has(&other, gone).is_none(), "{gone}");
    }
    assert_eq!(has(&other, "/deleted/https://orders.prod.example").unwrap()["deleted_by"], ADMIN);
    assert_eq!(has(&other, "/clients/all").unwrap()["metadata"]["disabled"], true);
    store(&["verify", "--config", text(&other)]).ok();
}

#[tokio::test]
async fn a_signing_key_that_was_revoked_after_the_export_stays_revoked() {
    let setup = stopped().await;
    let server = setup.start().await.unwrap();
    let leaf = server.svid("/checkout");
    let old = server.token(&leaf).await;
    let TestServer { server, setup, .. } = server;
    server.stop().await;
    let (config, other, file) = (setup.path("lanyard.yaml"), config_of(&setup, "other"), setup.path("backup"));
    store(&["export", "--config", text(&config), "--out", text(&file)]).ok();
    let kid = opened(&old).0["kid"].as_str().unwrap().to_owned();
    let revoked = json!({"admin": ADMIN, "kid": kid, "change": "revoked", "comment": "it leaked", "revision": 1000});
    let log = setup.path("log");
    fs::write(&log, line("2027-01-15T08:00:00Z", "signing key changed", &revoked)).unwrap();
    // Tokens that were issued before are refused by the key alone.
    let import =
        ["import", text(&file), "--config", text(&other), "--audit", text(&log), "--trust-tokens", "-o", "json"];
    assert_eq!(store(&import).json(0)["repeated"]["keys_revoked"], 1);
    let record = has(&other, &format!("/keys/{kid}")).unwrap();
    assert_eq!((&record["state"], &record["reason"]), (&json!("revoked"), &json!("it leaked")));
    assert!(record.get("sealed").is_none(), "{record}");
    store(&["verify", "--config", text(&other)]).ok();
    fs::rename(setup.path("data"), setup.path("before")).unwrap();
    fs::rename(setup.path("other"), setup.path("data")).unwrap();
    let server = setup.start().await.unwrap();
    let new = server.token(&leaf).await;
    assert_ne!(opened(&new).0["kid"], json!(kid));
    let asked = async |token: &str| server.validate(token, certificate_of(&leaf)).await.unwrap().reason();
    assert_eq!(asked(&new).await, DenyReason::Unspecified);
    assert_ne!(asked(&old).await, DenyReason::Unspecified);
}

#[test]
fn the_log_of_a_server_is_what_is_repeated() {
    let (_directory, process, files) = developing();
    process.end_by("TERM");
    let config = files.path("lanyard.yaml");
    let mut serve = lanyard();
    let serving = Process::start(serve.args(["serve", "--config", text(&config)]).env("LANYARD_LOG__FORMAT", "json"));
    serving.until("\"serving\"");
    let (file, log, workload) = (files.path("backup"), files.path("log"), "spiffe://dev.internal/workload");
    let admin = |arguments: &[&str]| files.run("admin", arguments).ok();
    admin(&["token", "revoke", "--identity", "spiffe://dev.internal/early/*"]);
    admin(&["store", "export", "--out", text(&file)]);
    let document = admin(&["client", "get", workload]);
    files.apply(&format!("{document}\ndisabled: true\n")).ok();
    admin(&["token", "revoke", "--client", "spiffe://dev.internal/thief", "--for", "1h"]);
    admin(&["token", "revoke", "--identity", "spiffe://dev.internal/early/*", "--lift"]);
    admin(&["token", "revoke", "--jti", "AAAA"]);
    admin(&["token", "revoke", "--certificate", text(&files.path("thief.pem"))]);
    admin(&["token", "revoke", "--certificate", text(&files.path("thief.pem")), "--lift"]);
    admin(&["client", "delete", "selfsigned"]);
    admin(&["resource", "delete", AUDIENCE, "--yes"]);
    fs::write(&log, serving.end_by("TERM").1).unwrap();

    let other = files.path("other.yaml");
    fs::write(&other, fs::read_to_string(&config).unwrap().replace("path: data", "path: other")).unwrap();
    let import =
        ["import", text(&file), "--config", text(&other), "--audit", text(&log), "--trust-tokens", "-o", "json"];
    let imported = store(&import).json(0);
    assert_eq!(
        imported["repeated"],
        json!({"revoked": 3, "lifted": 2, "keys_revoked": 0, "disabled": 1, "deleted": 2})
    );
    assert_eq!(imported["not_repeated"], json!([format!("/clients/{workload}")]));
    let (original, repeated) = (export(&config), export(&other));
    // What denies is repeated, and not how it came about.
    let counting = |lines: &[String]| -> Vec<Value> {
        let read = records(lines).iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        read.filter(|record| !record["key"].as_str().unwrap().starts_with("/history/")).collect()
    };
    let (original, repeated) = (counting(&original), counting(&repeated));
    let keys = |records: &[Value]| -> Vec<Value> { records.iter().map(|record| record["key"].clone()).collect() };
    assert_eq!(keys(&repeated), keys(&original));
    // The ends are those of the original, to the second.
    for (one, other) in original.iter().zip(&repeated) {
        for member in ["until", "lifted_by", "revoked_by", "metadata"] {
            assert_eq!(one["value"].get(member), other["value"].get(member), "{one}");
        }
    }
}
