//! Handles a check: a request that a proxy asks about before it forwards it.
//!
//! The order is: the resource, the route, the token, the certificate, and then the same decision as in every other
//! protocol. Anything missing is a denial with its own reason. A resource in mode `report` turns the denial into an
//! allowance that asserts nothing, and changes nothing else; one whose `delegated` reports does so with that denial alone.

use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

use crate::authority::Authority;
use crate::authority::access::Fronted;
use crate::authority::api::audit::Checked;
use crate::authority::api::audit::one_step;
use crate::authority::api::bindings::Use;
use crate::authority::api::check_txn::Transaction;
use crate::authority::api::check_txn::minted;
use crate::authority::api::check_txn::signed;
use crate::authority::api::receipts::Presentation;
use crate::authority::decision::Allowance;
use crate::authority::decision::Asserted;
use crate::authority::decision::Check;
use crate::authority::decision::CheckAnswer;
use crate::authority::decision::CheckRefusal;
use crate::authority::decision::CheckRequest;
use crate::authority::decision::Decision;
use crate::authority::decision::Denial;
use crate::authority::decision::Evaluation;
use crate::authority::decision::FORWARDED_CLIENT_CERT;
use crate::authority::decision::Findings;
use crate::authority::decision::NoDecision;
use crate::authority::decision::bearer_token;
use crate::authority::decision::joined;
use crate::authority::decision::removed;
use crate::authority::decision::route_of;
use crate::authority::decision::strips_txn;
use crate::authority::evidence::SeenPeer;
use crate::authority::reference::Reference;
use crate::authority::reference::Refused;
use crate::authority::resources::Demands;
use crate::authority::resources::Need;
use crate::authority::resources::ProtectedResource;
use crate::authority::resources::TxnUse;
use crate::authority::scope::Scope;
use crate::authority::state::Asker;
use crate::authority::state::Undecidable;
use crate::authority::tokens::NotSigned;
use crate::authority::tokens::TxnTokenClaims;

/// A check that is decided, up to the signature of a transaction token.
struct Judged<'a> {
    resource: Option<&'a ProtectedResource>,
    findings: Findings<'a>,
    outcome: Result<Option<Asserted>, CheckRefusal>,
    /// What is to be signed before the request is allowed.
    to_mint: Option<Box<TxnTokenClaims>>,
}

impl Authority {
    /// Answers a check. Where a transaction token is to be minted and its signature is not made at once, it is denied: see
    /// [`check_waits`](Self::check_waits).
    pub fn check(&self, caller: &Asker, request: &CheckRequest<'_>) -> Result<CheckAnswer, Refused<Undecidable>> {
        let judged = self.judged(caller, request)?;
        let signed = judged.to_mint.as_ref().and_then(|claims| at_once(signed(caller, claims)));
        Ok(self.answered(caller, request, judged, signed))
    }

    /// Answers a check, once the signature of a transaction token that is to be minted is there.
    pub async fn check_when_signed(
        &self,
        caller: &Asker,
        request: &CheckRequest<'_>,
    ) -> Result<CheckAnswer, Refused<Undecidable>> {
        let judged = self.judged(caller, request)?;
        let signed = match &judged.to_mint {
            Some(claims) => Some(signed(caller, claims).await),
            None => None,
        };
        Ok(self.answered(caller, request, judged, signed))
    }

