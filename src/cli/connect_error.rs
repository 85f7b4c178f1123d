//! The messages for failed connections, each with the next step.

use std::io;

use rustls::AlertDescription;
use rustls::CertificateError;
use rustls_pki_types::CertificateDer;

use crate::authority::clock::Timestamp;
use crate::authority::identity::Certificate;
use crate::authority::trust::Unproven;
use crate::authority::trust::client_fault;
use crate::cli::error::CommandError;
use crate::cli::moment::moment;
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
            FileError::NotACertificate(_) => {
                "name a file with an X.509 certificate; `openssl x509 -noout -text -in FILE` shows what is in it"
            }
            FileError::UnsupportedKey(..) => "have a certificate issued for a key of a kind that is supported",
            FileError::NotTogether(..) => {
                "name the key that the certificate was issued for with --key; in --cert, your own certificate comes first"
            }
        };
        Self::new(error.to_string(), next)
    }
}

/// Turns a failed connection into an error message with the next step. `leaf` is the certificate that was presented.
pub(in crate::cli) fn explain(error: &ConnectError, leaf: Option<&CertificateDer<'_>>, now: Timestamp) -> CommandError {
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
            Some(rustls::Error::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
            )) => "the certificate of --server is not valid yet: the clocks of this machine and of its CA differ",
            Some(rustls::Error::InvalidCertificate(_)) => "have the certificate of --server renewed or reissued",
            Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
                "the server there speaks no HTTP/2: see whether --server names the mTLS listener"
            }
            Some(rustls::Error::AlertReceived(alert)) => return refused(error, Some(*alert), leaf, now),
            Some(_) => "see whether --server names the mTLS listener, and look into the server's log",
            None => "see whether --server names the mTLS listener of a lanyard server, whose log has the reason then",
        },
        ConnectError::Refused(_, cause) => {
            let alert = match tls_error(cause) {
                Some(rustls::Error::AlertReceived(alert)) => Some(*alert),
                Some(_) | None => None,
            };
            return refused(error, alert, leaf, now);
        }
    };
    CommandError::new(error.to_string(), next)
}

/// The message where the server does not accept the certificate. An alert does not say much (RFC 8446 section 6.2:
/// `certificate_expired` is also for a certificate that is not valid yet), so the certificate itself is looked at.
fn refused(
    error: &ConnectError,
    alert: Option<AlertDescription>,
    leaf: Option<&CertificateDer<'_>>,
    now: Timestamp,
) -> CommandError {
    let certificate = leaf.and_then(|leaf| Certificate::parse(leaf).ok());
    let fault = leaf.and_then(|leaf| client_fault(leaf, now));
    let (what, next) = match (fault, &certificate) {
        (Some(Unproven::Expired), Some(own)) => (
            format!("it expired at {}, and the clock of this machine says {}", moment(own.not_after()), moment(now)),
            "have the certificate in --cert renewed; if it should be valid now, set the clock of this machine (the server's log has its reason)",
        ),
        (Some(Unproven::NotYetValid), Some(own)) => (
            format!(
                "it is valid from {} on, and the clock of this machine says {}",
                moment(own.not_before()),
                moment(now)
            ),
            "wait until the certificate in --cert is valid, or set the clock of this machine or of the CA: they differ (the server's log has its reason)",
        ),
        (Some(fault), _) => (
            fault.to_string(),
            "have a certificate issued for --cert that authenticates a client; the server's log has its reason",
        ),
        (None, Some(own)) if alert == Some(AlertDescription::CertificateExpired) => (
            format!(
                "by the clock of this machine it is valid from {} until {}, so the server's clock differs, or a CA \
                 certificate above it has expired or is not valid yet",
                moment(own.not_before()),
                moment(own.not_after())
            ),
            "compare the clocks, and look at the dates of the CA certificates above --cert; the server's log has the reason",
        ),
        (None, _) => match alert {
            Some(AlertDescription::CertificateExpired) => (
                "it, or a CA certificate above it, has expired or is not valid yet".to_owned(),
                "have the certificate in --cert renewed, or compare the clocks: the server's log has the reason",
            ),
            Some(AlertDescription::UnsupportedCertificate) => (
                "it, or a CA above it, is for other uses or has something that is not supported".to_owned(),
                "look into the server's log for the reason, and have the certificate in --cert or its CA issued anew",
            ),
            Some(AlertDescription::CertificateUnknown) => (
                "it breaks a rule of X509-SVID, or one that a CA above it sets".to_owned(),
                "look into the server's log for the reason, and have the certificate in --cert or its CA issued anew",
            ),
            Some(AlertDescription::CertificateRevoked) => (
                "it has been revoked there".to_owned(),
                "ask an admin of the server, or use another one with --cert and --key",
            ),
            Some(_) | None => return CommandError::new(error.to_string(), REFUSED_NEXT),
        },
    };
    CommandError::new(format!("{error}: {what}"), next)
}

/// The next step for a certificate that the server does not accept, without an apparent fault.
const REFUSED_NEXT: &str = "see that --cert was issued by a CA, or in a trust domain, that the server knows; a \
    self-signed one must be registered first (the server's log says why it refused)";

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}
