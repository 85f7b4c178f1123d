//! Delegation in a token (RFC 8693 section 4.1): who acts for its subject, and which tokens it comes from.

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

/// The claim `act`: the actor, and within it the one that acted before it. Actors of other issuers are not known, so a
/// member that is not one of these makes the token malformed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Actors {
    /// The `client_id` of the actor.
    pub sub: String,
    /// The actors before it.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<Self>>,
}

impl Actors {
    /// The chain with one more actor.
    pub fn then(earlier: Option<Self>, actor: &ClientId) -> Self {
        Self { sub: actor.to_string(), act: earlier.map(Box::new) }
    }

    /// The `client_id`s of all actors, the newest first.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        iter::successors(Some(self), |actors| actors.act.as_deref()).map(|actors| actors.sub.as_str())
    }
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
    /// The thumbprint of the certificate that it is bound to, as base64url.
    pub x5t: String,
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

    /// The ancestors of a token of this holder and these actors, parsed. `None` where the claims contradict each other: each
    /// actor has got one token for another, and the newest one holds the token.
    pub(in crate::authority::tokens) fn parsed(
        &self,
        holder: &str,
        actors: Option<&Actors>,
    ) -> Option<Box<[ParsedAncestor]>> {
        let holds = actors.is_none_or(|actors| actors.sub == holder);
        let each = actors.map_or(0, |actors| actors.all().count()) == self.0.len();
        if holds && each { self.0.iter().map(ParsedAncestor::of).collect() } else { None }
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
    /// The certificate that it is bound to.
    pub bound_to: CertificateThumbprint,
}

impl ParsedAncestor {
    /// Parses an ancestor; `None` where a member is not what it must be.
    pub(in crate::authority::tokens) fn of(ancestor: &Ancestor) -> Option<Self> {
        let Ancestor { jti, iat, client_id, creation, x5t } = ancestor;
        let holder = ClientId::parse(client_id)?;
        Some(Self {
            jti: jti.as_str().into(),
            issued: *iat,
            spiffe_id: holder.spiffe_id(),
            holder,
            creation: creation.as_str().into(),
            bound_to: CertificateThumbprint::parse(x5t)?,
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
            json!({ "sub": "a", "iss": "https://other.example" }),
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
            Ancestor { jti, iat: Timestamp(1), client_id, creation, x5t: "A".repeat(43) }
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
