//! Random chains of exchanges: what holds of each token in them, and that what ends one ends what came from it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use lanyard::authority::access::Requester;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::decision::Decision;
use lanyard::authority::decision::LastAdmin;
use lanyard::authority::decision::PresentedEvidence;
use lanyard::authority::decision::RevokeRequest;
use lanyard::authority::decision::TokenRequest;
use lanyard::authority::decision::ValidateRequest;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::evidence::Evidence;
use lanyard::authority::registration::ClientId;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::ExchangeRuleMetadata;
use serde_json::Value;

use crate::exchange::support::Shop;
use crate::exchange::support::at;
use crate::exchange::support::claims;
use crate::exchange::support::client;
use crate::exchange::support::id;
use crate::exchange::support::resource;
use crate::exchange::support::rule;
use crate::support::NOW;
use crate::support::Xorshift;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;

const SERVICES: usize = 7;

fn name(number: usize) -> String {
    format!("service{number}")
}

/// A token, what it was exchanged for, and where it is good.
struct Issued {
    token: String,
    parent: Option<usize>,
    holder: usize,
    at: usize,
}

/// The rule of each service for each other one.
type Rules = BTreeMap<(usize, usize), ExchangeRuleMetadata>;

/// Services that may all exchange for each other, as their rules say.
fn mesh(random: &mut Xorshift) -> (Shop, Rules) {
    let mut registered = Rules::new();
    let mut shop = Shop::empty(|_| {}, TestAuthority::keys());
    (0..SERVICES).for_each(|number| shop.protect(resource(&name(number))));
    for number in 0..SERVICES {
        let mut rules = Vec::new();
        for target in (0..SERVICES).filter(|target| *target != number) {
            let mut one = rule("spiffe://prod.example/*", &name(number), &name(target));
            one.grants.truncate(1 + random.below(2));
            one.ttl = Some(Duration::from_secs(30 + u64::try_from(random.below(270)).unwrap()));
            one.max_actors = Some(1 + u32::try_from(random.below(6)).unwrap());
            registered.insert((number, target), one.clone());
            rules.push(one);
        }
        let all = (0..SERVICES).map(|target| at(&name(target))).collect();
        let scope =
            (0..SERVICES).map(|target| format!("{0}.read {0}.write", name(target))).collect::<Vec<_>>().join(" ");
        shop.register(ClientMetadata { audience: all, scope, ..client(&name(number), &name(0), rules) });
    }
    (shop, registered)
}

/// A token of a service for one other.
fn root(shop: &Shop, holder: usize, target: usize) -> String {
    let request = TokenRequest { audience: vec![at(&name(target))], ..TokenRequest::default() };
    let caller = shop.fixture.authority.as_caller(&shop.peer(&name(holder)));
    ready(shop.fixture.authority.issue_token(&caller, &request)).unwrap().access_token
}

/// Some trees of exchanges, the time going on.
fn grow(shop: &Shop, random: &mut Xorshift) -> Vec<Issued> {
    let (mut all, mut now): (Vec<Issued>, _) = (Vec::new(), NOW);
    while all.len() < 40 {
        now = Timestamp(now.0 + u64::try_from(random.below(4)).unwrap());
        shop.fixture.clock.set(now);
        if all.is_empty() || random.below(6) == 0 {
            let (holder, at) = (random.below(SERVICES), random.below(SERVICES));
            if holder != at {
                all.push(Issued { token: root(shop, holder, at), parent: None, holder, at });
            }
            continue;
        }
        let parent = random.below(all.len());
        let (holder, target) = (all[parent].at, random.below(SERVICES));
        let exchanged = shop.exchange(&name(holder), &all[parent].token, &name(target));
        if let Ok(issued) = exchanged {
            all.push(Issued { token: issued.access_token, parent: Some(parent), holder, at: target });
        }
    }
    all
}

