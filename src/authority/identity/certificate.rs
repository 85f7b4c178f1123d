//! One X.509 certificate, parsed once: its thumbprint, validity, names and uses. Parsing does not validate it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::CertificateDer;
use sha2::Digest as _;
use sha2::Sha256;
use x509_parser::asn1_rs::Any;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use crate::authority::clock::Timestamp;

/// The largest accepted certificate, in bytes.
pub const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;

/// The most names in one certificate. They are read in every handshake.
const MAX_NAMES: usize = 256;

/// SHA-256 of a certificate's DER: the value of `x5t#S256` (RFC 8705 section 3.1).
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CertificateThumbprint([u8; 32]);

impl CertificateThumbprint {
    /// The thumbprint of a certificate. The bytes are hashed without parsing: RFC 8705's own example is an X.509 v1
    /// certificate, which stricter parsers refuse.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// Takes a digest that was computed elsewhere. `None` unless it has exactly 32 bytes.
    pub fn from_digest(digest: &[u8]) -> Option<Self> {
        digest.try_into().ok().map(Self)
    }

    /// Parses the text form: 43 characters of base64url without padding (RFC 8705 section 3.1). Any other spelling of
    /// the same bytes (padding, or spare bits set, as in that RFC's figures 2 and 3) is refused, so that each
    /// thumbprint has one text.
    pub fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| Self::from_digest(&bytes))
    }

    /// The 32 bytes of the digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for CertificateThumbprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for CertificateThumbprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The names in a certificate, by type. Names of different types are never compared (RFC 8705 section 2.1.2).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CertificateNames {
    /// The subject, as an X.501 Name in DER.
    pub subject: Vec<u8>,
    /// `dNSName` entries of the subject alternative name.
    pub dns: Vec<String>,
    /// `uniformResourceIdentifier` entries.
    pub uri: Vec<String>,
    /// `iPAddress` entries.
    pub ip: Vec<IpAddr>,
    /// `rfc822Name` entries.
    pub email: Vec<String>,
}

/// The uses of the certificate's key that its extensions allow.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one bit of an extension, and they combine freely")]
pub struct CertificateUses {
    /// basicConstraints cA.
    pub is_ca: bool,
    /// keyUsage is present.
    pub has_key_usage: bool,
    /// keyUsage is marked critical.
    pub key_usage_critical: bool,
    /// keyUsage digitalSignature.
    pub digital_signature: bool,
    /// keyUsage keyCertSign.
    pub key_cert_sign: bool,
    /// keyUsage cRLSign.
    pub crl_sign: bool,
    /// extendedKeyUsage is present.
    pub has_extended_key_usage: bool,
    /// extendedKeyUsage clientAuth (or any).
    pub client_auth: bool,
    /// extendedKeyUsage serverAuth (or any).
    pub server_auth: bool,
    /// The subject alternative name is marked critical.
    pub names_critical: bool,
    /// The subject is an empty sequence.
    pub subject_empty: bool,
}

/// A parsed certificate.
#[derive(Clone, Debug)]
pub struct Certificate {
    der: CertificateDer<'static>,
    thumbprint: CertificateThumbprint,
    public_key: Arc<[u8]>,
    not_before: Timestamp,
    not_after: Timestamp,
    names: Arc<CertificateNames>,
    uses: CertificateUses,
}

/// Why bytes cannot be used as a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidCertificate {
    /// The certificate is larger than [`MAX_CERTIFICATE_BYTES`].
    #[error("the certificate is larger than {MAX_CERTIFICATE_BYTES} bytes")]
    TooLarge,
    /// The bytes are not the DER of one X.509 certificate.
    #[error("not an X.509 certificate in DER")]
    NotACertificate,
    /// A name does not match its type, such as an IP address of five bytes.
    #[error("a name in the certificate's subject alternative name cannot be read")]
    UnreadableName,
    /// A name contains a NUL byte, at which other parsers would cut it off (RFC 8705 section 7.5).
    #[error("a name in the certificate contains a NUL byte")]
    NulInName,
    /// The certificate has more than `MAX_NAMES` names.
    #[error("the certificate has more than {MAX_NAMES} names")]
    TooManyNames,
}

impl Certificate {
    /// About how many bytes it takes.
    pub(in crate::authority) fn bytes(&self) -> usize {
        let CertificateNames { subject, dns, uri, ip, email } = &*self.names;
        let texts = dns.iter().chain(uri).chain(email).map(|name| name.len() + size_of::<String>()).sum::<usize>();
        let names = subject.len() + texts + size_of_val(ip.as_slice());
        size_of::<Self>() + size_of::<CertificateNames>() + self.der.len() + self.public_key.len() + names
    }

