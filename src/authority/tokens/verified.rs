//! A token with a verified signature, parsed completely: a use of the token decodes nothing again.

use spiffe::SpiffeId;

use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::parse_spiffe_id;
use crate::authority::keys::KeyId;
use crate::authority::registration::ClientId;
use crate::authority::scope::Scope;
use crate::authority::tokens::claims::AccessTokenClaims;

/// A token whose signature verified with one of this server's keys. Time, audience, client and binding are not checked
/// yet; they are checked at every use.
#[derive(Clone, Debug)]
pub struct VerifiedToken {
    /// The key that verified it. Whether that key is still in the key set is checked at every use too.
    pub key_id: KeyId,
    /// The claims of the token.
    pub claims: AccessTokenClaims,
    /// The holder: its `client_id`, which may differ from its `sub`. Evidence, rotation and trust domains are decided
    /// by the holder. `None` where the claim is not a valid `client_id`.
    pub holder: Option<ClientId>,
    /// The holder's SPIFFE ID, if its `client_id` is one.
    pub holder_spiffe_id: Option<SpiffeId>,
    /// The certificate that the token is bound to (RFC 8705 section 3.1).
    pub bound_to: Option<CertificateThumbprint>,
    /// The SPIFFE ID of the certificate that the token is bound to: of the claim, or else the holder's. `None` where the
    /// certificate has none, or where the token was issued before there was that claim.
    pub bound_spiffe_id: Option<SpiffeId>,
    /// The granted scopes; `None` where the claim is not a list of scopes.
    pub scope: Option<Scope>,
}

impl VerifiedToken {
    /// Reads claims whose signature verified with this key.
    pub fn new(key_id: KeyId, claims: AccessTokenClaims) -> Self {
        let holder = ClientId::parse(&claims.client_id);
        let holder_spiffe_id = holder.as_ref().and_then(ClientId::spiffe_id);
        let bound_to = claims.bound_to();
        let bound_spiffe_id = match &claims.lanyard_spiffe_id {
            Some(text) => parse_spiffe_id(text),
            None => holder_spiffe_id.clone(),
        };
        let scope = Scope::parse(claims.scope.as_deref().unwrap_or_default()).ok();
        Self { key_id, claims, holder, holder_spiffe_id, bound_to, bound_spiffe_id, scope }
    }
}
