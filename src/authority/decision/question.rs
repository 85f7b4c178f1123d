//! The question of `ValidateBinding` and its answer.

use std::sync::Arc;

use crate::authority::access::Roles;
use crate::authority::decision::binding::Decision;
use crate::authority::evidence::Evidence;
use crate::authority::evidence::EvidenceGrade;
use crate::authority::evidence::InvalidEvidence;
use crate::authority::identity::PeerIdentity;
use crate::authority::state::Stale;
use crate::authority::tokens::VerifiedToken;

/// A question about one use of one token, as a voice has read it.
#[derive(Debug)]
pub struct ValidateRequest<'a> {
    /// The token.
    pub access_token: &'a str,
    /// What the caller brings of the certificate.
    pub evidence: PresentedEvidence,
    /// The audience, if the request names one.
    pub audience: Option<&'a str>,
    /// The scopes that the use needs, space-separated.
    pub scope: &'a str,
}

/// What a caller brings of the certificate that a token was presented with.
#[derive(Debug)]
pub enum PresentedEvidence {
    /// Nothing.
    Nothing,
    /// It asks about the connection that it asks on.
    OwnConnection,
    /// It says what it saw on somebody else's connection, which may be nothing.
    Of(Option<Evidence>),
    /// It passes on a header `x-forwarded-client-cert`.
    Forwarded(String),
}

/// Why there is no decision. None of these may be taken for an allowance.
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::EnumDiscriminants, thiserror::Error)]
#[strum_discriminants(
    name(NoDecisionCode),
    doc = "The codes of [`NoDecision`].",
    derive(strum::IntoStaticStr, strum::VariantArray),
    strum(serialize_all = "SCREAMING_SNAKE_CASE")
)]
pub enum NoDecision {
    /// No token in the request.
    #[error("no access_token could be read")]
    TokenMissing,
    /// No audience in the request, and none that follows from the caller.
    #[error("audience is missing: only a proxy that fronts exactly one resource may leave it out")]
    AudienceMissing,
    /// The scope is not a list of scopes.
    #[error("scope is malformed")]
    ScopeMalformed,
    /// Only a proxy may say what it saw of somebody else's connection.
    #[error("only a caller with the role Proxy may bring evidence of another connection")]
    NotAProxy,
    /// The proxy does not front the resource.
    #[error("this proxy does not front that audience")]
    ForeignResource,
    /// What is known of the store is too old.
    #[strum_discriminants(strum(serialize = "SNAPSHOT_STALE"))]
    #[error(transparent)]
    Stale(#[from] Stale),
    /// What it brings cannot be read.
    #[error(transparent)]
    EvidenceMalformed(#[from] InvalidEvidence),
}

impl NoDecision {
    /// The fixed code.
    pub fn code(&self) -> &'static str {
        NoDecisionCode::from(self).into()
    }
}

/// How a use was judged, with what the token says once its signature was found good.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The decision.
    pub decision: Decision,
    /// The verified token.
    pub token: Option<Arc<VerifiedToken>>,
    /// The grade of the evidence, if there was any.
    pub grade: Option<EvidenceGrade>,
}

/// What a caller may bring, as far as it can be read without the resource.
pub(in crate::authority) enum Admissible {
    Evidence(Option<Evidence>),
    Header(String),
}

/// Evidence is a claim of the caller's, so only a proxy may make it for somebody else. A proxy that brings none is never
/// judged by its own connection: in a sidecar mesh it shares its workload's certificate.
pub(in crate::authority) fn admissible(
    caller: &PeerIdentity,
    roles: &Roles,
    brought: PresentedEvidence,
) -> Result<Admissible, NoDecision> {
    let own = || Evidence::Certificate(Box::new(caller.certificate().clone()));
    match (brought, &roles.proxy) {
        (PresentedEvidence::Nothing, Some(_)) => Ok(Admissible::Evidence(None)),
        (PresentedEvidence::Nothing, None) | (PresentedEvidence::OwnConnection, _) => {
            Ok(Admissible::Evidence(Some(own())))
        }
        (PresentedEvidence::Of(evidence), Some(_)) => Ok(Admissible::Evidence(evidence)),
        (PresentedEvidence::Forwarded(header), Some(_)) => Ok(Admissible::Header(header)),
        (PresentedEvidence::Of(_) | PresentedEvidence::Forwarded(_), None) => Err(NoDecision::NotAProxy),
    }
}
