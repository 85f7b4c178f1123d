//! Which client CA may have issued the certificate of a `tls_client_auth` client: one, by its name.

use lanyard::authority::Authority;
use lanyard::authority::records::RegistryError;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;
use lanyard::authority::trust::TrustBundles;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::CHECKOUT;
use crate::support::authority::TestAuthority;
use crate::support::authority::pki_client;
use crate::support::authority::ready;
use crate::support::authority::spiffe_uri_client;
use crate::support::ca::TestCa;
use crate::support::leaf::Leaf;

/// A record of an earlier version, which names no client CA.
const EARLIER: &str = r#"{"schema":1,"creation_id":"AAAAAAAAAAAAAAAAAAAAAA","metadata":{"client_id":"legacy","token_endpoint_auth_method":"tls_client_auth","tls_client_auth_san_dns":"legacy.example","scope":"orders.read","audience":["https://orders.shop.internal"],"grant_types":["client_credentials"],"tls_client_certificate_bound_access_tokens":true,"access_token_ttl":"5m","rotation":"strict"},"create_time":1800000000,"created_by":"spiffe://prod.example/ns/ops/sa/admin","update_time":1800000000,"updated_by":"spiffe://prod.example/ns/ops/sa/admin"}"#;

fn unnamed(client_id: &str) -> ClientMetadata {
    let tls_client_auth_san_dns = Some(format!("{client_id}.example"));
    ClientMetadata { client_ca: None, tls_client_auth_san_dns, ..pki_client(client_id) }
}

fn configure(authority: &Authority, client_cas: &[(&str, &TestCa)]) {
    let client_cas = client_cas.iter().map(|(name, ca)| ((*name).to_owned(), ca.anchors())).collect();
    authority.replace_trust(TrustBundles { client_cas, ..TrustBundles::clone(&authority.trust()) });
}

fn client_ca(fixture: &TestAuthority, client_id: &str) -> Option<String> {
    fixture.authority.client(client_id).unwrap().registration.metadata().client_ca.clone()
}

fn of(ca: &TestCa, client_id: &str) -> Leaf {
    ca.client_certificate().dns(&format!("{client_id}.example")).issue()
}

/// Whether the holder of a certificate of this CA gets a token.
fn authenticates(fixture: &TestAuthority, ca: &TestCa, client_id: &str) -> bool {
    fixture.prove(&of(ca, client_id)).is_ok_and(|peer| fixture.issue(&peer, client_id).is_ok())
}

/// An authority that has read the record of an earlier version.
fn with_earlier_record() -> TestAuthority {
    let fixture = TestAuthority::new();
    ready(fixture.store.put("/clients/legacy", EARLIER.as_bytes().to_vec(), Expected::Absent)).unwrap();
    ready(fixture.authority.load()).unwrap();
    fixture
}

/// The metadata of that record, as `client get` shows it.
fn earlier(fixture: &TestAuthority) -> ClientMetadata {
    fixture.authority.client("legacy").unwrap().registration.metadata()
}

#[test]
fn of_several_client_cas_a_new_registration_names_its_own() {
    let fixture = TestAuthority::new();
    let RegistryError::Invalid(invalid) = fixture.try_register(unnamed("a")).unwrap_err() else { panic!() };
    assert_eq!(invalid.field, "client_ca");
    for name in ["partner", "vendor"] {
        fixture.register(ClientMetadata { client_ca: Some(name.to_owned()), ..unnamed(name) });
    }
    assert!(authenticates(&fixture, &fixture.vendor, "vendor"));
    assert!(!authenticates(&fixture, &fixture.partner, "vendor"));
    // The bundle of its trust domain vouches for a SPIFFE ID, and never a client CA.
    fixture.register(spiffe_uri_client("by-uri", CHECKOUT));
    assert_eq!(client_ca(&fixture, "by-uri"), None);
}

// A peer that no client accepts is no workload either
#[test]
fn the_subject_of_a_client_makes_a_workload_only_with_its_own_client_ca() {
    let fixture = with_earlier_record();
    fixture.register(ClientMetadata { client_ca: Some("partner".to_owned()), ..unnamed("a") });
    let is_workload = |leaf: &Leaf| fixture.authority.roles_now(&fixture.peer(leaf)).workload;
    assert!(is_workload(&of(&fixture.partner, "a")));
    assert!(!is_workload(&of(&fixture.vendor, "a")));
    for ca in [&fixture.partner, &fixture.vendor] {
        assert!(is_workload(&of(ca, "legacy")), "it names none");
        assert!(!is_workload(&of(ca, "stranger")));
    }
}