fn actors(said: &Value) -> Vec<String> {
    let mut actors = Vec::new();
    let mut act = said;
    while let Some(sub) = act["sub"].as_str() {
        actors.push(sub.to_owned());
        act = &act["act"];
    }
    actors
}

fn decide(shop: &Shop, issued: &Issued) -> Decision {
    let authority = &shop.fixture.authority;
    let audience = at(&name(issued.at));
    let request = ValidateRequest {
        access_token: &issued.token,
        evidence: PresentedEvidence::Of(Some(
            Evidence::from_der(shop.leaf(&name(issued.holder)).certificate()).unwrap(),
        )),
        audience: Some(&audience),
        scope: "",
        receipt: false,
    };
    authority.validate_binding(&authority.as_asker(shop.fixture.proxy()), request).unwrap().decision
}

#[test]
fn each_token_of_random_chains_keeps_what_a_delegated_token_promises() {
    let mut random = Xorshift::new(0x5eed_0001);
    let mut longest = 0;
    for _ in 0..12 {
        let (shop, rules) = mesh(&mut random);
        let all = grow(&shop, &mut random);
        for issued in &all {
            let said = claims(&issued.token);
            let chain = actors(&said.get("act").cloned().unwrap_or_default());
            let from = said.get("lanyard_from").and_then(Value::as_array).cloned().unwrap_or_default();
            assert_eq!(chain.len(), from.len());
            longest = longest.max(chain.len());
            let Some(parent) = issued.parent.map(|parent| &all[parent]) else {
                assert_eq!((said["sub"].clone(), chain.len()), (said["client_id"].clone(), 0));
                continue;
            };
            let before = claims(&parent.token);
            assert_eq!(said["client_id"], chain[0].as_str());
            assert_eq!(said["client_id"], id(&name(issued.holder)));
            assert_eq!(said["sub"], before["sub"]);
            assert!(said["exp"].as_u64() <= before["exp"].as_u64());
            assert_eq!(actors(&before.get("act").cloned().unwrap_or_default()), chain[1..]);
            assert_eq!(from.last().unwrap()["jti"], before["jti"]);
            assert_eq!(chain.iter().collect::<BTreeSet<_>>().len(), chain.len());
            // No more than the rule gives for what was presented, to so many actors, for so long.
            let rule = &rules[&(issued.holder, issued.at)];
            assert!(chain.len() <= usize::try_from(rule.max_actors.unwrap()).unwrap());
            let until = said["iat"].as_u64().unwrap() + rule.ttl.unwrap().as_secs();
            assert!(said["exp"].as_u64().unwrap() <= until);
            let scopes = |claims: &serde_json::Map<String, Value>| -> BTreeSet<String> {
                let scope = claims.get("scope").and_then(Value::as_str).unwrap_or_default();
                scope.split_whitespace().map(ToOwned::to_owned).collect()
            };
            let presented = scopes(&before);
            let given = rule.grants.iter().filter(|grant| presented.contains(&grant.needs));
            assert!(scopes(&said).is_subset(&given.map(|grant| grant.gives.clone()).collect()), "{said:?}");
            // The rule gives for each scope the one of the same word.
            let words = |claims: &serde_json::Map<String, Value>| -> BTreeSet<String> {
                let scope = claims.get("scope").and_then(Value::as_str).unwrap_or_default();
                scope.split(' ').map(|one| one.rsplit('.').next().unwrap().to_owned()).collect()
            };
            assert!(words(&said).is_subset(&words(&before)), "{said:?} of {before:?}");
        }
    }
    assert!(longest > 3, "{longest}");
}

