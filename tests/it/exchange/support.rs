//! Workloads that act for each other: a frontend calls the checkout, which calls the orders, which call the stock.

use std::collections::BTreeMap;

use lanyard::authority::Authority;
use lanyard::authority::decision::ExchangeRefusal;
use lanyard::authority::decision::ExchangeRequest;
use lanyard::authority::identity::PeerIdentity;
use lanyard::authority::observe::Samples;
use lanyard::authority::policy::Policy;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::ExchangeRuleMetadata;
use lanyard::authority::registration::ScopeGrantMetadata;
use lanyard::authority::registration::TOKEN_EXCHANGE;
use lanyard::authority::resources::DelegatedMetadata;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::tokens::IssuedToken;
use serde_json::Map;
use serde_json::Value;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::authority::spiffe_client;
use crate::support::keys::TestKeys;
use crate::support::leaf::Leaf;
use crate::support::mint::part;
use crate::support::unreferenced::Unreferenced as _;

/// The names of the workloads, in the order in which they call each other. Each serves the resource of its name.
pub const CHAIN: [&str; 4] = ["frontend", "checkout", "orders", "stock"];

/// The client of a name.
pub fn id(name: &str) -> String {
    format!("spiffe://prod.example/ns/shop/sa/{name}")
}

/// The resource of a name.
pub fn at(name: &str) -> String {
    format!("https://{name}.shop.internal")
}

/// A rule: tokens of these subjects that were presented at the resource of one name, for that of another.
pub fn rule(subject: &str, presented_at: &str, audience: &str) -> ExchangeRuleMetadata {
    let grant = |scope: &str| ScopeGrantMetadata {
        needs: format!("{presented_at}.{scope}"),
        gives: format!("{audience}.{scope}"),
    };
    ExchangeRuleMetadata {
        subjects: vec![subject.to_owned()],
        presented_at: at(presented_at),
        audience: at(audience),
        grants: vec![grant("read"), grant("write")],
        presentation: Some("none".to_owned()),
        ..ExchangeRuleMetadata::default()
    }
}

/// A client that may call the resource of a name, and exchange by these rules.
pub fn client(name: &str, calls: &str, rules: Vec<ExchangeRuleMetadata>) -> ClientMetadata {
    let exchange = (!rules.is_empty()).then_some(TOKEN_EXCHANGE);
    ClientMetadata {
        audience: vec![at(calls)],
        scope: format!("{calls}.read {calls}.write"),
        grant_types: ["client_credentials"].into_iter().chain(exchange).map(ToOwned::to_owned).collect(),
        exchange: rules,
        ..spiffe_client(&id(name))
    }
}

/// A resource that takes delegated tokens of everybody in the trust domain.
pub fn resource(name: &str) -> ResourceMetadata {
    let delegated =
        DelegatedMetadata { actors: vec!["spiffe://prod.example/*".to_owned()], max_actors: Some(8), mode: None };
    ResourceMetadata {
        audience: at(name),
        scope: format!("{name}.read {name}.write"),
        delegated: Some(delegated),
        ..ResourceMetadata::default()
    }
}

/// An authority that exchanges tokens, with a certificate of each workload.
pub struct Shop {
    pub fixture: TestAuthority,
    leaves: BTreeMap<String, Leaf>,
}

impl Shop {
    /// With the whole chain registered.
    pub fn new() -> Self {
        Self::with(|_| {}, TestAuthority::keys())
    }

    pub fn with(change: impl FnOnce(&mut Policy), keys: TestKeys) -> Self {
        let mut shop = Self::empty(change, keys);
        for name in CHAIN {
            shop.protect(resource(name));
        }
        for (at, name) in CHAIN.iter().enumerate() {
            let Some(calls) = CHAIN.get(at + 1) else { continue };
            let rules = if at == 0 { Vec::new() } else { vec![rule("spiffe://prod.example/*", name, calls)] };
            shop.register(client(name, calls, rules));
        }
        shop
    }

    /// Without registrations.
    pub fn empty(change: impl FnOnce(&mut Policy), keys: TestKeys) -> Self {
        let enabled = |policy: &mut Policy| {
            policy.exchange.enabled = true;
            change(policy);
        };
        let fixture = TestAuthority::with(enabled, keys);
        let admin = fixture.authority.as_caller(&fixture.svid(ADMIN));
        ready(fixture.authority.enable_feature(&admin, "exchange")).unwrap();
        Self { fixture, leaves: BTreeMap::new() }
    }

