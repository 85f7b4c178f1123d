//! Grants in the store: which schemas are read, and what comes of those that are not.

use lanyard::authority::access::CalledMethod;
use lanyard::authority::access::GrantMetadata;
use lanyard::authority::access::NotAdmitted;
use lanyard::authority::access::PeerConnection;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::records::RegistryError;
use lanyard::authority::state::Feature;
use lanyard::authority::state::FeatureRecord;
use lanyard::authority::state::Snapshot;
use lanyard::authority::store::Batch;
use lanyard::authority::store::Change;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;
use serde_json::Value;
use serde_json::json;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;

pub const KEY: &str = "/grants/shop";
pub const TEAM: &str = "spiffe://prod.example/ns/shop-admins/ci";

pub fn shop() -> GrantMetadata {
    GrantMetadata {
        name: "shop".to_owned(),
        admins: vec!["spiffe://prod.example/ns/shop-admins/*".to_owned()],
        spiffe_ids: vec!["spiffe://prod.example/ns/shop/*".to_owned()],
        audiences: vec!["https://orders.prod.example".to_owned()],
        scope: "orders.read".to_owned(),
        owners: vec!["team-shop".to_owned()],
        ..GrantMetadata::default()
    }
}

/// An authority whose store has the feature.
pub fn with_the_feature() -> TestAuthority {
    let fixture = TestAuthority::new();
    let record = FeatureRecord::new(Timestamp(1), "").to_bytes().unwrap();
    put(&fixture, &Feature::TeamGrants.key(), &record);
    fixture
}

fn put(fixture: &TestAuthority, key: &str, value: &[u8]) {
    let revision = ready(fixture.store.put(key, value.to_vec(), Expected::Any)).unwrap();
    let changes = vec![Change { key: key.to_owned(), value: Some(value.into()) }];
    fixture.authority.apply(&Batch { revision, changes });
}

fn stored(fixture: &TestAuthority) -> Value {
    serde_json::from_slice(&ready(fixture.store.get(KEY)).unwrap().unwrap().value).unwrap()
}

