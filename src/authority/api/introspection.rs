//! Introspection (RFC 7662): whether a token is active, as far as the requester may know.

use std::sync::Arc;

use crate::authority::Authority;
use crate::authority::access::Requester;
use crate::authority::decision::ClientAssertion;
use crate::authority::decision::Decision;
use crate::authority::decision::GrantError;
use crate::authority::decision::Mismatch;
use crate::authority::decision::NoDecision;
use crate::authority::decision::authenticate;
use crate::authority::deny_reason::DenyReason;
use crate::authority::evidence::Evidence;
use crate::authority::evidence::EvidenceGrade;
use crate::authority::identity::PeerIdentity;
use crate::authority::registration::ClientId;
use crate::authority::resources::Demands;
use crate::authority::scope::Scope;
use crate::authority::state::Caller;
use crate::authority::state::Stale;
use crate::authority::state::View;
use crate::authority::tokens::VerifiedToken;

impl Authority {
    /// Authenticates a caller at the introspection, revocation and registration endpoints as at the token endpoint (RFC
    /// 8705 section 1). Proxies and admins need no registration; the `client_id` that they send, if any, is their
    /// SPIFFE ID.
    pub fn requester(
        &self,
        caller: &Caller,
        client_id: Option<&str>,
        assertion: &ClientAssertion,
    ) -> Result<Requester, GrantError> {
        let requester = self.authenticated(caller, client_id, assertion);
        if let Err(error) = &requester {
            self.record_client_refused(&caller.identity, client_id, *error);
        }
        requester
    }

    fn authenticated(
        &self,
        caller: &Caller,
        client_id: Option<&str>,
        assertion: &ClientAssertion,
    ) -> Result<Requester, GrantError> {
        let Caller { identity, roles, view } = caller;
        let has_role = roles.admin || roles.proxy.is_some();
        let assertion = self.prove_assertion(view, assertion)?;
        let credentials = self.credentials(identity, assertion.as_ref());
        let named = match credentials.name(client_id)? {
            Some(named) => named,
            None if has_role => return Ok(Requester { client_id: None, roles: roles.clone() }),
            None => return Err(GrantError::InvalidRequest),
        };
        let client_id = match authenticate(&view.snapshot, credentials, &named, view.now) {
            Ok(_) => Some(named),
            Err(Mismatch::UnknownClient) if has_role && assertion.is_none() && is_itself(identity, &named) => None,
            Err(mismatch) => return Err(mismatch.into()),
        };
        Ok(Requester { client_id, roles: roles.clone() })
    }

    /// The token, if it is active and the requester may know it: exactly when `ValidateBinding` would allow its use
    /// with the certificate that it is bound to, at a protected resource that the requester represents. An admin
    /// represents all resources, a proxy those that it fronts, a client the one whose audience is its own name. The
    /// client that a token was issued to may know it too, wherever it is accepted. `None` does not tell why (RFC 7662
    /// section 2.2).
    pub fn introspect(
        &self,
        view: &View,
        requester: &Requester,
        access_token: &str,
    ) -> Result<Option<Arc<VerifiedToken>>, Stale> {
        view.freshness().inspect_err(|stale| {
            let (peer, reason) = (requester.client_id.as_ref().map(ClientId::as_str), NoDecision::Stale(*stale).code());
            self.record_refused(peer, "introspection", reason, stale.sentence());
        })?;
        let outcome = self.active(view, requester, access_token);
        self.record_introspected(requester.client_id.as_ref(), outcome.as_deref().map_err(|why| *why));
        Ok(outcome.ok())
    }

    fn active(&self, view: &View, requester: &Requester, access_token: &str) -> Result<Arc<VerifiedToken>, DenyReason> {
        let token = self.verified(view, access_token)?;
        let own = requester.client_id.is_some() && requester.client_id == token.holder;
        // An introspection request carries no certificate, so the token is evaluated with the one that it is bound to.
        let evidence = token.bound_to.map(Evidence::Thumbprint);
        let mut denied = None;
        for audience in token.claims.aud.all().iter().filter(|audience| own || requester.speaks_for(audience)) {
            let resource = view.snapshot.resources.named(audience).map(|registered| &registered.registration);
            // The grade of the evidence is not checked: the resource's requirement does not matter here.
            let demands = Demands {
                least_evidence: EvidenceGrade::Thumbprint,
                ..Demands::of(audience, resource, Scope::default())
            };
            match self.evaluate(view, &token, evidence.as_ref(), &demands) {
                Decision::Allow(_) => return Ok(token),
                Decision::Deny(why) => denied = denied.or(Some(why)),
            }
        }
        Err(denied.unwrap_or(DenyReason::WrongAudience))
    }
}

fn is_itself(identity: &PeerIdentity, named: &ClientId) -> bool {
    identity.spiffe_id().is_some_and(|id| ClientId::from(id) == *named)
}
