//! The client assertion of a request (RFC 7521 section 4.2).

use std::fmt;

/// The only supported type of client assertion.
pub const JWT_SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

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
