//! Transaction tokens at a resource: on which routes checks mint one, and what becomes of one that a request brings.

use serde_json::Map;
use serde_json::Value;

use crate::authority::records::InvalidMetadata;
use crate::authority::resources::metadata::RouteTxnMetadata;
use crate::authority::resources::metadata::invalid;
use crate::authority::resources::path::RequestPath;
use crate::authority::scope::Scope;

/// The most members of `tctx` that a route has.
const MAX_DETAILS: usize = 32;

/// The longest name of a member, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// The longest text, in bytes: one that the route gives, or a segment of a path. A request with a longer one is denied.
const MAX_TEXT_BYTES: usize = 256;

/// The most bytes of what a route adds to a token, each variable counted as the longest. With its other claims the token then
/// has at most some 6 KiB, which servers take in a header beside the access token.
const MAX_ADDED_BYTES: usize = 3 * 1024;

/// The only member of `context`: the address of the client, as the proxy reports it.
const REQ_IP: &str = "req_ip";

/// What a resource does with the transaction tokens that requests bring.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TxnUse {
    /// They are not looked at, and passed on.
    #[default]
    Ignore,
    /// They are taken out.
    Strip,
    /// One that is there must count.
    Accept,
    /// One must be there, and count.
    Require,
}

impl TxnUse {
    pub(super) fn parse(text: Option<&str>) -> Result<Self, InvalidMetadata> {
        match text {
            None | Some("ignore") => Ok(Self::Ignore),
            Some("strip") => Ok(Self::Strip),
            Some("accept") => Ok(Self::Accept),
            Some("require") => Ok(Self::Require),
            Some(_) => Err(invalid("txn_token", "is none of ignore, strip, accept and require")),
        }
    }

    /// Whether transaction tokens are verified.
    pub fn verifies(self) -> bool {
        matches!(self, Self::Accept | Self::Require)
    }
}

/// What a route says about transaction tokens.
#[derive(Clone, Debug, Default)]
pub enum RouteTxn {
    /// What the resource says.
    #[default]
    AsResource,
    /// One with these scopes is needed, also where the resource only accepts them.
    Needed(Scope),
    /// The check mints one, whatever the request brings.
    Minted(Box<MintedTxn>),
}

/// The transaction token that the check of a request mints.
#[derive(Clone, Debug)]
pub struct MintedTxn {
    /// What the transaction is for.
    pub scope: Scope,
    details: Vec<(String, Detail)>,
    /// Whether `rctx` has the client's address.
    pub tells_address: bool,
}

/// The value of a member of `tctx`.
#[derive(Clone, Debug)]
enum Detail {
    Text(String),
    /// The segment of the path at this place.
    Segment(usize),
}

impl RouteTxn {
    pub(super) fn parse(
        minted: Option<&RouteTxnMetadata>,
        needed: &str,
        template: &str,
    ) -> Result<Self, InvalidMetadata> {
        let needed = scope(needed, "txn_scope")?;
        match (minted, needed.is_empty()) {
            (None, true) => Ok(Self::AsResource),
            (None, false) => Ok(Self::Needed(needed)),
            (Some(minted), true) => MintedTxn::parse(minted, template).map(|minted| Self::Minted(Box::new(minted))),
            (Some(_), false) => Err(refused(
                "txn_scope is about tokens that requests bring, and txn mints one: leave one of the two out",
            )),
        }
    }

    /// What is minted there.
    pub fn minted(&self) -> Option<&MintedTxn> {
        match self {
            Self::Minted(minted) => Some(minted),
            Self::AsResource | Self::Needed(_) => None,
        }
    }
}

impl MintedTxn {
    fn parse(written: &RouteTxnMetadata, template: &str) -> Result<Self, InvalidMetadata> {
        let RouteTxnMetadata { scope: purpose, details, context } = written;
        let purpose = scope(purpose, "txn: scope")?;
        if purpose.is_empty() || purpose.contains("*") {
            return Err(refused("txn: scope names one scope of the trust domain at least, and no wildcard"));
        }
        if details.len() > MAX_DETAILS {
            return Err(refused("txn: details has too many members"));
        }
        if context.len() > 1 || context.iter().any(|name| name != REQ_IP) {
            return Err(refused("txn: context has only req_ip; method and route are in each token"));
        }
        let details = details.iter().map(|(name, value)| Ok((name.clone(), detail(name, value, template)?)));
        let details = details.collect::<Result<Vec<_>, InvalidMetadata>>()?;
        let bytes = |(name, detail): &(String, Detail)| {
            let value = if let Detail::Text(text) = detail { text.len() } else { MAX_TEXT_BYTES };
            name.len() + value + r#""":"","#.len()
        };
        if details.iter().map(bytes).sum::<usize>() + template.len() > MAX_ADDED_BYTES {
            return Err(refused(
                "txn: the token could have more than a header may: path and details have 3 KiB at most, each variable \
                 counted as 256 bytes",
            ));
        }
        Ok(Self { scope: purpose, details, tells_address: !context.is_empty() })
    }

