//! Exchanging receipts: the proof of a presentation in place of the token.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use lanyard::authority::access::Fronted;
use lanyard::authority::access::Requester;
use lanyard::authority::access::RoleHolder;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::decision::ExchangeRequest;
use lanyard::authority::decision::LastAdmin;
use lanyard::authority::decision::PresentedEvidence;
use lanyard::authority::decision::RevokeRequest;
use lanyard::authority::decision::ValidateRequest;
use lanyard::authority::evidence::Evidence;
use lanyard::authority::identity::PeerIdentity;
use lanyard::authority::identity::SpiffeIdPattern;
use lanyard::authority::registration::ExchangeRuleMetadata;
use lanyard::authority::resources::ReceiptsMetadata;
use lanyard::authority::resources::ResourceMetadata;
use serde_json::json;

use crate::exchange::support::CHAIN;
use crate::exchange::support::Shop;
use crate::exchange::support::at;
use crate::exchange::support::claims;
use crate::exchange::support::client;
use crate::exchange::support::id;
use crate::exchange::support::resource;
use crate::exchange::support::rule;
use crate::support::NOW;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;

/// The chain, in which each service redeems the receipts of its resource, and rules ask for them.
pub fn shop(once: &str) -> Shop {
    let mut shop = Shop::empty(|_| {}, TestAuthority::keys());
    for name in CHAIN {
        let receipts = ReceiptsMetadata { exchangers: vec![id(name)], ttl: None, once: Some(once.to_owned()) };
        shop.protect(ResourceMetadata { receipts: Some(receipts), ..resource(name) });
    }
    for (number, name) in CHAIN.iter().enumerate() {
        let Some(calls) = CHAIN.get(number + 1) else { continue };
        let asks = ExchangeRuleMetadata { presentation: None, ..rule("spiffe://prod.example/*", name, calls) };
        shop.register(client(name, calls, if number == 0 { Vec::new() } else { vec![asks] }));
    }
    ready(shop.fixture.authority.open_receipt_keys()).unwrap();
    shop
}

/// What this proxy gets of the presentation of a token at the resource of a name.
pub fn presented_to(shop: &Shop, proxy: &PeerIdentity, token: &str, evidence: Evidence, name: &str) -> String {
    let authority = &shop.fixture.authority;
    let audience = at(name);
    let request = ValidateRequest {
        access_token: token,
        evidence: PresentedEvidence::Of(Some(evidence)),
        audience: Some(&audience),
        scope: "",
        receipt: true,
    };
    authority.validate_binding(&authority.as_asker(proxy), request).unwrap().receipt.unwrap().as_str().to_owned()
}

pub fn certificate(shop: &Shop, holder: &str) -> Evidence {
    Evidence::from_der(shop.leaf(holder).certificate()).unwrap()
}

/// The receipt of a token's presentation by its holder.
pub fn receipt(shop: &Shop, holder: &str, token: &str, name: &str) -> String {
    presented_to(shop, shop.fixture.proxy(), token, certificate(shop, holder), name)
}

pub fn redeeming(receipt: &str, target: &str) -> ExchangeRequest {
    ExchangeRequest { receipt: Some(receipt.to_owned()), audience: vec![at(target)], ..ExchangeRequest::default() }
}

// X11: each receipt keeps the chain
#[test]
fn receipts_carry_a_call_along_the_whole_chain() {
    let shop = shop("effect");
    let first = shop.token("frontend");
    let of_first = receipt(&shop, "frontend", &first, "checkout");
    let second = shop.ask(&shop.peer("checkout"), &redeeming(&of_first, "orders")).unwrap().access_token;
    let of_second = receipt(&shop, "checkout", &second, "orders");
    let third = shop.ask(&shop.peer("orders"), &redeeming(&of_second, "stock")).unwrap().access_token;
    let said = claims(&third);
    assert_eq!(said["sub"], id("frontend"));
    assert_eq!(said["act"], json!({ "sub": id("orders"), "act": { "sub": id("checkout") } }));
    let jtis = |claims: &serde_json::Map<String, serde_json::Value>| claims["jti"].clone();
    let from: Vec<_> = said["lanyard_from"].as_array().unwrap().iter().map(|one| one["jti"].clone()).collect();
    assert_eq!(from, [jtis(&claims(&first)), jtis(&claims(&second))]);
    assert_eq!(said["scope"], "stock.read stock.write");
}

