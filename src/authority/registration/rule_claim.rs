//! How the rules of a client stand to a question about an exchange: which one applies, and which nearly do.

use crate::authority::registration::client_id::ClientId;
use crate::authority::registration::exchange::ExchangeRule;
use crate::authority::registration::exchange::ExchangeTerms;
use crate::authority::registration::metadata::ExchangeRuleMetadata;
use crate::authority::registration::metadata::TxnRuleMetadata;
use crate::authority::registration::txn::TxnRule;
use crate::authority::registration::txn::TxnSubjects;

/// How a rule stands to a question.
#[derive(Clone, Debug)]
pub struct RuleClaim<R> {
    /// The rule, in normal form.
    pub rule: R,
    /// Whether it applies.
    pub applies: bool,
    /// Why, for people.
    pub outcome: &'static str,
}

/// What the one rule is said to do that applies, and what one that another one overrules.
const APPLIES: &str = "applies: it is the most specific one";
const OVERRULED: &str = "does not apply: a more specific one does";
const OTHER_SUBJECTS: &str = "does not apply: it is about other subjects";

impl ExchangeTerms {
    /// The rule that applies to a token of this subject that was presented there, and those that nearly do: all but one of
    /// subject, place and audience are theirs, or another one is more specific.
    pub fn claims_of(
        &self,
        subject: &ClientId,
        presented_at: &str,
        audience: &str,
    ) -> Vec<RuleClaim<ExchangeRuleMetadata>> {
        let applying = self.rule(subject, presented_at, audience);
        let claim = |rule: &ExchangeRule| {
            let applies = applying.is_some_and(|one| std::ptr::eq(one, rule));
            let of_subject = rule.specificity(subject).is_some();
            let outcome = match (of_subject, rule.presented_at == presented_at, rule.audience == audience) {
                (true, true, true) if applies => APPLIES,
                (true, true, true) => OVERRULED,
                (false, true, true) => OTHER_SUBJECTS,
                (true, false, true) => "does not apply: it is about tokens that were presented elsewhere",
                (true, true, false) => "does not apply: it is for another audience",
                (false, false, _) | (false, _, false) | (_, false, false) => return None,
            };
            Some(RuleClaim { rule: rule.metadata(), applies, outcome })
        };
        self.rules.iter().filter_map(claim).collect()
    }

    /// The same of the rules for transaction tokens: with a subject's token that was presented there, or with none. Presented nowhere is
    /// a token of another issuer.
    pub fn txn_claims_of(
        &self,
        client_id: &ClientId,
        subject: &ClientId,
        at: Option<&str>,
    ) -> Vec<RuleClaim<TxnRuleMetadata>> {
        let applying = match at {
            Some(at) => self.txn_rule(subject, at),
            None => self.stated_txn_rule(client_id, subject),
        };
        let claim = |rule: &TxnRule| {
            let applies = applying.is_some_and(|one| std::ptr::eq(one, rule));
            let about = match at {
                Some(at) => rule.specificity(subject, at),
                None => rule.specificity_of_stated(client_id, subject),
            };
            let outcome = match (about.is_some(), is_of_place(rule, at)) {
                (true, _) if applies => APPLIES,
                (true, _) => OVERRULED,
                (false, true) => OTHER_SUBJECTS,
                (false, false) if is_about_elsewhere(rule, subject) => {
                    "does not apply: it is about what is presented otherwise"
                }
                (false, false) => return None,
            };
            Some(RuleClaim { rule: rule.metadata(), applies, outcome })
        };
        self.txn.iter().filter_map(claim).collect()
    }
}

/// Whether a rule is about what is presented there, whoever presents it.
fn is_of_place(rule: &TxnRule, at: Option<&str>) -> bool {
    match &rule.subjects {
        TxnSubjects::Stated { .. } => at.is_none(),
        TxnSubjects::Presented { presented_at, .. } => at == Some(presented_at),
        TxnSubjects::Foreign { .. } => at == Some(""),
    }
}

/// Whether a rule is about tokens of this subject that were presented at some place.
fn is_about_elsewhere(rule: &TxnRule, subject: &ClientId) -> bool {
    let place = match &rule.subjects {
        TxnSubjects::Presented { presented_at, .. } => presented_at,
        TxnSubjects::Stated { .. } | TxnSubjects::Foreign { .. } => return false,
    };
    rule.specificity(subject, place).is_some()
}
