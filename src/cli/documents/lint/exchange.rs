//! What clients and resources say about token exchange, beside each other: an exchange takes the rule of one and the consent of the
//! other, and a rule that lacks it is never an error by itself.

use crate::authority::identity::SpiffeIdPattern;
use crate::authority::registration::ClientId;
use crate::authority::registration::ClientMetadata;
use crate::authority::registration::ClientPattern;
use crate::authority::registration::ExchangeRule;
use crate::authority::registration::ExchangeTerms;
use crate::authority::registration::Presentation;
use crate::authority::resources::ProtectedResource;
use crate::authority::scope::Scope;

/// What is probably not meant in the rules of a client, and in its `delegates`.
pub(super) fn of_client(
    client: &ClientMetadata,
    terms: &ExchangeTerms,
    clients: &[ClientMetadata],
    resources: &[ProtectedResource],
) -> Vec<String> {
    let mut remarks = Vec::new();
    if !resources.is_empty() {
        remarks.extend(terms.rules.iter().flat_map(|rule| of_rule(rule, holder(client).as_ref(), resources)));
    }
    let subjects = terms.rules.iter().flat_map(|rule| &rule.subjects);
    let named = |what: &str, name: &ClientId| format!("{what} {name}, which no document registers");
    remarks.extend(unregistered(subjects, clients).map(|name| named("it exchanges tokens of", name)));
    let delegates = terms.delegates.iter().flatten();
    remarks.extend(unregistered(delegates, clients).map(|name| named("among its delegates is", name)));
    remarks
}

/// Whether those exist whose delegated tokens a resource takes, and for whom it leaves receipts.
pub(super) fn of_resource(resource: &ProtectedResource, clients: &[ClientMetadata]) -> Vec<String> {
    let metadata = &resource.metadata;
    let missing = |texts: &[String], what: &str| {
        let patterns: Vec<ClientPattern> = texts.iter().filter_map(|text| ClientPattern::parse(text)).collect();
        let named = |name: &ClientId| format!("it {what} {name}, which no document registers");
        unregistered(&patterns, clients).map(named).collect::<Vec<_>>()
    };
    let delegated = metadata.delegated.iter().flat_map(|one| missing(&one.actors, "takes delegated tokens of"));
    let receipts = metadata.receipts.iter().flat_map(|one| missing(&one.exchangers, "leaves receipts for"));
    delegated.chain(receipts).collect()
}

fn of_rule(rule: &ExchangeRule, holder: Option<&ClientId>, resources: &[ProtectedResource]) -> Vec<String> {
    let registered = |audience: &str| resources.iter().find(|resource| resource.audience() == audience);
    let ExchangeRule { audience, presented_at, .. } = rule;
    let mut remarks = Vec::new();
    let mut say = |text: String| remarks.push(format!("its rule for {audience} {text}"));
    // That a target is not registered is said of the client's audiences.
    if let Some(target) = registered(audience) {
        match (&target.delegated, holder) {
            (None, _) => say("comes to nothing: that resource takes no delegated tokens".to_owned()),
            (Some(delegated), Some(holder)) if !delegated.accepts(Some(holder), 1) => {
                say(format!("comes to nothing: that resource takes no delegated tokens of {holder}"));
            }
            (Some(_), _) => {}
        }
        let gives = rule.grants.iter().map(|grant| &grant.gives);
        undefined(gives, target).for_each(|scope| say(format!("gives {scope}, which that resource does not define")));
    }
    // Tokens of another issuer are presented at no resource.
    if presented_at.is_empty() {
        return remarks;
    }
    match registered(presented_at) {
        None => say(format!("is about tokens that are presented at {presented_at}, which no document registers")),
        Some(place) => {
            let needs = rule.grants.iter().map(|grant| &grant.needs);
            undefined(needs, place)
                .for_each(|scope| say(format!("needs {scope}, which {presented_at} does not define")));
            if matches!(rule.presentation, Presentation::Receipt | Presentation::Independent) {
                without_receipts(place, holder).into_iter().for_each(&mut say);
            }
        }
    }
    remarks
}

/// Why a rule that asks for receipts gets none of a resource.
pub(in crate::cli) fn without_receipts(place: &ProtectedResource, holder: Option<&ClientId>) -> Option<String> {
    let audience = place.audience();
    let Some(receipts) = &place.receipts else {
        return Some(format!("comes to nothing: it asks for receipts, and {audience} leaves none"));
    };
    let holder = holder.filter(|holder| !receipts.may_be_redeemed_by(holder))?;
    Some(format!("comes to nothing: it asks for receipts, and {audience} has none for {holder}"))
}

/// The scopes that a resource does not define. One that defines none takes each.
fn undefined<'a>(
    scopes: impl Iterator<Item = &'a Scope>,
    resource: &'a ProtectedResource,
) -> impl Iterator<Item = &'a str> {
    let defined = resource.defined.as_deref();
    scopes.flat_map(Scope::tokens).filter(move |scope| defined.is_some_and(|defined| !defined.contains(scope)))
}

/// The clients that are named and that no document registers. Without any client among the documents nothing is compared.
fn unregistered<'a>(
    patterns: impl IntoIterator<Item = &'a ClientPattern>,
    clients: &[ClientMetadata],
) -> impl Iterator<Item = &'a ClientId> {
    let named = patterns.into_iter().filter_map(|pattern| match pattern {
        ClientPattern::Exact(name) => Some(name),
        ClientPattern::Below(_) => None,
    });
    named.filter(|name| !clients.is_empty() && !clients.iter().any(|client| covers(client, name)))
}

/// Whether a document registers this client, by its name or by a pattern of SPIFFE IDs.
pub(in crate::cli) fn covers(client: &ClientMetadata, name: &ClientId) -> bool {
    let claimed = SpiffeIdPattern::parse(claimed(client));
    client.client_id == name.as_str() || claimed.zip(name.spiffe_id()).is_some_and(|(claimed, id)| claimed.matches(&id))
}

/// The client of the tokens that this registration gets; `None` where it is for many.
pub(in crate::cli) fn holder(client: &ClientMetadata) -> Option<ClientId> {
    match SpiffeIdPattern::parse(claimed(client)) {
        Some(SpiffeIdPattern::Exact(id)) => Some(ClientId::from(&id)),
        Some(SpiffeIdPattern::Below(_)) => None,
        None => ClientId::parse(&client.client_id),
    }
}

fn claimed(client: &ClientMetadata) -> &str {
    client.spiffe_id.as_deref().unwrap_or(&client.client_id)
}
