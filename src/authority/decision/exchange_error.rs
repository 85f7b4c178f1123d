//! Why an exchange is refused. The exact reason is for the log, the audit trail and the metrics: its caller is told no more than
//! what it asked for beyond its rules, so that nobody learns which tokens are good by exchanging them.

use std::fmt;

use crate::authority::decision::grant_error::GrantError;
use crate::authority::decision::grant_error::RequestForm;
use crate::authority::deny_reason::DenyReason;
use crate::authority::trust::InvalidIssuerJwt;

/// Why an exchange is refused, in the order in which the conditions are checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::EnumDiscriminants, thiserror::Error)]
#[strum_discriminants(
    name(ExchangeErrorCode),
    doc = "The codes of [`ExchangeError`].",
    derive(strum::IntoStaticStr, strum::VariantArray),
    strum(serialize_all = "SCREAMING_SNAKE_CASE")
)]
pub enum ExchangeError {
    /// Exchange is not switched on.
    #[error("this server exchanges no tokens: exchange.enabled is off")]
    NotEnabled,
    /// The snapshot is not fresh, the client is not authenticated, or the new token was not made.
    #[error("{0}")]
    NotGranted(GrantError),
    /// A transaction token is asked for, and none are issued.
    #[error("this server issues no transaction tokens: txn_tokens is not configured")]
    TxnTokensNotEnabled,
    /// A grant for another authorization server is asked for, and there is none.
    #[error("this server makes no grants for other authorization servers: chaining.to is not configured")]
    ChainingNotEnabled,
    /// The client is not registered for the grant.
    #[error("the client is not registered for this grant type")]
    UnauthorizedClient,
    /// What is to be exchanged, or the target, is missing: a sentence.
    #[error("{0}")]
    RequestMalformed(&'static str),
    /// The request names several targets, and a token would be good at each of them with every scope.
    #[error("the request names several targets")]
    SeveralTargets,
    /// A transaction token is asked for another trust domain.
    #[error("the target is not the trust domain that transaction tokens are issued for")]
    NotTheTrustDomain,
    /// What is to be in a transaction token is not what may be: a sentence.
    #[error("{0}")]
    ContextRefused(&'static str),
    /// The actor token is not the client's own, or not bound to the certificate of this connection.
    #[error("the actor token is not the client's own with this certificate")]
    ActorTokenNotOwn,
    /// What was presented as the subject does not verify as what it is said to be.
    #[error("the subject does not verify: {0}")]
    SubjectInvalid(DenyReason),
    /// What is said to be of another issuer does not verify as that.
    #[error("the subject of another issuer does not verify: {0}")]
    ForeignInvalid(InvalidIssuerJwt),
    /// The token of another issuer is bound to a certificate that the client does not show.
    #[error("the subject is bound to another certificate than that of this connection")]
    SubjectBoundElsewhere,
    /// The grant does not verify as one of another authorization server whose grants are taken.
    #[error("the grant of another authorization server does not verify: {0}")]
    GrantInvalid(InvalidIssuerJwt),
    /// The grant, its subject or its issuer no longer counts here.
    #[error("the grant no longer counts: {0}")]
    GrantDenied(DenyReason),
    /// The grant is for another client, or for one that may use none of its issuer.
    #[error("the grant is not for this client, or this client may use none of its issuer")]
    GrantNotForClient,
    /// The grant is bound to a certificate that is not that of this connection.
    #[error("the grant is bound to another certificate than that of this connection")]
    GrantBoundElsewhere,
    /// The entry of the issuer does not have the subject.
    #[error("the issuer of the grant may not speak for this subject")]
    GrantSubjectNotAccepted,
    /// The grant was used before.
    #[error("the grant was used before")]
    GrantUsed,
    /// Its use where it was presented would be denied now.
    #[error("the subject no longer counts: {0}")]
    SubjectDenied(DenyReason),
    /// The receipt does not verify, or is over.
    #[error("the receipt does not verify, or is over")]
    ReceiptInvalid,
    /// The receipt is of another token.
    #[error("the receipt is not of the subject token")]
    ReceiptOfAnother,
    /// The receipt is for another client, or the resource no longer lets this one redeem it.
    #[error("the receipt is not for this client")]
    NotForClient,
    /// No rule of the client is about this subject and the place where it was presented.
    #[error("no rule of the client is about this subject where it was presented")]
    NoRule,
    /// The subject was presented nowhere in particular, and rules for several places are about it.
    #[error("rules for several places are about the subject, and no receipt says where it was presented")]
    PlaceUnknown,
    /// The rule asks for a receipt.
    #[error("the rule asks for a receipt")]
    ReceiptMissing,
    /// The rule asks for a receipt of a proxy that is no exchanger.
    #[error("the proxy of the receipt is itself an exchanger of the resource")]
    NotIndependent,
    /// The evidence in the receipt is weaker than the rule asks for.
    #[error("the evidence in the receipt is weaker than the rule asks for")]
    ReceiptTooWeak,
    /// The subject's registration does not let this client act for it.
    #[error("the subject's registration does not let this client act for it")]
    Vetoed,
    /// The subject names another one as the only one that may act.
    #[error("the subject names another one that may act")]
    NotMayAct,
    /// The client is the subject itself.
    #[error("the client is the subject itself")]
    ActorIsSubject,
    /// The client has already acted.
    #[error("the client is already one of the actors")]
    ActorInChain,
    /// There would be more actors than the rule lets act.
    #[error("there would be more actors than the rule lets act")]
    TooManyActors,
    /// The transaction token was replaced as often as it may be.
    #[error("the transaction token was replaced as often as it may be")]
    ReplacedTooOften,
    /// No rule for this subject and place is about the target.
    #[error("no rule for this subject is about the target")]
    TargetNotInRules,
    /// The target is not registered, deleted, or its record unreadable.
    #[error("the target is not registered, or its record cannot be read")]
    TargetUnknown,
    /// The target takes no delegated tokens of this client with so many actors.
    #[error("the target takes no delegated tokens of this client with so many actors")]
    TargetNotAccepting,
    /// The scope is malformed or goes beyond what the rule gives, or nothing is left of it.
    #[error("the scope is malformed, goes beyond what the rule gives for what was presented, or is empty")]
    InvalidScope,
    /// The receipt may be redeemed once, and was.
    #[error("the receipt was redeemed before")]
    ReceiptSpent,
    /// The receipt may be redeemed once, and the store does not answer.
    #[error("the store does not answer, which a receipt that may be redeemed once waits for")]
    StoreUnavailable,
    /// Less than a second is left.
    #[error("less than a second is left of the subject, of the rule's ttl or of the certificate")]
    LifetimeOver,
}

/// What the caller is told of a refused exchange.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ExchangeRefusal {
    /// Exchange is not switched on: `unsupported_grant_type`.
    NotEnabled,
    /// Transaction tokens are not: `invalid_request`, as for any type that is not issued.
    TxnTokensNotEnabled,
    /// As at any other token request.
    NotGranted(GrantError),
    /// Grants for other authorization servers are not made: `invalid_request`, as for any type that is not issued.
    ChainingNotEnabled,
    /// `unauthorized_client`.
    UnauthorizedClient,
    /// `invalid_grant`: one sentence for everything about the grant (RFC 7523 section 3.1).
    InvalidGrant,
    /// `invalid_request`, with this sentence.
    RequestMalformed(&'static str),
    /// `invalid_request`: one sentence for everything about the subject (RFC 8693 section 2.2.2).
    SubjectNotAccepted,
    /// `invalid_target`.
    InvalidTarget,
    /// `invalid_scope`.
    InvalidScope,
    /// `temporarily_unavailable`: a receipt that may be redeemed once waits for the store.
    StoreUnavailable,
}

impl ExchangeRefusal {
    /// The fixed sentence, without quotation marks and backslashes (RFC 6749 section 5.2).
    pub fn sentence(self) -> &'static str {
        match self {
            Self::NotEnabled => "this server exchanges no tokens",
            Self::TxnTokensNotEnabled => "this server issues no transaction tokens",
            Self::NotGranted(error) => error.sentence(RequestForm::Message),
            Self::ChainingNotEnabled => "this server makes no grants for other authorization servers",
            Self::UnauthorizedClient => "the client is not registered for this grant type",
            Self::InvalidGrant => "the grant is not accepted",
            Self::RequestMalformed(sentence) => sentence,
            Self::SubjectNotAccepted => "what is to be exchanged is not accepted",
            Self::InvalidTarget => "the target is not one that this can be exchanged for",
            Self::StoreUnavailable => "the store is unavailable: try again",
            Self::InvalidScope => "the scope goes beyond what this can be exchanged for",
        }
    }
}

impl fmt::Display for ExchangeRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.sentence())
    }
}

