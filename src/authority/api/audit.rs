//! Audit records of the core's operations. Each event is counted, recorded in the span of its request and written to
//! the audit trail in one place. The record of a refusal says who was refused, and on which connection.

mod checked;
mod decisions;
mod exchanges;
mod sent_by;
mod steps;

pub(in crate::authority::api) use crate::authority::api::audit::checked::Checked;
pub(in crate::authority::api) use crate::authority::api::audit::sent_by::actor;
pub(in crate::authority::api) use crate::authority::api::audit::sent_by::grounds;
pub(in crate::authority::api) use crate::authority::api::audit::sent_by::one_step;
pub(in crate::authority::api) use crate::authority::api::audit::sent_by::presented;
pub(in crate::authority::api) use crate::authority::api::audit::sent_by::registration;
pub(in crate::authority::api) use crate::authority::api::audit::sent_by::sent_by;
pub(in crate::authority::api) use crate::authority::api::audit::steps::of_check;

use crate::authority::Authority;
use crate::authority::access::ChangedBy;
use crate::authority::access::Sender;
use crate::authority::api::registry::Managed;
use crate::authority::clock::Timestamp;
use crate::authority::decision::Check;
use crate::authority::decision::Grant;
use crate::authority::decision::GrantError;
use crate::authority::decision::KeyChangeError;
use crate::authority::decision::Step;
use crate::authority::decision::TokenRequest;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::PeerIdentity;
use crate::authority::observe::AuditEvent;
use crate::authority::observe::AuditOutcome;
use crate::authority::observe::AuditRecord;
use crate::authority::observe::Grounds;
use crate::authority::observe::RecentRefusal;
use crate::authority::observe::Severity;
use crate::authority::observe::beginning;
use crate::authority::observe::fix;
use crate::authority::observe::record_in_span;
use crate::authority::reference::Reference;
use crate::authority::reference::Refused;
use crate::authority::registration::ClientId;
use crate::authority::state::Caller;
use crate::authority::state::Revoked;
use crate::authority::store::Revision;
use crate::authority::tokens::AccessTokenClaims;

impl Authority {
    /// Records a refusal, and remembers it with its grounds. Returns the reference for its caller.
    pub(in crate::authority::api) fn refuse(
        &self,
        event: AuditEvent,
        severity: Severity,
        outcome: AuditOutcome,
        grounds: Grounds,
        details: impl FnOnce(AuditRecord) -> AuditRecord,
    ) -> Reference {
        let reference = self.refusals.reference(&*self.entropy);
        let record = details(AuditRecord { reference: Some(reference), ..AuditRecord::new(event, severity, outcome) });
        if self.is_followed(event) {
            self.show(&record);
        }
        if self.audit.wants(event, severity) {
            self.audit.record(&record);
        }
        self.refusals.keep(RecentRefusal { reference, at: self.clock.now(), record, grounds });
        reference
    }

    /// Builds a record only if the sink wants its severity, or somebody follows such decisions.
    pub(in crate::authority::api) fn record(
        &self,
        event: AuditEvent,
        severity: Severity,
        outcome: AuditOutcome,
        details: impl FnOnce(AuditRecord) -> AuditRecord,
    ) {
        let (is_wanted, is_followed) = (self.audit.wants(event, severity), self.is_followed(event));
        if !is_wanted && !is_followed {
            return;
        }
        let record = details(AuditRecord::new(event, severity, outcome));
        if is_followed {
            self.show(&record);
        }
        if is_wanted {
            self.audit.record(&record);
        }
    }

