//! What is asked at resources, and what a change would mean for it, as messages.

use crate::authority::observe::Counted;
use crate::authority::observe::NotReplayed;
use crate::authority::observe::Others;
use crate::authority::observe::Question;
use crate::authority::observe::ResourceReport;
use crate::authority::observe::RolledUp;
use crate::authority::observe::SimulatedChange;
use crate::authority::observe::Simulation;
use crate::messages;
use crate::messages::timestamp;
use crate::proto;
use crate::proto::OtherRequests;
use crate::proto::ReportResourceResponse;
use crate::proto::RolledUpRequests;
use crate::proto::SimulateResourceResponse;

pub(super) fn printed_report(report: ResourceReport) -> ReportResourceResponse {
    let ResourceReport { resource, counted: Counted { by, since }, requests, others } = report;
    let Others { allowed, let_through, denied, kinds } = others;
    ReportResourceResponse {
        etag: messages::etag(resource.revision),
        mode: resource.registration.metadata.mode.clone().unwrap_or_default(),
        delegated_mode: resource.registration.delegated.as_ref().map(|one| one.mode().to_owned()).unwrap_or_default(),
        replica: by.unwrap_or_default(),
        since: Some(timestamp(since)),
        requests: requests.into_iter().map(rolled_up).collect(),
        others: Some(OtherRequests { allowed, let_through, denied, kinds }),
    }
}

fn rolled_up((requests, registered): (RolledUp, bool)) -> RolledUpRequests {
    let fix = requests.kind.fix();
    let RolledUp { kind, count, missed, first, last, samples, .. } = requests;
    RolledUpRequests {
        caller: kind.caller,
        registered,
        question: question(kind.question).to_owned(),
        route: kind.route,
        outcome: kind.outcome.name().to_owned(),
        reason: kind.outcome.reason().to_owned(),
        fix,
        count,
        missed,
        first: Some(timestamp(first)),
        last: Some(timestamp(last)),
        samples: samples.iter().map(|sample| sample.request.to_string()).collect(),
    }
}

pub(super) fn printed_simulation(simulation: Simulation) -> SimulateResourceResponse {
    let Simulation { counted: Counted { by, since }, changes, unchanged, not_replayed, unknown } = simulation;
    let printed = |(why, count): (NotReplayed, u64)| proto::NotReplayed {
        reason: why.code().to_owned(),
        explanation: why.to_string(),
        count,
    };
    SimulateResourceResponse {
        replica: by.unwrap_or_default(),
        since: Some(timestamp(since)),
        changes: changes.into_iter().map(change).collect(),
        unchanged,
        not_replayed: not_replayed.into_iter().map(printed).collect(),
        unknown: unknown.into_iter().map(ToOwned::to_owned).collect(),
    }
}

fn change(change: SimulatedChange) -> proto::SimulatedChange {
    let SimulatedChange { kind, registered, before, after, fix, count, changed_samples, samples, sample } = change;
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    proto::SimulatedChange {
        caller: kind.caller,
        registered,
        question: question(kind.question).to_owned(),
        route: kind.route,
        outcome_before: before.name().to_owned(),
        reason_before: before.reason().to_owned(),
        outcome_after: after.name().to_owned(),
        reason_after: after.reason().to_owned(),
        fix,
        count,
        changed_samples: number(changed_samples),
        samples: number(samples),
        sample: sample.request.to_string(),
    }
}

fn question(question: Question) -> &'static str {
    match question {
        Question::Check => "check",
        Question::ValidateBinding => "validate_binding",
    }
}
