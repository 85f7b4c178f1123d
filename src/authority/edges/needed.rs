//! Which records an edge needs, so that it decides at its resources as the centre does.
//!
//! Of clients these are more than those that are registered for its resources. A registration that is more specific, or disabled,
//! takes the place of another one; and of a delegated token each client counts that it passed. What only became needless is
//! still sent until an edge lists again: its denials then give the same reason as those of the centre.

use std::collections::HashSet;

use crate::authority::access::DecisionsGrant;
use crate::authority::identity::parse_spiffe_id;
use crate::authority::identity::prefixes;
use crate::authority::registration::CLIENTS;
use crate::authority::registration::ClientPattern;
use crate::authority::registration::ClientRegistration;
use crate::authority::registration::Directory;
use crate::authority::registration::ExchangeRule;
use crate::authority::registration::RegisteredClient;
use crate::authority::registration::SpiffeClaim;
use crate::authority::registration::TokenEndpointAuthMethod;
use crate::authority::resources::DELETED;
use crate::authority::resources::ProtectedResource;
use crate::authority::resources::RESOURCES;
use crate::authority::state::FETCHED_BUNDLES;
use crate::authority::state::PUBLISHED;
use crate::authority::state::Snapshot;

/// What is needed.
#[derive(Debug)]
pub(super) struct Needed {
    grant: DecisionsGrant,
    /// Whether every client is.
    all_clients: bool,
    /// The names of the registrations that are.
    names: HashSet<String>,
    /// Whose registrations are: clients by name or SPIFFE ID, and SPIFFE IDs by the beginnings that end in a slash.
    exact: HashSet<String>,
    below: HashSet<String>,
    /// What those begin with.
    above: HashSet<String>,
    /// Where the tokens are presented that are exchanged for such at the resources.
    audiences: HashSet<String>,
    /// Whether some of it may have become needless.
    loose: bool,
}

/// What a change makes needed.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Growth {
    /// Nothing else.
    Nothing,
    /// These registrations too, by name.
    Of(Vec<String>),
    /// More than is worth computing: the edge lists again.
    Unclear,
}

impl Needed {
    pub(super) fn new(grant: DecisionsGrant, snapshot: &Snapshot) -> Self {
        let mut needed = Self {
            all_clients: grant.is_whole(),
            grant,
            names: HashSet::new(),
            exact: HashSet::new(),
            below: HashSet::new(),
            above: HashSet::new(),
            audiences: HashSet::new(),
            loose: false,
        };
        // A transaction may have begun with any client.
        let of_transactions = |resource: &ProtectedResource| resource.txn_token.verifies();
        let granted = |resource: &ProtectedResource| needed.grant.resources.includes(resource.audience());
        let resources = || snapshot.resources.all().map(|registered| &registered.registration);
        needed.all_clients |= resources().any(|resource| granted(resource) && of_transactions(resource));
        if !needed.all_clients {
            needed.find_clients(&snapshot.directory);
        }
        needed
    }

    /// What is needed by the same grant now, and no more.
    pub(super) fn anew(&self, snapshot: &Snapshot) -> Self {
        Self::new(self.grant.clone(), snapshot)
    }

    /// Leaves out what has become needless, for one who lists everything. Others keep what they have of it.
    pub(super) fn tighten(&mut self, snapshot: &Snapshot) {
        if self.loose {
            *self = self.anew(snapshot);
        }
    }

    /// Takes note that the record at a key has changed or is gone.
    pub(super) fn note_change(&mut self, key: &str) {
        let known = |name: &str| self.names.contains(name);
        self.loose |= key.starts_with(RESOURCES) || key.strip_prefix(CLIENTS).is_some_and(known);
    }

    /// Whether every client is needed.
    pub(super) fn has_all_clients(&self) -> bool {
        self.all_clients
    }