    pub(in crate::authority::api) fn record_issued(
        &self,
        peer: &PeerIdentity,
        Grant { client_id, client, .. }: &Grant,
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
            registration: Some(client.registration.client_id.to_string()),
            revision: Some(client.revision.0),
            ..record
        });
    }

    /// `client_id` is the identifier that the caller claims.
    pub(in crate::authority::api) fn record_token_refused(
        &self,
        caller: &Caller,
        request: &TokenRequest,
        error: GrantError,
        steps: Vec<Step>,
    ) -> Refused<GrantError> {
        self.metrics.grant_refused(error.code());
        let client_id = request.client_id.as_deref();
        self.record_unauthenticated(AuditEvent::TokenRefused, caller, client_id, error, steps, |record| {
            let audience = request.audience.join(" ");
            let client =
                client_id.and_then(ClientId::parse).or_else(|| caller.identity.spiffe_id().map(ClientId::from));
            AuditRecord {
                // The caller's text, of unlimited length.
                resource: Some(beginning(&audience).to_owned()).filter(|audience| !audience.is_empty()),
                registration: registration(&caller.view, client.as_ref()),
                ..record
            }
        })
    }

    /// Records a refused client at an endpoint other than the token endpoint, where it is not counted.
    pub(in crate::authority::api) fn record_client_refused(
        &self,
        caller: &Caller,
        client_id: Option<&str>,
        error: GrantError,
        steps: Vec<Step>,
    ) -> Refused<GrantError> {
        self.record_unauthenticated(AuditEvent::ClientRefused, caller, client_id, error, steps, |record| record)
    }

    fn record_unauthenticated(
        &self,
        event: AuditEvent,
        caller: &Caller,
        client_id: Option<&str>,
        error: GrantError,
        steps: Vec<Step>,
        details: impl FnOnce(AuditRecord) -> AuditRecord,
    ) -> Refused<GrantError> {
        let reason = error.code().as_str();
        // Text that is not a valid `client_id` is of unlimited length, and is not recorded.
        let client_id = client_id.filter(|text| ClientId::parse(text).is_some());
        record_in_span(AuditOutcome::Denied, Some(reason), client_id, None);
        let sender = caller.sender();
        let grounds = Grounds { steps, ..grounds(&sender, fix::of_grant(error)) };
        let reference = self.refuse(event, Severity::Warn, AuditOutcome::Denied, grounds, |record| AuditRecord {
            actor: Some(caller.identity.to_string()),
            client_id: client_id.map(ToOwned::to_owned),
            reason: Some(reason),
            cause: Some(cause(error)),
            ..details(sent_by(&sender, record))
        });
        Refused { error, reference }
    }

    /// Records a request that was refused before a decision, or one that changes something; `request` names its kind.
    pub(in crate::authority::api) fn record_refused(
        &self,
        sender: &Sender,
        request: &'static str,
        reason: &'static str,
        cause: &str,
        (check, fix): (Check, &'static str),
    ) -> Reference {
        record_in_span(AuditOutcome::Denied, Some(reason), None, None);
        let grounds = Grounds { steps: one_step(check, cause, ""), ..grounds(sender, fix) };
        let (event, severity) = (AuditEvent::RequestRefused, Severity::Info);
        self.refuse(event, severity, AuditOutcome::Denied, grounds, |record| AuditRecord {
            actor: actor(sender),
            request: Some(request),
            reason: Some(reason),
            cause: Some(cause.to_owned()),
            ..sent_by(sender, record)
        })
    }

    /// Records that something was not changed, or not announced.
    pub(in crate::authority::api) fn record_not_changed(
        &self,
        caller: &Caller,
        request: &'static str,
        reason: &'static str,
        cause: &str,
    ) -> Reference {
        self.record_refused(&caller.sender(), request, reason, cause, (Check::Change, fix::AS_THE_CAUSE_SAYS))
    }

    /// Records the successor of a certificate.
    pub(in crate::authority::api) fn record_rotation(
        &self,
        sender: &Sender,
        predecessor: CertificateThumbprint,
        successor: CertificateThumbprint,
    ) {
        self.record(AuditEvent::RotationAnnounced, Severity::Info, AuditOutcome::Changed, |record| AuditRecord {
            actor: actor(sender),
            predecessor: Some(predecessor.to_string()),
            successor: Some(successor.to_string()),
            ..record
        });
    }

    /// Records a second successor of the same certificate, which is not stored.
    pub(in crate::authority::api) fn record_second_successor(
        &self,
        sender: &Sender,
        predecessor: CertificateThumbprint,
        successor: CertificateThumbprint,
    ) -> Reference {
        let steps = one_step(Check::Change, &format!("x5t#S256:{successor}"), "the successor that was announced first");
        let grounds = Grounds { steps, ..grounds(sender, SECOND_SUCCESSOR) };
        let (event, severity) = (AuditEvent::RotationAnnounced, Severity::Warn);
        self.refuse(event, severity, AuditOutcome::Denied, grounds, |record| AuditRecord {
            actor: actor(sender),
            predecessor: Some(predecessor.to_string()),
            successor: Some(successor.to_string()),
            ..sent_by(sender, record)
        })
    }

    /// Records a revocation and its end, or that one was lifted.
    pub(in crate::authority::api) fn record_revocation(
        &self,
        (by, approver): (&str, Option<&str>),
        revoked: &Revoked,
        (change, until): (&'static str, Option<Timestamp>),
        revision: Revision,
    ) {
        self.record(AuditEvent::Revocation, Severity::Info, AuditOutcome::Changed, |record| AuditRecord {
            actor: Some(by.to_owned()),
            approved_by: approver.map(ToOwned::to_owned),
            revoked: Some(revoked.store_key()),
            change: Some(change),
            until: until.map(|until| until.0),
            revision: Some(revision.0),
            ..record
        });
    }

    /// Records a change of a registration, by the name of the change.
    pub(in crate::authority::api) fn record_registration_changed<T: Managed>(
        &self,
        author: ChangedBy<'_>,
        name: &str,
        change: &'static str,
        revision: Revision,
    ) {
        self.record(T::CHANGED, Severity::Info, AuditOutcome::Changed, |record| AuditRecord {
            actor: Some(author.name()),
            approved_by: author.approver().map(ToOwned::to_owned),
            change: Some(change),
            comment: author.reason.map(ToOwned::to_owned),
            revision: Some(revision.0),
            ..T::named_in(name, record)
        });
    }
}

impl Authority {
    /// Records what became of a signing key. No admin did it where a schedule did.
    pub(in crate::authority::api) fn record_key_changed(
        &self,
        (admin, approver): (Option<&str>, Option<&str>),
        kid: &str,
        change: &'static str,
        comment: Option<&str>,
        revision: Revision,
    ) {
        self.record(AuditEvent::SigningKeyChanged, Severity::Info, AuditOutcome::Changed, |record| AuditRecord {
            actor: admin.map(ToOwned::to_owned),
            approved_by: approver.map(ToOwned::to_owned),
            kid: Some(kid.to_owned()),
            change: Some(change),
            comment: comment.map(ToOwned::to_owned),
            revision: Some(revision.0),
            ..record
        });
    }

    pub(in crate::authority::api) fn record_key_change_refused(
        &self,
        caller: &Caller,
        error: KeyChangeError,
    ) -> Refused<KeyChangeError> {
        let reference = self.record_not_changed(caller, "key change", error.code(), &error.to_string());
        Refused { error, reference }
    }
}

/// What to do about a second successor.
const SECOND_SUCCESSOR: &str = "find out whether two processes renew the same certificate, or somebody else uses it; \
    `lanyard token revoke --identity CLIENT` refuses it altogether";

/// The detailed cause, which the refused caller does not receive.
pub(in crate::authority::api) fn cause(error: GrantError) -> String {
    match error {
        GrantError::InvalidClient(mismatch) => mismatch.to_string(),
        GrantError::InvalidAssertion(why) => format!("the client assertion is not valid: {why}"),
        GrantError::InvalidIssuerJwt(why) => format!("the client assertion is not valid: {why}"),
        GrantError::UnknownAssertionType
        | GrantError::HalfAnAssertion
        | GrantError::TooManyAssertions
        | GrantError::ForeignConnection
        | GrantError::InvalidRequest
        | GrantError::InvalidScope
        | GrantError::InvalidTarget
        | GrantError::TokenTooLarge
        | GrantError::ServerError
        | GrantError::Busy
        | GrantError::SigningUnavailable
        | GrantError::ResourceSuspended
        | GrantError::Undecidable(_) => error.to_string(),
    }
}
