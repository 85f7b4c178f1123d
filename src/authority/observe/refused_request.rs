//! Requests that a protocol refuses before it calls the core.

use crate::authority::decision::GrantErrorCode;

/// The kind of a refused request, with the code that the caller receives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RefusedRequest {
    /// A token request.
    Token(GrantErrorCode),
    /// An introspection request.
    Introspection(&'static str),
    /// A revocation request.
    Revocation(&'static str),
    /// A dynamic registration request.
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
