//! Client registrations, parsed into the form that decisions use. Contradictory metadata is rejected with the name of
//! the field.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::authority::identity::SpiffeIdPattern;
use crate::authority::identity::is_spiffe_uri;
use crate::authority::records::InvalidMetadata;
use crate::authority::records::Kind;
use crate::authority::records::MANAGER_SHAPE;
use crate::authority::records::Record;
use crate::authority::records::Registered;
use crate::authority::records::Registration;
use crate::authority::records::is_manager;
use crate::authority::registration::auth_method::RegisteredCertificates;
use crate::authority::registration::auth_method::RegisteredSubject;
use crate::authority::registration::auth_method::SpiffeClaim;
use crate::authority::registration::auth_method::SvidKind;
use crate::authority::registration::auth_method::TokenEndpointAuthMethod;
use crate::authority::registration::certificate_subject::CertificateSubject;
use crate::authority::registration::client_id::ClientId;
use crate::authority::registration::dynamic_registration::DynamicRegistration;
use crate::authority::registration::exchange::ExchangeTerms;
use crate::authority::registration::grant_types;
use crate::authority::registration::issuer_claims;
use crate::authority::registration::jwks;
use crate::authority::registration::jwks_uri::JwksUri;
use crate::authority::registration::metadata::ClientMetadata;
use crate::authority::registration::metadata::invalid;
use crate::authority::registration::terms::Rotation;
use crate::authority::registration::terms::Terms;
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

/// The schema of the records of clients with `managed_by`.
pub(in crate::authority) const CLIENT_WITH_MANAGER: u32 = 2;

/// The schema of the records of clients that say something about token exchange.
pub(in crate::authority) const CLIENT_WITH_EXCHANGE: u32 = 3;

/// The schema of the records of clients by `issuer_jwt`.
pub(in crate::authority) const CLIENT_BY_ISSUER: u32 = 4;

/// The schema of all others.
const WITHOUT_MANAGER: u32 = 1;

/// The stored data of a client other than its metadata.
pub type ClientRecord = Record<Box<str>, Option<Box<DynamicRegistration>>>;

/// A client registration that is in effect.
pub type RegisteredClient = Registered<ClientRegistration>;

/// The validated metadata of a client. There may be a million in memory: what many have in common they share, and the
/// metadata is printed when it is asked for.
#[derive(Clone, Debug)]
pub struct ClientRegistration {
    /// The client's identifier.
    pub client_id: ClientId,
    /// The method by which the client authenticates.
    pub method: TokenEndpointAuthMethod,
    /// What the client may request.
    pub terms: Arc<Terms>,
    /// Whether the client is disabled.
    pub disabled: bool,
}

impl Registration for ClientRegistration {
    type Metadata = ClientMetadata;
    type CreationId = Box<str>;
    type Dynamic = Option<Box<DynamicRegistration>>;

    const KIND: Kind = Kind::Client;
    const PREFIX: &'static str = CLIENTS;
    const SCHEMA: u32 = CLIENT_BY_ISSUER;

