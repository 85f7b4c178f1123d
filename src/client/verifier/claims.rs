//! The claims of access tokens (RFC 9068 section 2.2).

use serde::Deserialize;
use serde::Deserializer;
use serde::de::DeserializeOwned;
use serde::de::Error;
use serde_json::Map;
use serde_json::Value;

use crate::client::verifier::jws::object;
use crate::client::verifier::jws::present;
use crate::client::verifier::refused::Refused;

/// The confirmation by certificate (RFC 8705 section 3.1).
const THUMBPRINT: &str = "x5t#S256";

/// How far in the future `nbf` and `iat` may be, in seconds: as on servers. `exp` has no leeway.
const NOT_BEFORE_LEEWAY: u64 = 5;

/// The claims. A member of the wrong JSON type makes the token malformed.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) sub: String,
    aud: Audience,
    pub(super) exp: u64,
    pub(super) iat: u64,
    nbf: u64,
    pub(super) jti: String,
    pub(super) client_id: String,
    #[serde(default)]
    scope: String,
    #[serde(default, deserialize_with = "present")]
    cnf: Option<Map<String, Value>>,
    /// The SPIFFE ID of the certificate that the token is bound to, where it is not the `client_id`.
    #[serde(default, deserialize_with = "present")]
    pub(super) lanyard_spiffe_id: Option<String>,
    /// The registration that the token was issued under.
    pub(super) lanyard_creation: String,
    #[serde(default, deserialize_with = "member")]
    act: Option<Actor>,
    /// The tokens that it comes from, the first one first.
    #[serde(default, deserialize_with = "members")]
    pub(super) lanyard_from: Vec<Ancestor>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// An actor (RFC 8693 section 4.1), and within it the one before.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Actor {
    sub: String,
    /// The other issuer that knows it by that name.
    #[serde(default, deserialize_with = "present")]
    iss: Option<String>,
    #[serde(default, deserialize_with = "member")]
    act: Option<Box<Self>>,
}

/// A token that another one comes from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ancestor {
    pub(super) jti: String,
    pub(super) iat: u64,
    pub(super) client_id: String,
    pub(super) creation: String,
    /// Empty where one of another issuer is bound to none.
    pub(super) x5t: String,
    #[serde(default, deserialize_with = "present")]
    iss: Option<String>,
}

impl Claims {
    /// Parses the payload of a token.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, Refused> {
        let claims: Self = object(payload).ok_or(Refused::TokenMalformed)?;
        if claims.is_consistent() { Ok(claims) } else { Err(Refused::TokenMalformed) }
    }

    /// Whether the tokens that it comes from are as many as the server's own clients that acted, of whom the newest holds it. Only a
    /// token of another issuer may have been bound to nothing.
    fn is_consistent(&self) -> bool {
        let own = self.chain().filter(|actor| actor.iss.is_none()).count();
        let holds = self.act.as_ref().is_none_or(|actor| actor.iss.is_none() && actor.sub == self.client_id);
        let scopes = self.scope.is_empty() || !self.scopes().any(str::is_empty);
        let bound = self.lanyard_from.iter().all(|one| one.iss.is_some() || !one.x5t.is_empty());
        own == self.lanyard_from.len() && bound && holds && scopes
    }

    fn chain(&self) -> impl Iterator<Item = &Actor> {
        std::iter::successors(self.act.as_ref(), |actor| actor.act.as_deref())
    }

    /// Who acts for the subject, the newest first: `client_id`s, and those of another issuer after its name and `#`. Empty where
    /// the token is no delegated one.
    pub(super) fn actors(&self) -> Vec<String> {
        let name = |actor: &Actor| match &actor.iss {
            None => actor.sub.clone(),
            Some(iss) => format!("{iss}#{}", actor.sub),
        };
        self.chain().map(name).collect()
    }

    pub(super) fn is_delegated(&self) -> bool {
        self.act.is_some()
    }

    pub(super) fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scope.split(' ').filter(|_| !self.scope.is_empty())
    }

    /// Whether it is for this audience. The whole text is compared.
    pub(super) fn is_for(&self, audience: &str) -> bool {
        match &self.aud {
            Audience::One(one) => one == audience,
            Audience::Several(several) => several.iter().any(|one| one == audience),
        }
    }

    /// Whether it has every one of these scopes, which are separated by spaces.
    pub(super) fn covers(&self, scope: &str) -> bool {
        scope.split(' ').filter(|wanted| !wanted.is_empty()).all(|wanted| self.scopes().any(|one| one == wanted))
    }

    /// Whether it is valid at this second (RFC 7519 sections 4.1.4 and 4.1.5).
    pub(super) fn valid_at(&self, now: u64) -> Result<(), Refused> {
        if now >= self.exp {
            return Err(Refused::TokenExpired);
        }
        if self.nbf.max(self.iat) > now.saturating_add(NOT_BEFORE_LEEWAY) {
            return Err(Refused::TokenNotYetValid);
        }
        Ok(())
    }

    /// The thumbprint of the certificate that it is bound to. `None` where it is bound to none.
    pub(super) fn bound_to(&self) -> Option<&str> {
        self.cnf.as_ref()?.get(THUMBPRINT)?.as_str()
    }

    /// Whether there is a further member in the confirmation.
    pub(super) fn has_unknown_confirmation(&self) -> bool {
        self.cnf.as_ref().is_some_and(|cnf| cnf.keys().any(|name| name != THUMBPRINT))
    }

    /// The SPIFFE ID of the certificate that it is bound to, where it has one.
    pub(super) fn bound_spiffe_id(&self) -> &str {
        self.lanyard_spiffe_id.as_ref().unwrap_or(&self.client_id)
    }
}

/// Reads a member that may be absent but is otherwise an object.
fn member<'de, D: Deserializer<'de>, T: DeserializeOwned>(value: D) -> Result<Option<T>, D::Error> {
    of_object(Map::deserialize(value)?).map(Some)
}

/// Reads an array of objects.
fn members<'de, D: Deserializer<'de>, T: DeserializeOwned>(value: D) -> Result<Vec<T>, D::Error> {
    Vec::<Map<String, Value>>::deserialize(value)?.into_iter().map(of_object).collect()
}

fn of_object<T: DeserializeOwned, E: Error>(object: Map<String, Value>) -> Result<T, E> {
    T::deserialize(Value::Object(object)).map_err(E::custom)
}
