//! What to do about each refused exchange, as `fix` says it of the other refusals.

use crate::authority::decision::ExchangeError;
use crate::authority::observe::fix;

/// What to do about a refused exchange.
pub(in crate::authority) fn of_exchange(error: ExchangeError) -> &'static str {
    match error {
        ExchangeError::NotEnabled => "switch it on, if it is to be: `exchange.enabled` of the server's configuration",
        ExchangeError::NotGranted(error) => fix::of_grant(error),
        ExchangeError::TxnTokensNotEnabled => {
            "configure `txn_tokens`, if this server is to issue transaction tokens for its trust domain"
        }
        ExchangeError::NotTheTrustDomain => {
            "name the trust domain of `txn_tokens` in the configuration as the audience"
        }
        ExchangeError::ContextRefused(_) => {
            "send only members that `details` and `context` of the rule list, within the limits: `lanyard client get CLIENT`"
        }
        ExchangeError::ReplacedTooOften => "pass the transaction token on as it is",
        ExchangeError::UnauthorizedClient => {
            "add the grant type and rules under `exchange` to the registration, if the client may act for others: \
             `lanyard client get CLIENT`"
        }
        ExchangeError::RequestMalformed(_) => "send a receipt or a token, and name one audience",
        ExchangeError::SeveralTargets => "exchange once for each target",
        ExchangeError::ActorTokenNotOwn => "leave the actor token out: the client is the actor",
        ExchangeError::SubjectInvalid(reason)
        | ExchangeError::SubjectDenied(reason)
        | ExchangeError::GrantDenied(reason) => fix::of_denial(reason),
        ExchangeError::ChainingNotEnabled => {
            "name the other authorization server in `chaining.to` of the configuration"
        }
        ExchangeError::GrantInvalid(_) => "get a new grant of an issuer in `chaining.from`: the cause says why",
        ExchangeError::GrantNotForClient => "let CLIENT get it, and name it in `clients` of `chaining.from`",
        ExchangeError::GrantBoundElsewhere => "use the grant with the certificate that it was asked for with",
        ExchangeError::GrantSubjectNotAccepted => "add the subject to `subjects` of `chaining.from`, if it may come",
        ExchangeError::GrantUsed => "get a grant for each use; if CLIENT did not use it, see who has its key",
        ExchangeError::ForeignInvalid(_) => "send a new token of an issuer in `trusted_issuers`: the cause says why",
        ExchangeError::SubjectBoundElsewhere => {
            "exchange a token that is bound to no certificate, or to the client's own"
        }
        ExchangeError::ReceiptInvalid => "exchange the receipt that came with the request, before it is over",
        ExchangeError::ReceiptOfAnother => "send the token that the receipt came with, or the receipt alone",
        ExchangeError::NotForClient => {
            "add CLIENT to `receipts.exchangers` of the resource, if it serves it: `lanyard resource list`"
        }
        ExchangeError::NoRule | ExchangeError::TargetNotInRules => {
            "add a rule under `exchange`, or under `txn` for transaction tokens, to the registration, or for a grant an entry to \
             `chaining.to` of the configuration, if the client may act so: `lanyard client get CLIENT`"
        }
        ExchangeError::PlaceUnknown => "exchange the receipt, which says where the token was presented",
        ExchangeError::ReceiptMissing => {
            "exchange the receipt that came with the request; `presentation` of the rule says what it takes: \
             `lanyard client get CLIENT`"
        }
        ExchangeError::NotIndependent => {
            "let a proxy of another identity than the exchangers' check the requests, or ask for less in `presentation` of \
             the rule: `lanyard client get CLIENT`"
        }
        ExchangeError::ReceiptTooWeak => {
            "have the proxy show more of the certificate, or lower `least_evidence` of the rule: `lanyard client get CLIENT`"
        }
        ExchangeError::Vetoed => "add CLIENT to `delegates` of the subject's registration, if it may act for it",
        ExchangeError::NotMayAct => "exchange as the client that `may_act` of the subject names",
        ExchangeError::ActorIsSubject => "get a token of the client's own: `lanyard token get`",
        ExchangeError::ActorInChain => "call without the token of this request: the client has already acted for it",
        ExchangeError::TooManyActors => {
            "raise `max_actors` of the rule, if as many may act: `lanyard client get CLIENT`"
        }
        ExchangeError::TargetUnknown => "register RESOURCE: `lanyard resource apply -f FILE`",
        ExchangeError::TargetNotAccepting => {
            "add CLIENT to `delegated` of the target, if it may act there for others: `lanyard resource get RESOURCE`"
        }
        ExchangeError::InvalidScope => {
            "ask for scopes that `grants` of the rule give for what was presented: `lanyard client get CLIENT`"
        }
        ExchangeError::ReceiptSpent => {
            "exchange once for each target, or let the resource have `once: effect`: `lanyard resource get RESOURCE`"
        }
        ExchangeError::StoreUnavailable => "try again; `lanyard doctor --config FILE` says whether the store answers",
        ExchangeError::LifetimeOver => "exchange before the token or the receipt is over",
    }
}
