//! Verifies a server by its SPIFFE ID, not by its host name or by the CAs of the web.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::CertificateError;
use rustls::DigitallySignedStruct;
use rustls::Error;
use rustls::OtherError;
use rustls::SignatureScheme;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;
use spiffe::SpiffeId;

use crate::authority::clock::Timestamp;
use crate::authority::trust::Anchors;
use crate::tls::possession;

/// Accepts only a server whose X509-SVID has this SPIFFE ID and chains to the current roots of its trust domain.
#[derive(Debug)]
pub(super) struct SvidServerVerifier {
    pub(super) id: SpiffeId,
    pub(super) roots: Arc<ArcSwap<Anchors>>,
    pub(super) provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for SvidServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
        match self.roots.load().prove_server(&chain, Timestamp(now.as_secs())) {
            Ok(id) if id == self.id => Ok(ServerCertVerified::assertion()),
            Ok(_) => Err(Error::InvalidCertificate(CertificateError::NotValidForName)),
            Err(unproven) => Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(unproven))))),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        possession::verify_tls12(message, &possession::public_key(certificate)?, signature, &self.provider)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        possession::verify_tls13(message, &possession::public_key(certificate)?, signature, &self.provider)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
