//! The client certificate verifier of one connection. It calls the authority and keeps the result.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use rustls::CertificateError;
use rustls::DigitallySignedStruct;
use rustls::DistinguishedName;
use rustls::Error;
use rustls::OtherError;
use rustls::SignatureScheme;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::crypto::verify_tls12_signature;
use rustls::crypto::verify_tls13_signature;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerified;
use rustls::server::danger::ClientCertVerifier;
use spiffe::SpiffeId;

use crate::authority::Authority;
use crate::authority::access::PeerConnection;
use crate::authority::identity::PresentedCertificate;
use crate::authority::identity::Proof;
use crate::authority::trust::Unproven;
use crate::tls::ClientAuth;
use crate::tls::possession;

/// Serves one handshake. rustls's own verifier pools all roots and does not keep what it found.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    authority: Arc<Authority>,
    provider: Arc<CryptoProvider>,
    client_auth: ClientAuth,
    /// The only SPIFFE ID that is accepted, if set.
    only: Option<SpiffeId>,
    outcome: Mutex<Option<Result<PeerConnection, Rejected>>>,
}

/// A certificate that is not accepted.
#[derive(Debug)]
pub(super) struct Rejected {
    /// Why no rule accepts it; `None` where it is not that of the only peer that is accepted.
    pub(super) unproven: Option<Unproven>,
    /// What it says of its holder.
    pub(super) certificate: PresentedCertificate,
}

impl PeerVerifier {
    pub(super) fn new(authority: Arc<Authority>, provider: Arc<CryptoProvider>, client_auth: ClientAuth) -> Self {
        Self { authority, provider, client_auth, only: None, outcome: Mutex::default() }
    }

    /// Accepts this peer only, and requires its certificate.
    pub(super) fn only_for(self, peer: SpiffeId) -> Self {
        Self { client_auth: ClientAuth::Require, only: Some(peer), ..self }
    }

    /// The key of the certificate, if that has a path to an anchor. Another one is also parsed by rustls, which refuses X.509
    /// version 1 and unknown critical extensions; a path has the same rules of its own.
    fn proven_key(&self) -> Option<SubjectPublicKeyInfoDer<'static>> {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = outcome.as_ref().and_then(|outcome| outcome.as_ref().ok())?.identity();
        match peer.proof() {
            Proof::Svid(_) | Proof::Pki(_) => Some(peer.certificate().public_key().to_vec().into()),
            Proof::SelfSigned | Proof::Unknown => None,
        }
    }

    /// The result of the verification; `None` if the handshake ended before it.
    pub(super) fn take(&self) -> Option<Result<PeerConnection, Rejected>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.client_auth == ClientAuth::Require
    }

    /// Sends no hints. A client must not learn before the handshake which CAs and trust domains are configured here,
    /// and a client with a self-signed certificate would not send it if it saw a list of issuers.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain = std::iter::once(end_entity).chain(intermediates).map(|one| one.clone().into_owned()).collect();
        let is_expected =
            |peer: &PeerConnection| self.only.as_ref().is_none_or(|only| peer.identity().spiffe_id() == Some(only));
        let (outcome, verified) = match self.authority.admit(chain) {
            Ok(peer) if is_expected(&peer) => (Ok(peer), Ok(ClientCertVerified::assertion())),
            Ok(_) => (Err(None), Err(CertificateError::ApplicationVerificationFailure)),
            Err(unproven) => (Err(Some(unproven)), Err(alert(unproven))),
        };
        let outcome = outcome
            .map_err(|unproven| Rejected { unproven, certificate: PresentedCertificate::of(end_entity.as_ref()) });
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        verified.map_err(Error::InvalidCertificate)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if let Some(key) = self.proven_key() {
            return possession::verify_tls12(message, &key, signature, &self.provider);
        }
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if let Some(key) = self.proven_key() {
            return possession::verify_tls13(message, &key, signature, &self.provider);
        }
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The TLS alert that the peer receives (RFC 8446 section 6.2): `certificate_expired` for one that has expired or is not
/// valid yet, `bad_certificate` for a broken one, `unknown_ca` where no path is found, `unsupported_certificate` for a
/// certificate or a CA that is for other uses or of a kind that is not supported, `certificate_revoked`, and
/// `certificate_unknown` for every other rule.
fn alert(unproven: Unproven) -> CertificateError {
    match unproven {
        Unproven::Expired | Unproven::IssuerExpired => CertificateError::Expired,
        Unproven::NotYetValid | Unproven::IssuerNotYetValid => CertificateError::NotValidYet,
        Unproven::Invalid(_) | Unproven::ChainSize => CertificateError::BadEncoding,
        Unproven::UnknownTrustDomain | Unproven::StaleBundle | Unproven::NoPath | Unproven::Unknown => {
            CertificateError::UnknownIssuer
        }
        Unproven::KeyUsage
        | Unproven::ExtendedKeyUsage
        | Unproven::UnsupportedVersion
        | Unproven::UnsupportedKey
        | Unproven::UnsupportedSignature
        | Unproven::CriticalExtension(_)
        | Unproven::IssuerKeyUsage
        | Unproven::IssuerExtendedKeyUsage => CertificateError::InvalidPurpose,
        Unproven::Revoked | Unproven::IdentityRevoked => CertificateError::Revoked,
        Unproven::SeveralUris
        | Unproven::InvalidSpiffeId
        | Unproven::SigningCertificate
        | Unproven::NamesNotCritical
        | Unproven::IssuerNotCa
        | Unproven::IssuerSpiffeId
        | Unproven::PathLength
        | Unproven::NameConstraints
        | Unproven::UnsupportedNameConstraints
        | Unproven::PolicyRequired
        | Unproven::PathTooComplex => CertificateError::Other(OtherError(Arc::new(unproven))),
    }
}
