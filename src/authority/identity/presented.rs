//! A certificate as the records of refusals name it, whether or not a rule accepts it.

use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Name;

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
}

impl PresentedCertificate {
    /// Reads as much as can be read of a certificate in DER.
    pub fn of(der: &[u8]) -> Self {
        Certificate::parse(der).map_or_else(
            |_| Self { thumbprint: CertificateThumbprint::of(der), spiffe_id: None, subject: None },
            |certificate| Self::from(&certificate),
        )
    }
}

impl From<&Certificate> for PresentedCertificate {
    fn from(certificate: &Certificate) -> Self {
        let names = certificate.names();
        let spiffe_id = names.uri.iter().find(|uri| is_spiffe_uri(uri)).cloned();
        let subject = if spiffe_id.is_none() { subject(&names.subject) } else { None };
        Self { thumbprint: certificate.thumbprint(), spiffe_id, subject }
    }
}

/// The subject as text for people; `None` for an empty one.
fn subject(der: &[u8]) -> Option<String> {
    let (_, name) = X509Name::from_der(der).ok()?;
    Some(name.to_string()).filter(|text| !text.is_empty())
}
