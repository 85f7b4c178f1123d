//! Records of a newer version, and features, in backups: they are carried as they are, or refused by name.

use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;

use crate::store::backup::config_of;
use crate::store::backup::export;
use crate::store::backup::records;
use crate::store::backup::stopped;
use crate::store::backup::store;
use crate::support::process::text;
use crate::support::test_process::open;

const FEATURE: &str = "{\"key\":\"/features/resource-max-staleness\"";

#[tokio::test]
async fn what_is_enabled_goes_with_the_records() {
    let setup = stopped().await;
    let (config, other, file) = (setup.path("lanyard.yaml"), config_of(&setup, "other"), setup.path("backup"));
    let lines = export(&config);
    assert!(lines.iter().any(|line| line.starts_with(FEATURE)), "{lines:#?}");
    store(&["export", "--config", text(&config), "--out", text(&file)]).ok();
    store(&["verify", text(&file), "--config", text(&config)]).ok();
    store(&["import", text(&file), "--config", text(&other), "--trust-tokens"]).ok();
    assert_eq!(records(&export(&other)), records(&lines));
    let third = config_of(&setup, "third");
    store(&["migrate", "--from", text(&other), "--to", text(&third)]).ok();
    assert_eq!(records(&export(&third)), records(&lines));
}

#[tokio::test]
async fn newer_records_are_exported_as_they_are_and_no_older_version_imports_them() {
    for key in [
        "/clients/later",
        "/resources/urn:later",
        "/grants/later",
        "/revocations/token/later",
        "/keys/later",
        "/roles/later",
    ] {
        let setup = stopped().await;
        let (config, other, file) = (setup.path("lanyard.yaml"), config_of(&setup, "other"), setup.path("backup"));
        let value = br#"{"schema":99,"metadata":{"more":true}}"#.to_vec();
        open(&setup.path("data")).unwrap().put(key, value, Expected::Absent).await.unwrap();
        store(&["export", "--config", text(&config), "--out", text(&file)]).ok();
        let line = format!("{{\"key\":\"{key}\",\"value\":{{\"schema\":99,\"metadata\":{{\"more\":true}}}}}}");
        assert!(export(&config).contains(&line), "{key}");
        let verified = store(&["verify", text(&file), "--config", text(&config)]);
        assert_eq!(verified.code, Some(1));
        assert!(verified.stdout.contains(key), "{verified:?}");
        store(&["import", text(&file), "--config", text(&other)]).refused(key, "");
        store(&["migrate", "--from", text(&config), "--to", text(&other)]).refused(key, "");
        assert_eq!(export(&other).len(), 2, "nothing was imported");
    }
}
