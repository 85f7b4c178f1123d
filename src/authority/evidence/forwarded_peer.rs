//! Peers whose TLS ends at a terminator in front of Lanyard, which forwards their certificates in a header.
//!
//! The mTLS listener ignores these headers.

use rustls_pki_types::CertificateDer;
use spiffe::SpiffeId;

use crate::authority::evidence::forwarded_certificate::InvalidForwardedCertificate;
use crate::authority::evidence::forwarded_certificate::parse_client_cert;
use crate::authority::evidence::forwarded_certificate::parse_client_cert_chain;
use crate::authority::evidence::forwarded_certificate::parse_forwarded_client_cert;

/// The headers that carry forwarded certificates, as received, one entry for each line.
#[derive(Debug, Default)]
pub struct ForwardedHeaders<'a> {
    /// `x-forwarded-client-cert`.
    pub forwarded_client_cert: Vec<&'a [u8]>,
    /// `client-cert` (RFC 9440 section 2.2).
    pub client_cert: Vec<&'a [u8]>,
    /// `client-cert-chain` (RFC 9440 section 2.3).
    pub client_cert_chain: Vec<&'a [u8]>,
}

/// Why a request has no usable forwarded certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotForwarded {
    /// There is no header, or a chain without a certificate.
    #[error("no client certificate was forwarded with this request")]
    Missing,
    /// There are two different headers, which may contradict each other, or the same header twice.
    #[error("more than one client certificate was forwarded with this request")]
    Several,
    /// Only the hash or the names of the certificate were forwarded.
    #[error("the whole client certificate must be forwarded: Cert in x-forwarded-client-cert, or Client-Cert")]
    NotWhole,
    /// A proxy other than the terminator wrote the header.
    #[error("the forwarded client certificate was not written by the terminator")]
    OtherWriter,
    /// The header cannot be parsed.
    #[error("the forwarded client certificate is malformed: {0}")]
    Malformed(#[from] InvalidForwardedCertificate),
    /// The peer of the connection is not the terminator, or is no longer configured as the terminator.
    #[error("only the configured terminator may forward client certificates")]
    NotTheTerminator,
}

impl ForwardedHeaders<'_> {
    /// Returns the chain of the one forwarded certificate, the leaf first. Where the terminator is configured by its
    /// SPIFFE ID and the header names its writer, the two must be equal.
    ///
    /// There must be exactly one element: a terminator replaces what a client sends, and never appends to it.
    pub fn chain(&self, terminator: Option<&SpiffeId>) -> Result<Vec<CertificateDer<'static>>, NotForwarded> {
        let Self { forwarded_client_cert, client_cert, client_cert_chain } = self;
        let chain = match (forwarded_client_cert.as_slice(), client_cert.as_slice()) {
            ([], []) => return Err(NotForwarded::Missing),
            ([], lines) => {
                let leaf = parse_client_cert(lines.iter().copied())?;
                let above = parse_client_cert_chain(client_cert_chain.iter().copied())?;
                std::iter::once(leaf).chain(above).collect()
            }
            ([header], []) if client_cert_chain.is_empty() => {
                let elements = parse_forwarded_client_cert(header)?;
                let [element] = elements.as_slice() else { return Err(NotForwarded::Several) };
                let writers = element.by.iter();
                if terminator.is_some_and(|terminator| writers.clone().any(|by| *by != terminator.to_string())) {
                    return Err(NotForwarded::OtherWriter);
                }
                let leaf = element.certificate.clone().ok_or(NotForwarded::NotWhole)?;
                std::iter::once(leaf).chain(element.chain.iter().skip(1).cloned()).collect()
            }
            _ => return Err(NotForwarded::Several),
        };
        let chain: Vec<Vec<u8>> = chain;
        Ok(chain.into_iter().map(CertificateDer::from).collect())
    }
}
