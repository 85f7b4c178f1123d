//! The keys that a trust domain signs JWT-SVIDs with.

use std::collections::BTreeMap;

use serde_json::Value;

/// The JWT authorities of one trust domain, by `kid`: the JWKs of its bundle.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JwtAuthorities(BTreeMap<String, Value>);

impl JwtAuthorities {
    /// Takes the JWKs of a bundle that are for JWT-SVIDs. A JWK without a `kid` is skipped (JWT-SVID section 6.1). Two
    /// JWKs with the same `kid` are both skipped, since it is ambiguous.
    pub fn new<'a>(jwks: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut keys: BTreeMap<String, Option<Value>> = BTreeMap::new();
        for jwk in jwks {
            let Some(kid) = jwk.get("kid").and_then(Value::as_str).filter(|kid| !kid.is_empty()) else { continue };
            let known = keys.contains_key(kid);
            keys.insert(kid.to_owned(), (!known).then(|| jwk.clone()));
        }
        Self(keys.into_iter().filter_map(|(kid, jwk)| Some((kid, jwk?))).collect())
    }

    /// Returns the JWK with a `kid`.
    pub fn find(&self, kid: &str) -> Option<&Value> {
        self.0.get(kid)
    }

    /// Returns every JWK with its `kid`.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(kid, jwk)| (kid.as_str(), jwk))
    }
}