// X6
#[test]
fn a_receipt_that_is_redeemed_again_and_again_is_one_token() {
    let shop = shop("effect");
    let text = receipt(&shop, "frontend", &shop.token("frontend"), "checkout");
    let peer = shop.peer("checkout");
    let redeemed = |scope: &str| {
        let request = ExchangeRequest { scope: scope.to_owned(), ..redeeming(&text, "orders") };
        claims(&shop.ask(&peer, &request).unwrap().access_token)
    };
    let all: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> =
            (0..4).map(|_| scope.spawn(|| (0..250).map(|_| redeemed("")).collect::<Vec<_>>())).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!(all.len(), 1000);
    assert!(all.iter().all(|claims| *claims == all[0]));
    // Later it is the same token still; for other scopes, over another certificate or for another time another one.
    shop.fixture.clock.set(Timestamp(NOW.0 + 29));
    assert_eq!(redeemed(""), all[0]);
    assert_eq!(redeemed("orders.write orders.read"), all[0]);
    assert_ne!(redeemed("orders.read")["jti"], all[0]["jti"]);
    let other = shop.fixture.svid(&id("checkout"));
    let of_other = claims(&shop.ask(&other, &redeeming(&text, "orders")).unwrap().access_token);
    assert_eq!(of_other["cnf"]["x5t#S256"], other.thumbprint().to_string());
    assert_ne!(of_other["jti"], all[0]["jti"]);
    shop.fixture.clock.set(Timestamp(NOW.0 + 30));
    assert_eq!(shop.reason(&peer, &redeeming(&text, "orders")), "RECEIPT_INVALID");
}

// X6, where the resource says once
#[test]
fn a_receipt_that_may_be_redeemed_once_is_redeemed_once() {
    let shop = shop("strict");
    let text = receipt(&shop, "frontend", &shop.token("frontend"), "checkout");
    let peer = shop.peer("checkout");
    let issued = thread::scope(|scope| {
        let redeem = || (0..25).filter(|_| shop.ask(&peer, &redeeming(&text, "orders")).is_ok()).count();
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(redeem)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum::<usize>()
    });
    assert_eq!(issued, 1);
    assert_eq!(shop.reason(&peer, &redeeming(&text, "orders")), "RECEIPT_SPENT");
}

// X3, X5
#[test]
fn a_receipt_is_worth_nothing_to_others_beside_another_token_or_once_its_token_is_over() {
    let mut shop = shop("effect");
    let (token, other) = (shop.token("frontend"), shop.token("frontend"));
    let text = receipt(&shop, "frontend", &token, "checkout");
    let beside = |access_token: &str| ExchangeRequest {
        access_token: Some(access_token.to_owned()),
        ..redeeming(&text, "orders")
    };
    let checkout = shop.peer("checkout");
    assert_eq!(shop.reason(&checkout, &redeeming(&text, "orders")), "");
    assert_eq!(shop.reason(&checkout, &beside(&token)), "");
    assert_eq!(shop.reason(&checkout, &beside(&other)), "RECEIPT_OF_ANOTHER");
    assert_eq!(shop.reason(&checkout, &redeeming(&format!("{text}A"), "orders")), "RECEIPT_INVALID");
    assert_eq!(shop.reason(&checkout, &redeeming(&token, "orders")), "RECEIPT_INVALID");
    // A client with the same rule that the resource does not name.
    let asks = ExchangeRuleMetadata { presentation: None, ..rule("spiffe://prod.example/*", "checkout", "orders") };
    shop.register(client("other", "orders", vec![asks]));
    assert_eq!(shop.reason(&shop.peer("other"), &redeeming(&text, "orders")), "NOT_FOR_CLIENT");
    // The resource withdraws its name.
    let receipts = ReceiptsMetadata { exchangers: vec![id("other")], ttl: None, once: None };
    shop.change(ResourceMetadata { receipts: Some(receipts), ..resource("checkout") });
    assert_eq!(shop.reason(&checkout, &redeeming(&text, "orders")), "NOT_FOR_CLIENT");
    assert_eq!(shop.reason(&shop.peer("other"), &redeeming(&text, "orders")), "");
    // Its token is revoked.
    let authority = &shop.fixture.authority;
    let admin = authority.as_caller(&shop.fixture.svid(ADMIN));
    let requester = Requester { client_id: None, roles: admin.roles.clone(), sender: admin.sender() };
    ready(authority.revoke(&admin, &requester, RevokeRequest::Token(token), LastAdmin::Stays)).unwrap();
    assert_eq!(shop.reason(&shop.peer("other"), &redeeming(&text, "orders")), "SUBJECT_DENIED");
}

