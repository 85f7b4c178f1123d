//! Client registrations, parsed into the form that decisions use. Contradictory metadata is rejected with the name of
//! the field.

use std::time::Duration;

use crate::authority::identity::SpiffeIdPattern;
use crate::authority::identity::is_spiffe_uri;
use crate::authority::records::InvalidMetadata;
use crate::authority::records::Kind;
use crate::authority::records::Record;
use crate::authority::records::Registered;
use crate::authority::records::Registration;
use crate::authority::registration::auth_method::SvidKind;
use crate::authority::registration::auth_method::TokenEndpointAuthMethod;
use crate::authority::registration::certificate_subject::CertificateSubject;
use crate::authority::registration::client_id::ClientId;
use crate::authority::registration::dynamic_registration::DynamicRegistration;
use crate::authority::registration::jwks;
use crate::authority::registration::jwks_uri::JwksUri;
use crate::authority::registration::metadata::ClientMetadata;
use crate::authority::registration::metadata::invalid;
use crate::authority::scope::Scope;
use crate::authority::scope::distinct;
use crate::authority::scope::is_audience_count;
use crate::authority::scope::is_resource_indicator;

/// The lifetime of tokens if the registration sets none.
const DEFAULT_TTL: Duration = Duration::from_mins(5);

/// The longest lifetime that a registration may set. It limits how long a token stays valid after a stolen identity is
/// discovered.
pub const MAX_TTL: Duration = Duration::from_hours(1);

/// The prefix of all keys of clients in the store.
pub const CLIENTS: &str = "/clients/";

/// The stored data of a client other than its metadata.
pub type ClientRecord = Record<String, Option<DynamicRegistration>>;

/// A client registration that is in effect.
pub type RegisteredClient = Registered<ClientRegistration>;

const CLIENT_CREDENTIALS: &str = "client_credentials";

/// Whether a token stays valid when the certificate that it is bound to is renewed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rotation {
    /// The token is refused (RFC 8705 section 6.3).
    Strict,
    /// The token is accepted with a newer certificate of the same SPIFFE ID, or with one that has the same key.
    Identity,
    /// The token is accepted with the successor that the holder of the certificate announced.
    Lineage,
}

/// The validated metadata of a client.
#[derive(Clone, Debug)]
pub struct ClientRegistration {
    /// The metadata in normal form: defaults filled in, certificates as `jwks`.
    pub metadata: ClientMetadata,
    /// The client's identifier.
    pub client_id: ClientId,
    /// The method by which the client authenticates.
    pub method: TokenEndpointAuthMethod,
    /// The scopes that the client may request.
    pub scope: Scope,
    /// Whether its tokens must be bound, regardless of the global setting.
    pub bound: bool,
    /// The maximum lifetime of its tokens.
    pub access_token_ttl: Duration,
    /// Whether its tokens stay valid with a renewed certificate.
    pub rotation: Rotation,
}

impl Registration for ClientRegistration {
    type Metadata = ClientMetadata;
    type CreationId = String;
    type Dynamic = Option<DynamicRegistration>;

    const KIND: Kind = Kind::Client;
    const PREFIX: &'static str = CLIENTS;
    const SCHEMA: u32 = 1;

    fn metadata(&self) -> &ClientMetadata {
        &self.metadata
    }

    fn name(&self) -> &str {
        self.client_id.as_str()
    }

    fn suspend(&mut self) {
        self.metadata.disabled = true;
    }

    fn parse(metadata: ClientMetadata) -> Result<Self, InvalidMetadata> {
        Self::parse(metadata)
    }
}

