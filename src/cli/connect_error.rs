//! Why there is no connection, and what to do about it.

use std::error::Error;
use std::io;

use rustls::AlertDescription;
use rustls::CertificateError;

use crate::cli::error::CommandError;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum ConnectError {
    /// No TCP connection.
    #[error("cannot reach the server at {0}: {1}")]
    Unreachable(String, #[source] io::Error),
    /// Neither yes nor no.
    #[error("the server at {0} did not answer within {1} seconds")]
    Silent(String, u64),
    /// The TLS handshake failed.
    #[error("no TLS connection to {0}: {1}")]
    Tls(String, #[source] io::Error),
    /// Our side of the handshake was done, and the server did not begin to speak.
    #[error("the server at {0} refused your certificate ({1})")]
    Refused(String, #[source] io::Error),
}

/// Says what failed and what to do about it.
pub(in crate::cli) fn explain(error: &ConnectError) -> CommandError {
    let next = match error {
        ConnectError::Unreachable(..) => "see whether the server runs, and whether --server names its host and port",
        ConnectError::Silent(..) => {
            "see whether --server names a lanyard server and whether a firewall or proxy is in between"
        }
        ConnectError::Tls(_, cause) => match tls_error(cause) {
            // A bad signature is what a new CA of the old name makes.
            Some(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            )) => "the server's certificate was not issued by a CA in --ca: name the one that issued it",
            Some(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => "use a host name in --server that the server's certificate bears",
            Some(rustls::Error::InvalidCertificate(_)) => "have the server's certificate renewed or mended",
            Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
                "the server there speaks no HTTP/2: see whether --server names the mTLS listener"
            }
            Some(rustls::Error::AlertReceived(_)) => REFUSED_NEXT,
            Some(_) => "see whether --server names the mTLS listener, and look into the server's log",
            None => "the server ended the connection in the handshake: look into its log for the reason",
        },
        ConnectError::Refused(..) => REFUSED_NEXT,
    };
    CommandError::new(error.to_string(), next)
}

/// What to do about a certificate that the server lets nobody in with.
const REFUSED_NEXT: &str = "see that --cert is not expired and was issued by a CA, or in a trust domain, that the server \
    knows; a self-signed one must be registered first (the server's log says why it refused)";

/// The first error of a kind among an error and its causes.
pub(in crate::cli) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).find_map(|cause| cause.downcast_ref::<E>())
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

/// The error at the end of the chain.
pub(in crate::cli) fn root_cause(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}
