//! What leaves a trace: each grant, each denial, each change of a registration. Thumbprints and names, never a token.

use std::fmt;

use tracing::Span;

use crate::authority::binding::Decision;
use crate::authority::binding::Evidence;
use crate::authority::certificate::CertificateThumbprint;
use crate::authority::check::CheckRefusal;
use crate::authority::deny_reason::DenyReason;
use crate::authority::grant::GrantError;
use crate::authority::identity::PeerIdentity;
use crate::authority::registration::ClientId;
use crate::authority::revocation::Revoked;
use crate::authority::store::Revision;
use crate::authority::validation::NoDecision;

/// Something that was decided or changed.
#[derive(Debug)]
pub enum AuditEvent<'a> {
    /// A token was issued.
    TokenIssued {
        /// To whom.
        client_id: &'a ClientId,
        /// For which resources, by their audiences.
        resource: &'a str,
        /// Its identifier.
        jti: &'a str,
        /// What it is bound to.
        bound_to: Option<CertificateThumbprint>,
    },
    /// A token was refused.
    TokenRefused {
        /// Who asked, by its certificate.
        peer: &'a str,
        /// Whom it said to be.
        client_id: Option<&'a str>,
        /// Why not.
        error: GrantError,
    },
    /// A caller could not prove to be the client that it speaks for, at another endpoint than the one for tokens.
    ClientRefused {
        /// Who called, by its certificate.
        peer: &'a str,
        /// Whom it said to be.
        client_id: Option<&'a str>,
        /// Why not.
        error: GrantError,
    },
    /// Somebody was told that a token is active, or nothing of it.
    Introspected {
        /// Who asked, if it is a client.
        requester: Option<&'a ClientId>,
        /// The token, if it is active.
        token: Option<(&'a str, &'a str)>,
        /// Why it is not.
        refused: Option<DenyReason>,
    },
    /// A question about a use of a token was not one to be answered.
    NotJudged {
        /// Who asked.
        caller: &'a PeerIdentity,
        /// Why not.
        why: &'a NoDecision,
    },
    /// A use of a token was judged.
    BindingJudged {
        /// Who asked.
        caller: &'a PeerIdentity,
        /// The audience that it was asked for.
        resource: &'a str,
        /// The token, if it could be read.
        token: Option<(&'a str, &'a str)>,
        /// What was shown of the certificate.
        evidence: Option<&'a Evidence>,
        /// How it was judged.
        decision: Decision,
    },
    /// A workload named the certificate that follows the one it uses.
    RotationAnnounced {
        /// Who.
        spiffe_id: &'a str,
        /// The certificate in use.
        predecessor: CertificateThumbprint,
        /// The one that follows.
        successor: CertificateThumbprint,
        /// Whether it was taken: a second successor of one certificate is not, and may be an attempt to steal.
        taken: bool,
    },
    /// Something was revoked, or a revocation was lifted.
    Revoked {
        /// By whom.
        by: &'a str,
        /// What.
        what: &'a Revoked,
        /// Which of the two.
        change: &'static str,
        /// The revision of the change.
        revision: Revision,
    },
    /// A request that a proxy asked about was let through or turned away.
    Checked(CheckedRequest<'a>),
    /// A protected resource was registered, changed or deleted.
    ResourceChanged {
        /// By whom.
        admin: &'a str,
        /// Which.
        audience: &'a str,
        /// What was done to it.
        change: &'static str,
        /// The revision of the change.
        revision: Revision,
    },
    /// A registration was made, changed or deleted.
    ClientChanged {
        /// By whom.
        admin: &'a str,
        /// Which.
        client_id: &'a str,
        /// What was done to it.
        change: &'static str,
        /// The revision of the change.
        revision: Revision,
    },
}

