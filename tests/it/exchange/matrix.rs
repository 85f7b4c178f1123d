//! The confused deputy: of all places of presentation, exchangers and targets exactly the registered ones issue, by tokens and by
//! receipts. One word of scope is for all resources, and every rule is about every caller, so that nothing else tells them apart.

use std::collections::BTreeSet;

use lanyard::authority::decision::ExchangeRequest;
use lanyard::authority::decision::TokenRequest;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::ExchangeRuleMetadata;
use lanyard::authority::registration::ScopeGrantMetadata;
use lanyard::authority::resources::ReceiptsMetadata;
use lanyard::authority::resources::ResourceMetadata;

use crate::exchange::receipts::receipt;
use crate::exchange::support::Shop;
use crate::exchange::support::at;
use crate::exchange::support::client;
use crate::exchange::support::id;
use crate::exchange::support::resource;
use crate::exchange::support::rule;
use crate::support::Xorshift;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Where a token was presented, who exchanges it, and for whom.
type Cell = (&'static str, &'static str, &'static str);

fn calling(name: &str, rules: Vec<ExchangeRuleMetadata>) -> ClientMetadata {
    let audience = NAMES.map(at).to_vec();
    ClientMetadata { audience, scope: "call".to_owned(), ..client(name, "a", rules) }
}

/// All resources, and those that redeem the receipts of each.
fn protected(shop: &Shop, random: &mut Xorshift) -> BTreeSet<(&'static str, &'static str)> {
    let mut redeem = BTreeSet::new();
    for place in NAMES {
        let redeemers: Vec<&str> = NAMES.into_iter().filter(|_| random.below(2) == 0).collect();
        redeem.extend(redeemers.iter().map(|name| (place, *name)));
        let exchangers = redeemers.into_iter().chain(["nobody"]).map(id).collect();
        let receipts = ReceiptsMetadata { exchangers, ttl: None, once: None };
        shop.protect(ResourceMetadata { scope: "call".to_owned(), receipts: Some(receipts), ..resource(place) });
    }
    redeem
}

/// The exchangers, and the cells that they have rules for.
fn registered(shop: &mut Shop, random: &mut Xorshift) -> BTreeSet<Cell> {
    let mut registered = BTreeSet::new();
    for exchanger in NAMES {
        let mut rules = Vec::new();
        for place in NAMES {
            for target in NAMES {
                if random.below(4) == 0 {
                    let grants = vec![ScopeGrantMetadata { needs: "call".to_owned(), gives: "call".to_owned() }];
                    rules.push(ExchangeRuleMetadata { grants, ..rule("spiffe://prod.example/*", place, target) });
                    registered.insert((place, exchanger, target));
                }
            }
        }
        shop.register(calling(exchanger, rules));
    }
    registered
}

#[test]
fn of_all_places_exchangers_and_targets_exactly_the_registered_cells_issue() {
    let mut random = Xorshift::new(0x0ea7_be11);
    let mut shop = Shop::empty(|_| {}, TestAuthority::keys());
    let redeem = protected(&shop, &mut random);
    let registered = registered(&mut shop, &mut random);
    shop.register(calling("caller", Vec::new()));
    ready(shop.fixture.authority.open_receipt_keys()).unwrap();
    let authority = &shop.fixture.authority;
    let (mut by_token, mut by_receipt) = (BTreeSet::new(), BTreeSet::new());
    for place in NAMES {
        let request = TokenRequest { audience: vec![at(place)], ..TokenRequest::default() };
        let caller = authority.as_caller(&shop.peer("caller"));
        let token = ready(authority.issue_token(&caller, &request)).unwrap().access_token;
        let presented = receipt(&shop, "caller", &token, place);
        for exchanger in NAMES {
            for target in NAMES {
                if shop.exchange(exchanger, &token, target).is_ok() {
                    by_token.insert((place, exchanger, target));
                }
                let receipt = Some(presented.clone());
                let request = ExchangeRequest { receipt, audience: vec![at(target)], ..ExchangeRequest::default() };
                if shop.ask(&shop.peer(exchanger), &request).is_ok() {
                    by_receipt.insert((place, exchanger, target));
                }
            }
        }
    }
    assert!(registered.len() > 20 && registered.len() < 60, "{registered:?}");
    assert_eq!(by_token, registered);
    let redeemed: BTreeSet<Cell> =
        registered.iter().filter(|(place, exchanger, _)| redeem.contains(&(*place, *exchanger))).copied().collect();
    assert!(redeemed.len() > 5 && redeemed.len() < registered.len(), "{redeemed:?}");
    assert_eq!(by_receipt, redeemed);
}
