//! Reports from the protocols and the server: requests that they refuse before they call the core. Each report is
//! counted and recorded here.

use crate::authority::Authority;
use crate::authority::access::ConnectionInfo;
use crate::authority::access::NotAdmitted;
use crate::authority::access::Sender;
use crate::authority::api::audit::actor;
use crate::authority::api::audit::presented;
use crate::authority::api::audit::sent_by;
use crate::authority::decision::CheckRefusal;
use crate::authority::decision::NoDecision;
use crate::authority::identity::PresentedCertificate;
use crate::authority::observe::AuditEvent;
use crate::authority::observe::AuditOutcome;
use crate::authority::observe::AuditRecord;
use crate::authority::observe::HandshakeError;
use crate::authority::observe::RefusedRequest;
use crate::authority::observe::Reloaded;
use crate::authority::observe::Severity;
use crate::authority::observe::beginning;
use crate::authority::observe::record_in_span;
use crate::authority::state::Caller;

impl Authority {
    /// Reports a call that did not reach `method`, which is named as in the access table. `stream` is whether it was a
    /// message on a stream, which ends with it.
    pub fn report_not_admitted(&self, sender: &Sender, method: &'static str, error: NotAdmitted, stream: bool) {
        self.metrics.call_refused(error);
        record_in_span(AuditOutcome::Denied, Some(error.code()), None, None);
        let event = if stream { AuditEvent::StreamEnded } else { AuditEvent::CallNotAdmitted };
        self.record(event, Severity::Info, AuditOutcome::Denied, |record| AuditRecord {
            actor: actor(sender),
            method: Some(method.to_owned()),
            reason: Some(error.code()),
            cause: Some(error.to_string()),
            ..sent_by(sender, record)
        });
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
    ) {
        self.metrics.handshake_refused(error);
        let (event, severity) = match error {
            HandshakeError::Unproven(_) => (AuditEvent::HandshakeRefused, Severity::Warn),
            HandshakeError::HandshakeFailed
            | HandshakeError::TooSlow
            | HandshakeError::Displaced
            | HandshakeError::ProxyHeader => (AuditEvent::HandshakeFailed, Severity::Info),
        };
        self.record(event, severity, AuditOutcome::Denied, |record| AuditRecord {
            reason: Some(error.code()),
            cause: Some(cause.to_owned()),
            // The peer's text, of unlimited length.
            spiffe_id: certificate.and_then(|found| found.spiffe_id.as_deref()).map(beginning).map(str::to_owned),
            ..presented(certificate, sent_by(&Sender { identity: None, connection }, record))
        });
    }

    /// Reports a request that cannot be read, or asks for something that is not served.
    pub fn report_refused(&self, sender: &Sender, request: RefusedRequest, cause: &str) {
        if let RefusedRequest::Token(code) = request {
            self.metrics.grant_refused(code);
        }
        self.record_refused(sender, request.name(), request.reason(), cause);
    }

    /// Reports a `ValidateBinding` request for this audience that cannot be read.
    pub fn report_not_decided(&self, caller: &Caller, audience: &str, why: NoDecision) {
        self.record_not_decided(caller, Some(audience), why);
    }

    /// Reports a check that cannot be read, or that failed internally.
    pub fn report_unread_check(&self, sender: &Sender, refusal: CheckRefusal) {
        let reason = refusal.code();
        record_in_span(AuditOutcome::Denied, Some(reason), None, None);
        self.record(AuditEvent::CheckUnread, Severity::Info, AuditOutcome::Denied, |record| AuditRecord {
            actor: actor(sender),
            reason: Some(reason),
            ..sent_by(sender, record)
        });
    }
}
