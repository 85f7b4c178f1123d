//! A token whose signature verified, read whole: nothing in it is decoded again at a use.

use spiffe::SpiffeId;

use crate::authority::identity::CertificateThumbprint;
use crate::authority::keys::KeyId;
use crate::authority::registration::ClientId;
use crate::authority::scope::Scope;
use crate::authority::tokens::claims::AccessTokenClaims;

/// A token whose signature verified under one of our keys. That is all it says: nothing about time, audience, client or
/// binding, which are looked at on every use.
#[derive(Clone, Debug)]
pub struct VerifiedToken {
    /// The key that verified it; whether that key still counts is looked at on every use too.
    pub key_id: KeyId,
    /// What it says.
    pub claims: AccessTokenClaims,
    /// Who holds it: its `client_id`, whoever its `sub` is. Evidence, rotation and trust domains go by the holder. `None`
    /// where the claim is no `client_id`.
    pub holder: Option<ClientId>,
    /// The holder's SPIFFE ID, where its `client_id` is one.
    pub holder_spiffe_id: Option<SpiffeId>,
    /// The certificate that it is bound to (RFC 8705 section 3.1).
    pub bound_to: Option<CertificateThumbprint>,
    /// The granted scopes; `None` where the claim is no list of scopes.
    pub scope: Option<Scope>,
}

impl VerifiedToken {
    /// Reads the claims that a key signed.
    pub fn new(key_id: KeyId, claims: AccessTokenClaims) -> Self {
        let holder = ClientId::parse(&claims.client_id);
        let holder_spiffe_id = holder.as_ref().and_then(ClientId::spiffe_id);
        let bound_to = claims.bound_to();
        let scope = Scope::parse(claims.scope.as_deref().unwrap_or_default()).ok();
        Self { key_id, claims, holder, holder_spiffe_id, bound_to, scope }
    }
}