fn is_admitted(fixture: &TestAuthority) -> bool {
    let leaf = fixture.prod.svid(TEAM).issue();
    let connection: PeerConnection = fixture.authority.admit(leaf.chain).unwrap();
    let list = CalledMethod::find("/lanyard.v1.RegistryService/ListClients", true);
    match fixture.authority.authorize_now(&connection, list) {
        Ok(caller) => !caller.grants.is_empty(),
        Err(NotAdmitted::WrongRole) => false,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_grant_is_refused_until_its_feature_is_enabled() {
    let fixture = TestAuthority::new();
    let create = |fixture: &TestAuthority| ready(fixture.authority.create_grant(&fixture.svid(ADMIN), shop(), false));
    let refused = RegistryError::FeatureNotEnabled { field: "a grant", feature: "team-grants" };
    assert_eq!(create(&fixture).unwrap_err(), refused);
    assert!(!is_admitted(&fixture));
    let fixture = with_the_feature();
    create(&fixture).unwrap();
    assert!(is_admitted(&fixture));
    assert_eq!(stored(&fixture)["schema"], 1);
}

#[test]
fn a_grant_is_among_the_keys_that_are_compared_with_the_store_and_outlives_an_older_reading() {
    let fixture = with_the_feature();
    let created = ready(fixture.authority.create_grant(&fixture.svid(ADMIN), shop(), false)).unwrap();
    let known = fixture.authority.view().snapshot;
    assert!(known.keys_between("", None).contains(&(KEY.to_owned(), created.revision)));
    let mut older = Snapshot::default();
    older.merge_newer(&known);
    assert!(older.grants.named("shop").is_some());
}

#[test]
fn a_grant_that_cannot_be_read_grants_nothing() {
    let fixture = with_the_feature();
    ready(fixture.authority.create_grant(&fixture.svid(ADMIN), shop(), false)).unwrap();
    let as_written = serde_json::to_vec(&stored(&fixture)).unwrap();
    let mut newer = stored(&fixture);
    newer["schema"] = json!(9);
    newer["metadata"]["until"] = json!("2030-01-01");
    let mut damaged = stored(&fixture);
    damaged["metadata"]["admins"] = json!("everybody");
    for (name, record) in [("newer", newer.to_string()), ("damaged", damaged.to_string()), ("no JSON", "{".to_owned())]
    {
        put(&fixture, KEY, record.as_bytes());
        assert!(!is_admitted(&fixture), "{name}");
        let listed = fixture.authority.view().snapshot;
        let suspended = listed.grants.named("shop").unwrap();
        assert!(suspended.suspended.is_some(), "{name}");
        put(&fixture, KEY, &as_written);
        assert!(is_admitted(&fixture), "{name}");
    }
}

#[test]
fn a_newer_grant_that_was_never_known_grants_nothing_and_is_not_rewritten() {
    let fixture = with_the_feature();
    let newer =
        json!({ "schema": 9, "metadata": { "name": "shop", "admins": ["spiffe://prod.example/ns/shop-admins/*"] } });
    put(&fixture, KEY, newer.to_string().as_bytes());
    assert!(!is_admitted(&fixture));
    let revision = fixture.authority.view().snapshot.grants.named("shop").unwrap().revision;
    let admin = fixture.svid(ADMIN);
    let refused = ready(fixture.authority.update_grant(&admin, shop(), revision, false)).unwrap_err();
    assert!(matches!(refused, RegistryError::TooNew { .. }), "{refused:?}");
    ready(fixture.authority.delete_grant(&admin, "shop", Some(revision))).unwrap();
    assert!(fixture.authority.view().snapshot.grants.is_empty());
    ready(fixture.authority.create_grant(&admin, shop(), false)).unwrap();
    assert!(is_admitted(&fixture));
}

#[test]
fn a_change_that_needs_a_grant_fails_if_the_grant_is_narrowed_meanwhile() {
    let fixture = with_the_feature();
    let admin = fixture.svid(ADMIN);
    let created = ready(fixture.authority.create_grant(&admin, shop(), false)).unwrap();
    // It was admitted before the grant was narrowed.
    let team = fixture.authority.as_caller(&fixture.svid(TEAM));
    let client = lanyard::authority::registration::ClientMetadata {
        client_id: "checkout".to_owned(),
        token_endpoint_auth_method: "spiffe_x509".to_owned(),
        spiffe_id: Some("spiffe://prod.example/ns/shop/sa/checkout".to_owned()),
        scope: "orders.read".to_owned(),
        audience: vec!["https://orders.prod.example".to_owned()],
        owner: Some("team-shop".to_owned()),
        ..Default::default()
    };
    let narrower = GrantMetadata { scope: String::new(), ..shop() };
    ready(fixture.authority.update_grant(&admin, narrower, created.revision, false)).unwrap();
    let late = ready(fixture.authority.create_client(team.author(None), client.clone(), false));
    assert!(matches!(late, Err(RegistryError::Exists(_) | RegistryError::Conflict(_))), "{late:?}");
    assert!(fixture.authority.client("checkout").is_err());
    let now = fixture.authority.as_caller(&fixture.svid(TEAM));
    let refused = ready(fixture.authority.create_client(now.author(None), client.clone(), false)).unwrap_err();
    assert_eq!(refused.code(), "NOT_GRANTED");
    let unscoped = lanyard::authority::registration::ClientMetadata { scope: String::new(), ..client };
    ready(fixture.authority.create_client(now.author(None), unscoped, false)).unwrap();
}

#[test]
fn what_a_grant_says_is_checked_by_its_fields() {
    let fixture = with_the_feature();
    let admin = fixture.svid(ADMIN);
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let create = |change: &dyn Fn(&mut GrantMetadata)| {
        let mut metadata = shop();
        change(&mut metadata);
        match ready(fixture.authority.create_grant(&admin, metadata, true)) {
            Ok(_) => "",
            Err(RegistryError::Invalid(invalid)) => invalid.field,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(create(&|_| {}), "");
    assert_eq!(create(&|grant| grant.name = "shop/a".to_owned()), "name");
    assert_eq!(create(&|grant| grant.name = "shop.a-b_c".to_owned()), "");
    assert_eq!(create(&|grant| grant.admins.clear()), "admins");
    assert_eq!(create(&|grant| grant.admins = texts(&["spiffe://prod.example/*"])), "admins");
    assert_eq!(create(&|grant| grant.admins = texts(&["spiffe://prod.example/a/*"])), "");
    assert_eq!(create(&|grant| grant.admins = texts(&["spiffe://prod.example"])), "admins");
    assert_eq!(create(&|grant| grant.spiffe_ids = texts(&["spiffe://prod.example/*/a"])), "spiffe_ids");
    assert_eq!(create(&|grant| grant.spiffe_ids = texts(&["spiffe://prod.example/*"])), "");
    assert_eq!(create(&|grant| grant.audiences = texts(&["orders"])), "audiences");
    assert_eq!(create(&|grant| grant.audiences = texts(&["https://*/a"])), "audiences");
    assert_eq!(create(&|grant| grant.resources = texts(&["https://a.example#b"])), "resources");
    assert_eq!(create(&|grant| grant.resources = texts(&["https://a.example/*"])), "");
    assert_eq!(create(&|grant| grant.authorities = texts(&["*"])), "authorities");
    assert_eq!(create(&|grant| grant.authorities = texts(&["a.*.example"])), "authorities");
    assert_eq!(create(&|grant| grant.authorities = texts(&["*.example"])), "");
    assert_eq!(create(&|grant| grant.scope = "a  b".to_owned()), "scope");
    let hours = |hours| Some(std::time::Duration::from_hours(hours));
    assert_eq!(create(&|grant| grant.max_access_token_ttl = hours(2)), "max_access_token_ttl");
    assert_eq!(create(&|grant| grant.max_access_token_ttl = hours(1)), "");
    let methods = "token_endpoint_auth_methods";
    assert_eq!(create(&|grant| grant.token_endpoint_auth_methods = texts(&["tls_client_auth"])), methods);
    assert_eq!(create(&|grant| grant.token_endpoint_auth_methods = texts(&["spiffe_jwt"])), "");
    assert_eq!(create(&|grant| grant.owners.clear()), "owners");
    assert_eq!(create(&|grant| grant.owners = texts(&[""])), "owners");
}
