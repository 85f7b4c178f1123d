//! A receipt is made for what is allowed at a resource that leaves receipts, and for nothing else.

use std::time::Duration;

use lanyard::authority::decision::CheckAnswer;
use lanyard::authority::decision::Decision;
use lanyard::authority::decision::PresentedEvidence;
use lanyard::authority::evidence::EvidenceGrade;
use lanyard::authority::records::RegistryError;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::resources::ReceiptsMetadata;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::store::Batch;
use lanyard::authority::store::Change;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;
use lanyard::authority::tokens::PresentationMatch;

use super::support::CHECKOUT;
use super::support::FRONTEND;
use super::support::Shop;
use super::support::enable;
use super::support::orders;
use super::support::receipts;
use crate::support::NOW;
use crate::support::authority::ADMIN;
use crate::support::authority::ORDERS;
use crate::support::authority::PROXY;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::authority::spiffe_client;

#[test]
fn a_receipt_says_which_token_was_presented_where_and_how_that_is_known() {
    let shop = Shop::new(orders(Some(receipts(&[CHECKOUT]))));
    let text = shop.receipt();
    let verified = shop.read(&text).unwrap();
    assert!(verified.is_of(&shop.token) && !verified.is_of(&format!("{}A", shop.token)));
    let receipt = verified.receipt;
    assert_eq!((receipt.iat, receipt.exp), (NOW, NOW.after(Duration::from_secs(30))));
    assert_eq!((&*receipt.at, &*receipt.by), (ORDERS, PROXY));
    let route = receipt.route.unwrap();
    assert_eq!((&*route.method, &*route.path), ("GET", "/orders/{id}"));
    assert_eq!((receipt.grade, receipt.matched), (EvidenceGrade::Certificate, PresentationMatch::Exact));
    assert_eq!(receipt.shown, Some(shop.frontend.thumbprint()));
    assert_eq!((&*receipt.token.client_id, &*receipt.token.sub), (FRONTEND, FRONTEND));
    assert_eq!(receipt.token.x5t_s256, shop.frontend.thumbprint());
    // What counts at the resource, which defines less than the token has.
    assert_eq!(receipt.token.scope.as_deref(), Some("orders.read"));
    // With the headers and the metadata of a check it stays within the 1,024 bytes that h2 sends together with others.
    assert!(text.len() <= 450, "{}", text.len());
    // Each presentation leaves its own.
    assert_ne!(shop.read(&shop.receipt()).unwrap().receipt.jti, receipt.jti);
}

#[test]
fn a_receipt_ends_with_the_token() {
    let shop = Shop::new(orders(Some(receipts(&[CHECKOUT]))));
    shop.fixture.clock.advance(Duration::from_secs(290));
    let receipt = shop.read(&shop.receipt()).unwrap().receipt;
    assert_eq!(receipt.exp, receipt.token.exp);
    assert!(receipt.exp < receipt.iat.after(Duration::from_secs(30)));
}

#[test]
fn nothing_but_an_allowed_use_of_a_token_leaves_a_receipt() {
    let shop = Shop::new(orders(Some(receipts(&[CHECKOUT]))));
    assert_eq!(shop.check_by(shop.fixture.proxy(), "", "/healthz"), None, "a public route");
    let thief = shop.fixture.prod.svid("spiffe://prod.example/thief").issue();
    let denied = shop.asked_by(shop.fixture.proxy(), "", "/orders/1", &thief);
    assert!(matches!(denied, CheckAnswer::Deny(_)), "{denied:?}");

    // A denial that is let through asserts nothing.
    let reporting = ResourceMetadata { mode: Some("report".to_owned()), ..orders(Some(receipts(&[CHECKOUT]))) };
    let shop = Shop::new(reporting);
    let thief = shop.fixture.prod.svid("spiffe://prod.example/thief").issue();
    let CheckAnswer::Allow(let_through) = shop.asked_by(shop.fixture.proxy(), "", "/orders/1", &thief) else {
        panic!()
    };
    assert!(let_through.asserted.is_none() && let_through.remove.contains(&"x-lanyard-receipt".to_owned()));
    assert!(shop.check_by(shop.fixture.proxy(), "", "/orders/1").is_some(), "what is allowed there does");

    assert_eq!(Shop::new(orders(None)).check_by(shop.fixture.proxy(), "", "/orders/1"), None, "no receipts");
}

#[test]
fn no_receipt_is_made_while_token_exchange_is_off() {
    let shop = Shop::of(TestAuthority::new(), orders(Some(receipts(&[CHECKOUT]))));
    assert_eq!(shop.check_by(shop.fixture.proxy(), "", "/orders/1"), None);
}

#[test]
fn validate_binding_gives_a_receipt_to_a_proxy_that_asks_for_one_of_another_connection() {
    let shop = Shop::new(orders(Some(receipts(&[CHECKOUT]))));
    let of_frontend = || Shop::certificate(&shop.frontend);
    let evaluation = shop.validated_by(shop.fixture.proxy(), of_frontend());
    assert!(evaluation.one_use);
    let receipt = shop.read(evaluation.receipt.unwrap().as_str()).unwrap().receipt;
    assert_eq!((&*receipt.by, &receipt.route), (PROXY, &None));
    // A workload that asks about its own connection presents its token to nobody.
    let own = shop.validated_by(&shop.fixture.peer(&shop.frontend), PresentedEvidence::OwnConnection);
    assert!(matches!(own.decision, Decision::Allow(_)), "{own:?}");
    assert_eq!(own.receipt, None);
    let thief = shop.fixture.prod.svid("spiffe://prod.example/thief").issue();
    let denied = shop.validated_by(shop.fixture.proxy(), Shop::certificate(&thief));
    assert_eq!((denied.receipt, denied.one_use), (None, true));
}

