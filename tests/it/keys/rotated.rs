//! A new key is published before it signs, and an old one after it has.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lanyard::authority::clock::Timestamp;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::keys::KeyState;
use lanyard::authority::keys::SigningAlgorithm;
use lanyard::authority::policy::Policy;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;

use super::support::PUBLICATION;
use super::support::RETENTION;
use super::support::Replica;
use super::support::SECOND;
use crate::support::NOW;
use crate::support::authority::ready;
use crate::support::keys::TestKeys;
use crate::support::keys::new_record;
use crate::support::keys::sealer;
use crate::support::mint::kid_of;
use crate::support::mint::part;

const NOTHING: fn(&mut Policy) = |_| {};

fn every(period: Duration) -> impl Fn(&mut Policy) + Copy {
    move |policy| policy.keys.rotation_period = Some(period)
}

#[test]
fn a_new_key_signs_when_verifiers_have_had_the_time_to_fetch_it_and_not_a_second_before() {
    let replica = Replica::first(NOTHING);
    let first = replica.signs();
    let old = replica.token();
    let rotated = replica.rotate();
    let next = rotated.next.key_id().to_string();
    assert!(!rotated.was_pending);
    assert_eq!(replica.published(), [first.as_str(), next.as_str()]);
    assert_eq!(replica.states(), [KeyState::Active, KeyState::Next]);
    replica.advance_but(PUBLICATION, SECOND);
    replica.tend();
    assert_eq!(kid_of(&replica.token()), first);
    replica.advance(SECOND);
    replica.tend();
    let new = replica.token();
    assert_eq!(kid_of(&new), next);
    assert_eq!(replica.published(), [next.as_str(), first.as_str()]);
    assert_eq!(replica.states(), [KeyState::Retired, KeyState::Active]);
    for token in [&old, &new] {
        assert_eq!(replica.verifies(token), Ok(()));
    }
}

#[test]
fn a_replica_that_may_lag_behind_is_waited_for_as_well() {
    let lag = Duration::from_mins(1);
    let replica = Replica::first(|policy| policy.max_staleness = Some(lag));
    let first = replica.signs();
    let next = replica.rotate().next.key_id().to_string();
    replica.advance_but(PUBLICATION + lag, SECOND);
    // The store confirms the snapshot again.
    replica.follow();
    replica.tend();
    assert_eq!(replica.signs(), first);
    replica.advance(SECOND);
    replica.tend();
    assert_eq!(replica.signs(), next);
    // The last token may have been signed that much later.
    replica.advance_but(RETENTION + lag, SECOND);
    replica.tend();
    assert_eq!(replica.states().len(), 2);
    replica.advance(SECOND);
    replica.tend();
    assert_eq!(replica.states(), [KeyState::Active]);
}

#[test]
fn a_key_that_has_signed_is_deleted_when_its_last_token_has_ended_and_not_before() {
    let replica = Replica::first(NOTHING);
    let first = replica.signs();
    replica.rotate();
    replica.advance(PUBLICATION);
    // The last one that it signs.
    let last = replica.token();
    replica.tend();
    assert_eq!(kid_of(&last), first);
    let ends = Timestamp(part(&last, 1)["exp"].as_u64().unwrap());
    replica.advance(Duration::from_secs(ends.0 - replica.now().0 - 1));
    replica.tend();
    assert_eq!(replica.verifies(&last), Ok(()));
    replica.advance(SECOND);
    replica.tend();
    assert_eq!(replica.verifies(&last), Err(DenyReason::TokenExpired));
    // The clocks of replicas differ.
    replica.advance_but(RETENTION, Duration::from_hours(1) + SECOND);
    replica.tend();
    assert!(replica.published().contains(&first));
    replica.advance(SECOND);
    replica.tend();
    assert!(!replica.published().contains(&first));
    assert_eq!(replica.records().len(), 1);
    assert_eq!(replica.verifies(&last), Err(DenyReason::UnknownKey));
}

#[test]
fn by_schedule_a_new_key_is_published_when_the_present_one_has_signed_for_the_period() {
    let day = Duration::from_hours(24);
    let replica = Replica::first(every(day));
    let first = replica.signs();
    // A second has passed since it was made.
    replica.advance_but(day, 2 * SECOND);
    replica.tend();
    assert_eq!(replica.states(), [KeyState::Active]);
    replica.advance(SECOND);
    replica.tend();
    replica.tend();
    assert_eq!(replica.states(), [KeyState::Active, KeyState::Next]);
    replica.advance(PUBLICATION);
    replica.tend();
    assert_ne!(replica.signs(), first);
    // The next period begins when a key begins to sign.
    replica.advance_but(day, SECOND);
    replica.tend();
    assert_eq!(replica.states(), [KeyState::Active]);
    replica.advance(SECOND);
    replica.tend();
    assert_eq!(replica.states(), [KeyState::Active, KeyState::Next]);
}

