//! Valid and invalid certificates of peers.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::identity::CertificateThumbprint;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CustomExtension;
use rcgen::DnType;
use rcgen::DnValue;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use rcgen::PublicKeyData as _;
use rcgen::RsaKeySize;
use rcgen::SanType;
use rcgen::SigningKey as _;
use rcgen::date_time_ymd;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::PrivatePkcs8KeyDer;

use crate::support::ca::TestCa;
use crate::support::der;

/// How long before the present time leaves become valid.
pub const VALID_SINCE: Duration = Duration::from_mins(1);
/// How long after the present time leaves expire.
pub const VALID_FOR: Duration = Duration::from_hours(1);

const SUBJECT_ALT_NAME: [u64; 4] = [2, 5, 29, 17];
const KEY_USAGE: [u64; 4] = [2, 5, 29, 15];

/// A builder of a certificate.
pub struct LeafBuilder<'ca> {
    ca: Option<&'ca TestCa>,
    now: Timestamp,
    params: CertificateParams,
    key: Option<KeyPair>,
    rewrite: Vec<Rewrite>,
}

/// A change to the `TBSCertificate` after rcgen has written it.
type Rewrite = Box<dyn Fn(&mut Vec<Vec<u8>>)>;

impl<'ca> LeafBuilder<'ca> {
    /// Valid around `now`.
    pub fn new(ca: Option<&'ca TestCa>, params: CertificateParams, now: Timestamp) -> Self {
        let builder = Self { ca, now, params, key: None, rewrite: Vec::new() };
        let since = Timestamp(now.0.saturating_sub(VALID_SINCE.as_secs()));
        builder.between(since, now.after(VALID_FOR))
    }

    /// Adds a common name to the subject.
    pub fn common_name(self, name: &str) -> Self {
        self.attribute(DnType::CommonName, name)
    }

    /// Adds a relative name to the subject, after the present ones (RFC 4514 prints it before them).
    pub fn attribute(mut self, kind: DnType, value: impl Into<DnValue>) -> Self {
        self.params.distinguished_name.push(kind, value);
        self
    }

    /// Replaces the subject by an X.501 Name in DER.
    pub fn raw_subject(self, name: Vec<u8>) -> Self {
        self.rewritten(move |fields| fields[5].clone_from(&name))
    }

    /// Adds a dNSName.
    pub fn dns(self, name: &str) -> Self {
        self.name(SanType::DnsName(name.try_into().unwrap()))
    }

    /// Adds a uniformResourceIdentifier.
    pub fn uri(self, uri: &str) -> Self {
        self.name(SanType::URI(uri.try_into().unwrap()))
    }

    /// Adds another uniformResourceIdentifier, a SPIFFE ID of the same kind.
    pub fn two_uris(self) -> Self {
        self.uri("spiffe://prod.example/another")
    }

    /// Adds an iPAddress.
    pub fn ip(self, address: IpAddr) -> Self {
        self.name(SanType::IpAddress(address))
    }

    /// Adds an rfc822Name.
    pub fn email(self, address: &str) -> Self {
        self.name(SanType::Rfc822Name(address.try_into().unwrap()))
    }

