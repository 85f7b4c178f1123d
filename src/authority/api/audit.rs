//! Audit records of the core's operations. Each event is counted, recorded in the span of its request and written to
//! the audit trail in one place.

use crate::authority::Authority;
use crate::authority::decision::CheckRefusal;
use crate::authority::decision::Decision;
use crate::authority::decision::GrantError;
use crate::authority::decision::NoDecision;
use crate::authority::deny_reason::DenyReason;
use crate::authority::evidence::Evidence;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::PeerIdentity;
use crate::authority::observe::AuditEvent;
use crate::authority::observe::AuditOutcome;
use crate::authority::observe::AuditRecord;
use crate::authority::observe::Severity;
use crate::authority::observe::beginning;
use crate::authority::observe::record_in_span;
use crate::authority::registration::ClientId;
use crate::authority::state::Revoked;
use crate::authority::store::Revision;
use crate::authority::tokens::AccessTokenClaims;
use crate::authority::tokens::VerifiedToken;

/// A request that a proxy asked about, and its decision.
pub(in crate::authority::api) struct Checked<'a> {
    pub(in crate::authority::api) proxy: &'a PeerIdentity,
    /// The resource's audience, if a resource matched.
    pub(in crate::authority::api) resource: Option<&'a str>,
    pub(in crate::authority::api) method: &'a str,
    /// The path with its query; the record omits the query.
    pub(in crate::authority::api) path: &'a str,
    /// The token, if it could be read.
    pub(in crate::authority::api) token: Option<&'a VerifiedToken>,
    pub(in crate::authority::api) evidence: Option<&'a Evidence>,
    pub(in crate::authority::api) refused: Option<CheckRefusal>,
    /// Whether the request was allowed despite the denial, because of the resource's mode.
    pub(in crate::authority::api) let_through: bool,
}

impl Authority {
    /// Builds a record only if the sink wants its severity.
    pub(in crate::authority::api) fn record(
        &self,
        event: AuditEvent,
        severity: Severity,
        outcome: AuditOutcome,
        details: impl FnOnce(AuditRecord) -> AuditRecord,
    ) {
        if self.audit.wants(severity) {
            self.audit.record(details(AuditRecord::new(event, severity, outcome)));
        }
    }

    pub(in crate::authority::api) fn record_issued(
        &self,
        peer: &PeerIdentity,
        client_id: &ClientId,
        claims: &AccessTokenClaims,
    ) {
        self.metrics.issued();
        let resource = claims.aud.all().join(" ");
        record_in_span(AuditOutcome::Allowed, None, Some(client_id.as_str()), Some(&resource));
        self.record(AuditEvent::TokenIssued, Severity::Info, AuditOutcome::Allowed, |record| AuditRecord {
            actor: Some(peer.to_string()),
            client_id: Some(client_id.to_string()),
            resource: Some(resource),
            jti: Some(claims.jti.clone()),
            bound_to: claims.bound_to().map(|thumbprint| thumbprint.to_string()),
            ..record
        });
    }

    /// `client_id` is the identifier that the caller claims.
    pub(in crate::authority::api) fn record_token_refused(
        &self,
        peer: &PeerIdentity,
        client_id: Option<&str>,
        error: GrantError,
    ) {
        self.metrics.grant_refused(error.code());
        self.record_unauthenticated(AuditEvent::TokenRefused, peer, client_id, error);
    }

    /// Records a refused client at an endpoint other than the token endpoint, where it is not counted.
    pub(in crate::authority::api) fn record_client_refused(
        &self,
        peer: &PeerIdentity,
        client_id: Option<&str>,
        error: GrantError,
    ) {
        self.record_unauthenticated(AuditEvent::ClientRefused, peer, client_id, error);
    }

    fn record_unauthenticated(
        &self,
        event: AuditEvent,
        peer: &PeerIdentity,
        client_id: Option<&str>,
        error: GrantError,
    ) {
        let reason = error.code().as_str();
        // Text that is not a valid `client_id` is of unlimited length, and is not recorded.
        let client_id = client_id.filter(|text| ClientId::parse(text).is_some());
        record_in_span(AuditOutcome::Denied, Some(reason), client_id, None);
        self.record(event, Severity::Warn, AuditOutcome::Denied, |record| AuditRecord {
            actor: Some(peer.to_string()),
            client_id: client_id.map(ToOwned::to_owned),
            reason: Some(reason),
            cause: Some(cause(error)),
            ..record
        });
    }

    /// Records a request that was refused before a decision, or one that changes something; `request` names its kind.
    pub(in crate::authority::api) fn record_refused(
        &self,
        actor: Option<&str>,
        request: &'static str,
        reason: &'static str,
        cause: &str,
    ) {
        record_in_span(AuditOutcome::Denied, Some(reason), None, None);
        self.record(AuditEvent::RequestRefused, Severity::Info, AuditOutcome::Denied, |record| AuditRecord {
            actor: actor.map(ToOwned::to_owned),
            request: Some(request),
            reason: Some(reason),
            cause: Some(cause.to_owned()),
            ..record
        });
    }

    pub(in crate::authority::api) fn record_introspected(
        &self,
        requester: Option<&ClientId>,
        outcome: Result<&VerifiedToken, DenyReason>,
    ) {
        let refused = outcome.err();
        self.metrics.introspected(refused);
        let reason = refused.map(DenyReason::code);
        let token = outcome.ok().map(|token| &token.claims);
        let (outcome, severity) = match refused {
            None => (AuditOutcome::Allowed, Severity::Debug),
            Some(_) => (AuditOutcome::Denied, Severity::Info),
        };
        record_in_span(outcome, reason, token.map(|claims| claims.client_id.as_str()), None);
        self.record(AuditEvent::Introspected, severity, outcome, |record| AuditRecord {
            actor: requester.map(ToString::to_string),
            client_id: token.map(|claims| claims.client_id.clone()),
            jti: token.map(|claims| claims.jti.clone()),
            reason,
            ..record
        });
    }

