//! The client authentication method (`token_endpoint_auth_method`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use spiffe::SpiffeId;
use spiffe::TrustDomain;

use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::SpiffeIdPattern;
use crate::authority::identity::is_text_of;
use crate::authority::identity::parse_spiffe_id;
use crate::authority::records::InvalidMetadata;
use crate::authority::registration::certificate_subject::CertificateSubject;
use crate::authority::registration::client_id::ClientId;
use crate::authority::registration::jwks_uri::JwksUri;
use crate::authority::registration::metadata::ClientMetadata;
use crate::authority::registration::metadata::invalid;

/// The kinds of SVID with which clients authenticate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SvidKind {
    /// The X509-SVID of the connection: `spiffe_x509`.
    X509,
    /// A JWT-SVID as client assertion: `spiffe_jwt`.
    Jwt,
}

/// A client authentication method, with the data needed to verify it. The first is that of nearly all clients, so that what
/// the others need is kept apart.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenEndpointAuthMethod {
    /// An SVID of this kind, with a SPIFFE ID that is claimed (draft-ietf-oauth-spiffe-client-auth section 3).
    Spiffe(SvidKind, SpiffeClaim),
    /// A certificate of a known CA with this subject (RFC 8705 section 2.1).
    TlsClientAuth(Box<RegisteredSubject>),
    /// One of these registered certificates (RFC 8705 section 2.2).
    SelfSignedTlsClientAuth(Box<RegisteredCertificates>),
    /// One of the certificates that the client publishes at this URL (RFC 8705 section 2.2).
    PublishedTlsClientAuth(Box<JwksUri>),
    /// A JWT of a trusted issuer as client assertion, over a connection with any certificate: `issuer_jwt`.
    IssuerJwt(Box<RegisteredClaims>),
}

/// The SPIFFE ID of a client, or those of its pattern, as text in its only accepted spelling.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SpiffeClaim {
    /// This ID only. The text is that of the `client_id` where the two are the same.
    Exact(Arc<str>),
    /// Every ID that begins with this text, which ends in `/`.
    Below(Arc<str>),
}

impl SpiffeClaim {
    /// What a client with this `client_id` claims by a pattern.
    pub(super) fn new(pattern: SpiffeIdPattern, client_id: &ClientId) -> Self {
        match pattern {
            SpiffeIdPattern::Exact(id) if is_text_of(client_id.as_str(), &id) => Self::Exact(client_id.shared()),
            SpiffeIdPattern::Exact(id) => Self::Exact(id.to_string().into()),
            SpiffeIdPattern::Below(prefix) => Self::Below(prefix.into()),
        }
    }

    /// Whether the ID is claimed.
    pub fn matches(&self, id: &SpiffeId) -> bool {
        match self {
            Self::Exact(text) => is_text_of(text, id),
            Self::Below(prefix) => id.to_string().strip_prefix(&**prefix).is_some_and(|rest| !rest.is_empty()),
        }
    }

    /// The trust domain of what is claimed.
    pub fn trust_domain(&self) -> Option<TrustDomain> {
        let (Self::Exact(text) | Self::Below(text)) = self;
        TrustDomain::new(text.strip_prefix("spiffe://")?.split('/').next()?).ok()
    }
}

/// The text that [`SpiffeIdPattern::parse`] takes.
impl fmt::Display for SpiffeClaim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => formatter.write_str(text),
            Self::Below(prefix) => write!(formatter, "{prefix}*"),
        }
    }
}

/// The subject of a `tls_client_auth` client.
#[derive(Clone, Debug)]
pub struct RegisteredSubject {
    /// The field in which it was registered, with its text.
    pub(in crate::authority) written: (&'static str, String),
    /// The name that the certificate must contain.
    pub subject: CertificateSubject,
    /// The configured name of the CA that must have issued it, if it is restricted to one.
    pub client_ca: Option<String>,
}

/// The same name may be written in several ways.
impl PartialEq for RegisteredSubject {
    fn eq(&self, other: &Self) -> bool {
        self.subject == other.subject && self.client_ca == other.client_ca
    }
}

/// The certificates of a `self_signed_tls_client_auth` client.
#[derive(Clone, Debug)]
pub struct RegisteredCertificates {
    /// The JWK Set that carries them, as JSON.
    pub(in crate::authority) jwks: Arc<str>,
    /// Their thumbprints.
    pub certificates: Vec<CertificateThumbprint>,
}

/// The same certificates may be in several JWK Sets.
impl PartialEq for RegisteredCertificates {
    fn eq(&self, other: &Self) -> bool {
        self.certificates == other.certificates
    }
}

/// What the assertions of an `issuer_jwt` client say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RegisteredClaims {
    /// The trusted issuer, `iss`.
    pub issuer: String,
    /// The subject, `sub`, exactly.
    pub subject: String,
    /// The texts of further claims, by their JSON Pointers (RFC 6901).
    pub claims: BTreeMap<String, String>,
}

