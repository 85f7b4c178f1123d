//! A record of the audit trail.

use crate::authority::reference::Reference;

/// The actor, the action, its object and its outcome. Only the core creates records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuditRecord {
    pub(in crate::authority) event: AuditEvent,
    pub(in crate::authority) severity: Severity,
    pub(in crate::authority) outcome: AuditOutcome,
    /// The caller, as far as it is known: by its certificate; by its `client_id` at an introspection.
    pub(in crate::authority) actor: Option<String>,
    /// The caller by its certificate, where the actor is a client.
    pub(in crate::authority) caller: Option<String>,
    /// The address of the peer of the connection.
    pub(in crate::authority) remote: Option<String>,
    /// The listener of the connection.
    pub(in crate::authority) listener: Option<&'static str>,
    /// The thumbprint of the certificate of the connection.
    pub(in crate::authority) certificate: Option<String>,
    /// The SPIFFE ID in a certificate that no rule accepts, which proves nothing.
    pub(in crate::authority) spiffe_id: Option<String>,
    /// The subject of a certificate without a SPIFFE ID.
    pub(in crate::authority) subject: Option<String>,
    /// The client concerned: that of the token, that of the registration, or the one that the caller claims to be.
    pub(in crate::authority) client_id: Option<String>,
    /// The protected resource, by its audience; several audiences are joined by spaces.
    pub(in crate::authority) resource: Option<String>,
    /// The registration that applied, by its `client_id`, which may be a pattern's name.
    pub(in crate::authority) registration: Option<String>,
    /// What a check names as its resource, where no resource matches: the audience, or the authority of the request.
    pub(in crate::authority) requested: Option<String>,
    /// The destination's principal in such a check.
    pub(in crate::authority) destination: Option<String>,
    /// The template of the route that matched.
    pub(in crate::authority) route: Option<String>,
    /// The principal that the proxy saw.
    pub(in crate::authority) principal: Option<String>,
    /// The token's identifier (`jti`).
    pub(in crate::authority) jti: Option<String>,
    /// Of a delegated token: its subject, and who acts, one after another, joined by spaces.
    pub(in crate::authority) delegation: Option<String>,
    /// The identifier of the transaction that a checked request is part of (`txn`).
    pub(in crate::authority) txn: Option<String>,
    /// The fixed code of a refusal.
    pub(in crate::authority) reason: Option<&'static str>,
    /// The detailed cause in one sentence, which the caller does not receive.
    pub(in crate::authority) cause: Option<String>,
    /// The called method, as in the access table, or the method of the checked request.
    pub(in crate::authority) method: Option<String>,
    /// The path of the checked request, without its query.
    pub(in crate::authority) path: Option<String>,
    /// The certificate evidence that was presented with the token.
    pub(in crate::authority) evidence: Option<String>,
    /// The thumbprint of the certificate that the token is bound to.
    pub(in crate::authority) bound_to: Option<String>,
    /// The thumbprint of the certificate in use.
    pub(in crate::authority) predecessor: Option<String>,
    /// The thumbprint of the certificate that follows it.
    pub(in crate::authority) successor: Option<String>,
    /// The revoked object, by its key in the store.
    pub(in crate::authority) revoked: Option<String>,
    /// The change of a registration, a revocation or a signing key, such as `created`.
    pub(in crate::authority) change: Option<&'static str>,
    /// The keys of the configuration that changed, joined by spaces.
    pub(in crate::authority) keys: Option<String>,
    /// The name of a grant.
    pub(in crate::authority) grant: Option<String>,
    /// The name of a feature.
    pub(in crate::authority) feature: Option<&'static str>,
    /// The `kid` of a signing key.
    pub(in crate::authority) kid: Option<String>,
    /// Why an admin made the change, in the admin's words.
    pub(in crate::authority) comment: Option<String>,
    /// The second admin, who approved the change.
    pub(in crate::authority) approved_by: Option<String>,
    /// The identifier of a proposed change.
    pub(in crate::authority) proposal: Option<String>,
    /// What is proposed, such as `update`.
    pub(in crate::authority) proposed: Option<&'static str>,
    /// The kind of a refused request, such as `token`.
    pub(in crate::authority) request: Option<&'static str>,
    /// The revision of the store after the change; of a token that was issued, the revision of its registration.
    pub(in crate::authority) revision: Option<u64>,
    /// The last second in which a revocation is in effect, in seconds since 1970.
    pub(in crate::authority) until: Option<u64>,
    /// The reference of a refusal, by which its caller may ask about it.
    pub(in crate::authority) reference: Option<Reference>,
    /// How many more such refusals there were since the last record of them. Such a record is about no single request.
    pub(in crate::authority) repeated: Option<u64>,
}

