//! What is told of the requests at a resource, and of what a change of it would mean for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::authority::clock::Timestamp;
use crate::authority::observe::rollup::kind::Kind;
use crate::authority::observe::rollup::kind::Outcome;
use crate::authority::observe::rollup::others::Others;
use crate::authority::observe::rollup::sample::RequestSample;
use crate::authority::observe::rollup::set::RolledUp;
use crate::authority::resources::RegisteredResource;

/// What a replica has counted at a resource in the last day.
#[derive(Clone, Debug)]
pub struct ResourceReport {
    /// The resource.
    pub resource: Arc<RegisteredResource>,
    /// Which replica has counted.
    pub counted: Counted,
    /// The requests: those that would be denied, then those that were, then those that were allowed, each by their number. With
    /// each, whether a registration applies to the caller now.
    pub requests: Vec<(RolledUp, bool)>,
    /// The requests of which no more is kept.
    pub others: Others,
}

/// Which replica has counted requests.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Its name; `None` where it is the only one.
    pub by: Option<String>,
    /// Since when.
    pub since: Timestamp,
}

/// What would change if a resource were replaced.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// Which replica has counted the requests.
    pub counted: Counted,
    /// What would change: first what would be denied, and each by the number of requests.
    pub changes: Vec<SimulatedChange>,
    /// How many requests would have the same outcome.
    pub unchanged: u64,
    /// How many requests could not be decided once more, by why.
    pub not_replayed: BTreeMap<NotReplayed, u64>,
    /// What no replay can know of this change, as sentences.
    pub unknown: Vec<&'static str>,
}

/// What would change for the requests of one caller on one route.
#[derive(Clone, Debug)]
pub struct SimulatedChange {
    /// The requests, as they were decided.
    pub kind: Kind,
    /// Whether a registration applies to the caller now.
    pub registered: bool,
    /// The outcome by the resource as it is.
    pub before: Outcome,
    /// The outcome by the resource as it would be.
    pub after: Outcome,
    /// What to do about a refusal.
    pub fix: String,
    /// How many requests there were.
    pub count: u64,
    /// How many of their samples change so.
    pub changed_samples: usize,
    /// How many samples could be decided once more.
    pub samples: usize,
    /// One of the samples that change so.
    pub sample: RequestSample,
}

impl Simulation {
    /// Adds requests that could not be decided once more.
    pub(in crate::authority) fn add_not_replayed(&mut self, why: NotReplayed, count: u64) {
        if count > 0 {
            *self.not_replayed.entry(why).or_default() += count;
        }
    }
}

/// Why requests could not be decided once more.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, strum::IntoStaticStr, thiserror::Error)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum NotReplayed {
    /// No sample of them is kept.
    #[error("none of them is kept whole: there was no room, or they are too long")]
    SampleMissing,
    /// The route, or the path, settled them before.
    #[error("their tokens were not looked at: the path or the route, as one that is public, settled them before")]
    TokenNotSeen,
    /// The evidence would come from somewhere else.
    #[error("`evidence_from` is another one, and what that would have shown is not kept")]
    OtherEvidence,
    /// It is not the change that decides on them.
    #[error(
        "what is registered, revoked or trusted has changed since: they would be decided otherwise without this change too"
    )]
    OtherwiseAlready,
    /// They are among those of which only the number is kept.
    #[error("only their number is kept: there are too many different ones")]
    NotToldApart,
}

impl NotReplayed {
    /// The fixed code.
    pub fn code(self) -> &'static str {
        self.into()
    }
}
