//! How long a revocation lasts, what stays refused after its end, and when its record is deleted.

use std::time::Duration;

use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::decision::ClientAssertion;
use lanyard::authority::decision::Decision;
use lanyard::authority::decision::LastAdmin;
use lanyard::authority::decision::RevokeError;
use lanyard::authority::decision::RevokeOutcome;
use lanyard::authority::decision::RevokeRequest;
use lanyard::authority::decision::RevokeWarning;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::registration::ClientId;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::state::REVOCATIONS;
use lanyard::authority::state::Revoked;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::CHECKOUT;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::authority::spiffe_client;
use crate::support::leaf::Leaf;
use crate::support::unreferenced::Unreferenced as _;

const HOUR: Duration = Duration::from_hours(1);

impl TestAuthority {
    fn admin_requests(&self, request: RevokeRequest, lift: bool) -> Result<RevokeOutcome, RevokeError> {
        let caller = self.authority.as_caller(&self.svid(ADMIN));
        let requester = self.authority.requester(&caller, None, &ClientAssertion::default()).unwrap();
        if lift {
            return ready(self.authority.lift_revocation(&caller, &requester, request)).unreferenced();
        }
        ready(self.authority.revoke(&caller, &requester, request, LastAdmin::Stays)).unreferenced()
    }

    fn revoke_now(&self, request: RevokeRequest) -> Result<RevokeOutcome, RevokeError> {
        self.admin_requests(request, false)
    }

    fn lift_now(&self, request: RevokeRequest) -> Result<RevokeOutcome, RevokeError> {
        self.admin_requests(request, true)
    }

    fn in_a(&self, span: Duration) -> Timestamp {
        self.clock.now().after(span)
    }

    fn reason(&self, token: &str, leaf: &Leaf) -> Option<DenyReason> {
        match self.evaluate(token, leaf) {
            Decision::Allow(_) => None,
            Decision::Deny(reason) => Some(reason),
        }
    }

    fn stored_revocations(&self) -> usize {
        ready(self.store.list(REVOCATIONS)).unwrap().entries.len()
    }
}

fn checkout() -> ClientId {
    ClientId::parse(CHECKOUT).unwrap()
}

/// The same revocation with an end, by what it names.
fn each_kind() -> [fn(Option<Timestamp>) -> RevokeRequest; 3] {
    [
        |until| RevokeRequest::Client(checkout(), until),
        |until| RevokeRequest::Peers(Revoked::identities("spiffe://prod.example/ns/shop/*").unwrap(), until),
        |until| RevokeRequest::Peers(Revoked::identities("spiffe://prod.example/ns/shop/sa/*").unwrap(), until),
    ]
}

/// Tokens that live as long as any may, and a certificate that outlives them.
fn fixture() -> (TestAuthority, Leaf) {
    let fixture = TestAuthority::new();
    fixture.register(ClientMetadata { access_token_ttl: Some(HOUR), ..spiffe_client(CHECKOUT) });
    let now = fixture.clock.now();
    let leaf = fixture.prod.svid(CHECKOUT).between(now, now.after(24 * HOUR)).issue();
    (fixture, leaf)
}

#[test]
fn when_a_revocation_ends_what_was_issued_before_stays_refused_for_as_long_as_it_lives() {
    for request in each_kind() {
        let (fixture, leaf) = fixture();
        let token = fixture.token(&fixture.peer(&leaf));
        let until = fixture.in_a(Duration::from_mins(1));
        fixture.revoke_now(request(Some(until))).unwrap();
        fixture.clock.set(until);
        assert!(matches!(fixture.reason(&token, &leaf), Some(DenyReason::ClientRevoked | DenyReason::IdentityRevoked)));
        assert!(fixture.prove(&leaf).is_err());
        fixture.clock.advance(Duration::from_secs(1));
        assert_eq!(fixture.reason(&token, &leaf), Some(DenyReason::TokenRevoked));
        let fresh = fixture.token(&fixture.peer(&leaf));
        assert_eq!(fixture.reason(&fresh, &leaf), None);
        ready(fixture.authority.sweep_revocations()).unwrap();
        assert_eq!(fixture.reason(&token, &leaf), Some(DenyReason::TokenRevoked));
        // Until the last token of before has expired.
        fixture.clock.set(until.after(HOUR));
        ready(fixture.authority.sweep_revocations()).unwrap();
        assert_eq!(fixture.stored_revocations(), 1);
        fixture.clock.advance(Duration::from_secs(1));
        ready(fixture.authority.sweep_revocations()).unwrap();
        assert_eq!(fixture.stored_revocations(), 0);
    }
}

