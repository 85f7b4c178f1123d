//! The records of decisions on uses of tokens.

use crate::authority::Authority;
use crate::authority::access::Requester;
use crate::authority::api::audit::sent_by::actor;
use crate::authority::api::audit::sent_by::registration;
use crate::authority::api::audit::sent_by::sent_by;
use crate::authority::decision::CheckRefusal;
use crate::authority::decision::CheckRequest;
use crate::authority::decision::Decision;
use crate::authority::decision::FORWARDED_CLIENT_CERT;
use crate::authority::decision::Findings;
use crate::authority::decision::NoDecision;
use crate::authority::decision::joined;
use crate::authority::deny_reason::DenyReason;
use crate::authority::evidence::Evidence;
use crate::authority::evidence::EvidenceFrom;
use crate::authority::evidence::SeenPeer;
use crate::authority::observe::AuditEvent;
use crate::authority::observe::AuditOutcome;
use crate::authority::observe::AuditRecord;
use crate::authority::observe::Severity;
use crate::authority::observe::beginning;
use crate::authority::observe::record_in_span;
use crate::authority::registration::ClientId;
use crate::authority::resources::ProtectedResource;
use crate::authority::state::Caller;
use crate::authority::state::View;
use crate::authority::tokens::AccessTokenClaims;
use crate::authority::tokens::VerifiedToken;

/// A request that a proxy asked about, and its decision.
pub(in crate::authority::api) struct Checked<'a> {
    pub(in crate::authority::api) caller: &'a Caller,
    pub(in crate::authority::api) request: &'a CheckRequest<'a>,
    /// The resource that matched, if any did.
    pub(in crate::authority::api) resource: Option<&'a ProtectedResource>,
    pub(in crate::authority::api) findings: &'a Findings<'a>,
    pub(in crate::authority::api) refused: Option<CheckRefusal>,
    /// Whether the request was allowed despite the denial, because of the resource's mode.
    pub(in crate::authority::api) let_through: bool,
}

impl Authority {
    /// A refused token is given where its signature verified.
    pub(in crate::authority::api) fn record_introspected(
        &self,
        view: &View,
        requester: &Requester,
        outcome: Result<&AccessTokenClaims, (DenyReason, Option<&AccessTokenClaims>)>,
    ) {
        let (refused, claims) = match outcome {
            Ok(claims) => (None, Some(claims)),
            Err((reason, claims)) => (Some(reason), claims),
        };
        self.metrics.introspected(refused);
        let reason = refused.map(DenyReason::code);
        let (outcome, severity) = match refused {
            None => (AuditOutcome::Allowed, Severity::Debug),
            Some(_) => (AuditOutcome::Denied, Severity::Info),
        };
        record_in_span(outcome, reason, claims.map(|claims| claims.client_id.as_str()), None);
        self.record(AuditEvent::Introspected, severity, outcome, |record| {
            let record = AuditRecord {
                actor: requester.client_id.as_ref().map(ToString::to_string),
                client_id: claims.map(|claims| claims.client_id.clone()),
                jti: claims.map(|claims| claims.jti.clone()),
                reason,
                ..record
            };
            if refused.is_none() {
                return record;
            }
            let holder = claims.and_then(|claims| ClientId::parse(&claims.client_id));
            let registration = registration(view, holder.as_ref());
            AuditRecord { caller: actor(&requester.sender), registration, ..sent_by(&requester.sender, record) }
        });
    }

    /// `audience` is what the request names, whether or not it is registered.
    pub(in crate::authority::api) fn record_not_decided(
        &self,
        caller: &Caller,
        audience: Option<&str>,
        why: NoDecision,
    ) {
        record_in_span(AuditOutcome::Denied, Some(why.code()), None, None);
        self.record(AuditEvent::NotDecided, Severity::Info, AuditOutcome::Denied, |record| AuditRecord {
            actor: Some(caller.identity.to_string()),
            resource: audience.filter(|audience| !audience.is_empty()).map(beginning).map(ToOwned::to_owned),
            reason: Some(why.code()),
            cause: Some(why.to_string()),
            ..sent_by(&caller.sender(), record)
        });
    }

