//! Metadata of clients: what can stand, and what is refused by the name of its field.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::authority::identity::SpiffeIdPattern;
use lanyard::authority::records::RegistryError;
use lanyard::authority::registration::ClientId;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::ClientRegistration;
use lanyard::authority::registration::TokenEndpointAuthMethod;
use lanyard::authority::registration::parse_access_token_ttl;
use serde_json::Value;
use serde_json::json;

use crate::support::authority::CHECKOUT;
use crate::support::authority::TestAuthority;
use crate::support::authority::named_spiffe_client;
use crate::support::authority::pki_client;
use crate::support::authority::self_signed_client;
use crate::support::authority::spiffe_client;
use crate::support::authority::spiffe_uri_client;
use crate::support::ca::self_signed;
use crate::support::leaf::Leaf;

const SUBJECTS: [(&str, &str); 5] = [
    ("tls_client_auth_subject_dn", "CN=checkout,O=Shop"),
    ("tls_client_auth_san_dns", "checkout.shop.example"),
    ("tls_client_auth_san_uri", "https://checkout.shop.example/"),
    ("tls_client_auth_san_ip", "10.0.0.1"),
    ("tls_client_auth_san_email", "checkout@shop.example"),
];

/// Metadata of which one member is set as JSON says.
fn with(metadata: &ClientMetadata, field: &str, value: Value) -> ClientMetadata {
    let mut members = serde_json::to_value(metadata).unwrap();
    members[field] = value;
    serde_json::from_value(members).unwrap()
}

/// The name of the field by which metadata is refused.
fn refused(metadata: ClientMetadata) -> &'static str {
    let text = format!("{metadata:?}");
    let error = ClientRegistration::parse(metadata).err();
    error.unwrap_or_else(|| panic!("was not refused: {text}")).field
}

fn dns_client(client_id: &str) -> ClientMetadata {
    with(&pki_client(client_id), "tls_client_auth_san_dns", json!("checkout.shop.example"))
}

// RFC 8705 section 2.1.2
#[test]
fn tls_client_auth_takes_exactly_one_of_the_five_subject_fields() {
    for chosen in 0..32_u32 {
        let mut metadata = pki_client("checkout");
        for (bit, (field, value)) in SUBJECTS.iter().enumerate() {
            if chosen >> bit & 1 == 1 {
                metadata = with(&metadata, field, json!(value));
            }
        }
        if chosen.is_power_of_two() {
            assert!(ClientRegistration::parse(metadata).is_ok(), "{chosen:b}");
        } else {
            assert!(refused(metadata).starts_with("tls_client_auth_"), "{chosen:b}");
        }
    }
}

#[test]
fn a_field_of_another_method_is_refused_by_its_name() {
    let own = self_signed("batch").issue();
    let jwks = registered_jwks(&own);
    let methods = [spiffe_client(CHECKOUT), dns_client("checkout"), self_signed_client("batch", &own.pem())];
    let fields = [
        ("spiffe_id", json!(CHECKOUT), 0),
        ("tls_client_auth_subject_dn", json!("CN=checkout"), 1),
        ("tls_client_auth_san_email", json!("a@b.example"), 1),
        ("client_ca", json!("partner"), 1),
        ("jwks", jwks, 2),
        ("certificate_pem", json!(own.pem()), 2),
    ];
    for (method, metadata) in methods.iter().enumerate() {
        assert!(ClientRegistration::parse(metadata.clone()).is_ok(), "{metadata:?}");
        for (field, value, of) in fields.iter().filter(|(_, _, of)| *of != method) {
            assert_eq!(refused(with(metadata, field, value.clone())), *field, "{method} {of}");
        }
    }
}

