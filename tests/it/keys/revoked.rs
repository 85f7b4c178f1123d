//! A revoked key verifies nothing, at once and for good, and another one signs.

use std::sync::Barrier;
use std::thread;

use lanyard::authority::decision::KeyChangeError;
use lanyard::authority::decision::MAX_REASON_BYTES;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::keys::KeyState;
use lanyard::authority::policy::Policy;

use super::support::PUBLICATION;
use super::support::RETENTION;
use super::support::Replica;
use crate::support::authority::ADMIN;
use crate::support::mint::kid_of;

const NOTHING: fn(&mut Policy) = |_| {};

#[test]
fn the_only_key_is_replaced_by_a_new_one_in_the_same_moment() {
    let replica = Replica::first(NOTHING);
    let other = replica.another(NOTHING);
    let (first, token) = (replica.signs(), replica.token());
    assert_eq!((replica.verifies(&token), other.verifies(&token)), (Ok(()), Ok(())), "they are remembered from now on");
    let revoked = replica.revoke(&first);
    let second = revoked.replaced_by.unwrap().key_id().to_string();
    assert_ne!(first, second);
    assert_eq!(kid_of(&replica.token()), second);
    assert_eq!(replica.verifies(&token), Err(DenyReason::UnknownKey));
    assert_eq!(replica.published(), [second.as_str()]);
    assert_eq!(other.verifies(&token), Ok(()), "until the store tells of it");
    other.follow();
    assert_eq!(other.verifies(&token), Err(DenyReason::UnknownKey));
    assert_eq!(other.keys(), [(first, KeyState::Revoked), (second, KeyState::Active)]);
}

#[test]
fn the_next_key_signs_at_once_where_there_is_one() {
    let replica = Replica::first(NOTHING);
    let first = replica.signs();
    let next = replica.rotate().next.key_id().to_string();
    let revoked = replica.revoke(&first);
    assert_eq!(revoked.replaced_by.unwrap().key_id().as_str(), next);
    assert_eq!(replica.keys(), [(first, KeyState::Revoked), (next, KeyState::Active)]);
}

#[test]
fn a_key_that_does_not_sign_is_revoked_and_nothing_else_changes() {
    let replica = Replica::first(NOTHING);
    let (first, old) = (replica.signs(), replica.token());
    let second = replica.rotate_through();
    let third = replica.rotate().next.key_id().to_string();
    for kid in [&first, &third] {
        assert!(replica.revoke(kid).replaced_by.is_none());
        assert_eq!(replica.signs(), second);
    }
    assert_eq!(replica.states(), [KeyState::Revoked, KeyState::Active, KeyState::Revoked]);
    assert_eq!(replica.verifies(&old), Err(DenyReason::UnknownKey));
    replica.advance(PUBLICATION);
    replica.tend();
    assert_eq!(replica.signs(), second, "a revoked key is not the next one");
}

#[test]
fn what_is_left_of_a_revoked_key_is_who_revoked_it_and_why_and_no_private_key() {
    let replica = Replica::first(NOTHING);
    let first = replica.signs();
    let at = replica.now();
    replica.try_revoke(&first, "  a copy of the volume was stolen\n").unwrap();
    replica.advance(RETENTION);
    replica.tend();
    replica.tend();
    let record = &replica.records()[&first];
    assert_eq!(record["state"], "revoked");
    assert_eq!((&record["revoke_time"], record["revoked_by"].as_str()), (&at.0.into(), Some(ADMIN)));
    assert_eq!(record["reason"], "a copy of the volume was stolen");
    assert!(record.get("sealed").is_none());
    // The first word stands.
    replica.advance(RETENTION);
    let again = replica.try_revoke(&first, "another reason").unwrap();
    assert!(again.was_revoked && again.replaced_by.is_none());
    assert_eq!(&replica.records()[&first], record);
}

#[test]
fn nothing_is_revoked_without_a_reason_or_under_another_name() {
    let replica = Replica::first(NOTHING);
    let first = replica.signs();
    let before = replica.records();
    for reason in ["", " \n", &"x".repeat(MAX_REASON_BYTES + 1)] {
        assert_eq!(replica.try_revoke(&first, reason).unwrap_err(), KeyChangeError::Reason);
    }
    for kid in ["", "x", &first[1..], &format!("{first}/"), &format!("/keys/{first}"), "../keys"] {
        assert_eq!(replica.try_revoke(kid, "it leaked").unwrap_err(), KeyChangeError::NotFound, "{kid:?}");
    }
    assert_eq!(replica.records(), before);
    replica.try_revoke(&first, &"x".repeat(MAX_REASON_BYTES)).unwrap();
}

#[test]
fn a_key_that_is_revoked_while_it_is_to_sign_never_does() {
    let (mut before, mut after) = (0, 0);
    for _ in 0..100 {
        let one = Replica::first(NOTHING);
        let other = one.another(NOTHING);
        let first = one.signs();
        let next = one.rotate().next.key_id().to_string();
        for replica in [&one, &other] {
            replica.advance(PUBLICATION);
            replica.follow();
        }
        let begin = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                begin.wait();
                one.revoke(&next);
            });
            begin.wait();
            other.tend();
        });
        for replica in [&one, &other] {
            replica.follow();
            let keys = replica.keys();
            assert!(keys.contains(&(next.clone(), KeyState::Revoked)), "{keys:?}");
            assert_eq!(keys.iter().filter(|(_, state)| *state == KeyState::Active).count(), 1, "{keys:?}");
        }
        *(if one.signs() == first { &mut before } else { &mut after }) += 1;
    }
    assert_eq!(before + after, 100);
}
