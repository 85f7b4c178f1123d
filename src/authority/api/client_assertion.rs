//! Client assertions (RFC 7521 section 4.2), which authenticate a client in addition to its certificate. An assertion
//! is a JWT-SVID (draft-ietf-oauth-spiffe-client-auth section 3.1); no other kind is accepted.

use crate::authority::Authority;
use crate::authority::decision::ClientAssertion;
use crate::authority::decision::GrantError;
use crate::authority::decision::JWT_SPIFFE;
use crate::authority::state::View;
use crate::authority::trust::JwtSvid;

impl Authority {
    /// Verifies the assertion of a request, if there is one. It may be used again until it expires; a stolen assertion
    /// is useless without the certificate that has to accompany it.
    pub(in crate::authority) fn prove_assertion(
        &self,
        view: &View,
        presented: &ClientAssertion,
    ) -> Result<Option<JwtSvid>, GrantError> {
        match (presented.assertion_type.as_deref(), presented.assertion.as_deref()) {
            (None, None) => Ok(None),
            (Some(JWT_SPIFFE), Some(assertion)) => {
                let proven = view.trust.prove_jwt_svid(assertion, &self.policy.issuer, view.now);
                proven.map(Some).map_err(GrantError::InvalidAssertion)
            }
            (Some(_), Some(_)) => Err(GrantError::UnknownAssertionType),
            (Some(_), None) | (None, Some(_)) => Err(GrantError::HalfAnAssertion),
        }
    }
}