impl ClientRegistration {
    /// Parses metadata. Contradictory metadata is rejected with the name of the field.
    pub fn parse(metadata: ClientMetadata) -> Result<Self, InvalidMetadata> {
        let mut metadata = metadata;
        let client_id = ClientId::parse(&metadata.client_id).ok_or_else(|| {
            invalid("client_id", "must be 1 to 2048 visible ASCII characters, and well-formed if it is a SPIFFE ID")
        })?;
        let method = read_method(&mut metadata)?;
        method.fits(&client_id)?;
        let scope = Scope::parse(&metadata.scope).map_err(|error| invalid("scope", &error.to_string()))?;
        metadata.scope = scope.to_string();
        if !is_audience_count(metadata.audience.len()) || metadata.audience.is_empty() {
            return Err(invalid(
                "audience",
                "name at least one protected resource that its tokens are for, and not too many",
            ));
        }
        if let Some(bad) = metadata.audience.iter().find(|audience| !is_resource_indicator(audience)) {
            return Err(invalid(
                "audience",
                &format!("'{}' is not an absolute URI without a fragment (RFC 8707)", bad.escape_default()),
            ));
        }
        metadata.audience = distinct(&metadata.audience);
        if metadata.grant_types.is_empty() {
            metadata.grant_types.push(CLIENT_CREDENTIALS.to_owned());
        }
        if metadata.grant_types != [CLIENT_CREDENTIALS] {
            return Err(invalid("grant_types", "only client_credentials is served"));
        }
        let bound = *metadata.tls_client_certificate_bound_access_tokens.get_or_insert(true);
        let access_token_ttl = read_ttl(&mut metadata)?;
        let rotation = match metadata.rotation.get_or_insert_with(|| "strict".to_owned()).as_str() {
            "strict" => Rotation::Strict,
            "identity" => Rotation::Identity,
            "lineage" => Rotation::Lineage,
            _ => return Err(invalid("rotation", "must be strict, identity or lineage")),
        };
        if rotation != Rotation::Strict && !matches!(method, TokenEndpointAuthMethod::Spiffe(..)) {
            return Err(invalid(
                "rotation",
                "must be strict: only the certificates of SPIFFE clients have an identity to follow",
            ));
        }
        Ok(Self { metadata, client_id, method, scope, bound, access_token_ttl, rotation })
    }

    /// The URL at which the client publishes its certificates, if it does.
    pub fn jwks_uri(&self) -> Option<&JwksUri> {
        match &self.method {
            TokenEndpointAuthMethod::PublishedTlsClientAuth(uri) => Some(uri),
            TokenEndpointAuthMethod::Spiffe(..)
            | TokenEndpointAuthMethod::TlsClientAuth { .. }
            | TokenEndpointAuthMethod::SelfSignedTlsClientAuth(_) => None,
        }
    }

    /// Whether what authenticates the client is still what it was before. A client with the same exact SPIFFE ID is the
    /// same workload under any method; a self-signed client keeps its authentication while one of its certificates stays.
    pub fn keeps_authentication(&self, before: &Self) -> bool {
        use TokenEndpointAuthMethod::SelfSignedTlsClientAuth;
        match (self.method.exact_spiffe_id(), before.method.exact_spiffe_id()) {
            (Some(now), Some(then)) => return now == then,
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => return false,
        }
        if let (SelfSignedTlsClientAuth(now), SelfSignedTlsClientAuth(then)) = (&self.method, &before.method) {
            return now.iter().any(|certificate| then.contains(certificate));
        }
        self.method == before.method
    }

    /// Names the client CA that must have issued the certificate. Has no effect on a client of another method.
    pub(in crate::authority) fn pin_client_ca(&mut self, name: &str) {
        if let TokenEndpointAuthMethod::TlsClientAuth { client_ca, .. } = &mut self.method {
            *client_ca = Some(name.to_owned());
            self.metadata.client_ca.clone_from(client_ca);
        }
    }

    /// Whether any client CA may have issued the client's certificate, because the registration names none.
    pub fn takes_any_client_ca(&self) -> bool {
        match &self.method {
            TokenEndpointAuthMethod::TlsClientAuth { client_ca, .. } => {
                client_ca.is_none() && self.method.exact_spiffe_id().is_none()
            }
            TokenEndpointAuthMethod::Spiffe(..)
            | TokenEndpointAuthMethod::SelfSignedTlsClientAuth(_)
            | TokenEndpointAuthMethod::PublishedTlsClientAuth(_) => false,
        }
    }

    /// The field in which this registration exceeds the limit `most`, if any.
    pub fn exceeded_field(&self, most: &Self) -> Option<&'static str> {
        let audience = &most.metadata.audience;
        if !most.scope.covers(&self.scope) {
            Some("scope")
        } else if !self.metadata.audience.iter().all(|one| audience.contains(one)) {
            Some("audience")
        } else if self.access_token_ttl > most.access_token_ttl {
            Some("access_token_ttl")
        } else if self.rotation != Rotation::Strict && self.rotation != most.rotation {
            Some("rotation")
        } else if most.method.is_spiffe_jwt() && !self.method.is_spiffe_jwt() {
            // The authentication would be weaker than the operator requires.
            Some("token_endpoint_auth_method")
        } else {
            None
        }
    }
}

