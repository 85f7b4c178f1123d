//! What an edge has decided, on its way to the centre.

use std::borrow::Cow;
use std::collections::HashMap;

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
    pub(super) counts: HashMap<(Key, u32), u32>,
    pub(super) others: u64,
}

/// What an edge has reported so far.
#[derive(Debug, Default)]
pub struct ReportedDecisions {
    /// The requests of each kind and hour.
    pub(super) counts: HashMap<(Key, u32), u32>,
    pub(super) others: u64,
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