    pub(in crate::authority::api) fn record_binding_decided(
        &self,
        caller: &Caller,
        (resource, records_allowed): (&str, bool),
        token: Option<&VerifiedToken>,
        evidence: Option<&Evidence>,
        decision: &Decision,
    ) {
        let refused = match decision {
            Decision::Allow(_) => None,
            Decision::Deny(reason) => Some(*reason),
        };
        self.metrics.binding_decided(refused);
        let reason = refused.map(DenyReason::code);
        let claims = token.map(|token| &token.claims);
        // The caller's text, of unlimited length.
        let resource = beginning(resource);
        let outcome = if refused.is_some() { AuditOutcome::Denied } else { AuditOutcome::Allowed };
        record_in_span(outcome, reason, claims.map(|claims| claims.client_id.as_str()), Some(resource));
        self.record(AuditEvent::BindingDecided, severity(refused, records_allowed), outcome, |record| {
            let record = AuditRecord {
                actor: Some(caller.identity.to_string()),
                resource: Some(resource.to_owned()),
                client_id: claims.map(|claims| claims.client_id.clone()),
                jti: claims.map(|claims| claims.jti.clone()),
                evidence: evidence.map(evidence_text),
                reason,
                ..record
            };
            if refused.is_none() {
                return record;
            }
            let registration = registration(&caller.view, holder(token));
            AuditRecord { registration, ..sent_by(&caller.sender(), record) }
        });
    }

    pub(in crate::authority::api) fn record_checked(&self, checked: &Checked<'_>) {
        let Checked { caller, request, resource, findings, refused, let_through } = checked;
        let audience = resource.map(ProtectedResource::audience);
        let let_through_at =
            audience.filter(|_| *let_through).map(|audience| (audience, &caller.view.snapshot.resources));
        self.metrics.checked(*refused, let_through_at);
        let reason = refused.map(CheckRefusal::code);
        let claims = findings.token.as_deref().map(|token| &token.claims);
        let (outcome, severity) = match refused {
            None => {
                let records_allowed = resource.is_some_and(ProtectedResource::records_allowed);
                (AuditOutcome::Allowed, severity(None, records_allowed))
            }
            Some(refusal) => {
                let outcome = if *let_through { AuditOutcome::Reported } else { AuditOutcome::Denied };
                (
                    outcome,
                    if let CheckRefusal::Denied(reason) = refusal {
                        severity(Some(*reason), false)
                    } else {
                        Severity::Info
                    },
                )
            }
        };
        record_in_span(outcome, reason, claims.map(|claims| claims.client_id.as_str()), audience);
        self.record(AuditEvent::Checked, severity, outcome, |record| {
            let path = request.path.split_once('?').map_or(request.path, |(path, _)| path);
            let record = AuditRecord {
                actor: Some(caller.identity.to_string()),
                resource: audience.map(ToOwned::to_owned),
                // Both are the client's text, of unlimited length.
                method: Some(beginning(request.method).to_owned()),
                path: Some(beginning(path).to_owned()),
                client_id: claims.map(|claims| claims.client_id.clone()),
                jti: claims.map(|claims| claims.jti.clone()),
                evidence: findings.evidence.as_ref().map(evidence_text),
                reason,
                cause: refused.and_then(CheckRefusal::cause).map(|cause| cause.to_string()),
                ..record
            };
            match refused {
                None => record,
                Some(refusal) => refused_check(checked, *refusal, record),
            }
        });
    }
}

/// Adds what only the record of a refused check says: the caller as the proxy saw it, the route, and what was named.
fn refused_check(checked: &Checked<'_>, refusal: CheckRefusal, record: AuditRecord) -> AuditRecord {
    let Checked { caller, request, resource, findings, .. } = checked;
    let written = |text: &str| Some(beginning(text).to_owned()).filter(|text| !text.is_empty());
    let destination = &request.destination;
    let unknown = resource.is_none();
    let evidence = findings.evidence.as_ref().map(evidence_text);
    let evidence = evidence.or_else(|| seen_by_proxy(checked, refusal).as_ref().map(evidence_text));
    AuditRecord {
        evidence,
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
/// What is allowed is notable where its resource says so.
fn severity(refused: Option<DenyReason>, records_allowed: bool) -> Severity {
    match refused {
        None if records_allowed => Severity::Info,
        None => Severity::Debug,
        Some(DenyReason::CertificateMismatch) => Severity::Warn,
        Some(_) => Severity::Info,
    }
}

/// The evidence as text, for the record.
fn evidence_text(evidence: &Evidence) -> String {
    match evidence {
        Evidence::SpiffeId(id) => id.to_string(),
        Evidence::Thumbprint(thumbprint) => format!("x5t#S256:{thumbprint}"),
        Evidence::Certificate(certificate) => format!("x5t#S256:{}", certificate.thumbprint()),
    }
}
