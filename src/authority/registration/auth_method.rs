//! The client authentication method (`token_endpoint_auth_method`).

use spiffe::SpiffeId;

use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::SpiffeIdPattern;
use crate::authority::identity::parse_spiffe_id;
use crate::authority::records::InvalidMetadata;
use crate::authority::registration::certificate_subject::CertificateSubject;
use crate::authority::registration::client_id::ClientId;
use crate::authority::registration::jwks_uri::JwksUri;
use crate::authority::registration::metadata::invalid;

/// The kinds of SVID with which clients authenticate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SvidKind {
    /// The X509-SVID of the connection: `spiffe_x509`.
    X509,
    /// A JWT-SVID as client assertion: `spiffe_jwt`.
    Jwt,
}

/// A client authentication method, with the data needed to verify it.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenEndpointAuthMethod {
    /// An SVID of this kind, with a SPIFFE ID that the pattern matches (draft-ietf-oauth-spiffe-client-auth section 3).
    Spiffe(SvidKind, SpiffeIdPattern),
    /// A certificate of a known CA with this subject (RFC 8705 section 2.1).
    TlsClientAuth {
        /// The name that the certificate must contain.
        subject: CertificateSubject,
        /// The configured name of the CA that must have issued it, if it is restricted to one.
        client_ca: Option<String>,
    },
    /// One of these registered certificates (RFC 8705 section 2.2).
    SelfSignedTlsClientAuth(Vec<CertificateThumbprint>),
    /// One of the certificates that the client publishes at this URL (RFC 8705 section 2.2).
    PublishedTlsClientAuth(JwksUri),
}

impl TokenEndpointAuthMethod {
    /// Whether each request must include a JWT-SVID.
    pub fn is_spiffe_jwt(&self) -> bool {
        matches!(self, Self::Spiffe(SvidKind::Jwt, _))
    }

    /// The only SPIFFE ID that it proves, if it proves exactly one. The bundle of its trust domain proves it.
    pub fn exact_spiffe_id(&self) -> Option<SpiffeId> {
        match self {
            Self::Spiffe(_, SpiffeIdPattern::Exact(id)) => Some(id.clone()),
            Self::TlsClientAuth { subject: CertificateSubject::Uri(uri), .. } => parse_spiffe_id(uri),
            Self::Spiffe(_, SpiffeIdPattern::Below(_))
            | Self::TlsClientAuth { .. }
            | Self::SelfSignedTlsClientAuth(_)
            | Self::PublishedTlsClientAuth(_) => None,
        }
    }

    /// The value of `token_endpoint_auth_method`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Spiffe(SvidKind::X509, _) => "spiffe_x509",
            Self::Spiffe(SvidKind::Jwt, _) => "spiffe_jwt",
            Self::TlsClientAuth { .. } => "tls_client_auth",
            Self::SelfSignedTlsClientAuth(_) | Self::PublishedTlsClientAuth(_) => "self_signed_tls_client_auth",
        }
    }

    /// Checks that a `client_id` that is a SPIFFE ID is the identity that the method proves. `sub` is the `client_id`,
    /// and no client may have the name of another principal (RFC 9068 section 5).
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