/// A request that a proxy asked about.
#[derive(Debug)]
pub struct CheckedRequest<'a> {
    /// The proxy.
    pub proxy: &'a PeerIdentity,
    /// The resource's audience, if one was found.
    pub resource: Option<&'a str>,
    /// The request's method.
    pub method: &'a str,
    /// Its path; the query is left out of the log.
    pub path: &'a str,
    /// The client and the identifier of its token, if it could be read.
    pub token: Option<(&'a str, &'a str)>,
    /// What was seen of the certificate.
    pub evidence: Option<&'a Evidence>,
    /// Why it should not go through, if so.
    pub refused: Option<CheckRefusal>,
    /// Whether the resource's mode let it through all the same.
    pub let_through: bool,
}

impl CheckedRequest<'_> {
    fn record(&self) {
        let Self { proxy, resource, refused, let_through, .. } = self;
        let (client_id, jti) = self.token.unzip();
        let verdict = match refused {
            None => Verdict::Allow,
            Some(refusal) if *let_through => Verdict::Report(refusal.code()),
            Some(refusal) => Verdict::Deny(refusal.code()),
        };
        verdict.put_down(client_id, *resource);
        let shown = self.evidence.map(|evidence| tracing::field::display(Shown(evidence)));
        // Both are the client's text, of any length.
        let method = beginning(self.method);
        let path = beginning(self.path.split_once('?').map_or(self.path, |(path, _)| path));
        match refused {
            None => {
                tracing::debug!(target: TARGET, %proxy, resource, ?method, ?path, client_id, jti, shown, "check allowed");
            }
            Some(CheckRefusal::Denied(reason @ DenyReason::CertificateMismatch)) => {
                let reason = reason.code();
                tracing::warn!(target: TARGET, %proxy, resource, ?method, ?path, client_id, jti, shown, reason, let_through, "check denied");
            }
            Some(refusal) => {
                let reason = refusal.code();
                tracing::info!(target: TARGET, %proxy, resource, ?method, ?path, client_id, jti, shown, reason, let_through, "check denied");
            }
        }
    }
}