    /// The names of the registrations that are needed, where not all are.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.names.iter()
    }

    /// Whether the record at a key is needed, of those that are not clients and of which it can be told by the key.
    pub(super) fn has_key(&self, key: &str) -> bool {
        if let Some(name) = key.strip_prefix(CLIENTS).or_else(|| key.strip_prefix(PUBLISHED)) {
            return self.all_clients || self.names.contains(name);
        }
        if let Some(audience) = key.strip_prefix(RESOURCES).or_else(|| key.strip_prefix(DELETED)) {
            return self.grant.resources.includes(audience);
        }
        // What is not of a trust domain is a trusted issuer's.
        key.strip_prefix(FETCHED_BUNDLES).is_none_or(|name| {
            name.contains(':') || self.grant.trust_domains.is_empty() || self.is_granted_domain(name)
        })
    }

    /// Whether the successions of a SPIFFE ID's certificates are needed.
    pub(super) fn has_identity(&self, spiffe_id: &str) -> bool {
        self.all_clients || self.wants_id(spiffe_id)
    }

    /// Takes note of a client as it is registered now.
    pub(super) fn note(&mut self, registered: &RegisteredClient, snapshot: &Snapshot) -> Growth {
        let client = &registered.registration;
        if self.all_clients {
            return Growth::Nothing;
        }
        if is_unknown(registered) {
            self.names.insert(client.client_id.as_str().to_owned());
            return Growth::Nothing;
        }
        let known = self.names.contains(client.client_id.as_str());
        if !self.is_direct(client) {
            if !self.wants(client) {
                return Growth::Nothing;
            }
            // It takes the place of one that is needed. Only whom it acts for could make others needed.
            self.names.insert(client.client_id.as_str().to_owned());
            return if rules(client).next().is_some() { Growth::Unclear } else { Growth::Nothing };
        }
        let id = match identity(client) {
            Identity::Below(prefix) if self.below.contains(prefix) => None,
            Identity::Below(_) => return Growth::Unclear,
            Identity::Exact(id) => Some(id),
        };
        let says_more = rules(client).any(|rule| !self.wants_subjects(rule))
            || has_foreign_subjects(client)
            || matches!(client.method, TokenEndpointAuthMethod::PublishedTlsClientAuth(_)) && !known;
        let has_successions = id.is_some_and(|id| !known && snapshot.lineages.count_of(id) > 0);
        if says_more || has_successions {
            return Growth::Unclear;
        }
        self.names.insert(client.client_id.as_str().to_owned());
        let Some(id) = id else { return Growth::Nothing };
        self.want_exactly(id);
        // Wider registrations refuse it where they are disabled.
        let wider = snapshot.directory.claiming(id).map(|(_, wider)| wider.registration.client_id.as_str().to_owned());
        let wider: Vec<_> = wider.filter(|name| name != client.client_id.as_str()).collect();
        self.names.extend(wider.iter().cloned());
        if wider.is_empty() { Growth::Nothing } else { Growth::Of(wider) }
    }

    /// Whether a resource as it is now makes every client needed, where that was not so.
    pub(super) fn widens(&self, resource: &ProtectedResource) -> bool {
        !self.all_clients && resource.txn_token.verifies() && self.grant.resources.includes(resource.audience())
    }

    /// Finds the clients that are registered for the resources, whose tokens those exchange, and so on; and what may take the
    /// place of any of them.
    fn find_clients(&mut self, directory: &Directory) {
        let mut found = 0;
        loop {
            for registered in directory.all() {
                let client = &registered.registration;
                let needed = || is_unknown(registered) || self.is_direct(client) || self.wants(client);
                if self.names.contains(client.client_id.as_str()) || !needed() {
                    continue;
                }
                if has_foreign_subjects(client) {
                    self.all_clients = true;
                    return;
                }
                if self.is_direct(client) {
                    self.want(client);
                }
                self.want_subjects(client);
                self.names.insert(client.client_id.as_str().to_owned());
            }
            if self.names.len() == found {
                break;
            }
            found = self.names.len();
        }
    }

    /// Whether the client is registered for one of the resources.
    fn is_direct(&self, client: &ClientRegistration) -> bool {
        let mut audiences = client.terms.audience.iter();
        let granted = audiences.clone().any(|audience| self.grant.resources.includes(audience));
        let of_granted_domain = || self.grant.trust_domains.is_empty() || self.is_of_granted_domain(client);
        granted && of_granted_domain() || audiences.any(|audience| self.audiences.contains(audience))
    }

    fn is_of_granted_domain(&self, client: &ClientRegistration) -> bool {
        let (Identity::Exact(text) | Identity::Below(text)) = identity(client);
        let trust_domain = text.strip_prefix("spiffe://").and_then(|rest| rest.split('/').next());
        trust_domain.is_some_and(|name| self.is_granted_domain(name))
    }

    fn is_granted_domain(&self, name: &str) -> bool {
        self.grant.trust_domains.iter().any(|granted| granted.as_str() == name)
    }

    /// Whether a client may be one that is wanted, or may take the place of one.
    fn wants(&self, client: &ClientRegistration) -> bool {
        match identity(client) {
            Identity::Exact(id) => self.wants_id(id),
            Identity::Below(prefix) => self.wants_below(prefix),
        }
    }

    fn wants_id(&self, id: &str) -> bool {
        self.exact.contains(id) || prefixes(id).any(|prefix| self.below.contains(prefix))
    }

    fn wants_below(&self, prefix: &str) -> bool {
        self.above.contains(prefix) || prefixes(prefix).any(|wider| self.below.contains(wider))
    }

    fn wants_subjects(&self, rule: &ExchangeRule) -> bool {
        self.audiences.contains(&rule.presented_at)
            && rule.subjects.iter().all(|subject| match subject {
                ClientPattern::Exact(client_id) => self.exact.contains(client_id.as_str()),
                ClientPattern::Below(prefix) => self.below.contains(prefix),
            })
    }

    fn want(&mut self, client: &ClientRegistration) {
        match identity(client) {
            Identity::Exact(id) => self.want_exactly(id),
            Identity::Below(prefix) => self.want_below(prefix),
        }
    }

    /// Whose tokens the client exchanges: of which clients, and which are presented where.
    fn want_subjects(&mut self, client: &ClientRegistration) {
        for rule in rules(client) {
            self.audiences.insert(rule.presented_at.clone());
            for subject in &rule.subjects {
                match subject {
                    ClientPattern::Exact(client_id) => self.want_exactly(client_id.as_str()),
                    ClientPattern::Below(prefix) => self.want_below(prefix),
                }
            }
        }
    }

    fn want_exactly(&mut self, id: &str) {
        if parse_spiffe_id(id).is_some() {
            self.above.extend(prefixes(id).map(ToOwned::to_owned));
        }
        self.exact.insert(id.to_owned());
    }

    fn want_below(&mut self, prefix: &str) {
        self.above.extend(prefixes(prefix).map(ToOwned::to_owned));
        self.below.insert(prefix.to_owned());
    }
}

