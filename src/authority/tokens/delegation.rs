//! Delegation in a token (RFC 8693 section 4.1): who acts for its subject, and which tokens it comes from.

use std::borrow::Cow;
use std::iter;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use spiffe::SpiffeId;

use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::json::Object;
use crate::authority::json::object;
use crate::authority::json::present;
use crate::authority::registration::ClientId;

/// The claim `act`: the actor, and within it the one that acted before it. A member that is not one of these makes the token
/// malformed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Actors {
    /// The `client_id` of the actor, or the name that another issuer knows it by.
    pub sub: String,
    /// That other issuer: the actor acted before the token came here. Left out for this server's own clients.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// The actors before it.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<Self>>,
}

impl Actors {
    /// The chain with one more actor.
    pub fn then(earlier: Option<Self>, actor: &ClientId) -> Self {
        Self { sub: actor.to_string(), iss: None, act: earlier.map(Box::new) }
    }

    /// The names of all actors, the newest first: `client_id`s, and those of other issuers after the issuer and `#`.
    pub fn all(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.each().map(|actor| match &actor.iss {
            None => Cow::Borrowed(actor.sub.as_str()),
            Some(iss) => Cow::Owned(qualified(iss, &actor.sub)),
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.each().count()
    }

    /// All of them, the newest first.
    pub(in crate::authority::tokens) fn each(&self) -> impl Iterator<Item = &Self> {
        iter::successors(Some(self), |actors| actors.act.as_deref())
    }

    /// The number of this server's own clients, and of those of other issuers, if the latter all acted before.
    fn own_and_others(&self) -> Option<(usize, usize)> {
        let own = self.each().take_while(|actor| actor.iss.is_none()).count();
        let others = self.count() - own;
        self.each().skip(own).all(|actor| actor.iss.is_some()).then_some((own, others))
    }
}

/// The name here of a subject or an actor that another issuer knows by `sub`: no two issuers know the same one.
pub(in crate::authority) fn qualified(issuer: &str, subject: &str) -> String {
    format!("{issuer}#{subject}")
}

/// The claim `may_act` (RFC 8693 section 4.4): the only one that may act. No token of this server has it; one that does means it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MayAct {
    /// The `client_id`.
    pub sub: String,
    /// The issuer that knows it by that name; left out for the token's own.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
}

impl MayAct {
    /// Whether it names this client of this server.
    pub fn names(&self, client_id: &ClientId, issuer: &str) -> bool {
        self.sub == client_id.as_str() && self.iss.as_ref().is_none_or(|iss| iss == issuer)
    }

    /// Whether another issuer names this client of this server. Without `iss` it means a party of its own.
    pub fn names_here(&self, client_id: &ClientId, own_issuer: &str) -> bool {
        self.iss.is_some() && self.names(client_id, own_issuer)
    }
}

/// A token that another one comes from: what it takes to find that it was revoked.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ancestor {
    /// Its identifier.
    pub jti: String,
    /// The time of its issue.
    pub iat: Timestamp,
    /// Its holder.
    pub client_id: String,
    /// The creation id of its holder's registration.
    pub creation: String,
    /// The thumbprint of the certificate that it is bound to, as base64url. Empty where one of another issuer is bound to none.
    pub x5t: String,
    /// The issuer of a token that is not this server's: then its holder is its subject, and `creation` is empty.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
}

/// The claim `lanyard_from`: the tokens that a token comes from, the first one first.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Ancestry(pub Vec<Ancestor>);

impl<'de> Deserialize<'de> for Ancestry {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let ancestors = Vec::<Object<Ancestor>>::deserialize(value)?;
        Ok(Self(ancestors.into_iter().map(|Object(ancestor)| ancestor).collect()))
    }
}

impl Ancestry {
    /// Whether there are none: the token was exchanged for no other.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the first one is a token of another issuer.
    pub fn is_of_another_issuer(&self) -> bool {
        self.0.first().is_some_and(|first| first.iss.is_some())
    }

    /// The ancestors of a token of this holder and these actors, parsed. `None` where the claims contradict each other: each
    /// actor of this server has got one token for another, the newest one holds the token, and only what came first may be, and
    /// say who acted before, of another issuer.
    pub(in crate::authority::tokens) fn parsed(
        &self,
        holder: &str,
        actors: Option<&Actors>,
    ) -> Option<Box<[ParsedAncestor]>> {
        let holds = actors.is_none_or(|actors| actors.iss.is_none() && actors.sub == holder);
        let (own, others) = actors.map_or(Some((0, 0)), Actors::own_and_others)?;
        let first = self.0.iter().skip(1).all(|ancestor| ancestor.iss.is_none());
        let told = others == 0 || self.is_of_another_issuer();
        let agree = holds && own == self.0.len() && first && told;
        if agree { self.0.iter().map(ParsedAncestor::of).collect() } else { None }
    }
}

