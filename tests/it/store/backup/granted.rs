//! Grants are moved with everything else, and one that was deleted after the export is not imported.

use std::fs;

use serde_json::json;

use crate::grants::support::create_grant;
use crate::grants::support::grant_of;
use crate::store::backup::config_of;
use crate::store::backup::export;
use crate::store::backup::records;
use crate::store::backup::store;
use crate::support::process::text;
use crate::support::server::Setup;
use crate::support::server::TestServer;

#[tokio::test]
async fn grants_are_imported_and_verified_and_deletions_after_the_export_are_repeated() {
    let setup = Setup { store: "{sled: {path: data}}".to_owned(), ..Setup::default() };
    setup.write();
    let server = setup.start().await.unwrap();
    for team in ["shop", "billing"] {
        create_grant(&server, &server.svid("/admin"), grant_of(team)).await.unwrap();
    }
    let TestServer { server, setup, .. } = server;
    server.stop().await;
    let (config, file, log) = (setup.path("lanyard.yaml"), setup.path("backup"), setup.path("log"));
    store(&["export", "--config", text(&config), "--out", text(&file)]).ok();
    let event = |change: &str, grant: &str| {
        json!({
            "timestamp": "2099-01-01T00:00:00.123456Z", "level": "INFO", "target": "lanyard::audit",
            "message": "grant changed", "change": change, "grant": grant, "revision": 1_000_000,
        })
    };
    fs::write(&log, format!("{}\n{}\n", event("deleted", "shop"), event("updated", "billing"))).unwrap();
    let whole = config_of(&setup, "whole");
    store(&["import", text(&file), "--config", text(&whole), "--trust-tokens"]).ok();
    assert_eq!(records(&export(&whole)), records(&export(&config)));
    let verified = store(&["verify", "--config", text(&whole)]).ok();
    assert!(verified.contains("/grants/ 2"), "{verified}");
    let replayed = config_of(&setup, "replayed");
    let imported =
        store(&["import", text(&file), "--config", text(&replayed), "--trust-tokens", "--audit", text(&log)]);
    assert!(format!("{}{}", imported.stdout, imported.stderr).contains("/grants/billing"), "{imported:?}");
    let kept = records(&export(&replayed)).join("\n");
    assert!(kept.contains("\"key\":\"/grants/billing\"") && !kept.contains("\"key\":\"/grants/shop\""), "{kept}");
}