#[test]
fn a_receipt_says_whether_its_proxy_is_somebody_else_than_the_exchangers_and_who_may_redeem_it() {
    const OPAQUE: &str = "legacy-checkout";
    let other = "spiffe://prod.example/ns/shop/sa/other";
    for (exchangers, by, destination, independent, exchanger) in [
        (vec![CHECKOUT], PROXY, "", true, None),
        // A waypoint tells which of the workloads behind it the request is for.
        (vec![CHECKOUT], PROXY, CHECKOUT, true, Some(CHECKOUT)),
        (vec![CHECKOUT], PROXY, other, true, None),
        (vec![CHECKOUT], PROXY, "not a SPIFFE ID", true, None),
        (vec!["spiffe://prod.example/ns/shop/*"], PROXY, other, true, Some(other)),
        // A sidecar has the identity of its workload.
        (vec![PROXY], PROXY, "", false, Some(PROXY)),
        (vec![PROXY, CHECKOUT], PROXY, CHECKOUT, false, Some(PROXY)),
        (vec![OPAQUE], PROXY, CHECKOUT, true, None),
    ] {
        let shop = Shop::new(orders(Some(receipts(&exchangers))));
        let text = shop.check_by(&shop.fixture.svid(by), destination, "/orders/1").unwrap();
        let receipt = shop.read(&text).unwrap().receipt;
        assert_eq!(
            (receipt.independent, receipt.exchanger.as_deref()),
            (independent, exchanger),
            "{exchangers:?} {destination}"
        );
    }
    // A sidecar whose workload is registered under another name than its SPIFFE ID.
    let shop = Shop::new(orders(Some(receipts(&[OPAQUE]))));
    let sidecar = ClientMetadata { spiffe_id: Some(PROXY.to_owned()), ..spiffe_client(OPAQUE) };
    shop.fixture.register(sidecar);
    assert!(!shop.read(&shop.receipt()).unwrap().receipt.independent);
}

#[test]
fn a_receipt_that_cannot_be_made_is_left_out_counted_and_stops_nothing() {
    let shop = Shop::new(orders(Some(receipts(&[CHECKOUT]))));
    for (key, _) in ready(shop.fixture.store.list("/receipt-keys/")).unwrap().entries {
        let revision = ready(shop.fixture.store.delete(&key, Expected::Any)).unwrap();
        shop.fixture.authority.apply(&Batch { revision, changes: vec![Change { key, value: None }] });
    }
    assert_eq!(shop.check_by(shop.fixture.proxy(), "", "/orders/1"), None);
    assert_eq!((shop.count("made"), shop.count("failed")), (0, 1));
    // None is made in place of a lost one.
    assert!(ready(shop.fixture.authority.tend_receipt_keys()).is_err());
    assert_eq!(shop.check_by(shop.fixture.proxy(), "", "/orders/1"), None);
}

#[test]
fn what_a_resource_says_of_receipts_is_checked_and_waits_for_its_feature() {
    let fixture = TestAuthority::new();
    let create = |receipts: ReceiptsMetadata| {
        ready(fixture.authority.create_resource(&fixture.svid(ADMIN), orders(Some(receipts)), true)).map(drop)
    };
    let refused = RegistryError::FeatureNotEnabled { field: "receipts", feature: "exchange" };
    assert_eq!(create(receipts(&[CHECKOUT])), Err(refused));
    enable(&fixture);
    let with = |ttl: u64, once: &str| ReceiptsMetadata {
        ttl: Some(Duration::from_secs(ttl)),
        once: Some(once.to_owned()),
        ..receipts(&[CHECKOUT])
    };
    for good in [receipts(&[CHECKOUT, "legacy", "spiffe://prod.example/*"]), with(1, "effect"), with(60, "strict")] {
        assert_eq!(create(good.clone()), Ok(()), "{good:?}");
    }
    for bad in [
        receipts(&[]),
        receipts(&[""]),
        receipts(&["spiffe://prod.example/*/checkout"]),
        receipts(&["spiffe://PROD.example/checkout"]),
        receipts(&[CHECKOUT; 33]),
        with(0, "effect"),
        with(61, "effect"),
        with(30, "twice"),
    ] {
        let error = create(bad.clone()).unwrap_err();
        assert!(error.to_string().contains("receipts"), "{bad:?}: {error}");
    }
    fixture.protect(orders(Some(receipts(&[CHECKOUT]))));
    let stored = ready(fixture.store.get(&format!("/resources/{ORDERS}"))).unwrap().unwrap();
    let stored: serde_json::Value = serde_json::from_slice(&stored.value).unwrap();
    assert_eq!((&stored["schema"], &stored["metadata"]["receipts"]["ttl"]), (&5.into(), &"30s".into()));
}
