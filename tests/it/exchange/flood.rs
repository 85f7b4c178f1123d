//! Clients that exchange without end, and proxies that make receipts of all that they see.

use lanyard::authority::access::Fronted;
use lanyard::authority::observe::Samples;
use lanyard::authority::registration::ClientId;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::ExchangeRuleMetadata;
use lanyard::authority::resources::ReceiptsMetadata;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::tokens::ReceiptId;
use lanyard::authority::tokens::Redemption;
use tonic::Code;

use crate::exchange::receipts::certificate;
use crate::exchange::receipts::presented_to;
use crate::exchange::receipts::receipt;
use crate::exchange::receipts::redeeming;
use crate::exchange::receipts::shop;
use crate::exchange::support::CHAIN;
use crate::exchange::support::Shop;
use crate::exchange::support::at;
use crate::exchange::support::client;
use crate::exchange::support::id;
use crate::exchange::support::resource;
use crate::exchange::support::rule;
use crate::exchange::voices::Called;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::PROXY;
use crate::support::server::reason_of;

/// How many receipts were seen again.
fn seen_again(shop: &Shop) -> u64 {
    let families = shop.fixture.authority.metric_families();
    let family = families.into_iter().find(|family| family.name == "lanyard_receipts").unwrap();
    let Samples::Counters(samples) = family.samples else { panic!("no counters") };
    let seen = |labels: &[(_, std::borrow::Cow<'static, str>)]| labels.iter().any(|(_, value)| value == "seen_again");
    samples.into_iter().find(|sample| seen(&sample.labels)).unwrap().value
}

// X29: what a client redeems is remembered, as far as there is room
#[test]
fn what_is_remembered_of_receipts_is_bounded() {
    const MOST: u64 = 100_000;
    let shop = shop("effect");
    let authority = &shop.fixture.authority;
    let text = receipt(&shop, "frontend", &shop.token("frontend"), "checkout");
    let mut one = authority.verified_receipt(&authority.view(), &text).unwrap();
    let checkout = shop.peer("checkout");
    let (caller, client_id) = (authority.as_caller(&checkout), ClientId::parse(&id("checkout")).unwrap());
    let redemption = Redemption {
        client_id: &client_id,
        certificate: checkout.thumbprint(),
        requested: "access_token",
        target: "https://orders.shop.internal",
        scope: "",
    };
    let mut redeem_all = || {
        for number in 0..MOST * 3 / 2 {
            one.receipt.jti = ReceiptId(u128::from(number).to_be_bytes());
            authority.record_receipt_redeemed(&caller, &one, &redemption);
        }
    };
    redeem_all();
    assert_eq!(seen_again(&shop), 0);
    redeem_all();
    let remembered = seen_again(&shop);
    assert!(remembered > 0 && remembered <= MOST, "{remembered}");
}

// X29: the share of a caller is for exchanges too
#[tokio::test]
async fn a_client_that_exchanges_without_end_has_its_share_and_takes_from_no_other() {
    let share = "{callers: [{spiffe_id: 'spiffe://prod.example/checkout', address: {requests_per_second: 5}}]}";
    let called = Called::with(|setup| setup.limits = share.to_owned()).await;
    let token = called.token().await;
    let (mut issued, mut refused) = (0, None);
    while issued < 1000 && refused.is_none() {
        match called.exchange(&called.checkout, &token, "").await {
            Ok(_) => issued += 1,
            Err(status) => refused = Some(status),
        }
    }
    let refused = refused.expect("the share has an end");
    assert!(issued > 0, "the first one is within the share");
    assert_eq!((refused.code(), reason_of(&refused)), (Code::ResourceExhausted, "SHARE_EXCEEDED".to_owned()));
    let mut over_http = Vec::new();
    while over_http.len() < 50 && !over_http.contains(&429) {
        over_http.push(called.form(&token, &[]).await.status);
    }
    assert_eq!(over_http.last(), Some(&429), "{over_http:?}");
    called.token().await;
}

// X33: a proxy that fronts everything is no exchanger
#[test]
fn a_proxy_before_everything_redeems_none_of_the_receipts_that_it_made() {
    let mut shop = shop("effect");
    let fronts = shop.fixture.authority.as_caller(shop.fixture.proxy()).roles.proxy;
    assert_eq!(fronts, Some(Fronted::Every));
    let places = [("frontend", "checkout", "orders"), ("checkout", "orders", "stock")];
    // It is a client too, and for all that it sees it has a rule.
    let asks = |(_, place, target)| ExchangeRuleMetadata {
        presentation: None,
        ..rule("spiffe://prod.example/*", place, target)
    };
    let proxy = ClientMetadata {
        client_id: PROXY.to_owned(),
        audience: CHAIN.map(at).to_vec(),
        ..client("proxy", "orders", places.map(asks).to_vec())
    };
    shop.register(proxy);
    let own = shop.fixture.proxy();
    let invented = places.map(|(holder, place, target)| {
        let token = shop.token(holder);
        (presented_to(&shop, own, &token, certificate(&shop, holder), place), place, target)
    });
    for (text, place, target) in &invented {
        assert_eq!(shop.reason(own, &redeeming(text, target)), "NOT_FOR_CLIENT", "{place}");
        // With a compromised exchanger it can: two must fall.
        assert_eq!(shop.reason(&shop.peer(place), &redeeming(text, target)), "", "{place}");
    }
    // Where it is registered as an exchanger it is one, and nowhere else.
    let exchangers = vec![id("checkout"), PROXY.to_owned()];
    let receipts = ReceiptsMetadata { exchangers, ttl: None, once: None };
    shop.change(ResourceMetadata { receipts: Some(receipts), ..resource("checkout") });
    assert_eq!(shop.reason(own, &redeeming(&invented[0].0, "orders")), "");
    assert_eq!(shop.reason(own, &redeeming(&invented[1].0, "stock")), "NOT_FOR_CLIENT");
}
