//! What rules of clients say about subjects of other issuers, beside the issuers that the configuration trusts.

use crate::authority::registration::ExchangeTerms;
use crate::authority::registration::TxnSubjects;
use crate::authority::trust::TrustedIssuer;
use crate::config::Config;

/// The issuers that a configuration trusts, for whatever.
pub(in crate::cli) fn trusted(config: &Config) -> Vec<&TrustedIssuer> {
    let from_files = config.trust.issuers.iter().map(|(trusted, _)| &**trusted);
    from_files.chain(config.fetched_issuers.iter().map(|(trusted, _)| &**trusted)).collect()
}

/// The rules of a client that come to nothing, each with why.
pub(in crate::cli) fn of_client(terms: &ExchangeTerms, trusted: &[&TrustedIssuer]) -> Vec<String> {
    let exchanged = terms.rules.iter().filter_map(|rule| {
        let issuer = rule.foreign.as_ref()?.issuer();
        let why = untrusted(issuer, !rule.presented_at.is_empty(), trusted)?;
        Some(format!("its rule for {} comes to nothing: {why}", rule.audience))
    });
    let txn = terms.txn.iter().filter_map(|rule| {
        let TxnSubjects::Foreign { subjects, .. } = &rule.subjects else { return None };
        let why = untrusted(subjects.issuer(), false, trusted)?;
        Some(format!("its rule for transaction tokens of {} comes to nothing: {why}", subjects.issuer()))
    });
    exchanged.chain(txn).collect()
}

/// Why no token is exchanged for subjects of an issuer. Those whose tokens were presented at a resource came in before: by the
/// issuer's tokens, or by its grants.
fn untrusted(issuer: &str, presented: bool, trusted: &[&TrustedIssuer]) -> Option<String> {
    let Some(found) = trusted.iter().find(|one| one.issuer == issuer) else {
        return Some(format!("the configuration trusts no issuer {issuer}"));
    };
    match found.subject_terms() {
        None if presented && found.grant_terms().is_some() => None,
        None => Some(format!("the configuration does not trust {issuer} for tokens that are exchanged")),
        Some(terms) if terms.scope_claim.is_none() && !presented => {
            Some(format!("tokens of {issuer} have no scopes: its entry has no exchange.scope_claim"))
        }
        Some(_) => None,
    }
}
