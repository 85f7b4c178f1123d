//! Values that are fetched once for all who ask at the same time, and kept until a moment that comes with them. Their number is
//! bounded: the oldest gives way.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::Shared;
use futures_util::future::WeakShared;
use tokio::time::Instant;

use crate::client::token::TokenError;

/// What is fetched for: a SHA-256.
pub(in crate::client) type Key = [u8; 32];

/// A fetched value, or why there is none. Errors are told to those who wait, and not kept.
pub(in crate::client) type Fetched<T> = Result<T, Arc<TokenError>>;

/// A fetch that is under way. Whoever waits for it drives it; it ends early where nobody does.
pub(in crate::client) type Flight<T> = Shared<Pin<Box<dyn Future<Output = Fetched<T>> + Send>>>;

/// What is known of a key.
pub(in crate::client) enum Found<T> {
    Kept(T),
    UnderWay(Flight<T>),
}

/// The values and the fetches, by their keys.
pub(in crate::client) struct Flights<T> {
    capacity: usize,
    entries: HashMap<Key, Entry<T>>,
    /// The keys of all entries, the oldest first.
    ages: BTreeMap<u64, Key>,
    next: u64,
}

struct Entry<T> {
    number: u64,
    state: State<T>,
}

enum State<T> {
    UnderWay(WeakShared<Pin<Box<dyn Future<Output = Fetched<T>> + Send>>>),
    Kept { value: T, until: Instant },
}

impl<T: Clone> Flights<T> {
    pub(in crate::client) fn new(capacity: usize) -> Self {
        Self { capacity, entries: HashMap::new(), ages: BTreeMap::new(), next: 0 }
    }

    /// The value of a key, or the fetch that is under way for it.
    pub(in crate::client) fn find(&self, key: &Key, now: Instant) -> Option<Found<T>> {
        match &self.entries.get(key)?.state {
            State::Kept { value, until } => (now < *until).then(|| Found::Kept(value.clone())),
            State::UnderWay(flight) => flight.upgrade().map(Found::UnderWay),
        }
    }

    /// Begins a fetch for a key. The fetch is given its number, with which it [`lands`](Self::land).
    pub(in crate::client) fn begin<F>(&mut self, key: Key, now: Instant, fetch: impl FnOnce(u64) -> F) -> Flight<T>
    where
        F: Future<Output = Fetched<T>> + Send + 'static,
    {
        let number = self.next;
        self.next += 1;
        let flight = (Box::pin(fetch(number)) as Pin<Box<dyn Future<Output = _> + Send>>).shared();
        if let Some(state) = flight.downgrade().map(State::UnderWay) {
            self.remove(&key);
            self.make_room(now);
            self.ages.insert(number, key);
            self.entries.insert(key, Entry { number, state });
        }
        flight
    }

    /// Keeps the value that a fetch has brought, or nothing. A fetch whose place another one has taken changes nothing.
    pub(in crate::client) fn land(&mut self, key: &Key, number: u64, kept: Option<(T, Instant)>) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.number == number) else { return };
        match kept {
            Some((value, until)) => entry.state = State::Kept { value, until },
            None => self.remove(key),
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.ages.remove(&entry.number);
        }
    }

    /// Removes the oldest entries while they are over, or too many.
    fn make_room(&mut self, now: Instant) {
        while let Some((_, oldest)) = self.ages.first_key_value() {
            let oldest = *oldest;
            if self.entries.len() < self.capacity && self.find(&oldest, now).is_some() {
                return;
            }
            self.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::future::ready;
    use std::time::Duration;

    use super::*;

    const CAPACITY: usize = 4;

    fn key(number: u8) -> Key {
        [number; 32]
    }

    fn kept(flights: &Flights<u8>, number: u8, now: Instant) -> Option<u8> {
        match flights.find(&key(number), now)? {
            Found::Kept(value) => Some(value),
            Found::UnderWay(_) => None,
        }
    }

    /// Fetches a value, which is kept for a second.
    fn fetched(flights: &mut Flights<u8>, value: u8, now: Instant) {
        let mut began = 0;
        let flight = flights.begin(key(value), now, |number| {
            began = number;
            ready(Ok(value))
        });
        assert!(matches!(flight.now_or_never(), Some(Ok(fetched)) if fetched == value));
        flights.land(&key(value), began, Some((value, now + Duration::from_secs(1))));
    }

    #[test]
    fn a_value_is_kept_until_its_end_and_not_longer() {
        let (mut flights, now) = (Flights::new(CAPACITY), Instant::now());
        fetched(&mut flights, 1, now);
        let end = now + Duration::from_secs(1);
        assert_eq!(kept(&flights, 1, end - Duration::from_nanos(1)), Some(1));
        assert_eq!(kept(&flights, 1, end), None);
        assert_eq!(kept(&flights, 2, now), None);
    }

    #[test]
    fn the_number_of_entries_is_bounded_and_the_oldest_gives_way() {
        let (mut flights, now) = (Flights::new(CAPACITY), Instant::now());
        for value in 0..100 {
            fetched(&mut flights, value, now);
            assert!(flights.entries.len() <= CAPACITY && flights.ages.len() == flights.entries.len());
        }
        let left: Vec<u8> = (0..100).filter(|value| kept(&flights, *value, now).is_some()).collect();
        assert_eq!(left, [96, 97, 98, 99]);
        // What is over gives way although there is room.
        fetched(&mut flights, 100, now + Duration::from_secs(1));
        assert_eq!((flights.entries.len(), flights.ages.len()), (1, 1));
        // The same again takes no second place.
        for _ in 0..CAPACITY {
            fetched(&mut flights, 100, now + Duration::from_secs(1));
        }
        assert_eq!((flights.entries.len(), flights.ages.len()), (1, 1));
    }

    #[test]
    fn what_is_under_way_is_joined_unless_nobody_waits_any_more() {
        let (mut flights, now) = (Flights::<u8>::new(CAPACITY), Instant::now());
        let flight = flights.begin(key(1), now, |_| pending());
        let Some(Found::UnderWay(joined)) = flights.find(&key(1), now) else { panic!("not under way") };
        assert!(joined.ptr_eq(&flight));
        drop(flight);
        assert!(matches!(flights.find(&key(1), now), Some(Found::UnderWay(_))), "one still waits");
        drop(joined);
        assert!(flights.find(&key(1), now).is_none());
    }

    #[test]
    fn a_fetch_whose_place_was_taken_changes_nothing_when_it_lands() {
        let (mut flights, now) = (Flights::new(CAPACITY), Instant::now());
        let mut first = 0;
        drop(flights.begin(key(1), now, |number| {
            first = number;
            pending()
        }));
        fetched(&mut flights, 1, now);
        flights.land(&key(1), first, None);
        flights.land(&key(1), first, Some((9, now + Duration::from_secs(9))));
        assert_eq!(kept(&flights, 1, now), Some(1));
        // A fetch of its own that brings nothing leaves nothing.
        let mut second = 0;
        drop(flights.begin(key(1), now, |number| {
            second = number;
            pending()
        }));
        flights.land(&key(1), second, None);
        assert!(flights.entries.is_empty() && flights.ages.is_empty());
    }
}
