//! Records as earlier versions stored them: they are read as they are, and the same are written.

use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;

use crate::support::NOW;
use crate::support::authority::ADMIN;
use crate::support::authority::CHECKOUT;
use crate::support::authority::ORDERS;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::authority::spiffe_client;

const CLIENT: &str = r#"{"schema":1,"creation_id":"AAAAAAAAAAAAAAAAAAAAAA","metadata":{"client_id":"spiffe://prod.example/ns/shop/sa/checkout","token_endpoint_auth_method":"spiffe_x509","spiffe_id":"spiffe://prod.example/ns/shop/sa/checkout","scope":"orders.read orders.write","audience":["https://orders.shop.internal"],"grant_types":["client_credentials"],"tls_client_certificate_bound_access_tokens":true,"access_token_ttl":"5m","rotation":"strict"},"create_time":1800000000,"created_by":"spiffe://prod.example/ns/ops/sa/admin","update_time":1800000000,"updated_by":"spiffe://prod.example/ns/ops/sa/admin"}"#;

const DYNAMIC: &str = r#","dynamic":{"registrant":"spiffe://prod.example/ns/shop/sa/checkout","access_token_hash":"o7ou1MXFeuFH2rJ5MSFWLjzxeKbf0hLvMfnGUSVmebU","own_identity":true}}"#;

const RESOURCE: &str = r#"{"schema":1,"metadata":{"audience":"https://orders.shop.internal","scope":"orders.read","least_evidence":"thumbprint","mode":"enforce","owner":"team-shop"},"create_time":1800000000,"created_by":"spiffe://prod.example/ns/ops/sa/admin","update_time":1800000000,"updated_by":"spiffe://prod.example/ns/ops/sa/admin"}"#;

fn client_key() -> String {
    format!("/clients/{CHECKOUT}")
}

fn resource_key() -> String {
    format!("/resources/{ORDERS}")
}

/// An authority that has read this record, or why it could not.
fn loaded(key: &str, value: &str) -> Result<TestAuthority, String> {
    let fixture = TestAuthority::new();
    ready(fixture.store.put(key, value.as_bytes().to_vec(), Expected::Absent)).unwrap();
    ready(fixture.authority.load()).map_err(|error| error.to_string())?;
    Ok(fixture)
}

fn stored(fixture: &TestAuthority, key: &str) -> String {
    let value = ready(fixture.store.get(key)).unwrap().unwrap().value;
    String::from_utf8(value.to_vec()).unwrap()
}

fn resource() -> ResourceMetadata {
    ResourceMetadata {
        audience: ORDERS.to_owned(),
        scope: "orders.read".to_owned(),
        owner: Some("team-shop".to_owned()),
        ..ResourceMetadata::default()
    }
}

#[test]
fn what_is_written_is_what_earlier_versions_wrote() {
    assert_eq!(NOW.0, 1_800_000_000);
    let fixture = TestAuthority::new();
    let client = fixture.register(spiffe_client(CHECKOUT));
    let expected = CLIENT.replace("AAAAAAAAAAAAAAAAAAAAAA", &client.record.creation_id);
    assert_eq!(stored(&fixture, &client_key()), expected);
    ready(fixture.authority.create_resource(&fixture.svid(ADMIN), resource(), false)).unwrap();
    assert_eq!(stored(&fixture, &resource_key()), RESOURCE);
}

#[test]
fn what_earlier_versions_wrote_is_read_and_kept_by_an_update() {
    for dynamic in ["}", DYNAMIC] {
        let text = CLIENT.strip_suffix('}').unwrap().to_owned() + dynamic;
        let fixture = loaded(&client_key(), &text).unwrap();
        let client = fixture.authority.client(CHECKOUT).unwrap();
        assert_eq!(&*client.record.creation_id, "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(client.record.dynamic.is_some(), dynamic == DYNAMIC);
        let mut metadata = client.registration.metadata();
        metadata.scope = "orders.read".to_owned();
        fixture.update(metadata);
        assert_eq!(stored(&fixture, &client_key()), text.replace("orders.read orders.write", "orders.read"));
    }
    let fixture = loaded(&resource_key(), RESOURCE).unwrap();
    let known = fixture.authority.resource(ORDERS).unwrap();
    let metadata = ResourceMetadata { owner: Some("team".to_owned()), ..known.registration.metadata.clone() };
    let admin = fixture.svid(ADMIN);
    ready(fixture.authority.update_resource(&admin, metadata, known.revision, false)).unwrap();
    assert_eq!(stored(&fixture, &resource_key()), RESOURCE.replace("team-shop", "team"));
}

#[test]
fn a_member_that_is_missing_or_of_another_kind_of_record_is_refused() {
    let creation_id = r#""creation_id":"AAAAAAAAAAAAAAAAAAAAAA","#;
    let resource = |member: &str| RESOURCE.replacen("\"metadata\"", &format!("{member}\"metadata\""), 1);
    let resource_dynamic = RESOURCE.strip_suffix('}').unwrap().to_owned() + DYNAMIC;
    for (key, value, problem) in [
        (client_key(), CLIENT.replace(creation_id, ""), "missing field `creation_id`"),
        (client_key(), CLIENT.replace("\"created_by\"", "\"by\""), "unknown field `by`"),
        (client_key(), CLIENT.replace("\"scope\"", "\"scopes\""), "unknown field `scopes`"),
        (client_key(), CLIENT.replace("\"5m\"", "\"soon\""), "access_token_ttl must be a duration"),
        (client_key(), CLIENT.replace("\"5m\"", "\"2h\""), "access_token_ttl: must be whole seconds"),
        (resource_key(), resource(creation_id), "no such member"),
        (resource_key(), resource_dynamic, "no such member"),
        (resource_key(), resource("\"disabled\":true,"), "unknown field `disabled`"),
    ] {
        assert!(value != CLIENT && value != RESOURCE, "{problem}");
        let error = loaded(&key, &value).err().unwrap();
        assert!(error.contains(problem), "{problem}: {error}");
    }
}