#[test]
fn without_a_schedule_no_key_is_replaced_however_old_it_is() {
    let replica = Replica::first(NOTHING);
    let first = replica.signs();
    replica.advance(Duration::from_hours(24 * 3650));
    replica.tend();
    assert_eq!((replica.signs(), replica.states()), (first, vec![KeyState::Active]));
}

#[test]
fn who_rotates_while_a_key_waits_gets_that_key() {
    let replica = Replica::first(NOTHING);
    let first = replica.rotate();
    let second = replica.rotate();
    assert!(!first.was_pending && second.was_pending);
    assert_eq!(first.next.key_id(), second.next.key_id());
    assert_eq!(replica.states().len(), 2);
}

#[test]
fn another_algorithm_is_published_before_it_signs_too() {
    let replica = Replica::first(NOTHING);
    let first = replica.token();
    for algorithm in [SigningAlgorithm::EdDsa, SigningAlgorithm::Es256] {
        let before = replica.records();
        let store = Arc::clone(&replica.fixture.store);
        // A restart with another configuration.
        let other = Replica::with(store, NOTHING, TestKeys::of(algorithm, []));
        other.fixture.clock.set(replica.now());
        let signed = other.token();
        other.tend();
        assert_eq!(part(&signed, 0)["alg"], part(&other.token(), 0)["alg"], "not yet");
        assert_eq!(other.records().len(), before.len() + 1);
        other.advance(PUBLICATION);
        other.tend();
        let token = other.token();
        assert_eq!(part(&token, 0)["alg"], algorithm.name());
        for token in [&first, &signed, &token] {
            assert_eq!(other.verifies(token), Ok(()));
        }
        replica.advance(PUBLICATION);
    }
    // The first key is not used again.
    replica.follow();
    assert_ne!(replica.signs(), kid_of(&first));
}

#[test]
fn a_restart_finds_each_key_in_its_state() {
    let replica = Replica::first(NOTHING);
    let (first, old) = (replica.signs(), replica.token());
    let next = replica.rotate().next.key_id().to_string();
    let restarted = replica.another(NOTHING);
    assert_eq!(restarted.keys(), replica.keys());
    restarted.advance(PUBLICATION);
    restarted.tend();
    assert_eq!(restarted.signs(), next);
    let again = restarted.another(NOTHING);
    assert_eq!(again.keys(), [(first.clone(), KeyState::Retired), (next.clone(), KeyState::Active)]);
    assert_eq!(again.verifies(&old), Ok(()));
    again.revoke(&first);
    let last = again.another(NOTHING);
    assert_eq!(last.keys(), [(first, KeyState::Revoked), (next, KeyState::Active)]);
    assert_eq!(last.verifies(&old), Err(DenyReason::UnknownKey));
}

#[test]
fn a_next_key_signs_at_once_where_no_other_is_left() {
    let replica = Replica::first(NOTHING);
    let first = replica.signs();
    let next = replica.rotate().next.key_id().to_string();
    ready(replica.fixture.store.delete(&format!("/keys/{first}"), Expected::Any)).unwrap();
    replica.follow();
    replica.tend();
    assert_eq!(replica.signs(), next);
    ready(replica.fixture.store.delete(&format!("/keys/{next}"), Expected::Any)).unwrap();
    replica.follow();
    replica.tend();
    assert!(![first, next].contains(&replica.signs()));
}

/// Runs the same at two replicas in two threads, which begin together.
fn at_once<T: Send>(one: &Replica, other: &Replica, run: impl Fn(&Replica) -> T + Sync) -> [T; 2] {
    let begin = std::sync::Barrier::new(2);
    thread::scope(|scope| {
        let threads = [one, other].map(|replica| {
            let (begin, run) = (&begin, &run);
            scope.spawn(move || {
                begin.wait();
                run(replica)
            })
        });
        threads.map(|thread| thread.join().unwrap())
    })
}

#[test]
fn of_two_replicas_that_rotate_at_once_one_makes_the_key_and_both_name_it() {
    for _ in 0..100 {
        let one = Replica::first(NOTHING);
        let other = one.another(NOTHING);
        let rotated = at_once(&one, &other, Replica::rotate);
        let [first, second] = [0, 1].map(|place: usize| rotated[place].next.key_id().clone());
        assert_eq!(first, second);
        assert_eq!(rotated.iter().filter(|rotated| rotated.was_pending).count(), 1);
        for replica in [&one, &other] {
            replica.follow();
            assert_eq!(replica.states(), [KeyState::Active, KeyState::Next]);
        }
        // Both do what is due.
        for replica in [&one, &other] {
            replica.advance(PUBLICATION);
        }
        at_once(&one, &other, Replica::tend);
        for replica in [&one, &other] {
            replica.follow();
            assert_eq!(replica.signs(), first.as_str());
            assert_eq!(replica.states(), [KeyState::Retired, KeyState::Active]);
        }
    }
}

