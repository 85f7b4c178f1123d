//! The memory of decisions: what was asked at each resource, by whom, on which route, what came of it and how often, for a day. It
//! is bounded: the busiest are counted exactly, and of the rest how many there are. It has neither tokens nor keys.
//!
//! A request that was seen before is counted by a few atomic operations and no lock. What is new, the first of an hour, and each
//! that doubles a count of the hour, takes the lock of its set and leaves a sample.

mod hours;
mod kind;
mod others;
mod report;
mod reported;
mod sample;
mod set;
mod sketch;

use std::collections::BTreeMap;
use std::collections::HashMap;

use ahash::RandomState;

use crate::authority::clock::Timestamp;
use crate::authority::observe::rollup::kind::Key;
use crate::authority::observe::rollup::others::AllOthers;
use crate::authority::observe::rollup::set::Set;

pub(in crate::authority) use crate::authority::observe::rollup::kind::Asked;
pub use crate::authority::observe::rollup::kind::Kind;
pub use crate::authority::observe::rollup::kind::Outcome;
pub use crate::authority::observe::rollup::kind::Question;
pub(in crate::authority) use crate::authority::observe::rollup::kind::named;
pub use crate::authority::observe::rollup::others::Others;
pub use crate::authority::observe::rollup::report::Counted;
pub use crate::authority::observe::rollup::report::NotReplayed;
pub use crate::authority::observe::rollup::report::ResourceReport;
pub use crate::authority::observe::rollup::report::SimulatedChange;
pub use crate::authority::observe::rollup::report::Simulation;
pub use crate::authority::observe::rollup::reported::Decided;
pub use crate::authority::observe::rollup::reported::DecidedReport;
pub use crate::authority::observe::rollup::reported::MAX_REPORTED;
pub use crate::authority::observe::rollup::reported::ReportedDecisions;
pub use crate::authority::observe::rollup::sample::RequestSample;
pub use crate::authority::observe::rollup::sample::SampledRequest;
pub use crate::authority::observe::rollup::sample::Shown;
pub use crate::authority::observe::rollup::sample::TokenUse;
pub use crate::authority::observe::rollup::set::RolledUp;

/// What the memory of decisions may take, in bytes, about.
pub const MAX_ROLLUP_BYTES: usize = 24 * 1024 * 1024;

/// How many sets there are for callers that are registered, and for those without a name. Each has the places of
/// a few kinds of requests.
const SETS: usize = 512;

/// How many there are for all other callers, who can be as many as they like, and displace nobody else.
const SETS_OF_STRANGERS: usize = 64;

/// The decisions of a replica.
#[derive(Debug)]
pub struct DecisionRollup {
    since: Timestamp,
    /// Keyed at random, so that nobody can choose whose set a kind shares.
    hash: RandomState,
    sets: Box<[Set]>,
    sets_of_strangers: Box<[Set]>,
    others: AllOthers,
}

impl DecisionRollup {
    /// Counts from this time on. `seed` is random.
    pub fn new(since: Timestamp, seed: u64) -> Self {
        let sets = |count| (0..count).map(|_| Set::default()).collect();
        let (sets, sets_of_strangers) = (sets(SETS), sets(SETS_OF_STRANGERS));
        let hash = RandomState::with_seed(usize::try_from(seed).unwrap_or(usize::MAX));
        Self { since, hash, sets, sets_of_strangers, others: AllOthers::default() }
    }

    /// Since when it counts.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// Counts a request. `is_stranger` is whether it came from a caller with a name that is not registered; `sample` is asked for
    /// one where it is to be kept.
    pub(in crate::authority) fn count(
        &self,
        asked: &Asked<'_>,
        is_stranger: bool,
        now: Timestamp,
        sample: impl FnOnce() -> Option<RequestSample>,
    ) {
        let key = self.key(asked);
        let Some(set) = self.set(key, is_stranger) else { return };
        if let Some(displaced) = set.count(key, now, || (Kind::of(asked), sample())) {
            self.others.add(displaced, now);
        }
    }