    pub(in crate::authority::api) fn record_not_decided(&self, caller: &PeerIdentity, why: NoDecision) {
        record_in_span(AuditOutcome::Denied, Some(why.code()), None, None);
        self.record(AuditEvent::NotDecided, Severity::Info, AuditOutcome::Denied, |record| AuditRecord {
            actor: Some(caller.to_string()),
            reason: Some(why.code()),
            cause: Some(why.to_string()),
            ..record
        });
    }

    pub(in crate::authority::api) fn record_binding_decided(
        &self,
        caller: &PeerIdentity,
        resource: &str,
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
        self.record(AuditEvent::BindingDecided, severity(refused), outcome, |record| AuditRecord {
            actor: Some(caller.to_string()),
            resource: Some(resource.to_owned()),
            client_id: claims.map(|claims| claims.client_id.clone()),
            jti: claims.map(|claims| claims.jti.clone()),
            evidence: evidence.map(evidence_text),
            reason,
            ..record
        });
    }

    pub(in crate::authority::api) fn record_checked(&self, checked: &Checked<'_>) {
        let Checked { proxy, resource, refused, let_through, .. } = checked;
        self.metrics.checked(*refused, *let_through);
        let reason = refused.map(CheckRefusal::code);
        let claims = checked.token.map(|token| &token.claims);
        let (outcome, severity) = match refused {
            None => (AuditOutcome::Allowed, Severity::Debug),
            Some(refusal) => {
                let outcome = if *let_through { AuditOutcome::Reported } else { AuditOutcome::Denied };
                (
                    outcome,
                    if let CheckRefusal::Denied(reason) = refusal { severity(Some(*reason)) } else { Severity::Info },
                )
            }
        };
        record_in_span(outcome, reason, claims.map(|claims| claims.client_id.as_str()), *resource);
        self.record(AuditEvent::Checked, severity, outcome, |record| {
            let path = checked.path.split_once('?').map_or(checked.path, |(path, _)| path);
            AuditRecord {
                actor: Some(proxy.to_string()),
                resource: resource.map(ToOwned::to_owned),
                // Both are the client's text, of unlimited length.
                method: Some(beginning(checked.method).to_owned()),
                path: Some(beginning(path).to_owned()),
                client_id: claims.map(|claims| claims.client_id.clone()),
                jti: claims.map(|claims| claims.jti.clone()),
                evidence: checked.evidence.map(evidence_text),
                reason,
                cause: refused.and_then(CheckRefusal::cause).map(|cause| cause.to_string()),
                ..record
            }
        });
    }

    /// `taken` is whether the successor is stored: a second successor of the same certificate is not.
    pub(in crate::authority::api) fn record_rotation(
        &self,
        spiffe_id: &str,
        predecessor: CertificateThumbprint,
        successor: CertificateThumbprint,
        taken: bool,
    ) {
        let (severity, outcome) =
            if taken { (Severity::Info, AuditOutcome::Changed) } else { (Severity::Warn, AuditOutcome::Denied) };
        self.record(AuditEvent::RotationAnnounced, severity, outcome, |record| AuditRecord {
            actor: Some(spiffe_id.to_owned()),
            predecessor: Some(predecessor.to_string()),
            successor: Some(successor.to_string()),
            ..record
        });
    }

    /// Records a revocation, or that one was lifted.
    pub(in crate::authority::api) fn record_revocation(
        &self,
        by: &str,
        revoked: &Revoked,
        change: &'static str,
        revision: Revision,
    ) {
        self.record(AuditEvent::Revocation, Severity::Info, AuditOutcome::Changed, |record| AuditRecord {
            actor: Some(by.to_owned()),
            revoked: Some(revoked.store_key()),
            change: Some(change),
            revision: Some(revision.0),
            ..record
        });
    }

    pub(in crate::authority::api) fn record_resource_changed(
        &self,
        admin: &str,
        audience: &str,
        change: &'static str,
        revision: Revision,
    ) {
        self.record(AuditEvent::ResourceChanged, Severity::Info, AuditOutcome::Changed, |record| AuditRecord {
            actor: Some(admin.to_owned()),
            resource: Some(audience.to_owned()),
            change: Some(change),
            revision: Some(revision.0),
            ..record
        });
    }

    pub(in crate::authority::api) fn record_client_changed(
        &self,
        admin: &str,
        client_id: &str,
        change: &'static str,
        revision: Revision,
    ) {
        self.record(AuditEvent::ClientChanged, Severity::Info, AuditOutcome::Changed, |record| AuditRecord {
            actor: Some(admin.to_owned()),
            client_id: Some(client_id.to_owned()),
            change: Some(change),
            revision: Some(revision.0),
            ..record
        });
    }
}

/// Malformed tokens are external noise; a wrong certificate may mean a stolen token.
fn severity(refused: Option<DenyReason>) -> Severity {
    match refused {
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

/// The detailed cause, which the refused caller does not receive.
fn cause(error: GrantError) -> String {
    match error {
        GrantError::InvalidClient(mismatch) => mismatch.to_string(),
        GrantError::InvalidAssertion(why) => format!("the client assertion is not valid: {why}"),
        GrantError::UnknownAssertionType
        | GrantError::HalfAnAssertion
        | GrantError::ForeignConnection
        | GrantError::InvalidRequest
        | GrantError::InvalidScope
        | GrantError::InvalidTarget
        | GrantError::TokenTooLarge
        | GrantError::ServerError
        | GrantError::Stale(_) => error.to_string(),
    }
}
