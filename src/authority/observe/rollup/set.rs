//! The places of a few kinds of requests: the counters, which no lock guards, and what is told of each kind.
//!
//! A kind that is new takes a free place, or that of the kind with the fewest requests of the last day, and may have had as many
//! before as that one (Space-Saving: Metwally, Agrawal, El Abbadi, 2005). So a kind with more than its set's share of all requests
//! keeps its place, however many others come once.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::authority::clock::Timestamp;
use crate::authority::observe::rollup::hours::HOURS;
use crate::authority::observe::rollup::hours::hour_of;
use crate::authority::observe::rollup::kind::Displaced;
use crate::authority::observe::rollup::kind::Key;
use crate::authority::observe::rollup::kind::Kind;
use crate::authority::observe::rollup::others::Others;
use crate::authority::observe::rollup::sample::RequestSample;

/// How many kinds have a place in a set.
pub(super) const PLACES: usize = 8;

/// The most samples of a kind.
const MAX_SAMPLES: usize = 4;

/// What the kinds of a set and their samples may take, in bytes, about: the kinds alone always do.
const MAX_BYTES: usize = 32 * 1024;

/// One set.
#[derive(Debug, Default)]
pub(super) struct Set {
    /// The key of the kind at each place, 0 where there is none: side by side, so that one line of the cache has all of them.
    keys: [AtomicU64; PLACES],
    counters: [Counter; PLACES],
    kept: Mutex<Kept>,
}

/// The requests of one kind, by hour.
#[derive(Debug, Default)]
struct Counter {
    /// The hour that it has begun. Only whoever has the lock changes it.
    hour: AtomicU32,
    /// The second of the last request.
    last: AtomicU64,
    /// The requests of each hour, by its number modulo their number.
    hours: [AtomicU32; HOURS],
}

#[derive(Debug, Default)]
struct Kept {
    entries: [Option<Entry>; PLACES],
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    kind: Kind,
    first: Timestamp,
    /// How many requests of it may have been displaced before the first, at most, in the last day of that.
    missed: u64,
    samples: Vec<RequestSample>,
}

/// What is told of the requests of a kind.
#[derive(Clone, Debug)]
pub struct RolledUp {
    /// What they have in common.
    pub kind: Kind,
    /// How many there were in the last 24 hours and the hour that has begun.
    pub count: u64,
    /// How many more there may have been, at most, that are counted among the others.
    pub missed: u64,
    /// When the first was counted.
    pub first: Timestamp,
    /// When the last was counted.
    pub last: Timestamp,
    /// Some of them.
    pub samples: Vec<RequestSample>,
    /// How many there were in each hour.
    hours: Vec<(u32, u32)>,
}

impl RolledUp {
    /// How many there were in each hour, by its number.
    pub(in crate::authority) fn hours(&self) -> &[(u32, u32)] {
        &self.hours
    }

    /// Those of a later time alone: from the next full hour on, where there were some before. `None` if there are none.
    pub(in crate::authority) fn since(self, time: Timestamp) -> Option<Self> {
        if self.first >= time {
            return Some(self);
        }
        let hour = hour_of(time).saturating_add(1);
        let count = self.hours.iter().filter(|(of, _)| *of >= hour).map(|(_, count)| u64::from(*count)).sum();
        let first = Timestamp(u64::from(hour) * 3600);
        let samples = self.samples.into_iter().filter(|sample| sample.at >= first).collect();
        (count > 0).then_some(Self { count, first, samples, ..self })
    }
}

/// What became of a request that was to be counted without the lock.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Counted {
    /// It is counted.
    Yes,
    /// It is counted, and a sample of it is to be kept.
    AndSampled,
    /// Its kind has no place, or no request in this hour yet.
    No,
}

impl Counter {
    /// The counter of an hour.
    fn of(&self, hour: u32) -> Option<&AtomicU32> {
        self.hours.get(usize::try_from(hour).ok()? % HOURS)
    }

    /// Adds a request in an hour that has begun for this counter.
    fn add(&self, hour: u32, now: Timestamp) -> Counted {
        self.add_many(hour, now, 1)
    }

