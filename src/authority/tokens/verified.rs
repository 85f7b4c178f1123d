//! A token with a verified signature, parsed completely: a use of the token decodes nothing again.

use std::sync::Arc;
use std::sync::OnceLock;

use arc_swap::ArcSwapOption;
use spiffe::SpiffeId;
use spiffe::TrustDomain;

use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::parse_spiffe_id;
use crate::authority::keys::KeyId;
use crate::authority::registration::ClientId;
use crate::authority::scope::Scope;
use crate::authority::tokens::claims::AccessTokenClaims;
use crate::authority::tokens::delegation::Actors;
use crate::authority::tokens::delegation::ParsedAncestor;
use crate::authority::tokens::permitted::Compared;
use crate::authority::tokens::permitted::Permitted;
use crate::authority::tokens::printed::Printed;
use crate::authority::tokens::printed::PrintedForm;
use crate::authority::tokens::receipt::TokenHash;

/// A token whose signature verified with one of this server's keys. Time, audience, client and binding are not checked
/// yet; they are checked at every use.
#[derive(Debug)]
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
    /// The subject's SPIFFE ID, if it is one, of a delegated token: whom the holder acts for.
    pub subject_spiffe_id: Option<SpiffeId>,
    /// The certificate that the token is bound to (RFC 8705 section 3.1).
    pub bound_to: Option<CertificateThumbprint>,
    /// The SPIFFE ID of the certificate that the token is bound to: of the claim, or else the holder's. `None` where the
    /// certificate has none, or where the token was issued before there was that claim.
    pub bound_spiffe_id: Option<SpiffeId>,
    /// The granted scopes; `None` where the claim is not a list of scopes.
    pub scope: Option<Scope>,
    /// The tokens that it comes from, the first one first. `None` where its claims of that contradict each other.
    pub ancestors: Option<Box<[ParsedAncestor]>>,
    /// The result of the last comparison with what is registered.
    permitted: ArcSwapOption<Permitted>,
    printed: Printed,
    hash: OnceLock<TokenHash>,
}

impl VerifiedToken {
    /// Reads claims whose signature verified with this key.
    pub fn new(key_id: KeyId, claims: AccessTokenClaims) -> Self {
        let holder = ClientId::parse(&claims.client_id);
        let holder_spiffe_id = holder.as_ref().and_then(ClientId::spiffe_id);
        let subject_spiffe_id = claims.act.as_ref().and_then(|_| parse_spiffe_id(&claims.sub));
        let bound_to = claims.bound_to();
        let bound_spiffe_id = match &claims.lanyard_spiffe_id {
            Some(text) => parse_spiffe_id(text),
            None => holder_spiffe_id.clone(),
        };
        let scope = Scope::parse(claims.scope.as_deref().unwrap_or_default()).ok();
        let ancestors = claims.lanyard_from.parsed(&claims.client_id, claims.act.as_ref());
        Self {
            key_id,
            claims,
            holder,
            holder_spiffe_id,
            subject_spiffe_id,
            bound_to,
            bound_spiffe_id,
            scope,
            ancestors,
            permitted: ArcSwapOption::empty(),
            printed: Printed::default(),
            hash: OnceLock::new(),
        }
    }

    /// About how many bytes it takes, with what is parsed and printed of its claims.
    pub(in crate::authority) fn bytes(&self) -> usize {
        let AccessTokenClaims { iss, sub, aud, jti, client_id, scope, lanyard_creation, .. } = &self.claims;
        let texts = [iss, sub, jti, client_id, lanyard_creation].into_iter().chain(scope).chain(aud.all());
        let ancestors = self.claims.lanyard_from.0.iter().flat_map(|from| [&from.jti, &from.client_id, &from.creation]);
        let actors = self.claims.act.iter().flat_map(Actors::all).map(|actor| actor.len());
        let bytes = texts.chain(ancestors).map(String::len).sum::<usize>() + actors.sum::<usize>();
        // Parsed and printed, each text is there a few times.
        size_of::<Self>() + 512 + 4 * bytes
    }

    /// The token's claims as a protocol prints them, printed at the first use.
    pub fn printed(&self, form: PrintedForm, print: impl FnOnce(&AccessTokenClaims) -> Vec<u8>) -> &[u8] {
        self.printed.of(form, || print(&self.claims))
    }

    /// The hash of the token's text, which is this one, computed at the first use.
    pub(in crate::authority) fn hash_of(&self, text: &str) -> TokenHash {
        *self.hash.get_or_init(|| TokenHash::of(text))
    }

    /// What the registrations permit of the token. It is compared with them once, and again after one of them, a bundle
    /// or a client CA has changed. `trust` returns whether the client's CA is no longer configured, and the trust domain
    /// whose bundle proves the client.
    pub fn permitted(
        &self,
        compared: Compared<'_>,
        trust: impl FnOnce() -> (bool, Option<TrustDomain>),
    ) -> Arc<Permitted> {
        if let Some(last) = &*self.permitted.load()
            && last.is_of(compared)
        {
            return Arc::clone(last);
        }
        let (client_ca_removed, trust_domain) = trust();
        let token = (&self.claims, self.scope.as_ref(), self.bound_to);
        let permitted = Arc::new(Permitted::compare(token, compared, client_ca_removed, trust_domain));
        self.permitted.store(Some(Arc::clone(&permitted)));
        permitted
    }

    /// The claims that count at a use, where these are fewer than the token has: the scopes that are both permitted and
    /// among those that `counts` accepts, and the audiences that are permitted.
    pub fn narrowed(&self, permitted: &Permitted, counts: impl Fn(&str) -> bool) -> Option<Arc<AccessTokenClaims>> {
        let whole = permitted.scope.is_none() && self.scope.as_ref().is_none_or(|scope| scope.all(&counts));
        // The usual case.
        if whole && permitted.audience.is_none() {
            return None;
        }
        let mut claims = self.claims.clone();
        if let Some(scope) = permitted.scope.as_ref().or(self.scope.as_ref()).filter(|_| !whole) {
            let left = scope.restricted(counts);
            claims.scope = (!left.is_empty()).then(|| left.to_string());
        }
        if let Some(audience) = &permitted.audience {
            claims.aud = audience.clone();
        }
        Some(Arc::new(claims))
    }
}
