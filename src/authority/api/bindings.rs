//! Handles a `ValidateBinding`: the caller's permission, the token's signature, then the decision in `binding`.

use std::sync::Arc;

use spiffe::SpiffeId;

use crate::authority::Authority;
use crate::authority::api::audit::one_step;
use crate::authority::api::receipts::Presentation;
use crate::authority::decision::Admissible;
use crate::authority::decision::BindingRequest;
use crate::authority::decision::Check;
use crate::authority::decision::Decision;
use crate::authority::decision::Evaluation;
use crate::authority::decision::NoDecision;
use crate::authority::decision::PresentedEvidence;
use crate::authority::decision::ProvingTrust;
use crate::authority::decision::Step;
use crate::authority::decision::ValidateRequest;
use crate::authority::decision::admissible;
use crate::authority::decision::decide;
use crate::authority::decision::explain;
use crate::authority::deny_reason::DenyReason;
use crate::authority::evidence::Evidence;
use crate::authority::evidence::EvidenceFrom;
use crate::authority::evidence::SeenPeer;
use crate::authority::observe;
use crate::authority::reference::Refused;
use crate::authority::registration::ClientStatus;
use crate::authority::registration::RegisteredClient;
use crate::authority::registration::Rotation;
use crate::authority::registration::TokenEndpointAuthMethod;
use crate::authority::resources::Demands;
use crate::authority::scope::Scope;
use crate::authority::state::Asker;
use crate::authority::state::View;
use crate::authority::tokens::Compared;
use crate::authority::tokens::Permitted;
use crate::authority::tokens::VerifiedToken;

/// A use of a token, as it is evaluated.
#[derive(Clone, Copy)]
pub(in crate::authority::api) struct Use<'a> {
    /// What is known about the certificate, if anything.
    pub(in crate::authority::api) evidence: Option<&'a Evidence>,
    /// The name of the proxy's immediate peer, where the user of the token must be that peer.
    pub(in crate::authority::api) principal: Option<&'a str>,
    /// The requirements of the resource.
    pub(in crate::authority::api) demands: &'a Demands<'a>,
    /// Whether an allowance has its steps, as a denial has.
    pub(in crate::authority::api) explained: bool,
}

impl<'a> Use<'a> {
    /// A use of which only a denial is explained.
    pub(in crate::authority::api) fn new(evidence: Option<&'a Evidence>, demands: &'a Demands<'a>) -> Self {
        Self { evidence, principal: None, demands, explained: false }
    }
}

impl Authority {
    /// Decides on one use of one token.
    pub fn validate_binding(
        &self,
        caller: &Asker,
        request: ValidateRequest<'_>,
    ) -> Result<Evaluation, Refused<NoDecision>> {
        let audience = request.audience;
        self.evaluate_request(caller, request).map_err(|why| self.record_not_decided(caller, audience, why))
    }