#[test]
fn each_field_that_cannot_be_read_is_refused_by_its_name() {
    let metadata = spiffe_client(CHECKOUT);
    let long = |length: usize| format!("https://a.example/{}", "a".repeat(length - 18));
    let bad = [
        ("client_id", json!("")),
        ("client_id", json!("two words")),
        ("client_id", json!("quo\"ted")),
        ("client_id", json!("é")),
        ("client_id", json!("a".repeat(2049))),
        ("client_id", json!("Spiffe://prod.example/a")),
        ("client_id", json!("spiffe://prod.example")),
        ("client_id", json!("spiffe://prod.example/a/*")),
        ("token_endpoint_auth_method", json!("")),
        ("token_endpoint_auth_method", json!("none")),
        ("token_endpoint_auth_method", json!("client_secret_basic")),
        ("token_endpoint_auth_method", json!("SPIFFE_X509")),
        ("scope", json!("two  spaces")),
        ("scope", json!(" leading")),
        ("scope", json!("back\\slash")),
        ("scope", json!((0..129).map(|number| format!("s{number}")).collect::<Vec<_>>().join(" "))),
        ("audience", json!([])),
        ("audience", json!(["orders"])),
        ("audience", json!(["https://a.example", "https://a.example/#fragment"])),
        ("audience", json!([""])),
        ("audience", json!([long(2049)])),
        ("audience", json!((0..129).map(|number| format!("urn:a:{number}")).collect::<Vec<_>>())),
        ("grant_types", json!(["authorization_code"])),
        ("grant_types", json!(["client_credentials", "refresh_token"])),
        ("grant_types", json!([""])),
        ("access_token_ttl", json!("0s")),
        ("access_token_ttl", json!("1h 1s")),
        ("access_token_ttl", json!("1500ms")),
        ("rotation", json!("loose")),
        ("rotation", json!("Lineage")),
        ("rotation", json!("Strict")),
    ];
    for (field, value) in bad {
        assert_eq!(refused(with(&metadata, field, value.clone())), field, "{value}");
    }
    let good = [
        ("client_id", json!("checkout")),
        ("scope", json!("")),
        ("scope", json!("a:b/c?d [e] !")),
        ("audience", json!(["https://a.example/b?c=d", "urn:a:b"])),
        ("audience", json!([long(2048)])),
        ("grant_types", json!(["client_credentials"])),
        ("access_token_ttl", json!("1s")),
        ("access_token_ttl", json!("1h")),
        ("access_token_ttl", json!("90s")),
        ("rotation", json!("strict")),
    ];
    let metadata = with(&metadata, "spiffe_id", json!(CHECKOUT));
    for (field, value) in good {
        assert!(ClientRegistration::parse(with(&metadata, field, value.clone())).is_ok(), "{field} {value}");
    }
}

#[test]
fn text_that_is_no_duration_is_no_metadata_and_names_its_field() {
    let known = serde_json::to_value(spiffe_client(CHECKOUT)).unwrap();
    for text in ["5", "-5m", "", "99999999999999999999y"] {
        let mut members = known.clone();
        members["access_token_ttl"] = json!(text);
        let error = serde_json::from_value::<ClientMetadata>(members).unwrap_err();
        assert_eq!(error.to_string(), "access_token_ttl must be a duration such as 5m or 90s", "{text}");
        let error = parse_access_token_ttl(text).unwrap_err();
        assert_eq!(error.to_string(), "access_token_ttl: must be a duration such as 5m or 90s", "{text}");
    }
}

#[test]
fn an_unknown_member_or_one_of_another_type_is_no_metadata() {
    let known = serde_json::to_value(spiffe_client(CHECKOUT)).unwrap();
    for (member, value) in [
        ("client_secret", json!("secret")),
        ("jwks_uri", json!(["https://a.example/jwks"])),
        ("request_uris", json!(["https://a.example/request"])),
        ("spiffe_bundle_endpoint", json!("https://a.example/bundle")),
        ("audience", json!("https://a.example")),
        ("disabled", json!("true")),
        ("access_token_ttl", json!(300)),
        ("scope", json!(["orders.read"])),
    ] {
        let mut members = known.clone();
        members[member] = value;
        assert!(serde_json::from_value::<ClientMetadata>(members).is_err(), "{member}");
    }
}

// RFC 8705 section 3.4: left out means true
#[test]
fn defaults_are_spelled_out_and_reading_them_again_changes_nothing() {
    let own = self_signed("batch").issue();
    for metadata in [spiffe_client(CHECKOUT), dns_client("checkout"), self_signed_client("batch", &own.pem())] {
        let registration = ClientRegistration::parse(metadata).unwrap();
        let shown = registration.metadata();
        assert!(registration.terms.bound);
        assert_eq!(shown.tls_client_certificate_bound_access_tokens, Some(true));
        assert_eq!(shown.grant_types, ["client_credentials"]);
        assert_eq!(shown.access_token_ttl, Some(Duration::from_mins(5)));
        assert_eq!(serde_json::to_value(&shown).unwrap()["access_token_ttl"], json!("5m"));
        assert_eq!(registration.terms.access_token_ttl.as_secs(), 300);
        assert_eq!(shown.rotation.as_deref(), Some("strict"));
        assert_eq!(shown.certificate_pem, None);
        assert_eq!(ClientRegistration::parse(shown.clone()).unwrap().metadata(), shown);
    }
}

