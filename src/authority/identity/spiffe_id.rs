//! SPIFFE IDs and patterns of them.

use spiffe::SpiffeId;

/// The most bytes that a SPIFFE ID may have here: SPIFFE-ID section 2.3 wants 2048 accepted and no longer ones made.
pub const MAX_SPIFFE_ID_BYTES: usize = 2048;

/// Reads a SPIFFE ID, and only in the one spelling that it has. SPIFFE-ID section 2.1 wants lower case where section 2.4
/// allows to fold; folding would give two texts for one identity, so upper case is refused.
pub fn parse_spiffe_id(text: &str) -> Option<SpiffeId> {
    if text.len() > MAX_SPIFFE_ID_BYTES {
        return None;
    }
    SpiffeId::new(text).ok().filter(|id| id.to_string() == text)
}

/// Whether a URI wants to be a SPIFFE ID, well-formed or not.
pub fn is_spiffe_uri(uri: &str) -> bool {
    let scheme = uri.as_bytes().get(..7);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"spiffe:"))
}

/// A SPIFFE ID, or all those below a path.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum SpiffeIdPattern {
    /// This one.
    Exact(SpiffeId),
    /// Every ID that begins with this text, which ends in `/`: whole segments only.
    Below(String),
}

impl SpiffeIdPattern {
    /// Reads `spiffe://td/path` or `spiffe://td/path/*`. A star anywhere else is no pattern.
    pub fn parse(text: &str) -> Option<Self> {
        let exact = |text| parse_spiffe_id(text);
        match text.strip_suffix("/*") {
            None => exact(text).filter(|id| !id.path().is_empty()).map(Self::Exact),
            Some(parent) => exact(parent).map(|id| Self::Below(format!("{id}/"))),
        }
    }

    /// Whether an ID is meant.
    pub fn matches(&self, id: &SpiffeId) -> bool {
        match self {
            Self::Exact(exact) => exact == id,
            Self::Below(prefix) => id.to_string().strip_prefix(prefix.as_str()).is_some_and(|rest| !rest.is_empty()),
        }
    }
}
