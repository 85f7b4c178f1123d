//! Token exchange (RFC 8693) in a client's registration: what it may exchange, and who may act for it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::authority::evidence::EvidenceGrade;
use crate::authority::records::InvalidMetadata;
use crate::authority::registration::client_id::ClientId;
use crate::authority::registration::client_pattern::ClientPattern;
use crate::authority::registration::metadata::ExchangeRuleMetadata;
use crate::authority::registration::metadata::ScopeGrantMetadata;
use crate::authority::registration::metadata::invalid;
use crate::authority::scope::Scope;
use crate::authority::scope::is_resource_indicator;

/// The grant type of token exchange (RFC 8693 section 2.1).
pub const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// The most actors, one after another, that any token has.
pub const MAX_ACTORS: u32 = 8;

const DEFAULT_ACTORS: u32 = 4;

/// The lifetime of the new tokens where a rule sets none, and the longest that it may set: a rule that is withdrawn ends no
/// token.
const DEFAULT_TTL: Duration = Duration::from_mins(2);
const MAX_TTL: Duration = Duration::from_mins(5);

/// The most rules of a client, and the most entries of each list in them.
const MAX_ENTRIES: usize = 64;

const RULES: &str = "exchange";
const DELEGATES: &str = "delegates";

/// What must be known of the presentation of a token that is exchanged.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Presentation {
    /// A receipt.
    Receipt,
    /// A receipt of a proxy that is none of the resource's exchangers.
    Independent,
    /// A receipt; a token without one is exchanged, and counted as one that would have been refused.
    Report,
    /// Nothing: the token itself is enough.
    Nothing,
}

impl Presentation {
    const ALL: [Self; 4] = [Self::Receipt, Self::Independent, Self::Report, Self::Nothing];

    /// The value of `presentation`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Receipt => "receipt",
            Self::Independent => "independent",
            Self::Report => "report",
            Self::Nothing => "none",
        }
    }
}

/// A translation of scopes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ScopeGrant {
    /// The scopes of the resource at which the token was presented, of which it must have all.
    pub needs: Scope,
    /// The scopes of the resource that the new token is for.
    pub gives: Scope,
}

/// What a client may exchange.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ExchangeRule {
    /// Whose tokens.
    pub subjects: Vec<ClientPattern>,
    /// Where they must have been presented: the audience of a resource.
    pub presented_at: String,
    /// The audience of the new token.
    pub audience: String,
    /// How scopes are translated.
    pub grants: Vec<ScopeGrant>,
    /// What must be known of the presentation.
    pub presentation: Presentation,
    /// The lowest grade of the evidence in the receipt.
    pub least_evidence: EvidenceGrade,
    /// The longest lifetime of the new token.
    pub ttl: Duration,
    /// The most actors that the new token may have.
    pub max_actors: usize,
}

impl ExchangeRule {
    /// How specific the rule is for this subject; `None` where it is not about it.
    fn specificity(&self, subject: &ClientId) -> Option<usize> {
        let matching = self.subjects.iter().filter(|pattern| pattern.matches(subject));
        matching.map(ClientPattern::specificity).max()
    }

    /// The scopes of a new token for what was presented.
    pub fn translated(&self, presented: &Scope) -> Scope {
        let granted = self.grants.iter().filter(|grant| presented.covers(&grant.needs));
        Scope::union(granted.map(|grant| &grant.gives))
    }

    fn metadata(&self) -> ExchangeRuleMetadata {
        let grant =
            |grant: &ScopeGrant| ScopeGrantMetadata { needs: grant.needs.to_string(), gives: grant.gives.to_string() };
        ExchangeRuleMetadata {
            subjects: self.subjects.iter().map(ToString::to_string).collect(),
            presented_at: self.presented_at.clone(),
            audience: self.audience.clone(),
            grants: self.grants.iter().map(grant).collect(),
            presentation: Some(self.presentation.name().to_owned()),
            least_evidence: Some(self.least_evidence.name().to_owned()),
            ttl: Some(self.ttl),
            max_actors: u32::try_from(self.max_actors).ok(),
        }
    }
}

/// How a rule stands to a question.
#[derive(Clone, Debug)]
pub struct RuleClaim {
    /// The rule, in normal form.
    pub rule: ExchangeRuleMetadata,
    /// Whether it applies.
    pub applies: bool,
    /// Why, for people.
    pub outcome: &'static str,
}

