//! A request that a protocol refuses before the core is asked.

use crate::authority::decision::GrantErrorCode;

/// What a refused request was for, with the code that the caller gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RefusedRequest {
    /// A token.
    Token(GrantErrorCode),
    /// An introspection.
    Introspection(&'static str),
    /// A revocation.
    Revocation(&'static str),
    /// A dynamic registration.
    Registration(&'static str),
}

impl RefusedRequest {
    pub(in crate::authority) fn name(self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::Introspection(_) => "introspection",
            Self::Revocation(_) => "revocation",
            Self::Registration(_) => "registration",
        }
    }

    pub(in crate::authority) fn reason(self) -> &'static str {
        match self {
            Self::Token(code) => code.as_str(),
            Self::Introspection(reason) | Self::Revocation(reason) | Self::Registration(reason) => reason,
        }
    }
}