    fn add_many(&self, hour: u32, now: Timestamp, more: u32) -> Counted {
        let Some(count) = self.of(hour) else { return Counted::No };
        let before = count.fetch_add(more, Ordering::Relaxed);
        self.last.store(now.0, Ordering::Relaxed);
        if before.wrapping_add(more).is_power_of_two() { Counted::AndSampled } else { Counted::Yes }
    }

    /// Begins an hour, and forgets what is older than a day. A clock that is set back begins none.
    fn begin(&self, hour: u32) {
        let last = self.hour.load(Ordering::Acquire);
        // As many hours in a row are all of them.
        for passed in (last.saturating_add(1)..=hour).take(HOURS) {
            if let Some(count) = self.of(passed) {
                count.store(0, Ordering::Relaxed);
            }
        }
        self.hour.store(hour.max(last), Ordering::Release);
    }

    /// The requests of the last day, once the present hour has begun.
    fn sum(&self) -> u64 {
        self.hours.iter().map(|count| u64::from(count.load(Ordering::Relaxed))).sum()
    }

    /// The same by hour, with the number of each.
    fn by_hour(&self) -> Vec<(u32, u32)> {
        let last = self.hour.load(Ordering::Relaxed);
        let hours = (0..=last).rev().take(HOURS);
        let counts = hours.filter_map(|hour| Some((hour, self.of(hour)?.load(Ordering::Relaxed))));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// Begins with one request of another kind.
    fn begin_again(&self, now: Timestamp) {
        for count in &self.hours {
            count.store(0, Ordering::Relaxed);
        }
        self.hour.store(hour_of(now), Ordering::Relaxed);
        self.add(hour_of(now), now);
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        self.kind.bytes() + self.samples.iter().map(RequestSample::bytes).sum::<usize>()
    }

    /// How many requests of it may have been displaced in the last day.
    fn missed(&self, hour: u32) -> u64 {
        let age = hour.saturating_sub(hour_of(self.first));
        if usize::try_from(age).is_ok_and(|age| age < HOURS) { self.missed } else { 0 }
    }

    /// Keeps a sample: in place of one of the same request, or else of the oldest.
    fn keep(&mut self, sample: RequestSample) {
        self.samples.retain(|known| known.request != sample.request);
        if self.samples.len() == MAX_SAMPLES {
            self.samples.remove(0);
        }
        self.samples.push(sample);
    }
}

impl Kept {
    /// Keeps a sample of the kind at a place. Where there is no room, the kind with the most of it gives up its oldest one.
    fn keep(&mut self, place: usize, sample: Option<RequestSample>) {
        if let (Some(sample), Some(Some(entry))) = (sample, self.entries.get_mut(place)) {
            entry.keep(sample);
        }
        self.bytes = self.entries.iter().flatten().map(Entry::bytes).sum();
        while self.bytes > MAX_BYTES {
            let sampled = self.entries.iter_mut().flatten().filter(|entry| !entry.samples.is_empty());
            let Some(largest) = sampled.max_by_key(|entry| entry.bytes()) else { return };
            self.bytes -= largest.samples.remove(0).bytes();
        }
    }
}

impl Set {
    /// Counts a request of a kind, which is asked for with a sample where it may be new. Returns the kind that lost its place.
    pub(super) fn count(
        &self,
        key: Key,
        now: Timestamp,
        request: impl FnOnce() -> (Kind, Option<RequestSample>),
    ) -> Option<Displaced> {
        let hour = hour_of(now);
        let has_begun = |counter: &&Counter| counter.hour.load(Ordering::Acquire) == hour;
        let counter = self.place_of(key).and_then(|place| self.counters.get(place)).filter(has_begun);
        // A request that is counted while its kind loses the place may count for the kind that takes it.
        let already = counter.map_or(Counted::No, |counter| counter.add(hour, now));
        if already == Counted::Yes {
            return None;
        }
        let (kind, sample) = request();
        self.count_with_sample(key, (kind, sample), already, now)
    }

