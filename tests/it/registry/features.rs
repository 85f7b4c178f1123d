//! Features whose records earlier versions cannot read: nothing of them is written before one is enabled, and none is
//! enabled while a replica runs that cannot read them.

use std::time::Duration;

use lanyard::authority::records::OldReplica;
use lanyard::authority::records::RegistryError;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::state::Feature;
use lanyard::authority::state::FeatureError;
use lanyard::authority::store::Batch;
use lanyard::authority::store::Change;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;
use serde_json::Value;
use serde_json::json;
use strum::VariantArray as _;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::ORDERS;
use crate::support::authority::STOCK;
use crate::support::authority::TestAuthority;
use crate::support::authority::named_spiffe_client;
use crate::support::authority::ready;
use crate::support::resources::at;
use crate::support::unreferenced::Unreferenced as _;

const NAME: &str = "resource-max-staleness";

fn bounded(audience: &str) -> ResourceMetadata {
    ResourceMetadata { max_staleness: Some(Duration::from_mins(2)), ..at(audience, &[], &[]) }
}

fn create(fixture: &TestAuthority, metadata: ResourceMetadata) -> Result<(), RegistryError> {
    ready(fixture.authority.create_resource(&fixture.svid(ADMIN), metadata, false)).map(drop)
}

fn enable(fixture: &TestAuthority, name: &str) -> Result<bool, FeatureError> {
    let caller = fixture.authority.as_caller(&fixture.svid(ADMIN));
    ready(fixture.authority.enable_feature(&caller, name)).unreferenced().map(|(_, already)| already)
}

/// Another replica writes this heartbeat, or withdraws it.
fn beat(fixture: &TestAuthority, name: &str, heartbeat: Option<&[u8]>) {
    let key = format!("/replicas/{name}");
    let written = match heartbeat {
        Some(value) => ready(fixture.store.put(&key, value.to_vec(), Expected::Any)),
        None => ready(fixture.store.delete(&key, Expected::Any)),
    };
    let changes = vec![Change { key, value: heartbeat.map(Into::into) }];
    fixture.authority.apply(&Batch { revision: written.unwrap(), changes });
}

/// That of a version that reads resources up to this schema, and of each other kind the first, or all up to 99.
fn heartbeat(version: &str, resources: u32) -> Vec<u8> {
    let reads = if resources == 99 {
        json!({ "/clients/": 99, "/resources/": 99, "/grants/": 99, "/receipt-keys/": 99, "/proposals/": 99 })
    } else {
        json!({ "/clients/": 1, "/resources/": resources })
    };
    json!({ "schema": 1, "beat": 1, "version": version, "reads": reads }).to_string().into_bytes()
}

fn stored(fixture: &TestAuthority, audience: &str) -> Value {
    let stored = ready(fixture.store.get(&format!("/resources/{audience}"))).unwrap().unwrap();
    serde_json::from_slice(&stored.value).unwrap()
}

fn not_enabled() -> RegistryError {
    RegistryError::FeatureNotEnabled { field: "max_staleness", feature: NAME }
}

#[test]
fn a_field_that_earlier_versions_cannot_read_is_refused_until_its_feature_is_enabled() {
    let fixture = TestAuthority::new();
    assert_eq!(create(&fixture, bounded(ORDERS)), Err(not_enabled()));
    assert_eq!(not_enabled().code(), "FEATURE_NOT_ENABLED");
    assert!(not_enabled().to_string().contains("`lanyard store feature enable resource-max-staleness`"));
    // A dry run says so too. Without the field it is registered, in the schema that earlier versions read.
    let tried = ready(fixture.authority.create_resource(&fixture.svid(ADMIN), bounded(ORDERS), true));
    assert_eq!(tried.unwrap_err(), not_enabled());
    create(&fixture, at(ORDERS, &[], &[])).unwrap();
    assert_eq!(stored(&fixture, ORDERS)["schema"], 1);
    let from = fixture.authority.resource(ORDERS).unwrap().revision;
    let update =
        |from| ready(fixture.authority.update_resource(&fixture.svid(ADMIN), bounded(ORDERS), from, false)).map(drop);
    assert_eq!(update(from), Err(not_enabled()));

    assert_eq!(enable(&fixture, NAME), Ok(false));
    assert_eq!(update(from), Ok(()));
    assert_eq!(stored(&fixture, ORDERS)["schema"], 2);
    assert_eq!(stored(&fixture, ORDERS)["metadata"]["max_staleness"], "2m");
    create(&fixture, at(STOCK, &[], &[])).unwrap();
    assert_eq!(stored(&fixture, STOCK)["schema"], 1, "the oldest schema that says it");
    // Again, it stays as it was.
    let record = ready(fixture.store.get(&Feature::ResourceMaxStaleness.key())).unwrap().unwrap();
    assert_eq!(enable(&fixture, NAME), Ok(true));
    assert_eq!(ready(fixture.store.get(&Feature::ResourceMaxStaleness.key())).unwrap().unwrap(), record);
}