    fn evaluate_request(&self, caller: &Asker, request: ValidateRequest<'_>) -> Result<Evaluation, NoDecision> {
        let Asker { identity, roles, view, .. } = caller;
        let asked = request.audience.filter(|audience| !audience.is_empty());
        let asked = asked.or_else(|| roles.proxy.as_ref()?.only());
        view.freshness(asked.and_then(|audience| view.snapshot.resources.bound_of(audience)))?;
        if request.access_token.is_empty() {
            return Err(NoDecision::TokenMissing);
        }
        let scope = Scope::parse(request.scope).map_err(|_| NoDecision::ScopeMalformed)?;
        // Only of another connection: what a workload says of its own is no presentation to somebody else.
        let is_of_another = matches!(request.evidence, PresentedEvidence::Of(_) | PresentedEvidence::Forwarded(_));
        let admissible = admissible(identity, roles, request.evidence)?;
        let audience = request.audience.filter(|audience| !audience.is_empty());
        let audience = match (audience, &roles.proxy) {
            (Some(audience), Some(fronted)) if !fronted.includes(audience) => return Err(NoDecision::ForeignResource),
            (Some(audience), _) => audience,
            (None, Some(fronted)) => fronted.only().ok_or(NoDecision::AudienceMissing)?,
            (None, None) => return Err(NoDecision::AudienceMissing),
        };
        let resource = view.snapshot.resources.named(audience).map(|registered| &registered.registration);
        let from = resource.map_or(&EvidenceFrom::Peer, |resource| &resource.evidence_from);
        let (evidence, forwarded) = match admissible {
            Admissible::Evidence(evidence) => (evidence, None),
            Admissible::Header(forwarded) => {
                let seen = SeenPeer { forwarded: &forwarded, presented: true, ..SeenPeer::default() };
                (seen.evidence(identity.spiffe_id(), from)?, Some(forwarded))
            }
        };
        let reported = || {
            let seen = SeenPeer { forwarded: forwarded.as_deref()?, presented: true, ..SeenPeer::default() };
            seen.reported_spiffe_id(identity.spiffe_id(), from)
        };
        let deleted = view.snapshot.resources.deleted(audience).is_some();
        let demands = Demands { deleted, ..Demands::of(audience, resource, scope) };
        let mut evaluation =
            self.evaluate_text(view, request.access_token, Use::new(evidence.as_ref(), &demands), reported);
        evaluation.one_use = request.receipt;
        if let (true, Decision::Allow(verdict), Some(resource), Some(token)) =
            (request.receipt && is_of_another, &evaluation.decision, resource, &evaluation.token)
        {
            let presentation = Presentation {
                text: request.access_token,
                token,
                narrowed: evaluation.narrowed.as_deref(),
                verdict,
                evidence: evidence.as_ref(),
                route: None,
                destination: "",
            };
            evaluation.receipt = self.receipt_of(caller, resource, &presentation);
        }
        let asked = (audience, resource);
        evaluation.reference = self.record_binding_decided(caller, asked, evidence.as_ref(), &mut evaluation);
        if let Some(resource) = resource {
            self.roll_up_binding(view, resource, &demands.scope, (evidence.as_ref(), &reported), &evaluation);
        }
        Ok(evaluation)
    }

    /// Verifies a token's signature with this server's keys.
    pub(in crate::authority) fn verified(
        &self,
        view: &View,
        access_token: &str,
    ) -> Result<Arc<VerifiedToken>, DenyReason> {
        let (verified, lookup) = self.verified.verify(&view.snapshot.keys, access_token);
        if let Some(lookup) = lookup {
            self.metrics.looked_up(observe::Cache::Tokens, lookup);
        }
        verified
    }

    /// Verifies the text of a token, and decides on its use. `reported` is the SPIFFE ID that a proxy reports beside a
    /// thumbprint.
    pub(in crate::authority::api) fn evaluate_text(
        &self,
        view: &View,
        access_token: &str,
        of: Use<'_>,
        reported: impl FnOnce() -> Option<SpiffeId>,
    ) -> Evaluation {
        let grade = of.evidence.map(Evidence::grade);
        match self.verified(view, access_token) {
            Ok(token) => {
                let evaluated = self.evaluate(view, &token, of, reported);
                let (decision, permitted, mut steps) = evaluated;
                if !steps.is_empty() {
                    steps.insert(0, signed(&token));
                }
                let narrowed = match (&decision, permitted) {
                    (Decision::Allow(_), Some(permitted)) => {
                        token.narrowed(&permitted, |scope| of.demands.counts(scope))
                    }
                    (Decision::Allow(_), None) | (Decision::Deny(_), _) => None,
                };
                Evaluation { token: Some(token), narrowed, steps, ..Evaluation::new(decision, grade) }
            }
            Err(reason) => {
                let steps = one_step(Check::Signature, &reason.to_string(), "an access token that this server signed");
                let decision = Decision::Deny(reason);
                Evaluation { steps, ..Evaluation::new(decision, grade) }
            }
        }
    }