    /// Parses a certificate from its DER.
    pub fn parse(der: &[u8]) -> Result<Self, InvalidCertificate> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(InvalidCertificate::TooLarge);
        }
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| InvalidCertificate::NotACertificate)?;
        if !rest.is_empty() {
            return Err(InvalidCertificate::NotACertificate);
        }
        // Some parsers read trailing bytes inside an extension's value, and others ignore them.
        if parsed
            .extensions()
            .iter()
            .any(|extension| !Any::from_der(extension.value).is_ok_and(|(rest, _)| rest.is_empty()))
        {
            return Err(InvalidCertificate::NotACertificate);
        }
        let seconds = |time: i64| Timestamp(u64::try_from(time).unwrap_or(0));
        Ok(Self {
            der: CertificateDer::from(der.to_vec()),
            thumbprint: CertificateThumbprint::of(der),
            public_key: parsed.public_key().raw.into(),
            not_before: seconds(parsed.validity().not_before.timestamp()),
            not_after: seconds(parsed.validity().not_after.timestamp()),
            names: Arc::new(read_names(&parsed)?),
            uses: read_uses(&parsed)?,
        })
    }

    /// The certificate that the holder of a SPIFFE ID is supposed to have, where no certificate of its own is known: it has
    /// the ID as its only name, and is valid at any time. There are no bytes of it, so that no rule proves it, and unless a
    /// thumbprint is given, its thumbprint is no certificate's.
    pub(in crate::authority) fn supposed(spiffe_id: &str, thumbprint: Option<CertificateThumbprint>) -> Self {
        let names = CertificateNames { uri: vec![spiffe_id.to_owned()], ..CertificateNames::default() };
        Self {
            der: CertificateDer::from(Vec::new()),
            thumbprint: thumbprint.unwrap_or_else(|| CertificateThumbprint::of(&[])),
            public_key: Arc::default(),
            not_before: Timestamp(0),
            not_after: Timestamp(u64::MAX),
            names: Arc::new(names),
            uses: CertificateUses::default(),
        }
    }

    /// The DER as received.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// SHA-256 of the DER.
    pub fn thumbprint(&self) -> CertificateThumbprint {
        self.thumbprint
    }

    /// The `SubjectPublicKeyInfo`, in DER.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// SHA-256 of the `SubjectPublicKeyInfo` in DER, as base64url.
    pub fn public_key_digest(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(&self.public_key))
    }

    /// The first second of its validity.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// The last second of its validity (RFC 5280 section 4.1.2.5: the period includes both ends).
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// The names in the certificate.
    pub fn names(&self) -> &CertificateNames {
        &self.names
    }

    /// The allowed uses of its key.
    pub fn uses(&self) -> CertificateUses {
        self.uses
    }
}

fn read_names(certificate: &X509Certificate<'_>) -> Result<CertificateNames, InvalidCertificate> {
    let mut names =
        CertificateNames { subject: certificate.subject().as_raw().to_vec(), ..CertificateNames::default() };
    let alternatives = certificate
        .subject_alternative_name()
        .map_err(|_| InvalidCertificate::UnreadableName)?
        .map(|found| found.value);
    let Some(alternatives) = alternatives else { return Ok(names) };
    if alternatives.general_names.len() > MAX_NAMES {
        return Err(InvalidCertificate::TooManyNames);
    }
    for name in &alternatives.general_names {
        match name {
            GeneralName::DNSName(text) => names.dns.push(without_nul(text)?),
            GeneralName::URI(text) => names.uri.push(without_nul(text)?),
            GeneralName::RFC822Name(text) => names.email.push(without_nul(text)?),
            GeneralName::IPAddress(bytes) => names.ip.push(ip_address(bytes)?),
            GeneralName::Invalid(..) => return Err(InvalidCertificate::UnreadableName),
            // Names of these types are not used as identities.
            GeneralName::OtherName(..)
            | GeneralName::X400Address(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EDIPartyName(_)
            | GeneralName::RegisteredID(_) => {}
        }
    }
    Ok(names)
}

fn without_nul(text: &str) -> Result<String, InvalidCertificate> {
    if text.contains('\0') { Err(InvalidCertificate::NulInName) } else { Ok(text.to_owned()) }
}

fn ip_address(bytes: &[u8]) -> Result<IpAddr, InvalidCertificate> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(bytes).map(IpAddr::from).map_err(|_| InvalidCertificate::UnreadableName)
}

fn read_uses(certificate: &X509Certificate<'_>) -> Result<CertificateUses, InvalidCertificate> {
    let unreadable = |_| InvalidCertificate::NotACertificate;
    let constraints = certificate.basic_constraints().map_err(unreadable)?;
    let key_usage = certificate.key_usage().map_err(unreadable)?;
    let extended = certificate.extended_key_usage().map_err(unreadable)?;
    let names = certificate.subject_alternative_name().map_err(unreadable)?;
    Ok(CertificateUses {
        is_ca: constraints.is_some_and(|found| found.value.ca),
        has_key_usage: key_usage.is_some(),
        key_usage_critical: key_usage.as_ref().is_some_and(|found| found.critical),
        digital_signature: key_usage.as_ref().is_some_and(|found| found.value.digital_signature()),
        key_cert_sign: key_usage.as_ref().is_some_and(|found| found.value.key_cert_sign()),
        crl_sign: key_usage.as_ref().is_some_and(|found| found.value.crl_sign()),
        has_extended_key_usage: extended.is_some(),
        client_auth: extended.as_ref().is_some_and(|found| found.value.client_auth || found.value.any),
        server_auth: extended.as_ref().is_some_and(|found| found.value.server_auth || found.value.any),
        names_critical: names.is_some_and(|found| found.critical),
        subject_empty: certificate.subject().iter().next().is_none(),
    })
}
