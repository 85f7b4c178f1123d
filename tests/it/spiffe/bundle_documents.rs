//! SPIFFE bundle documents: what is read from them, what is skipped, and what makes one worthless as a whole.

use std::time::Duration;

use lanyard::authority::trust::BundleDocument;
use lanyard::authority::trust::InvalidBundleDocument;
use lanyard::authority::trust::MAX_BUNDLE_DOCUMENT_BYTES;
use serde_json::Value;
use serde_json::json;

use crate::support::NOW;
use crate::support::bundle::document;
use crate::support::bundle::jwt_key;
use crate::support::bundle::root;
use crate::support::ca::TestCa;

const ID: &str = "spiffe://prod.example/checkout";

fn parse(document: &Value) -> Result<BundleDocument, InvalidBundleDocument> {
    BundleDocument::parse(document.to_string().as_bytes())
}

fn with(keys: &[Value]) -> BundleDocument {
    parse(&json!({ "keys": keys })).unwrap()
}

/// Whether a document's roots vouch for an SVID of this CA.
fn trusts(document: &BundleDocument, ca: &TestCa) -> bool {
    document.bundle.x509.prove_server(&ca.svid(ID).issue().chain, NOW).is_ok()
}

fn changed(mut key: Value, member: &str, value: Value) -> Value {
    key[member] = value;
    key
}

fn without(mut key: Value, member: &str) -> Value {
    key.as_object_mut().unwrap().remove(member).unwrap();
    key
}

fn kids(document: &BundleDocument) -> Vec<&str> {
    document.bundle.jwt.all().map(|(kid, _)| kid).collect()
}

// SPIFFE Trust Domain and Bundle sections 4.1 and 4.2; X509-SVID section 6.2
#[test]
fn a_document_gives_the_roots_and_jwt_keys_and_numbers_of_more_than_32_bits() {
    let (ca, other) = (TestCa::new("prod.example"), TestCa::new("prod.example"));
    let read = parse(&json!({
        "keys": [root(&ca), jwt_key("one"), root(&other), jwt_key("two")],
        "spiffe_sequence": u64::MAX,
        "spiffe_refresh_hint": 5_000_000_000_u64,
        "unknown": {"keys": []},
    }))
    .unwrap();
    assert!(trusts(&read, &ca) && trusts(&read, &other) && !trusts(&read, &TestCa::new("prod.example")));
    assert_eq!(kids(&read), ["one", "two"]);
    assert_eq!((read.sequence, read.refresh_hint), (Some(u64::MAX), Some(Duration::from_secs(5_000_000_000))));
    let bare = with(&[root(&ca)]);
    assert_eq!((bare.sequence, bare.refresh_hint), (None, None));
    assert!(kids(&bare).is_empty());
}

// SPIFFE Trust Domain and Bundle sections 4.1 and 4.2; X509-SVID sections 6.1 and 6.2: the element goes, the document
// stays
#[test]
fn a_key_of_no_use_is_skipped_and_the_others_count() {
    let (ca, good) = (TestCa::new("prod.example"), TestCa::new("prod.example"));
    let leaf = ca.svid(ID).issue();
    let standard = |bytes: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
    let url_safe = |bytes: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, bytes);
    let key = || root(&ca);
    for skipped in [
        without(key(), "use"),
        changed(key(), "use", json!("sig")),
        changed(key(), "use", json!("X509-SVID")),
        changed(key(), "use", json!("wit-svid")),
        changed(key(), "use", json!("jwt-svid")),
        changed(key(), "use", json!(["x509-svid"])),
        without(key(), "kty"),
        changed(key(), "kty", json!("XYZ")),
        changed(key(), "kty", json!("RSA")),
        without(key(), "x5c"),
        changed(key(), "x5c", json!([])),
        changed(key(), "x5c", json!([""])),
        changed(key(), "x5c", json!("AAAA")),
        changed(key(), "x5c", json!(["!"])),
        changed(key(), "x5c", json!([7, standard(ca.der())])),
        changed(key(), "x5c", json!([url_safe(ca.der())])),
        // Another one's certificate.
        changed(key(), "x5c", json!([standard(good.der())])),
        // Not a CA.
        changed(key(), "x5c", json!([standard(leaf.certificate()), standard(ca.der())])),
        changed(key(), "d", json!("AAAA")),
        json!(7),
        Value::Null,
        json!([]),
    ] {
        let read = with(&[skipped.clone(), root(&good)]);
        assert!(!trusts(&read, &ca), "{skipped}");
        assert!(trusts(&read, &good), "{skipped}");
        assert!(kids(&read).is_empty(), "{skipped}");
    }
    assert!(trusts(&with(&[key()]), &ca));
}

