//! JWTs of trusted issuers that say for whom a request is made: tokens that are exchanged (RFC 8693 section 2.1), and grants of the
//! authorization server of another trust domain (RFC 7523 section 2.1, draft-ietf-oauth-identity-chaining section 2.4).

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::is_spiffe_uri;
use crate::authority::keys::CompactJws;
use crate::authority::registration::ClientId;
use crate::authority::registration::MAX_ACTORS;
use crate::authority::scope::Scope;
use crate::authority::tokens::Actors;
use crate::authority::tokens::Ancestor;
use crate::authority::tokens::MayAct;
use crate::authority::tokens::NOT_ISSUED;
use crate::authority::tokens::qualified;
use crate::authority::trust::bundles::TrustBundles;
use crate::authority::trust::issuer_jwt::InvalidIssuerJwt;
use crate::authority::trust::issuer_jwt::Members;
use crate::authority::trust::issuer_jwt::ProvenJwt;
use crate::authority::trust::issuer_jwt::object;
use crate::authority::trust::issuer_keys::GrantTerms;
use crate::authority::trust::issuer_keys::SubjectKind;
use crate::authority::trust::issuer_keys::TrustedIssuer;

/// The longest `jti` that is kept as it is, in bytes. In place of a longer one stands a hash.
const MAX_JTI_BYTES: usize = 128;

/// A JWT with a valid signature by a trusted issuer, which says for whom a request is made.
#[derive(Clone)]
pub struct ForeignToken {
    /// Its issuer.
    pub trusted: Arc<TrustedIssuer>,
    /// The name of its subject here: `iss#sub`, or of a grant a SPIFFE ID of the issuer's trust domain.
    pub subject: ClientId,
    /// Its `jti`, or a hash where it has none that can be one here.
    pub jti: String,
    /// Tells it from every other of every issuer.
    pub digest: [u8; 32],
    /// `iat`.
    pub issued: Timestamp,
    /// `exp`.
    pub expires: Timestamp,
    /// Its scopes. None where it has no claim of them.
    pub scope: Scope,
    /// Who acted for the subject before it came here, each with its issuer.
    pub actors: Option<Actors>,
    /// Who alone may act.
    pub may_act: Option<MayAct>,
    /// The certificate that it is bound to.
    pub bound_to: Option<CertificateThumbprint>,
    /// `client_id`, of a grant. Empty for others.
    pub client_id: String,
}

/// Omits what may be about people.
impl fmt::Debug for ForeignToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ForeignToken").field("issuer", &self.trusted.issuer).finish_non_exhaustive()
    }
}

impl ForeignToken {
    /// What the tokens come from that are issued for it.
    pub fn ancestor(&self) -> Ancestor {
        Ancestor {
            jti: self.jti.clone(),
            iat: self.issued,
            client_id: self.subject.to_string(),
            creation: String::new(),
            x5t: self.bound_to.map(|thumbprint| thumbprint.to_string()).unwrap_or_default(),
            iss: Some(self.trusted.issuer.clone()),
        }
    }

    /// What it is believed for, of a grant.
    pub fn grant_terms(&self) -> Option<&GrantTerms> {
        self.trusted.grant_terms()
    }
}

impl TrustBundles {
    /// Whether a token says that it is of an issuer whose tokens are exchanged. Nothing of it is believed by that: it chooses who
    /// verifies it.
    pub fn is_of_subject_issuer(&self, token: &str) -> bool {
        let mut issuers = self.issuers.values().filter(|keys| keys.trusted.subject_terms().is_some()).peekable();
        // The usual case.
        if issuers.peek().is_none() {
            return false;
        }
        let Some(claims) = CompactJws::parse(token).and_then(|jws| object(&jws.payload).ok()) else { return false };
        let named = claims.get("iss").and_then(Value::as_str);
        issuers.any(|keys| Some(keys.trusted.issuer.as_str()) == named)
    }

