//! What proves a client besides its certificate: an assertion (RFC 7521 section 4.2), which is a JWT-SVID
//! (draft-ietf-oauth-spiffe-client-auth section 3.1) or nothing.

use std::fmt;

use crate::authority::Authority;
use crate::authority::grant::GrantError;
use crate::authority::jwt_svid::JwtSvid;

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

impl Authority {
    /// Proves the assertion of a request, if there is one. It may be used again until it expires; what makes it useless in
    /// other hands is the certificate that has to come with it.
    pub(in crate::authority) fn prove_assertion(
        &self,
        brought: &ClientAssertion,
    ) -> Result<Option<JwtSvid>, GrantError> {
        match (brought.assertion_type.as_deref(), brought.assertion.as_deref()) {
            (None, None) => Ok(None),
            (Some(JWT_SPIFFE), Some(assertion)) => {
                let proven = self.trust().prove_jwt_svid(assertion, &self.policy().issuer, self.clock().now());
                proven.map(Some).map_err(GrantError::InvalidAssertion)
            }
            (Some(_), Some(_)) => Err(GrantError::UnknownAssertionType),
            (Some(_), None) | (None, Some(_)) => Err(GrantError::HalfAnAssertion),
        }
    }
}
