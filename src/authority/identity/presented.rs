//! A certificate as the records of refusals name it, whether or not a rule accepts it.

use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Name;

use crate::authority::clock::Timestamp;
use crate::authority::identity::certificate::Certificate;
use crate::authority::identity::certificate::CertificateThumbprint;
use crate::authority::identity::spiffe_id::is_spiffe_uri;

/// What a presented certificate says of its holder. Its names prove nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PresentedCertificate {
    /// The thumbprint, also of bytes that are not a certificate.
    pub thumbprint: CertificateThumbprint,
    /// Its first SPIFFE ID, as it is written.
    pub spiffe_id: Option<String>,
    /// Its subject, where it has no SPIFFE ID.
    pub subject: Option<String>,
    /// Its first names, each shortened: URIs, DNS names, addresses, and then its subject.
    pub names: Vec<String>,
    /// The first and the last second of its validity, where it can be read.
    pub validity: Option<(Timestamp, Timestamp)>,
}

/// The most names that are kept of one certificate.
const MAX_NAMES: usize = 8;

/// The most bytes that are kept of each name.
const MAX_NAME_BYTES: usize = 256;

impl PresentedCertificate {
    /// Reads as much as can be read of a certificate in DER.
    pub fn of(der: &[u8]) -> Self {
        Certificate::parse(der)
            .map_or_else(|_| Self::unread(CertificateThumbprint::of(der)), |certificate| Self::from(&certificate))
    }

    /// A certificate of which only the thumbprint is known.
    pub fn unread(thumbprint: CertificateThumbprint) -> Self {
        Self { thumbprint, spiffe_id: None, subject: None, names: Vec::new(), validity: None }
    }
}

impl From<&Certificate> for PresentedCertificate {
    fn from(certificate: &Certificate) -> Self {
        let names = certificate.names();
        let spiffe_id = names.uri.iter().find(|uri| is_spiffe_uri(uri)).cloned();
        let subject = if spiffe_id.is_none() { subject(&names.subject) } else { None };
        let texts = names.uri.iter().chain(&names.dns).chain(&names.email).cloned();
        let texts = texts.chain(names.ip.iter().map(ToString::to_string)).chain(subject.clone());
        let validity = Some((certificate.not_before(), certificate.not_after()));
        let names = texts.take(MAX_NAMES).map(shortened).collect();
        Self { thumbprint: certificate.thumbprint(), spiffe_id, subject, names, validity }
    }
}

fn shortened(mut name: String) -> String {
    name.truncate(name.floor_char_boundary(MAX_NAME_BYTES));
    name
}

/// The subject as text for people; `None` for an empty one.
fn subject(der: &[u8]) -> Option<String> {
    let (_, name) = X509Name::from_der(der).ok()?;
    Some(name.to_string()).filter(|text| !text.is_empty())
}