/// What is kept of a registration is not its text. Each field is printed from it as it was written.
#[test]
fn each_field_in_normal_form_is_shown_as_it_was_written() {
    let own = self_signed("batch").issue();
    let defaults = ClientMetadata {
        client_id: "batch".to_owned(),
        scope: "orders.write orders.read".to_owned(),
        audience: vec!["https://b.example/?q=1".to_owned(), "https://a.example".to_owned()],
        grant_types: vec!["client_credentials".to_owned()],
        tls_client_certificate_bound_access_tokens: Some(true),
        access_token_ttl: Some(Duration::from_secs(61)),
        rotation: Some("strict".to_owned()),
        owner: Some("a team".to_owned()),
        ..ClientMetadata::default()
    };
    let by = |method: &str, field: &str, value: Value| {
        let metadata = with(&defaults, "token_endpoint_auth_method", Value::from(method));
        with(&metadata, field, value)
    };
    let all = [
        by("spiffe_x509", "spiffe_id", json!(CHECKOUT)),
        by("spiffe_jwt", "spiffe_id", json!("spiffe://prod.example/ns/*")),
        with(&by("spiffe_x509", "spiffe_id", json!(CHECKOUT)), "client_id", json!(CHECKOUT)),
        with(&by("spiffe_x509", "spiffe_id", json!(CHECKOUT)), "rotation", json!("identity")),
        with(&by("spiffe_x509", "spiffe_id", json!(CHECKOUT)), "rotation", json!("lineage")),
        with(&by("spiffe_x509", "spiffe_id", json!(CHECKOUT)), "disabled", json!(true)),
        by("tls_client_auth", "tls_client_auth_subject_dn", json!("cn=Batch , O=Shop")),
        by("tls_client_auth", "tls_client_auth_san_dns", json!("Batch.Example")),
        by("tls_client_auth", "tls_client_auth_san_uri", json!("https://batch.example/")),
        by("tls_client_auth", "tls_client_auth_san_ip", json!("2001:db8:0::1")),
        by("tls_client_auth", "tls_client_auth_san_email", json!("Batch@Example.com")),
        with(
            &by("tls_client_auth", "tls_client_auth_san_dns", json!("batch.example")),
            "client_ca",
            json!("corporate"),
        ),
        by("self_signed_tls_client_auth", "jwks", registered_jwks(&own)),
        by("self_signed_tls_client_auth", "jwks_uri", json!("https://Keys.example:8443/jwks?a=b")),
    ];
    for metadata in all {
        let unbound = with(&metadata, "tls_client_certificate_bound_access_tokens", json!(false));
        for metadata in [metadata, unbound] {
            assert_eq!(ClientRegistration::parse(metadata.clone()).unwrap().metadata(), metadata);
        }
    }
}

// RFC 8705 section 3.4: bound is the floor of the whole server
#[test]
fn a_client_without_bound_tokens_is_refused_where_the_server_issues_none() {
    let metadata = with(&spiffe_client(CHECKOUT), "tls_client_certificate_bound_access_tokens", json!(false));
    let error = TestAuthority::new().try_register(metadata).unwrap_err();
    let RegistryError::Invalid(invalid) = error else { panic!("{error}") };
    assert_eq!(invalid.field, "tls_client_certificate_bound_access_tokens");
}

#[test]
fn a_client_ca_must_be_configured_and_vouches_for_no_spiffe_id() {
    let fixture = TestAuthority::new();
    assert!(fixture.try_register(with(&dns_client("a"), "client_ca", json!("partner"))).is_ok());
    let field = |metadata| {
        let error = fixture.try_register(metadata).unwrap_err();
        let RegistryError::Invalid(invalid) = error else { panic!("{error}") };
        invalid.field
    };
    assert_eq!(field(with(&dns_client("b"), "client_ca", json!("stranger"))), "client_ca");
    let by_uri = spiffe_uri_client("c", CHECKOUT);
    assert_eq!(field(with(&by_uri, "client_ca", json!("partner"))), "client_ca");
}