/// What the span of a request says of its outcome.
enum Verdict {
    Allow,
    Deny(&'static str),
    /// Denied, and let through by the mode of the resource.
    Report(&'static str),
}

impl Verdict {
    /// Puts it down in the present span, if that is one of a request.
    fn put_down(&self, client_id: Option<&str>, resource: Option<&str>) {
        let span = Span::current();
        if span.is_disabled() {
            return;
        }
        let (decision, reason) = match self {
            Self::Allow => ("allow", None),
            Self::Deny(reason) => ("deny", Some(*reason)),
            Self::Report(reason) => ("report", Some(*reason)),
        };
        span.record("lanyard.decision", decision);
        for (field, value) in [
            ("lanyard.reason", reason),
            ("lanyard.client_id", client_id),
            ("lanyard.resource", resource.map(beginning)),
            ("otel.status_code", reason.filter(|reason| *reason == UNABLE).map(|_| "error")),
        ] {
            if let Some(value) = value {
                span.record(field, value);
            }
        }
    }
}

impl From<Option<&'static str>> for Verdict {
    fn from(refused: Option<&'static str>) -> Self {
        refused.map_or(Self::Allow, Self::Deny)
    }
}

/// The one reason that is a fault of this server's.
const UNABLE: &str = "UNABLE";

/// What the lines of the audit trail are filtered by.
const TARGET: &str = "lanyard::audit";

impl AuditEvent<'_> {
    /// Writes the event to the log, under the target `lanyard::audit`. What a caller chose is escaped by the subscriber.
    pub fn record(&self) {
        match self {
            Self::TokenIssued { client_id, resource, jti, bound_to } => {
                Verdict::Allow.put_down(Some(client_id.as_str()), Some(resource));
                tracing::info!(target: TARGET, %client_id, jti, bound_to = bound_to.map(tracing::field::display), "token issued");
            }
            Self::TokenRefused { peer, client_id, error } => {
                Verdict::Deny(error.code()).put_down(*client_id, None);
                let (reason, cause) = (error.code(), cause(*error));
                tracing::warn!(target: TARGET, peer, client_id, reason, cause, "token refused");
            }
            Self::ClientRefused { peer, client_id, error } => {
                Verdict::Deny(error.code()).put_down(*client_id, None);
                let (reason, cause) = (error.code(), cause(*error));
                tracing::warn!(target: TARGET, peer, client_id, reason, cause, "client refused");
            }
            Self::Introspected { requester, token, refused } => {
                let (client_id, jti) = token.unzip();
                let reason = refused.map(DenyReason::code);
                Verdict::from(reason).put_down(client_id, None);
                let requester = requester.map(tracing::field::display);
                if reason.is_none() {
                    tracing::debug!(target: TARGET, requester, client_id, jti, "introspection allowed");
                } else {
                    tracing::info!(target: TARGET, requester, reason, "introspection denied");
                }
            }
            Self::NotJudged { caller, why } => {
                tracing::info!(target: TARGET, %caller, reason = why.code(), cause = %why, "no decision");
            }
            Self::BindingJudged { caller, resource, token, evidence, decision } => {
                let (client_id, jti) = token.unzip();
                let resource = beginning(resource);
                let refused = match decision {
                    Decision::Allow(_) => None,
                    Decision::Deny(reason) => Some(reason.code()),
                };
                Verdict::from(refused).put_down(client_id, Some(resource));
                let shown = evidence.map(|evidence| tracing::field::display(Shown(evidence)));
                match decision {
                    // An allowance is the ordinary case, at the rate of the mesh's requests.
                    Decision::Allow(_) => {
                        tracing::debug!(target: TARGET, %caller, resource, client_id, jti, shown, "binding allowed");
                    }
                    // Malformed tokens are noise from outside; a wrong certificate may be a theft.
                    Decision::Deny(reason @ DenyReason::CertificateMismatch) => {
                        tracing::warn!(target: TARGET, %caller, resource, client_id, jti, shown, reason = reason.code(), "binding denied");
                    }
                    Decision::Deny(reason) => {
                        tracing::info!(target: TARGET, %caller, resource, client_id, jti, shown, reason = reason.code(), "binding denied");
                    }
                }
            }
            Self::RotationAnnounced { spiffe_id, predecessor, successor, taken: true } => {
                tracing::info!(target: TARGET, spiffe_id, %predecessor, %successor, "rotation announced");
            }
            Self::RotationAnnounced { spiffe_id, predecessor, successor, taken: false } => {
                tracing::warn!(target: TARGET, spiffe_id, %predecessor, %successor, "a second successor was refused");
            }
            Self::Revoked { by, what, change, revision } => {
                tracing::info!(target: TARGET, by, key = what.store_key(), change, revision = revision.0, "revocation");
            }
            Self::Checked(checked) => checked.record(),
            Self::ResourceChanged { admin, audience, change, revision } => {
                tracing::info!(target: TARGET, admin, audience, change, revision = revision.0, "resource changed");
            }
            Self::ClientChanged { admin, client_id, change, revision } => {
                tracing::info!(target: TARGET, admin, client_id, change, revision = revision.0, "client changed");
            }
        }
    }
}

/// More than the one who was refused is told.
fn cause(error: GrantError) -> String {
    match error {
        GrantError::InvalidClient(mismatch) => mismatch.to_string(),
        GrantError::InvalidAssertion(why) => format!("the client assertion proves nobody: {why}"),
        GrantError::UnknownAssertionType
        | GrantError::HalfAnAssertion
        | GrantError::ForeignConnection
        | GrantError::InvalidRequest
        | GrantError::InvalidScope
        | GrantError::InvalidTarget
        | GrantError::ServerError
        | GrantError::Stale(_) => error.to_string(),
    }
}

/// The first 256 bytes, or a few less.
fn beginning(text: &str) -> &str {
    text.get(..text.floor_char_boundary(256)).unwrap_or_default()
}

/// What was shown of a certificate; written out only where the event is.
struct Shown<'a>(&'a Evidence);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Evidence::SpiffeId(id) => fmt::Display::fmt(id, formatter),
            Evidence::Thumbprint(thumbprint) => write!(formatter, "x5t#S256:{thumbprint}"),
            Evidence::Certificate(certificate) => write!(formatter, "x5t#S256:{}", certificate.thumbprint()),
        }
    }
}
