//! Conversion of what registrations say about token exchange.

use crate::authority::registration::ExchangeRuleMetadata;
use crate::authority::registration::ScopeGrantMetadata;
use crate::authority::registration::TxnRuleMetadata;
use crate::authority::resources::DelegatedMetadata;
use crate::messages::common::Malformed;
use crate::messages::common::duration;
use crate::messages::common::duration_message;
use crate::messages::common::set;
use crate::proto::Delegated;
use crate::proto::ExchangeRule;
use crate::proto::ScopeGrant;
use crate::proto::TxnRule;

pub(super) fn rule(rule: ExchangeRule) -> Result<ExchangeRuleMetadata, Malformed> {
    let ExchangeRule {
        subjects,
        issuer,
        presented_at,
        audience,
        grants,
        presentation,
        least_evidence,
        ttl,
        max_actors,
    } = rule;
    Ok(ExchangeRuleMetadata {
        subjects,
        issuer: set(issuer),
        presented_at,
        audience,
        grants: grants.into_iter().map(grant).collect(),
        presentation: set(presentation),
        least_evidence: set(least_evidence),
        ttl: duration("exchange", ttl)?,
        max_actors: sent(max_actors),
    })
}

/// Prints a rule.
pub fn exchange_rule(rule: ExchangeRuleMetadata) -> ExchangeRule {
    let ExchangeRuleMetadata {
        subjects,
        issuer,
        presented_at,
        audience,
        grants,
        presentation,
        least_evidence,
        ttl,
        max_actors,
    } = rule;
    ExchangeRule {
        subjects,
        issuer: issuer.unwrap_or_default(),
        presented_at,
        audience,
        grants: grants.into_iter().map(grant_message).collect(),
        presentation: presentation.unwrap_or_default(),
        least_evidence: least_evidence.unwrap_or_default(),
        ttl: ttl.map(duration_message),
        max_actors: max_actors.unwrap_or_default(),
    }
}

pub(super) fn txn_rule(rule: TxnRule) -> Result<TxnRuleMetadata, Malformed> {
    let TxnRule { subjects, issuer, presented_at, grants, scope, details, context, ttl } = rule;
    Ok(TxnRuleMetadata {
        subjects,
        issuer: set(issuer),
        presented_at: set(presented_at),
        grants: grants.into_iter().map(grant).collect(),
        scope: set(scope),
        details,
        context,
        ttl: duration("txn", ttl)?,
    })
}

/// The message of a rule for transaction tokens.
pub fn txn_rule_message(rule: TxnRuleMetadata) -> TxnRule {
    let TxnRuleMetadata { subjects, issuer, presented_at, grants, scope, details, context, ttl } = rule;
    TxnRule {
        subjects,
        issuer: issuer.unwrap_or_default(),
        presented_at: presented_at.unwrap_or_default(),
        grants: grants.into_iter().map(grant_message).collect(),
        scope: scope.unwrap_or_default(),
        details,
        context,
        ttl: ttl.map(duration_message),
    }
}

fn grant(ScopeGrant { needs, gives }: ScopeGrant) -> ScopeGrantMetadata {
    ScopeGrantMetadata { needs, gives }
}

fn grant_message(ScopeGrantMetadata { needs, gives }: ScopeGrantMetadata) -> ScopeGrant {
    ScopeGrant { needs, gives }
}

pub(super) fn delegated(delegated: Delegated) -> DelegatedMetadata {
    let Delegated { actors, max_actors, mode } = delegated;
    DelegatedMetadata { actors, max_actors: sent(max_actors), mode: Some(mode).filter(|mode| !mode.is_empty()) }
}

pub(super) fn delegated_message(delegated: DelegatedMetadata) -> Delegated {
    let DelegatedMetadata { actors, max_actors, mode } = delegated;
    Delegated { actors, max_actors: max_actors.unwrap_or_default(), mode: mode.unwrap_or_default() }
}

/// In proto3 zero is the same as absent.
fn sent(number: u32) -> Option<u32> {
    Some(number).filter(|number| *number > 0)
}
