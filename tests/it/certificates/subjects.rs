//! Which certificate is the one that a `tls_client_auth` registration means (RFC 8705 section 2.1.2).

use lanyard::authority::decision::GrantError;
use lanyard::authority::decision::Mismatch;
use lanyard::authority::registration::ClientMetadata;
use rcgen::DnType;
use rcgen::DnValue;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::CHECKOUT;
use crate::support::authority::TestAuthority;
use crate::support::authority::pki_client;
use crate::support::authority::spiffe_uri_client;
use crate::support::ca::TestCa;
use crate::support::der;
use crate::support::leaf::LeafBuilder;

/// Changes one field of the metadata of a `tls_client_auth` client.
type SetSubject = fn(&mut ClientMetadata, String);
/// Adds one name to a certificate.
type AddName = for<'a> fn(LeafBuilder<'a>, &str) -> LeafBuilder<'a>;

const KINDS: [(SetSubject, AddName, &str); 5] = [
    (
        |metadata, text| metadata.tls_client_auth_subject_dn = Some(format!("CN={text}")),
        |leaf, text| leaf.common_name(text),
        "10.0.0.1",
    ),
    (|metadata, text| metadata.tls_client_auth_san_dns = Some(text), |leaf, text| leaf.dns(text), "10.0.0.1"),
    (|metadata, text| metadata.tls_client_auth_san_uri = Some(text), |leaf, text| leaf.uri(text), "urn:a:b@c.example"),
    (
        |metadata, text| metadata.tls_client_auth_san_ip = Some(text),
        |leaf, text| leaf.ip(text.parse().unwrap()),
        "10.0.0.1",
    ),
    (
        |metadata, text| metadata.tls_client_auth_san_email = Some(text),
        |leaf, text| leaf.email(text),
        "urn:a:b@c.example",
    ),
];

// RFC 8705 section 2.1.2: the same text as a name of another type is another name
#[test]
fn a_subject_is_found_under_its_own_type_of_name_and_no_other() {
    for (registered, (set, add, text)) in KINDS.iter().enumerate() {
        let fixture = TestAuthority::new();
        let mut metadata = pki_client("checkout");
        set(&mut metadata, (*text).to_owned());
        fixture.register(metadata);
        let own = fixture.peer(&add(fixture.partner.client_certificate(), text).issue());
        assert!(fixture.issue(&own, "checkout").is_ok(), "{registered}");
        for (kind, (_, add, _)) in KINDS.iter().enumerate().filter(|(kind, _)| *kind != registered) {
            if kind == 3 && text.parse::<std::net::IpAddr>().is_err() {
                continue;
            }
            let other = fixture.peer(&add(fixture.partner.client_certificate(), text).issue());
            let refused = fixture.issue(&other, "checkout").unwrap_err();
            assert_eq!(refused, GrantError::InvalidClient(Mismatch::Certificate), "{registered} {kind}");
        }
    }
}

