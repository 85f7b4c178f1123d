//! The records of decisions on uses of tokens.

use std::mem;

use crate::authority::Authority;
use crate::authority::access::Requester;
use crate::authority::api::audit::checked::Checked;
use crate::authority::api::audit::sent_by::actor;
use crate::authority::api::audit::sent_by::grounds;
use crate::authority::api::audit::sent_by::registration;
use crate::authority::api::audit::sent_by::sent_by;
use crate::authority::api::audit::steps;
use crate::authority::decision::CheckRefusal;
use crate::authority::decision::CheckRequest;
use crate::authority::decision::Decision;
use crate::authority::decision::Evaluation;
use crate::authority::decision::FORWARDED_CLIENT_CERT;
use crate::authority::decision::NoDecision;
use crate::authority::decision::Step;
use crate::authority::decision::joined;
use crate::authority::deny_reason::DenyReason;
use crate::authority::evidence::Evidence;
use crate::authority::evidence::EvidenceFrom;
use crate::authority::evidence::SeenPeer;
use crate::authority::identity::PresentedCertificate;
use crate::authority::observe::AuditEvent;
use crate::authority::observe::AuditOutcome;
use crate::authority::observe::AuditRecord;
use crate::authority::observe::Grounds;
use crate::authority::observe::Severity;
use crate::authority::observe::beginning;
use crate::authority::observe::fix;
use crate::authority::observe::record_in_span;
use crate::authority::reference::Reference;
use crate::authority::reference::Refused;
use crate::authority::registration::ClientId;
use crate::authority::resources::ProtectedResource;
use crate::authority::state::Asker;
use crate::authority::state::View;
use crate::authority::tokens::AccessTokenClaims;
use crate::authority::tokens::VerifiedToken;

impl Authority {
    /// A refused token is given where its signature verified.
    pub(in crate::authority::api) fn record_introspected(
        &self,
        view: &View,
        requester: &Requester,
        outcome: Result<&AccessTokenClaims, (DenyReason, Option<&AccessTokenClaims>)>,
        steps: Vec<Step>,
    ) {
        let (refused, claims) = match outcome {
            Ok(claims) => (None, Some(claims)),
            Err((reason, claims)) => (Some(reason), claims),
        };
        self.metrics.introspected(refused);
        let reason = refused.map(DenyReason::code);
        let outcome = if refused.is_some() { AuditOutcome::Denied } else { AuditOutcome::Allowed };
        record_in_span(outcome, reason, claims.map(|claims| claims.client_id.as_str()), None);
        let decided = |record| AuditRecord {
            actor: requester.client_id.as_ref().map(ToString::to_string),
            client_id: claims.map(|claims| claims.client_id.clone()),
            jti: claims.map(|claims| claims.jti.clone()),
            delegation: claims.and_then(AccessTokenClaims::delegation),
            reason,
            ..record
        };
        let Some(why) = refused else {
            self.record(AuditEvent::Introspected, Severity::Debug, outcome, decided);
            return;
        };
        let sender = &requester.sender;
        let grounds = Grounds { steps, ..grounds(sender, fix::of_denial(why)) };
        self.refuse(AuditEvent::Introspected, Severity::Info, outcome, grounds, |record| {
            let holder = claims.and_then(|claims| ClientId::parse(&claims.client_id));
            let registration = registration(view, holder.as_ref());
            AuditRecord { caller: actor(sender), registration, ..sent_by(sender, decided(record)) }
        });
    }

    /// `audience` is what the request names, whether or not it is registered.
    pub(in crate::authority::api) fn record_not_decided(
        &self,
        caller: &Asker,
        audience: Option<&str>,
        why: NoDecision,
    ) -> Refused<NoDecision> {
        record_in_span(AuditOutcome::Denied, Some(why.code()), None, None);
        let sender = caller.sender();
        let steps = steps::of_no_decision(caller, audience, why);
        let grounds = Grounds { steps, ..grounds(&sender, fix::of_no_decision(why)) };
        let (event, severity) = (AuditEvent::NotDecided, Severity::Info);
        let reference = self.refuse(event, severity, AuditOutcome::Denied, grounds, |record| AuditRecord {
            actor: Some(caller.identity.to_string()),
            resource: audience.filter(|audience| !audience.is_empty()).map(beginning).map(ToOwned::to_owned),
            reason: Some(why.code()),
            cause: Some(why.to_string()),
            ..sent_by(&sender, record)
        });
        Refused { error: why, reference }
    }