#[test]
fn a_client_ca_that_is_added_later_vouches_for_no_client_of_the_first() {
    let fixture = TestAuthority::new();
    configure(&fixture.authority, &[("partner", &fixture.partner)]);
    fixture.register(unnamed("a"));
    assert_eq!(client_ca(&fixture, "a").as_deref(), Some("partner"));
    configure(&fixture.authority, &[("partner", &fixture.partner), ("vendor", &fixture.vendor)]);
    assert!(authenticates(&fixture, &fixture.partner, "a"));
    assert!(!authenticates(&fixture, &fixture.vendor, "a"));
    // The same document, and a changed one for the same subject, keep the name.
    fixture.update(unnamed("a"));
    fixture.update(ClientMetadata { owner: Some("team".to_owned()), ..unnamed("a") });
    assert_eq!(client_ca(&fixture, "a").as_deref(), Some("partner"));
    assert_eq!(fixture.authority.client("a").unwrap().record.authentication_changed_at, None);
}

#[test]
fn a_client_ca_is_rotated_within_its_entry() {
    let fixture = TestAuthority::new();
    let next = TestCa::new("partner-2");
    fixture.register(ClientMetadata { client_ca: Some("partner".to_owned()), ..unnamed("a") });
    let both = lanyard::authority::trust::Anchors::new(&[fixture.partner.der().clone(), next.der().clone()]).unwrap();
    let client_cas = [("partner".to_owned(), both), ("vendor".to_owned(), fixture.vendor.anchors())].into();
    let trust = TrustBundles { client_cas, ..TrustBundles::clone(&fixture.authority.trust()) };
    fixture.authority.replace_trust(trust);
    for (ca, accepted) in [(&fixture.partner, true), (&next, true), (&fixture.vendor, false)] {
        assert_eq!(authenticates(&fixture, ca, "a"), accepted);
    }
}

#[test]
fn a_record_that_names_none_works_as_before_and_is_named_with_its_next_change() {
    let fixture = with_earlier_record();
    for ca in [&fixture.partner, &fixture.vendor] {
        assert!(authenticates(&fixture, ca, "legacy"));
    }
    // The document that it was made from changes nothing.
    let unchanged = fixture.update(earlier(&fixture));
    assert_eq!(unchanged.registration.metadata().client_ca, None);
    let changed = ClientMetadata { owner: Some("team".to_owned()), ..earlier(&fixture) };
    let from = fixture.authority.client("legacy").unwrap().revision;
    let admin = fixture.svid(crate::support::authority::ADMIN);
    let refused = ready(fixture.authority.update_client(&admin, changed.clone(), from, false)).unwrap_err();
    assert!(matches!(refused, RegistryError::Invalid(invalid) if invalid.field == "client_ca"));
    fixture.update(ClientMetadata { client_ca: Some("vendor".to_owned()), ..changed });
    assert!(authenticates(&fixture, &fixture.vendor, "legacy"));
    assert!(!authenticates(&fixture, &fixture.partner, "legacy"));
    assert!(fixture.authority.client("legacy").unwrap().record.authentication_changed_at.is_some());
}

#[test]
fn a_record_that_names_none_is_pinned_to_the_only_client_ca_and_keeps_its_tokens() {
    let fixture = with_earlier_record();
    configure(&fixture.authority, &[("partner", &fixture.partner)]);
    assert!(authenticates(&fixture, &fixture.partner, "legacy"));
    fixture.update(earlier(&fixture));
    assert_eq!(client_ca(&fixture, "legacy").as_deref(), Some("partner"));
    assert_eq!(fixture.authority.client("legacy").unwrap().record.authentication_changed_at, None);
    configure(&fixture.authority, &[("partner", &fixture.partner), ("vendor", &fixture.vendor)]);
    assert!(!authenticates(&fixture, &fixture.vendor, "legacy"));
}