    /// Adds requests of a kind that were counted elsewhere. Returns the kind that lost its place to it.
    pub(super) fn add(&self, key: Key, kind: Kind, count: u32, now: Timestamp) -> Option<Displaced> {
        let displaced = self.count_with_sample(key, (kind, None), Counted::No, now);
        if let Some(counter) = self.place_of(key).and_then(|place| self.counters.get(place)) {
            // The first is counted.
            counter.add_many(counter.hour.load(Ordering::Relaxed), now, count.saturating_sub(1));
        }
        displaced
    }

    fn count_with_sample(
        &self,
        key: Key,
        (kind, sample): (Kind, Option<RequestSample>),
        already: Counted,
        now: Timestamp,
    ) -> Option<Displaced> {
        let mut kept = self.kept();
        self.begin(now);
        if let Some(place) = self.place_of(key) {
            if let (Counted::No, Some(counter)) = (already, self.counters.get(place)) {
                counter.add(counter.hour.load(Ordering::Relaxed), now);
            }
            kept.keep(place, sample);
            return None;
        }
        // It has lost its place since it was counted.
        if already != Counted::No {
            return None;
        }
        let places = self.counters.iter().zip(&kept.entries).enumerate();
        let requests = |entry: &Entry, counter: &Counter| counter.sum() + entry.missed(hour_of(now));
        let rank = |(_, (counter, entry)): &(usize, (&Counter, &Option<Entry>))| {
            entry.as_ref().map(|entry| requests(entry, counter))
        };
        // A free place has no rank, and comes first.
        let (place, (counter, _)) = places.min_by_key(rank)?;
        let taken = kept.entries.get_mut(place)?.take();
        let missed = taken.as_ref().map_or(0, |entry| requests(entry, counter));
        let key_here = self.keys.get(place)?;
        let displaced = taken.and_then(|Entry { kind, .. }| {
            Some(Displaced { key: Key::new(key_here.load(Ordering::Relaxed))?, kind, counts: counter.by_hour() })
        });
        *kept.entries.get_mut(place)? = Some(Entry { kind, first: now, missed, samples: Vec::new() });
        key_here.store(0, Ordering::Release);
        counter.begin_again(now);
        key_here.store(key.get(), Ordering::Release);
        kept.keep(place, sample);
        displaced
    }

    /// The place of a kind.
    fn place_of(&self, key: Key) -> Option<usize> {
        self.keys.iter().position(|known| known.load(Ordering::Acquire) == key.get())
    }

    /// Adds what is kept of the requests of the last day, at this resource or at all of them.
    pub(super) fn read(&self, resource: Option<&str>, now: Timestamp, found: &mut Vec<RolledUp>) {
        let kept = self.kept();
        self.begin(now);
        for (counter, entry) in self.counters.iter().zip(&kept.entries) {
            let Some(entry) = entry else { continue };
            let count = counter.sum();
            if count == 0 || resource.is_some_and(|resource| entry.kind.resource != resource) {
                continue;
            }
            found.push(RolledUp {
                kind: entry.kind.clone(),
                count,
                missed: entry.missed(hour_of(now)),
                first: entry.first,
                last: Timestamp(counter.last.load(Ordering::Relaxed)),
                samples: entry.samples.clone(),
                hours: counter.by_hour(),
            });
        }
    }

    /// Adds the requests of the last day to the sums of their resources.
    pub(super) fn add_to(&self, sums: &mut BTreeMap<String, Others>, now: Timestamp) {
        let kept = self.kept();
        self.begin(now);
        for (counter, entry) in self.counters.iter().zip(&kept.entries) {
            let Some(Entry { kind, .. }) = entry else { continue };
            // Most resources have several kinds, so that few names are copied.
            if let Some(sum) = sums.get_mut(&kind.resource) {
                sum.add(kind.outcome, counter.sum());
            } else {
                let mut sum = Others::default();
                sum.add(kind.outcome, counter.sum());
                sums.insert(kind.resource.clone(), sum);
            }
        }
    }

    /// How many kinds it keeps, and how many bytes all of it takes, about.
    pub(super) fn size(&self) -> (usize, usize) {
        let kept = self.kept();
        (kept.entries.iter().flatten().count(), size_of::<Self>() + kept.bytes)
    }

    /// Begins the present hour for all counters. Whoever calls it has the lock.
    fn begin(&self, now: Timestamp) {
        for counter in &self.counters {
            counter.begin(hour_of(now));
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
