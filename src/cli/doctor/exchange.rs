//! What is registered of token exchange and comes to nothing, or gives one identity what two should have.

use std::sync::Arc;

use crate::authority::access::Fronted;
use crate::authority::access::RoleHolder;
use crate::authority::identity::SpiffeIdPattern;
use crate::authority::registration::CLIENTS;
use crate::authority::registration::ClientId;
use crate::authority::registration::ClientMetadata;
use crate::authority::registration::ClientRegistration;
use crate::authority::registration::ExchangeRule;
use crate::authority::registration::ExchangeTerms;
use crate::authority::registration::Presentation;
use crate::authority::resources::ProtectedResource;
use crate::authority::resources::RESOURCES;
use crate::authority::resources::Receipts;
use crate::authority::store::Store;
use crate::authority::store::StoreError;
use crate::cli::doctor::clients::StoredClient;
use crate::cli::doctor::exchange_issuers;
use crate::cli::doctor::exchange_issuers::Beside;
use crate::cli::doctor::fault::Fault;
use crate::cli::doctor::report::Report;
use crate::cli::documents::lint::exchange::covers;
use crate::cli::documents::lint::exchange::holder;
use crate::cli::documents::lint::exchange::without_receipts;
use crate::config::Config;

/// The name of the check.
pub(in crate::cli::doctor) const CHECK: &str = "exchange";

/// What is registered.
struct Registered {
    clients: Vec<ClientMetadata>,
    /// What each client says of exchange, in the same order.
    terms: Vec<Option<Arc<ExchangeTerms>>>,
    /// Each rule, and the client of the tokens that it gives; `None` where that is one of many.
    rules: Vec<(String, Option<ClientId>, ExchangeRule)>,
    resources: Vec<ProtectedResource>,
}

/// Checks what clients and resources in an open store say about exchange, beside the configuration.
pub(in crate::cli::doctor) async fn check(store: &dyn Store, config: &Config, report: &mut Report) {
    let registered = match Registered::read(store).await {
        Ok(registered) => registered,
        Err(error) => return report.not_checked(CHECK, "", format!("the registrations cannot be read: {error}")),
    };
    let before = report.len();
    let Registered { rules, resources, .. } = &registered;
    let takes_part = !rules.is_empty() || resources.iter().any(ProtectedResource::takes_part_in_exchange);
    if takes_part && !config.policy.exchange.enabled {
        let problem = "clients or resources are registered for it, and exchange.enabled is false";
        report.fault(CHECK, "", Fault::ExchangeNotEnabled, problem);
    }
    for (client_id, holder, rule) in rules {
        registered.check_rule((client_id, holder.as_ref(), rule), report);
    }
    for resource in resources {
        if let Some(receipts) = &resource.receipts {
            registered.check_exchangers(resource, report);
            registered.check_proxies(resource, receipts, &config.policy.roles.proxies, report);
        }
    }
    let Registered { clients, terms, resources, .. } = &registered;
    exchange_issuers::check(CHECK, &Beside { clients, terms, resources }, config, report);
    if report.len() == before {
        report.ok(CHECK, "", "each rule has what it needs, and no proxy redeems what it makes for others");
    }
}

impl Registered {
    /// A record that cannot be read is the server's to report.
    async fn read(store: &dyn Store) -> Result<Self, StoreError> {
        let (clients, resources) = (store.list(CLIENTS).await?, store.list(RESOURCES).await?);
        let resources = resources.entries.iter().filter_map(|(_, stored)| ProtectedResource::from_bytes(&stored.value));
        let resources = resources.collect();
        let clients = clients.entries.iter().filter_map(|(_, stored)| serde_json::from_slice(&stored.value).ok());
        let clients: Vec<ClientMetadata> = clients.map(|StoredClient { metadata }| metadata).collect();
        let parsed =
            |metadata: &ClientMetadata| ClientRegistration::parse(metadata.clone()).ok()?.terms.exchange.clone();
        let terms: Vec<Option<Arc<ExchangeTerms>>> = clients.iter().map(parsed).collect();
        let mut rules = Vec::new();
        for (metadata, terms) in clients.iter().zip(&terms) {
            let of_client = |rule: &ExchangeRule| (metadata.client_id.clone(), holder(metadata), rule.clone());
            rules.extend(terms.iter().filter(|terms| terms.granted).flat_map(|terms| &terms.rules).map(of_client));
        }
        Ok(Self { clients, terms, rules, resources })
    }

    fn resource(&self, audience: &str) -> Option<&ProtectedResource> {
        self.resources.iter().find(|resource| resource.audience() == audience)
    }

