//! What leaves a trace: each grant, each denial, each change of a registration. Thumbprints and names, never a token.

use std::fmt;

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

/// Something that was decided or changed.
#[derive(Debug)]
pub enum AuditEvent<'a> {
    /// A token was issued.
    TokenIssued {
        /// To whom.
        client_id: &'a ClientId,
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
    /// A use of a token was judged.
    BindingJudged {
        /// Who asked.
        caller: &'a PeerIdentity,
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

/// What the lines of the audit trail are filtered by.
const TARGET: &str = "lanyard::audit";

impl AuditEvent<'_> {
    /// Writes the event to the log, under the target `lanyard::audit`. What a caller chose is escaped by the subscriber.
    pub fn record(&self) {
        match self {
            Self::TokenIssued { client_id, jti, bound_to } => {
                tracing::info!(target: TARGET, %client_id, jti, bound_to = bound_to.map(tracing::field::display), "token issued");
            }
            Self::TokenRefused { peer, client_id, error } => {
                let cause = match error {
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
                };
                tracing::warn!(target: TARGET, peer, client_id, cause, "token refused");
            }
            Self::BindingJudged { caller, token, evidence, decision } => {
                let (client_id, jti) = token.unzip();
                let shown = evidence.map(|evidence| tracing::field::display(Shown(evidence)));
                match decision {
                    // An allowance is the ordinary case, at the rate of the mesh's requests.
                    Decision::Allow(_) => {
                        tracing::debug!(target: TARGET, %caller, client_id, jti, shown, "binding allowed");
                    }
                    // Malformed tokens are noise from outside; a wrong certificate may be a theft.
                    Decision::Deny(reason @ DenyReason::CertificateMismatch) => {
                        tracing::warn!(target: TARGET, %caller, client_id, jti, shown, reason = reason.code(), "binding denied");
                    }
                    Decision::Deny(reason) => {
                        tracing::info!(target: TARGET, %caller, client_id, jti, shown, reason = reason.code(), "binding denied");
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