#[test]
fn of_two_replicas_on_an_empty_store_one_makes_the_first_key() {
    for _ in 0..100 {
        let store = Arc::default();
        let [one, other] = [(); 2].map(|()| Replica::on(Arc::clone(&store), NOTHING));
        at_once(&one, &other, Replica::tend);
        for replica in [&one, &other] {
            replica.follow();
            assert_eq!(replica.states(), [KeyState::Active]);
        }
        assert_eq!(one.signs(), other.signs());
    }
}

/// A verifier elsewhere: the sets that it may have, each with the time until which it may keep it.
#[derive(Default)]
struct Verifier(VecDeque<(Timestamp, BTreeSet<String>)>);

impl Verifier {
    /// It may fetch the set now.
    fn fetches(&mut self, replica: &Replica) {
        self.0.push_back((replica.now().after(PUBLICATION), replica.published().into_iter().collect()));
    }

    /// Whether each set that it may use at this moment has the key.
    fn knows(&mut self, kid: &str, now: Timestamp) -> bool {
        while self.0.front().is_some_and(|(until, _)| *until <= now) {
            self.0.pop_front();
        }
        self.0.iter().all(|(_, keys)| keys.contains(kid))
    }
}

#[test]
fn in_twenty_rotations_no_token_is_refused_that_should_pass_here_or_elsewhere() {
    let one = Replica::first(every(Duration::from_hours(2)));
    let other = one.another(every(Duration::from_hours(2)));
    let mut verifier = Verifier::default();
    let (mut tokens, mut signed, mut most) = (VecDeque::new(), Vec::new(), 0);
    let mut checked = 0;
    while signed.len() < 21 {
        // One of the two learns of everything a step later.
        for (replica, behind) in [(&one, &other), (&other, &one)] {
            replica.follow();
            replica.tend();
            let token = replica.token();
            let kid = kid_of(&token);
            if signed.last() != Some(&kid) && !signed.contains(&kid) {
                signed.push(kid.clone());
            }
            assert_eq!(behind.verifies(&token), Ok(()), "another replica, which has not followed yet");
            tokens.push_back((Timestamp(part(&token, 1)["exp"].as_u64().unwrap()), kid, token));
            verifier.fetches(replica);
        }
        let now = one.now();
        tokens.retain(|(ends, ..)| *ends > now);
        for (_, kid, token) in &tokens {
            assert_eq!((one.verifies(token), other.verifies(token)), (Ok(()), Ok(())));
            assert!(verifier.knows(kid, now), "{kid} at {now:?}");
            checked += 1;
        }
        most = most.max(one.published().len());
        for replica in [&one, &other] {
            replica.advance(Duration::from_secs(150));
        }
    }
    assert!(checked > 20_000, "{checked}");
    assert!((2..=3).contains(&most), "{most}");
    assert!(one.now() >= NOW.after(20 * Duration::from_hours(2)));
}

#[test]
fn keys_of_the_version_before_retire_when_a_new_one_signs() {
    let store = Arc::default();
    let (older, _) = new_record(&sealer(1), SigningAlgorithm::Es256, Timestamp(NOW.0 - 7200));
    let (newer, _) = new_record(&sealer(1), SigningAlgorithm::Es256, Timestamp(NOW.0 - 3600));
    let keys = TestKeys::of(SigningAlgorithm::Es256, [older.clone(), newer.clone()]);
    let replica = Replica::with(Arc::clone(&store), NOTHING, keys);
    replica.tend();
    assert_eq!(
        replica.keys(),
        [(older.key_id().to_owned(), KeyState::Retired), (newer.key_id().to_owned(), KeyState::Active)]
    );
    // Nothing is written that the version before cannot read, however long it takes.
    replica.advance(Duration::from_hours(24 * 365));
    replica.tend();
    assert!(replica.records().values().all(|record| record["schema"] == 1 && record.get("state").is_none()));
    let next = replica.rotate_through();
    let records = replica.records();
    assert!(records.values().all(|record| record["schema"] == 2), "{records:?}");
    for record in [&older, &newer] {
        assert_eq!(records[record.key_id()]["state"], "retired");
        assert_eq!(records[record.key_id()]["retire_time"], replica.now().0);
    }
    replica.advance(RETENTION);
    replica.tend();
    assert_eq!(replica.keys(), [(next, KeyState::Active)]);
}
