//! What the configuration says of other issuers, beside what is registered: rules about subjects that no issuer speaks for, and entries of
//! `chaining` whose clients or resources have no part in it.

use std::sync::Arc;

use crate::authority::registration::ClientId;
use crate::authority::registration::ClientMetadata;
use crate::authority::registration::ClientPattern;
use crate::authority::registration::ExchangeTerms;
use crate::authority::resources::ProtectedResource;
use crate::cli::doctor::fault::Fault;
use crate::cli::doctor::report::Report;
use crate::cli::documents::lint::exchange::covers;
use crate::cli::documents::lint::issuers;
use crate::config::Config;

/// What is registered.
pub(super) struct Beside<'a> {
    pub(super) clients: &'a [ClientMetadata],
    /// What each client says of exchange, in the same order.
    pub(super) terms: &'a [Option<Arc<ExchangeTerms>>],
    pub(super) resources: &'a [ProtectedResource],
}

/// Compares the registrations with the issuers of the configuration, under the name of the check.
pub(super) fn check(name: &'static str, registered: &Beside<'_>, config: &Config, report: &mut Report) {
    let trusted = issuers::trusted(config);
    for (client, terms) in registered.clients.iter().zip(registered.terms) {
        for problem in terms.iter().flat_map(|terms| issuers::of_client(terms, &trusted)) {
            report.fault(name, &client.client_id, Fault::ExchangeIssuerNotTrusted, problem);
        }
    }
    for target in &config.policy.chaining {
        let entry = format!("chaining.to {}", target.issuer);
        for client in named(&target.clients) {
            if !registered.has(client, |terms| terms.granted) {
                let problem = format!("it is for {client}, which is not registered for token exchange");
                report.fault(name, &entry, Fault::ChainingNotRegistered, problem);
            }
            for audience in &target.presented_at {
                let receipts = registered.resource(audience).and_then(|resource| resource.receipts.as_ref());
                if !receipts.is_some_and(|receipts| receipts.may_be_redeemed_by(client)) {
                    let problem = format!("it takes receipts of {audience}, which leaves none for {client}");
                    report.fault(name, &entry, Fault::ChainingNotAccepted, problem);
                }
            }
        }
    }
    for issuer in trusted {
        let Some(terms) = issuer.grant_terms() else { continue };
        let entry = format!("chaining.from {}", issuer.issuer);
        for client in named(&terms.clients) {
            if !registered.has(client, |terms| terms.uses_grants) {
                let problem = format!("its grants are for {client}, which is not registered for their use");
                report.fault(name, &entry, Fault::ChainingNotRegistered, problem);
            }
            // For itself a client acts for nobody.
            let acts = terms.subjects.iter().any(|subject| *subject != ClientPattern::Exact(client.clone()));
            for audience in &terms.audience {
                let takes = |resource: &ProtectedResource| {
                    let delegated = resource.delegated.as_ref();
                    !acts || delegated.is_some_and(|delegated| delegated.accepts(Some(client), 1))
                };
                if !registered.resource(audience).is_some_and(takes) {
                    let problem = format!("its grants are for {audience}, which takes no delegated tokens of {client}");
                    report.fault(name, &entry, Fault::ChainingNotAccepted, problem);
                }
            }
        }
    }
}

/// The clients that are named one by one. A pattern may be for those that come.
fn named(patterns: &[ClientPattern]) -> impl Iterator<Item = &ClientId> {
    patterns.iter().filter_map(|pattern| match pattern {
        ClientPattern::Exact(name) => Some(name),
        ClientPattern::Below(_) => None,
    })
}

impl Beside<'_> {
    fn resource(&self, audience: &str) -> Option<&ProtectedResource> {
        self.resources.iter().find(|resource| resource.audience() == audience)
    }

    /// Whether a client is registered, and its registration says so.
    fn has(&self, client: &ClientId, says: impl Fn(&ExchangeTerms) -> bool) -> bool {
        let mut registered = self.clients.iter().zip(self.terms).filter(|(metadata, _)| covers(metadata, client));
        registered.any(|(_, terms)| terms.as_ref().is_some_and(|terms| says(terms)))
    }
}
