//! The client assertion of a request (RFC 7521 section 4.2).

use std::fmt;

use spiffe::SpiffeId;

use crate::authority::trust::IssuerJwt;
use crate::authority::trust::JwtSvid;

/// The type of a JWT-SVID (draft-ietf-oauth-spiffe-client-auth section 3.1).
pub const JWT_SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

/// The type of a JWT of a trusted issuer (RFC 7523 section 2.2). Its `iss` says whose keys prove it.
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A client assertion that has been proven.
#[derive(Clone, Debug, PartialEq)]
pub enum ProvenAssertion {
    /// A JWT-SVID.
    Svid(JwtSvid),
    /// A JWT of a trusted issuer.
    Issuer(Box<IssuerJwt>),
}

impl ProvenAssertion {
    /// The SPIFFE ID that it proves, if it proves one.
    pub fn spiffe_id(&self) -> Option<&SpiffeId> {
        match self {
            Self::Svid(svid) => Some(svid.spiffe_id()),
            Self::Issuer(_) => None,
        }
    }
}

/// For people: who is asserted.
impl fmt::Display for ProvenAssertion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Svid(svid) => svid.spiffe_id().fmt(formatter),
            Self::Issuer(jwt) => write!(formatter, "{} of {}", jwt.subject(), jwt.issuer()),
        }
    }
}

/// The two parameters as received.
#[derive(Clone, Default)]
pub struct ClientAssertion {
    /// The parameter `client_assertion_type`.
    pub assertion_type: Option<String>,
    /// The parameter `client_assertion`.
    pub assertion: Option<String>,
}

impl ClientAssertion {
    /// Whether either parameter is present.
    pub fn is_present(&self) -> bool {
        self.assertion_type.is_some() || self.assertion.is_some()
    }
}

/// Omits the assertion, since anyone who has it can use it: it must not reach a log.
impl fmt::Debug for ClientAssertion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ClientAssertion").field("is_present", &self.is_present()).finish_non_exhaustive()
    }
}
