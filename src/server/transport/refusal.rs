//! Handshakes that fail.

use tokio::net::TcpStream;

use crate::authority::Authority;
use crate::authority::access::ConnectionInfo;
use crate::authority::identity::PresentedCertificate;
use crate::authority::observe::HandshakeError;
use crate::tls::acceptor::Refusal;
use crate::tls::acceptor::Refused;

/// Records why a handshake failed, and closes its connection.
pub(in crate::server::transport) async fn refuse(
    refusal: Refusal<TcpStream>,
    info: ConnectionInfo,
    authority: &Authority,
) {
    record_refusal(&refusal.why, refusal.certificate.as_ref(), info, authority);
    refusal.close().await;
}

pub(in crate::server::transport) fn record_refusal(
    why: &Refused,
    certificate: Option<&PresentedCertificate>,
    info: ConnectionInfo,
    authority: &Authority,
) {
    let error = match why {
        Refused::Unproven(unproven) => HandshakeError::Unproven(*unproven),
        Refused::Handshake(_) => HandshakeError::HandshakeFailed,
        Refused::ProxyHeader(_) => HandshakeError::ProxyHeader,
        Refused::Slow => HandshakeError::TooSlow,
        Refused::Displaced => HandshakeError::Displaced,
    };
    authority.report_handshake(info, certificate, error, &why.to_string());
}