    pub fn register(&mut self, metadata: ClientMetadata) {
        let leaf = self.fixture.prod.svid(&metadata.client_id).issue();
        self.register_with(metadata, leaf);
    }

    /// Registers a client that has this certificate.
    pub fn register_with(&mut self, metadata: ClientMetadata, leaf: Leaf) {
        let name = metadata.client_id.rsplit('/').next().unwrap().to_owned();
        self.fixture.register(metadata);
        self.leaves.insert(name, leaf);
    }

    pub fn protect(&self, metadata: ResourceMetadata) {
        ready(self.fixture.authority.create_resource(&self.fixture.svid(ADMIN), metadata, false)).unwrap();
    }

    /// Replaces a resource.
    pub fn change(&self, metadata: ResourceMetadata) {
        let authority = &self.fixture.authority;
        let from = authority.resource(&metadata.audience).unwrap().revision;
        ready(authority.update_resource(&self.fixture.svid(ADMIN), metadata, from, false)).unwrap();
    }

    /// The certificate of a workload.
    pub fn leaf(&self, name: &str) -> &Leaf {
        &self.leaves[name]
    }

    pub fn peer(&self, name: &str) -> PeerIdentity {
        self.fixture.peer(self.leaf(name))
    }

    /// A token of the workload's own.
    pub fn token(&self, name: &str) -> String {
        self.fixture.token(&self.peer(name))
    }

    /// What a workload gets for a token, at the resource of a name.
    pub fn exchange(&self, name: &str, access_token: &str, target: &str) -> Result<IssuedToken, ExchangeRefusal> {
        let request = ExchangeRequest {
            access_token: Some(access_token.to_owned()),
            audience: vec![at(target)],
            ..ExchangeRequest::default()
        };
        self.ask(&self.peer(name), &request)
    }

    pub fn ask(&self, peer: &PeerIdentity, request: &ExchangeRequest) -> Result<IssuedToken, ExchangeRefusal> {
        let authority = &self.fixture.authority;
        ready(authority.exchange_token(&authority.as_caller(peer), request)).unreferenced()
    }

    /// The exact reason for which an exchange is refused, by the metrics; empty where it is not.
    pub fn reason(&self, peer: &PeerIdentity, request: &ExchangeRequest) -> String {
        self.reason_of(|| drop(self.ask(peer, request)))
    }

    /// The exact reason for which what is asked for is refused.
    pub fn reason_of(&self, ask: impl FnOnce()) -> String {
        let before = self.refused();
        ask();
        let after = self.refused();
        let grown = after.iter().find(|(reason, count)| before[*reason] < **count);
        grown.map(|(reason, _)| reason.clone()).unwrap_or_default()
    }

    /// The same for a workload and a token.
    pub fn why_not(&self, name: &str, access_token: &str, target: &str) -> String {
        let request = ExchangeRequest {
            access_token: Some(access_token.to_owned()),
            audience: vec![at(target)],
            ..ExchangeRequest::default()
        };
        self.reason(&self.peer(name), &request)
    }

    fn refused(&self) -> BTreeMap<String, u64> {
        refused_exchanges(&self.fixture.authority)
    }

    /// The tokens of the chain: each but the first is exchanged for the one before it.
    pub fn tokens(&self) -> Vec<String> {
        let mut tokens = vec![self.token(CHAIN[0])];
        for pair in CHAIN[1..].windows(2) {
            let last = tokens.last().unwrap().clone();
            tokens.push(self.exchange(pair[0], &last, pair[1]).unwrap().access_token);
        }
        tokens
    }
}

/// How many exchanges were refused, by their exact reasons.
pub fn refused_exchanges(authority: &Authority) -> BTreeMap<String, u64> {
    let families = authority.metric_families();
    let family = families.iter().find(|family| family.name == "lanyard_exchanges").unwrap();
    let Samples::Counters(samples) = &family.samples else { panic!("no counter") };
    let refused = samples.iter().filter(|sample| sample.labels.iter().any(|(_, value)| value == "refused"));
    let reason = |labels: &[(&'static str, std::borrow::Cow<'static, str>)]| {
        labels.iter().find(|(name, _)| *name == "reason").map(|(_, value)| value.to_string()).unwrap_or_default()
    };
    let mut counts = BTreeMap::new();
    for sample in refused {
        // Whatever was asked for.
        *counts.entry(reason(&sample.labels)).or_default() += sample.value;
    }
    counts
}

/// The claims of a token.
pub fn claims(token: &str) -> Map<String, Value> {
    part(token, 1)
}
