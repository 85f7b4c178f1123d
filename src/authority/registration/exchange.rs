//! Token exchange (RFC 8693) in a client's registration: what it may exchange, and who may act for it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::authority::evidence::EvidenceGrade;
use crate::authority::records::InvalidMetadata;
use crate::authority::registration::client_id::ClientId;
use crate::authority::registration::client_pattern::ClientPattern;
use crate::authority::registration::foreign_subjects::ForeignSubjects;
use crate::authority::registration::metadata::ClientMetadata;
use crate::authority::registration::metadata::ExchangeRuleMetadata;
use crate::authority::registration::metadata::TxnRuleMetadata;
use crate::authority::registration::metadata::invalid;
use crate::authority::registration::scope_grant::MAX_ENTRIES;
use crate::authority::registration::scope_grant::ScopeGrant;
use crate::authority::registration::scope_grant::patterns;
use crate::authority::registration::scope_grant::read_grants;
use crate::authority::registration::scope_grant::specificity;
use crate::authority::registration::txn;
use crate::authority::registration::txn::TxnRule;
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
/// For tokens of other issuers, whose revocations are not known here.
const DEFAULT_FOREIGN_TTL: Duration = Duration::from_mins(1);
const MAX_TTL: Duration = Duration::from_mins(5);

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

/// What a client may exchange.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ExchangeRule {
    /// Whose tokens. None where the subjects are another issuer's.
    pub subjects: Vec<ClientPattern>,
    /// Whose tokens, where the subjects are another issuer's.
    pub foreign: Option<ForeignSubjects>,
    /// Where they must have been presented: the audience of a resource. Empty: tokens of the other issuer itself.
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
    pub(super) fn specificity(&self, subject: &ClientId) -> Option<usize> {
        match &self.foreign {
            None => specificity(&self.subjects, subject),
            Some(foreign) => foreign.specificity(subject),
        }
    }

    /// Whether it is about tokens of another issuer itself, and not about what was presented at a resource.
    fn is_of_tokens_of_another_issuer(&self) -> bool {
        self.presented_at.is_empty()
    }

    /// The text of a subject that both rules are about, alike.
    fn shared<'a>(&'a self, other: &'a Self) -> Option<String> {
        if self.presented_at != other.presented_at || self.audience != other.audience {
            return None;
        }
        match (&self.foreign, &other.foreign) {
            (Some(own), Some(others)) => own.shared(others).map(ToOwned::to_owned),
            (None, None) => {
                let shared = self.subjects.iter().find(|subject| other.subjects.contains(subject));
                shared.map(ToString::to_string)
            }
            (Some(_), None) | (None, Some(_)) => None,
        }
    }

    pub(super) fn metadata(&self) -> ExchangeRuleMetadata {
        let presented = !self.is_of_tokens_of_another_issuer();
        let subjects = self.foreign.as_ref().map(ForeignSubjects::texts);
        ExchangeRuleMetadata {
            subjects: subjects.unwrap_or_else(|| self.subjects.iter().map(ToString::to_string).collect()),
            issuer: self.foreign.as_ref().map(|foreign| foreign.issuer().to_owned()),
            presented_at: self.presented_at.clone(),
            audience: self.audience.clone(),
            grants: self.grants.iter().map(ScopeGrant::metadata).collect(),
            presentation: presented.then(|| self.presentation.name().to_owned()),
            least_evidence: presented.then(|| self.least_evidence.name().to_owned()),
            ttl: Some(self.ttl),
            max_actors: u32::try_from(self.max_actors).ok(),
        }
    }
}

/// What a client's registration says about token exchange.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct ExchangeTerms {
    /// Whether its grant types have token exchange.
    pub granted: bool,
    /// Whether they have the use of other authorization servers' grants.
    pub uses_grants: bool,
    /// What it may exchange. No two rules apply alike to one token.
    pub rules: Vec<ExchangeRule>,
    /// Who may act for it. `None`: whoever a rule names.
    pub delegates: Option<Vec<ClientPattern>>,
    /// What it may ask for transaction tokens for. No two rules apply alike to one subject.
    pub txn: Vec<TxnRule>,
}

