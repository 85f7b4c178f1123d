//! Since when, how often in the last day, and what is told of it to whom.

use std::time::Duration;

use lanyard::authority::observe::Outcome;
use lanyard::authority::observe::Question;
use lanyard::authority::records::RegistryError;
use lanyard::authority::resources::ResourceMetadata;

use super::Request;
use super::asked;
use super::resource;
use crate::support::NOW;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::CHECKOUT;
use crate::support::authority::ORDERS;
use crate::support::authority::STOCK;
use crate::support::authority::TestAuthority;
use crate::support::authority::spiffe_client;

#[test]
fn requests_count_for_a_day_and_the_first_of_them_stays_the_first() {
    let fixture = TestAuthority::new();
    fixture.register(spiffe_client(CHECKOUT));
    fixture.protect(resource(ORDERS, "report"));
    let ask = || asked(&fixture, &Request::of(ORDERS, CHECKOUT, "GET", "/orders/1"));
    let admin = fixture.svid(ADMIN);
    let report = || fixture.authority.resource_report(&fixture.authority.as_caller(&admin), ORDERS);
    let counted = || {
        let requests = report().unwrap().requests;
        requests.iter().map(|(one, _)| (one.count, one.first, one.last)).collect::<Vec<_>>()
    };
    assert!(counted().is_empty());
    for _ in 0..3 {
        ask();
    }
    let hours = |hours| Duration::from_hours(hours);
    assert_eq!(counted(), [(3, NOW, NOW)]);
    fixture.clock.advance(hours(23));
    ask();
    assert_eq!(counted(), [(4, NOW, NOW.after(hours(23)))]);
    // A day after the first ones only the last is of the last day.
    fixture.clock.advance(hours(2));
    assert_eq!(counted(), [(1, NOW, NOW.after(hours(23)))]);
    fixture.clock.advance(hours(24));
    assert!(counted().is_empty());
    ask();
    assert_eq!(counted(), [(1, NOW, NOW.after(hours(49)))]);
    // A clock that is set back loses nothing.
    fixture.clock.set(NOW.after(hours(40)));
    ask();
    assert_eq!(counted()[0].0, 2);
    assert_eq!(report().unwrap().counted.since, NOW);
}

#[test]
fn what_is_allowed_and_what_validate_binding_asks_is_counted_by_its_client() {
    let fixture = TestAuthority::new();
    fixture.register(spiffe_client(CHECKOUT));
    fixture.protect(resource(ORDERS, "report"));
    let leaf = fixture.prod.svid(CHECKOUT).issue();
    let token = fixture.token(&fixture.peer(&leaf));
    for _ in 0..5 {
        fixture.evaluate(&token, &leaf);
    }
    fixture.evaluate(&token, &fixture.prod.svid(CHECKOUT).issue());
    fixture.evaluate("no token", &leaf);
    let healthz = Request::of(ORDERS, CHECKOUT, "GET", "/healthz");
    assert_eq!(asked(&fixture, &healthz), ("allowed", ""));
    let caller = fixture.authority.as_caller(&fixture.svid(ADMIN));
    let report = fixture.authority.resource_report(&caller, ORDERS).unwrap();
    let mut found: Vec<_> = report
        .requests
        .iter()
        .map(|(one, registered)| {
            (one.kind.question, &*one.kind.caller, &*one.kind.route, one.kind.outcome, one.count, *registered)
        })
        .collect();
    // The reasons of one count stand in any order.
    found[..2].sort_by_key(|one| one.3);
    let (binding, denied) = (Question::ValidateBinding, Outcome::Denied);
    assert_eq!(
        found,
        [
            // The mode is none of ValidateBinding's.
            (binding, CHECKOUT, "", denied("CERTIFICATE_RENEWED"), 1, true),
            (binding, CHECKOUT, "", denied("TOKEN_MALFORMED"), 1, true),
            (binding, CHECKOUT, "", Outcome::Allowed, 5, true),
            // Nothing is looked at on a public route.
            (Question::Check, "", "/healthz", Outcome::Allowed, 1, false),
        ]
    );
    // No audience that is not registered is remembered: whoever asks may name any.
    fixture.evaluate(&token, &leaf);
    assert!(fixture.authority.rollup().read(None, NOW).iter().all(|one| one.kind.resource == ORDERS));
    let unknown = fixture.authority.resource_report(&caller, STOCK).unwrap_err();
    assert!(matches!(unknown, RegistryError::NotFound(_)), "{unknown:?}");
    let simulated = fixture.authority.simulate_resource(&caller, resource(STOCK, "report")).unwrap_err();
    assert!(matches!(simulated, RegistryError::NotFound(_)), "{simulated:?}");
    // A simulation is refused as the update would be.
    let invalid = ResourceMetadata { least_evidence: Some("none".to_owned()), ..resource(ORDERS, "report") };
    assert!(fixture.authority.simulate_resource(&caller, invalid).unwrap_err().to_string().contains("least_evidence"));
}