    /// The resource that a request is for.
    pub(in crate::authority::api) fn checked_resource<'a>(
        caller: &'a Asker,
        request: &CheckRequest<'_>,
    ) -> Option<&'a ProtectedResource> {
        let none = Fronted::Audiences(Arc::default());
        let fronted = caller.roles.proxy.as_ref().unwrap_or(&none);
        let found = caller.view.snapshot.resources.find(&request.destination, fronted);
        found.map(|registered| &registered.registration)
    }

    /// Decides, up to the signature of a transaction token.
    fn judged<'a>(&self, caller: &'a Asker, request: &CheckRequest<'_>) -> Result<Judged<'a>, Refused<Undecidable>> {
        let mut findings = Findings::default();
        let resource = Self::checked_resource(caller, request);
        caller.view.freshness(resource.and_then(|resource| resource.max_staleness)).map_err(|why| {
            let refused = self.record_not_decided(caller, request.destination.named, NoDecision::from(why));
            Refused { error: why, reference: refused.reference }
        })?;
        let mut to_mint = None;
        let outcome = resource
            .ok_or(CheckRefusal::ResourceUnknown)
            .and_then(|resource| self.look(caller, request, resource, &mut findings, &mut to_mint));
        Ok(Judged { resource, findings, outcome, to_mint })
    }

    /// Records the decision and says it.
    fn answered(
        &self,
        caller: &Asker,
        request: &CheckRequest<'_>,
        judged: Judged<'_>,
        signed: Option<Result<String, NotSigned>>,
    ) -> CheckAnswer {
        let Judged { resource, mut findings, mut outcome, to_mint } = judged;
        if let (Ok(Some(asserted)), Some(claims)) = (&mut outcome, &to_mint) {
            match minted(claims, signed) {
                Ok(txn) => {
                    findings.txn = Some(txn.txn.clone());
                    asserted.txn = Some(txn);
                }
                Err(refusal) => {
                    findings.steps = one_step(Check::TransactionToken, &refusal.to_string(), "a signed one");
                    outcome = Err(refusal);
                }
            }
        }
        let audience = resource.map(ProtectedResource::audience);
        let reported = |refusal: CheckRefusal| resource.is_some_and(|resource| refusal.is_reported(resource));
        let let_through = outcome.as_ref().is_err_and(|refusal| reported(*refusal));
        let steps = mem::take(&mut findings.steps);
        let checked = Checked { caller, request, resource, findings: &findings, let_through };
        let outcome = match outcome {
            Ok(asserted) => {
                self.record_allowed_check(&checked);
                Ok(asserted)
            }
            Err(refusal) => Err((refusal, self.record_refused_check(&checked, refusal, steps))),
        };
        let allowance = |asserted: Option<Asserted>, let_through: Option<(CheckRefusal, Reference)>| {
            let drops_token = resource.is_some_and(|resource| resource.metadata.remove_authorization);
            let public = let_through.is_none() && asserted.is_none();
            let at = resource.map_or(TxnUse::Ignore, |resource| resource.txn_token);
            let remove =
                removed(&request.headers, asserted.as_ref(), drops_token, strips_txn(at, findings.route, public));
            let say_so = resource.is_some_and(|resource| resource.metadata.report_header);
            CheckAnswer::Allow(Allowance { asserted, remove, say_so: say_so && let_through.is_some(), let_through })
        };
        match outcome {
            Ok(asserted) => allowance(asserted, None),
            Err(refused) if let_through => allowance(None, Some(refused)),
            Err((refusal, reference)) => {
                let audience = audience.map(ToOwned::to_owned);
                CheckAnswer::Deny(Denial { refusal, reference, audience, scope: findings.scope })
            }
        }
    }

    /// The token's client; `None` if the route is public.
    fn look<'a>(
        &self,
        caller: &Asker,
        request: &CheckRequest<'_>,
        resource: &'a ProtectedResource,
        findings: &mut Findings<'a>,
        to_mint: &mut Option<Box<TxnTokenClaims>>,
    ) -> Result<Option<Asserted>, CheckRefusal> {
        let Some(scope) = needed_scope(request, resource, findings)? else { return Ok(None) };
        let access_token = bearer_token(&request.headers)?;
        let forwarded = joined(&request.headers, FORWARDED_CLIENT_CERT)?;
        let CheckRequest { certificate, principal, .. } = *request;
        let peer = SeenPeer { certificate, principal, forwarded: &forwarded, presented: false };
        findings.evidence = peer.evidence(caller.identity.spiffe_id(), &resource.evidence_from)?;
        let demands = Demands::of(resource.audience(), Some(resource), scope.clone());
        let principal = peer.principal_of_user(&resource.evidence_from);
        let reported = || peer.reported_spiffe_id(caller.identity.spiffe_id(), &resource.evidence_from);
        let of = Use { principal, ..Use::new(findings.evidence.as_ref(), &demands) };
        let evaluation = self.evaluate_text(&caller.view, access_token, of, reported);
        findings.token.clone_from(&evaluation.token);
        let Evaluation { decision, token, narrowed, steps, .. } = evaluation;
        findings.steps = steps;
        match (decision, token) {
            (Decision::Allow(verdict), Some(token)) => {
                let judged = (&*token, narrowed.as_deref());
                let txn = match self.transaction(caller, request, resource, judged, findings)? {
                    Transaction::Nothing => None,
                    Transaction::Presented(txn) => Some(txn),
                    Transaction::ToMint(claims) => {
                        *to_mint = Some(claims);
                        None
                    }
                };
                let presentation = Presentation {
                    text: access_token,
                    token: &token,
                    narrowed: narrowed.as_deref(),
                    verdict: &verdict,
                    evidence: findings.evidence.as_ref(),
                    route: findings.route.map(|route| (request.method, route.template.as_str())),
                    destination: request.destination.principal,
                };
                let receipt = self.receipt_of(caller, resource, &presentation);
                let audience = resource.audience().to_owned();
                Ok(Some(Asserted { audience, token, narrowed, verdict, receipt, txn }))
            }
            (Decision::Deny(reason), _) => Err(CheckRefusal::Denied(reason)),
            // A decision allows only with a token, so this is unreachable.
            (Decision::Allow(_), None) => Err(CheckRefusal::Unable),
        }
    }
}

/// What a future comes to, if it has nothing to wait for.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// The scopes that the route of a request needs; `None` if it is public.
pub(in crate::authority::api) fn needed_scope<'a>(
    request: &CheckRequest<'_>,
    resource: &'a ProtectedResource,
    findings: &mut Findings<'a>,
) -> Result<Option<&'a Scope>, CheckRefusal> {
    let route = route_of(resource, request.method, request.path)?;
    findings.route = Some(route);
    match &route.need {
        Need::Nothing => Ok(None),
        Need::Token(scope) => {
            findings.scope = scope.clone();
            Ok(Some(scope))
        }
    }
}
