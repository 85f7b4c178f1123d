//! The identities that this replica has admitted within the last day, by SPIFFE ID, with the time of the last connection.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use crate::authority::clock::Timestamp;

/// The most identities that are remembered. Beyond that the one that was seen the longest time ago is forgotten.
pub const MAX_SEEN: usize = 10_000;

/// For how long an identity is remembered.
pub const SEEN_FOR: Duration = Duration::from_hours(24);

/// The memory of a replica.
#[derive(Debug)]
pub struct SeenIdentities(Mutex<Seen>);

#[derive(Debug)]
struct Seen {
    /// Their places in the order of their last connections.
    places: HashMap<Arc<str>, u64>,
    /// By these places.
    identities: BTreeMap<u64, (Timestamp, Arc<str>)>,
    next: u64,
    /// All that were seen from this time on are remembered.
    complete_since: Timestamp,
}

impl SeenIdentities {
    /// An empty memory, from now on.
    pub fn new(now: Timestamp) -> Self {
        let seen = Seen { places: HashMap::new(), identities: BTreeMap::new(), next: 0, complete_since: now };
        Self(Mutex::new(seen))
    }

    /// Remembers that an identity was seen now.
    pub(in crate::authority) fn note(&self, id: &str, now: Timestamp) {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = &mut *guard;
        let place = seen.next;
        seen.next += 1;
        let id = match seen.places.remove_entry(id) {
            Some((id, before)) => {
                seen.identities.remove(&before);
                id
            }
            None => Arc::from(id),
        };
        seen.places.insert(Arc::clone(&id), place);
        seen.identities.insert(place, (now, id));
        while let Some(oldest) = seen.identities.first_entry()
            && (oldest.get().0.after(SEEN_FOR) < now || seen.places.len() > MAX_SEEN)
        {
            let (at, id) = oldest.remove();
            seen.places.remove(&id);
            seen.complete_since = seen.complete_since.max(Timestamp(at.0 + 1));
        }
    }

    /// The identities of the last day that a filter takes, the newest first, and the time from which on none is forgotten.
    pub(in crate::authority) fn of_last_day(
        &self,
        now: Timestamp,
        takes: impl Fn(&str) -> bool,
    ) -> (Vec<(Timestamp, Arc<str>)>, Timestamp) {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_day = seen.identities.values().rev().filter(|(at, _)| at.after(SEEN_FOR) >= now);
        let mut found: Vec<_> = of_day.cloned().collect();
        let complete_since = seen.complete_since.max(now.before(SEEN_FOR));
        // Handshakes wait for the lock.
        drop(seen);
        found.retain(|(_, id)| takes(id));
        (found, complete_since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(seen: &SeenIdentities, now: u64) -> (Vec<String>, u64) {
        let (found, since) = seen.of_last_day(Timestamp(now), |_| true);
        (found.iter().map(|(_, id)| id.to_string()).collect(), since.0)
    }

    #[test]
    fn an_identity_is_remembered_for_a_day_after_it_was_seen_last() {
        let (begin, day) = (1_000_000, SEEN_FOR.as_secs());
        let seen = SeenIdentities::new(Timestamp(begin));
        for (id, at) in [("a", begin), ("b", begin + 5), ("a", begin + 10)] {
            seen.note(id, Timestamp(at));
        }
        assert_eq!(names(&seen, begin + 10), (vec!["a".to_owned(), "b".to_owned()], begin));
        let later = begin + 5 + day;
        assert_eq!(names(&seen, later), (vec!["a".to_owned(), "b".to_owned()], begin + 5));
        assert_eq!(names(&seen, later + 1), (vec!["a".to_owned()], begin + 6));
        seen.note("c", Timestamp(later + 1));
        assert_eq!(names(&seen, later + 1), (vec!["c".to_owned(), "a".to_owned()], begin + 6));
    }

    #[test]
    fn beyond_the_bound_the_oldest_goes_and_the_answer_says_from_when_on_it_is_whole() {
        let seen = SeenIdentities::new(Timestamp(0));
        for number in 0..MAX_SEEN as u64 {
            seen.note(&number.to_string(), Timestamp(100 + number));
        }
        let now = 100 + MAX_SEEN as u64;
        assert_eq!((names(&seen, now).0.len(), names(&seen, now).1), (MAX_SEEN, 0));
        // One that is known takes no room.
        seen.note("7", Timestamp(now));
        assert_eq!(names(&seen, now).0.len(), MAX_SEEN);
        seen.note("another", Timestamp(now));
        let (found, since) = names(&seen, now);
        assert_eq!((found.len(), since), (MAX_SEEN, 101));
        assert!(!found.contains(&"0".to_owned()) && found.contains(&"1".to_owned()));
    }
}