#[test]
fn a_resource_with_two_such_fields_needs_both_features_and_has_the_newer_schema() {
    let fixture = TestAuthority::new();
    let both = || ResourceMetadata { record_allowed: true, ..bounded(ORDERS) };
    let refused = RegistryError::FeatureNotEnabled { field: "record_allowed", feature: "resource-record-allowed" };
    enable(&fixture, NAME).unwrap();
    assert_eq!(create(&fixture, both()), Err(refused));
    enable(&fixture, "resource-record-allowed").unwrap();
    create(&fixture, both()).unwrap();
    assert_eq!(stored(&fixture, ORDERS)["schema"], 3);
    create(&fixture, ResourceMetadata { record_allowed: true, ..at(STOCK, &[], &[]) }).unwrap();
    let metadata = &stored(&fixture, STOCK)["metadata"];
    assert_eq!((&metadata["record_allowed"], metadata.get("max_staleness")), (&json!(true), None));
}

#[test]
fn what_is_written_with_a_feature_is_read_again() {
    let fixture = TestAuthority::new();
    enable(&fixture, NAME).unwrap();
    create(&fixture, bounded(ORDERS)).unwrap();
    let other = TestAuthority::on(std::sync::Arc::clone(&fixture.store), |_| {}, TestAuthority::keys());
    ready(other.authority.load()).unwrap();
    assert_eq!(
        other.authority.resource(ORDERS).unwrap().registration.metadata.max_staleness,
        Some(Duration::from_mins(2))
    );
    create(&other, bounded(STOCK)).unwrap();
}

#[test]
fn what_manages_a_registration_needs_its_feature_and_writes_the_newer_schema_alone_where_it_is_said() {
    const MANAGER: &str = "managed-by";
    let fixture = TestAuthority::new();
    let refused = RegistryError::FeatureNotEnabled { field: "managed_by", feature: MANAGER };
    let managed =
        |audience: &str| ResourceMetadata { managed_by: Some("repo/shop".to_owned()), ..at(audience, &[], &[]) };
    let client = |name: &str, manager: Option<&str>| ClientMetadata {
        managed_by: manager.map(ToOwned::to_owned),
        ..named_spiffe_client(name, &format!("spiffe://prod.example/{name}"))
    };
    assert_eq!(create(&fixture, managed(ORDERS)), Err(refused.clone()));
    assert_eq!(fixture.try_register(client("one", Some("repo"))).unwrap_err(), refused);
    enable(&fixture, MANAGER).unwrap();
    create(&fixture, managed(ORDERS)).unwrap();
    assert_eq!(stored(&fixture, ORDERS)["schema"], 4);
    for (name, manager, schema) in [("one", Some("repo"), 2), ("two", None, 1)] {
        fixture.register(client(name, manager));
        let stored = ready(fixture.store.get(&format!("/clients/{name}"))).unwrap().unwrap();
        let stored: Value = serde_json::from_slice(&stored.value).unwrap();
        assert_eq!((&stored["schema"], &stored["metadata"]["managed_by"]), (&json!(schema), &json!(manager)), "{name}");
    }
    // Both kinds must be read.
    let fixture = TestAuthority::new();
    let reads = |clients: u32, resources: u32| {
        let reads = json!({ "/clients/": clients, "/resources/": resources, "/grants/": 1 });
        json!({ "schema": 1, "beat": 1, "version": "0.1.0", "reads": reads }).to_string().into_bytes()
    };
    for (clients, resources, is_refused) in [(1, 4, true), (2, 3, true), (2, 4, false)] {
        beat(&fixture, "other", Some(&reads(clients, resources)));
        assert_eq!(enable(&fixture, MANAGER).is_err(), is_refused, "{clients} {resources}");
    }
    for (text, is_valid) in [("", false), ("a b", false), ("é", false), ("https://git.example/shop#main", true)] {
        let metadata = client("three", Some(text));
        assert_eq!(fixture.try_register(metadata).is_ok(), is_valid, "{text}");
    }
}

