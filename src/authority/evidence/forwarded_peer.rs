//! Peers whose TLS ended before Lanyard: a terminator passes their certificates on in a header.
//!
//! Nothing of this holds on the mTLS listener, where such headers are not looked at.

use rustls_pki_types::CertificateDer;
use spiffe::SpiffeId;

use crate::authority::evidence::forwarded_certificate::InvalidForwardedCertificate;
use crate::authority::evidence::forwarded_certificate::parse_client_cert;
use crate::authority::evidence::forwarded_certificate::parse_client_cert_chain;
use crate::authority::evidence::forwarded_certificate::parse_forwarded_client_cert;

/// The headers that certificates are passed on in, as they came: each line by itself.
#[derive(Debug, Default)]
pub struct ForwardedHeaders<'a> {
    /// `x-forwarded-client-cert`.
    pub forwarded_client_cert: Vec<&'a [u8]>,
    /// `client-cert` (RFC 9440 section 2.2).
    pub client_cert: Vec<&'a [u8]>,
    /// `client-cert-chain` (RFC 9440 section 2.3).
    pub client_cert_chain: Vec<&'a [u8]>,
}

/// Why no certificate was passed on with a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotForwarded {
    /// No header, or a chain without a certificate.
    #[error("no client certificate was forwarded with this request")]
    Missing,
    /// Two headers that may say two things, or one header twice.
    #[error("more than one client certificate was forwarded with this request")]
    Several,
    /// Only its hash or its names.
    #[error("the whole client certificate must be forwarded: Cert in x-forwarded-client-cert, or Client-Cert")]
    NotWhole,
    /// Another proxy than the terminator wrote the header.
    #[error("the forwarded client certificate was not written by the terminator")]
    OtherWriter,
    /// It cannot be read.
    #[error("the forwarded client certificate is malformed: {0}")]
    Malformed(#[from] InvalidForwardedCertificate),
    /// The connection is not, or no longer, the terminator's.
    #[error("only the configured terminator may forward client certificates")]
    NotTheTerminator,
}

impl ForwardedHeaders<'_> {
    /// The chain of the one certificate that is passed on, itself first. Where the terminator is known by its SPIFFE ID and
    /// the header says who wrote it, the two must be the same.
    ///
    /// There is exactly one element: the terminator replaces what a client sends, and never appends to it.
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
