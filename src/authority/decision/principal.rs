//! Compares the peer that a proxy reports with the certificate that a token is bound to.

use crate::authority::identity::is_text_of;
use crate::authority::identity::parse_spiffe_id;
use crate::authority::registration::ClientRegistration;
use crate::authority::registration::TokenEndpointAuthMethod;
use crate::authority::tokens::VerifiedToken;

/// Whether a principal contradicts the certificate that the token is bound to, whatever a header says. The principal is
/// the first URI name of the peer's certificate, or else its first DNS name, or its subject: a peer with the SPIFFE ID
/// of that certificate has no other principal.
///
/// A token that was issued before the claim `lanyard_spiffe_id` existed is compared with its `client_id` or with the
/// registered `tls_client_auth_san_uri`, where that is a SPIFFE ID, and else with nothing.
pub(in crate::authority::decision) fn is_another_workload(
    principal: &str,
    token: &VerifiedToken,
    registration: &ClientRegistration,
) -> bool {
    if let Some(bound) = &token.bound_spiffe_id {
        return !is_text_of(principal, bound);
    }
    if token.claims.lanyard_spiffe_id.is_some() {
        // The certificate has no SPIFFE ID. Its DNS name or subject is not known here.
        return parse_spiffe_id(principal).is_some();
    }
    match &registration.method {
        TokenEndpointAuthMethod::TlsClientAuth(registered) => {
            registered.subject.spiffe_id().is_some_and(|id| !is_text_of(principal, &id))
        }
        TokenEndpointAuthMethod::SelfSignedTlsClientAuth(_)
        | TokenEndpointAuthMethod::PublishedTlsClientAuth(_)
        | TokenEndpointAuthMethod::IssuerJwt(_)
        | TokenEndpointAuthMethod::Spiffe(..) => false,
    }
}