impl ExchangeTerms {
    /// Parses what a registration says; `None` where it says nothing.
    pub(in crate::authority::registration) fn parse(
        (granted, uses_grants): (bool, bool),
        audience: &[String],
        (rules, delegates, txn): (&[ExchangeRuleMetadata], Option<&[String]>, &[TxnRuleMetadata]),
    ) -> Result<Option<Arc<Self>>, InvalidMetadata> {
        let has_rules = !rules.is_empty() || !txn.is_empty();
        if has_rules && !granted {
            let field = if rules.is_empty() { txn::RULES } else { RULES };
            return Err(invalid(field, &format!("goes only with {TOKEN_EXCHANGE} among the grant_types")));
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
        let terms = Self { granted, uses_grants, rules, delegates, txn: txn::read(txn)? };
        Ok((terms != Self::default()).then(|| Arc::new(terms)))
    }

    /// The one rule that applies to a token of this subject that was presented there: the most specific one. Presented nowhere is
    /// a token of another issuer.
    pub fn rule(&self, subject: &ClientId, presented_at: &str, audience: &str) -> Option<&ExchangeRule> {
        let there = self.rules.iter().filter(|rule| rule.presented_at == presented_at && rule.audience == audience);
        let matching = there.filter_map(|rule| Some((rule.specificity(subject)?, rule)));
        matching.max_by_key(|(specificity, _)| *specificity).map(|(_, rule)| rule)
    }

    /// Whether a token of this subject that was presented there may be exchanged for one for some resource.
    pub fn is_about(&self, subject: &ClientId, presented_at: &str) -> bool {
        self.rules.iter().any(|rule| rule.presented_at == presented_at && rule.specificity(subject).is_some())
    }

    /// The one rule for transaction tokens that applies to a token of this subject that was presented there.
    pub fn txn_rule(&self, subject: &ClientId, at: &str) -> Option<&TxnRule> {
        let matching = self.txn.iter().filter_map(|rule| Some((rule.specificity(subject, at)?, rule)));
        matching.max_by_key(|(specificity, _)| *specificity).map(|(_, rule)| rule)
    }

    /// The one rule for transaction tokens that applies to a subject that this client names: itself, or another one.
    pub fn stated_txn_rule(&self, client_id: &ClientId, subject: &ClientId) -> Option<&TxnRule> {
        let matching = self.txn.iter();
        let matching = matching.filter_map(|rule| Some((rule.specificity_of_stated(client_id, subject)?, rule)));
        matching.max_by_key(|(specificity, _)| *specificity).map(|(_, rule)| rule)
    }

    /// Whether this client may act for the one that is registered.
    pub fn lets_act(&self, actor: &ClientId) -> bool {
        self.delegates.as_ref().is_none_or(|delegates| delegates.iter().any(|delegate| delegate.matches(actor)))
    }

    /// The scopes of resources that the rules name: the field, the scopes, and the audience of the resource.
    pub(in crate::authority) fn scopes_of_resources(&self) -> impl Iterator<Item = (&'static str, &Scope, &str)> {
        let exchanged = self.rules.iter().flat_map(|rule| rule.grants.iter().map(move |grant| (rule, grant)));
        let exchanged = exchanged.flat_map(|(rule, grant)| {
            // Of a token of another issuer the scopes are that issuer's.
            let needs = (!rule.is_of_tokens_of_another_issuer()).then_some(&grant.needs);
            let needs = needs.map(|needs| (RULES, needs, rule.presented_at.as_str()));
            needs.into_iter().chain([(RULES, &grant.gives, rule.audience.as_str())])
        });
        // A transaction token is for no resource.
        let presented = self.txn.iter().flat_map(TxnRule::needed);
        exchanged.chain(presented.map(|(scope, audience)| (txn::RULES, scope, audience)))
    }

    /// The first of the fields that say something.
    pub(in crate::authority) fn first_field(&self) -> &'static str {
        match (self.rules.is_empty(), &self.delegates) {
            (false, _) => RULES,
            (true, Some(_)) => DELEGATES,
            (true, None) if self.txn.is_empty() => "grant_types",
            (true, None) => txn::RULES,
        }
    }

