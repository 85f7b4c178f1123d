//! Introspection (RFC 7662): whether a token is active, as far as the requester may know.

use std::sync::Arc;

use crate::authority::Authority;
use crate::authority::access::Requester;
use crate::authority::api::audit::one_step;
use crate::authority::api::bindings::Use;
use crate::authority::decision::Check;
use crate::authority::decision::ClientAssertion;
use crate::authority::decision::Decision;
use crate::authority::decision::GrantError;
use crate::authority::decision::Mismatch;
use crate::authority::decision::Step;
use crate::authority::decision::authenticate;
use crate::authority::decision::explain_client;
use crate::authority::deny_reason::DenyReason;
use crate::authority::evidence::Evidence;
use crate::authority::evidence::EvidenceGrade;
use crate::authority::identity::PeerIdentity;
use crate::authority::observe::fix;
use crate::authority::reference::Refused;
use crate::authority::registration::ClientId;
use crate::authority::resources::Demands;
use crate::authority::scope::Scope;
use crate::authority::state::Caller;
use crate::authority::state::Undecidable;
use crate::authority::state::View;
use crate::authority::tokens::AccessTokenClaims;
use crate::authority::tokens::Ancestry;
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
    ) -> Result<Requester, Refused<GrantError>> {
        self.authenticated(caller, client_id, assertion)
            .map_err(|(error, steps)| self.record_client_refused(caller, client_id, error, steps))
    }

    fn authenticated(
        &self,
        caller: &Caller,
        client_id: Option<&str>,
        assertion: &ClientAssertion,
    ) -> Result<Requester, (GrantError, Vec<Step>)> {
        let Caller { identity, roles, view, .. } = caller;
        let has_role = roles.reads_all() || roles.revokes_all() || roles.proxy.is_some();
        let ended_at = |check| move |error: GrantError| (error, one_step(check, &error.to_string(), ""));
        let assertion = self.prove_assertion(view, assertion).map_err(ended_at(Check::ClientAssertion))?;
        let credentials = self.credentials(identity, assertion.as_ref());
        let named = match credentials.name(client_id).map_err(ended_at(Check::ClientId))? {
            Some(named) => named,
            None if has_role => {
                return Ok(Requester { client_id: None, roles: roles.clone(), sender: caller.sender() });
            }
            None => return Err(ended_at(Check::ClientId)(GrantError::InvalidRequest)),
        };
        let client_id = match authenticate(&view.snapshot, credentials, &named, view.now) {
            Ok(_) => {
                let taken = self.take_assertion(credentials, &named, view.now);
                taken.map_err(ended_at(Check::ClientAssertion))?;
                Some(named)
            }
            Err(Mismatch::UnknownClient) if has_role && assertion.is_none() && is_itself(identity, &named) => None,
            Err(mismatch) => {
                return Err((mismatch.into(), explain_client(&view.snapshot, credentials, &named, view.now)));
            }
        };
        Ok(Requester { client_id, roles: roles.clone(), sender: caller.sender() })
    }

    /// The claims that count of a token, if it is active and the requester may know it: exactly when `ValidateBinding`
    /// would allow its use with the certificate that it is bound to, at a protected resource that the requester
    /// represents. An admin or an auditor represents all resources, a proxy those that it fronts, a client the one whose audience is
    /// its own name. The client that a token was issued to may know it too, wherever it is accepted. `None` does not tell
    /// why (RFC 7662 section 2.2). Of several such resources the one counts that bears the least staleness.
    pub fn introspect(
        &self,
        view: &View,
        requester: &Requester,
        access_token: &str,
    ) -> Result<Option<Arc<AccessTokenClaims>>, Refused<Undecidable>> {
        let verified = self.verified(view, access_token);
        let spoken_for = verified.as_ref().map(|token| (token, may_know(requester, token)));
        let bound = spoken_for.ok().and_then(|(token, may_know)| {
            view.shortest_bound(token.claims.aud.all().iter().map(String::as_str).filter(|audience| may_know(audience)))
        });
        view.freshness(bound).map_err(|why| {
            let ended = (Check::Freshness, fix::of_no_decision(why.into()));
            let reference = self.record_refused(&requester.sender, "introspection", why.code(), why.sentence(), ended);
            Refused { error: why, reference }
        })?;
        let mut steps = Vec::new();
        let outcome =
            verified.map_err(|why| (why, None)).and_then(|token| self.active(view, requester, token, &mut steps));
        let found = outcome.as_deref().map_err(|(why, token)| (*why, token.as_deref().map(|token| &token.claims)));
        if let (Err((why, _)), true) = (found, steps.is_empty()) {
            steps = one_step(Check::Signature, &why.to_string(), "a token that the requester may know");
        }
        self.record_introspected(view, requester, found, steps);
        // No reference goes to the requester: it may not learn why (RFC 7662 section 2.2).
        Ok(outcome.ok())
    }

    /// The claims that count of a token if it is active; else the reason, and the token.
    fn active(
        &self,
        view: &View,
        requester: &Requester,
        token: Arc<VerifiedToken>,
        steps: &mut Vec<Step>,
    ) -> Result<Arc<AccessTokenClaims>, (DenyReason, Option<Arc<VerifiedToken>>)> {
        // An introspection request carries no certificate, so the token is evaluated with the one that it is bound to.
        let evidence = token.bound_to.map(Evidence::Thumbprint);
        let may_know = may_know(requester, &token);
        let mut reason = DenyReason::WrongAudience;
        for audience in token.claims.aud.all().iter().filter(|audience| may_know(audience)) {
            let resource = view.snapshot.resources.named(audience).map(|registered| &registered.registration);
            // The grade of the evidence is not checked: the resource's requirement does not matter here.
            let demands = Demands {
                deleted: view.snapshot.resources.deleted(audience).is_some(),
                least_evidence: EvidenceGrade::Thumbprint,
                ..Demands::of(audience, resource, Scope::default())
            };
            let (decision, permitted, decided) =
                self.evaluate(view, &token, Use::new(evidence.as_ref(), &demands), || None);
            *steps = decided;
            match (decision, permitted) {
                (Decision::Allow(_), permitted) => {
                    let permitted = permitted.ok_or((DenyReason::ClientUnknown, None))?;
                    let left = permitted.audience.as_ref().unwrap_or(&token.claims.aud);
                    let resources = &view.snapshot.resources;
                    let spoken_for =
                        left.all().iter().filter(|audience| may_know(audience) && !resources.is_suspended(audience));
                    let counted = resources.defined_by(spoken_for.map(String::as_str));
                    let narrowed = token.narrowed(&permitted, |scope| counted.counts(scope));
                    let counting = narrowed.unwrap_or_else(|| Arc::new(token.claims.clone()));
                    return Ok(without_ancestry(counting));
                }
                // The registration may have lost this audience, and not the next one; and so for deleted and suspended
                // resources.
                (Decision::Deny(DenyReason::WrongAudience), _) => {}
                (Decision::Deny(why @ (DenyReason::ResourceDeleted | DenyReason::ResourceSuspended)), _) => {
                    reason = why;
                }
                (Decision::Deny(why), _) => return Err((why, Some(token))),
            }
        }
        Err((reason, Some(token)))
    }
}

/// The audiences of a token for which a requester may know it.
fn may_know<'a>(requester: &'a Requester, token: &VerifiedToken) -> impl Fn(&str) -> bool + use<'a> {
    let own = requester.client_id.is_some() && requester.client_id == token.holder;
    move |audience| own || requester.speaks_for(audience)
}

/// The claims without the identifiers of the tokens that the token comes from, which are nobody else's to know.
fn without_ancestry(mut claims: Arc<AccessTokenClaims>) -> Arc<AccessTokenClaims> {
    if !claims.lanyard_from.is_empty() {
        Arc::make_mut(&mut claims).lanyard_from = Ancestry::default();
    }
    claims
}

fn is_itself(identity: &PeerIdentity, named: &ClientId) -> bool {
    identity.spiffe_id().is_some_and(|id| ClientId::from(id) == *named)
}
