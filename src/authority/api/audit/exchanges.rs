//! The records of exchanges.

use crate::authority::Authority;
use crate::authority::api::audit::cause;
use crate::authority::api::audit::sent_by::grounds;
use crate::authority::api::audit::sent_by::registration;
use crate::authority::api::audit::sent_by::sent_by;
use crate::authority::decision::Exchange;
use crate::authority::decision::ExchangeError;
use crate::authority::decision::ExchangeRefusal;
use crate::authority::decision::ExchangeRequest;
use crate::authority::decision::JwtGrant;
use crate::authority::decision::Step;
use crate::authority::decision::TxnGrant;
use crate::authority::identity::PeerIdentity;
use crate::authority::observe::AuditEvent;
use crate::authority::observe::AuditOutcome;
use crate::authority::observe::AuditRecord;
use crate::authority::observe::Grounds;
use crate::authority::observe::Severity;
use crate::authority::observe::beginning;
use crate::authority::observe::exchange_fix;
use crate::authority::observe::record_in_span;
use crate::authority::reference::Refused;
use crate::authority::registration::ClientId;
use crate::authority::state::Caller;
use crate::authority::tokens::AccessTokenClaims;
use crate::authority::tokens::JwtGrantClaims;
use crate::authority::tokens::TxnTokenClaims;

impl Authority {
    pub(in crate::authority::api) fn record_exchanged(
        &self,
        peer: &PeerIdentity,
        exchange: &Exchange,
        claims: &AccessTokenClaims,
    ) {
        let Exchange { client_id, client, audience, reported, .. } = exchange;
        self.metrics.issued();
        self.metrics.exchanged(*reported);
        let outcome = if *reported { AuditOutcome::Reported } else { AuditOutcome::Allowed };
        record_in_span(outcome, None, Some(client_id.as_str()), Some(audience));
        self.record(AuditEvent::TokenExchanged, Severity::Info, outcome, |record| AuditRecord {
            actor: Some(peer.to_string()),
            client_id: Some(client_id.to_string()),
            resource: Some(audience.clone()),
            jti: Some(claims.jti.clone()),
            delegation: claims.delegation(),
            bound_to: claims.bound_to().map(|thumbprint| thumbprint.to_string()),
            registration: Some(client.registration.client_id.to_string()),
            revision: Some(client.revision.0),
            ..record
        });
    }

    /// Records a transaction token: by its identifier, and never by what is in it.
    pub(in crate::authority::api) fn record_txn_issued(
        &self,
        peer: &PeerIdentity,
        grant: &TxnGrant,
        claims: &TxnTokenClaims,
    ) {
        self.metrics.txn_token();
        let TxnGrant { client_id, client, subject, .. } = grant;
        let outcome = AuditOutcome::Allowed;
        record_in_span(outcome, None, Some(client_id.as_str()), Some(&claims.aud));
        self.record(AuditEvent::TokenExchanged, Severity::Info, outcome, |record| AuditRecord {
            actor: Some(peer.to_string()),
            client_id: Some(client_id.to_string()),
            resource: Some(claims.aud.clone()),
            jti: Some(claims.txn.clone()),
            delegation: Some(format!("{subject} {client_id}")).filter(|_| subject != client_id.as_str()),
            registration: Some(client.registration.client_id.to_string()),
            revision: Some(client.revision.0),
            ..record
        });
    }

    /// Records a grant for another authorization server.
    pub(in crate::authority::api) fn record_jwt_grant(
        &self,
        peer: &PeerIdentity,
        grant: &JwtGrant,
        claims: &JwtGrantClaims,
    ) {
        self.metrics.jwt_grant();
        let JwtGrant { client_id, client, subject, audience, .. } = grant;
        let outcome = AuditOutcome::Allowed;
        record_in_span(outcome, None, Some(client_id.as_str()), Some(audience));
        self.record(AuditEvent::TokenExchanged, Severity::Info, outcome, |record| AuditRecord {
            actor: Some(peer.to_string()),
            client_id: Some(client_id.to_string()),
            resource: Some(audience.clone()),
            jti: Some(claims.jti.clone()),
            delegation: Some(format!("{subject} {client_id}")).filter(|_| subject != client_id.as_str()),
            bound_to: claims.cnf.x5t_s256.clone(),
            registration: Some(client.registration.client_id.to_string()),
            revision: Some(client.revision.0),
            ..record
        });
    }

    /// Records a refused exchange with its exact reason, which its caller is not told.
    pub(in crate::authority::api) fn record_exchange_refused(
        &self,
        caller: &Caller,
        request: &ExchangeRequest,
        error: ExchangeError,
        steps: Vec<Step>,
    ) -> Refused<ExchangeRefusal> {
        let reason = error.code();
        let sent = request.client_id.as_deref().and_then(ClientId::parse);
        let client = sent.or_else(|| caller.identity.spiffe_id().map(ClientId::from));
        record_in_span(AuditOutcome::Denied, Some(reason), client.as_ref().map(ClientId::as_str), None);
        let sender = caller.sender();
        let refusal = error.refusal();
        let told_as = [
            (ExchangeRefusal::SubjectNotAccepted, "SUBJECT_NOT_ACCEPTED"),
            (ExchangeRefusal::InvalidGrant, "INVALID_GRANT"),
        ];
        let told_as = told_as.into_iter().find(|(told, _)| *told == refusal).map(|(_, code)| code);
        let grounds = Grounds { steps, told_as, ..grounds(&sender, exchange_fix::of_exchange(error)) };
        let (event, severity) = (AuditEvent::ExchangeRefused, Severity::Warn);
        let reference = self.refuse(event, severity, AuditOutcome::Denied, grounds, |record| {
            let audience = request.audience.join(" ");
            let cause = if let ExchangeError::NotGranted(error) = error { cause(error) } else { error.to_string() };
            AuditRecord {
                actor: Some(caller.identity.to_string()),
                client_id: client.as_ref().map(ToString::to_string),
                // The caller's text, of unlimited length.
                resource: Some(beginning(&audience).to_owned()).filter(|audience| !audience.is_empty()),
                registration: registration(&caller.view, client.as_ref()),
                reason: Some(reason),
                cause: Some(cause),
                ..sent_by(&sender, record)
            }
        });
        Refused { error: refusal, reference }
    }
}