fn read_method(metadata: &mut ClientMetadata) -> Result<TokenEndpointAuthMethod, InvalidMetadata> {
    const SUBJECTS: &str = "goes only with token_endpoint_auth_method tls_client_auth";
    let named = metadata.token_endpoint_auth_method.clone();
    let subjects = CertificateSubject::registered_in(metadata);
    if named != "tls_client_auth" {
        if let Some((field, _)) = subjects.first() {
            return Err(invalid(field, SUBJECTS));
        }
        if metadata.client_ca.is_some() {
            return Err(invalid("client_ca", SUBJECTS));
        }
    }
    if !matches!(named.as_str(), "spiffe_x509" | "spiffe_jwt") && metadata.spiffe_id.is_some() {
        return Err(invalid("spiffe_id", "goes only with token_endpoint_auth_method spiffe_x509 or spiffe_jwt"));
    }
    if named != "self_signed_tls_client_auth" {
        const CERTIFICATES: &str = "goes only with token_endpoint_auth_method self_signed_tls_client_auth";
        if metadata.jwks.is_some() {
            return Err(invalid("jwks", CERTIFICATES));
        }
        if metadata.jwks_uri.is_some() {
            return Err(invalid("jwks_uri", CERTIFICATES));
        }
        if metadata.certificate_pem.is_some() {
            return Err(invalid("certificate_pem", CERTIFICATES));
        }
    }
    match named.as_str() {
        "spiffe_x509" => Ok(TokenEndpointAuthMethod::Spiffe(SvidKind::X509, read_spiffe_id(metadata)?)),
        "spiffe_jwt" => Ok(TokenEndpointAuthMethod::Spiffe(SvidKind::Jwt, read_spiffe_id(metadata)?)),
        "tls_client_auth" => match subjects.as_slice() {
            [(field, text)] => {
                let subject = CertificateSubject::parse(field, text)?;
                if metadata.client_ca.is_some()
                    && matches!(&subject, CertificateSubject::Uri(uri) if is_spiffe_uri(uri))
                {
                    let problem = "no client CA vouches for a SPIFFE ID: its trust domain's bundle does";
                    return Err(invalid("client_ca", problem));
                }
                Ok(TokenEndpointAuthMethod::TlsClientAuth { subject, client_ca: metadata.client_ca.clone() })
            }
            // RFC 8705 section 2.1.2: exactly one subject field must be set.
            [] => Err(invalid(
                "tls_client_auth_subject_dn",
                "tls_client_auth needs one of the five tls_client_auth_* fields",
            )),
            [_, (second, _), ..] => {
                Err(invalid(second, "tls_client_auth takes exactly one of the five tls_client_auth_* fields"))
            }
        },
        "self_signed_tls_client_auth" => jwks::read(metadata),
        _ => Err(invalid(
            "token_endpoint_auth_method",
            "must be spiffe_x509, spiffe_jwt, tls_client_auth or self_signed_tls_client_auth",
        )),
    }
}

fn read_spiffe_id(metadata: &mut ClientMetadata) -> Result<SpiffeIdPattern, InvalidMetadata> {
    if metadata.spiffe_id.is_none() && !is_spiffe_uri(&metadata.client_id) {
        return Err(invalid("spiffe_id", "must be set where the client_id is not a SPIFFE ID"));
    }
    let text = metadata.spiffe_id.get_or_insert_with(|| metadata.client_id.clone());
    SpiffeIdPattern::parse(text)
        .ok_or_else(|| invalid("spiffe_id", "must be a SPIFFE ID with a path, or one followed by /* for all below it"))
}

fn read_ttl(metadata: &mut ClientMetadata) -> Result<Duration, InvalidMetadata> {
    let ttl = *metadata.access_token_ttl.get_or_insert(DEFAULT_TTL);
    if ttl < Duration::from_secs(1) || ttl > MAX_TTL || ttl.subsec_nanos() != 0 {
        return Err(invalid("access_token_ttl", "must be whole seconds, from 1s to 1h"));
    }
    Ok(ttl)
}
