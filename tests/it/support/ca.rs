//! Certificate authorities, and self-signed certificates. All times are relative to the time that the authority was
//! made for, so that one `ManualClock` controls everything.

use std::sync::Arc;

use lanyard::authority::clock::Timestamp;
use lanyard::authority::trust::Anchors;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::DistinguishedName;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use rcgen::NameConstraints;
use rcgen::SanType;
use rustls_pki_types::CertificateDer;

use crate::support::NOW;
use crate::support::leaf::LeafBuilder;
use crate::support::leaf::pem;

/// A certificate authority: of a trust domain, or a client CA. A clone is the same one.
#[derive(Clone)]
pub struct TestCa {
    now: Timestamp,
    issuer: Arc<Issuer<'static, KeyPair>>,
    certificate: CertificateDer<'static>,
    intermediates: Vec<CertificateDer<'static>>,
}

impl TestCa {
    /// The root of a trust domain, or any other root with this name, at [`NOW`].
    pub fn new(name: &str) -> Self {
        Self::at(name, NOW)
    }

    /// The same at another time, such as the real one.
    pub fn at(name: &str, now: Timestamp) -> Self {
        Self::with_key(name, now, KeyPair::generate().unwrap())
    }

    /// A root with a given key: the same key under two names is two roots.
    pub fn with_key(name: &str, now: Timestamp, key: KeyPair) -> Self {
        let params = authority_params(name);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { now, issuer: Arc::new(Issuer::new(params, key)), certificate, intermediates: Vec::new() }
    }

    /// An intermediate below this one.
    pub fn intermediate(&self, name: &str) -> Self {
        self.signs(authority_params(name), KeyPair::generate().unwrap())
    }

    /// An intermediate with name constraints.
    pub fn constrained_intermediate(&self, name: &str, constraints: NameConstraints) -> Self {
        let mut params = authority_params(name);
        params.name_constraints = Some(constraints);
        self.signs(params, KeyPair::generate().unwrap())
    }

    /// An intermediate with a URI, such as the SPIFFE ID of a trust domain (X509-SVID section 3.2).
    pub fn intermediate_with_uri(&self, name: &str, uri: &str) -> Self {
        let mut params = authority_params(name);
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        self.signs(params, KeyPair::generate().unwrap())
    }

    /// A certificate by this CA for the name and key of another one.
    pub fn cross_sign(&self, other_name: &str, other: &Self) -> CertificateDer<'static> {
        let params = authority_params(other_name);
        params.signed_by(other.issuer.key(), &self.issuer).unwrap().der().clone()
    }

    fn signs(&self, params: CertificateParams, key: KeyPair) -> Self {
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let mut intermediates = vec![certificate.clone()];
        intermediates.extend_from_slice(&self.intermediates);
        Self { now: self.now, issuer: Arc::new(Issuer::new(params, key)), certificate, intermediates }
    }

    /// The issuer that signs certificates.
    pub fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// The intermediates that a leaf must present: this CA and those above it, without the root.
    pub fn intermediates(&self) -> &[CertificateDer<'static>] {
        &self.intermediates
    }

    /// The certificate, DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The certificate, PEM.
    pub fn pem(&self) -> String {
        pem(&self.certificate)
    }

    /// The certificate as the only trust anchor.
    pub fn anchors(&self) -> Anchors {
        Anchors::new(std::slice::from_ref(&self.certificate)).unwrap()
    }

    /// An X509-SVID that follows every rule.
    pub fn svid(&self, spiffe_id: &str) -> LeafBuilder<'_> {
        self.client_certificate().uri(spiffe_id)
    }

    /// A client's certificate with an empty subject and no names yet.
    pub fn client_certificate(&self) -> LeafBuilder<'_> {
        LeafBuilder::new(Some(self), leaf_params(), self.now)
    }

    /// A server's certificate, valid at any time: clients on the system clock accept it too.
    pub fn server_certificate(&self, host: &str) -> LeafBuilder<'_> {
        let builder = self.client_certificate().dns(host);
        builder.between(Timestamp(0), Timestamp(8_000_000_000))
    }
}

/// A certificate as `openssl req -x509` makes it by default: its own CA, without alternative names or keyUsage.
pub fn self_signed(common_name: &str) -> LeafBuilder<'static> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.use_authority_key_identifier_extension = true;
    LeafBuilder::new(None, params, NOW).common_name(common_name)
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("{name} CA"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params
}

#[test]
fn the_pem_and_der_forms_are_of_the_same_certificates_and_key() {
    use rustls_pki_types::PrivateKeyDer;
    use rustls_pki_types::pem::PemObject as _;
    let root = TestCa::new("prod.example");
    let intermediate = root.intermediate("below");
    let leaf = intermediate.server_certificate("localhost").issue();
    let read = |text: &str| CertificateDer::pem_slice_iter(text.as_bytes()).map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(read(&leaf.pem()), leaf.chain[..1]);
    assert_eq!(read(&leaf.chain_pem()), leaf.chain);
    assert_eq!(leaf.chain[1..], read(&intermediate.pem()));
    assert_eq!(read(&root.pem()), [root.der().clone()]);
    assert_eq!(PrivateKeyDer::from_pem_slice(leaf.key_pem().as_bytes()).unwrap(), leaf.private_key());
}
