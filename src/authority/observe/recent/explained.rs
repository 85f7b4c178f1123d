//! A refusal as it is told: to admins all of it, to its own caller what is the caller's own.

use crate::authority::clock::Timestamp;
use crate::authority::decision::Check;
use crate::authority::decision::Step;
use crate::authority::identity::PeerIdentity;
use crate::authority::identity::PresentedCertificate;
use crate::authority::observe::audit::AuditEvent;
use crate::authority::observe::audit::AuditOutcome;
use crate::authority::observe::fix;
use crate::authority::observe::recent::refusal::RecentRefusal;
use crate::authority::observe::recent::refusal::Sight;
use crate::authority::reference::Reference;

/// Why something was refused, as far as whoever asks may know.
#[derive(Clone, Debug)]
pub struct ExplainedRefusal {
    /// Its reference.
    pub reference: Reference,
    /// When it was refused.
    pub at: Timestamp,
    /// The kind of event, as in the audit trail.
    pub event: &'static str,
    /// Whether it was let through nevertheless, because its resource is in the mode `report`.
    pub let_through: bool,
    /// The fixed code.
    pub reason: &'static str,
    /// The cause in one sentence. Empty where the code says it all, and for callers.
    pub cause: String,
    /// What to do about it.
    pub fix: String,
    /// The sender of the request, by its certificate. Empty for a failed handshake.
    pub caller: String,
    /// The address of the connection.
    pub remote: String,
    /// The listener of the connection.
    pub listener: &'static str,
    /// The certificate of the connection. Of a failed handshake, its names prove nothing.
    pub connection: Option<PresentedCertificate>,
    /// The certificate that a proxy saw.
    pub evidence: Option<PresentedCertificate>,
    /// The evidence as text, which may be a SPIFFE ID alone.
    pub evidence_text: String,
    /// The client: that of the token, or the one that a token request names.
    pub client_id: String,
    /// The registration that applied.
    pub registration: String,
    /// The resource, or what was named where none matches.
    pub resource: String,
    /// The route that matched.
    pub route: String,
    /// The called method, or that of the checked request, and its path.
    pub method: String,
    /// The path of the checked request.
    pub path: String,
    /// The token's identifier.
    pub jti: String,
    /// The steps of the decision. Those of a caller's own refusal say what was compared only where the token is its own.
    pub steps: Vec<Step>,
}

impl ExplainedRefusal {
    /// What an admin is told.
    pub(in crate::authority) fn whole(refusal: &RecentRefusal) -> Self {
        let RecentRefusal { reference, at, record, grounds } = refusal;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Self {
            reference: *reference,
            at: *at,
            event: record.event.into(),
            let_through: record.outcome == AuditOutcome::Reported,
            reason: record.reason.unwrap_or_default(),
            cause: text(&record.cause),
            fix: refusal.fix(Sight::Whole),
            caller: text(&grounds.sender),
            remote: text(&record.remote),
            listener: record.listener.unwrap_or_default(),
            connection: grounds.connection.clone(),
            evidence: grounds.evidence.clone(),
            evidence_text: text(&record.evidence),
            client_id: text(&record.client_id),
            registration: text(&record.registration),
            resource: record.resource.clone().or_else(|| record.requested.clone()).unwrap_or_default(),
            route: text(&record.route),
            method: text(&record.method),
            path: text(&record.path),
            jti: text(&record.jti),
            steps: grounds.steps.clone(),
        }
    }

    /// What a caller is told of a refusal of its own; `None` of any other.
    pub(in crate::authority) fn own(refusal: &RecentRefusal, caller: &PeerIdentity) -> Option<Self> {
        let sight = refusal.sight_of(caller)?;
        let mut told = Self { cause: String::new(), fix: refusal.fix(sight), ..Self::whole(refusal) };
        if told.caller != caller.to_string() {
            (told.caller, told.remote, told.connection) = (String::new(), String::new(), None);
        }
        if !refusal.is_evidence_of(caller) {
            (told.evidence, told.evidence_text) = (None, String::new());
        }
        if sight == Sight::OwnOfOther {
            (told.client_id, told.registration, told.jti) = (String::new(), String::new(), String::new());
            for step in &mut told.steps {
                (step.found, step.expected) = (Box::default(), Box::default());
            }
            // Whether a client that the caller does not prove is registered, and how, is not for the caller.
            if matches!(
                refusal.record.event,
                AuditEvent::TokenRefused | AuditEvent::ExchangeRefused | AuditEvent::ClientRefused
            ) {
                told.steps = vec![Step {
                    check: Check::Credentials,
                    found: Box::default(),
                    expected: Box::default(),
                    passed: false,
                }];
                fix::OWN_CLIENTS.clone_into(&mut told.fix);
            }
        }
        if let Some(told_as) = refusal.grounds.told_as {
            told.reason = told_as;
            told.steps.clear();
            fix::OWN_EXCHANGES.clone_into(&mut told.fix);
        }
        Some(told)
    }
}

/// Why a refusal cannot be explained.
#[derive(Clone, Debug, Eq, PartialEq, strum::EnumDiscriminants, thiserror::Error)]
#[strum_discriminants(
    name(UnexplainedCode),
    doc = "The codes of [`Unexplained`].",
    derive(strum::IntoStaticStr, strum::VariantArray),
    strum(serialize_all = "SCREAMING_SNAKE_CASE")
)]
pub enum Unexplained {
    /// The text is not a reference.
    #[error("reference: has the form 3xk-5w2m9r7kd0qa")]
    ReferenceMalformed,
    /// There is no such refusal, it is forgotten, or it is not the caller's.
    #[error(
        "no such refusal is remembered: newer ones took its place, the server was started since, or it is not yours"
    )]
    RefusalNotFound,
    /// Another replica refused it: this one, if it runs.
    #[error("this replica did not refuse it, but {}", .0.as_deref().unwrap_or("one that does not run any more"))]
    OtherReplica(Option<String>),
}

impl Unexplained {
    /// The fixed code.
    pub fn code(&self) -> &'static str {
        UnexplainedCode::from(self).into()
    }
}