    /// Adds requests that were counted elsewhere. None of them can be decided once more here.
    pub(in crate::authority) fn add(&self, kind: Kind, count: u32, is_stranger: bool, now: Timestamp) {
        let key = self.key_of(&kind);
        if let Some(displaced) = self.set(key, is_stranger).and_then(|set| set.add(key, kind, count, now)) {
            self.others.add(displaced, now);
        }
    }

    /// What was counted and not reported yet, at most [`MAX_REPORTED`] kinds of it; `None` where that is nothing.
    pub fn not_reported(&self, reported: &mut ReportedDecisions, now: Timestamp) -> Option<DecidedReport> {
        let mut report = DecidedReport { others: self.not_told_apart(now), ..DecidedReport::default() };
        let mut still = HashMap::with_capacity(reported.counts.len());
        for one in self.read(None, now) {
            let key = self.key_of(&one.kind);
            let mut more = 0;
            for (hour, count) in one.hours() {
                let before = reported.counts.get(&(key, *hour)).copied();
                still.extend(before.map(|before| ((key, *hour), before)));
                let before = before.unwrap_or_default();
                // A kind that lost its place and has one again begins anew, below what was reported of it.
                if *count > before && report.decided.len() < MAX_REPORTED {
                    more += count - before;
                    report.counts.insert((key, *hour), *count);
                }
            }
            if more > 0 {
                report.decided.push(Decided { kind: one.kind, count: more });
            }
        }
        // What is older than a day is forgotten here as there.
        reported.counts = still;
        report.not_told_apart = report.others.saturating_sub(reported.others);
        (!report.decided.is_empty() || report.not_told_apart > 0).then_some(report)
    }

    /// How many requests of the last day there are of which no more is kept, at all resources.
    pub(in crate::authority) fn not_told_apart(&self, now: Timestamp) -> u64 {
        self.others.read_all(now).values().map(Others::requests).sum()
    }

    fn set(&self, key: Key, is_stranger: bool) -> Option<&Set> {
        let sets = if is_stranger { &self.sets_of_strangers } else { &self.sets };
        usize::try_from(key.get()).ok().and_then(|key| sets.get(key % sets.len()))
    }

    /// What is kept of the requests of the last day, at this resource or at all of them.
    pub fn read(&self, resource: Option<&str>, now: Timestamp) -> Vec<RolledUp> {
        let mut found = Vec::new();
        for set in self.sets.iter().chain(&self.sets_of_strangers) {
            set.read(resource, now, &mut found);
        }
        found
    }

    /// The requests of the last day at a resource of which no more is kept.
    pub fn others(&self, resource: &str, now: Timestamp) -> Others {
        self.others.read(resource, now)
    }

    /// The requests of the last day at each resource.
    pub(in crate::authority) fn sums(&self, now: Timestamp) -> BTreeMap<String, Others> {
        let mut sums = self.others.read_all(now);
        for set in self.sets.iter().chain(&self.sets_of_strangers) {
            set.add_to(&mut sums, now);
        }
        sums
    }

    /// How many kinds of requests are kept, and how many bytes all of it takes, about.
    pub fn size(&self) -> (usize, usize) {
        let sets = self.sets.iter().chain(&self.sets_of_strangers).map(Set::size);
        let (kinds, bytes) = sets.fold((0, 0), |(kinds, bytes), (more, heap)| (kinds + more, bytes + heap));
        (kinds, bytes + self.others.bytes())
    }

    fn key_of(&self, kind: &Kind) -> Key {
        self.key(&kind.asked(&mut Vec::new()))
    }

    fn key(&self, asked: &Asked<'_>) -> Key {
        Key::new(self.hash.hash_one(asked)).unwrap_or(Key::MIN)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::authority::decision::CheckRefusal;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn asked(caller: &str) -> Asked<'_> {
        Asked {
            resource: "urn:orders",
            caller,
            question: Question::Check,
            route: None,
            outcome: Outcome::Denied("TOKEN_MISSING"),
            fix: "",
        }
    }