    fn metadata(&self) -> Cow<'_, ClientMetadata> {
        Cow::Owned(self.metadata())
    }

    fn name(&self) -> &str {
        self.client_id.as_str()
    }

    fn schema(&self) -> u32 {
        if matches!(self.method, TokenEndpointAuthMethod::IssuerJwt(_)) {
            CLIENT_BY_ISSUER
        } else if self.terms.exchange.is_some() {
            CLIENT_WITH_EXCHANGE
        } else if self.terms.managed_by.is_some() {
            CLIENT_WITH_MANAGER
        } else {
            WITHOUT_MANAGER
        }
    }

    fn suspend(&mut self) {
        self.disabled = true;
    }

    /// It takes the place of the SPIFFE ID or pattern that the record names, so that no wider pattern applies there.
    fn outline(name: &str, metadata: &Value) -> Option<Self> {
        let client_id = ClientId::parse(name)?;
        let text = |member| metadata.get(member).and_then(Value::as_str).map(ToOwned::to_owned);
        let spiffe_id = text("spiffe_id").or_else(|| client_id.spiffe_id().map(|id| id.to_string()));
        let is_jwt = text("token_endpoint_auth_method").as_deref() == Some("spiffe_jwt");
        let kind = if is_jwt { SvidKind::Jwt } else { SvidKind::X509 };
        let method = if let Some(pattern) = spiffe_id.as_deref().and_then(SpiffeIdPattern::parse) {
            TokenEndpointAuthMethod::Spiffe(kind, SpiffeClaim::new(pattern, &client_id))
        } else {
            let none = RegisteredCertificates { jwks: r#"{"keys":[]}"#.into(), certificates: Vec::new() };
            TokenEndpointAuthMethod::SelfSignedTlsClientAuth(Box::new(none))
        };
        let terms = Terms {
            scope: Scope::default(),
            audience: Vec::new(),
            bound: true,
            access_token_ttl: DEFAULT_TTL,
            rotation: Rotation::Strict,
            exchange: None,
            owner: text("owner"),
            managed_by: text("managed_by"),
        };
        Some(Self { client_id, method, terms: Arc::new(terms), disabled: true })
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
        let method = read_method(&mut metadata, &client_id)?;
        method.fits(&client_id)?;
        let scope = Scope::parse(&metadata.scope).map_err(|error| invalid("scope", &error.to_string()))?;
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
        let audience = distinct(&metadata.audience);
        let grants = grant_types::read(&metadata.grant_types)?;
        let said = (metadata.exchange.as_slice(), metadata.delegates.as_deref(), metadata.txn.as_slice());
        let exchange = ExchangeTerms::parse(grants, &audience, said)?;
        let bound = metadata.tls_client_certificate_bound_access_tokens.unwrap_or(true);
        let access_token_ttl = read_ttl(metadata.access_token_ttl)?;
        let rotation = metadata.rotation.as_deref().map_or(Some(Rotation::Strict), Rotation::parse);
        let rotation = rotation.ok_or_else(|| invalid("rotation", "must be strict, identity or lineage"))?;
        if rotation != Rotation::Strict && !matches!(method, TokenEndpointAuthMethod::Spiffe(..)) {
            return Err(invalid(
                "rotation",
                "must be strict: only the certificates of SPIFFE clients have an identity to follow",
            ));
        }
        if !is_manager(metadata.managed_by.as_deref()) {
            return Err(invalid("managed_by", MANAGER_SHAPE));
        }
        let terms = Terms {
            scope,
            audience,
            bound,
            access_token_ttl,
            rotation,
            exchange,
            owner: metadata.owner,
            managed_by: metadata.managed_by,
        };
        Ok(Self { client_id, method, terms: Arc::new(terms), disabled: metadata.disabled })
    }

    /// The metadata in normal form: defaults filled in, certificates as `jwks`.
    pub fn metadata(&self) -> ClientMetadata {
        let Terms { scope, audience, bound, access_token_ttl, rotation, exchange, owner, managed_by } = &*self.terms;
        let others = exchange.as_ref().map(|exchange| (exchange.granted, exchange.uses_grants)).unwrap_or_default();
        let mut metadata = ClientMetadata {
            client_id: self.client_id.to_string(),
            scope: scope.to_string(),
            audience: audience.clone(),
            grant_types: grant_types::write(others),
            tls_client_certificate_bound_access_tokens: Some(*bound),
            access_token_ttl: Some(*access_token_ttl),
            rotation: Some(rotation.name().to_owned()),
            owner: owner.clone(),
            managed_by: managed_by.clone(),
            disabled: self.disabled,
            ..ClientMetadata::default()
        };
        self.method.write(&mut metadata);
        if let Some(exchange) = exchange {
            exchange.write(&mut metadata);
        }
        metadata
    }

    /// The URL at which the client publishes its certificates, if it does.
    pub fn jwks_uri(&self) -> Option<&JwksUri> {
        match &self.method {
            TokenEndpointAuthMethod::PublishedTlsClientAuth(uri) => Some(uri),
            TokenEndpointAuthMethod::Spiffe(..)
            | TokenEndpointAuthMethod::TlsClientAuth(_)
            | TokenEndpointAuthMethod::SelfSignedTlsClientAuth(_)
            | TokenEndpointAuthMethod::IssuerJwt(_) => None,
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
            return now.certificates.iter().any(|certificate| then.certificates.contains(certificate));
        }
        self.method == before.method
    }

    /// Names the client CA that must have issued the certificate. Has no effect on a client of another method.
    pub(in crate::authority) fn pin_client_ca(&mut self, name: &str) {
        if let TokenEndpointAuthMethod::TlsClientAuth(registered) = &mut self.method {
            registered.client_ca = Some(name.to_owned());
        }
    }

    /// Whether any client CA may have issued the client's certificate, because the registration names none.
    pub fn takes_any_client_ca(&self) -> bool {
        match &self.method {
            TokenEndpointAuthMethod::TlsClientAuth(registered) => {
                registered.client_ca.is_none() && registered.subject.spiffe_id().is_none()
            }
            TokenEndpointAuthMethod::Spiffe(..)
            | TokenEndpointAuthMethod::SelfSignedTlsClientAuth(_)
            | TokenEndpointAuthMethod::PublishedTlsClientAuth(_)
            | TokenEndpointAuthMethod::IssuerJwt(_) => false,
        }
    }

    /// The field in which this registration exceeds the limit `most`, if any.
    pub fn exceeded_field(&self, most: &Self) -> Option<&'static str> {
        let (terms, widest) = (&*self.terms, &*most.terms);
        if !widest.scope.covers(&terms.scope) {
            Some("scope")
        } else if !terms.audience.iter().all(|one| widest.audience.contains(one)) {
            Some("audience")
        } else if terms.access_token_ttl > widest.access_token_ttl {
            Some("access_token_ttl")
        } else if terms.rotation != Rotation::Strict && terms.rotation != widest.rotation {
            Some("rotation")
        } else if most.method.is_spiffe_jwt() && !self.method.is_spiffe_jwt() {
            // The authentication would be weaker than the operator requires.
            Some("token_endpoint_auth_method")
        } else {
            None
        }
    }
}

