//! The messages for failed connections, each with the next step.

use std::io;

use rustls::AlertDescription;
use rustls::CertificateError;

use crate::cli::error::CommandError;
use crate::client::connection::ConnectError;
use crate::client::files::FileError;

impl From<FileError> for CommandError {
    fn from(error: FileError) -> Self {
        let next = match &error {
            FileError::Unreadable(..) => "see whether the path is right and whether you may read it",
            FileError::NotPem(_) | FileError::NoCertificate(_) => {
                "name a file with -----BEGIN CERTIFICATE----- blocks, the workload's own certificate first"
            }
            FileError::NoKey(_) => {
                "name a file with a -----BEGIN PRIVATE KEY----- block; mind that --cert and --key differ"
            }
            FileError::EncryptedKey(_) => {
                "decrypt it with `openssl pkey -in FILE -out FILE`, in a place that only you can read"
            }
            FileError::NotCa(..) => "name the PEM file of the CA that issued the server's certificate with --ca",
            FileError::NotTogether(..) => {
                "name the key that the certificate was issued for; in --cert, your own certificate comes first"
            }
        };
        Self::new(error.to_string(), next)
    }
}

/// Turns a failed connection into an error message with the next step.
pub(in crate::cli) fn explain(error: &ConnectError) -> CommandError {
    let next = match error {
        ConnectError::Unreachable(..) => "see whether the server runs, and whether --server names its host and port",
        ConnectError::TimedOut(..) => {
            "see whether --server names a lanyard server and whether a firewall or proxy is in between"
        }
        ConnectError::Tls(_, cause) => match tls_error(cause) {
            // A new CA with the name of the old one shows as a bad signature.
            Some(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            )) => "the server's certificate was not issued by a CA in --ca: name the one that issued it",
            Some(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => "use a host name in --server that the server's certificate contains",
            Some(rustls::Error::InvalidCertificate(_)) => "have the server's certificate renewed or reissued",
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

/// The next step for a certificate that the server does not accept.
const REFUSED_NEXT: &str = "see that --cert is not expired and was issued by a CA, or in a trust domain, that the server \
    knows; a self-signed one must be registered first (the server's log says why it refused)";

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}