    /// `tctx` for a request for this path, decoded; `None` where a segment is longer than a text may be.
    pub fn details(&self, path: &RequestPath<'_>) -> Option<Map<String, Value>> {
        let value = |detail: &Detail| match detail {
            Detail::Text(text) => Some(text.clone()),
            Detail::Segment(place) => {
                path.segment(*place).filter(|text| text.len() <= MAX_TEXT_BYTES).map(ToOwned::to_owned)
            }
        };
        self.details.iter().map(|(name, detail)| Some((name.clone(), Value::String(value(detail)?)))).collect()
    }
}

fn detail(name: &str, value: &str, template: &str) -> Result<Detail, InvalidMetadata> {
    if !(1..=MAX_NAME_BYTES).contains(&name.len()) || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(refused("txn: the names of details have 1 to 64 visible ASCII characters each"));
    }
    if !value.contains(['{', '}']) {
        let problem = "txn: a text in details has 256 bytes at most";
        return if value.len() <= MAX_TEXT_BYTES { Ok(Detail::Text(value.to_owned())) } else { Err(refused(problem)) };
    }
    // A template begins with a slash.
    let mut places = template.split('/').skip(1).enumerate().filter(|(_, segment)| *segment == value);
    match (places.next(), places.next()) {
        (Some((place, _)), None) => Ok(Detail::Segment(place)),
        _ => Err(refused(
            "txn: a value of details is a text, or one variable of the path as it is written there, such as {id}, \
             which the path has once",
        )),
    }
}

fn scope(text: &str, what: &str) -> Result<Scope, InvalidMetadata> {
    Scope::parse(text).map_err(|error| refused(&format!("{what}: {error}")))
}

fn refused(problem: &str) -> InvalidMetadata {
    invalid("routes", problem)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn minted(path: &str, details: &[(&str, &str)], context: &[&str]) -> Result<MintedTxn, InvalidMetadata> {
        let details = details.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let written = RouteTxnMetadata {
            scope: "order.cancel".to_owned(),
            details: details.collect::<BTreeMap<_, _>>(),
            context: context.iter().map(|name| (*name).to_owned()).collect(),
        };
        MintedTxn::parse(&written, path)
    }

    #[test]
    fn details_are_texts_and_decoded_segments_of_the_path() {
        let route = "/shops/{shop}/orders/{id}";
        let minted =
            minted(route, &[("order", "{id}"), ("shop", "{shop}"), ("action", "cancel")], &["req_ip"]).unwrap();
        assert!(minted.tells_address);
        let said = |target: &str| minted.details(&RequestPath::parse(target).unwrap());
        let expected = serde_json::json!({ "order": "1 7", "shop": "é", "action": "cancel" });
        assert_eq!(said("/shops/%C3%A9/orders/1%207?id=9").map(Value::Object), Some(expected));
        let long = "x".repeat(MAX_TEXT_BYTES);
        assert!(said(&format!("/shops/a/orders/{long}")).is_some());
        assert_eq!(said(&format!("/shops/a/orders/{long}y")), None);
    }

    #[test]
    fn what_could_not_be_minted_is_refused_before_it_is_registered() {
        let long = "x".repeat(MAX_TEXT_BYTES);
        let too_long = format!("{long}y");
        let name = "n".repeat(MAX_NAME_BYTES);
        let too_long_name = format!("{name}n");
        for (good, bad) in [
            (("/a/{id}", [("order", "{id}")]), ("/a/{id}", [("order", "{other}")])),
            (("/a/{id}/{x}", [("order", "{id}")]), ("/a/{id}/{id}", [("order", "{id}")])),
            (("/a/{id}", [("order", "id")]), ("/a/{id}", [("order", "order-{id}")])),
            (("/a/{id}/**", [("order", "{id}")]), ("/a/{id}/**", [("order", "{**}")])),
            (("/a", [("order", long.as_str())]), ("/a", [("order", too_long.as_str())])),
            (("/a", [(name.as_str(), "x")]), ("/a", [(too_long_name.as_str(), "x")])),
            (("/a", [("a.b", "x")]), ("/a", [("a b", "x")])),
            (("/a", [("a", "x")]), ("/a", [("", "x")])),
        ] {
            assert!(minted(good.0, &good.1, &[]).is_ok(), "{good:?}");
            assert!(minted(bad.0, &bad.1, &[]).is_err(), "{bad:?}");
        }
        for (context, good) in
            [(&["req_ip"][..], true), (&[], true), (&["authn"], false), (&["req_ip", "req_ip"], false)]
        {
            assert_eq!(minted("/a", &[], context).is_ok(), good, "{context:?}");
        }
        // Of ten variables all could be long.
        let variables: Vec<String> = (0..11).map(|number| format!("{{v{number}}}")).collect();
        let path = format!("/{}", variables.join("/"));
        let details: Vec<(&str, &str)> = variables.iter().map(|one| (one.as_str(), one.as_str())).collect();
        assert!(minted(&path, &details[..11], &[]).is_ok());
        let path = format!("{path}/{}", "p".repeat(200));
        assert!(minted(&path, &details[..11], &[]).is_err());
        assert!(minted(&path, &details[..10], &[]).is_ok());
    }
}