// X7: what a receipt of a sidecar proves, and what it does not
#[test]
fn a_proxy_that_is_the_exchanger_itself_is_believed_unless_the_rule_asks_for_another() {
    let shop = Shop::with(
        |policy| {
            let holder = RoleHolder::Spiffe(SpiffeIdPattern::parse(&id("checkout")).unwrap());
            policy.roles.proxies.push((holder, Fronted::Every));
        },
        TestAuthority::keys(),
    );
    ready(shop.fixture.authority.open_receipt_keys()).unwrap();
    let receipts = ReceiptsMetadata { exchangers: vec![id("checkout")], ttl: None, once: None };
    shop.change(ResourceMetadata { receipts: Some(receipts), ..resource("checkout") });
    let token = shop.token("frontend");
    // The checkout keeps the token, and makes the evidence up: it has seen the certificate.
    let invented = presented_to(&shop, &shop.peer("checkout"), &token, certificate(&shop, "frontend"), "checkout");
    let seen = receipt(&shop, "frontend", &token, "checkout");
    let reason = |presentation: &str, text: &str| {
        let asks = ExchangeRuleMetadata {
            presentation: Some(presentation.to_owned()),
            ..rule(&id("frontend"), "checkout", "orders")
        };
        shop.fixture.update(client("checkout", "orders", vec![asks]));
        shop.reason(&shop.peer("checkout"), &redeeming(text, "orders"))
    };
    assert_eq!((reason("receipt", &invented), reason("receipt", &seen)), (String::new(), String::new()));
    assert_eq!(reason("independent", &invented), "NOT_INDEPENDENT");
    assert_eq!(reason("independent", &seen), "");
}

#[test]
fn a_rule_may_ask_for_more_evidence_than_the_resource() {
    let shop = shop("effect");
    let token = shop.token("frontend");
    let thumbprint = Evidence::from_thumbprint(shop.leaf("frontend").thumbprint().as_bytes()).unwrap();
    let by_thumbprint = presented_to(&shop, shop.fixture.proxy(), &token, thumbprint, "checkout");
    let whole = receipt(&shop, "frontend", &token, "checkout");
    let peer = shop.peer("checkout");
    for (least, text, reason) in [
        ("thumbprint", &by_thumbprint, ""),
        ("certificate", &by_thumbprint, "RECEIPT_TOO_WEAK"),
        ("certificate", &whole, ""),
    ] {
        let asks = ExchangeRuleMetadata {
            presentation: None,
            least_evidence: Some(least.to_owned()),
            ..rule(&id("frontend"), "checkout", "orders")
        };
        shop.fixture.update(client("checkout", "orders", vec![asks]));
        assert_eq!(shop.reason(&peer, &redeeming(text, "orders")), reason, "{least}");
    }
}

#[test]
fn the_lifetime_of_a_token_begins_with_the_presentation() {
    let shop = shop("effect");
    let asks = ExchangeRuleMetadata {
        presentation: None,
        ttl: Some(Duration::from_secs(20)),
        ..rule(&id("frontend"), "checkout", "orders")
    };
    shop.fixture.update(client("checkout", "orders", vec![asks]));
    let text = receipt(&shop, "frontend", &shop.token("frontend"), "checkout");
    let peer = shop.peer("checkout");
    let mut ends = BTreeSet::new();
    for after in [0, 1, 19] {
        shop.fixture.clock.set(Timestamp(NOW.0 + after));
        ends.insert(
            claims(&shop.ask(&peer, &redeeming(&text, "orders")).unwrap().access_token)["exp"].as_u64().unwrap(),
        );
    }
    assert_eq!(ends, BTreeSet::from([NOW.0 + 20]));
    shop.fixture.clock.set(Timestamp(NOW.0 + 20));
    assert_eq!(shop.reason(&peer, &redeeming(&text, "orders")), "LIFETIME_OVER");
}
