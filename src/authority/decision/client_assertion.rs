//! The client assertion of a request (RFC 7521 section 4.2).

use std::fmt;

/// The only type of client assertion that is served.
pub const JWT_SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

/// The two parameters as they came.
#[derive(Clone, Default)]
pub struct ClientAssertion {
    /// `client_assertion_type`.
    pub assertion_type: Option<String>,
    /// `client_assertion`.
    pub assertion: Option<String>,
}

impl ClientAssertion {
    /// Whether either came.
    pub fn is_present(&self) -> bool {
        self.assertion_type.is_some() || self.assertion.is_some()
    }
}

/// Who has an assertion can use it: it reaches no log.
impl fmt::Debug for ClientAssertion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ClientAssertion").field("is_present", &self.is_present()).finish_non_exhaustive()
    }
}
