//! An issued token, for the response to its client.

use std::fmt;
use std::time::Duration;

use crate::authority::scope::Scope;

/// A token, and what the response says about it (RFC 6749 section 5.1).
#[derive(Clone)]
pub struct IssuedToken {
    /// The JWT.
    pub access_token: String,
    /// The lifetime of the token.
    pub expires_in: Duration,
    /// The granted scopes.
    pub scope: Scope,
}

/// The token itself is never logged.
impl fmt::Debug for IssuedToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("IssuedToken").field("scope", &self.scope).finish_non_exhaustive()
    }
}
