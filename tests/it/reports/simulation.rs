//! What a simulation says and what the switch then does are the same, for requests and changes that are generated.

use std::collections::BTreeMap;

use lanyard::authority::decision::TokenRequest;
use lanyard::authority::observe::Outcome;
use lanyard::authority::observe::Simulation;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::resources::EvidenceSource;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::resources::RouteMetadata;

use super::Request;
use super::asked;
use super::resource;
use super::route;
use crate::support::NOW;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::CHECKOUT;
use crate::support::authority::ORDERS;
use crate::support::authority::PROXY;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::authority::spiffe_client;
use crate::support::check::hex;
use crate::support::check::url_encoded;
use crate::support::leaf::Leaf;

/// How many resources are made and replaced: a client has no more audiences.
const CASES: usize = 120;

/// Its tokens follow every renewal of its certificate.
const MOVES: &str = "spiffe://prod.example/ns/shop/sa/moves";

/// A workload of another trust domain.
const FOREIGN: &str = "spiffe://staging.example/ns/shop/sa/foreign";

/// Repeatable throws (Marsaglia's xorshift64).
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(sides).unwrap()).unwrap()
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.throw(of.len())].clone()
    }
}

fn some_resource(dice: &mut Dice, audience: &str) -> ResourceMetadata {
    let routes: [RouteMetadata; 6] = [
        route(&["GET"], "/orders/{id}", Some("orders.read")),
        route(&["GET"], "/orders/{id}", Some("orders.write")),
        route(&["GET", "POST"], "/orders/**", Some("")),
        route(&[], "/**", Some("orders.read")),
        route(&[], "/**", None),
        route(&["GET"], "/orders/1", Some("orders.admin")),
    ];
    let mut chosen: Vec<RouteMetadata> = Vec::new();
    for _ in 0..=dice.throw(3) {
        let one = dice.one(&routes);
        if chosen.iter().all(|known| known.path != one.path) {
            chosen.push(one);
        }
    }
    ResourceMetadata {
        audience: audience.to_owned(),
        scope: "orders.read orders.write orders.admin".to_owned(),
        routes: chosen,
        least_evidence: dice
            .one(&[None, Some("spiffe_id"), Some("thumbprint"), Some("certificate")])
            .map(str::to_owned),
        trust_domains: dice.one(&[vec![], vec![], vec!["prod.example".to_owned()]]),
        evidence_from: (dice.throw(8) == 0).then(|| EvidenceSource { header: true, ..EvidenceSource::default() }),
        mode: Some(dice.one(&["enforce", "report"]).to_owned()),
        ..ResourceMetadata::default()
    }
}

/// A workload with certificates and tokens.
struct Workload {
    leaf: Leaf,
    renewed: Leaf,
    tokens: Vec<String>,
}

fn workload(fixture: &TestAuthority, id: &str, issue: impl Fn() -> Leaf) -> Workload {
    let audience = (0..CASES).map(audience).collect();
    let rotation = (id == MOVES).then(|| "identity".to_owned());
    fixture.register(ClientMetadata { audience, rotation, ..spiffe_client(id) });
    let leaf = issue();
    let caller = fixture.authority.as_caller(&fixture.peer(&leaf));
    let token = |scope: &str| {
        let request = TokenRequest { scope: scope.to_owned(), ..TokenRequest::default() };
        ready(fixture.authority.issue_token(&caller, &request)).unwrap().access_token
    };
    let tokens = ["orders.read", "orders.write", "orders.read orders.write"].map(token).into();
    Workload { leaf, renewed: issue(), tokens }
}

fn audience(number: usize) -> String {
    format!("urn:case:{number}")
}

