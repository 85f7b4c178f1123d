//! Client assertions (RFC 7521 section 4.2), which authenticate a client in addition to its certificate: a JWT-SVID
//! (draft-ietf-oauth-spiffe-client-auth section 3.1), or a JWT of a trusted issuer (RFC 7523 section 2.2).

use crate::authority::Authority;
use crate::authority::clock::Timestamp;
use crate::authority::decision::ClientAssertion;
use crate::authority::decision::Credentials;
use crate::authority::decision::GrantError;
use crate::authority::decision::JWT_BEARER;
use crate::authority::decision::JWT_SPIFFE;
use crate::authority::decision::Mismatch;
use crate::authority::decision::ProvenAssertion;
use crate::authority::observe::Quota;
use crate::authority::registration::ClientId;
use crate::authority::state::View;
use crate::authority::trust::NotTaken;

impl Authority {
    /// Verifies the assertion of a request, if there is one. It may be used again until it expires. A stolen JWT-SVID is
    /// useless without the certificate that has to accompany it; for one of another issuer see
    /// [`Authority::take_assertion`].
    pub(in crate::authority) fn prove_assertion(
        &self,
        view: &View,
        presented: &ClientAssertion,
    ) -> Result<Option<ProvenAssertion>, GrantError> {
        match (presented.assertion_type.as_deref(), presented.assertion.as_deref()) {
            (None, None) => Ok(None),
            (Some(JWT_SPIFFE), Some(assertion)) => {
                let proven = view.trust.prove_jwt_svid(assertion, &self.policy.issuer, view.now);
                proven.map(|svid| Some(ProvenAssertion::Svid(svid))).map_err(GrantError::InvalidAssertion)
            }
            (Some(JWT_BEARER), Some(assertion)) => {
                let proven = view.trust.prove_issuer_jwt(assertion, view.now);
                let proven = proven.map(|jwt| Some(ProvenAssertion::Issuer(Box::new(jwt))));
                proven.map_err(GrantError::InvalidIssuerJwt)
            }
            (Some(_), Some(_)) => Err(GrantError::UnknownAssertionType),
            (Some(_), None) | (None, Some(_)) => Err(GrantError::HalfAnAssertion),
        }
    }

    /// Ties the assertion of a trusted issuer that has authenticated a client to the certificate of its connection, at its
    /// first use and until it expires. Over a connection with another one it authenticates nobody from then on.
    pub(in crate::authority::api) fn take_assertion(
        &self,
        credentials: Credentials<'_>,
        client_id: &ClientId,
        now: Timestamp,
    ) -> Result<(), GrantError> {
        let Some(ProvenAssertion::Issuer(jwt)) = credentials.assertion else { return Ok(()) };
        self.assertion_uses.take(jwt, client_id, credentials.peer.thumbprint(), now).map_err(|why| match why {
            NotTaken::OtherCertificate | NotTaken::Before => {
                self.metrics.assertion_reused();
                GrantError::InvalidClient(Mismatch::AssertionReused)
            }
            NotTaken::TooMany => {
                self.metrics.quota_exceeded(Quota::Assertions);
                GrantError::TooManyAssertions
            }
        })
    }
}