/// The kind of event.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum AuditEvent {
    /// A token was issued.
    TokenIssued,
    /// A token request was refused.
    TokenRefused,
    /// A token was issued in exchange for one of somebody else.
    TokenExchanged,
    /// An exchange was refused.
    ExchangeRefused,
    /// A caller could not authenticate as the client that it claims to be, at an endpoint other than the token
    /// endpoint.
    ClientRefused,
    /// A request was refused before a decision, or one that changes something.
    RequestRefused,
    /// A call did not reach its method.
    CallNotAdmitted,
    /// A stream was ended, because its peer is no longer admitted.
    StreamEnded,
    /// A handshake failed, because no rule accepts the certificate.
    HandshakeRefused,
    /// A handshake was not completed, or ended without a certificate.
    HandshakeFailed,
    /// An introspection was answered.
    Introspected,
    /// A `ValidateBinding` request was refused without a decision.
    NotDecided,
    /// A use of a token was decided.
    BindingDecided,
    /// A request that a proxy asked about was decided.
    Checked,
    /// A check could not be read, or failed internally.
    CheckUnread,
    /// A workload announced the certificate that follows the one in use. A second successor is refused: it may be an
    /// attempt to steal the identity.
    RotationAnnounced,
    /// A revocation was made or lifted.
    Revocation,
    /// A protected resource was registered, changed or deleted.
    ResourceChanged,
    /// A client was registered, changed or deleted.
    ClientChanged,
    /// A grant to the admins of a team was made, changed or deleted.
    GrantChanged,
    /// A change that a second admin has to approve was proposed, approved, rejected or withdrawn.
    Proposal,
    /// An admin read everything that the store holds.
    StoreExported,
    /// An admin enabled a feature of the store.
    FeatureEnabled,
    /// A signing key was published, activated, retired, revoked or sealed anew.
    SigningKeyChanged,
    /// A receipt that had been redeemed before was redeemed again, for the same token.
    ReceiptSeenAgain,
    /// A caller was let read what only admins may.
    AdminRead,
    /// The configuration, the server's certificate, or the bundles and client CAs were replaced while the server runs.
    ConfigurationChanged,
}

impl AuditEvent {
    /// Whether it is of a decision on a token, a request for one, or a use of one.
    pub fn is_decision(self) -> bool {
        match self {
            Self::TokenIssued
            | Self::TokenRefused
            | Self::TokenExchanged
            | Self::ExchangeRefused
            | Self::ClientRefused
            | Self::Introspected
            | Self::NotDecided
            | Self::BindingDecided
            | Self::Checked
            | Self::CheckUnread => true,
            Self::RequestRefused
            | Self::CallNotAdmitted
            | Self::StreamEnded
            | Self::HandshakeRefused
            | Self::HandshakeFailed
            | Self::RotationAnnounced
            | Self::Revocation
            | Self::ResourceChanged
            | Self::ClientChanged
            | Self::GrantChanged
            | Self::Proposal
            | Self::StoreExported
            | Self::FeatureEnabled
            | Self::SigningKeyChanged
            | Self::ReceiptSeenAgain
            | Self::AdminRead
            | Self::ConfigurationChanged => false,
        }
    }
}