fn some_request(dice: &mut Dice, audience: &str, workloads: &[Workload]) -> Request {
    let workload = &workloads[dice.throw(workloads.len())];
    let path = dice.one(&["/orders/1", "/orders/2?key=secret", "/orders/2/items", "/healthz", "/orders//1"]);
    let method = dice.one(&["GET", "POST"]);
    let leaf = if dice.throw(4) == 0 { &workload.renewed } else { &workload.leaf };
    let id = lanyard::authority::identity::Certificate::parse(leaf.certificate()).unwrap().names().uri[0].clone();
    let mut request = Request::of(audience, &id, method, path);
    match dice.throw(4) {
        0 => {}
        1 => request = request.header("x-forwarded-client-cert", &format!("By={PROXY};Hash={};URI={id}", hex(leaf))),
        2 => request.certificate = url_encoded(leaf),
        _ => {
            request.certificate = url_encoded(leaf);
            request.principal = "spiffe://prod.example/ns/shop/sa/thief".to_owned();
        }
    }
    match dice.throw(8) {
        0 => request,
        1 => request.header("authorization", "Bearer a b"),
        2 => request.header("authorization", "Bearer none.of.ours"),
        _ => {
            let token = dice.one(&workload.tokens);
            request.header("authorization", &format!("Bearer {token}"))
        }
    }
}

fn told(outcome: Outcome) -> (&'static str, &'static str) {
    (outcome.name(), outcome.reason())
}

#[test]
fn a_simulation_and_the_switch_agree_on_each_request_that_can_be_replayed() {
    let mut came = BTreeMap::<(&str, &str), usize>::new();
    let mut could_not = BTreeMap::<&str, usize>::new();
    for seed in 1..=4 {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let fixture = TestAuthority::new();
        let workloads = [
            workload(&fixture, CHECKOUT, || fixture.prod.svid(CHECKOUT).issue()),
            workload(&fixture, MOVES, || fixture.prod.svid(MOVES).issue()),
            workload(&fixture, FOREIGN, || fixture.staging.svid(FOREIGN).issue()),
        ];
        let admin = fixture.svid(ADMIN);
        for number in 0..CASES {
            let audience = audience(number);
            let (before, after) = (some_resource(&mut dice, &audience), some_resource(&mut dice, &audience));
            let request = some_request(&mut dice, &audience, &workloads);
            fixture.protect(before.clone());
            let first = asked(&fixture, &request);
            let simulated = fixture.authority.simulate_resource(&fixture.authority.as_caller(&admin), after.clone());
            let Simulation { changes, unchanged, not_replayed, .. } = simulated.unwrap();
            // Nothing of it is stored.
            assert_eq!(fixture.authority.resource(&audience).unwrap().registration.metadata.routes, before.routes);
            let from = fixture.authority.resource(&audience).unwrap().revision;
            ready(fixture.authority.update_resource(&admin, after.clone(), from, false)).unwrap();
            let then = asked(&fixture, &request);

            let context = format!("seed {seed}, {request:?}\n{before:?}\n{after:?}\n{first:?} then {then:?}");
            let replayed: Vec<_> = not_replayed.iter().map(|(why, count)| (why.code(), *count)).collect();
            match (&changes[..], unchanged, &replayed[..]) {
                ([change], 0, []) => {
                    assert_eq!((told(change.before), told(change.after)), (first, then), "{context}");
                    assert_ne!(first, then, "{context}");
                    assert_eq!((change.count, change.changed_samples, change.samples), (1, 1, 1), "{context}");
                    assert_eq!(change.fix.is_empty(), then.0 == "allowed", "{context}");
                    assert!(!change.sample.request.to_string().contains("secret"), "{context}");
                    *came.entry((first.0, then.0)).or_default() += 1;
                }
                ([], 1, []) => {
                    assert_eq!(first, then, "{context}");
                    *came.entry((first.0, "the same")).or_default() += 1;
                }
                ([], 0, [("TOKEN_NOT_SEEN", 1)]) => {
                    // What settled the first request was no token, and the second needs one.
                    assert!(first.1 == "ROUTE_UNKNOWN" || first == ("allowed", ""), "{context}");
                    let public = before.routes.iter().any(|route| route.public);
                    assert!(first.1 == "ROUTE_UNKNOWN" || public, "{context}");
                    *could_not.entry("TOKEN_NOT_SEEN").or_default() += 1;
                }
                ([], 0, [("OTHER_EVIDENCE", 1)]) => {
                    assert_ne!(before.evidence_from, after.evidence_from, "{context}");
                    *could_not.entry("OTHER_EVIDENCE").or_default() += 1;
                }
                other => panic!("{other:?}: {context}"),
            }
        }
    }
    // None is empty: requests go from each outcome to each other, and stay in each.
    for from in ["allowed", "let_through", "denied"] {
        for to in ["allowed", "let_through", "denied", "the same"] {
            let count = came.get(&(from, to)).copied().unwrap_or_default();
            // Two denials differ where only the reason does, and an allowance has none.
            assert!(count > 0 || (from, to) == ("allowed", "allowed"), "{from} to {to}: {came:?}");
        }
    }
    assert!(could_not.len() == 2, "{could_not:?}");
    let (replayed, not) = (came.values().sum::<usize>(), could_not.values().sum::<usize>());
    assert!(replayed > 2 * not, "{came:?} {could_not:?}");
}