/// What a client's registration says about token exchange.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct ExchangeTerms {
    /// Whether its grant types have token exchange.
    pub granted: bool,
    /// What it may exchange. No two rules apply alike to one token.
    pub rules: Vec<ExchangeRule>,
    /// Who may act for it. `None`: whoever a rule names.
    pub delegates: Option<Vec<ClientPattern>>,
}

impl ExchangeTerms {
    /// Parses what a registration says; `None` where it says nothing.
    pub(in crate::authority::registration) fn parse(
        granted: bool,
        audience: &[String],
        rules: &[ExchangeRuleMetadata],
        delegates: Option<&[String]>,
    ) -> Result<Option<Arc<Self>>, InvalidMetadata> {
        if !granted && !rules.is_empty() {
            return Err(invalid(RULES, &format!("goes only with {TOKEN_EXCHANGE} among the grant_types")));
        }
        if rules.len() > MAX_ENTRIES || delegates.is_some_and(|delegates| delegates.len() > MAX_ENTRIES) {
            let field = if rules.len() > MAX_ENTRIES { RULES } else { DELEGATES };
            return Err(invalid(field, "there are too many"));
        }
        let rules = rules.iter().map(|rule| read_rule(rule, audience)).collect::<Result<Vec<_>, _>>()?;
        if let Some(pattern) = twice(&rules) {
            return Err(invalid(
                RULES,
                &format!("two rules are for '{pattern}' at the same places, so that it is not clear which one counts"),
            ));
        }
        let delegates = delegates.map(|delegates| patterns(DELEGATES, "", delegates)).transpose()?;
        let terms = Self { granted, rules, delegates };
        Ok((terms != Self::default()).then(|| Arc::new(terms)))
    }

    /// The one rule that applies to a token of this subject that was presented there: the most specific one.
    pub fn rule(&self, subject: &ClientId, presented_at: &str, audience: &str) -> Option<&ExchangeRule> {
        let there = self.rules.iter().filter(|rule| rule.presented_at == presented_at && rule.audience == audience);
        let matching = there.filter_map(|rule| Some((rule.specificity(subject)?, rule)));
        matching.max_by_key(|(specificity, _)| *specificity).map(|(_, rule)| rule)
    }

    /// The rule that applies to a token of this subject that was presented there, and those that nearly do: all but one of
    /// subject, place and audience are theirs, or another one is more specific.
    pub fn claims_of(&self, subject: &ClientId, presented_at: &str, audience: &str) -> Vec<RuleClaim> {
        let applying = self.rule(subject, presented_at, audience);
        let claim = |rule: &ExchangeRule| {
            let applies = applying.is_some_and(|one| std::ptr::eq(one, rule));
            let of_subject = rule.specificity(subject).is_some();
            let outcome = match (of_subject, rule.presented_at == presented_at, rule.audience == audience) {
                (true, true, true) if applies => "applies: it is the most specific one",
                (true, true, true) => "does not apply: a more specific one does",
                (false, true, true) => "does not apply: it is about other subjects",
                (true, false, true) => "does not apply: it is about tokens that were presented elsewhere",
                (true, true, false) => "does not apply: it is for another audience",
                (false, false, _) | (false, _, false) | (_, false, false) => return None,
            };
            Some(RuleClaim { rule: rule.metadata(), applies, outcome })
        };
        self.rules.iter().filter_map(claim).collect()
    }

    /// Whether a token of this subject that was presented there may be exchanged for one for some resource.
    pub fn is_about(&self, subject: &ClientId, presented_at: &str) -> bool {
        self.rules.iter().any(|rule| rule.presented_at == presented_at && rule.specificity(subject).is_some())
    }

    /// Whether this client may act for the one that is registered.
    pub fn lets_act(&self, actor: &ClientId) -> bool {
        self.delegates.as_ref().is_none_or(|delegates| delegates.iter().any(|delegate| delegate.matches(actor)))
    }

    /// The first of the fields that say something.
    pub(in crate::authority) fn first_field(&self) -> &'static str {
        match (self.rules.is_empty(), &self.delegates) {
            (false, _) => RULES,
            (true, Some(_)) => DELEGATES,
            (true, None) => "grant_types",
        }
    }

    /// Writes what was parsed in normal form.
    pub(in crate::authority::registration) fn metadata(&self) -> (Vec<ExchangeRuleMetadata>, Option<Vec<String>>) {
        let delegates = self.delegates.as_ref().map(|delegates| delegates.iter().map(ToString::to_string).collect());
        (self.rules.iter().map(ExchangeRule::metadata).collect(), delegates)
    }
}