    fn check_rule(&self, rule: (&str, Option<&ClientId>, &ExchangeRule), report: &mut Report) {
        let (client_id, holder, rule) = rule;
        let ExchangeRule { audience, presented_at, presentation, least_evidence, .. } = rule;
        let mut fault = |fault, problem: String| {
            report.fault(CHECK, client_id, fault, format!("its rule for {audience} {problem}"));
        };
        let target = self.resource(audience);
        let delegated = target.and_then(|target| target.delegated.as_ref());
        match (target, delegated, holder) {
            (None, ..) => {
                fault(Fault::ExchangeNotAccepted, "comes to nothing: no such resource is registered".to_owned());
            }
            (Some(_), None, _) => {
                fault(
                    Fault::ExchangeNotAccepted,
                    "comes to nothing: that resource takes no delegated tokens".to_owned(),
                );
            }
            (Some(_), Some(delegated), Some(holder)) if !delegated.accepts(Some(holder), 1) => {
                let problem = format!("comes to nothing: that resource takes no delegated tokens of {holder}");
                fault(Fault::ExchangeNotAccepted, problem);
            }
            (Some(_), Some(_), _) => {}
        }
        let asks = matches!(presentation, Presentation::Receipt | Presentation::Independent);
        match self.resource(presented_at) {
            None if asks => {
                let problem = format!("comes to nothing: it asks for receipts, and {presented_at} is not registered");
                fault(Fault::ExchangeWithoutReceipts, problem);
            }
            Some(place) if asks && let Some(problem) = without_receipts(place, holder) => {
                fault(Fault::ExchangeWithoutReceipts, problem);
            }
            Some(place) if *presentation != Presentation::Nothing && place.least_evidence < *least_evidence => {
                let (asked, taken) = (least_evidence.name(), place.least_evidence.name());
                let problem = format!("asks for evidence of {asked} at least, and {presented_at} takes {taken}");
                fault(Fault::ExchangeEvidenceTooWeak, problem);
            }
            None | Some(_) => {}
        }
    }

    /// The exchangers that are registered nowhere. A pattern may be for those that come.
    fn check_exchangers(&self, resource: &ProtectedResource, report: &mut Report) {
        for text in exchangers(resource).filter(|text| !text.contains('*')) {
            let Some(name) = ClientId::parse(text) else { continue };
            if !self.clients.iter().any(|client| covers(client, &name)) {
                let problem = format!("its receipts are for {name}, which no client is registered for");
                report.fault(CHECK, resource.audience(), Fault::ExchangerNotRegistered, problem);
            }
        }
    }

    /// The proxies of a resource that redeem its receipts. In front of its own service that is a sidecar, whose receipts are not
    /// independent; in front of others one stolen key is then enough to act for everybody whose token it has seen.
    fn check_proxies(
        &self,
        resource: &ProtectedResource,
        receipts: &Receipts,
        proxies: &[(RoleHolder, Fronted)],
        report: &mut Report,
    ) {
        let audience = resource.audience();
        let asked =
            |rule: &ExchangeRule| rule.presented_at == audience && rule.presentation == Presentation::Independent;
        let asking = self.rules.iter().find(|(_, _, rule)| asked(rule));
        for (both, fronted) in proxies_that_redeem(resource, receipts, proxies) {
            if let Some((client_id, ..)) = asking {
                let problem = format!(
                    "{both} fronts it and is one of its exchangers, and {client_id} asks for independent receipts"
                );
                report.fault(CHECK, audience, Fault::ExchangeNotIndependent, problem);
            }
            let own = |text: &String| SpiffeIdPattern::parse(text).is_some_and(|principal| principal.covers(&both));
            if fronted.only() != Some(audience) && !resource.metadata.destination_principals.iter().any(own) {
                let problem = format!("{both} makes its receipts, redeems them, and is not its own proxy alone");
                report.fault(CHECK, audience, Fault::ExchangerIsProxy, problem);
            }
        }
    }
}

fn exchangers(resource: &ProtectedResource) -> impl Iterator<Item = &String> {
    resource.metadata.receipts.iter().flat_map(|receipts| &receipts.exchangers)
}

/// The identities that front a resource and are its exchangers, each with what the entry that counts for it fronts.
fn proxies_that_redeem<'a>(
    resource: &ProtectedResource,
    receipts: &Receipts,
    proxies: &'a [(RoleHolder, Fronted)],
) -> Vec<(SpiffeIdPattern, &'a Fronted)> {
    let mut found: Vec<(SpiffeIdPattern, &Fronted)> = Vec::new();
    for (holder, fronted) in proxies {
        let RoleHolder::Spiffe(proxy) = holder else { continue };
        if !fronted.includes(resource.audience()) {
            continue;
        }
        for exchanger in exchangers(resource).filter_map(|text| SpiffeIdPattern::parse(text)) {
            let both = if proxy.covers(&exchanger) {
                exchanger
            } else if exchanger.covers(proxy) {
                proxy.clone()
            } else {
                continue;
            };
            // The most specific entry of the configuration counts, and this one may not be it.
            let overruled = proxies.iter().any(|(other, _)| {
                let covers = matches!(other, RoleHolder::Spiffe(pattern) if pattern.covers(&both));
                covers && other.specificity() > holder.specificity()
            });
            if !overruled && !found.iter().any(|(known, _)| *known == both) {
                found.push((both, fronted));
            }
        }
    }
    // One that the resource would not let redeem under that name is none.
    found.retain(|(both, _)| match both {
        SpiffeIdPattern::Exact(id) => receipts.may_be_redeemed_by_id(id),
        SpiffeIdPattern::Below(_) => true,
    });
    found
}
