//! Scopes (RFC 6749 section 3.3) and resource indicators (RFC 8707).

use std::fmt;
use std::sync::Arc;

use fluent_uri::Uri;

/// The most scopes, or audiences, in one list.
const MAX_ENTRIES: usize = 128;

/// The longest resource indicator, in bytes.
const MAX_AUDIENCE_BYTES: usize = 2048;

/// A set of scope tokens, in the order of the text. A copy of it shares them.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Scope(Arc<[String]>);

/// The text is not `scope-token *( SP scope-token )` of RFC 6749 section 3.3, or has too many tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "not a list of scopes: printable ASCII without quotation marks and backslashes, one space between two, {MAX_ENTRIES} at most"
)]
pub struct InvalidScopeText;

impl Scope {
    /// Parses a list of scopes; an empty text is an empty list. Repeated scopes are dropped.
    pub fn parse(text: &str) -> Result<Self, InvalidScopeText> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let mut scope: Vec<String> = Vec::new();
        for token in text.split(' ') {
            let well_formed =
                !token.is_empty() && token.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
            if !well_formed || scope.len() == MAX_ENTRIES {
                return Err(InvalidScopeText);
            }
            if !scope.iter().any(|known| known == token) {
                scope.push(token.to_owned());
            }
        }
        Ok(Self(scope.into()))
    }

    /// A scope that begins or ends with a comma. Commas are allowed in scopes, but there this is a list that is separated by
    /// commas.
    pub fn with_list_comma(&self) -> Option<&str> {
        self.0.iter().map(String::as_str).find(|token| token.starts_with(',') || token.ends_with(','))
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a scope is in this set.
    pub fn contains(&self, scope: &str) -> bool {
        self.0.iter().any(|token| token == scope)
    }

    /// Whether `holds` is true of every scope in this set.
    pub fn all(&self, holds: impl Fn(&str) -> bool) -> bool {
        self.0.iter().all(|token| holds(token))
    }

    /// The scopes, in their order.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// The scopes of all these sets, each at its first position.
    pub fn union<'a>(scopes: impl Iterator<Item = &'a Self>) -> Self {
        let mut all: Vec<String> = Vec::new();
        for token in scopes.flat_map(Self::tokens) {
            if !all.iter().any(|known| known == token) {
                all.push(token.to_owned());
            }
        }
        Self(all.into())
    }

    /// The scopes of this set for which `keeps` holds, in their order.
    #[must_use]
    pub fn restricted(&self, keeps: impl Fn(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|token| keeps(token)).cloned().collect())
    }

    /// Whether every scope of `other` is in this set. Scopes are case-sensitive and have no order.
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|token| self.0.contains(token))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join(" "))
    }
}

/// The problem with a scope that [`Scope::with_list_comma`] found, as a phrase that follows the field's name.
pub fn list_comma(token: &str) -> String {
    format!("'{token}' has a comma: scopes are separated by spaces (RFC 6749 section 3.3)")
}

/// Whether a text can identify a protected resource: an absolute URI without a fragment (RFC 8707 section 2).
pub fn is_resource_indicator(text: &str) -> bool {
    text.len() <= MAX_AUDIENCE_BYTES && Uri::parse(text).is_ok_and(|uri| !uri.has_fragment())
}

/// Whether a list of audiences is short enough to be accepted.
pub fn is_audience_count(count: usize) -> bool {
    count <= MAX_ENTRIES
}

/// The list of audiences without repetitions, each at its first position.
pub fn distinct(audience: &[String]) -> Vec<String> {
    let mut distinct = Vec::with_capacity(audience.len());
    for one in audience {
        if !distinct.contains(one) {
            distinct.push(one.clone());
        }
    }
    distinct
}

#[cfg(test)]
mod tests {
    use super::Scope;
    use super::is_resource_indicator;

    #[test]
    fn a_scope_is_printable_ascii_without_quotation_marks_and_backslashes() {
        for good in ["", "a", "orders.read orders.write", "a:b/c?d=e [f]", "!"] {
            assert!(Scope::parse(good).is_ok(), "{good:?}");
        }
        for bad in [" ", "a ", " a", "a  b", "a\tb", "a\"b", "a\\b", "é", "a\u{7f}"] {
            assert!(Scope::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn scopes_are_case_sensitive_and_have_no_order() {
        let registered = Scope::parse("orders.read orders.write").unwrap();
        assert!(registered.covers(&Scope::parse("orders.write orders.read").unwrap()));
        assert!(registered.covers(&Scope::parse("").unwrap()));
        assert!(!registered.covers(&Scope::parse("Orders.read").unwrap()));
        assert!(!registered.covers(&Scope::parse("orders.read orders.admin").unwrap()));
    }

    #[test]
    fn a_resource_indicator_is_an_absolute_uri_without_a_fragment() {
        for good in
            ["https://orders.shop.internal", "https://a/b?c=d", "urn:example:orders", "spiffe://prod.example/ns/shop"]
        {
            assert!(is_resource_indicator(good), "{good:?}");
        }
        for bad in ["", "orders", "/orders", "//orders", "https://a/#b", "https://a/#", "https://a b", "https://é"] {
            assert!(!is_resource_indicator(bad), "{bad:?}");
        }
    }
}
