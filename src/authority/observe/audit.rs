//! What leaves a trace: each grant, each denial, each change of a registration. Thumbprints and names, never a token.

mod span;

use std::fmt;

use crate::authority::access::NotAdmitted;
use crate::authority::access::PeerConnection;
use crate::authority::decision::CheckRefusal;
use crate::authority::decision::Decision;
use crate::authority::decision::GrantError;
use crate::authority::decision::NoDecision;
use crate::authority::deny_reason::DenyReason;
use crate::authority::evidence::Evidence;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::PeerIdentity;
use crate::authority::observe::audit::span::Verdict;
use crate::authority::observe::audit::span::beginning;
use crate::authority::registration::ClientId;
use crate::authority::state::Revoked;
use crate::authority::store::Revision;
use crate::authority::trust::Unproven;

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
    /// A request was refused before it came to a decision, or one that changes something.
    Refused {
        /// Who asked, as far as it is known.
        peer: Option<&'a str>,
        /// What for: `token`, `introspection`, `revocation` or `registration`.
        what: &'static str,
        /// The code that the caller gets.
        reason: &'static str,
        /// A sentence more.
        cause: &'a str,
    },
    /// A call did not reach what it called.
    NotAdmitted {
        /// Who called, if it showed a certificate.
        peer: Option<&'a PeerConnection>,
        /// The method, by the access table.
        method: &'static str,
        /// Why not.
        error: NotAdmitted,
        /// Whether it was a message of a stream, which ends with it.
        stream: bool,
    },
    /// A handshake was ended, because no rule proves the certificate.
    HandshakeRefused(Unproven),
    /// A handshake came to no end, or to one without a certificate.
    HandshakeFailed {
        /// The code that it is counted under.
        reason: &'static str,
        /// What went wrong.
        cause: &'a str,
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
    NotDecided {
        /// Who asked.
        caller: &'a PeerIdentity,
        /// Why not.
        why: &'a NoDecision,
    },
    /// A use of a token was judged.
    BindingDecided {
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
    /// A check was denied that could not be read, or in which something broke.
    CheckUnread(CheckRefusal),
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
                let (reason, cause) = (refusal.code(), refusal.cause().map(tracing::field::display));
                tracing::info!(target: TARGET, %proxy, resource, ?method, ?path, client_id, jti, shown, reason, cause, let_through, "check denied");
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
            Self::Refused { peer, what, reason, cause } => {
                Verdict::Deny(reason).put_down(None, None);
                tracing::info!(target: TARGET, peer, reason, cause, "{what} refused");
            }
            Self::NotAdmitted { peer, method, error, stream } => {
                let (reason, cause) = (error.code(), error);
                Verdict::Deny(reason).put_down(None, None);
                let caller = peer.map(|peer| tracing::field::display(peer.identity()));
                let event = if *stream { "a stream was ended" } else { "a call was not admitted" };
                tracing::info!(target: TARGET, caller, method, reason, %cause, "{event}");
            }
            // A certificate that does not pass may be an attempt at intrusion.
            Self::HandshakeRefused(unproven) => {
                tracing::warn!(target: TARGET, reason = unproven.code(), cause = %unproven, "a handshake was refused");
            }
            Self::HandshakeFailed { reason, cause } => {
                tracing::info!(target: TARGET, reason, cause, "a handshake failed");
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
            Self::NotDecided { caller, why } => {
                Verdict::Deny(why.code()).put_down(None, None);
                tracing::info!(target: TARGET, %caller, reason = why.code(), cause = %why, "no decision");
            }
            Self::BindingDecided { caller, resource, token, evidence, decision } => {
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
            Self::CheckUnread(refusal) => {
                Verdict::Deny(refusal.code()).put_down(None, None);
                tracing::info!(target: TARGET, reason = refusal.code(), "check denied");
            }
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::sync::Mutex;

    use tracing::field::Empty;

    use super::AuditEvent;
    use crate::authority::decision::CheckRefusal;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The one line of a check that was denied before it was looked at, with the span around it.
    fn line(refusal: CheckRefusal) -> String {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!(
                "request",
                lanyard.decision = Empty,
                lanyard.reason = Empty,
                otel.status_code = Empty
            );
            span.in_scope(|| AuditEvent::CheckUnread(refusal).record());
        });
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        text
    }

    #[test]
    fn a_check_in_which_something_broke_is_a_denial_and_an_error_in_its_span() {
        let line = line(CheckRefusal::Unable);
        let span = "request{lanyard.decision=\"deny\" lanyard.reason=\"UNABLE\" otel.status_code=\"error\"}";
        assert!(line.contains(span) && line.contains("check denied reason=\"UNABLE\""), "{line}");
    }

    #[test]
    fn a_check_that_cannot_be_read_is_a_denial_and_no_error_of_the_servers() {
        let line = line(CheckRefusal::RequestMalformed);
        let span = "request{lanyard.decision=\"deny\" lanyard.reason=\"REQUEST_MALFORMED\"}";
        assert!(line.contains(span), "{line}");
    }
}
