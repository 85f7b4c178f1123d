//! Who redeems a receipt, until when, and what comes of it when it is redeemed again.

use std::time::Duration;

use lanyard::authority::identity::CertificateThumbprint;
use lanyard::authority::registration::ClientId;
use lanyard::authority::resources::Receipts;
use lanyard::authority::resources::ReceiptsMetadata;
use lanyard::authority::tokens::NotSpent;
use lanyard::authority::tokens::Redemption;

use super::support::CHECKOUT;
use super::support::Shop;
use super::support::exchanging;
use super::support::orders;
use super::support::receipts;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ORDERS;
use crate::support::authority::PROXY;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;

fn client(id: &str) -> ClientId {
    ClientId::parse(id).unwrap()
}

fn terms(shop: &Shop) -> Receipts {
    shop.fixture.authority.resource(ORDERS).unwrap().registration.receipts.clone().unwrap()
}

#[test]
fn a_receipt_is_redeemed_by_the_resource_s_exchangers_alone_and_by_the_one_that_it_names() {
    let other = "spiffe://prod.example/ns/shop/sa/other";
    let shop = Shop::new(orders(Some(receipts(&["spiffe://prod.example/ns/shop/*", "legacy"]))));
    let any = shop.read(&shop.receipt()).unwrap().receipt;
    let for_checkout = shop.check_by(shop.fixture.proxy(), CHECKOUT, "/orders/1").unwrap();
    let for_checkout = shop.read(&for_checkout).unwrap().receipt;
    for (who, may_any, may_named) in [
        (CHECKOUT, true, true),
        (other, true, false),
        ("legacy", true, false),
        ("Legacy", false, false),
        (PROXY, false, false),
        ("spiffe://prod.example/ns/shop", false, false),
        ("spiffe://prod.example/ns/shops/sa/checkout", false, false),
        ("spiffe://staging.example/ns/shop/sa/checkout", false, false),
    ] {
        let may = |receipt| terms(&shop).may_redeem(&client(who), receipt);
        assert_eq!((may(&any), may(&for_checkout)), (may_any, may_named), "{who}");
    }
}

#[test]
fn a_receipt_is_valid_to_the_second_and_to_a_replica_whose_clock_is_ahead() {
    let shop = Shop::new(orders(Some(receipts(&[CHECKOUT]))));
    let text = shop.receipt();
    let read = || shop.read(&text).map(drop);
    shop.fixture.clock.advance(Duration::from_secs(29));
    assert_eq!(read(), Ok(()));
    shop.fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(read(), Err("RECEIPT_EXPIRED"));
    let early = |seconds: u64| {
        let made = shop.read(&shop.receipt()).unwrap();
        let text = shop.receipt();
        shop.fixture.clock.set(made.receipt.iat.before(Duration::from_secs(seconds)));
        let read = shop.read(&text).map(drop);
        shop.fixture.clock.set(made.receipt.iat);
        read
    };
    assert_eq!(early(5), Ok(()));
    assert_eq!(early(6), Err("RECEIPT_NOT_YET_VALID"));
}

#[test]
fn the_same_redemption_makes_the_same_token_at_every_replica_and_another_one_another() {
    let shop = Shop::new(orders(Some(receipts(&[CHECKOUT]))));
    let replica = exchanging(std::sync::Arc::clone(&shop.fixture.store));
    ready(replica.authority.load()).unwrap();
    let text = shop.receipt();
    let (here, there) =
        (shop.read(&text).unwrap(), replica.authority.verified_receipt(&replica.authority.view(), &text).unwrap());
    let (checkout, other) = (client(CHECKOUT), client("other"));
    let [one, two] = [1, 2].map(|byte| CertificateThumbprint::from_digest(&[byte; 32]).unwrap());
    let base = Redemption {
        client_id: &checkout,
        certificate: one,
        requested: "access_token",
        target: "https://stock.example",
        scope: "stock.reserve",
    };
    let jti = here.jti_of(&base);
    assert_eq!(jti.len(), 22);
    for _ in 0..3 {
        assert_eq!((here.jti_of(&base), there.jti_of(&base)), (jti.clone(), jti.clone()));
    }
    let mut all = vec![
        jti,
        here.jti_of(&Redemption { client_id: &other, ..base }),
        here.jti_of(&Redemption { certificate: two, ..base }),
        here.jti_of(&Redemption { requested: "txn_token", ..base }),
        here.jti_of(&Redemption { target: "https://stock.example/", ..base }),
        here.jti_of(&Redemption { scope: "", ..base }),
        // The same bytes, divided otherwise.
        here.jti_of(&Redemption { requested: "access_tokenh", target: "ttps://stock.example", ..base }),
        shop.read(&shop.receipt()).unwrap().jti_of(&base),
    ];
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count, "{all:?}");
}

#[test]
fn a_strict_receipt_is_spent_once_for_a_target_among_all_replicas() {
    let strict = ReceiptsMetadata { once: Some("strict".to_owned()), ..receipts(&[CHECKOUT]) };
    let shop = Shop::new(orders(Some(strict)));
    let replica = exchanging(std::sync::Arc::clone(&shop.fixture.store));
    ready(replica.authority.load()).unwrap();
    let receipt = shop.read(&shop.receipt()).unwrap();
    let spend = |fixture: &TestAuthority, target: &str| ready(fixture.authority.spend_receipt(&receipt, target));
    let stock = "https://stock.example";
    assert_eq!(spend(&shop.fixture, stock), Ok(()));
    for fixture in [&shop.fixture, &replica] {
        assert_eq!(spend(fixture, stock), Err(NotSpent::Before));
    }
    assert_eq!(spend(&replica, "https://other.example"), Ok(()), "another target");
    let again = shop.read(&shop.receipt()).unwrap();
    assert_eq!(ready(shop.fixture.authority.spend_receipt(&again, stock)), Ok(()), "another receipt");
}

#[test]
fn a_receipt_that_is_seen_again_is_counted_and_makes_nothing_refused() {
    let shop = Shop::new(orders(Some(receipts(&[CHECKOUT]))));
    let receipt = shop.read(&shop.receipt()).unwrap();
    let checkout = client(CHECKOUT);
    let caller = shop.fixture.authority.as_caller(&shop.fixture.svid(CHECKOUT));
    let [one, two] = [1, 2].map(|byte| CertificateThumbprint::from_digest(&[byte; 32]).unwrap());
    let counts = || (shop.count("redeemed"), shop.count("seen_again"));
    let redeem = |certificate, target| {
        let redemption =
            Redemption { client_id: &checkout, certificate, requested: "access_token", target, scope: "stock.reserve" };
        shop.fixture.authority.record_receipt_redeemed(&caller, &receipt, &redemption);
    };
    redeem(one, "https://stock.example");
    redeem(one, "https://other.example");
    assert_eq!(counts(), (2, 0), "for another target it is no repetition");
    redeem(one, "https://stock.example");
    assert_eq!(counts(), (3, 1));
    redeem(two, "https://stock.example");
    assert_eq!(counts(), (4, 2));
}