/// What a client is found by.
enum Identity<'a> {
    Exact(&'a str),
    Below(&'a str),
}

fn identity(client: &ClientRegistration) -> Identity<'_> {
    match &client.method {
        TokenEndpointAuthMethod::Spiffe(_, SpiffeClaim::Exact(id)) => Identity::Exact(id),
        TokenEndpointAuthMethod::Spiffe(_, SpiffeClaim::Below(prefix)) => Identity::Below(prefix),
        TokenEndpointAuthMethod::TlsClientAuth(_)
        | TokenEndpointAuthMethod::SelfSignedTlsClientAuth(_)
        | TokenEndpointAuthMethod::PublishedTlsClientAuth(_)
        | TokenEndpointAuthMethod::IssuerJwt(_) => Identity::Exact(client.client_id.as_str()),
    }
}

fn rules(client: &ClientRegistration) -> impl Iterator<Item = &ExchangeRule> {
    client.terms.exchange.iter().flat_map(|terms| &terms.rules)
}

/// Whether what it is registered for cannot be read. It denies whatever it names.
fn is_unknown(registered: &RegisteredClient) -> bool {
    registered.suspended.is_some()
}

/// Whether it exchanges tokens of another issuer, whose subjects may have any name.
fn has_foreign_subjects(client: &ClientRegistration) -> bool {
    client.terms.exchange.iter().any(|terms| terms.uses_grants || terms.rules.iter().any(|rule| rule.foreign.is_some()))
}

#[cfg(test)]
mod tests;