    /// Adds an otherName with a `UTF8String`, such as Microsoft's user principal name.
    pub fn other_name(self, text: &str) -> Self {
        self.name(SanType::OtherName((vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3], text.into())))
    }

    fn name(mut self, name: SanType) -> Self {
        self.params.subject_alt_names.push(name);
        self
    }

    /// Replaces all alternative names by these `GeneralName`s, given as tag and content, in a critical extension.
    pub fn raw_names(mut self, names: &[(u8, &[u8])]) -> Self {
        self.params.subject_alt_names.clear();
        let names: Vec<Vec<u8>> = names.iter().map(|(tag, content)| der::element(*tag, content)).collect();
        self.extension(&SUBJECT_ALT_NAME, true, der::sequence(&names))
    }

    /// Adds an extension with this content in DER, after all others. It may repeat one.
    pub fn extension(mut self, oid: &[u64], critical: bool, content: Vec<u8>) -> Self {
        let mut extension = CustomExtension::from_oid_content(oid, content);
        extension.set_criticality(critical);
        self.params.custom_extensions.push(extension);
        self
    }

    /// Valid within these seconds, both included.
    pub fn between(mut self, not_before: Timestamp, not_after: Timestamp) -> Self {
        let at = |time: Timestamp| date_time_ymd(1970, 1, 1) + Duration::from_secs(time.0);
        self.params.not_before = at(not_before);
        self.params.not_after = at(not_after);
        self
    }

    /// Valid until a second ago.
    pub fn expired(self) -> Self {
        let now = self.now.0;
        self.between(Timestamp(now - VALID_FOR.as_secs()), Timestamp(now - 1))
    }

    /// Valid from the next second on.
    pub fn not_yet_valid(self) -> Self {
        let now = self.now;
        self.between(Timestamp(now.0 + 1), now.after(VALID_FOR))
    }

    /// Sets basicConstraints cA.
    pub fn ca_leaf(mut self) -> Self {
        self.params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self
    }

    /// Replaces digitalSignature in keyUsage by keyEncipherment.
    pub fn without_digital_signature(mut self) -> Self {
        self.params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
        self
    }

    /// Omits keyUsage.
    pub fn without_key_usage(mut self) -> Self {
        self.params.key_usages.clear();
        self
    }

    /// keyUsage has digitalSignature, but is not marked critical.
    pub fn with_key_usage_not_critical(self) -> Self {
        self.without_key_usage().extension(&KEY_USAGE, false, vec![3, 2, 7, 0x80])
    }

    /// keyUsage also has keyCertSign.
    pub fn with_key_cert_sign(self) -> Self {
        self.key_usage(KeyUsagePurpose::KeyCertSign)
    }

    /// keyUsage also has cRLSign.
    pub fn with_crl_sign(self) -> Self {
        self.key_usage(KeyUsagePurpose::CrlSign)
    }

    fn key_usage(mut self, purpose: KeyUsagePurpose) -> Self {
        self.params.key_usages.push(purpose);
        self
    }

    /// extendedKeyUsage has clientAuth only.
    pub fn eku_client_only(self) -> Self {
        self.eku(vec![ExtendedKeyUsagePurpose::ClientAuth])
    }

    /// extendedKeyUsage has serverAuth only.
    pub fn eku_server_only(self) -> Self {
        self.eku(vec![ExtendedKeyUsagePurpose::ServerAuth])
    }

    /// Omits extendedKeyUsage.
    pub fn without_eku(self) -> Self {
        self.eku(Vec::new())
    }

    /// Has exactly these usages, of both kinds.
    pub fn usages(mut self, key: Vec<KeyUsagePurpose>, extended: Vec<ExtendedKeyUsagePurpose>) -> Self {
        self.params.key_usages = key;
        self.eku(extended)
    }

    /// Valid from now on, for this long.
    pub fn valid_for(self, duration: Duration) -> Self {
        let now = self.now;
        self.between(now, now.after(duration))
    }

    fn eku(mut self, purposes: Vec<ExtendedKeyUsagePurpose>) -> Self {
        self.params.extended_key_usages = purposes;
        self
    }

    /// Uses this key, PKCS#8, instead of a new P-256 one: another certificate for the same key.
    pub fn key(mut self, pkcs8: &[u8]) -> Self {
        self.key = Some(KeyPair::try_from(pkcs8).unwrap());
        self
    }

    /// Uses a new RSA key of 4096 bits, as openssl does by default.
    pub fn rsa_4096(mut self) -> Self {
        self.key = Some(KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_4096).unwrap());
        self
    }

    /// Omits version and extensions, which makes it an X.509 v1 certificate.
    pub fn version_1(self) -> Self {
        self.rewritten(|fields| {
            fields.retain(|field| !matches!(field[0], 0xa0 | 0xa3));
        })
    }

    /// Changes the fields of the `TBSCertificate`: version, serial number, algorithm, issuer, validity, subject, key,
    /// extensions.
    pub fn rewritten(mut self, change: impl Fn(&mut Vec<Vec<u8>>) + 'static) -> Self {
        self.rewrite.push(Box::new(change));
        self
    }

    /// Issues the certificate.
    pub fn issue(self) -> Leaf {
        let key = self.key.unwrap_or_else(|| KeyPair::generate().unwrap());
        let issued = match self.ca {
            Some(ca) => self.params.signed_by(&key, ca.issuer()),
            None => self.params.self_signed(&key),
        };
        let mut certificate = issued.unwrap().der().clone();
        if !self.rewrite.is_empty() {
            certificate = rewrite(&certificate, &self.rewrite, self.ca.map_or(&key, |ca| ca.issuer().key()));
        }
        let mut chain = vec![certificate];
        chain.extend(self.ca.into_iter().flat_map(|ca| ca.intermediates().iter().cloned()));
        Leaf { chain, key: key.serialize_der(), spki: key.subject_public_key_info() }
    }
}

/// A certificate, its intermediates, and its key.
#[derive(Clone)]
pub struct Leaf {
    /// The certificate first, then its intermediates.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key, PKCS#8 in DER.
    pub key: Vec<u8>,
    /// The public key, `SubjectPublicKeyInfo` in DER.
    pub spki: Vec<u8>,
}

impl Leaf {
    /// The certificate in DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    /// The thumbprint of the certificate.
    pub fn thumbprint(&self) -> CertificateThumbprint {
        CertificateThumbprint::of(self.certificate())
    }

    /// The private key in the form that rustls takes.
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }

    /// The certificate in PEM.
    pub fn pem(&self) -> String {
        pem(self.certificate())
    }

    /// The certificate and its intermediates in PEM.
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(|certificate| pem(certificate)).collect()
    }

    /// The private key in PEM.
    pub fn key_pem(&self) -> String {
        KeyPair::try_from(self.key.as_slice()).unwrap().serialize_pem()
    }
}

fn rewrite(certificate: &[u8], changes: &[Rewrite], key: &KeyPair) -> CertificateDer<'static> {
    let mut parts = der::elements(der::content(certificate));
    let mut fields = der::elements(der::content(&parts[0]));
    for change in changes {
        change(&mut fields);
    }
    parts[0] = der::sequence(&fields);
    let signature = key.sign(&parts[0]).unwrap();
    parts[2] = der::element(3, &[vec![0], signature].concat());
    der::sequence(&parts).into()
}

/// The PEM of a certificate.
pub fn pem(certificate: &[u8]) -> String {
    let text = STANDARD.encode(certificate);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