    /// The decision that every protocol returns, what the client's registration permits of the token, if it has one, and of
    /// a denial its steps.
    pub(in crate::authority::api) fn evaluate(
        &self,
        view: &View,
        token: &VerifiedToken,
        of: Use<'_>,
        reported: impl FnOnce() -> Option<SpiffeId>,
    ) -> (Decision, Option<Arc<Permitted>>, Vec<Step>) {
        let View { now, snapshot, .. } = view;
        let Use { evidence, principal, demands, explained } = of;
        let client = token.holder.as_ref().map_or(ClientStatus::Unknown, |holder| snapshot.directory.status(holder));
        let registered = match &client {
            ClientStatus::Registered(client) => Some(&**client),
            ClientStatus::Unknown | ClientStatus::Ambiguous | ClientStatus::Suspended | ClientStatus::Disabled => None,
        };
        let permitted = registered.map(|client| permitted(view, token, client));
        let presented = evidence.and_then(Evidence::thumbprint);
        let revoked = view.revocation_of_use(token, &client, evidence, self.policy.lineage);
        // Evaluated only if it affects the decision: it costs a path validation, once per certificate.
        let vouched = match (&permitted, evidence, &token.holder_spiffe_id) {
            (Some(permitted), Some(Evidence::Certificate(certificate)), Some(holder)) => {
                permitted.rotation == Rotation::Identity
                    && presented != token.bound_to
                    && self.vouches_for(view, certificate, holder)
            }
            _ => false,
        };
        let request = BindingRequest {
            token,
            issuer: &self.policy.issuer,
            evidence,
            principal,
            client: &client,
            permitted: permitted.as_deref(),
            refused: registered
                .zip(permitted.as_deref())
                .and_then(|(client, permitted)| refused(view, token, client, permitted)),
            revoked,
            broken: view.broken_ancestor(token, self.policy.lineage),
            vouched,
            same_identity: false,
            lineages: &snapshot.lineages,
            lineage: self.policy.lineage,
            demands,
            now: *now,
            verdict_ttl: view.verdict_ttl(self.policy.verdict_ttl, demands.max_staleness),
        };
        match decide(&request) {
            decision @ Decision::Allow(_) => {
                let steps = if explained { explain(&request) } else { Vec::new() };
                (decision, permitted.clone(), steps)
            }
            Decision::Deny(reason) => {
                let same_identity =
                    reason == DenyReason::CertificateMismatch && self.is_same_identity(view, token, evidence, reported);
                let request = BindingRequest { same_identity, ..request };
                (decide(&request), permitted.clone(), explain(&request))
            }
        }
    }

    /// Whether another certificate than the one that a token is bound to has the same SPIFFE ID: by the current bundle
    /// where it is known, else as the proxy reports it. It is evaluated for denials only, and only names their reason.
    fn is_same_identity(
        &self,
        view: &View,
        token: &VerifiedToken,
        evidence: Option<&Evidence>,
        reported: impl FnOnce() -> Option<SpiffeId>,
    ) -> bool {
        let Some(bound) = token.bound_spiffe_id.as_ref() else { return false };
        match evidence {
            Some(Evidence::Certificate(certificate)) => self.vouches_for(view, certificate, bound),
            Some(Evidence::Thumbprint(_)) => reported().as_ref() == Some(bound),
            Some(Evidence::SpiffeId(_)) | None => false,
        }
    }
}

/// The step before a decision: the signature is this server's.
fn signed(token: &VerifiedToken) -> Step {
    let found = format!("kid {}", token.key_id);
    Step { check: Check::Signature, found: found.into(), expected: "a key of this server".into(), passed: true }
}

/// What the registrations permit of a token.
fn permitted(view: &View, token: &VerifiedToken, client: &RegisteredClient) -> Arc<Permitted> {
    let limit = view.snapshot.directory.limit_of(client);
    let compared = Compared { client, limit: limit.as_deref(), trust_generation: view.trust_generation };
    token.permitted(compared, || {
        let trust = ProvingTrust::of(&client.registration, token.holder_spiffe_id.as_ref(), &view.trust);
        (trust.client_ca_removed, trust.trust_domain)
    })
}

/// Why the authentication of a token's client no longer counts, if it does not. What changes with time alone, or without
/// the registration, is looked at here and not remembered.
fn refused(view: &View, token: &VerifiedToken, client: &RegisteredClient, permitted: &Permitted) -> Option<DenyReason> {
    if permitted.refused == Some(DenyReason::AuthenticationChanged) {
        return permitted.refused;
    }
    let dropped = |bound_to| view.snapshot.has_dropped(client, bound_to, view.now);
    if token.bound_to.as_ref().is_some_and(dropped) {
        return Some(DenyReason::AuthenticationChanged);
    }
    if let TokenEndpointAuthMethod::IssuerJwt(registered) = &client.registration.method
        && !view.trust.trusts_issuer(&registered.issuer, view.now)
    {
        return Some(DenyReason::IssuerUntrusted);
    }
    let proven = permitted.trust_domain.as_ref().is_none_or(|name| view.trust.can_prove(name, view.now));
    permitted.refused.or((!proven).then_some(DenyReason::TrustDomainUntrusted))
}