// RFC 7517 section 4.3: a key is not used for what its key_ops leave out.
#[test]
fn a_key_whose_key_ops_do_not_allow_verifying_is_skipped() {
    let ca = TestCa::new("prod.example");
    for (operations, used) in [
        (json!(["verify"]), true),
        (json!(["sign", "verify"]), true),
        (json!(["sign"]), false),
        (json!(["encrypt", "wrapKey"]), false),
        (json!([]), false),
        (json!("verify"), false),
        (Value::Null, false),
    ] {
        let (root, jwt) = (root(&ca), jwt_key("one"));
        let read = with(&[changed(root, "key_ops", operations.clone()), changed(jwt, "key_ops", operations.clone())]);
        assert_eq!((trusts(&read, &ca), kids(&read).len()), (used, usize::from(used)), "{operations}");
    }
}

// X509-SVID section 6.2
#[test]
fn only_the_first_certificate_of_a_root_counts() {
    let (ca, other) = (TestCa::new("prod.example"), TestCa::new("prod.example"));
    let both = json!([root(&ca)["x5c"][0], root(&other)["x5c"][0]]);
    let read = with(&[changed(root(&ca), "x5c", both)]);
    assert!(trusts(&read, &ca) && !trusts(&read, &other));
}

// X509-SVID section 6.1: the text forbids the publisher a kid on these keys, and has readers not look at it
#[test]
fn a_kid_on_a_root_is_not_looked_at() {
    let (ca, other) = (TestCa::new("prod.example"), TestCa::new("prod.example"));
    let read =
        with(&[changed(root(&ca), "kid", json!("same")), changed(root(&other), "kid", json!("same")), jwt_key("same")]);
    assert!(trusts(&read, &ca) && trusts(&read, &other));
    assert_eq!(kids(&read), ["same"]);
}

// X509-SVID section 6.1; WIT-SVID section 6
#[test]
fn a_jwt_key_needs_a_kid_of_its_own_and_a_kind_that_jwt_svids_are_signed_with() {
    for skipped in [
        without(jwt_key("one"), "kid"),
        changed(jwt_key("one"), "kid", json!("")),
        changed(jwt_key("one"), "kid", json!(1)),
        changed(jwt_key("one"), "use", json!("x509-svid")),
        changed(jwt_key("one"), "use", json!("wit-svid")),
        without(jwt_key("one"), "use"),
        without(jwt_key("one"), "kty"),
        changed(jwt_key("one"), "kty", json!("oct")),
        changed(jwt_key("one"), "kty", json!("OKP")),
        changed(jwt_key("one"), "d", json!("AAAA")),
    ] {
        assert_eq!(kids(&with(&[skipped.clone(), jwt_key("two")])), ["two"], "{skipped}");
    }
    let twice = with(&[jwt_key("one"), jwt_key("two"), jwt_key("one")]);
    assert_eq!(kids(&twice), ["two"]);
    let for_wit_too = with(&[jwt_key("one"), jwt_key("two"), changed(jwt_key("one"), "use", json!("wit-svid"))]);
    assert_eq!(kids(&for_wit_too), ["two"]);
}

