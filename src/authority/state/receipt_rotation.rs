//! When receipt keys are made and deleted: pure functions of the keys and the time.

use std::time::Duration;

use crate::authority::clock::Timestamp;
use crate::authority::keys::ReceiptKey;
use crate::authority::keys::ReceiptKeys;
use crate::authority::store::Revision;

/// How long receipts are made with a key.
const PERIOD: Duration = Duration::from_hours(24);

/// How long a key is in the store before receipts are made with it, so that each replica knows it by then.
const PUBLICATION: Duration = Duration::from_mins(10);

/// How long a key is kept when the next one is active: twice the longest lifetime of a receipt.
const RETENTION: Duration = Duration::from_mins(2);

/// From when on a key that is to be made now is active; `None` where none is due. `lag` is how much later than others a replica
/// may learn of a change.
pub fn due(keys: &ReceiptKeys, lag: Duration, now: Timestamp) -> Option<Timestamp> {
    let Some((newest, _)) = keys.all().next_back() else { return Some(now) };
    let (end, earliest) = (newest.active_from().after(PERIOD), now.after(PUBLICATION).after(lag));
    (earliest >= end).then_some(earliest)
}

/// The keys whose receipts have all expired.
pub fn ended(keys: &ReceiptKeys, lag: Duration, now: Timestamp) -> impl Iterator<Item = (&ReceiptKey, Revision)> {
    let followed = keys.all().zip(keys.all().skip(1));
    let ended = followed.filter(move |(_, (next, _))| next.active_from().after(RETENTION).after(lag) <= now);
    ended.map(|(key, _)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60;
    const NOW: Timestamp = Timestamp(1_700_000_000);

    fn keys(active: &[u64]) -> ReceiptKeys {
        let mut keys = ReceiptKeys::default();
        for (revision, from) in (1..).zip(active) {
            keys.insert(
                ReceiptKey::new(&format!("k{revision}"), Timestamp(NOW.0 + from), &[0; 32]),
                Revision(revision),
            );
        }
        keys
    }

    #[test]
    fn a_key_is_made_before_the_present_one_has_served_a_day_and_is_active_once_all_know_it() {
        let lag = Duration::from_mins(1);
        assert_eq!(due(&keys(&[]), lag, NOW), Some(NOW), "the first serves at once");
        let early = Timestamp(NOW.0 + DAY - 11 * 60);
        assert_eq!(due(&keys(&[0]), lag, Timestamp(early.0 - 1)), None);
        assert_eq!(due(&keys(&[0]), lag, early), Some(Timestamp(NOW.0 + DAY)));
        assert_eq!(due(&keys(&[0, DAY]), lag, early), None, "there is a next one");
        let late = Timestamp(NOW.0 + 3 * DAY);
        assert_eq!(due(&keys(&[0]), lag, late), Some(Timestamp(late.0 + 11 * 60)), "after an outage");
    }

    #[test]
    fn a_key_is_deleted_once_no_receipt_of_it_is_left() {
        let of = |keys: &ReceiptKeys, now: u64| -> Vec<String> {
            let lag = Duration::from_mins(1);
            ended(keys, lag, Timestamp(NOW.0 + now)).map(|(key, _)| key.id().to_owned()).collect()
        };
        let two = keys(&[0, DAY]);
        assert!(of(&two, DAY + 179).is_empty());
        assert_eq!(of(&two, DAY + 180), ["k1"]);
        assert!(of(&keys(&[0]), 9 * DAY).is_empty(), "the last one stays");
    }

    #[test]
    fn receipts_are_made_with_the_key_that_became_active_last() {
        let two = keys(&[0, DAY]);
        let at = |now: u64| two.active(Timestamp(now)).map(ReceiptKey::id);
        assert_eq!(at(NOW.0 + DAY - 1), Some("k1"));
        assert_eq!(at(NOW.0 + DAY), Some("k2"));
        assert_eq!(at(NOW.0 - 1), Some("k1"), "the clock of the replica that made the first one may be ahead");
        assert!(ReceiptKeys::default().active(NOW).is_none());
    }
}
