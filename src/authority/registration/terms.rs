//! What a client may request: the part of a registration that many have in common.

use std::sync::Arc;
use std::time::Duration;

use crate::authority::registration::exchange::ExchangeTerms;
use crate::authority::scope::Scope;

/// Whether a token stays valid when the certificate that it is bound to is renewed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Rotation {
    /// The token is refused (RFC 8705 section 6.3).
    Strict,
    /// The token is accepted with a newer certificate of the same SPIFFE ID, or with one that has the same key.
    Identity,
    /// The token is accepted with the successor that the holder of the certificate announced.
    Lineage,
}

impl Rotation {
    /// Parses the value of `rotation`.
    pub(super) fn parse(name: &str) -> Option<Self> {
        [Self::Strict, Self::Identity, Self::Lineage].into_iter().find(|rotation| rotation.name() == name)
    }

    /// The value of `rotation`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Identity => "identity",
            Self::Lineage => "lineage",
        }
    }
}

/// What a client may request. The snapshot holds equal terms once.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Terms {
    /// The scopes that the client may request.
    pub scope: Scope,
    /// The resource indicators that the client may request (RFC 8707).
    pub audience: Vec<String>,
    /// Whether its tokens must be bound, regardless of the global setting.
    pub bound: bool,
    /// The maximum lifetime of its tokens.
    pub access_token_ttl: Duration,
    /// Whether its tokens stay valid with a renewed certificate.
    pub rotation: Rotation,
    /// What is said about token exchange; `None` where nothing is.
    pub exchange: Option<Arc<ExchangeTerms>>,
    /// The contact for the client.
    pub owner: Option<String>,
    /// What applies its documents.
    pub managed_by: Option<String>,
}
