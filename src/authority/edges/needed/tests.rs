//! A narrowed copy, fed by listings and changes, beside the whole.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::authority::access::Fronted;
use crate::authority::clock::Timestamp;
use crate::authority::registration::ClientId;
use crate::authority::registration::ClientMetadata;
use crate::authority::registration::ClientRecord;
use crate::authority::registration::ClientStatus;
use crate::authority::registration::ExchangeRuleMetadata;
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
        let growth = changed.map_or(Growth::Nothing, |client| self.needed.note(client, snapshot));
        match growth {
            Growth::Unclear => {
                self.needed = self.needed.anew(snapshot);
                return self.list(snapshot);
            }
            Growth::Of(names) => {
                let more = names.iter().filter_map(|name| snapshot.directory.named(name));
                let more: Vec<_> = more.map(|client| RegisteredClient::clone(client)).collect();
                self.held.extend(more.into_iter().map(|client| (client.registration.client_id.to_string(), client)));
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
        other
        @ (ClientStatus::Unknown | ClientStatus::Ambiguous | ClientStatus::Suspended | ClientStatus::Disabled) => {
            other.to_string()
        }
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