// RFC 8705 section 2.1.2
#[test]
fn each_subject_field_is_read_by_its_own_grammar() {
    let cases: [(&str, &[&str], &[&str]); 5] = [
        (
            "tls_client_auth_subject_dn",
            &["CN=a", "UID=jsmith,DC=example,DC=net", "OU=Sales+CN=J. Smith,DC=example"],
            &["", "a", "CN=", "CN=a;O=b", "/CN=a", "CN=a\0b", "CN=a,CN", "FOO=a"],
        ),
        (
            "tls_client_auth_san_dns",
            &["a", "a.b.example", "A-1.example"],
            &["", "*.example", "a..b", "a.", ".a", "a b", "a/b", "é.example", "spiffe://prod.example/a"],
        ),
        (
            "tls_client_auth_san_uri",
            &["https://a.example/b", "urn:a:b", CHECKOUT],
            &["", "a", "//a", "https://a b", "spiffe://prod.example/", "SPIFFE://prod.example/a", "https://a\0"],
        ),
        (
            "tls_client_auth_san_ip",
            &["10.0.0.1", "2001:db8::1", "2001:db8:0:0:0:0:0:1"],
            &["", "10.0.0", "10.0.0.256", "10.0.0.01", "10.0.0.0/8", "[::1]", "fe80::1%eth0", "a.example"],
        ),
        (
            "tls_client_auth_san_email",
            &["a@b.example", "A@B.example"],
            &["", "a", "@b.example", "a@", "a@*.example", "a@b c"],
        ),
    ];
    // A SPIFFE ID and a client CA do not go together.
    let unnamed_ca = || ClientMetadata { client_ca: None, ..pki_client("a") };
    for (field, good, bad) in cases {
        for text in good {
            assert!(ClientRegistration::parse(with(&unnamed_ca(), field, json!(text))).is_ok(), "{field} {text:?}");
        }
        for text in bad {
            assert_eq!(refused(with(&unnamed_ca(), field, json!(text))), field, "{text:?}");
        }
    }
}

// RFC 9068 section 5
#[test]
fn nobody_is_named_after_a_spiffe_id_that_the_method_does_not_prove() {
    let own = self_signed("batch").issue();
    for impostor in [
        named_spiffe_client(CHECKOUT, "spiffe://prod.example/ns/shop/sa/other"),
        named_spiffe_client(CHECKOUT, "spiffe://prod.example/ns/shop/*"),
        dns_client(CHECKOUT),
        spiffe_uri_client(CHECKOUT, "spiffe://prod.example/ns/shop/sa/other"),
        self_signed_client(CHECKOUT, &own.pem()),
    ] {
        assert_eq!(refused(impostor), "client_id");
    }
    assert!(ClientRegistration::parse(named_spiffe_client(CHECKOUT, CHECKOUT)).is_ok());
    assert!(ClientRegistration::parse(spiffe_uri_client(CHECKOUT, CHECKOUT)).is_ok());
    assert_eq!(refused(spiffe_client("checkout")), "spiffe_id");
}

// draft-ietf-oauth-spiffe-client-auth section 5.1
#[test]
fn a_pattern_ends_in_a_whole_segment_and_matches_only_below_itself() {
    for bad in [
        "",
        "*",
        "spiffe://*",
        "spiffe:///*",
        "spiffe://prod.example",
        "spiffe://prod.example/*/sa",
        "spiffe://prod.example/ns*",
        "spiffe://prod.example/ns/*/*",
        "spiffe://prod.example/ns//*",
        "spiffe://*.example/ns/*",
        "spiffe://prod.example/ns/**",
        "spiffe://Prod.example/ns/*",
    ] {
        assert_eq!(SpiffeIdPattern::parse(bad), None, "{bad:?}");
        assert_eq!(refused(named_spiffe_client("a", bad)), "spiffe_id", "{bad:?}");
    }
    let matches = |pattern: &str, id: &str| {
        let id = ClientId::parse(id).unwrap().spiffe_id().unwrap();
        SpiffeIdPattern::parse(pattern).unwrap().matches(&id)
    };
    assert!(matches("spiffe://prod.example/ns/shop/*", CHECKOUT));
    assert!(matches("spiffe://prod.example/*", CHECKOUT));
    assert!(matches(CHECKOUT, CHECKOUT));
    assert!(!matches("spiffe://prod.example/ns/shop/*", "spiffe://prod.example/ns/shop"));
    assert!(!matches("spiffe://prod.example/ns/shop/*", "spiffe://prod.example/ns/shopping/sa"));
    assert!(!matches("spiffe://prod.example/ns/shop/*", "spiffe://prod.example/ns/Shop/sa"));
    assert!(!matches("spiffe://prod.example/*", "spiffe://prod.example.evil/a"));
    assert!(!matches("spiffe://prod.example/a.c", "spiffe://prod.example/abc"));
}