    /// `audience` is the caller's text, and beside it the resource that is registered for it. Of a denial it takes the steps, and returns the
    /// reference.
    pub(in crate::authority::api) fn record_binding_decided(
        &self,
        caller: &Asker,
        (audience, registered): (&str, Option<&ProtectedResource>),
        evidence: Option<&Evidence>,
        evaluation: &mut Evaluation,
    ) -> Option<Reference> {
        let refused = match &evaluation.decision {
            Decision::Allow(_) => None,
            Decision::Deny(reason) => Some(*reason),
        };
        self.metrics.binding_decided(refused);
        let reason = refused.map(DenyReason::code);
        let steps = mem::take(&mut evaluation.steps);
        let token = evaluation.token.as_deref();
        let claims = token.map(|token| &token.claims);
        // The caller's text, of unlimited length.
        let resource = beginning(audience);
        let outcome = if refused.is_some() { AuditOutcome::Denied } else { AuditOutcome::Allowed };
        record_in_span(outcome, reason, claims.map(|claims| claims.client_id.as_str()), Some(resource));
        let decided = |record| AuditRecord {
            actor: Some(caller.identity.to_string()),
            resource: Some(resource.to_owned()),
            client_id: claims.map(|claims| claims.client_id.clone()),
            jti: claims.map(|claims| claims.jti.clone()),
            delegation: claims.and_then(AccessTokenClaims::delegation),
            evidence: evidence.map(ToString::to_string),
            reason,
            ..record
        };
        let Some(why) = refused else {
            self.record(AuditEvent::BindingDecided, severity_of_allowed(registered), outcome, decided);
            return None;
        };
        let sender = caller.sender();
        let evidence = evidence.and_then(summary);
        let is_registered = registered.is_some();
        let grounds = Grounds { steps, evidence, is_registered, ..grounds(&sender, fix::of_denial(why)) };
        let reference = self.refuse(AuditEvent::BindingDecided, severity(why), outcome, grounds, |record| {
            let registration = registration(&caller.view, holder(token));
            AuditRecord { registration, ..sent_by(&sender, decided(record)) }
        });
        Some(reference)
    }

    pub(in crate::authority::api) fn record_allowed_check(&self, checked: &Checked<'_>) {
        let Checked { resource, findings, .. } = checked;
        self.metrics.checked(None, None);
        self.roll_up_check(checked, None, None);
        let client_id = findings.token.as_deref().map(|token| token.claims.client_id.as_str());
        record_in_span(AuditOutcome::Allowed, None, client_id, resource.map(ProtectedResource::audience));
        let severity = severity_of_allowed(*resource);
        self.record(AuditEvent::Checked, severity, AuditOutcome::Allowed, |record| of_check(checked, record));
    }

    /// Records a denied check, with the steps of the decision on its token if there was one.
    pub(in crate::authority::api) fn record_refused_check(
        &self,
        checked: &Checked<'_>,
        refusal: CheckRefusal,
        decided: Vec<Step>,
    ) -> Reference {
        let Checked { caller, resource, findings, let_through, .. } = checked;
        let audience = resource.map(ProtectedResource::audience);
        let let_through_at =
            audience.filter(|_| *let_through).map(|audience| (audience, &caller.view.snapshot.resources));
        self.metrics.checked(Some(refusal), let_through_at);
        let client_id = findings.token.as_deref().map(|token| token.claims.client_id.as_str());
        let outcome = if *let_through { AuditOutcome::Reported } else { AuditOutcome::Denied };
        let severity = if let CheckRefusal::Denied(reason) = refusal { severity(reason) } else { Severity::Info };
        record_in_span(outcome, Some(refusal.code()), client_id, audience);
        let seen = seen_by_proxy(checked, refusal);
        let evidence = findings.evidence.as_ref().or(seen.as_ref());
        self.roll_up_check(checked, Some(refusal), evidence);
        let grounds = Grounds {
            steps: steps::of_check(checked, Some(refusal), decided),
            evidence: evidence.and_then(summary),
            is_registered: true,
            ..grounds(&caller.sender(), fix::of_check(refusal))
        };
        self.refuse(AuditEvent::Checked, severity, outcome, grounds, |record| {
            refused_check(checked, refusal, evidence, of_check(checked, record))
        })
    }
}

