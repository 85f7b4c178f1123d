//! One X.509 certificate, read once: its thumbprint, validity, names and uses. Nothing here says that it can be trusted.

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

/// The most bytes that one certificate may have.
pub const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;

/// The most names that one certificate may bear: reading them is done in every handshake.
const MAX_NAMES: usize = 256;

/// SHA-256 of a certificate's DER: what `x5t#S256` holds (RFC 8705 section 3.1).
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CertificateThumbprint([u8; 32]);

impl CertificateThumbprint {
    /// The thumbprint of a certificate. The bytes are hashed as they are: RFC 8705's own example is an X.509 v1
    /// certificate, which stricter parsers refuse.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// Takes a digest that was computed elsewhere: exactly 32 bytes.
    pub fn from_digest(digest: &[u8]) -> Option<Self> {
        digest.try_into().ok().map(Self)
    }

    /// Reads the text form: 43 characters of base64url without padding (RFC 8705 section 3.1). A second spelling of the
    /// same bytes (padding, spare bits set, as in that RFC's figures 2 and 3) is refused: one binding has one text.
    pub fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| Self::from_digest(&bytes))
    }

    /// The 32 bytes.
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

/// The names that a certificate bears, each under its own type: they are never compared across types
/// (RFC 8705 section 2.1.2).
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

/// What the extensions say that the certificate's key may do.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one bit of an extension, and they combine freely")]
pub struct CertificateUses {
    /// basicConstraints cA.
    pub is_ca: bool,
    /// keyUsage is there at all.
    pub has_key_usage: bool,
    /// keyUsage is marked critical.
    pub key_usage_critical: bool,
    /// keyUsage digitalSignature.
    pub digital_signature: bool,
    /// keyUsage keyCertSign.
    pub key_cert_sign: bool,
    /// keyUsage cRLSign.
    pub crl_sign: bool,
    /// extendedKeyUsage is there at all.
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

/// A certificate that could be read.
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

/// Why bytes are not a certificate that can be looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidCertificate {
    /// Larger than any certificate that is let in.
    #[error("the certificate is larger than {MAX_CERTIFICATE_BYTES} bytes")]
    TooLarge,
    /// Not the DER of one X.509 certificate.
    #[error("not an X.509 certificate in DER")]
    NotACertificate,
    /// A name that is not what its type says, such as an IP address of five bytes.
    #[error("a name in the certificate's subject alternative name cannot be read")]
    UnreadableName,
    /// A name with a NUL byte, which other readers would cut there (RFC 8705 section 7.5).
    #[error("a name in the certificate holds a NUL byte")]
    NulInName,
    /// More names than are looked at.
    #[error("the certificate bears more than {MAX_NAMES} names")]
    TooManyNames,
}

impl Certificate {
    /// Reads a certificate.
    pub fn parse(der: &[u8]) -> Result<Self, InvalidCertificate> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(InvalidCertificate::TooLarge);
        }
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| InvalidCertificate::NotACertificate)?;
        if !rest.is_empty() {
            return Err(InvalidCertificate::NotACertificate);
        }
        // What follows inside an extension's value is read by some parsers and not by others.
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

    /// The bytes as received.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// SHA-256 of the DER.
    pub fn thumbprint(&self) -> CertificateThumbprint {
        self.thumbprint
    }

    /// SHA-256 of its `SubjectPublicKeyInfo` in DER, base64url.
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

    /// What it calls itself.
    pub fn names(&self) -> &CertificateNames {
        &self.names
    }

    /// What its key may do.
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
            // Names of these types identify nobody here.
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
