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
    pub(super) fn note(&mut self, client: &ClientRegistration, snapshot: &Snapshot) -> Growth {
        if self.all_clients {
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
            for client in directory.all().map(|client| &client.registration) {
                if self.names.contains(client.client_id.as_str()) || !(self.is_direct(client) || self.wants(client)) {
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

/// Whether it exchanges tokens of another issuer, whose subjects may have any name.
fn has_foreign_subjects(client: &ClientRegistration) -> bool {
    client.terms.exchange.iter().any(|terms| terms.uses_grants || terms.rules.iter().any(|rule| rule.foreign.is_some()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::authority::access::Fronted;
    use crate::authority::clock::Timestamp;
    use crate::authority::records::Registration as _;
    use crate::authority::registration::ClientId;
    use crate::authority::registration::ClientMetadata;
    use crate::authority::registration::ClientRecord;
    use crate::authority::registration::ClientStatus;
    use crate::authority::registration::ExchangeRuleMetadata;
    use crate::authority::registration::RegisteredClient;
    use crate::authority::registration::ScopeGrantMetadata;
    use crate::authority::state::Entry;
    use crate::authority::store::Revision;

    const ORDERS: &str = "https://orders.example";
    const WEB: &str = "https://web.example";
    const IDS: [&str; 9] = [
        "spiffe://a/n/x",
        "spiffe://a/n/y",
        "spiffe://a/n/s/x",
        "spiffe://a/m/x",
        "spiffe://a/m/s/t/x",
        "spiffe://a/*",
        "spiffe://a/n/*",
        "spiffe://a/n/s/*",
        "spiffe://a/m/s/*",
    ];

    /// A change of a registration: its name, what it claims, for which audience, whether it is disabled, and whose tokens it
    /// exchanges; or its deletion.
    type Step = (&'static str, Option<(&'static str, &'static str, bool, Option<&'static str>)>);

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let names = select(vec!["one", "two", "three", "four", "five", "six"]);
        let audiences = select(vec![ORDERS, ORDERS, WEB, "https://other.example"]);
        let exchanged = proptest::option::weighted(0.2, select(IDS.to_vec()));
        let registered = (select(IDS.to_vec()), audiences, proptest::bool::weighted(0.2), exchanged);
        vec((names, proptest::option::weighted(0.85, registered)), 1..40)
    }

    fn registered(step: &Step, revision: u64) -> Option<RegisteredClient> {
        let (name, Some((spiffe_id, audience, disabled, exchanged))) = step else { return None };
        let rule = exchanged.map(|subjects| ExchangeRuleMetadata {
            subjects: vec![subjects.to_owned()],
            presented_at: WEB.to_owned(),
            audience: (*audience).to_owned(),
            grants: vec![ScopeGrantMetadata { needs: "a".to_owned(), gives: "a".to_owned() }],
            ..ExchangeRuleMetadata::default()
        });
        let exchange = rule.is_some().then_some("urn:ietf:params:oauth:grant-type:token-exchange");
        let metadata = ClientMetadata {
            client_id: (*name).to_owned(),
            token_endpoint_auth_method: "spiffe_x509".to_owned(),
            spiffe_id: Some((*spiffe_id).to_owned()),
            scope: "a".to_owned(),
            audience: vec![(*audience).to_owned()],
            grant_types: ["client_credentials"].into_iter().chain(exchange).map(ToOwned::to_owned).collect(),
            exchange: rule.into_iter().collect(),
            disabled: *disabled,
            ..ClientMetadata::default()
        };
        let record = ClientRecord::new(format!("{revision}").into(), Timestamp(0), "");
        Some(RegisteredClient::new(ClientRegistration::parse(metadata).ok()?, record, Revision(revision)))
    }

    /// The clients that an edge holds, and what it lists and is told.
    struct Mirror {
        needed: Needed,
        held: BTreeMap<String, RegisteredClient>,
    }

    impl Mirror {
        fn new(snapshot: &Snapshot) -> Self {
            let resources = Fronted::Audiences(vec![ORDERS.to_owned()].into());
            let needed = Needed::new(DecisionsGrant { resources, trust_domains: Vec::new().into() }, snapshot);
            let mut mirror = Self { needed, held: BTreeMap::new() };
            mirror.list(snapshot);
            mirror
        }

        fn list(&mut self, snapshot: &Snapshot) {
            let named = |name: &String| Some((name.clone(), RegisteredClient::clone(snapshot.directory.named(name)?)));
            self.held = self.needed.names().filter_map(named).collect();
        }

        fn follow(&mut self, (name, _): &Step, changed: Option<&RegisteredClient>, snapshot: &Snapshot) {
            self.needed.note_change(&format!("{CLIENTS}{name}"));
            let growth = changed.map_or(Growth::Nothing, |client| self.needed.note(&client.registration, snapshot));
            match growth {
                Growth::Unclear => {
                    self.needed = self.needed.anew(snapshot);
                    return self.list(snapshot);
                }
                Growth::Of(names) => {
                    let more = names.iter().filter_map(|name| snapshot.directory.named(name));
                    let more: Vec<_> = more.map(|client| RegisteredClient::clone(client)).collect();
                    self.held
                        .extend(more.into_iter().map(|client| (client.registration.client_id.to_string(), client)));
                }
                Growth::Nothing => {}
            }
            if self.needed.has_key(&format!("{CLIENTS}{name}")) {
                match changed {
                    Some(client) => drop(self.held.insert((*name).to_owned(), client.clone())),
                    None => drop(self.held.remove(*name)),
                }
            }
        }

        fn directory(&self) -> Directory {
            let mut directory = Directory::default();
            for client in self.held.values() {
                directory.insert(client.clone());
            }
            directory
        }
    }

    /// What a decision sees of the holder of a token.
    fn seen(directory: &Directory, id: &ClientId) -> String {
        match directory.status(id) {
            ClientStatus::Registered(client) => {
                format!("{} {}", client.registration.client_id, client.record.creation_id)
            }
            other => other.to_string(),
        }
    }

    proptest! {
        #[test]
        fn of_each_client_of_the_resource_and_each_that_it_acts_for_an_edge_sees_what_the_centre_sees(
            steps in steps(),
            lists_at in 0..40_usize,
        ) {
            let mut snapshot = Snapshot::default();
            let mut mirror = Mirror::new(&snapshot);
            for (at, step) in steps.iter().enumerate() {
                let revision = at as u64 + 1;
                let changed = registered(step, revision);
                if step.1.is_some() && changed.is_none() {
                    continue;
                }
                let entry = changed.clone().map(|client| Entry::Client(Box::new(client)));
                snapshot.apply(&format!("{CLIENTS}{}", step.0), entry, Revision(revision));
                snapshot.advance_to(Revision(revision));
                mirror.follow(step, changed.as_ref(), &snapshot);
                if at == lists_at {
                    mirror.needed.tighten(&snapshot);
                    mirror.list(&snapshot);
                }
                let (whole, held) = (&snapshot.directory, mirror.directory());
                // Whoever may hold a token for the resource, or one that is exchanged for such.
                let exact = IDS.iter().filter(|id| !id.ends_with('*')).map(|id| ClientId::parse(id).unwrap());
                for id in exact {
                    let ClientStatus::Registered(client) = whole.status(&id) else { continue };
                    let exchanges = |one: &ClientRegistration| {
                        rules(one).any(|rule| rule.subjects.iter().any(|subject| subject.matches(&id)))
                    };
                    let direct = |one: &ClientRegistration| one.terms.audience.iter().any(|at| at == ORDERS);
                    let acted_for = whole.all().any(|one| direct(&one.registration) && exchanges(&one.registration));
                    if direct(&client.registration) || acted_for {
                        prop_assert_eq!(seen(&held, &id), seen(whole, &id), "{} after {:?}", id, &steps[..=at]);
                    }
                }
                // And it takes nobody for a client of the resource who is none.
                for id in IDS.iter().filter(|id| !id.ends_with('*')).map(|id| ClientId::parse(id).unwrap()) {
                    if let ClientStatus::Registered(client) = held.status(&id)
                        && client.registration.terms.audience.iter().any(|at| at == ORDERS)
                    {
                        prop_assert_eq!(seen(&held, &id), seen(whole, &id), "{} after {:?}", id, &steps[..=at]);
                    }
                }
            }
        }
    }
}