/// For people: who is meant.
impl fmt::Display for RegisteredClaims {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} of {}", self.subject, self.issuer)?;
        self.claims.iter().try_for_each(|(pointer, value)| write!(formatter, ", {pointer} {value}"))
    }
}

impl TokenEndpointAuthMethod {
    /// Whether each request must include a JWT-SVID.
    pub fn is_spiffe_jwt(&self) -> bool {
        matches!(self, Self::Spiffe(SvidKind::Jwt, _))
    }

    /// Whether each request must include a client assertion.
    pub fn takes_assertion(&self) -> bool {
        self.is_spiffe_jwt() || matches!(self, Self::IssuerJwt(_))
    }

    /// The only SPIFFE ID that it proves, if it proves exactly one. The bundle of its trust domain proves it.
    pub fn exact_spiffe_id(&self) -> Option<SpiffeId> {
        match self {
            Self::Spiffe(_, SpiffeClaim::Exact(text)) => parse_spiffe_id(text),
            Self::TlsClientAuth(registered) => registered.subject.spiffe_id(),
            Self::Spiffe(_, SpiffeClaim::Below(_))
            | Self::SelfSignedTlsClientAuth(_)
            | Self::PublishedTlsClientAuth(_)
            | Self::IssuerJwt(_) => None,
        }
    }

    /// The value of `token_endpoint_auth_method`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Spiffe(SvidKind::X509, _) => "spiffe_x509",
            Self::Spiffe(SvidKind::Jwt, _) => "spiffe_jwt",
            Self::TlsClientAuth(_) => "tls_client_auth",
            Self::SelfSignedTlsClientAuth(_) | Self::PublishedTlsClientAuth(_) => "self_signed_tls_client_auth",
            Self::IssuerJwt(_) => "issuer_jwt",
        }
    }

    /// For people: what the method expects of a peer.
    pub fn expectation(&self) -> String {
        let name = self.name();
        match self {
            Self::Spiffe(_, claim) => format!("{name} of {claim}"),
            Self::TlsClientAuth(registered) => {
                let (field, text) = &registered.written;
                let issued = registered.client_ca.as_ref().map(|ca| format!(", issued by {ca}")).unwrap_or_default();
                format!("{field} {text}{issued}")
            }
            Self::SelfSignedTlsClientAuth(registered) => {
                let known = registered.certificates.iter().map(|thumbprint| format!(" x5t#S256:{thumbprint}"));
                format!("{name}:{}", known.collect::<String>())
            }
            Self::PublishedTlsClientAuth(uri) => format!("{name}, published at {}", uri.as_str()),
            Self::IssuerJwt(registered) => format!("{name} of {registered}"),
        }
    }

    /// Sets the fields of the metadata in which the method is registered.
    pub(super) fn write(&self, metadata: &mut ClientMetadata) {
        self.name().clone_into(&mut metadata.token_endpoint_auth_method);
        match self {
            Self::Spiffe(_, claim) => metadata.spiffe_id = Some(claim.to_string()),
            Self::TlsClientAuth(registered) => {
                let (field, text) = &registered.written;
                if let Some(place) = CertificateSubject::field(metadata, field) {
                    *place = Some(text.clone());
                }
                metadata.client_ca.clone_from(&registered.client_ca);
            }
            Self::SelfSignedTlsClientAuth(registered) => metadata.jwks = serde_json::from_str(&registered.jwks).ok(),
            Self::PublishedTlsClientAuth(uri) => metadata.jwks_uri = Some(uri.as_str().to_owned()),
            Self::IssuerJwt(registered) => {
                metadata.issuer = Some(registered.issuer.clone());
                metadata.subject = Some(registered.subject.clone());
                metadata.claims.clone_from(&registered.claims);
            }
        }
    }

    /// Checks that a `client_id` that is a SPIFFE ID is the identity that the method proves. `sub` is the `client_id`,
    /// and no client may have the name of another principal (RFC 9068 section 5).
    pub(super) fn fits(&self, client_id: &ClientId) -> Result<(), InvalidMetadata> {
        if !client_id.is_spiffe_id() {
            return Ok(());
        }
        let proves_it = match self {
            Self::Spiffe(_, SpiffeClaim::Exact(text)) => **text == *client_id.as_str(),
            Self::TlsClientAuth(registered) => {
                matches!(&registered.subject, CertificateSubject::Uri(uri) if uri == client_id.as_str())
            }
            Self::Spiffe(_, SpiffeClaim::Below(_))
            | Self::SelfSignedTlsClientAuth(_)
            | Self::PublishedTlsClientAuth(_)
            | Self::IssuerJwt(_) => false,
        };
        if proves_it {
            Ok(())
        } else {
            Err(invalid("client_id", "is a SPIFFE ID that the client would not have proven"))
        }
    }
}