    /// Validates a token that is to be exchanged, as what it is said to be.
    pub fn prove_subject_token(
        &self,
        token: &str,
        kind: SubjectKind,
        now: Timestamp,
    ) -> Result<ForeignToken, InvalidIssuerJwt> {
        let proven = self.prove_jwt(token, now, |trusted, typ| {
            let terms = trusted.and_then(TrustedIssuer::subject_terms).ok_or(InvalidIssuerJwt::UnknownIssuer)?;
            if !terms.kinds.contains(&kind) {
                return Err(InvalidIssuerJwt::Kind);
            }
            let fits = match (&terms.typ, kind) {
                (Some(expected), _) => typ.is_some_and(|typ| is_type(typ, expected)),
                (None, SubjectKind::AccessToken) => typ.is_some_and(|typ| is_type(typ, "at+jwt")),
                (None, SubjectKind::Jwt) => typ.is_none_or(|typ| is_type(typ, "JWT")),
            };
            if fits { Ok(()) } else { Err(InvalidIssuerJwt::Type) }
        })?;
        if is_spiffe_uri(&proven.subject) {
            return Err(InvalidIssuerJwt::SpiffeId);
        }
        let claims = &proven.claims;
        let pointer = proven.trusted.subject_terms().and_then(|terms| terms.scope_claim.as_deref());
        let scope = pointer.map_or(Ok(Scope::default()), |pointer| scopes(at(claims, pointer)))?;
        let may_act = claims.get("may_act").map(|value| serde_json::from_value(value.clone()));
        let may_act = may_act.transpose().map_err(|_| InvalidIssuerJwt::Actor)?;
        // An array of its members' values would be read as one, too.
        if claims.get("may_act").is_some_and(|value| !value.is_object()) {
            return Err(InvalidIssuerJwt::Actor);
        }
        let bound_to = claims.get("cnf").map(thumbprint).transpose()?;
        let subject = named(&proven.trusted.issuer, &proven.subject)?;
        read(proven, subject, scope, bound_to, may_act)
    }

    /// Validates a grant of the authorization server of another trust domain. One of this server itself is of no trusted issuer.
    pub fn prove_grant(&self, token: &str, now: Timestamp) -> Result<ForeignToken, InvalidIssuerJwt> {
        let proven = self.prove_jwt(token, now, |trusted, typ| {
            let terms = trusted.and_then(TrustedIssuer::grant_terms).ok_or(InvalidIssuerJwt::UnknownIssuer)?;
            if typ.is_some_and(|typ| is_type(typ, &terms.typ)) { Ok(()) } else { Err(InvalidIssuerJwt::Type) }
        })?;
        let claims = &proven.claims;
        let text = |name: &str| claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let client_id = text("client_id").ok_or(InvalidIssuerJwt::Identifier)?.to_owned();
        text("jti").ok_or(InvalidIssuerJwt::Identifier)?;
        // Section 4.4 of RFC 8693: who alone may act is for the authorization server that the token was for.
        if claims.get("may_act").is_some() {
            return Err(InvalidIssuerJwt::Actor);
        }
        let bound_to = claims.get("cnf").ok_or(InvalidIssuerJwt::Bound).and_then(thumbprint)?;
        let scope = claims.get("scope").map_or(Ok(Scope::default()), |scope| scopes(Some(scope)))?;
        let trust_domain = proven.trusted.grant_terms().and_then(|terms| terms.trust_domain.as_ref());
        let subject = match ClientId::parse(&proven.subject).and_then(|id| id.spiffe_id()) {
            Some(id) if Some(id.trust_domain()) == trust_domain => ClientId::from(&id),
            Some(_) => return Err(InvalidIssuerJwt::SpiffeId),
            None if is_spiffe_uri(&proven.subject) => return Err(InvalidIssuerJwt::SpiffeId),
            None => named(&proven.trusted.issuer, &proven.subject)?,
        };
        let token = read(proven, subject, scope, Some(bound_to), None)?;
        Ok(ForeignToken { client_id, ..token })
    }

    /// The token of an issuer that a subject is supposed to have, if a key of the issuer could prove one.
    pub(in crate::authority) fn supposed_subject_token(
        &self,
        (issuer, subject): (&str, &str),
        scope: &Scope,
        now: Timestamp,
    ) -> Result<ForeignToken, InvalidIssuerJwt> {
        let keys = self.issuers.get(issuer).ok_or(InvalidIssuerJwt::UnknownIssuer)?;
        let terms = keys.trusted.subject_terms().ok_or(InvalidIssuerJwt::UnknownIssuer)?;
        if !keys.are_usable(now) {
            return Err(InvalidIssuerJwt::NoKeys);
        }
        if is_spiffe_uri(subject) {
            return Err(InvalidIssuerJwt::SpiffeId);
        }
        Ok(ForeignToken {
            trusted: Arc::clone(&keys.trusted),
            subject: named(issuer, subject)?,
            jti: NOT_ISSUED.to_owned(),
            digest: [0; 32],
            issued: now,
            expires: now.after(keys.trusted.max_age),
            // Where nothing says where they are, it has none.
            scope: terms.scope_claim.as_ref().map(|_| scope.clone()).unwrap_or_default(),
            actors: None,
            may_act: None,
            bound_to: None,
            client_id: String::new(),
        })
    }

