//! What an edge has decided, on its way to the centre over the stream that is followed.

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use tokio::sync::Notify;

use crate::authority::observe::Decided;
use crate::authority::observe::DecidedReport;
use crate::authority::observe::Outcome;
use crate::authority::observe::Question;
use crate::proto::DecidedOutcome;
use crate::proto::DecidedRequests;
use crate::proto::DecisionReport;

/// One report at a time. One that is sent while its stream breaks is sent again: it may be counted twice, and is not lost.
#[derive(Debug, Default)]
pub struct DecisionReports {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    number: u64,
    waiting: Option<DecisionReport>,
}

impl DecisionReports {
    /// Completes when an upstream has taken the report.
    pub async fn deliver(&self, report: &DecidedReport) {
        {
            let mut state = self.state();
            state.number += 1;
            state.waiting = Some(printed(state.number, report));
        }
        loop {
            let arrived = self.arrived.notified();
            if self.state().waiting.is_none() {
                return;
            }
            arrived.await;
        }
    }

    /// The report that waits.
    pub(super) fn waiting(&self) -> Option<DecisionReport> {
        self.state().waiting.clone()
    }

    /// The upstream has taken the report with this number.
    pub(super) fn taken(&self, number: u64) {
        let mut state = self.state();
        if state.waiting.as_ref().is_some_and(|report| report.number == number) {
            state.waiting = None;
            self.arrived.notify_waiters();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn printed(number: u64, report: &DecidedReport) -> DecisionReport {
    let decided = report.decided.iter().map(|Decided { kind, count }| DecidedRequests {
        resource: kind.resource.clone(),
        caller: kind.caller.clone(),
        check: kind.question == Question::Check,
        route: kind.route.clone(),
        outcome: match kind.outcome {
            Outcome::Allowed => DecidedOutcome::Allowed,
            Outcome::Denied(_) => DecidedOutcome::Denied,
            Outcome::LetThrough(_) => DecidedOutcome::LetThrough,
        }
        .into(),
        reason: kind.outcome.reason().to_owned(),
        fix: kind.fix_of_any().to_owned(),
        count: *count,
    });
    DecisionReport { number, decided: decided.collect(), not_told_apart: report.not_told_apart }
}