fn read_method(
    metadata: &mut ClientMetadata,
    client_id: &ClientId,
) -> Result<TokenEndpointAuthMethod, InvalidMetadata> {
    const SUBJECTS: &str = "goes only with token_endpoint_auth_method tls_client_auth";
    let named = std::mem::take(&mut metadata.token_endpoint_auth_method);
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
    if named != "issuer_jwt" {
        const CLAIMS: &str = "goes only with token_endpoint_auth_method issuer_jwt";
        if metadata.issuer.is_some() {
            return Err(invalid("issuer", CLAIMS));
        }
        if metadata.subject.is_some() {
            return Err(invalid("subject", CLAIMS));
        }
        if !metadata.claims.is_empty() {
            return Err(invalid("claims", CLAIMS));
        }
    }
    match named.as_str() {
        "spiffe_x509" => Ok(TokenEndpointAuthMethod::Spiffe(SvidKind::X509, read_spiffe_id(metadata, client_id)?)),
        "spiffe_jwt" => Ok(TokenEndpointAuthMethod::Spiffe(SvidKind::Jwt, read_spiffe_id(metadata, client_id)?)),
        "tls_client_auth" => match subjects.as_slice() {
            [(field, text)] => {
                let subject = CertificateSubject::parse(field, text)?;
                if metadata.client_ca.is_some()
                    && matches!(&subject, CertificateSubject::Uri(uri) if is_spiffe_uri(uri))
                {
                    let problem = "no client CA vouches for a SPIFFE ID: its trust domain's bundle does";
                    return Err(invalid("client_ca", problem));
                }
                let written = (*field, text.clone());
                let registered = RegisteredSubject { written, subject, client_ca: metadata.client_ca.take() };
                Ok(TokenEndpointAuthMethod::TlsClientAuth(Box::new(registered)))
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
        "issuer_jwt" => issuer_claims::read(metadata),
        _ => Err(invalid(
            "token_endpoint_auth_method",
            "must be spiffe_x509, spiffe_jwt, tls_client_auth, self_signed_tls_client_auth or issuer_jwt",
        )),
    }
}

fn read_spiffe_id(metadata: &ClientMetadata, client_id: &ClientId) -> Result<SpiffeClaim, InvalidMetadata> {
    if metadata.spiffe_id.is_none() && !client_id.is_spiffe_id() {
        return Err(invalid("spiffe_id", "must be set where the client_id is not a SPIFFE ID"));
    }
    let pattern = SpiffeIdPattern::parse(metadata.spiffe_id.as_deref().unwrap_or(client_id.as_str()));
    pattern
        .map(|pattern| SpiffeClaim::new(pattern, client_id))
        .ok_or_else(|| invalid("spiffe_id", "must be a SPIFFE ID with a path, or one followed by /* for all below it"))
}

fn read_ttl(written: Option<Duration>) -> Result<Duration, InvalidMetadata> {
    let ttl = written.unwrap_or(DEFAULT_TTL);
    if ttl < Duration::from_secs(1) || ttl > MAX_TTL || ttl.subsec_nanos() != 0 {
        return Err(invalid("access_token_ttl", "must be whole seconds, from 1s to 1h"));
    }
    Ok(ttl)
}
