//! What proves a client besides its certificate: an assertion (RFC 7521 section 4.2), which is a JWT-SVID
//! (draft-ietf-oauth-spiffe-client-auth section 3.1) or nothing.

use crate::authority::Authority;
use crate::authority::decision::ClientAssertion;
use crate::authority::decision::GrantError;
use crate::authority::decision::JWT_SPIFFE;
use crate::authority::state::View;
use crate::authority::trust::JwtSvid;

impl Authority {
    /// Proves the assertion of a request, if there is one. It may be used again until it expires; what makes it useless in
    /// other hands is the certificate that has to come with it.
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
