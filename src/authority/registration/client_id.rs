//! The `client_id` (RFC 6749 section 2.2).

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use spiffe::SpiffeId;

use crate::authority::identity::MAX_SPIFFE_ID_BYTES;
use crate::authority::identity::is_spiffe_uri;
use crate::authority::identity::parse_spiffe_id;

/// The client identifier in requests and tokens: 1 to 2048 visible ASCII characters. A clone shares the text.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct ClientId(Arc<str>);

impl ClientId {
    /// Parses a `client_id`. One with the scheme `spiffe` must be a well-formed SPIFFE ID.
    pub fn parse(text: &str) -> Option<Self> {
        let visible = text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
        let spelled = !is_spiffe_uri(text) || parse_spiffe_id(text).is_some_and(|id| !id.path().is_empty());
        (!text.is_empty() && text.len() <= MAX_SPIFFE_ID_BYTES && visible && spelled).then(|| Self(text.into()))
    }

    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The identifier as text that is shared.
    pub(in crate::authority) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// Whether the identifier is a SPIFFE ID. It is then well-formed.
    pub fn is_spiffe_id(&self) -> bool {
        is_spiffe_uri(&self.0)
    }

    /// The SPIFFE ID, if the identifier is one.
    pub fn spiffe_id(&self) -> Option<SpiffeId> {
        parse_spiffe_id(&self.0)
    }
}

impl From<&SpiffeId> for ClientId {
    fn from(id: &SpiffeId) -> Self {
        Self(id.to_string().into())
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
