//! A signing key that is revoked ends what it signed, and the receipts of that.

use lanyard::authority::clock::Timestamp;
use lanyard::authority::deny_reason::DenyReason;

use crate::exchange::cascade::reasons;
use crate::exchange::receipts::receipt;
use crate::exchange::receipts::redeeming;
use crate::exchange::receipts::shop;
use crate::support::NOW;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::ready;

// X15: the row of the table that is about signing keys
#[test]
fn a_signing_key_that_is_revoked_ends_its_tokens_and_their_receipts() {
    let shop = shop("effect");
    let authority = &shop.fixture.authority;
    let (checkout, orders) = (shop.peer("checkout"), shop.peer("orders"));
    let token = shop.token("frontend");
    let first = receipt(&shop, "frontend", &token, "checkout");
    let delegated = shop.ask(&checkout, &redeeming(&first, "orders")).unwrap().access_token;
    let second = receipt(&shop, "checkout", &delegated, "orders");
    assert_eq!(shop.reason(&orders, &redeeming(&second, "stock")), "");

    shop.fixture.clock.set(Timestamp(NOW.0 + 1));
    let key = authority.keys().active().unwrap().key_id().to_string();
    let admin = authority.as_caller(&shop.fixture.svid(ADMIN));
    ready(authority.revoke_signing_key(&admin, &key, "it leaked")).unwrap();
    assert_eq!(reasons(&shop, &[token, delegated]), [Some(DenyReason::UnknownKey); 2]);
    assert_eq!(shop.reason(&checkout, &redeeming(&first, "orders")), "SUBJECT_INVALID");
    assert_eq!(shop.reason(&orders, &redeeming(&second, "stock")), "SUBJECT_INVALID");

    // What the next key signs is good, with its receipts.
    let fresh = receipt(&shop, "frontend", &shop.token("frontend"), "checkout");
    assert_eq!(shop.reason(&checkout, &redeeming(&fresh, "orders")), "");
}