    /// Writes what was parsed in normal form.
    pub(in crate::authority::registration) fn write(&self, metadata: &mut ClientMetadata) {
        let delegates = |delegates: &Vec<ClientPattern>| delegates.iter().map(ToString::to_string).collect();
        metadata.exchange = self.rules.iter().map(ExchangeRule::metadata).collect();
        metadata.delegates = self.delegates.as_ref().map(delegates);
        metadata.txn = self.txn.iter().map(TxnRule::metadata).collect();
    }
}

/// A pattern of two rules that apply alike.
fn twice(rules: &[ExchangeRule]) -> Option<String> {
    rules.iter().enumerate().find_map(|(at, rule)| rules.iter().skip(at + 1).find_map(|other| rule.shared(other)))
}

fn read_rule(rule: &ExchangeRuleMetadata, own: &[String]) -> Result<ExchangeRule, InvalidMetadata> {
    let ExchangeRuleMetadata { subjects, issuer, presented_at, audience, grants, presentation, least_evidence, .. } =
        rule;
    if subjects.is_empty() || grants.is_empty() || subjects.len().max(grants.len()) > MAX_ENTRIES {
        return Err(invalid(RULES, "each rule has subjects and grants, and not too many"));
    }
    let of_issuer = issuer.is_some() && presented_at.is_empty();
    if of_issuer && (presentation.is_some() || least_evidence.is_some()) {
        return Err(invalid(RULES, "presentation and least_evidence go only with presented_at"));
    }
    if !of_issuer && !is_resource_indicator(presented_at) {
        return Err(invalid(RULES, "presented_at must be an absolute URI without a fragment (RFC 8707)"));
    }
    if !own.contains(audience) {
        let problem = "the audience of a rule must be one of the client's own: it could not call there for itself";
        return Err(invalid(RULES, problem));
    }
    let presentation = match presentation.as_deref() {
        // What is presented at no resource leaves no receipt.
        None if of_issuer => Presentation::Nothing,
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
    let ttl = rule.ttl.unwrap_or(if of_issuer { DEFAULT_FOREIGN_TTL } else { DEFAULT_TTL });
    if ttl < Duration::from_secs(1) || ttl > MAX_TTL || ttl.subsec_nanos() != 0 {
        return Err(invalid(RULES, "ttl must be whole seconds, from 1s to 5m"));
    }
    let max_actors = read_actors(rule.max_actors)
        .ok_or_else(|| invalid(RULES, &format!("max_actors must be from 1 to {MAX_ACTORS}")))?;
    let foreign = issuer.as_deref().map(|issuer| ForeignSubjects::parse(RULES, issuer, subjects)).transpose()?;
    Ok(ExchangeRule {
        subjects: if foreign.is_some() { Vec::new() } else { patterns(RULES, "subjects: ", subjects)? },
        foreign,
        presented_at: presented_at.clone(),
        audience: audience.clone(),
        grants: read_grants(RULES, grants)?,
        presentation,
        least_evidence,
        ttl,
        max_actors,
    })
}

/// The most actors: the default where nothing is said, `None` where it is out of range.
pub(in crate::authority) fn read_actors(written: Option<u32>) -> Option<usize> {
    let actors = NonZeroU32::new(written.unwrap_or(DEFAULT_ACTORS))?.get();
    if actors <= MAX_ACTORS { usize::try_from(actors).ok() } else { None }
}