/// The outcome of an event.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum AuditOutcome {
    /// The request was allowed.
    Allowed,
    /// The request was denied or refused.
    Denied,
    /// The request would have been denied, but its resource is in the mode `report`.
    Reported,
    /// A change was made.
    Changed,
}

/// The severity of an event.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Severity {
    /// The ordinary case, at the rate of the mesh's requests.
    Debug,
    /// Notable, but ordinary.
    Info,
    /// A possible attack.
    Warn,
}

impl AuditRecord {
    /// Creates a record without details. Only operations of the core call this.
    pub(in crate::authority) fn new(event: AuditEvent, severity: Severity, outcome: AuditOutcome) -> Self {
        Self {
            event,
            severity,
            outcome,
            actor: None,
            caller: None,
            remote: None,
            listener: None,
            certificate: None,
            spiffe_id: None,
            subject: None,
            registration: None,
            requested: None,
            destination: None,
            route: None,
            principal: None,
            client_id: None,
            resource: None,
            jti: None,
            delegation: None,
            txn: None,
            reason: None,
            cause: None,
            method: None,
            path: None,
            evidence: None,
            bound_to: None,
            predecessor: None,
            successor: None,
            revoked: None,
            change: None,
            keys: None,
            grant: None,
            feature: None,
            kid: None,
            comment: None,
            approved_by: None,
            proposal: None,
            proposed: None,
            request: None,
            revision: None,
            until: None,
            reference: None,
            repeated: None,
        }
    }

    /// A record of how many more refusals there were, without details.
    pub(crate) fn of_repeated(event: AuditEvent, severity: Severity, outcome: AuditOutcome, count: u64) -> Self {
        Self { repeated: Some(count), ..Self::new(event, severity, outcome) }
    }

    /// The kind of event.
    pub fn event(&self) -> AuditEvent {
        self.event
    }

    /// Whether it is of something that was allowed, and changed nothing.
    pub fn is_of_allowance(&self) -> bool {
        self.outcome == AuditOutcome::Allowed
    }

    /// The names of who asked, and of the client.
    pub(in crate::authority) fn names(&self) -> impl Iterator<Item = &str> {
        let names = [
            &self.actor,
            &self.caller,
            &self.client_id,
            &self.evidence,
            &self.principal,
            &self.spiffe_id,
            &self.subject,
            &self.remote,
        ];
        names.into_iter().flatten().map(String::as_str)
    }

    /// Whether it is about this resource, or this name of none.
    pub(in crate::authority) fn is_at(&self, resource: &str) -> bool {
        [&self.resource, &self.requested].into_iter().flatten().any(|named| named == resource)
    }

    /// The address of the peer of the connection without its port, which the peer chooses.
    pub(in crate::authority) fn remote_host(&self) -> Option<&str> {
        self.remote.as_deref().map(|remote| remote.rsplit_once(':').map_or(remote, |(host, _)| host))
    }

    /// About how many bytes its texts take besides itself.
    pub(in crate::authority) fn heap_bytes(&self) -> usize {
        let texts = [
            &self.actor,
            &self.caller,
            &self.remote,
            &self.certificate,
            &self.spiffe_id,
            &self.subject,
            &self.client_id,
            &self.resource,
            &self.registration,
            &self.requested,
            &self.destination,
            &self.route,
            &self.principal,
            &self.jti,
            &self.delegation,
            &self.txn,
            &self.cause,
            &self.method,
            &self.path,
            &self.evidence,
            &self.bound_to,
            &self.predecessor,
            &self.successor,
        ];
        texts.into_iter().flatten().map(|text| text.capacity() + 16).sum()
    }

    /// The severity of the event.
    pub fn severity(&self) -> Severity {
        self.severity
    }
}
