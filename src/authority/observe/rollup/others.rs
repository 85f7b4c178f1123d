//! The requests whose kind is not kept any more: how many there were, and how many kinds of them about.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::authority::clock::Timestamp;
use crate::authority::observe::rollup::hours::HOURS;
use crate::authority::observe::rollup::hours::hour_of;
use crate::authority::observe::rollup::kind::Displaced;
use crate::authority::observe::rollup::kind::Outcome;
use crate::authority::observe::rollup::sketch::Sketch;

/// The most resources with such requests: some 3 MiB, by the longest names. Those of further ones are not counted.
const MAX_RESOURCES: usize = 1024;

/// How many requests of the last day there were at a resource, without telling them apart.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Others {
    /// Those that were allowed.
    pub allowed: u64,
    /// Those that were let through.
    pub let_through: u64,
    /// Those that were denied.
    pub denied: u64,
    /// How many kinds of requests these are, about.
    pub kinds: u64,
}

impl Others {
    /// How many there are.
    pub fn requests(&self) -> u64 {
        self.allowed + self.let_through + self.denied
    }

    pub(super) fn add(&mut self, outcome: Outcome, count: u64) {
        *match outcome {
            Outcome::Allowed => &mut self.allowed,
            Outcome::LetThrough(_) => &mut self.let_through,
            Outcome::Denied(_) => &mut self.denied,
        } += count;
    }
}

/// Those of each resource.
#[derive(Debug, Default)]
pub(super) struct AllOthers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    resources: BTreeMap<String, OfResource>,
    /// The hour in which those without requests were looked for.
    swept: u32,
}

#[derive(Debug, Default)]
struct OfResource {
    /// By hour: its number and the requests in it.
    hours: [(u32, Others); HOURS],
    sketch: Sketch,
}

impl OfResource {
    fn read(&self, now: Timestamp) -> Others {
        let mut sum = self.sum(now);
        if sum.requests() > 0 {
            sum.kinds = self.sketch.estimate();
        }
        sum
    }

    /// The same without the number of kinds, which takes some microseconds.
    fn sum(&self, now: Timestamp) -> Others {
        let mut sum = Others::default();
        for (_, others) in self.hours.iter().filter(|(hour, _)| is_of_last_day(*hour, hour_of(now))) {
            sum.allowed += others.allowed;
            sum.let_through += others.let_through;
            sum.denied += others.denied;
        }
        sum
    }
}

/// Whether an hour is one of the last day's.
fn is_of_last_day(hour: u32, present: u32) -> bool {
    usize::try_from(present.saturating_sub(hour)).is_ok_and(|age| age < HOURS)
}

impl AllOthers {
    /// Adds what a kind had when it lost its place.
    pub(super) fn add(&self, displaced: Displaced, now: Timestamp) {
        let Displaced { key, kind, counts } = displaced;
        if counts.is_empty() {
            return;
        }
        let mut all = self.all();
        let State { resources, swept } = &mut *all;
        if !resources.contains_key(&kind.resource) && resources.len() >= MAX_RESOURCES {
            if *swept != hour_of(now) {
                *swept = hour_of(now);
                resources.retain(|_, others| others.sum(now).requests() > 0);
            }
            if resources.len() >= MAX_RESOURCES {
                return;
            }
        }
        let others = resources.entry(kind.resource).or_default();
        if others.sum(now).requests() == 0 {
            others.sketch = Sketch::default();
        }
        others.sketch.add(key.get());
        for (hour, count) in counts {
            let Some(place) = usize::try_from(hour).ok().and_then(|place| others.hours.get_mut(place % HOURS)) else {
                continue;
            };
            if place.0 != hour {
                *place = (hour, Others::default());
            }
            place.1.add(kind.outcome, count.into());
        }
    }

    pub(super) fn read(&self, resource: &str, now: Timestamp) -> Others {
        self.all().resources.get(resource).map(|others| others.read(now)).unwrap_or_default()
    }

    /// Those of each resource.
    pub(super) fn read_all(&self, now: Timestamp) -> BTreeMap<String, Others> {
        self.all().resources.iter().map(|(resource, others)| (resource.clone(), others.read(now))).collect()
    }

    pub(super) fn bytes(&self) -> usize {
        self.all().resources.keys().map(|resource| resource.len() + size_of::<(String, OfResource)>()).sum()
    }

    fn all(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
