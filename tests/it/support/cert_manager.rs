//! A substitute for cert-manager: issues what a Certificate asks for, and nothing else.

use rcgen::ExtendedKeyUsagePurpose;
use rcgen::KeyUsagePurpose;
use serde_json::Value;
use serde_json::json;

use crate::support::ca::TestCa;
use crate::support::helm::list;
use crate::support::leaf::LeafBuilder;

/// The fields of a Certificate's spec that this substitute reads.
const FIELDS: [&str; 9] = [
    "secretName",
    "secretTemplate",
    "issuerRef",
    "duration",
    "renewBefore",
    "privateKey",
    "uris",
    "dnsNames",
    "usages",
];

/// The keys of the Secret that cert-manager writes.
pub const SECRET_KEYS: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];

/// The certificate for the spec of a Certificate. Without usages it has cert-manager's default: digital signature and
/// key encipherment, and no extended usage.
pub fn issue<'ca>(ca: &'ca TestCa, spec: &Value) -> LeafBuilder<'ca> {
    for field in spec.as_object().unwrap().keys() {
        assert!(FIELDS.contains(&field.as_str()), "the substitute for cert-manager does not know {field}");
    }
    assert!(spec["issuerRef"]["name"].is_string() && spec["secretName"].is_string(), "{spec}");
    assert_eq!(spec["privateKey"], json!({"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"}));
    let span = |name: &str| humantime::parse_duration(spec[name].as_str().unwrap()).unwrap();
    assert!(span("renewBefore") < span("duration"), "{spec}");
    let (mut key, mut extended) = (Vec::new(), Vec::new());
    for usage in list(&spec["usages"]) {
        match usage.as_str().unwrap() {
            "digital signature" => key.push(KeyUsagePurpose::DigitalSignature),
            "key encipherment" => key.push(KeyUsagePurpose::KeyEncipherment),
            "server auth" => extended.push(ExtendedKeyUsagePurpose::ServerAuth),
            "client auth" => extended.push(ExtendedKeyUsagePurpose::ClientAuth),
            other => panic!("the substitute for cert-manager does not know the usage {other}"),
        }
    }
    if spec["usages"].is_null() {
        key = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    }
    let mut certificate = ca.client_certificate().usages(key, extended).valid_for(span("duration"));
    for uri in list(&spec["uris"]) {
        certificate = certificate.uri(uri.as_str().unwrap());
    }
    for name in list(&spec["dnsNames"]) {
        certificate = certificate.dns(name.as_str().unwrap());
    }
    certificate
}
