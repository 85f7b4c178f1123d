//! What an edge has decided, on its way to the centre.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::authority::clock::Timestamp;
use crate::authority::observe::rollup::DecisionRollup;
use crate::authority::observe::rollup::kind::Key;
use crate::authority::observe::rollup::kind::Kind;
use crate::authority::observe::rollup::kind::Outcome;
use crate::authority::observe::rollup::kind::Question;

/// The most kinds of requests in one report.
pub const MAX_REPORTED: usize = 512;

/// The longest text in a report, in bytes. What is longer is cut.
const MAX_TEXT: usize = 512;

/// Requests that were decided at an edge.
#[derive(Clone, Debug)]
pub struct Decided {
    /// What they have in common.
    pub kind: Kind,
    /// How many there are.
    pub count: u32,
}

/// One report.
#[derive(Clone, Debug, Default)]
pub struct DecidedReport {
    /// The requests, by what they have in common.
    pub decided: Vec<Decided>,
    /// How many others there were.
    pub not_told_apart: u64,
    /// What has been reported once it has arrived.
    counts: HashMap<(Key, u32), u32>,
    others: u64,
}

/// What an edge has reported so far.
#[derive(Debug, Default)]
pub struct ReportedDecisions {
    /// The requests of each kind and hour.
    counts: HashMap<(Key, u32), u32>,
    others: u64,
}

impl ReportedDecisions {
    /// Takes note that a report has arrived.
    pub fn arrived(&mut self, report: DecidedReport) {
        self.counts.extend(report.counts);
        self.others = report.others;
    }
}

impl Kind {
    /// A kind as an edge reports it. `reason` is a code that this version knows.
    pub fn reported(
        (resource, caller, route, fix): (&str, &str, &str, &str),
        question: Question,
        outcome: Outcome,
    ) -> Self {
        let cut = |text: &str| text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default().to_owned();
        let (resource, caller, route, fix) = (resource.to_owned(), cut(caller), cut(route), Cow::Owned(cut(fix)));
        Self { resource, caller, question, route, outcome, fix }
    }

    /// What to do about a refusal, without what it names in it.
    pub fn fix_of_any(&self) -> &str {
        &self.fix
    }
}

impl DecisionRollup {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::observe::rollup::Asked;

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
