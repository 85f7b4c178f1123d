//! Transaction tokens: for whom a client may ask for one, and what may be in it, by its registration and by the configuration.

use std::time::Duration;

use crate::authority::records::InvalidMetadata;
use crate::authority::registration::client_id::ClientId;
use crate::authority::registration::client_pattern::ClientPattern;
use crate::authority::registration::foreign_subjects::ForeignSubjects;
use crate::authority::registration::metadata::TxnRuleMetadata;
use crate::authority::registration::metadata::invalid;
use crate::authority::registration::scope_grant::MAX_ENTRIES;
use crate::authority::registration::scope_grant::ScopeGrant;
use crate::authority::registration::scope_grant::patterns;
use crate::authority::registration::scope_grant::read_grants;
use crate::authority::registration::scope_grant::specificity;
use crate::authority::scope::Scope;
use crate::authority::scope::is_resource_indicator;

pub(super) const RULES: &str = "txn";

/// Stands among the `subjects` for the client itself.
const SELF: &str = "self";

/// The longest that a transaction token may be valid.
pub const MAX_TXN_TTL: Duration = Duration::from_mins(5);

/// The longest name of a member, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Transaction tokens (draft-ietf-oauth-transaction-tokens). All replicas together are the one service of the trust domain that
/// issues them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TxnTokenPolicy {
    /// The trust domain that they are for, which is their audience.
    pub trust_domain: String,
    /// Their lifetime where a rule sets none.
    pub ttl: Duration,
    /// The longest lifetime, whatever a rule sets.
    pub max_ttl: Duration,
    /// How often one may be replaced, each time by a narrower one.
    pub max_replacements: usize,
    /// The most bytes of `request_context`, and of `request_details`, as JSON.
    pub max_context: usize,
}

/// Whom a rule is about.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum TxnSubjects {
    /// Those whom the client names, with nothing that they presented.
    Stated {
        /// The client itself.
        itself: bool,
        /// Others, whose registrations may forbid it.
        others: Vec<ClientPattern>,
        /// The scopes that it may ask for.
        scope: Scope,
    },
    /// Who presented a token to it.
    Presented {
        /// Whose tokens.
        subjects: Vec<ClientPattern>,
        /// Where they must have been presented: the audience of a resource.
        presented_at: String,
        /// What each scope that was presented makes of scopes of the trust domain.
        grants: Vec<ScopeGrant>,
    },
    /// Whose token of another issuer came to it.
    Foreign {
        /// Whose tokens.
        subjects: ForeignSubjects,
        /// What each scope of them makes of scopes of the trust domain.
        grants: Vec<ScopeGrant>,
    },
}

/// What a client may ask for a transaction token for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct TxnRule {
    /// Whom it is about.
    pub subjects: TxnSubjects,
    /// The members that `request_details` may have.
    pub details: Vec<String>,
    /// The members that `request_context` may have.
    pub context: Vec<String>,
    /// The longest lifetime of the token; `None`: that of the configuration.
    pub ttl: Option<Duration>,
}

impl TxnRule {
    /// How specific the rule is for a token of this subject that was presented there; `None` where it is not about it.
    pub(super) fn specificity(&self, subject: &ClientId, at: &str) -> Option<usize> {
        match &self.subjects {
            TxnSubjects::Presented { subjects, presented_at, .. } if presented_at == at => {
                specificity(subjects, subject)
            }
            // Presented nowhere is a token of another issuer.
            TxnSubjects::Foreign { subjects, .. } if at.is_empty() => subjects.specificity(subject),
            TxnSubjects::Presented { .. } | TxnSubjects::Foreign { .. } | TxnSubjects::Stated { .. } => None,
        }
    }

    /// How specific the rule is for a subject that the client names; `None` where it is not about it. A pattern that matches the client
    /// is not about the client itself.
    pub(super) fn specificity_of_stated(&self, client_id: &ClientId, subject: &ClientId) -> Option<usize> {
        match &self.subjects {
            TxnSubjects::Stated { itself, .. } if subject == client_id => itself.then_some(0),
            TxnSubjects::Stated { others, .. } => specificity(others, subject),
            TxnSubjects::Presented { .. } | TxnSubjects::Foreign { .. } => None,
        }
    }

    /// The scopes that tokens must have, each with where these were presented.
    pub(super) fn needed(&self) -> impl Iterator<Item = (&Scope, &str)> {
        let (grants, at) = match &self.subjects {
            TxnSubjects::Presented { grants, presented_at, .. } => (grants.as_slice(), presented_at.as_str()),
            TxnSubjects::Stated { .. } | TxnSubjects::Foreign { .. } => (&[][..], ""),
        };
        grants.iter().map(move |grant| (&grant.needs, at))
    }