    fn count(rollup: &DecisionRollup, caller: &str, path: &str, is_stranger: bool) {
        rollup.count(&asked(caller), is_stranger, NOW, || {
            let request = SampledRequest::check("GET", path)?;
            Some(RequestSample { at: NOW, request, shown: Shown::NoToken(CheckRefusal::TokenMissing) })
        });
    }

    fn of(rollup: &DecisionRollup, caller: &str) -> Vec<(u64, u64)> {
        let found = rollup.read(None, NOW).into_iter().filter(|one| one.kind.caller == caller);
        found.map(|one| (one.count, one.missed)).collect()
    }

    #[test]
    fn of_what_began_before_a_time_the_hours_after_it_alone_are_told() {
        let rollup = DecisionRollup::new(NOW, 7);
        let at = |minutes: u64| NOW.after(Duration::from_secs(60 * minutes));
        for minutes in [0, 10, 59] {
            rollup.count(&asked("a"), false, at(minutes), || None);
        }
        let told = |minutes: u64, since: u64| {
            let found = rollup.read(None, at(minutes)).into_iter().filter_map(|one| one.since(at(since)));
            found.map(|one| (one.first, one.count)).collect::<Vec<_>>()
        };
        assert_eq!(told(59, 0), [(NOW, 3)]);
        assert_eq!(told(59, 5), []);
        rollup.count(&asked("a"), false, at(61), || None);
        assert_eq!(told(61, 5), [(at(60), 1)]);
        assert_eq!(told(61, 0), [(NOW, 4)]);
    }

    #[test]
    fn a_million_callers_and_paths_stay_within_the_bound_and_the_busiest_are_counted_exactly() {
        const STRANGERS: u64 = 1_000_000;
        let rollup = DecisionRollup::new(NOW, 7);
        let path = |number| format!("/{}/{number}", "x".repeat(200));
        for number in 0..STRANGERS {
            count(&rollup, &format!("stranger {number} {}", "y".repeat(200)), &path(number), true);
            if number % 100 == 0 {
                count(&rollup, "busy", &path(number), true);
            }
            if number % 100 == 0 && number >= STRANGERS / 2 {
                count(&rollup, "late", &path(number), true);
            }
            if number % 10_000 == 0 {
                count(&rollup, "registered", &path(number), false);
                assert!(rollup.size().1 <= MAX_ROLLUP_BYTES, "{:?}", rollup.size());
            }
        }
        assert_eq!(of(&rollup, "registered"), [(STRANGERS / 10_000, 0)]);
        assert_eq!(of(&rollup, "busy"), [(STRANGERS / 100, 0)]);
        // One that comes late may have been among the others before, and is said to.
        let [(late, missed)] = of(&rollup, "late")[..] else { panic!("it is busy enough") };
        let all = STRANGERS / 200;
        assert!(late <= all && all <= late + missed, "{all} in {late} to {}", late + missed);
        // No request is lost, and how many callers there were is known about.
        let kept: u64 = rollup.read(None, NOW).iter().map(|one| one.count).sum();
        let others = rollup.others("urn:orders", NOW);
        assert_eq!(kept + others.denied, STRANGERS + STRANGERS / 100 + all + STRANGERS / 10_000);
        assert!(others.kinds.abs_diff(STRANGERS) < STRANGERS / 5, "{others:?}");
        // Within a day of silence all of it is over.
        let later = Timestamp(NOW.0 + 25 * 3600);
        assert!(rollup.read(None, later).is_empty());
        assert_eq!(rollup.others("urn:orders", later), Others::default());
    }

    #[test]
    fn as_many_registered_callers_stay_within_the_bound_too() {
        let rollup = DecisionRollup::new(NOW, 7);
        for number in 0..100_000 {
            count(&rollup, &format!("client {number} {}", "y".repeat(200)), &format!("/{}", "x".repeat(250)), false);
        }
        let (kinds, bytes) = rollup.size();
        assert_eq!(kinds, 4096);
        assert!(bytes <= MAX_ROLLUP_BYTES, "{bytes}");
    }