/// What the record of each check says.
fn of_check(checked: &Checked<'_>, record: AuditRecord) -> AuditRecord {
    let Checked { caller, request, resource, findings, .. } = checked;
    let claims = findings.token.as_deref().map(|token| &token.claims);
    let path = request.path.split_once('?').map_or(request.path, |(path, _)| path);
    AuditRecord {
        actor: Some(caller.identity.to_string()),
        resource: resource.map(|resource| resource.audience().to_owned()),
        // Both are the client's text, of unlimited length.
        method: Some(beginning(request.method).to_owned()),
        path: Some(beginning(path).to_owned()),
        client_id: claims.map(|claims| claims.client_id.clone()),
        jti: claims.map(|claims| claims.jti.clone()),
        delegation: claims.and_then(AccessTokenClaims::delegation),
        txn: findings.txn.clone(),
        evidence: findings.evidence.as_ref().map(ToString::to_string),
        ..record
    }
}

/// Adds what only the record of a refused check says: the caller as the proxy saw it, the route, and what was named.
fn refused_check(
    checked: &Checked<'_>,
    refusal: CheckRefusal,
    evidence: Option<&Evidence>,
    record: AuditRecord,
) -> AuditRecord {
    let Checked { caller, request, resource, findings, .. } = checked;
    let written = |text: &str| Some(beginning(text).to_owned()).filter(|text| !text.is_empty());
    let destination = &request.destination;
    let unknown = resource.is_none();
    AuditRecord {
        reason: Some(refusal.code()),
        cause: refusal.cause().map(|cause| cause.to_string()),
        evidence: evidence.map(ToString::to_string),
        principal: written(request.principal),
        route: findings.route.map(|route| route.template.clone()),
        requested: written(destination.named.unwrap_or(destination.authority)).filter(|_| unknown),
        destination: written(destination.principal).filter(|_| unknown),
        registration: registration(&caller.view, holder(findings.token.as_deref())),
        ..sent_by(&caller.sender(), record)
    }
}

/// The caller's certificate as the proxy saw it, where the request was refused before it was looked at.
fn seen_by_proxy(checked: &Checked<'_>, refusal: CheckRefusal) -> Option<Evidence> {
    match refusal {
        CheckRefusal::TokenMissing
        | CheckRefusal::AuthorizationMalformed
        | CheckRefusal::ResourceUnknown
        | CheckRefusal::RouteUnknown
        | CheckRefusal::PathNotCanonical => {}
        CheckRefusal::Denied(_)
        | CheckRefusal::TxnTokenMissing
        | CheckRefusal::TxnTokenMalformed
        | CheckRefusal::TxnTokenInvalid
        | CheckRefusal::TxnTokenForeign
        | CheckRefusal::TxnTokenExpired
        | CheckRefusal::TxnTokenRevoked
        | CheckRefusal::TxnScopeMissing
        | CheckRefusal::TxnTokenSeen
        | CheckRefusal::TxnContextRefused
        | CheckRefusal::TxnTokenNotMinted
        | CheckRefusal::EvidenceMalformed(_)
        | CheckRefusal::RequestMalformed
        | CheckRefusal::NotAProxy
        | CheckRefusal::Overloaded
        | CheckRefusal::Unable => return None,
    }
    let Checked { caller, request, resource, .. } = checked;
    let forwarded = joined(&request.headers, FORWARDED_CLIENT_CERT).ok()?;
    let CheckRequest { certificate, principal, .. } = **request;
    let seen = SeenPeer { certificate, principal, forwarded: &forwarded, presented: false };
    let from = resource.map_or(&EvidenceFrom::Peer, |resource| &resource.evidence_from);
    seen.evidence(caller.identity.spiffe_id(), from).ok()?
}

fn holder(token: Option<&VerifiedToken>) -> Option<&ClientId> {
    token.and_then(|token| token.holder.as_ref())
}

/// Malformed tokens are external noise; another workload's certificate may mean a stolen token.
fn severity(reason: DenyReason) -> Severity {
    if reason == DenyReason::CertificateMismatch { Severity::Warn } else { Severity::Info }
}

/// What is allowed is notable where its resource says so.
fn severity_of_allowed(resource: Option<&ProtectedResource>) -> Severity {
    if resource.is_some_and(ProtectedResource::records_allowed) { Severity::Info } else { Severity::Debug }
}

/// What is known of the certificate in the evidence, if it is of one.
fn summary(evidence: &Evidence) -> Option<PresentedCertificate> {
    match evidence {
        Evidence::SpiffeId(_) => None,
        Evidence::Thumbprint(thumbprint) => Some(PresentedCertificate::unread(*thumbprint)),
        Evidence::Certificate(certificate) => Some(PresentedCertificate::from(&**certificate)),
    }
}
