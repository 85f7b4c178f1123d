//! A record of the audit trail.

use serde::Serialize;

/// Who did what, on what, and how it ended. Only the core makes one.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct AuditRecord {
    pub(in crate::authority) event: AuditEvent,
    pub(in crate::authority) severity: Severity,
    pub(in crate::authority) outcome: AuditOutcome,
    /// Who called or asked, as far as it is known: by its certificate; by its `client_id` at an
    /// introspection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::authority) actor: Option<String>,
    /// The client that it is about: of the token, of the registration, or the one that the caller says to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::authority) client_id: Option<String>,
    /// The protected resource, by its audience; several are joined by spaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::authority) resource: Option<String>,
    /// The identifier of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::authority) jti: Option<String>,
    /// The fixed code of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::authority) reason: Option<&'static str>,
    /// A sentence more than the caller got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::authority) cause: Option<String>,
    /// The method that was called, by the access table, or that of the request that was checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::authority) method: Option<String>,
    /// The path of the request that was checked, without its query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::authority) path: Option<String>,
    /// What was shown of the certificate that the token came with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::authority) evidence: Option<String>,
    /// The thumbprint of the certificate that the token is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::authority) bound_to: Option<String>,
    /// The thumbprint of the certificate in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::authority) predecessor: Option<String>,
    /// The thumbprint of the certificate that follows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::authority) successor: Option<String>,
    /// What was revoked, by its key in the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::authority) revoked: Option<String>,
    /// What was done to a registration or a revocation, such as `created`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::authority) change: Option<&'static str>,
    /// What a refused request was for, such as `token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::authority) request: Option<&'static str>,
    /// The revision of the store that a change made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::authority) revision: Option<u64>,
    /// The trace of the request, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::authority) trace_id: Option<String>,
}

/// What was done or decided.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, strum::VariantArray)]
#[serde(rename_all = "snake_case")]
pub enum AuditEvent {
    /// A token was issued.
    TokenIssued,
    /// A token was refused.
    TokenRefused,
    /// A caller could not prove to be the client that it speaks for, at another endpoint than the one for tokens.
    ClientRefused,
    /// A request was refused before it came to a decision, or one that changes something.
    RequestRefused,
    /// A call did not reach what it called.
    CallNotAdmitted,
    /// A stream was ended, because its peer is not admitted any more.
    StreamEnded,
    /// A handshake was ended, because no rule accepts the certificate.
    HandshakeRefused,
    /// A handshake did not end, or ended without a certificate.
    HandshakeFailed,
    /// An introspection was answered.
    Introspected,
    /// A question about a use of a token was not one to be answered.
    NotDecided,
    /// A use of a token was decided on.
    BindingDecided,
    /// A request that a proxy asked about was decided on.
    Checked,
    /// A check could not be read, or something broke in it.
    CheckUnread,
    /// A workload named the certificate that follows the one in use. A second successor is refused: it may be an attempt to
    /// steal.
    RotationAnnounced,
    /// Something was revoked, or a revocation was lifted.
    Revocation,
    /// A protected resource was registered, changed or deleted.
    ResourceChanged,
    /// A client was registered, changed or deleted.
    ClientChanged,
}

/// How it ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditOutcome {
    /// It was allowed.
    Allowed,
    /// It was denied, or refused.
    Denied,
    /// It would have been denied, but its resource is in the mode `report`.
    Reported,
    /// A change was made.
    Changed,
}

/// How much attention it deserves.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The ordinary case, at the rate of the mesh's requests.
    Debug,
    /// Worth a line.
    Info,
    /// It may be an attack.
    Warn,
}

impl AuditRecord {
    /// A record without details. Called in the verbs of the core alone.
    pub(in crate::authority) fn new(event: AuditEvent, severity: Severity, outcome: AuditOutcome) -> Self {
        Self {
            event,
            severity,
            outcome,
            actor: None,
            client_id: None,
            resource: None,
            jti: None,
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
            request: None,
            revision: None,
            trace_id: None,
        }
    }

    /// What was done or decided.
    pub fn event(&self) -> AuditEvent {
        self.event
    }

    /// How much attention it deserves.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// The same as a part of this trace.
    #[must_use]
    pub fn in_trace(self, trace_id: Option<String>) -> Self {
        Self { trace_id, ..self }
    }
}