#[test]
fn when_a_revocation_is_lifted_what_was_issued_before_stays_refused_for_as_long_as_it_lives() {
    for request in each_kind() {
        let (fixture, leaf) = fixture();
        let token = fixture.token(&fixture.peer(&leaf));
        fixture.clock.advance(Duration::from_secs(1));
        fixture.revoke_now(request(None)).unwrap();
        fixture.clock.advance(Duration::from_secs(1));
        let lifted = fixture.lift_now(request(None)).unwrap();
        assert_eq!(lifted, RevokeOutcome::default());
        // In the second in which it was lifted new ones are issued, and count.
        let fresh = fixture.token(&fixture.peer(&leaf));
        assert_eq!(fixture.reason(&fresh, &leaf), None);
        assert_eq!(fixture.reason(&token, &leaf), Some(DenyReason::TokenRevoked));
        ready(fixture.authority.sweep_revocations()).unwrap();
        assert_eq!(fixture.reason(&token, &leaf), Some(DenyReason::TokenRevoked));
        fixture.clock.advance(HOUR);
        ready(fixture.authority.sweep_revocations()).unwrap();
        assert_eq!(fixture.stored_revocations(), 0);
        assert_eq!(fixture.reason(&token, &leaf), Some(DenyReason::TokenExpired));
    }
}

#[test]
fn what_stays_refused_after_a_lift_is_read_from_the_store_again() {
    let (fixture, leaf) = fixture();
    let token = fixture.token(&fixture.peer(&leaf));
    fixture.revoke_now(RevokeRequest::Client(checkout(), None)).unwrap();
    fixture.lift_now(RevokeRequest::Client(checkout(), None)).unwrap();
    ready(fixture.authority.load()).unwrap();
    assert_eq!(fixture.reason(&token, &leaf), Some(DenyReason::TokenRevoked));
}

#[test]
fn a_revocation_is_never_replaced_by_one_that_ends_earlier() {
    for request in each_kind() {
        let (fixture, _) = fixture();
        let [soon, later] = [1, 2].map(|hours| Some(fixture.in_a(hours * HOUR)));
        let kept = |until| RevokeOutcome { warnings: vec![RevokeWarning::LaterEndKept], until };
        let made = |until| RevokeOutcome { warnings: Vec::new(), until };
        for (until, outcome) in [
            (soon, made(soon)),
            (later, made(later)),
            (soon, kept(later)),
            (later, made(later)),
            (None, made(None)),
            (later, kept(None)),
            (None, made(None)),
        ] {
            assert_eq!(fixture.revoke_now(request(until)).unwrap(), outcome);
        }
        // To shorten it, it is lifted first.
        fixture.lift_now(request(None)).unwrap();
        assert_eq!(fixture.revoke_now(request(soon)).unwrap(), made(soon));
    }
}

#[test]
fn an_end_that_is_not_in_the_future_is_refused_and_changes_nothing() {
    for request in each_kind() {
        let (fixture, leaf) = fixture();
        let now = fixture.clock.now();
        for until in [Timestamp(0), Timestamp(now.0 - 1), now] {
            let refused = fixture.revoke_now(request(Some(until)));
            assert_eq!(refused, Err(RevokeError::EndPassed));
            assert_eq!(RevokeError::EndPassed.code(), "INVALID_REQUEST");
        }
        assert!(fixture.prove(&leaf).is_ok());
        fixture.revoke_now(request(Some(Timestamp(now.0 + 1)))).unwrap();
        assert!(fixture.prove(&leaf).is_err());
    }
}

