//! What clients and resources say about transaction tokens, beside each other.

use std::collections::BTreeSet;

use crate::authority::registration::ExchangeTerms;
use crate::authority::registration::TxnRule;
use crate::authority::registration::TxnSubjects;
use crate::authority::resources::ProtectedResource;
use crate::authority::resources::RouteTxn;
use crate::authority::resources::TxnUse;
use crate::authority::scope::Scope;

/// What is probably not meant in the rules of a client.
pub(super) fn of_client(terms: &ExchangeTerms, resources: &[ProtectedResource]) -> Vec<String> {
    if resources.is_empty() {
        return Vec::new();
    }
    terms.txn.iter().flat_map(|rule| of_rule(rule, resources)).collect()
}

fn of_rule(rule: &TxnRule, resources: &[ProtectedResource]) -> Vec<String> {
    let TxnSubjects::Presented { presented_at, grants, .. } = &rule.subjects else { return Vec::new() };
    let text = |problem: &str| format!("its rule for transaction tokens at {presented_at} {problem}");
    let Some(place) = resources.iter().find(|resource| resource.audience() == presented_at) else {
        return vec![text("is about a place that no document registers")];
    };
    let mut remarks = Vec::new();
    if place.receipts.is_none() {
        remarks.push(text("comes to nothing: it takes a receipt, and that resource leaves none"));
    }
    let needs = grants.iter().flat_map(|grant| grant.needs.tokens());
    let undefined = needs.filter(|scope| place.defined.as_ref().is_some_and(|defined| !defined.contains(scope)));
    remarks.extend(undefined.map(|scope| text(&format!("needs {scope}, which that resource does not define"))));
    remarks
}

/// What is probably not meant at a resource. `given` are the scopes of all transactions that any document allows.
pub(super) fn of_resource(resource: &ProtectedResource, given: &BTreeSet<&str>) -> Vec<String> {
    let mut remarks = Vec::new();
    let mints = resource.routes.iter().any(|route| route.txn.minted().is_some());
    if mints && resource.txn_token == TxnUse::Ignore {
        let text = "its checks mint transaction tokens on some routes, and on the others pass on what clients send: say \
                    txn_token: strip";
        remarks.push(text.to_owned());
    }
    // Without any transaction among the documents nothing is compared.
    let needed = resource.routes.iter().filter_map(|route| match &route.txn {
        RouteTxn::Needed(scope) => Some((route, scope)),
        RouteTxn::AsResource | RouteTxn::Minted(_) => None,
    });
    let unknown = needed.flat_map(|(route, scope)| scope.tokens().map(move |scope| (route, scope)));
    let unknown = unknown.filter(|(_, scope)| !given.is_empty() && !given.contains(scope));
    remarks.extend(unknown.map(|(route, scope)| {
        format!("its route {} needs a transaction for {scope}, which no document allows", route.template)
    }));
    remarks
}

/// The scopes of the transactions that clients may ask for, and that routes mint.
pub(super) fn given<'a>(
    terms: impl Iterator<Item = &'a ExchangeTerms>,
    resources: &'a [ProtectedResource],
) -> BTreeSet<&'a str> {
    let asked = terms.flat_map(|terms| &terms.txn).flat_map(|rule| match &rule.subjects {
        TxnSubjects::Presented { grants, .. } | TxnSubjects::Foreign { grants, .. } => {
            grants.iter().map(|grant| &grant.gives).collect::<Vec<_>>()
        }
        TxnSubjects::Stated { scope, .. } => vec![scope],
    });
    let routes = resources.iter().flat_map(|resource| resource.routes.iter());
    let minted = routes.filter_map(|route| route.txn.minted()).map(|minted| &minted.scope);
    asked.chain(minted).flat_map(Scope::tokens).collect()
}
