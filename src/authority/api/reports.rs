//! Reports from the protocols and the server: requests that they refuse before they call the core. Each report is
//! counted and recorded here.

use crate::authority::Authority;
use crate::authority::access::ConnectionInfo;
use crate::authority::access::NotAdmitted;
use crate::authority::access::Sender;
use crate::authority::access::roles_that_may_call;
use crate::authority::api::audit::actor;
use crate::authority::api::audit::grounds;
use crate::authority::api::audit::one_step;
use crate::authority::api::audit::presented;
use crate::authority::api::audit::sent_by;
use crate::authority::decision::Check;
use crate::authority::decision::CheckRefusal;
use crate::authority::decision::NoDecision;
use crate::authority::identity::PresentedCertificate;
use crate::authority::observe::AuditEvent;
use crate::authority::observe::AuditOutcome;
use crate::authority::observe::AuditRecord;
use crate::authority::observe::Grounds;
use crate::authority::observe::HandshakeError;
use crate::authority::observe::RefusedRequest;
use crate::authority::observe::Reloaded;
use crate::authority::observe::Severity;
use crate::authority::observe::beginning;
use crate::authority::observe::fix;
use crate::authority::observe::record_in_span;
use crate::authority::reference::Reference;
use crate::authority::reference::Refused;
use crate::authority::state::Asker;
use crate::authority::state::Caller;

impl Authority {
    /// Reports a call that did not reach `method`, which is named as in the access table. `stream` is whether it was a
    /// message on a stream, which ends with it.
    pub fn report_not_admitted(
        &self,
        sender: &Sender,
        method: &'static str,
        error: NotAdmitted,
        stream: bool,
    ) -> Reference {
        self.metrics.call_refused(error);
        record_in_span(AuditOutcome::Denied, Some(error.code()), None, None);
        let event = if stream { AuditEvent::StreamEnded } else { AuditEvent::CallNotAdmitted };
        let (check, expected) = not_admitted_at(method, error);
        let steps = one_step(check, &error.to_string(), &expected);
        let grounds = Grounds { steps, ..grounds(sender, fix::of_call(error)) };
        self.refuse(event, Severity::Info, AuditOutcome::Denied, grounds, |record| AuditRecord {
            actor: actor(sender),
            method: Some(method.to_owned()),
            reason: Some(error.code()),
            cause: Some(error.to_string()),
            ..sent_by(sender, record)
        })
    }

    /// Reports that a caller is let read what only admins may.
    pub fn report_admin_read(&self, caller: &Caller, method: &'static str) {
        self.record(AuditEvent::AdminRead, Severity::Debug, AuditOutcome::Allowed, |record| AuditRecord {
            actor: Some(caller.identity.to_string()),
            method: Some(method.to_owned()),
            ..sent_by(&caller.sender(), record)
        });
    }

    /// Reports what of the configuration was replaced while the server runs: `certificate`, `trust` or `configuration`, and
    /// of the last the keys that changed.
    pub fn report_reloaded(&self, what: Reloaded, keys: Option<String>) {
        self.record(AuditEvent::ConfigurationChanged, Severity::Info, AuditOutcome::Changed, |record| AuditRecord {
            change: Some(what.label()),
            keys,
            ..record
        });
    }

    /// Reports a failed handshake, with the certificate if one was read. One that no rule accepts may be an attempt at
    /// intrusion.
    pub fn report_handshake(
        &self,
        connection: ConnectionInfo,
        certificate: Option<&PresentedCertificate>,
        error: HandshakeError,
        cause: &str,
    ) -> Reference {
        self.metrics.handshake_refused(error);
        let (event, severity) = match error {
            HandshakeError::Unproven(_) | HandshakeError::UserUnknown => (AuditEvent::HandshakeRefused, Severity::Warn),
            HandshakeError::HandshakeFailed
            | HandshakeError::TooSlow
            | HandshakeError::Displaced
            | HandshakeError::ProxyHeader => (AuditEvent::HandshakeFailed, Severity::Info),
        };
        // No peer is proven, so the memory has it under its address.
        let sender = Sender { identity: None, connection };
        let steps = one_step(Check::Handshake, cause, "a client whose certificate a rule accepts");
        let grounds = Grounds { steps, connection: certificate.cloned(), ..grounds(&sender, fix::of_handshake(error)) };
        self.refuse(event, severity, AuditOutcome::Denied, grounds, |record| AuditRecord {
            reason: Some(error.code()),
            cause: Some(cause.to_owned()),
            // The peer's text, of unlimited length.
            spiffe_id: certificate.and_then(|found| found.spiffe_id.as_deref()).map(beginning).map(str::to_owned),
            ..presented(certificate, sent_by(&sender, record))
        })
    }

    /// Reports a request that cannot be read, or asks for something that is not served.
    pub fn report_refused(&self, sender: &Sender, request: RefusedRequest, cause: &str) -> Reference {
        if let RefusedRequest::Token(code) = request {
            self.metrics.grant_refused(code);
        }
        let ended = (Check::Request, fix::AS_THE_CAUSE_SAYS);
        self.record_refused(sender, request.name(), request.reason(), cause, ended)
    }

    /// Reports a `ValidateBinding` request for this audience that cannot be read.
    pub fn report_not_decided(&self, asker: &Asker, audience: &str, why: NoDecision) -> Refused<NoDecision> {
        self.record_not_decided(asker, Some(audience), why)
    }

    /// Reports a check that cannot be read, or that failed internally.
    pub fn report_unread_check(&self, sender: &Sender, refusal: CheckRefusal) -> Reference {
        let reason = refusal.code();
        record_in_span(AuditOutcome::Denied, Some(reason), None, None);
        let steps = one_step(Check::Request, &refusal.to_string(), "a check that can be read");
        let grounds = Grounds { steps, ..grounds(sender, fix::of_check(refusal)) };
        self.refuse(AuditEvent::CheckUnread, Severity::Info, AuditOutcome::Denied, grounds, |record| AuditRecord {
            actor: actor(sender),
            reason: Some(reason),
            ..sent_by(sender, record)
        })
    }
}

/// The step at which a call was refused, and what was expected there.
pub(in crate::authority::api) fn not_admitted_at(method: &str, error: NotAdmitted) -> (Check, String) {
    match error {
        NotAdmitted::NoSuchMethod => (Check::Request, "a method of this version".to_owned()),
        NotAdmitted::NoCertificate | NotAdmitted::Unproven(_) | NotAdmitted::NotForwarded(_) => {
            (Check::Certificate, "a certificate that a rule accepts now".to_owned())
        }
        NotAdmitted::WrongRole => {
            let roles = roles_that_may_call(method).iter().map(|role| format!("{role:?}"));
            (Check::Role, format!("{method}: {}", roles.collect::<Vec<_>>().join(" or ")))
        }
        NotAdmitted::ShareExceeded(_) | NotAdmitted::Overloaded => (Check::Share, String::new()),
        NotAdmitted::NotAtAnEdge => (Check::Request, "a method that edges have".to_owned()),
    }
}
