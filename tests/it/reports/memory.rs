//! A flood of different callers and paths stays within the bound, and the busiest are counted right.

use lanyard::authority::observe::MAX_ROLLUP_BYTES;
use lanyard::authority::observe::RolledUp;

use super::Request;
use super::asked;
use super::resource;
use crate::support::authority::CHECKOUT;
use crate::support::authority::ORDERS;
use crate::support::authority::TestAuthority;
use crate::support::authority::spiffe_client;

/// The requests of a caller.
fn of(fixture: &TestAuthority, caller: &str) -> Vec<RolledUp> {
    let now = fixture.authority.view().now;
    let mut found = fixture.authority.rollup().read(Some(ORDERS), now);
    found.retain(|one| one.kind.caller == caller);
    found
}

/// The whole way, from the check on: a hundredth of the million of the room's own test.
#[test]
fn ten_thousand_strangers_with_as_many_paths_displace_neither_the_registered_nor_the_busiest_stranger() {
    const STRANGERS: u32 = 10_000;
    let fixture = TestAuthority::new();
    fixture.register(spiffe_client(CHECKOUT));
    fixture.protect(resource(ORDERS, "report"));
    let busy = "spiffe://prod.example/ns/batch/sa/busy";
    let ask = |caller: &str, path: &str| asked(&fixture, &Request::of(ORDERS, caller, "GET", path));
    assert_eq!(ask(CHECKOUT, "/orders/1?token=secret"), ("let_through", "TOKEN_MISSING"));
    for number in 0..STRANGERS {
        ask(&format!("spiffe://prod.example/ns/{number}/sa/x"), &format!("/orders/{number}"));
        if number % 20 == 0 {
            ask(busy, &format!("/orders/{number}"));
        }
        if number % 1000 == 0 {
            // As many paths of one caller are one kind.
            ask(CHECKOUT, &format!("/unknown/{number}"));
        }
    }
    let (kinds, bytes) = fixture.authority.rollup().size();
    assert!(bytes <= MAX_ROLLUP_BYTES, "{bytes}");
    assert!((500..=520).contains(&kinds), "{kinds}: the places of strangers are used, and no others");

    let [one] = &of(&fixture, busy)[..] else { panic!("the busiest stranger") };
    assert_eq!((one.count, one.missed, one.kind.outcome.reason()), (u64::from(STRANGERS / 20), 0, "TOKEN_MISSING"));
    let mut known = of(&fixture, CHECKOUT);
    known.sort_by_key(|one| one.count);
    let counts: Vec<_> = known.iter().map(|one| (one.kind.outcome.reason(), one.count, one.missed)).collect();
    assert_eq!(counts, [("TOKEN_MISSING", 1, 0), ("ROUTE_UNKNOWN", u64::from(STRANGERS / 1000), 0)]);
    let samples: Vec<String> = known[0].samples.iter().map(|sample| sample.request.to_string()).collect();
    assert_eq!(samples, ["GET /orders/1"], "without the query");
    assert_eq!(known[1].samples.len(), 4);

    // What lost its place is still counted.
    let others = fixture.authority.rollup().others(ORDERS, fixture.authority.view().now);
    let kept: u64 =
        fixture.authority.rollup().read(None, fixture.authority.view().now).iter().map(|one| one.count).sum();
    let all = u64::from(STRANGERS + STRANGERS / 20 + STRANGERS / 1000) + 1;
    assert_eq!(kept + others.let_through, all, "{others:?}");
    assert!(others.kinds.abs_diff(u64::from(STRANGERS) - 512) < 2000, "{others:?}");
}
