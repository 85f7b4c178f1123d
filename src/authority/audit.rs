//! What leaves a trace: each grant, each denial, each change of a registration. Thumbprints and names, never a token.

use std::fmt;

use crate::authority::binding::Decision;
use crate::authority::binding::Evidence;
use crate::authority::certificate::CertificateThumbprint;
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

impl AuditEvent<'_> {
    /// Writes the event to the log, under the target `lanyard::audit`. What a caller chose is escaped by the subscriber.
    pub fn record(&self) {
        const TARGET: &str = "lanyard::audit";
        match self {
            Self::TokenIssued { client_id, jti, bound_to } => {
                tracing::info!(target: TARGET, %client_id, jti, bound_to = bound_to.map(tracing::field::display), "token issued");
            }
            Self::TokenRefused { peer, client_id, error } => {
                let cause = match error {
                    GrantError::InvalidClient(mismatch) => mismatch.to_string(),
                    GrantError::InvalidRequest
                    | GrantError::InvalidScope
                    | GrantError::InvalidTarget
                    | GrantError::ServerError => error.to_string(),
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
            Self::Revoked { by, what, change, revision } => {
                tracing::info!(target: TARGET, by, key = what.store_key(), change, revision = revision.0, "revocation");
            }
            Self::ClientChanged { admin, client_id, change, revision } => {
                tracing::info!(target: TARGET, admin, client_id, change, revision = revision.0, "client changed");
            }
        }
    }
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
