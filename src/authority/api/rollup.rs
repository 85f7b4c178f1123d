//! Rolls decisions up, where they are recorded.

use std::borrow::Cow;
use std::sync::Arc;

use spiffe::SpiffeId;

use crate::authority::Authority;
use crate::authority::api::audit::Checked;
use crate::authority::decision::CheckRefusal;
use crate::authority::decision::Decision;
use crate::authority::decision::Evaluation;
use crate::authority::decision::FORWARDED_CLIENT_CERT;
use crate::authority::decision::joined;
use crate::authority::deny_reason::DenyReason;
use crate::authority::evidence::Evidence;
use crate::authority::evidence::SeenPeer;
use crate::authority::observe::Asked;
use crate::authority::observe::Outcome;
use crate::authority::observe::Question;
use crate::authority::observe::RequestSample;
use crate::authority::observe::SampledRequest;
use crate::authority::observe::Shown;
use crate::authority::observe::TokenUse;
use crate::authority::observe::fix;
use crate::authority::observe::named;
use crate::authority::registration::ClientId;
use crate::authority::registration::ClientStatus;
use crate::authority::resources::ProtectedResource;
use crate::authority::scope::Scope;
use crate::authority::state::View;
use crate::authority::tokens::VerifiedToken;

impl Authority {
    /// Counts a check at a registered resource. `evidence` is what is known of the caller of a refused one.
    pub(in crate::authority::api) fn roll_up_check(
        &self,
        checked: &Checked<'_>,
        refused: Option<CheckRefusal>,
        evidence: Option<&Evidence>,
    ) {
        let Checked { caller, resource: Some(resource), findings, let_through, .. } = checked else { return };
        let token = findings.token.as_deref();
        let name = refused.map_or_else(
            || token.map_or(Cow::Borrowed(""), |token| Cow::Borrowed(&*token.claims.client_id)),
            |_| name_of(token, evidence, || peer(checked, resource).reported),
        );
        let asked = Asked {
            resource: resource.audience(),
            caller: &name,
            question: Question::Check,
            route: findings.route.map(named),
            outcome: match refused {
                None => Outcome::Allowed,
                Some(refusal) if *let_through => Outcome::LetThrough(refusal.code()),
                Some(refusal) => Outcome::Denied(refusal.code()),
            },
            fix: refused.map_or("", fix::of_check),
        };
        let is_stranger = refused.is_some() && is_stranger(&caller.view, &name);
        self.rollup.count(&asked, is_stranger, caller.view.now, || sample_of_check(checked, resource, refused));
    }

    /// Counts a `ValidateBinding` at a registered resource, which needs these scopes. Beside the evidence, the SPIFFE ID that a proxy
    /// reports with it.
    pub(in crate::authority::api) fn roll_up_binding(
        &self,
        view: &View,
        resource: &ProtectedResource,
        scope: &Scope,
        (evidence, reported): (Option<&Evidence>, &dyn Fn() -> Option<SpiffeId>),
        evaluation: &Evaluation,
    ) {
        let token = evaluation.token.as_deref();
        let refused = match evaluation.decision {
            Decision::Allow(_) => None,
            Decision::Deny(reason) => Some(reason),
        };
        let name = name_of(token, evidence, reported);
        let asked = Asked {
            resource: resource.audience(),
            caller: &name,
            question: Question::ValidateBinding,
            route: None,
            outcome: refused.map_or(Outcome::Allowed, |reason| Outcome::Denied(reason.code())),
            fix: refused.map_or("", fix::of_denial),
        };
        let is_stranger = refused.is_some() && is_stranger(view, &name);
        self.rollup.count(&asked, is_stranger, view.now, || {
            let token = evaluation.token.clone().ok_or(refused.unwrap_or(DenyReason::BadSignature));
            let from = resource.evidence_from.clone();
            let shown = TokenUse { token, evidence: evidence.cloned(), from, principal: None, reported: reported() };
            Some(RequestSample {
                at: view.now,
                request: SampledRequest::ValidateBinding(scope.clone()),
                shown: Shown::Use(Arc::new(shown)),
            })
        });
    }
}

/// The caller's name: the client of a token whose signature verified, or else what is known of the certificate.
fn name_of<'a>(
    token: Option<&'a VerifiedToken>,
    evidence: Option<&Evidence>,
    reported: impl FnOnce() -> Option<SpiffeId>,
) -> Cow<'a, str> {
    if let Some(token) = token {
        return Cow::Borrowed(&token.claims.client_id);
    }
    let id = match evidence {
        Some(Evidence::Certificate(certificate)) => certificate.names().uri.first().cloned(),
        Some(Evidence::Thumbprint(_)) => reported().map(|id| id.to_string()),
        Some(Evidence::SpiffeId(_)) | None => None,
    };
    Cow::Owned(id.or_else(|| evidence.map(ToString::to_string)).unwrap_or_default())
}

/// Whether a caller has a name that is not registered.
fn is_stranger(view: &View, name: &str) -> bool {
    let status = ClientId::parse(name).map(|id| view.snapshot.directory.status(&id));
    !name.is_empty() && matches!(status, None | Some(ClientStatus::Unknown))
}

/// What a proxy reports of its peer besides the evidence.
struct ReportedPeer {
    principal: Option<Box<str>>,
    reported: Option<SpiffeId>,
}

fn peer(checked: &Checked<'_>, resource: &ProtectedResource) -> ReportedPeer {
    let forwarded = joined(&checked.request.headers, FORWARDED_CLIENT_CERT).unwrap_or_default();
    let (certificate, principal) = (checked.request.certificate, checked.request.principal);
    let seen = SeenPeer { certificate, principal, forwarded: &forwarded, presented: false };
    let from = &resource.evidence_from;
    ReportedPeer {
        principal: seen.principal_of_user(from).map(Into::into),
        reported: seen.reported_spiffe_id(checked.caller.identity.spiffe_id(), from),
    }
}

/// A check to be decided once more; `None` if it is too long to be kept.
fn sample_of_check(
    checked: &Checked<'_>,
    resource: &ProtectedResource,
    refused: Option<CheckRefusal>,
) -> Option<RequestSample> {
    let Checked { caller, request, findings, .. } = checked;
    let of_token = |token| {
        let ReportedPeer { principal, reported } = peer(checked, resource);
        let (evidence, from) = (findings.evidence.clone(), resource.evidence_from.clone());
        Shown::Use(Arc::new(TokenUse { token, evidence, from, principal, reported }))
    };
    let shown = match (refused, &findings.token) {
        (None | Some(CheckRefusal::Denied(_)), Some(token)) => of_token(Ok(Arc::clone(token))),
        // The transaction token is not kept.
        (Some(refusal), Some(token)) if refusal.is_of_transaction() => of_token(Ok(Arc::clone(token))),
        (Some(CheckRefusal::Denied(reason)), None) if findings.route.is_some() => of_token(Err(reason)),
        (Some(refusal @ (CheckRefusal::TokenMissing | CheckRefusal::AuthorizationMalformed)), _) => {
            Shown::NoToken(refusal)
        }
        (Some(CheckRefusal::EvidenceMalformed(cause)), _) => Shown::NoEvidence(cause, resource.evidence_from.clone()),
        (None | Some(_), _) => Shown::Nothing,
    };
    let request = SampledRequest::check(request.method, request.path)?;
    Some(RequestSample { at: caller.view.now, request, shown })
}