/// A token that another one comes from, parsed.
#[derive(Clone, Debug)]
pub struct ParsedAncestor {
    /// Its identifier.
    pub jti: Box<str>,
    /// The time of its issue.
    pub issued: Timestamp,
    /// Its holder.
    pub holder: ClientId,
    /// The holder's SPIFFE ID, if its `client_id` is one.
    pub spiffe_id: Option<SpiffeId>,
    /// The creation id of its holder's registration.
    pub creation: Box<str>,
    /// The certificate that it is bound to. `None` where one of another issuer is bound to none.
    pub bound_to: Option<CertificateThumbprint>,
    /// The issuer, where it is not this server.
    pub issuer: Option<Box<str>>,
}

impl ParsedAncestor {
    /// Parses an ancestor; `None` where a member is not what it must be.
    pub(in crate::authority::tokens) fn of(ancestor: &Ancestor) -> Option<Self> {
        let Ancestor { jti, iat, client_id, creation, x5t, iss } = ancestor;
        let holder = ClientId::parse(client_id)?;
        let is_known_unbound = iss.is_some() && x5t.is_empty();
        let bound_to = CertificateThumbprint::parse(x5t);
        if bound_to.is_none() && !is_known_unbound {
            return None;
        }
        Some(Self {
            jti: jti.as_str().into(),
            issued: *iat,
            spiffe_id: holder.spiffe_id(),
            holder,
            creation: creation.as_str().into(),
            bound_to,
            issuer: iss.as_deref().map(Into::into),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn actors(value: serde_json::Value) -> Option<Actors> {
        serde_json::from_value(value).ok()
    }

    #[test]
    fn the_newest_actor_is_the_outermost() {
        let [checkout, stock] = ["spiffe://prod.example/checkout", "stock"].map(|id| ClientId::parse(id).unwrap());
        let chain = Actors::then(Some(Actors::then(None, &checkout)), &stock);
        assert_eq!(chain.all().collect::<Vec<_>>(), [stock.as_str(), checkout.as_str()]);
        let printed = json!({ "sub": stock.as_str(), "act": { "sub": checkout.as_str() } });
        assert_eq!(serde_json::to_value(&chain).unwrap(), printed);
        assert_eq!(actors(printed), Some(chain));
    }

    #[test]
    fn an_actor_that_is_no_object_with_a_subject_is_malformed() {
        for bad in [
            json!(null),
            json!([]),
            json!("a"),
            json!({}),
            json!({ "sub": null }),
            json!({ "sub": "a", "act": null }),
            json!({ "sub": "a", "act": ["b"] }),
            json!({ "sub": "a", "iss": null }),
            json!({ "sub": "a", "aud": "b" }),
        ] {
            assert_eq!(actors(bad.clone()), None, "{bad}");
        }
    }

    #[test]
    fn ancestors_are_objects_with_all_their_members() {
        let x5t = "A".repeat(43);
        let good = json!({ "jti": "j", "iat": 1, "client_id": "a", "creation": "c", "x5t": x5t });
        let read = |value: &serde_json::Value| serde_json::from_value::<Ancestry>(value.clone()).ok();
        let ancestry = read(&json!([good])).unwrap();
        assert_eq!(serde_json::to_value(&ancestry).unwrap(), json!([good]));
        assert!(ParsedAncestor::of(ancestry.0.first().unwrap()).is_some());
        for member in ["jti", "iat", "client_id", "creation", "x5t"] {
            let mut less = good.clone();
            less.as_object_mut().unwrap().remove(member);
            assert_eq!(read(&json!([less])), None, "{member}");
        }
        for bad in [json!(null), json!({}), good, json!([["j", 1, "a", "c", x5t]])] {
            assert_eq!(read(&bad), None, "{bad}");
        }
    }

    #[test]
    fn there_is_one_ancestor_for_each_actor_and_the_newest_actor_is_the_holder() {
        let ancestor = |client_id: &str| {
            let texts = ["j", client_id, "c"].map(ToOwned::to_owned);
            let [jti, client_id, creation] = texts;
            Ancestor { jti, iat: Timestamp(1), client_id, creation, x5t: "A".repeat(43), iss: None }
        };
        let [a, b] = ["a", "b"].map(|id| ClientId::parse(id).unwrap());
        let one = Actors::then(None, &a);
        let two = Actors::then(Some(one.clone()), &b);
        let ancestry = |ids: &[&str]| Ancestry(ids.iter().map(|id| ancestor(id)).collect());
        for (holder, actors, from, good) in [
            ("b", None, &[][..], true),
            ("b", None, &["root"], false),
            ("a", Some(&one), &["root"], true),
            ("b", Some(&one), &["root"], false),
            ("a", Some(&one), &[], false),
            ("a", Some(&one), &["root", "a"], false),
            ("b", Some(&two), &["root", "a"], true),
            ("a", Some(&two), &["root", "a"], false),
            ("b", Some(&two), &["root"], false),
            ("b", Some(&two), &["root", "spiffe://"], false),
        ] {
            let parsed = ancestry(from).parsed(holder, actors);
            assert_eq!(parsed.map(|parsed| parsed.len()), good.then_some(from.len()), "{holder} {actors:?} {from:?}");
        }
    }
}