    #[test]
    fn threads_count_the_same_requests_exactly_and_without_a_lock_on_each() {
        const EACH: u64 = 50_000;
        let rollup = DecisionRollup::new(NOW, 7);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..EACH).for_each(|_| count(&rollup, "checkout", "/orders/1", false)));
            }
        });
        assert_eq!(of(&rollup, "checkout"), [(4 * EACH, 0)]);
        // A sample is asked for where a count has doubled, and not each time.
        let mut asked_for = 0;
        for _ in 0..EACH {
            rollup.count(&asked("other"), false, NOW, || {
                asked_for += 1;
                None
            });
        }
        assert_eq!(asked_for, 1 + EACH.ilog2());
    }
}

#[cfg(test)]
mod reports {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn ask(rollup: &DecisionRollup, caller: &str, outcome: Outcome) {
        let methods = ["GET".to_owned()];
        let route = Some((methods.as_slice(), "/orders/{id}"));
        let asked = Asked { resource: "urn:orders", caller, question: Question::Check, route, outcome, fix: "do it" };
        rollup.count(&asked, false, NOW, || None);
    }

    fn take(centre: &DecisionRollup, report: &DecidedReport) {
        for Decided { kind, count } in &report.decided {
            let texts = (&*kind.resource, &*kind.caller, &*kind.route, kind.fix_of_any());
            centre.add(Kind::reported(texts, kind.question, kind.outcome), *count, false, NOW);
        }
    }

    fn counts(rollup: &DecisionRollup) -> Vec<(String, String, u64)> {
        let found = rollup.read(None, NOW).into_iter();
        let mut counts: Vec<_> =
            found.map(|one| (format!("{} {}", one.kind.caller, one.kind.route), one.kind.fix(), one.count)).collect();
        counts.sort();
        counts
    }

    #[test]
    fn what_an_edge_decides_is_counted_at_the_centre_once_with_its_own() {
        let (edge, centre) = (DecisionRollup::new(NOW, 7), DecisionRollup::new(NOW, 8));
        let mut reported = ReportedDecisions::default();
        assert!(edge.not_reported(&mut reported, NOW).is_none());
        ask(&centre, "shop", Outcome::Allowed);
        for _ in 0..5 {
            ask(&edge, "shop", Outcome::Allowed);
        }
        ask(&edge, "thief", Outcome::Denied("NOT_BOUND"));
        // It does not arrive.
        drop(edge.not_reported(&mut reported, NOW).unwrap());
        ask(&edge, "shop", Outcome::Allowed);
        let report = edge.not_reported(&mut reported, NOW).unwrap();
        take(&centre, &report);
        reported.arrived(report);
        assert!(edge.not_reported(&mut reported, NOW).is_none());
        let of = |caller: &str, count| (format!("{caller} GET /orders/{{id}}"), "do it".to_owned(), count);
        assert_eq!(counts(&centre), [of("shop", 7), of("thief", 1)]);

        ask(&edge, "shop", Outcome::Allowed);
        let report = edge.not_reported(&mut reported, NOW).unwrap();
        assert_eq!(report.decided.iter().map(|one| one.count).collect::<Vec<_>>(), [1]);
        take(&centre, &report);
        assert_eq!(counts(&centre), [of("shop", 8), of("thief", 1)]);
    }

    #[test]
    fn of_more_kinds_than_fit_the_rest_comes_next_and_what_is_displaced_is_counted() {
        let edge = DecisionRollup::new(NOW, 7);
        for number in 0..6000 {
            ask(&edge, &format!("caller {number}"), Outcome::Allowed);
        }
        let mut reported = ReportedDecisions::default();
        let (mut told, mut others) = (0, 0);
        while let Some(report) = edge.not_reported(&mut reported, NOW) {
            assert!(report.decided.len() <= MAX_REPORTED);
            told += report.decided.iter().map(|one| u64::from(one.count)).sum::<u64>();
            others += report.not_told_apart;
            reported.arrived(report);
        }
        assert_eq!(told + others, 6000);
        assert!(told >= 3000 && others > 0, "{told} {others}");
    }
}