    pub(super) fn metadata(&self) -> TxnRuleMetadata {
        let (details, context, ttl) = (self.details.clone(), self.context.clone(), self.ttl);
        match &self.subjects {
            TxnSubjects::Stated { itself, others, scope } => TxnRuleMetadata {
                subjects: itself
                    .then(|| SELF.to_owned())
                    .into_iter()
                    .chain(others.iter().map(ToString::to_string))
                    .collect(),
                scope: Some(scope.to_string()),
                details,
                context,
                ttl,
                ..TxnRuleMetadata::default()
            },
            TxnSubjects::Presented { subjects, presented_at, grants } => TxnRuleMetadata {
                subjects: subjects.iter().map(ToString::to_string).collect(),
                presented_at: Some(presented_at.clone()),
                grants: grants.iter().map(ScopeGrant::metadata).collect(),
                details,
                context,
                ttl,
                ..TxnRuleMetadata::default()
            },
            TxnSubjects::Foreign { subjects, grants } => TxnRuleMetadata {
                subjects: subjects.texts(),
                issuer: Some(subjects.issuer().to_owned()),
                grants: grants.iter().map(ScopeGrant::metadata).collect(),
                details,
                context,
                ttl,
                ..TxnRuleMetadata::default()
            },
        }
    }
}

/// Reads the rules; no two of them apply alike.
pub(super) fn read(rules: &[TxnRuleMetadata]) -> Result<Vec<TxnRule>, InvalidMetadata> {
    if rules.len() > MAX_ENTRIES {
        return Err(invalid(RULES, "there are too many"));
    }
    let rules = rules.iter().map(read_rule).collect::<Result<Vec<_>, _>>()?;
    let alike = |one: &TxnRule, other: &TxnRule| match (&one.subjects, &other.subjects) {
        (
            TxnSubjects::Stated { itself, others, .. },
            TxnSubjects::Stated { itself: also_itself, others: also_others, .. },
        ) => (*itself && *also_itself) || others.iter().any(|other| also_others.contains(other)),
        (
            TxnSubjects::Presented { subjects, presented_at, .. },
            TxnSubjects::Presented { subjects: others, presented_at: elsewhere, .. },
        ) => presented_at == elsewhere && subjects.iter().any(|subject| others.contains(subject)),
        (TxnSubjects::Foreign { subjects, .. }, TxnSubjects::Foreign { subjects: others, .. }) => {
            subjects.shared(others).is_some()
        }
        (TxnSubjects::Stated { .. }, TxnSubjects::Presented { .. } | TxnSubjects::Foreign { .. })
        | (TxnSubjects::Presented { .. }, TxnSubjects::Stated { .. } | TxnSubjects::Foreign { .. })
        | (TxnSubjects::Foreign { .. }, TxnSubjects::Stated { .. } | TxnSubjects::Presented { .. }) => false,
    };
    let twice = rules.iter().enumerate().any(|(at, rule)| rules.iter().skip(at + 1).any(|other| alike(rule, other)));
    if twice {
        return Err(invalid(RULES, "two rules are for the same subjects, so that it is not clear which one counts"));
    }
    Ok(rules)
}

fn read_rule(rule: &TxnRuleMetadata) -> Result<TxnRule, InvalidMetadata> {
    let TxnRuleMetadata { subjects, issuer, presented_at, grants, scope, details, context, ttl } = rule;
    let subjects = match (subjects.as_slice(), presented_at, scope, issuer) {
        ([_, ..], None, Some(scope), None) if grants.is_empty() => {
            let scope = Scope::parse(scope).map_err(|error| invalid(RULES, &format!("scope: {error}")))?;
            if scope.is_empty() || scope.contains("*") {
                return Err(invalid(RULES, "scope: name one at least, and no wildcard"));
            }
            let others: Vec<String> = subjects.iter().filter(|subject| *subject != SELF).cloned().collect();
            if subjects.len() > MAX_ENTRIES {
                return Err(invalid(RULES, "subjects: there are too many"));
            }
            let itself = others.len() < subjects.len();
            TxnSubjects::Stated { itself, others: patterns(RULES, "subjects: ", &others)?, scope }
        }
        ([_, ..], None, None, Some(issuer)) if (1..=MAX_ENTRIES).contains(&grants.len()) => TxnSubjects::Foreign {
            subjects: ForeignSubjects::parse(RULES, issuer, subjects)?,
            grants: read_grants(RULES, grants)?,
        },
        ([_, ..], Some(presented_at), None, None) if !subjects.iter().any(|subject| subject == SELF) => {
            if grants.is_empty() || subjects.len().max(grants.len()) > MAX_ENTRIES {
                return Err(invalid(RULES, "each rule has subjects and grants, and not too many"));
            }
            if !is_resource_indicator(presented_at) {
                return Err(invalid(RULES, "presented_at must be an absolute URI without a fragment (RFC 8707)"));
            }
            TxnSubjects::Presented {
                subjects: patterns(RULES, "subjects: ", subjects)?,
                presented_at: presented_at.clone(),
                grants: read_grants(RULES, grants)?,
            }
        }
        _ => {
            let problem = "each rule has subjects, presented_at or issuer, and grants, or subjects, self among them or not, and scope";
            return Err(invalid(RULES, problem));
        }
    };
    let is_name =
        |name: &String| (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    if details.len().max(context.len()) > MAX_ENTRIES || !details.iter().chain(context).all(is_name) {
        let problem =
            "details and context list names of members: 1 to 64 visible ASCII characters each, and not too many";
        return Err(invalid(RULES, problem));
    }
    if ttl.is_some_and(|ttl| ttl < Duration::from_secs(1) || ttl > MAX_TXN_TTL || ttl.subsec_nanos() != 0) {
        return Err(invalid(RULES, "ttl must be whole seconds, from 1s to 5m"));
    }
    Ok(TxnRule { subjects, details: details.clone(), context: context.clone(), ttl: *ttl })
}
