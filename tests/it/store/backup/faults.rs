//! `lanyard store verify` finds what is wrong with each record, and says of nothing that it is right without having looked.

use std::fs;

use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::store::backup::stopped;
use crate::store::backup::store;
use crate::store::damage::copy_directory;
use crate::support::dev::ANY;
use crate::support::dev::dev;
use crate::support::process::run;
use crate::support::process::text;
use crate::support::server::SEAL;
use crate::support::server::Setup;
use crate::support::test_process::open;

const CHECKOUT: &str = "/clients/spiffe://prod.example/checkout";
const INDEX: &str = "/index/spiffe/spiffe://prod.example/checkout";
const ORDERS: &str = "/resources/https://orders.prod.example";

/// The value at a key.
async fn value(setup: &Setup, key: &str) -> Vec<u8> {
    open(&setup.path("data")).unwrap().get(key).await.unwrap().unwrap().value.to_vec()
}

/// The value with another member of its JSON, at this path.
fn with(value: &[u8], path: &str, member: Value) -> Vec<u8> {
    let mut json: Value = serde_json::from_slice(value).unwrap();
    let mut place = &mut json;
    for name in path.split('.') {
        place = &mut place[name];
    }
    *place = member;
    serde_json::to_vec(&json).unwrap()
}

/// The keys of the faults that are found when the store has these values instead; an empty one deletes.
async fn found(setup: &Setup, planted: &[(&str, Vec<u8>)]) -> Vec<(String, String)> {
    let before = setup.path("before");
    copy_to(setup, "data", "before");
    let stored = open(&setup.path("data")).unwrap();
    for (key, value) in planted {
        if value.is_empty() {
            stored.delete(key, Expected::Any).await.unwrap();
        } else {
            stored.put(key, value.clone(), Expected::Any).await.unwrap();
        }
    }
    drop(stored);
    let config = setup.path("lanyard.yaml");
    let verified = store(&["verify", "--config", text(&config), "-o", "json"]).json(i32::from(!planted.is_empty()));
    let faults = verified["faults"].as_array().unwrap().iter();
    let member = |fault: &Value, name: &str| fault[name].as_str().unwrap().to_owned();
    let faults = faults.map(|fault| (member(fault, "key"), member(fault, "problem"))).collect();
    fs::remove_dir_all(setup.path("data")).unwrap();
    fs::rename(before, setup.path("data")).unwrap();
    faults
}

fn copy_to(setup: &Setup, from: &str, to: &str) {
    fs::create_dir(setup.path(to)).unwrap();
    copy_directory(&setup.path(from), &setup.path(to));
}

