//! The scopes that count for a token: those that its resources define (RFC 9068 section 2.2.3).

use std::sync::Arc;

use crate::authority::scope::Scope;

/// The scopes that count at several audiences together.
#[derive(Clone, Debug)]
pub enum DefinedScopes {
    /// All: one of the audiences is no registered resource, or its resource defines no scope.
    Every,
    /// Those that one of these resources defines.
    Of(Vec<Arc<Scope>>),
}

impl DefinedScopes {
    /// Whether a scope counts at one of the audiences.
    pub fn counts(&self, scope: &str) -> bool {
        match self {
            Self::Every => true,
            Self::Of(defined) => defined.iter().any(|defined| defined.contains(scope)),
        }
    }
}
