//! `lanyard store feature`: lists and enables.

use serde_json::json;

use crate::support::dev::Dev;
use crate::support::dev::Files;
use crate::support::process::Finished;
use crate::support::process::lanyard;
use crate::support::process::run;

fn feature(files: &Files, arguments: &[&str]) -> Finished {
    files.run("admin", &[&["store", "feature"], arguments].concat())
}

#[test]
fn features_are_listed_and_enabled() {
    let Dev { files, .. } = &Dev::start();
    // A store that was made by this version has them all.
    let listed = feature(files, &["list", "-o", "json"]).json(0);
    let listed = listed.as_array().unwrap();
    let names: Vec<&str> = listed.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"resource-max-staleness") && names.is_sorted(), "{names:?}");
    assert!(listed.iter().all(|one| one["enabled"] == json!(true) && one.get("enabled_by").is_none()), "{listed:?}");
    let text = feature(files, &["list"]).ok();
    assert!(text.contains("the new store") && text.contains("resources may have a max_staleness"), "{text}");

    let again = feature(files, &["enable", "resource-max-staleness", "-o", "json"]).json(0);
    assert_eq!(again["already_enabled"], true);
    let again = feature(files, &["enable", "resource-max-staleness"]).ok();
    assert_eq!(again.trim(), "resource-max-staleness was enabled before");
    feature(files, &["enable", "no-such-feature"]).refused("FEATURE_NOT_FOUND", "lanyard store feature list");
    // Only for admins.
    files.run("workload", &["store", "feature", "list"]).refused("WRONG_ROLE", "role Admin");
}

#[test]
fn the_version_names_its_features_for_programs() {
    let version = run(lanyard().args(["--version", "-o", "json"])).json(0);
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert!(version["commit"].is_null() || version["commit"].as_str().is_some_and(|commit| !commit.is_empty()));
    let features = version["features"].as_array().unwrap();
    assert!(features.contains(&json!("resource-max-staleness")), "{version}");
    assert_eq!(run(lanyard().args(["-o", "json", "client", "-V"])).json(0), version);
    let text = run(lanyard().arg("--version")).ok();
    assert_eq!(text, concat!("lanyard ", env!("CARGO_PKG_VERSION"), "\n"));
}
