//! How the SPIFFE IDs of registrations and those of a pattern lie to each other.

use std::sync::Arc;

use crate::authority::clock::Timestamp;
use crate::authority::registration::auth_method::SpiffeClaim;
use crate::authority::registration::auth_method::TokenEndpointAuthMethod;
use crate::authority::registration::client::ClientRegistration;
use crate::authority::registration::client::RegisteredClient;
use crate::authority::registration::directory::Directory;

/// How what a registration claims lies to a pattern.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Overlap {
    /// It claims more than the pattern, which would apply in its place.
    Wider,
    /// It claims the same: no two clients may.
    Same,
    /// It claims a part of the pattern, and applies there in its place.
    Narrower,
}

/// What a registration of a pattern would be about, as far as its reader sees it.
#[derive(Clone, Debug)]
pub struct Preview {
    /// The registrations that have SPIFFE IDs in common with it, the widest first.
    pub registrations: Vec<(Arc<RegisteredClient>, Overlap)>,
    /// The identities that it matches, of those that this replica admitted within the last day, the newest first.
    pub identities: Vec<MatchedIdentity>,
    /// All identities that were seen from this time on are looked at.
    pub seen_since: Timestamp,
}

/// An identity that a pattern matches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MatchedIdentity {
    /// Its SPIFFE ID.
    pub spiffe_id: Arc<str>,
    /// When it made its last connection.
    pub seen_at: Timestamp,
    /// The registration that applies to it now, by its `client_id`; `None` where none does, or the reader does not see it.
    pub registration: Option<String>,
    /// Whether a registration of the pattern would apply to it.
    pub would_apply: bool,
}

impl SpiffeClaim {
    /// How this claim lies to another one; `None` where no SPIFFE ID is in both.
    pub fn overlap(&self, pattern: &Self) -> Option<Overlap> {
        let (Self::Exact(own) | Self::Below(own)) = self;
        let (Self::Exact(other) | Self::Below(other)) = pattern;
        match (self, pattern) {
            _ if self == pattern => Some(Overlap::Same),
            (_, Self::Below(prefix)) if own.len() > prefix.len() && own.starts_with(&**prefix) => {
                Some(Overlap::Narrower)
            }
            (Self::Below(prefix), _) if other.len() > prefix.len() && other.starts_with(&**prefix) => {
                Some(Overlap::Wider)
            }
            _ => None,
        }
    }

    /// Its level among the claims of a SPIFFE ID: the higher one applies.
    fn level(&self) -> usize {
        match self {
            Self::Exact(_) => usize::MAX,
            Self::Below(prefix) => prefix.len(),
        }
    }
}

/// What a registration claims: by its method, or because it has the name.
fn claimed(registration: &ClientRegistration) -> Option<SpiffeClaim> {
    match &registration.method {
        TokenEndpointAuthMethod::Spiffe(_, claim) => Some(claim.clone()),
        TokenEndpointAuthMethod::TlsClientAuth(_)
        | TokenEndpointAuthMethod::SelfSignedTlsClientAuth(_)
        | TokenEndpointAuthMethod::PublishedTlsClientAuth(_)
        | TokenEndpointAuthMethod::IssuerJwt(_) => {
            let id = &registration.client_id;
            id.is_spiffe_id().then(|| SpiffeClaim::Exact(id.shared()))
        }
    }
}

impl Directory {
    /// Whether a workload that a registration is for would have another one without it. It looks at all registrations.
    pub(in crate::authority) fn is_covered_besides(&self, registration: &ClientRegistration) -> bool {
        let Some(claim) = claimed(registration) else { return false };
        let besides = |client: &RegisteredClient| client.registration.client_id != registration.client_id;
        let mut others = self.overlapping(&claim).into_iter().filter(|(client, _)| besides(client));
        others.any(|(_, overlap)| matches!(overlap, Overlap::Wider | Overlap::Same))
    }

    /// The registrations that have SPIFFE IDs in common with a pattern, the widest first. It looks at all registrations.
    pub fn overlapping(&self, pattern: &SpiffeClaim) -> Vec<(Arc<RegisteredClient>, Overlap)> {
        let mut found: Vec<_> = self
            .all()
            .filter_map(|client| {
                let claim = claimed(&client.registration)?;
                let overlap = claim.overlap(pattern)?;
                Some(((claim.level(), overlap), (Arc::clone(client), overlap)))
            })
            .collect();
        // The order of the names stays within a level.
        found.sort_by_key(|(place, _)| *place);
        found.into_iter().map(|(_, client)| client).collect()
    }

    /// Whether a registration of this pattern would apply to a SPIFFE ID that it matches: none is more specific, and none, at
    /// any level, is disabled or cannot be read.
    pub fn would_apply(&self, pattern: &SpiffeClaim, id: &str) -> bool {
        self.claiming(id).all(|(level, client)| {
            level <= pattern.level() && client.suspended.is_none() && !client.registration.disabled
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_overlap_where_one_lies_within_the_other() {
        let exact = |text: &str| SpiffeClaim::Exact(text.into());
        let below = |text: &str| SpiffeClaim::Below(text.into());
        let pattern = below("spiffe://a/shop/");
        for (claim, expected) in [
            (below("spiffe://a/shop/"), Some(Overlap::Same)),
            (below("spiffe://a/"), Some(Overlap::Wider)),
            (below("spiffe://a/shop/eu/"), Some(Overlap::Narrower)),
            (exact("spiffe://a/shop/pay"), Some(Overlap::Narrower)),
            (exact("spiffe://a/shop"), None),
            (exact("spiffe://a/shopping"), None),
            (below("spiffe://a/shopping/"), None),
            (below("spiffe://ab/"), None),
        ] {
            assert_eq!(claim.overlap(&pattern), expected, "{claim}");
        }
        let pay = exact("spiffe://a/shop/pay");
        for (claim, expected) in [
            (exact("spiffe://a/shop/pay"), Some(Overlap::Same)),
            (below("spiffe://a/shop/"), Some(Overlap::Wider)),
            (below("spiffe://a/shop/pay/"), None),
            (exact("spiffe://a/shop/payments"), None),
        ] {
            assert_eq!(claim.overlap(&pay), expected, "{claim}");
        }
    }
}