// SPIFFE Trust Domain and Bundle section 4.1.3
#[test]
fn a_document_without_keys_or_with_none_of_use_vouches_for_nobody() {
    let ca = TestCa::new("prod.example");
    for keys in [vec![], vec![without(root(&ca), "use")], vec![json!({"kty": "XYZ", "use": "x509-svid"})]] {
        let read = with(&keys);
        assert!(read.bundle.x509.is_empty() && kids(&read).is_empty());
        assert!(!trusts(&read, &ca));
    }
    assert!(with(&[jwt_key("one")]).bundle.x509.is_empty());
}

// SPIFFE Trust Domain and Bundle sections 4.1, 4.1.3 and 4.2; RFC 7515 section 4
#[test]
fn a_document_that_cannot_be_understood_is_refused_as_a_whole() {
    let refused = |text: &[u8]| BundleDocument::parse(text).unwrap_err();
    let key = root(&TestCa::new("prod.example")).to_string();
    for text in ["", "{", "keys", "{\"keys\":[]}x"] {
        assert_eq!(refused(text.as_bytes()), InvalidBundleDocument::NotJson, "{text}");
    }
    assert_eq!(refused("\u{feff}{\"keys\":[]}".as_bytes()), InvalidBundleDocument::ByteOrderMark);
    assert_eq!(refused(&[0x1f, 0x8b, 8, 0]), InvalidBundleDocument::Compressed);
    assert_eq!(refused(b"[]"), InvalidBundleDocument::Array);
    for text in ["{}", "7", "{\"keys\":null}", "{\"keys\":{}}", "{\"Keys\":[]}", "{\"spiffe_sequence\":1}"] {
        assert_eq!(refused(text.as_bytes()), InvalidBundleDocument::NoKeys, "{text}");
    }
    let twice = key.replacen('{', "{\"use\":\"jwt-svid\",", 1);
    for text in [format!("{{\"keys\":[{key}],\"keys\":[]}}"), format!("{{\"keys\":[{twice}]}}")] {
        assert_eq!(refused(text.as_bytes()), InvalidBundleDocument::NotJson, "{text}");
    }
    for number in ["-1", "1.5", "1e3", "18446744073709551616", "\"1\"", "null", "[]"] {
        let text = format!("{{\"keys\":[{key}],\"spiffe_sequence\":{number}}}");
        assert_eq!(refused(text.as_bytes()), InvalidBundleDocument::Sequence, "{number}");
        let text = format!("{{\"keys\":[{key}],\"spiffe_refresh_hint\":{number}}}");
        assert_eq!(refused(text.as_bytes()), InvalidBundleDocument::RefreshHint, "{number}");
    }
    let mut large = document(&[&TestCa::new("prod.example")], 1);
    large.resize(MAX_BUNDLE_DOCUMENT_BYTES, b' ');
    assert!(BundleDocument::parse(&large).is_ok());
    large.push(b' ');
    assert_eq!(refused(&large), InvalidBundleDocument::Size);
}

// SPIFFE Trust Domain and Bundle section 5.1.1: maps of bundles are not consumed here
#[test]
fn a_map_of_bundles_is_no_bundle_document() {
    let map = json!({"trust_domains": {"prod.example": {"keys": [root(&TestCa::new("prod.example"))]}}});
    assert_eq!(parse(&map).unwrap_err(), InvalidBundleDocument::NoKeys);
}

// X509-SVID section 6.1; SPIFFE Federation section 5
#[test]
fn what_is_written_is_what_others_would_write_and_is_read_again() {
    let (ca, other) = (TestCa::new("prod.example"), TestCa::new("prod.example"));
    let roots = [ca.der().clone(), other.der().clone()];
    let text = BundleDocument::print(&roots, u64::MAX, Duration::from_mins(5));
    let written: Value = serde_json::from_str(&text).unwrap();
    let expected = json!({"keys": [root(&ca), root(&other)], "spiffe_sequence": u64::MAX, "spiffe_refresh_hint": 300});
    assert_eq!(written, expected);
    assert_eq!(BundleDocument::parse(text.as_bytes()), parse(&expected));
}
