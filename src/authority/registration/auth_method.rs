//! How a client authenticates (`token_endpoint_auth_method`).

use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::SpiffeIdPattern;
use crate::authority::records::InvalidMetadata;
use crate::authority::registration::certificate_subject::CertificateSubject;
use crate::authority::registration::client_id::ClientId;
use crate::authority::registration::jwks_uri::JwksUri;
use crate::authority::registration::metadata::invalid;

/// The kinds of SVIDs that clients authenticate by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SvidKind {
    /// The X509-SVID of the connection: `spiffe_x509`.
    X509,
    /// A JWT-SVID as client assertion: `spiffe_jwt`.
    Jwt,
}

/// How a client proves who it is, with all that the proof needs.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenEndpointAuthMethod {
    /// By an SVID of this kind, for one of these SPIFFE IDs (draft-ietf-oauth-spiffe-client-auth section 3).
    Spiffe(SvidKind, SpiffeIdPattern),
    /// By a certificate of a known CA with this subject (RFC 8705 section 2.1).
    TlsClientAuth {
        /// The one name that the certificate must bear.
        subject: CertificateSubject,
        /// The one CA that must vouch for it, by its configured name.
        client_ca: Option<String>,
    },
    /// By one of these very certificates (RFC 8705 section 2.2).
    SelfSignedTlsClientAuth(Vec<CertificateThumbprint>),
    /// The same by one of those that the client publishes there.
    PublishedTlsClientAuth(JwksUri),
}

impl TokenEndpointAuthMethod {
    /// Whether a JWT-SVID has to come with each request.
    pub fn is_spiffe_jwt(&self) -> bool {
        matches!(self, Self::Spiffe(SvidKind::Jwt, _))
    }

    /// The method's registered name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Spiffe(SvidKind::X509, _) => "spiffe_x509",
            Self::Spiffe(SvidKind::Jwt, _) => "spiffe_jwt",
            Self::TlsClientAuth { .. } => "tls_client_auth",
            Self::SelfSignedTlsClientAuth(_) | Self::PublishedTlsClientAuth(_) => "self_signed_tls_client_auth",
        }
    }

    /// A `client_id` that is a SPIFFE ID must be the identity that the method proves: `sub` is the `client_id`, and nobody
    /// may be named after another principal (RFC 9068 section 5).
    pub(super) fn fits(&self, client_id: &ClientId) -> Result<(), InvalidMetadata> {
        let Some(named) = client_id.spiffe_id() else { return Ok(()) };
        let proves_it = match self {
            Self::Spiffe(_, pattern) => *pattern == SpiffeIdPattern::Exact(named),
            Self::TlsClientAuth { subject, .. } => *subject == CertificateSubject::Uri(named.to_string()),
            Self::SelfSignedTlsClientAuth(_) | Self::PublishedTlsClientAuth(_) => false,
        };
        if proves_it {
            Ok(())
        } else {
            Err(invalid("client_id", "is a SPIFFE ID that the client would not have proven"))
        }
    }
}