// RFC 8705 sections 2, 2.1 and 2.1.2; RFC 4514; RFC 4518
#[test]
fn a_subject_matches_what_is_the_same_name_and_nothing_near_it() {
    type Near = (fn(LeafBuilder<'_>) -> LeafBuilder<'_>, bool);
    let cases: [(SetSubject, &str, &[Near]); 7] = [
        (
            |metadata, text| metadata.tls_client_auth_subject_dn = Some(text),
            "CN=checkout,O=Shop Inc",
            &[
                (|leaf| leaf.attribute(DnType::OrganizationName, "Shop Inc").common_name("checkout"), true),
                (|leaf| leaf.attribute(DnType::OrganizationName, "SHOP  inc ").common_name("Checkout"), true),
                (
                    |leaf| {
                        let printable = DnValue::PrintableString("Shop Inc".try_into().unwrap());
                        leaf.attribute(DnType::OrganizationName, printable).common_name("checkout")
                    },
                    true,
                ),
                (|leaf| leaf.common_name("checkout").attribute(DnType::OrganizationName, "Shop Inc"), false),
                (|leaf| leaf.common_name("checkout"), false),
                (|leaf| leaf.attribute(DnType::OrganizationName, "Shop Inc").common_name("checkout2"), false),
                (|leaf| leaf.attribute(DnType::OrganizationName, "ShopInc").common_name("checkout"), false),
                (
                    |leaf| {
                        let longer = leaf.attribute(DnType::CountryName, "DE");
                        longer.attribute(DnType::OrganizationName, "Shop Inc").common_name("checkout")
                    },
                    false,
                ),
                (|leaf| leaf.common_name("checkout,O=Shop Inc"), false),
            ],
        ),
        (
            |metadata, text| metadata.tls_client_auth_san_dns = Some(text),
            "Checkout.shop.example",
            &[
                (|leaf| leaf.dns("checkout.SHOP.example"), true),
                (|leaf| leaf.dns("other.example").dns("checkout.shop.example"), true),
                (|leaf| leaf.dns("*.shop.example"), false),
                (|leaf| leaf.dns("checkout.shop.example."), false),
                (|leaf| leaf.dns("a.checkout.shop.example"), false),
                (|leaf| leaf.common_name("checkout.shop.example"), false),
            ],
        ),
        (
            |metadata, text| metadata.tls_client_auth_san_uri = Some(text),
            "https://shop.example/a",
            &[
                (|leaf| leaf.uri("https://shop.example/a"), true),
                (|leaf| leaf.uri("https://Shop.example/a"), false),
                (|leaf| leaf.uri("https://shop.example/a/"), false),
                (|leaf| leaf.uri("https://shop.example/%61"), false),
            ],
        ),
        (
            |metadata, text| metadata.tls_client_auth_san_ip = Some(text),
            "2001:db8:0:0:0:0:0:1",
            &[
                (|leaf| leaf.ip("2001:db8::1".parse().unwrap()), true),
                (|leaf| leaf.ip("2001:db8::2".parse().unwrap()), false),
                (|leaf| leaf.dns("2001:db8::1"), false),
            ],
        ),
        (
            |metadata, text| metadata.tls_client_auth_san_ip = Some(text),
            "2001:DB8:0:0:0:0:0:1",
            &[(|leaf| leaf.ip("2001:db8::1".parse().unwrap()), true)],
        ),
        (
            |metadata, text| metadata.tls_client_auth_san_ip = Some(text),
            "::ffff:10.0.0.1",
            &[
                (|leaf| leaf.ip("::ffff:a00:1".parse().unwrap()), true),
                // An IPv4 address in a certificate has four octets, and is another one.
                (|leaf| leaf.ip("10.0.0.1".parse().unwrap()), false),
            ],
        ),
        (
            |metadata, text| metadata.tls_client_auth_san_email = Some(text),
            "ops@shop.example",
            &[
                (|leaf| leaf.email("ops@SHOP.example"), true),
                (|leaf| leaf.email("Ops@shop.example"), false),
                (|leaf| leaf.email("ops@shop.example.evil"), false),
                (|leaf| leaf.email("x@ops@shop.example"), false),
            ],
        ),
    ];
    for (set, text, near) in cases {
        let fixture = TestAuthority::new();
        let mut metadata = pki_client("checkout");
        set(&mut metadata, text.to_owned());
        fixture.register(metadata);
        for (number, (name, same)) in near.iter().enumerate() {
            let peer = fixture.peer(&name(fixture.partner.client_certificate()).issue());
            assert_eq!(fixture.issue(&peer, "checkout").is_ok(), *same, "{text} {number}");
            assert_eq!(fixture.authority.roles_now(&peer).workload, *same, "{text} {number}");
        }
    }
}

// RFC 8705 sections 2.1 and 7.4
#[test]
fn the_registered_client_ca_alone_vouches_and_a_renewed_certificate_still_matches() {
    let fixture = TestAuthority::new();
    let mut other = pki_client("other");
    other.tls_client_auth_san_dns = Some("other.example".to_owned());
    other.client_ca = Some("vendor".to_owned());
    fixture.register(other);
    let mut named = pki_client("named");
    named.tls_client_auth_san_dns = Some("named.example".to_owned());
    named.client_ca = Some("partner".to_owned());
    fixture.register(named);
    let peer = |ca: &TestCa, name: &str| fixture.peer(&ca.client_certificate().dns(name).issue());
    for _ in 0..2 {
        assert!(fixture.issue(&peer(&fixture.vendor, "other.example"), "other").is_ok());
        assert!(fixture.issue(&peer(&fixture.partner, "named.example"), "named").is_ok());
    }
    let refused = GrantError::InvalidClient(Mismatch::Certificate);
    assert_eq!(fixture.issue(&peer(&fixture.vendor, "named.example"), "named").unwrap_err(), refused);
    assert_eq!(fixture.issue(&peer(&fixture.partner, "other.example"), "other").unwrap_err(), refused);
    assert_eq!(fixture.issue(&peer(&fixture.vendor, "named.example"), "other").unwrap_err(), refused);
    // What an SVID bears beside its SPIFFE ID, its trust domain does not vouch for.
    let svid = fixture.peer(&fixture.prod.svid(CHECKOUT).dns("other.example").issue());
    assert_eq!(fixture.issue(&svid, "other").unwrap_err(), refused);
    fixture.register(spiffe_uri_client("by-uri", CHECKOUT));
    assert!(fixture.issue(&svid, "by-uri").is_ok());
}

// RFC 4517 section 4.2.15: within one relative name the order of attributes carries no meaning
#[test]
fn a_relative_name_of_several_attributes_matches_in_any_order_and_only_whole() {
    let fixture = TestAuthority::new();
    let mut metadata = pki_client("checkout");
    metadata.tls_client_auth_subject_dn = Some("OU=Sales+CN=checkout,O=Shop".to_owned());
    fixture.register(metadata);
    let attribute =
        |kind: u8, text: &str| der::sequence(&[der::element(6, &[0x55, 4, kind]), der::element(0x0c, text.as_bytes())]);
    let set = |attributes: &[Vec<u8>]| der::element(0x31, &attributes.concat());
    let (name, unit, shop) = (attribute(3, "checkout"), attribute(11, "Sales"), set(&[attribute(10, "Shop")]));
    let matches = |relative_names: &[Vec<u8>]| {
        let leaf = fixture.partner.client_certificate().raw_subject(der::sequence(relative_names)).issue();
        fixture.issue(&fixture.peer(&leaf), "checkout").is_ok()
    };
    assert!(matches(&[shop.clone(), set(&[name.clone(), unit.clone()])]));
    assert!(matches(&[shop.clone(), set(&[unit.clone(), name.clone()])]));
    assert!(!matches(&[set(&[unit.clone(), name.clone()]), shop.clone()]));
    assert!(!matches(&[shop.clone(), set(std::slice::from_ref(&unit)), set(std::slice::from_ref(&name))]));
    assert!(!matches(&[shop.clone(), set(std::slice::from_ref(&name))]));
    assert!(!matches(&[shop, set(&[unit, name.clone(), name])]));
}
