//! SPIFFE IDs and patterns of them.

use std::fmt;

use spiffe::SpiffeId;

/// The longest accepted SPIFFE ID, in bytes. SPIFFE-ID section 2.3 requires support for 2048 and forbids longer ones.
pub const MAX_SPIFFE_ID_BYTES: usize = 2048;

/// Parses a SPIFFE ID in its only accepted spelling. SPIFFE-ID section 2.1 requires lower case where section 2.4 allows
/// case folding; folding would give one identity two texts, so upper case is refused.
pub fn parse_spiffe_id(text: &str) -> Option<SpiffeId> {
    if text.len() > MAX_SPIFFE_ID_BYTES {
        return None;
    }
    SpiffeId::new(text).ok().filter(|id| is_text_of(text, id))
}

/// Whether `text` is the text of this SPIFFE ID. It copies nothing.
pub fn is_text_of(text: &str, id: &SpiffeId) -> bool {
    let rest = text.strip_prefix("spiffe://").and_then(|rest| rest.strip_prefix(id.trust_domain_name()));
    rest == Some(id.path())
}

/// Whether a URI has the SPIFFE scheme, well-formed or not.
pub fn is_spiffe_uri(uri: &str) -> bool {
    let scheme = uri.as_bytes().get(..7);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"spiffe:"))
}

/// A SPIFFE ID, or all IDs below a path.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum SpiffeIdPattern {
    /// Matches this ID only.
    Exact(SpiffeId),
    /// Matches every ID that begins with this text. The text ends in `/`, so that only whole segments match.
    Below(String),
}

impl SpiffeIdPattern {
    /// Parses `spiffe://td/path` or `spiffe://td/path/*`. A star in any other position is refused.
    pub fn parse(text: &str) -> Option<Self> {
        let exact = |text| parse_spiffe_id(text);
        match text.strip_suffix("/*") {
            None => exact(text).filter(|id| !id.path().is_empty()).map(Self::Exact),
            Some(parent) => exact(parent).map(|id| Self::Below(format!("{id}/"))),
        }
    }

    /// Whether the pattern matches an ID.
    pub fn matches(&self, id: &SpiffeId) -> bool {
        match self {
            Self::Exact(exact) => exact == id,
            Self::Below(prefix) => id.to_string().strip_prefix(prefix.as_str()).is_some_and(|rest| !rest.is_empty()),
        }
    }

    /// Whether this pattern matches every ID that another one matches.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Exact(id)) => self.matches(id),
            (Self::Below(prefix), Self::Below(other)) => other.starts_with(prefix.as_str()),
            (Self::Exact(_), Self::Below(_)) => false,
        }
    }
}

/// The text that [`SpiffeIdPattern::parse`] takes.
impl fmt::Display for SpiffeIdPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(id) => fmt::Display::fmt(id, formatter),
            Self::Below(prefix) => write!(formatter, "{prefix}*"),
        }
    }
}

/// The prefixes of a SPIFFE ID that end in a slash, the longest first: those below which a pattern matches the ID.
pub fn prefixes(id: &str) -> impl Iterator<Item = &str> {
    let slashes = id.char_indices().rev().filter(|(_, character)| *character == '/').map(|(at, _)| at);
    // From the last segment up to the trust domain. The two slashes of `spiffe://` are not part of the path.
    slashes.filter(|at| *at > "spiffe://".len()).filter_map(|at| id.get(..=at))
}