impl ExchangeError {
    /// The fixed code, for the log, the audit trail and the metrics.
    pub fn code(self) -> &'static str {
        ExchangeErrorCode::from(self).into()
    }

    /// What the caller is told.
    pub fn refusal(self) -> ExchangeRefusal {
        match self {
            Self::NotEnabled => ExchangeRefusal::NotEnabled,
            Self::TxnTokensNotEnabled => ExchangeRefusal::TxnTokensNotEnabled,
            Self::NotGranted(error) => ExchangeRefusal::NotGranted(error),
            Self::ChainingNotEnabled => ExchangeRefusal::ChainingNotEnabled,
            Self::UnauthorizedClient => ExchangeRefusal::UnauthorizedClient,
            Self::GrantInvalid(_)
            | Self::GrantDenied(_)
            | Self::GrantNotForClient
            | Self::GrantBoundElsewhere
            | Self::GrantSubjectNotAccepted
            | Self::GrantUsed => ExchangeRefusal::InvalidGrant,
            Self::RequestMalformed(sentence) | Self::ContextRefused(sentence) => {
                ExchangeRefusal::RequestMalformed(sentence)
            }
            Self::ActorTokenNotOwn
            | Self::SubjectInvalid(_)
            | Self::ForeignInvalid(_)
            | Self::SubjectBoundElsewhere
            | Self::SubjectDenied(_)
            | Self::ReceiptInvalid
            | Self::ReceiptOfAnother
            | Self::NotForClient
            | Self::NoRule
            | Self::PlaceUnknown
            | Self::ReceiptMissing
            | Self::NotIndependent
            | Self::ReceiptTooWeak
            | Self::Vetoed
            | Self::NotMayAct
            | Self::ActorIsSubject
            | Self::ActorInChain
            | Self::TooManyActors
            | Self::ReceiptSpent
            | Self::ReplacedTooOften
            | Self::LifetimeOver => ExchangeRefusal::SubjectNotAccepted,
            Self::SeveralTargets
            | Self::NotTheTrustDomain
            | Self::TargetNotInRules
            | Self::TargetUnknown
            | Self::TargetNotAccepting => ExchangeRefusal::InvalidTarget,
            Self::InvalidScope => ExchangeRefusal::InvalidScope,
            Self::StoreUnavailable => ExchangeRefusal::StoreUnavailable,
        }
    }
}

impl From<GrantError> for ExchangeError {
    fn from(error: GrantError) -> Self {
        Self::NotGranted(error)
    }
}
