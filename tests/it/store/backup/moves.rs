//! What is exported and imported, or migrated, is the same afterwards.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;
use serde_json::json;

use crate::store::backup::add_revocations;
use crate::store::backup::config_of;
use crate::store::backup::export;
use crate::store::backup::records;
use crate::store::backup::stopped;
use crate::store::backup::store;
use crate::support::process::text;
use crate::support::server::SEAL;
use crate::support::test_process::open;

#[tokio::test]
async fn an_export_that_is_imported_and_exported_again_is_the_same_but_for_the_header() {
    let setup = stopped().await;
    // More than one transaction holds.
    add_revocations(&setup.path("data"), 300).await;
    let (config, other, file) = (setup.path("lanyard.yaml"), config_of(&setup, "other"), setup.path("backup"));
    let summary = store(&["export", "--config", text(&config), "--out", text(&file), "-o", "json"]).json(0);
    let lines = export(&config);
    assert_eq!(summary["records"], lines.len() - 2);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    for prefix in ["/clients/", "/index/spiffe/", "/index/authority/", "/keys/", "/resources/", "/revocations/client/"]
    {
        assert!(lines.iter().any(|line| line.starts_with(&format!("{{\"key\":\"{prefix}"))), "{prefix}");
    }
    // Signing keys stay sealed: what opens one is not in the text.
    let key = lines.iter().find(|line| line.contains("\"/keys/")).unwrap();
    assert!(key.contains("\"sealed\":") && !key.contains("\"d\":"), "{key}");

    let import =
        |flags: &[&str]| store(&[&["import", text(&file), "--config", text(&other), "--trust-tokens"], flags].concat());
    let imported = import(&["-o", "json"]);
    assert!(
        imported.stderr.contains("what was revoked, disabled, deleted or changed after the export"),
        "{imported:?}"
    );
    let imported = imported.json(0);
    assert_eq!((&imported["written"], &imported["tokens_refused"]), (&json!(lines.len() - 2), &json!(false)));
    let again = export(&other);
    assert_eq!(records(&again), records(&lines));
    assert_ne!(again[0], lines[0]);

    // The store is not empty any more, and has each record already.
    import(&[]).refused("the store is not empty", "--merge");
    assert_eq!(import(&["--merge", "-o", "json"]).json(0)["present"], lines.len() - 2);
    assert_eq!(records(&export(&other)), records(&lines));
    // A server starts on it.
    fs::rename(setup.path("data"), setup.path("before")).unwrap();
    fs::rename(setup.path("other"), setup.path("data")).unwrap();
    let server = setup.start().await.unwrap();
    server.token(&server.svid("/checkout")).await;
}

#[tokio::test]
async fn a_merge_changes_nothing_that_is_there_and_is_refused_whole_where_it_would() {
    let setup = stopped().await;
    let (config, other, file) = (setup.path("lanyard.yaml"), config_of(&setup, "other"), setup.path("backup"));
    store(&["export", "--config", text(&config), "--out", text(&file)]).ok();
    let import = |flags: &[&str]| store(&[&["import", text(&file), "--config", text(&other)], flags].concat());
    add_revocations(&setup.path("other"), 2).await;
    let key = "/revocations/client/spiffe://prod.example/somebody";
    let differs = br#"{"schema":1,"revoked_at":5,"revoked_by":"another"}"#.to_vec();
    open(&setup.path("other")).unwrap().put(key, differs, Expected::Absent).await.unwrap();
    let before = export(&other);
    import(&["--merge"]).refused(&format!("at 1 of the keys: {key}"), "nothing was imported");
    assert_eq!(records(&export(&other)), records(&before));
    open(&setup.path("other")).unwrap().delete(key, Expected::Any).await.unwrap();
    import(&["--merge", "--trust-tokens"]).ok();
    let mut both: Vec<String> = [records(&export(&config)), &records(&before)[1..]].concat();
    both.sort();
    let mut found = records(&export(&other)).to_vec();
    found.sort();
    assert_eq!(found, both);
}

#[tokio::test]
async fn a_migration_copies_everything_into_an_empty_store_and_refuses_tokens_of_none() {
    let setup = stopped().await;
    add_revocations(&setup.path("data"), 300).await;
    let (config, other) = (setup.path("lanyard.yaml"), config_of(&setup, "other"));
    let lines = export(&config);
    let migrate = || store(&["migrate", "--from", text(&config), "--to", text(&other)]);
    migrate().ok();
    let again = export(&other);
    assert_eq!(records(&again), records(&lines));
    assert!(!again.iter().any(|line| line.contains("all-issued")));
    migrate().refused("the store is not empty", "an empty store with --to");
    let same = store(&["migrate", "--from", text(&config), "--to", text(&config)]);
    same.refused("another process uses the store", "another store with --to");
    let memory = setup.path("memory.yaml");
    fs::write(&memory, fs::read_to_string(&config).unwrap().replace("{sled: {path: data}}", "{memory: true}")).unwrap();
    store(&["migrate", "--from", text(&config), "--to", text(&memory)]).refused("in memory", "on a disk");
    let nowhere = config_of(&setup, "nowhere");
    store(&["migrate", "--from", text(&nowhere), "--to", text(&other)])
        .refused("there is no store in", "right directory");
    assert!(!setup.path("nowhere").exists());
}

#[tokio::test]
async fn keys_that_the_key_encryption_key_does_not_open_are_not_imported() {
    let setup = stopped().await;
    let (config, other, file) = (setup.path("lanyard.yaml"), config_of(&setup, "other"), setup.path("backup"));
    store(&["export", "--config", text(&config), "--out", text(&file)]).ok();
    let yaml = fs::read_to_string(&other).unwrap();
    let another_key = format!("{}=", "A".repeat(43));
    fs::write(&other, yaml.replace(SEAL, &another_key)).unwrap();
    store(&["import", text(&file), "--config", text(&other)]).refused("does not open", "key-encryption key");
    store(&["migrate", "--from", text(&config), "--to", text(&other)]).refused("does not open", "key-encryption key");
    fs::write(&other, yaml).unwrap();
    assert_eq!(export(&other).len(), 2);
}

/// Servers that share a store have heartbeats in it.
#[tokio::test]
async fn nothing_is_moved_into_or_from_a_store_that_servers_share_and_their_own_records_are_not_moved() {
    let setup = stopped().await;
    let (config, other, file) = (setup.path("lanyard.yaml"), config_of(&setup, "other"), setup.path("backup"));
    let lines = export(&config);
    let stored = open(&setup.path("data")).unwrap();
    for key in ["/leader", "/replicas/one"] {
        stored.put(key, b"{}".to_vec(), Expected::Absent).await.unwrap();
    }
    drop(stored);
    store(&["export", "--config", text(&config), "--out", text(&file)]).ok();
    assert_eq!(records(&export(&config)), records(&lines));
    let in_use = ("the server one uses the store", "stop all servers");
    store(&["migrate", "--from", text(&config), "--to", text(&other)]).refused(in_use.0, in_use.1);
    store(&["import", text(&file), "--config", text(&config), "--merge"]).refused(in_use.0, in_use.1);
    open(&setup.path("data")).unwrap().delete("/replicas/one", Expected::Any).await.unwrap();
    store(&["migrate", "--from", text(&config), "--to", text(&other)]).ok();
    assert!(open(&setup.path("other")).unwrap().get("/leader").await.unwrap().is_none());
}
