//! Certificates, and the paths from them to their anchors.

use std::sync::LazyLock;

use rustls_pki_types::CertificateDer;
use spiffe::TrustDomain;
use webpki::EndEntityCert;
use x509_parser::asn1_rs::Any;
use x509_parser::asn1_rs::FromDer as _;

use crate::authority::fuzzing::now::NOW;
use crate::authority::identity::Certificate;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::MAX_CERTIFICATE_BYTES;
use crate::authority::identity::Proof;
use crate::authority::trust::Anchors;
use crate::authority::trust::TrustBundles;

/// The root of the seeds. Its private key is lost, so that nothing but the seeds has a path to it.
const ROOT: &[u8] = include_bytes!("../../../fuzz/keys/root.der");

/// SHA-256 of the public keys of the only workloads below the root: one with a SPIFFE ID, one without.
const CERTIFIED: [&str; 2] =
    ["9m5NOd5q7j8dlZrBcGyLu7Vb-PDnvyneVhXfrSgorXg", "WqI845Sa_ff4PQ0y4d1jNLdNffpED5QZAV5fwG1mlLo"];

static TRUST: LazyLock<TrustBundles> = LazyLock::new(trust);

/// The input as the DER of one certificate.
pub(crate) fn certificates(input: &[u8]) {
    let Ok(certificate) = Certificate::parse(input) else { return };
    assert!(input.len() <= MAX_CERTIFICATE_BYTES && certificate.der().as_ref() == input);
    let thumbprint = CertificateThumbprint::of(input);
    assert_eq!(certificate.thumbprint(), thumbprint);
    assert_eq!(CertificateThumbprint::parse(&thumbprint.to_string()), Some(thumbprint));
    let names = certificate.names();
    let texts = names.dns.iter().chain(&names.uri).chain(&names.email);
    assert!(texts.clone().all(|name| !name.contains('\0')));
    // Each name that another parser finds valid is there, with its type.
    let der = CertificateDer::from(input);
    let Ok(other) = EndEntityCert::try_from(&der) else { return };
    assert!(other.valid_dns_names().all(|name| names.dns.iter().any(|ours| ours == name)));
    assert!(other.valid_uri_names().all(|name| names.uri.iter().any(|ours| ours == name)));
}

/// The input as the certificates of a chain, one after the other. The root is the bundle of a trust domain and a client
/// CA.
pub(crate) fn certificate_paths(input: &[u8]) {
    let (mut chain, mut rest) = (Vec::new(), input);
    while let Ok((after, _)) = Any::from_der(rest) {
        let length = rest.len().saturating_sub(after.len());
        let (Some(der), true) = (rest.get(..length), length > 0) else { break };
        chain.push(CertificateDer::from(der));
        rest = after;
    }
    if !rest.is_empty() {
        chain.push(CertificateDer::from(rest));
    }
    let Ok(peer) = TRUST.prove(&chain, NOW, |_| false) else { return };
    let key = peer.certificate().public_key_digest();
    let by_svid = matches!(peer.proof(), Proof::Svid(id) if id.to_string() == "spiffe://prod.example/checkout");
    let by_pki = matches!(peer.proof(), Proof::Pki(names) if names == &["corp"]);
    let expected = CERTIFIED.iter().position(|known| *known == key);
    assert!(matches!((expected, by_svid, by_pki), (Some(0), true, false) | (Some(1), false, true)), "{peer:?}");
    // A path is no better for what the chain has besides it, and nothing is proven by no anchor.
    assert!(TrustBundles::default().prove(&chain, NOW, |_| false).is_err());
}

fn trust() -> TrustBundles {
    let root = CertificateDer::from(ROOT);
    let (Ok(anchors), Ok(domain)) = (Anchors::new(&[root]), TrustDomain::new("prod.example")) else {
        unreachable!("the root of the seeds is an anchor")
    };
    TrustBundles {
        trust_domains: [(domain, anchors.clone().into())].into(),
        client_cas: [("corp".to_owned(), anchors)].into(),
        ..TrustBundles::default()
    }
}
