//! What the rules of exchange and those of transaction tokens have in common: subjects, and translations of scopes.

use crate::authority::records::InvalidMetadata;
use crate::authority::registration::client_id::ClientId;
use crate::authority::registration::client_pattern::ClientPattern;
use crate::authority::registration::metadata::ScopeGrantMetadata;
use crate::authority::registration::metadata::invalid;
use crate::authority::scope::Scope;

/// The most rules of a client, and the most entries of each list in them.
pub(super) const MAX_ENTRIES: usize = 64;

/// A translation of scopes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ScopeGrant {
    /// The scopes of the resource at which the token was presented, of which it must have all.
    pub needs: Scope,
    /// The scopes of the resource that the new token is for.
    pub gives: Scope,
}

impl ScopeGrant {
    pub(super) fn metadata(&self) -> ScopeGrantMetadata {
        ScopeGrantMetadata { needs: self.needs.to_string(), gives: self.gives.to_string() }
    }
}

/// How specific the patterns are for a client; `None` where none matches it.
pub(super) fn specificity(patterns: &[ClientPattern], client_id: &ClientId) -> Option<usize> {
    patterns.iter().filter(|pattern| pattern.matches(client_id)).map(ClientPattern::specificity).max()
}

/// The scopes that are given for what was presented.
pub(in crate::authority) fn translated(grants: &[ScopeGrant], presented: &Scope) -> Scope {
    let granted = grants.iter().filter(|grant| presented.covers(&grant.needs));
    Scope::union(granted.map(|grant| &grant.gives))
}

pub(super) fn read_grants(
    field: &'static str,
    grants: &[ScopeGrantMetadata],
) -> Result<Vec<ScopeGrant>, InvalidMetadata> {
    let read = |text: &str| {
        let scope = Scope::parse(text).map_err(|error| invalid(field, &format!("grants: {error}")))?;
        if scope.is_empty() || scope.contains("*") {
            return Err(invalid(field, "grants: needs and gives name at least one scope each, and no wildcard"));
        }
        Ok(scope)
    };
    let grants = grants.iter();
    grants.map(|grant| Ok(ScopeGrant { needs: read(&grant.needs)?, gives: read(&grant.gives)? })).collect()
}

pub(super) fn patterns(field: &'static str, of: &str, texts: &[String]) -> Result<Vec<ClientPattern>, InvalidMetadata> {
    let parsed = texts.iter().map(|text| ClientPattern::parse(text)).collect::<Option<_>>();
    parsed.ok_or_else(|| invalid(field, &format!("{of}{}", ClientPattern::SHAPE)))
}