#[test]
fn of_random_chains_a_revoked_token_ends_exactly_its_descendants() {
    let mut random = Xorshift::new(0x5eed_0002);
    for _ in 0..8 {
        let (shop, _) = mesh(&mut random);
        let all = grow(&shop, &mut random);
        let allowed = |issued: &Issued| matches!(decide(&shop, issued), Decision::Allow(_));
        let before: Vec<bool> = all.iter().map(allowed).collect();
        let revoked = random.below(all.len());
        let jti = claims(&all[revoked].token)["jti"].as_str().unwrap().to_owned();
        let authority = &shop.fixture.authority;
        let admin = authority.as_caller(&shop.fixture.svid(ADMIN));
        let requester = Requester { client_id: None, roles: admin.roles.clone(), sender: admin.sender() };
        let target = RevokeRequest::TokenId(jti);
        ready(authority.revoke(&admin, &requester, target, LastAdmin::Stays)).unwrap();
        for (place, issued) in all.iter().enumerate() {
            let mut ancestors = std::iter::successors(issued.parent, |parent| all[*parent].parent);
            let descends = ancestors.any(|ancestor| ancestor == revoked);
            let decision = decide(&shop, issued);
            match (before[place], place == revoked, descends) {
                (false, _, _) => assert!(matches!(decision, Decision::Deny(_))),
                (true, true, _) => assert_eq!(decision, Decision::Deny(DenyReason::TokenRevoked)),
                (true, false, true) => assert_eq!(decision, Decision::Deny(DenyReason::DelegationBroken)),
                (true, false, false) => assert!(matches!(decision, Decision::Allow(_)), "{decision:?}"),
            }
            if place == revoked || descends {
                let target = name((issued.at + 1) % SERVICES);
                assert!(shop.exchange(&name(issued.at), &issued.token, &target).is_err());
            }
        }
    }
}

/// An end of what one service holds.
type End = fn(&Shop, usize);

fn revoke(shop: &Shop, target: RevokeRequest) {
    let authority = &shop.fixture.authority;
    let admin = authority.as_caller(&shop.fixture.svid(ADMIN));
    let requester = Requester { client_id: None, roles: admin.roles.clone(), sender: admin.sender() };
    ready(authority.revoke(&admin, &requester, target, LastAdmin::Stays)).unwrap();
}

#[test]
fn of_random_chains_whatever_ends_a_holder_ends_what_it_holds_and_all_that_came_from_it() {
    let ends: [End; 5] = [
        |shop, holder| revoke(shop, RevokeRequest::Client(ClientId::parse(&id(&name(holder))).unwrap(), None)),
        |shop, holder| revoke(shop, RevokeRequest::IssuedTo(ClientId::parse(&id(&name(holder))).unwrap())),
        |shop, holder| revoke(shop, RevokeRequest::Certificate(shop.leaf(&name(holder)).thumbprint(), None)),
        |shop, holder| {
            let registered = shop.fixture.authority.client(&id(&name(holder))).unwrap();
            let metadata = registered.registration.metadata();
            drop(shop.fixture.update(ClientMetadata { disabled: true, ..metadata }));
        },
        |shop, holder| shop.fixture.delete(&id(&name(holder))),
    ];
    let mut random = Xorshift::new(0x5eed_0003);
    let mut broken = 0;
    for end in ends {
        let (shop, _) = mesh(&mut random);
        let all = grow(&shop, &mut random);
        let before: Vec<bool> = all.iter().map(|issued| matches!(decide(&shop, issued), Decision::Allow(_))).collect();
        let ended = random.below(SERVICES);
        end(&shop, ended);
        for (place, issued) in all.iter().enumerate() {
            let mut ancestors = std::iter::successors(issued.parent, |parent| all[*parent].parent);
            let descends = ancestors.any(|ancestor| all[ancestor].holder == ended);
            let decision = decide(&shop, issued);
            match (before[place], issued.holder == ended, descends) {
                (false, _, _) | (true, true, _) => assert!(matches!(decision, Decision::Deny(_)), "{decision:?}"),
                (true, false, true) => {
                    assert_eq!(decision, Decision::Deny(DenyReason::DelegationBroken));
                    broken += 1;
                }
                (true, false, false) => assert!(matches!(decision, Decision::Allow(_)), "{decision:?}"),
            }
        }
    }
    assert!(broken > 5, "{broken}");
}