    /// Whether grants of some other authorization server are taken.
    pub fn takes_grants(&self) -> bool {
        self.issuers.values().any(|keys| keys.trusted.grant_terms().is_some())
    }
}

fn read(
    proven: ProvenJwt<'_>,
    subject: ClientId,
    scope: Scope,
    bound_to: Option<CertificateThumbprint>,
    may_act: Option<MayAct>,
) -> Result<ForeignToken, InvalidIssuerJwt> {
    let ProvenJwt { trusted, claims, digest, issued, expires, .. } = proven;
    let actors = claims.get("act").map(|value| actors(value, &trusted.issuer, 1)).transpose()?;
    let is_kept =
        |jti: &&str| (1..=MAX_JTI_BYTES).contains(&jti.len()) && jti.bytes().all(|byte| byte.is_ascii_graphic());
    let jti = claims.get("jti").and_then(Value::as_str).filter(is_kept);
    let jti = jti.map_or_else(|| URL_SAFE_NO_PAD.encode(digest), ToOwned::to_owned);
    let trusted = Arc::clone(trusted);
    let client_id = String::new();
    Ok(ForeignToken { trusted, subject, jti, digest, issued, expires, scope, actors, may_act, bound_to, client_id })
}

/// Whether two media types are the same one, where `application/` may be left out (RFC 7515 section 4.1.9).
fn is_type(typ: &str, expected: &str) -> bool {
    let bare = |typ: &str| {
        let typ = typ.to_ascii_lowercase();
        typ.strip_prefix("application/").map(ToOwned::to_owned).unwrap_or(typ)
    };
    bare(typ) == bare(expected)
}

/// The name of a subject here.
fn named(issuer: &str, subject: &str) -> Result<ClientId, InvalidIssuerJwt> {
    ClientId::parse(&qualified(issuer, subject)).ok_or(InvalidIssuerJwt::Subject)
}

/// Where a JSON Pointer leads.
fn at<'a>(claims: &'a Members, pointer: &str) -> Option<&'a Value> {
    let (first, rest) = pointer.strip_prefix('/')?.split_once('/').unwrap_or((pointer.strip_prefix('/')?, ""));
    // RFC 6901 section 4: in this order.
    let value = claims.get(&first.replace("~1", "/").replace("~0", "~"))?;
    if rest.is_empty() { Some(value) } else { value.pointer(&format!("/{rest}")) }
}

/// The scopes in a claim: text, or an array of them. None where there is no claim.
fn scopes(claim: Option<&Value>) -> Result<Scope, InvalidIssuerJwt> {
    let text = match claim {
        None => return Ok(Scope::default()),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(several)) => {
            let one = |value: &Value| value.as_str().filter(|text| !text.contains(' ')).map(ToOwned::to_owned);
            let several: Option<Vec<String>> = several.iter().map(one).collect();
            several.ok_or(InvalidIssuerJwt::Scope)?.join(" ")
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
            return Err(InvalidIssuerJwt::Scope);
        }
    };
    Scope::parse(&text).map_err(|_| InvalidIssuerJwt::Scope)
}

/// The certificate of a confirmation claim. One by anything else is not proven here.
fn thumbprint(confirmation: &Value) -> Result<CertificateThumbprint, InvalidIssuerJwt> {
    let members = confirmation.as_object().filter(|members| members.len() == 1);
    let text = members.and_then(|members| members.get("x5t#S256")).and_then(Value::as_str);
    text.and_then(CertificateThumbprint::parse).ok_or(InvalidIssuerJwt::Bound)
}

/// The actors of a token, each with the issuer that knows it by its name. Other members say nothing of who it is (RFC 8693
/// section 4.1), and are left behind.
fn actors(value: &Value, issuer: &str, depth: u32) -> Result<Actors, InvalidIssuerJwt> {
    let actor = value.as_object().filter(|_| depth <= MAX_ACTORS).ok_or(InvalidIssuerJwt::Actor)?;
    let text = |name: &str| match actor.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.as_str())),
        Some(_) => Err(InvalidIssuerJwt::Actor),
    };
    let sub = text("sub")?.ok_or(InvalidIssuerJwt::Actor)?;
    let iss = text("iss")?.unwrap_or(issuer);
    // What is printed into headers and logs.
    ClientId::parse(&qualified(iss, sub)).ok_or(InvalidIssuerJwt::Actor)?;
    let earlier = actor.get("act").map(|earlier| actors(earlier, issuer, depth + 1)).transpose()?;
    Ok(Actors { sub: sub.to_owned(), iss: Some(iss.to_owned()), act: earlier.map(Box::new) })
}
