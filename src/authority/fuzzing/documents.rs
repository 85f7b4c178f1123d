//! Documents that others publish: bundles of trust domains, and the certificates of clients.

use serde_json::Value;

use crate::authority::registration::jwks_from_pem;
use crate::authority::registration::published_certificates;
use crate::authority::trust::BundleDocument;

/// The input as a SPIFFE bundle document.
pub(crate) fn bundle_documents(input: &[u8]) {
    let Ok(document) = BundleDocument::parse(input) else { return };
    let Ok(value) = serde_json::from_slice::<Value>(input) else { unreachable!("another parser refuses it") };
    let keys = value.get("keys").and_then(Value::as_array).map_or(0, Vec::len);
    let used = document.bundle.x509.len() + document.bundle.x509.refused().len() + document.bundle.jwt.all().count();
    assert!(used <= keys && document.skipped.0.len() <= keys);
    assert_eq!(document.sequence, value.get("spiffe_sequence").and_then(Value::as_u64));
    // White space and the spelling of strings have no meaning.
    let printed = value.to_string();
    if printed.len() <= input.len() {
        assert_eq!(BundleDocument::parse(printed.as_bytes()), Ok(document));
    }
}

/// The input as a JWK Set with certificates, and as PEM that becomes one.
pub(crate) fn jwks(input: &[u8]) {
    if let Ok(published) = published_certificates(input) {
        let Ok(value) = serde_json::from_slice::<Value>(input) else { unreachable!("another parser refuses it") };
        let keys = value.get("keys").and_then(Value::as_array).map_or(0, Vec::len);
        assert_eq!(published.certificates.len() + published.skipped.0.len(), keys);
        assert_eq!(published_certificates(value.to_string().as_bytes()), Ok(published));
    }
    let Some(jwks) = str::from_utf8(input).ok().and_then(|pem| jwks_from_pem(pem).ok()) else { return };
    let keys = jwks.get("keys").and_then(Value::as_array).map_or(0, Vec::len);
    assert!(keys > 0);
    if let Ok(published) = published_certificates(jwks.to_string().as_bytes()) {
        assert_eq!(published.certificates.len() + published.skipped.0.len(), keys);
    }
}
