//! What is needed of the presented certificate.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::CertificateDer;
use spiffe::SpiffeId;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use crate::client::verifier::refused::Refused;

/// The presented certificate.
pub(super) struct Presented {
    /// Its `x5t#S256` (RFC 8705 section 3.1).
    pub(super) thumbprint: String,
    /// Its SPIFFE IDs.
    pub(super) spiffe_ids: Vec<SpiffeId>,
    not_before: i64,
    not_after: i64,
}

impl Presented {
    pub(super) fn parse(der: &CertificateDer<'_>) -> Result<Self, Refused> {
        let parsed = X509Certificate::from_der(der).ok().filter(|(rest, _)| rest.is_empty());
        let (_, certificate) = parsed.ok_or(Refused::EvidenceMalformed)?;
        let names = certificate.subject_alternative_name().map_err(|_| Refused::EvidenceMalformed)?;
        let names = names.into_iter().flat_map(|names| &names.value.general_names);
        let spiffe_ids = names.filter_map(|name| if let GeneralName::URI(uri) = name { spiffe_id(uri) } else { None });
        let validity = certificate.validity();
        Ok(Self {
            thumbprint: URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, der)),
            spiffe_ids: spiffe_ids.collect(),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    }

    /// Whether it is valid at this second.
    pub(super) fn valid_at(&self, now: u64) -> Result<(), Refused> {
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        if now > self.not_after {
            return Err(Refused::CertificateExpired);
        }
        if now < self.not_before {
            return Err(Refused::CertificateNotYetValid);
        }
        Ok(())
    }

    /// Whether its first SPIFFE ID is this one.
    pub(super) fn is_of(&self, id: &str) -> bool {
        self.spiffe_ids.first().is_some_and(|own| own.to_string() == id)
    }
}

/// Parses a SPIFFE ID in its only accepted spelling, in lower case (SPIFFE-ID section 2.1).
pub(super) fn spiffe_id(text: &str) -> Option<SpiffeId> {
    SpiffeId::new(text).ok().filter(|id| id.to_string() == text)
}