#[tokio::test]
async fn each_fault_that_is_planted_is_found_with_its_key() {
    let setup = stopped().await;
    assert_eq!(found(&setup, &[]).await, []);
    let (checkout, orders) = (value(&setup, CHECKOUT).await, value(&setup, ORDERS).await);
    let keys = open(&setup.path("data")).unwrap().list("/keys/").await.unwrap().entries;
    let (key, sealed) = (keys[0].0.as_str(), keys[0].1.value.to_vec());
    let elsewhere = "/clients/spiffe://prod.example/elsewhere";
    let twin = with(&checkout, "metadata.client_id", json!("twin"));
    let twin = with(&twin, "metadata.spiffe_id", json!("spiffe://prod.example/checkout"));
    let text = |json: Value| json.to_string().into_bytes();
    let broken = || b"{}".to_vec();
    let claim = || text(json!({"schema": 1, "client_id": "all"}));
    let mark = json!({"schema": 1, "audience": "https://orders.prod.example", "delete_time": 1, "deleted_by": "a"});
    let revocation = || text(json!({"schema": 1, "revoked_at": 1, "revoked_by": "a"}));
    let at_a = with(&orders, "metadata.authorities", json!(["a.example"]));
    let b = "https://b.example";
    let both =
        vec![(ORDERS, at_a.clone()), ("/resources/https://b.example", with(&at_a, "metadata.audience", json!(b)))];
    for (planted, at, why) in [
        (vec![(CHECKOUT, b"{".to_vec())], CHECKOUT, "is not what this version writes"),
        (vec![(CHECKOUT, with(&checkout, "schema", json!(9)))], CHECKOUT, "has schema 9"),
        (vec![(elsewhere, checkout.clone())], elsewhere, "under the key of another"),
        (
            vec![(CHECKOUT, with(&checkout, "metadata.token_endpoint_auth_method", json!("none")))],
            CHECKOUT,
            "auth_method",
        ),
        (vec![(ORDERS, b"null".to_vec())], ORDERS, "is not what this version writes"),
        (both, "/resources/https://b.example", "the authority a.example with https://orders.prod.example"),
        (vec![(INDEX, Vec::new())], CHECKOUT, "does not name the client"),
        (vec![(INDEX, claim())], CHECKOUT, "does not name the client"),
        (vec![(INDEX, b"1".to_vec())], INDEX, "the record of the index cannot be read"),
        (
            vec![("/index/spiffe/spiffe://a.example/b", claim())],
            "/index/spiffe/spiffe://a.example/b",
            "names the client all",
        ),
        (vec![("/index/authority/00", broken())], "/index/authority/00", "cannot be read"),
        (vec![("/clients/twin", twin)], "/clients/twin", "has the same SPIFFE ID"),
        (vec![("/revocations/client/x y", revocation())], "/revocations/client/x y", "not a revocation"),
        (vec![("/revocations/unheard-of/x", revocation())], "/revocations/unheard-of/x", "not a revocation"),
        (vec![("/revocations/token/x", broken())], "/revocations/token/x", "not a revocation"),
        (vec![("/lineages/x", broken())], "/lineages/x", "not a succession"),
        (vec![("/published-jwks/x", broken())], "/published-jwks/x", "what is kept of a client's jwks_uri"),
        (vec![("/published-jwks/x", b"{\"schema\":9}".to_vec())], "/published-jwks/x", "has schema 9"),
        (vec![("/fetched-bundles/x", broken())], "/fetched-bundles/x", "what is kept of a trust domain's bundle"),
        (vec![("/fetched-bundles/x", b"{\"schema\":9}".to_vec())], "/fetched-bundles/x", "has schema 9"),
        (vec![("/deleted/https://a.example", broken())], "/deleted/https://a.example", "deleted resource"),
        (vec![("/deleted/https://orders.prod.example", text(mark))], ORDERS, "marked as deleted"),
        (vec![(key, with(&sealed, "sealed", json!("AAAA")))], key, ""),
        (vec![(key, with(&sealed, "kid", json!("another")))], key, "does not open"),
        (vec![("/keys/other", sealed.clone())], "/keys/other", "is another key's"),
        (vec![("/unheard/of", broken())], "/unheard/of", "no record of this version"),
    ] {
        let faults = found(&setup, &planted).await;
        assert!(faults.iter().any(|(key, problem)| key == at && problem.contains(why)), "{at}: {why}: {faults:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_looked_at_is_not_said_to_be_right() {
    let setup = stopped().await;
    let config = setup.path("lanyard.yaml");
    let verify = || store(&["verify", "--config", text(&config)]);
    let right = verify().ok();
    assert!(right.contains("records were read: nothing is wrong with them") && right.contains("/keys/ 1"), "{right}");
    // In use.
    let held = open(&setup.path("data")).unwrap();
    verify().refused("another process uses the store", "export from it");
    drop(held);
    // The wrong key, and one that cannot be read.
    let yaml = fs::read_to_string(&config).unwrap();
    fs::write(&config, yaml.replace(SEAL, &format!("{}=", "A".repeat(43)))).unwrap();
    let wrong = verify();
    assert!(wrong.code == Some(1) && wrong.stdout.contains("the key does not open"), "{wrong:?}");
    fs::write(&config, yaml.replace(SEAL, "x")).unwrap();
    verify().refused("key_encryption_key", "sealed with");
    fs::write(&config, &yaml).unwrap();
    // Damage in the log: never right, and the store's own files are as they were. Where a place is of what was written anew since,
    // nothing that is read has changed.
    let log = setup.path("data/db");
    let whole = fs::read(&log).unwrap();
    let places = whole.windows(11).enumerate().filter(|(_, window)| window == b"spiffe_x509").map(|(place, _)| place);
    let mut refused = 0;
    for place in places {
        let mut damaged = whole.clone();
        damaged[place] ^= 1;
        fs::write(&log, &damaged).unwrap();
        let found = verify();
        if found.code == Some(0) {
            assert_eq!(found.stdout, right);
            continue;
        }
        refused += 1;
        assert_eq!(found.code, Some(1), "{found:?}");
        assert!(found.stderr.contains("was not looked at"), "{found:?}");
        assert!(found.stderr.contains(text(&setup.path("data"))), "{found:?}");
        assert_eq!(fs::read(&log).unwrap(), damaged);
    }
    assert!(refused > 0);
    fs::write(&log, &whole).unwrap();
    verify().ok();
    fs::remove_dir_all(setup.path("data")).unwrap();
    verify().refused("there is no store in", "right directory");
}

#[tokio::test]
async fn what_matters_before_going_back_to_a_version_without_exchange_is_said_where_there_is_some() {
    let directory = TempDir::new().unwrap();
    run(dev(directory.path(), ANY).arg("--once")).ok();
    let config = directory.path().join("lanyard.yaml");
    // The relay, the two resources, and the key of the receipt.
    let verified = store(&["verify", "--config", text(&config), "-o", "json"]).json(0);
    assert_eq!(verified["exchange"], json!({ "clients": 1, "resources": 2, "receipt_keys": 1 }));
    let said = store(&["verify", "--config", text(&config)]).stderr;
    assert!(
        said.contains("1 clients, 2 resources and 1 keys") && said.contains("set exchange.enabled to false"),
        "{said}"
    );
    let setup = stopped().await;
    let config = setup.path("lanyard.yaml");
    let verified = store(&["verify", "--config", text(&config), "-o", "json"]).json(0);
    assert_eq!(verified["exchange"], json!({ "clients": 0, "resources": 0, "receipt_keys": 0 }));
    let said = store(&["verify", "--config", text(&config)]).stderr;
    assert!(!said.contains("exchange"), "{said}");
}
