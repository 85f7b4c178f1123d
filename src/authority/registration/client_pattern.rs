//! Patterns of `client_id`s.

use std::fmt;

use crate::authority::identity::SpiffeIdPattern;
use crate::authority::registration::client_id::ClientId;

/// One client, or all whose SPIFFE IDs are below a path.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ClientPattern {
    /// The client of this name only.
    Exact(ClientId),
    /// Every SPIFFE ID that begins with this text. The text ends in `/`, so that only whole segments match.
    Below(String),
}

impl ClientPattern {
    /// What the text of a pattern must be, as a phrase that follows its field's name.
    pub const SHAPE: &'static str = "each is a client_id, or a SPIFFE ID followed by /* for all below it";

    /// Parses a `client_id`, or `spiffe://td/path/*`. A star in any other position is refused.
    pub fn parse(text: &str) -> Option<Self> {
        if !text.contains('*') {
            return ClientId::parse(text).map(Self::Exact);
        }
        match SpiffeIdPattern::parse(text)? {
            SpiffeIdPattern::Below(prefix) => Some(Self::Below(prefix)),
            SpiffeIdPattern::Exact(_) => None,
        }
    }

    /// Whether the pattern matches a client.
    pub fn matches(&self, client_id: &ClientId) -> bool {
        match self {
            Self::Exact(exact) => exact == client_id,
            Self::Below(prefix) => {
                client_id.is_spiffe_id()
                    && client_id.as_str().strip_prefix(prefix.as_str()).is_some_and(|rest| !rest.is_empty())
            }
        }
    }

    /// How specific it is: of two that match the same client, the greater one is the more specific. Two different patterns
    /// that match the same client are never alike.
    pub fn specificity(&self) -> usize {
        match self {
            Self::Exact(_) => usize::MAX,
            Self::Below(prefix) => prefix.len(),
        }
    }
}

/// The text that [`ClientPattern::parse`] takes.
impl fmt::Display for ClientPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(client_id) => fmt::Display::fmt(client_id, formatter),
            Self::Below(prefix) => write!(formatter, "{prefix}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, client_id: &str) -> bool {
        ClientPattern::parse(pattern).unwrap().matches(&ClientId::parse(client_id).unwrap())
    }

    #[test]
    fn a_pattern_matches_whole_segments_of_one_trust_domain() {
        for (pattern, client_id, expected) in [
            ("checkout", "checkout", true),
            ("checkout", "Checkout", false),
            ("spiffe://prod.example/a", "spiffe://prod.example/a", true),
            ("spiffe://prod.example/a", "spiffe://prod.example/a/b", false),
            ("spiffe://prod.example/a/*", "spiffe://prod.example/a/b", true),
            ("spiffe://prod.example/a/*", "spiffe://prod.example/a/b/c", true),
            ("spiffe://prod.example/a/*", "spiffe://prod.example/a", false),
            ("spiffe://prod.example/a/*", "spiffe://prod.example/ab", false),
            ("spiffe://prod.example/*", "spiffe://prod.example/a", true),
            ("spiffe://prod.example/*", "spiffe://prod.example.evil/a", false),
        ] {
            assert_eq!(matches(pattern, client_id), expected, "{pattern} {client_id}");
        }
    }

    #[test]
    fn a_star_stands_for_whole_segments_at_the_end_of_a_spiffe_id_and_nowhere_else() {
        for bad in [
            "",
            "*",
            "a*",
            "a/*",
            "spiffe://*",
            "spiffe://*/a",
            "spiffe://prod.example/*/a",
            "spiffe://prod.example/a*",
        ] {
            assert_eq!(ClientPattern::parse(bad), None, "{bad}");
        }
        for good in ["a", "spiffe://prod.example/a", "spiffe://prod.example/a/*", "spiffe://prod.example/*"] {
            assert_eq!(ClientPattern::parse(good).unwrap().to_string(), good);
        }
    }
}
