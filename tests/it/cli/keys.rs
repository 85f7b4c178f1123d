//! `lanyard keys`: lists, rotates, revokes and reseals.

use serde_json::Value;
use serde_json::json;

use crate::support::dev::Dev;
use crate::support::dev::Files;
use crate::support::process::Finished;

fn keys(files: &Files, arguments: &[&str]) -> Finished {
    files.run("admin", &[&["keys"], arguments].concat())
}

fn listed(files: &Files) -> Vec<Value> {
    keys(files, &["list", "-o", "json"]).json(0).as_array().unwrap().clone()
}

#[test]
fn keys_are_listed_rotated_and_revoked() {
    let Dev { files, .. } = &Dev::start();
    let [first] = &listed(files)[..] else { panic!("there is one key") };
    assert_eq!((&first["state"], &first["algorithm"]), (&json!("active"), &json!("ES256")));
    let kid = first["kid"].as_str().unwrap();

    let rotated = keys(files, &["rotate", "-o", "json"]).json(0);
    assert_eq!((&rotated["already_pending"], &rotated["key"]["state"]), (&json!(false), &json!("next")));
    let next = rotated["key"]["kid"].as_str().unwrap();
    let again = keys(files, &["rotate"]).ok();
    assert!(again.starts_with(&format!("the ES256 key {next} was published before, and signs from ")), "{again}");
    let text = keys(files, &["list"]).ok();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["KID", "ALGORITHM", "STATE", "CREATED", "NOTE"]);
    assert!(lines.len() == 3 && text.contains("signs from"), "{text}");

    assert_eq!(keys(files, &["revoke", kid]).code, Some(2));
    keys(files, &["revoke", kid, "--reason", " "]).refused("(INVALID_REQUEST)", "--help");
    keys(files, &["revoke", "-x", "--reason", "it leaked"]).refused("(KEY_NOT_FOUND)", "lanyard keys list");
    let revoked = keys(files, &["revoke", kid, "--reason", "it leaked"]);
    assert!(revoked.stderr.contains("until they fetch the keys again"), "{revoked:?}");
    let revoked = revoked.ok();
    assert!(revoked.contains(&format!("the key {kid} is revoked")), "{revoked}");
    assert!(revoked.contains(&format!("the ES256 key {next} signs in its place")), "{revoked}");
    let again = keys(files, &["revoke", kid, "--reason", "another", "-o", "json"]).json(0);
    assert_eq!((&again["already_revoked"], &again["replaced_by"]), (&json!(true), &Value::Null));
    assert_eq!(again["key"]["revoke_reason"], "it leaked");
    assert_eq!(again["key"]["revoked_by"], "spiffe://dev.internal/admin");
    let states: Vec<_> = listed(files).iter().map(|key| key["state"].as_str().unwrap().to_owned()).collect();
    assert!(states == ["revoked", "active"] || states == ["active", "revoked"], "{states:?}");

    assert_eq!(keys(files, &["reseal", "-o", "json"]).json(0), json!({"resealed": 0, "already": 3}));
    assert!(keys(files, &["reseal"]).ok().starts_with("0 keys sealed"));
}

#[test]
fn workloads_and_proxies_are_told_which_role_it_takes() {
    let Dev { files, .. } = &Dev::start();
    let kid = listed(files)[0]["kid"].as_str().unwrap().to_owned();
    let commands: [&[&str]; 4] = [&["list"], &["rotate"], &["revoke", &kid, "--reason", "for fun"], &["reseal"]];
    for name in ["workload", "proxy"] {
        for command in commands {
            files.run(name, &[&["keys"], command].concat()).refused("(WRONG_ROLE)", "role Admin");
        }
    }
    assert_eq!(listed(files).len(), 1);
}