// RFC 8705 section 2.2.2; RFC 7517 section 4.7
#[test]
fn a_certificate_in_pem_is_registered_as_a_jwk_with_x5c() {
    for own in [self_signed("ec").issue(), self_signed("rsa").rsa_4096().issue()] {
        let jwks = registered_jwks(&own);
        let jwk = &jwks["keys"][0];
        assert_eq!(jwk["x5c"], json!([STANDARD.encode(own.certificate())]));
        let registration = ClientRegistration::parse(with(&jwks_client(), "jwks", jwks.clone())).unwrap();
        let TokenEndpointAuthMethod::SelfSignedTlsClientAuth(registered) = &registration.method else { unreachable!() };
        assert_eq!(registered.certificates, [own.thumbprint()]);
    }
    for bad in ["", "no pem", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"] {
        assert_eq!(refused(self_signed_client("batch", bad)), "certificate_pem", "{bad:?}");
    }
    assert_eq!(refused(self_signed_client("batch", &self_signed("a").issue().key_pem())), "certificate_pem");
    assert_eq!(refused(jwks_client()), "jwks");
}

// RFC 7517 section 4.7; RFC 8705 Appendix A
#[test]
fn a_jwks_that_does_not_carry_its_certificates_as_the_rfcs_have_it_is_refused() {
    let own = self_signed("batch").issue();
    let other = registered_jwks(&self_signed("other").issue());
    let jwks = registered_jwks(&own);
    let key = |change: &dyn Fn(&mut Value)| {
        let mut jwks = jwks.clone();
        change(&mut jwks["keys"][0]);
        jwks
    };
    let der = own.certificate();
    let svid = registered_jwk_of(&self_signed("svid").uri(CHECKOUT).issue());
    let bad = [
        json!({}),
        json!([]),
        json!("keys"),
        json!({"keys": {}}),
        json!({"keys": []}),
        json!({"keys": ["key"]}),
        json!({"keys": [svid]}),
        json!({"keys": vec![jwks["keys"][0].clone(); 17]}),
        key(&|jwk| jwk["x5c"] = json!([URL_SAFE_NO_PAD.encode(der)])),
        key(&|jwk| jwk["x5c"] = json!([format!("{} ", STANDARD.encode(der))])),
        key(&|jwk| jwk["x5c"] = json!(STANDARD.encode(der))),
        key(&|jwk| jwk["x5c"] = json!([])),
        key(&|jwk| jwk["x5c"] = json!([7])),
        key(&|jwk| jwk["x5c"] = json!([STANDARD.encode([der.as_ref(), &[0]].concat())])),
        key(&|jwk| drop(jwk.as_object_mut().unwrap().remove("x5c"))),
        key(&|jwk| drop(jwk.as_object_mut().unwrap().remove("y"))),
        key(&|jwk| jwk["x"] = other["keys"][0]["x"].clone()),
        key(&|jwk| jwk["kty"] = json!("RSA")),
        key(&|jwk| jwk["crv"] = json!("P-384")),
    ];
    for jwks in bad {
        assert_eq!(refused(with(&jwks_client(), "jwks", jwks.clone())), "jwks", "{jwks}");
    }
    // RFC 7517 section 5: members and keys that are not understood are passed over.
    let with_more = json!({"keys": [{"kty": "unknown"}, jwks["keys"][0]], "more": 1});
    assert!(ClientRegistration::parse(with(&jwks_client(), "jwks", with_more)).is_ok());
    let both = with(&self_signed_client("batch", &own.pem()), "jwks", jwks);
    assert_eq!(refused(both), "certificate_pem");
}

#[test]
fn a_private_key_in_a_jwks_is_refused_wherever_it_stands() {
    let jwks = registered_jwks(&self_signed("batch").issue());
    for member in ["d", "k", "p", "q", "dp", "dq", "qi", "oth"] {
        let mut beside = jwks["keys"][0].clone();
        beside[member] = json!("AA");
        let alone = json!({"kty": "RSA", member: "AA"});
        for keys in [json!([beside]), json!([jwks["keys"][0], alone])] {
            assert_eq!(refused(with(&jwks_client(), "jwks", json!({ "keys": keys }))), "jwks", "{member}");
        }
    }
}

fn jwks_client() -> ClientMetadata {
    ClientMetadata { certificate_pem: None, ..self_signed_client("batch", "") }
}

fn registered_jwks(leaf: &Leaf) -> Value {
    lanyard::authority::registration::jwks_from_pem(&leaf.pem()).unwrap()
}

fn registered_jwk_of(leaf: &Leaf) -> Value {
    registered_jwks(leaf)["keys"][0].clone()
}