#[test]
fn no_feature_is_enabled_while_a_replica_runs_that_cannot_read_it() {
    let fixture = TestAuthority::new();
    assert_eq!(enable(&fixture, "no-such-feature"), Err(FeatureError::NotFound));
    beat(&fixture, "new-1", Some(&heartbeat("0.2.0", 99)));
    let old = |version: &str| {
        FeatureError::ReplicaTooOld(OldReplica { replica: "old-1".to_owned(), version: version.to_owned() })
    };
    for (value, version) in [
        (heartbeat("0.1.0", 1), "0.1.0"),
        // It says nothing of what it reads, or nothing at all.
        (b"{\"schema\":1,\"beat\":1,\"version\":\"0.0.1\"}".to_vec(), "0.0.1"),
        (b"?".to_vec(), ""),
    ] {
        beat(&fixture, "old-1", Some(&value));
        assert_eq!(enable(&fixture, NAME), Err(old(version)));
        assert!(!fixture.authority.enabled_features().is_enabled(Feature::ResourceMaxStaleness));
    }
    let sentence = old("0.1.0").to_string();
    assert!(sentence.contains("old-1") && sentence.contains("'0.1.0'"), "{sentence}");
    beat(&fixture, "old-1", Some(&heartbeat("0.2.0", 99)));
    assert_eq!(enable(&fixture, NAME), Ok(false));

    // One that joins afterwards, and cannot read it: nothing more is written for the time.
    create(&fixture, bounded(ORDERS)).unwrap();
    beat(&fixture, "old-1", Some(&heartbeat("0.1.0", 1)));
    let refused = create(&fixture, bounded(STOCK)).unwrap_err();
    assert_eq!((refused.code(), refused.to_string()), ("REPLICA_TOO_OLD", sentence));
    create(&fixture, at("urn:plain", &[], &[])).unwrap();
    // What would change nothing is no change.
    let present = fixture.authority.resource(ORDERS).unwrap();
    let same = present.registration.metadata.clone();
    let updated =
        ready(fixture.authority.update_resource(&fixture.svid(ADMIN), same, present.revision, false)).unwrap();
    assert_eq!(updated.revision, present.revision);
    beat(&fixture, "old-1", None);
    create(&fixture, bounded(STOCK)).unwrap();
}

#[test]
fn a_new_store_has_every_feature_and_one_that_was_used_has_none() {
    let enabled = |fixture: &TestAuthority| {
        ready(fixture.authority.enable_features_of_a_new_store()).unwrap();
        ready(fixture.authority.load()).unwrap();
        Feature::VARIANTS
            .iter()
            .map(|feature| fixture.authority.enabled_features().is_enabled(*feature))
            .collect::<Vec<_>>()
    };
    let (all, none) = (vec![true; Feature::VARIANTS.len()], vec![false; Feature::VARIANTS.len()]);
    let empty = || {
        let fixture = TestAuthority::new();
        for (key, _) in ready(fixture.store.list("")).unwrap().entries {
            ready(fixture.store.delete(&key, Expected::Any)).unwrap();
        }
        fixture
    };
    assert_eq!(enabled(&empty()), all);
    // Twice is as once.
    let twice = empty();
    assert_eq!(enabled(&twice), all);
    assert_eq!(enabled(&twice), all);
    // Its signing key is enough to tell that it was used.
    assert_eq!(enabled(&TestAuthority::new()), none);
    let with = |key: &str, value: Vec<u8>| {
        let fixture = empty();
        ready(fixture.store.put(key, value, Expected::Any)).unwrap();
        fixture
    };
    // What running replicas keep there is no use, but one of them must be able to read it.
    assert_eq!(enabled(&with("/replicas/new", heartbeat("0.2.0", 99))), all);
    // One that reads some of them.
    let staleness =
        Feature::VARIANTS.iter().map(|feature| *feature == Feature::ResourceMaxStaleness).collect::<Vec<_>>();
    assert_eq!(enabled(&with("/replicas/between", heartbeat("0.1.5", 2))), staleness);
    assert_eq!(enabled(&with("/leader/lease", b"{}".to_vec())), all);
    assert_eq!(enabled(&with("/replicas/old", heartbeat("0.1.0", 1))), none);
    assert_eq!(enabled(&with("/index/signing-keys", b"{\"schema\":1}".to_vec())), none);
}

#[test]
fn a_feature_of_a_later_version_is_listed_and_enables_nothing_here() {
    let fixture = TestAuthority::new();
    let record = b"{\"schema\":1,\"enable_time\":5,\"enabled_by\":\"ops\",\"more\":true}";
    ready(fixture.store.put("/features/unheard-of", record.to_vec(), Expected::Any)).unwrap();
    ready(fixture.authority.load()).unwrap();
    let features = fixture.authority.enabled_features();
    assert_eq!(features.record_of("unheard-of").unwrap().enabled_by, "ops");
    assert_eq!(create(&fixture, bounded(ORDERS)), Err(not_enabled()));
    assert_eq!(enable(&fixture, "unheard-of"), Err(FeatureError::NotFound));
}