#[test]
fn what_changed_since_and_what_is_not_told_apart_is_said_to_be_not_replayed() {
    let fixture = TestAuthority::new();
    fixture.register(spiffe_client(CHECKOUT));
    fixture.protect(resource(ORDERS, "enforce"));
    let leaf = fixture.prod.svid(CHECKOUT).issue();
    let token = fixture.token(&fixture.peer(&leaf));
    let mut request = Request::of(ORDERS, CHECKOUT, "GET", "/orders/1");
    request.certificate = url_encoded(&leaf);
    let request = request.header("authorization", &format!("Bearer {token}"));
    assert_eq!(asked(&fixture, &request), ("allowed", ""));
    let long = Request { path: format!("/orders/{}", "x".repeat(300)), ..request.clone() };
    assert_eq!(asked(&fixture, &Request { headers: Vec::new(), ..long }), ("denied", "TOKEN_MISSING"));
    let admin = fixture.svid(ADMIN);
    let simulate = |metadata: ResourceMetadata| {
        let caller = fixture.authority.as_caller(&admin);
        let found = fixture.authority.simulate_resource(&caller, metadata).unwrap();
        let not: Vec<_> = found.not_replayed.iter().map(|(why, count)| (why.code(), *count)).collect();
        (found.changes.iter().map(|one| told(one.after)).collect::<Vec<_>>(), found.unchanged, not, found.unknown.len())
    };
    // The path of one is too long to be kept.
    let missing = ("SAMPLE_MISSING", 1);
    assert_eq!(simulate(resource(ORDERS, "enforce")), (vec![], 1, vec![missing], 0));
    // The tokens are still decided on at the time of their use.
    fixture.clock.advance(std::time::Duration::from_hours(2));
    let tighter = ResourceMetadata {
        routes: vec![route(&["GET"], "/orders/{id}", Some("orders.read orders.write"))],
        authorities: vec!["orders.example".to_owned()],
        ..resource(ORDERS, "enforce")
    };
    assert_eq!(simulate(tighter.clone()), (vec![], 1, vec![missing], 1));
    let foreign = ResourceMetadata { trust_domains: vec!["staging.example".to_owned()], ..resource(ORDERS, "report") };
    assert_eq!(simulate(foreign.clone()), (vec![("let_through", "TRUST_DOMAIN_NOT_ACCEPTED")], 0, vec![missing], 0));
    // Without its client the request would be denied anyhow.
    fixture.clock.set(NOW);
    fixture.delete(CHECKOUT);
    assert_eq!(simulate(tighter), (vec![], 0, vec![missing, ("OTHERWISE_ALREADY", 1)], 1));
}