/// A pattern of two rules that apply alike.
fn twice(rules: &[ExchangeRule]) -> Option<&ClientPattern> {
    rules.iter().enumerate().find_map(|(at, rule)| {
        let others = rules.iter().skip(at + 1);
        let mut same =
            others.filter(|other| other.presented_at == rule.presented_at && other.audience == rule.audience);
        same.find_map(|other| rule.subjects.iter().find(|subject| other.subjects.contains(subject)))
    })
}

fn read_rule(rule: &ExchangeRuleMetadata, own: &[String]) -> Result<ExchangeRule, InvalidMetadata> {
    let ExchangeRuleMetadata { subjects, presented_at, audience, grants, presentation, least_evidence, .. } = rule;
    if subjects.is_empty() || grants.is_empty() || subjects.len().max(grants.len()) > MAX_ENTRIES {
        return Err(invalid(RULES, "each rule has subjects and grants, and not too many"));
    }
    if !is_resource_indicator(presented_at) {
        return Err(invalid(RULES, "presented_at must be an absolute URI without a fragment (RFC 8707)"));
    }
    if !own.contains(audience) {
        let problem = "the audience of a rule must be one of the client's own: it could not call there for itself";
        return Err(invalid(RULES, problem));
    }
    let presentation = match presentation.as_deref() {
        None => Presentation::Receipt,
        Some(text) => Presentation::ALL
            .into_iter()
            .find(|presentation| presentation.name() == text)
            .ok_or_else(|| invalid(RULES, "presentation is none of receipt, independent, report and none"))?,
    };
    let least_evidence = match least_evidence.as_deref() {
        None | Some("thumbprint") => EvidenceGrade::Thumbprint,
        Some("spiffe_id") => EvidenceGrade::SpiffeId,
        Some("certificate") => EvidenceGrade::Certificate,
        Some(_) => return Err(invalid(RULES, "least_evidence is none of spiffe_id, thumbprint and certificate")),
    };
    let ttl = rule.ttl.unwrap_or(DEFAULT_TTL);
    if ttl < Duration::from_secs(1) || ttl > MAX_TTL || ttl.subsec_nanos() != 0 {
        return Err(invalid(RULES, "ttl must be whole seconds, from 1s to 5m"));
    }
    let max_actors = read_actors(rule.max_actors)
        .ok_or_else(|| invalid(RULES, &format!("max_actors must be from 1 to {MAX_ACTORS}")))?;
    Ok(ExchangeRule {
        subjects: patterns(RULES, "subjects: ", subjects)?,
        presented_at: presented_at.clone(),
        audience: audience.clone(),
        grants: grants.iter().map(read_grant).collect::<Result<_, _>>()?,
        presentation,
        least_evidence,
        ttl,
        max_actors,
    })
}

fn read_grant(grant: &ScopeGrantMetadata) -> Result<ScopeGrant, InvalidMetadata> {
    let read = |text: &str| {
        let scope = Scope::parse(text).map_err(|error| invalid(RULES, &format!("grants: {error}")))?;
        if scope.is_empty() || scope.contains("*") {
            return Err(invalid(RULES, "grants: needs and gives name at least one scope each, and no wildcard"));
        }
        Ok(scope)
    };
    Ok(ScopeGrant { needs: read(&grant.needs)?, gives: read(&grant.gives)? })
}

fn patterns(field: &'static str, of: &str, texts: &[String]) -> Result<Vec<ClientPattern>, InvalidMetadata> {
    let parsed = texts.iter().map(|text| ClientPattern::parse(text)).collect::<Option<_>>();
    parsed.ok_or_else(|| invalid(field, &format!("{of}{}", ClientPattern::SHAPE)))
}

/// The most actors: the default where nothing is said, `None` where it is out of range.
pub(in crate::authority) fn read_actors(written: Option<u32>) -> Option<usize> {
    let actors = NonZeroU32::new(written.unwrap_or(DEFAULT_ACTORS))?.get();
    if actors <= MAX_ACTORS { usize::try_from(actors).ok() } else { None }
}
