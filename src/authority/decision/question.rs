//! The request of `ValidateBinding` and its result.

use std::sync::Arc;

use crate::authority::access::CallerIdentity;
use crate::authority::access::Roles;
use crate::authority::decision::binding::Decision;
use crate::authority::decision::steps::Step;
use crate::authority::evidence::Evidence;
use crate::authority::evidence::EvidenceGrade;
use crate::authority::evidence::InvalidEvidence;
use crate::authority::reference::Reference;
use crate::authority::state::Undecidable;
use crate::authority::tokens::AccessTokenClaims;
use crate::authority::tokens::ReceiptText;
use crate::authority::tokens::VerifiedToken;

/// A request to check one use of one token, as parsed by a protocol.
#[derive(Debug)]
pub struct ValidateRequest<'a> {
    /// The access token.
    pub access_token: &'a str,
    /// The evidence of the certificate.
    pub evidence: PresentedEvidence,
    /// The audience, if the request names one.
    pub audience: Option<&'a str>,
    /// The scopes that the use needs, space-separated.
    pub scope: &'a str,
    /// Whether a receipt is asked for, so that the answer is for this one use.
    pub receipt: bool,
}

/// What a caller presents of the certificate that a token was presented with.
#[derive(Debug)]
pub enum PresentedEvidence {
    /// The request has no evidence.
    Nothing,
    /// The evidence is the caller's own connection.
    OwnConnection,
    /// The evidence is what the caller saw on another connection, which may be nothing.
    Of(Option<Evidence>),
    /// The evidence is a header `x-forwarded-client-cert` that the caller passes on.
    Forwarded(String),
}

/// Why there is no decision. None of these may be treated as an allowance.
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::EnumDiscriminants, thiserror::Error)]
#[strum_discriminants(
    name(NoDecisionCode),
    doc = "The codes of [`NoDecision`].",
    derive(strum::IntoStaticStr, strum::VariantArray),
    strum(serialize_all = "SCREAMING_SNAKE_CASE")
)]
pub enum NoDecision {
    /// The request has no token.
    #[error("no access_token could be read")]
    TokenMissing,
    /// The request has no audience, and none follows from the caller.
    #[error("audience is missing: only a proxy that fronts exactly one resource may leave it out")]
    AudienceMissing,
    /// The scope is not a list of scopes.
    #[error("scope is malformed")]
    ScopeMalformed,
    /// A caller without the role Proxy presented evidence of another connection.
    #[error("only a caller with the role Proxy may present evidence of another connection")]
    NotAProxy,
    /// The proxy does not front the resource.
    #[error("this proxy does not front that audience")]
    ForeignResource,
    /// The snapshot is stale.
    #[strum_discriminants(strum(serialize = "SNAPSHOT_STALE"))]
    #[error("{}", Undecidable::Stale)]
    Stale,
    /// The store has a record that needs a newer version.
    #[error("{}", Undecidable::RecordTooNew)]
    RecordTooNew,
    /// The presented evidence cannot be read.
    #[error(transparent)]
    EvidenceMalformed(#[from] InvalidEvidence),
}

impl NoDecision {
    /// The fixed code of the error.
    pub fn code(&self) -> &'static str {
        NoDecisionCode::from(self).into()
    }
}

impl From<Undecidable> for NoDecision {
    fn from(why: Undecidable) -> Self {
        match why {
            Undecidable::Stale => Self::Stale,
            Undecidable::RecordTooNew => Self::RecordTooNew,
        }
    }
}

/// The result of evaluating a use, and the token if its signature verified.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The decision.
    pub decision: Decision,
    /// The verified token.
    pub token: Option<Arc<VerifiedToken>>,
    /// The claims that count at an allowed use, where these are fewer than the token's.
    pub narrowed: Option<Arc<AccessTokenClaims>>,
    /// The grade of the evidence, if there was any.
    pub grade: Option<EvidenceGrade>,
    /// The steps of a denial. Empty for an allowance, unless it was asked for them.
    pub steps: Vec<Step>,
    /// The reference of a denial, once it is recorded.
    pub reference: Option<Reference>,
    /// Whether the answer is for this one use, since a receipt was asked for.
    pub one_use: bool,
    /// The receipt, where one was asked for and made.
    pub receipt: Option<ReceiptText>,
}

impl Evaluation {
    /// A decision on evidence of this grade, if there was any, and nothing else.
    pub fn new(decision: Decision, grade: Option<EvidenceGrade>) -> Self {
        Self {
            decision,
            token: None,
            narrowed: None,
            grade,
            steps: Vec::new(),
            reference: None,
            one_use: false,
            receipt: None,
        }
    }

    /// The claims: of an allowed use those that count there, of a denied one those of the token.
    pub fn claims(&self) -> Option<&AccessTokenClaims> {
        self.narrowed.as_deref().or(self.token.as_deref().map(|token| &token.claims))
    }
}

/// The evidence that a caller may present, as far as it can be read without the resource.
pub(in crate::authority) enum Admissible {
    Evidence(Option<Evidence>),
    Header(String),
}

/// Evidence is a claim of the caller's, so only a proxy may present it for another peer. A proxy that presents none is
/// never evaluated by its own connection: in a sidecar mesh it shares its workload's certificate.
pub(in crate::authority) fn admissible(
    caller: &CallerIdentity,
    roles: &Roles,
    presented: PresentedEvidence,
) -> Result<Admissible, NoDecision> {
    // A proxy that is known by its user has no certificate of its own.
    let own = || caller.certificate().map(|own| Evidence::Certificate(Arc::new(own.certificate().clone())));
    match (presented, &roles.proxy) {
        (PresentedEvidence::Nothing, Some(_)) => Ok(Admissible::Evidence(None)),
        (PresentedEvidence::Nothing, None) | (PresentedEvidence::OwnConnection, _) => Ok(Admissible::Evidence(own())),
        (PresentedEvidence::Of(evidence), Some(_)) => Ok(Admissible::Evidence(evidence)),
        (PresentedEvidence::Forwarded(header), Some(_)) => Ok(Admissible::Header(header)),
        (PresentedEvidence::Of(_) | PresentedEvidence::Forwarded(_), None) => Err(NoDecision::NotAProxy),
    }
}