#[test]
fn what_nothing_known_has_as_its_name_is_revoked_with_a_warning() {
    let (fixture, leaf) = fixture();
    let token = fixture.token(&fixture.peer(&leaf));
    let jti = crate::support::calls::opened(&token).1["jti"].as_str().unwrap().to_owned();
    let client = |name: &str| RevokeRequest::Client(ClientId::parse(name).unwrap(), None);
    let issued = |name: &str| RevokeRequest::IssuedTo(ClientId::parse(name).unwrap());
    let peers = |revoked: Option<Revoked>| RevokeRequest::Peers(revoked.unwrap(), None);
    let warns = |request| fixture.revoke_now(request).unwrap().warnings == [RevokeWarning::UnknownTarget];
    // Of a token that was never used nothing is known here.
    assert!(warns(RevokeRequest::TokenId(jti.clone())));
    assert_eq!(fixture.reason(&token, &leaf), Some(DenyReason::TokenRevoked));
    for (request, is_unknown) in [
        (RevokeRequest::TokenId(jti), false),
        (RevokeRequest::TokenId("A".repeat(22)), true),
        (issued(CHECKOUT), false),
        (issued("spiffe://prod.example/typo"), true),
        (RevokeRequest::Certificate(leaf.thumbprint(), None), false),
        (RevokeRequest::Certificate(fixture.prod.svid(CHECKOUT).issue().thumbprint(), None), true),
        (client(CHECKOUT), false),
        (client(crate::support::authority::PROXY), false),
        (client("typo"), true),
        (client("spiffe://prod.example/ns/shop/sa/typo"), true),
        (peers(Revoked::identities("spiffe://staging.example/ns/*")), false),
        (peers(Revoked::identities("spiffe://stagin.example/ns/*")), true),
        (peers(Revoked::trust_domain("staging.example")), false),
        (peers(Revoked::trust_domain("stagin.example")), true),
    ] {
        let name = format!("{request:?}");
        assert_eq!(warns(request), is_unknown, "{name}");
    }
    let not_revoked = fixture.lift_now(client("another")).unwrap();
    assert_eq!(not_revoked.warnings, [RevokeWarning::NotRevoked]);
    let not_valid = fixture.revoke_now(RevokeRequest::Token("a.b.c".to_owned())).unwrap();
    assert_eq!(not_valid.warnings, [RevokeWarning::TokenNotValid]);
}

#[test]
fn records_of_earlier_versions_are_read_as_they_are() {
    let (fixture, leaf) = fixture();
    let token = fixture.token(&fixture.peer(&leaf));
    let now = fixture.clock.now().0;
    let record = |more: &str| format!("{{\"schema\":1,\"revoked_at\":{now},\"revoked_by\":\"x\"{more}}}");
    for (key, more) in [("client/spiffe://prod.example/gone", ""), (&format!("client/{CHECKOUT}"), ",\"until\":1")] {
        let key = format!("{REVOCATIONS}{key}");
        ready(fixture.store.put(&key, record(more).into_bytes(), Expected::Any)).unwrap();
    }
    ready(fixture.authority.load()).unwrap();
    // That of the client has ended long ago.
    assert_eq!(fixture.reason(&token, &leaf), None);
    let gone = ClientId::parse("spiffe://prod.example/gone").unwrap();
    assert_eq!(fixture.lift_now(RevokeRequest::Client(gone, None)).unwrap(), RevokeOutcome::default());
}

#[test]
fn all_that_has_expired_is_swept_in_one_transaction_but_for_what_was_revoked_anew() {
    let (fixture, _) = fixture();
    let until = Some(fixture.in_a(Duration::from_mins(1)));
    let name = |number: usize| ClientId::parse(&format!("client-{number}")).unwrap();
    for number in 0..100 {
        fixture.revoke_now(RevokeRequest::Client(name(number), until)).unwrap();
    }
    fixture.clock.advance(2 * HOUR);
    // Another replica has revoked one of them anew, which this one does not know yet.
    let key = Revoked::Client(name(7)).store_key();
    let present = ready(fixture.store.get(&key)).unwrap().unwrap();
    let revision = ready(fixture.store.put(&key, present.value.to_vec(), Expected::Any)).unwrap();
    ready(fixture.authority.sweep_revocations()).unwrap();
    let left = ready(fixture.store.list(REVOCATIONS)).unwrap();
    assert_eq!(left.entries.iter().map(|(key, _)| key).collect::<Vec<_>>(), [&key]);
    assert_eq!(left.revision.0, revision.0 + 1);
}

#[test]
fn more_than_one_transaction_holds_is_swept_in_as_few_as_hold_it() {
    let (fixture, _) = fixture();
    let until = Some(fixture.in_a(Duration::from_mins(1)));
    // Of the longest names fewer fit into a transaction than its number of operations.
    for number in 0..300 {
        let name = format!("{number:0>2000}");
        fixture.revoke_now(RevokeRequest::Client(ClientId::parse(&name).unwrap(), until)).unwrap();
    }
    fixture.clock.advance(2 * HOUR);
    let before = ready(fixture.store.list(REVOCATIONS)).unwrap();
    assert_eq!(before.entries.len(), 300);
    ready(fixture.authority.sweep_revocations()).unwrap();
    let after = ready(fixture.store.list(REVOCATIONS)).unwrap();
    // 256 KiB hold 64 comparisons and deletions of a name of some 2,020 bytes.
    assert_eq!((after.entries.len(), after.revision.0 - before.revision.0), (0, 5));
}
