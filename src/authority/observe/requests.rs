//! Request durations, by method and outcome. The methods are those of the access table, and one more for all others.

use std::time::Duration;

use crate::authority::access::CalledMethod;
use crate::authority::access::METHODS;
use crate::authority::access::OTHER;
use crate::authority::observe::families::Distribution;
use crate::authority::observe::families::Durations;
use crate::authority::observe::families::Family;
use crate::authority::observe::families::labels;

/// How a request ended, from the operator's point of view.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RequestOutcome {
    /// The request succeeded.
    Ok,
    /// The request was refused because of its content or its caller, or the caller went away.
    Refused,
    /// The request failed because of an error in this server.
    Error,
}

impl RequestOutcome {
    const ALL: [Self; 3] = [Self::Ok, Self::Refused, Self::Error];

    fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Error => "error",
        }
    }
}

/// The durations of all requests.
#[derive(Debug)]
pub struct Requests {
    methods: Vec<ByOutcome>,
    other: ByOutcome,
}

#[derive(Debug, Default)]
struct ByOutcome {
    ok: Durations,
    refused: Durations,
    error: Durations,
}

impl ByOutcome {
    fn of(&self, outcome: RequestOutcome) -> &Durations {
        match outcome {
            RequestOutcome::Ok => &self.ok,
            RequestOutcome::Refused => &self.refused,
            RequestOutcome::Error => &self.error,
        }
    }
}

impl Default for Requests {
    fn default() -> Self {
        Self { methods: METHODS.iter().map(|_| ByOutcome::default()).collect(), other: ByOutcome::default() }
    }
}

impl Requests {
    /// Records the duration of a finished request.
    pub fn ended(&self, method: CalledMethod, outcome: RequestOutcome, took: Duration) {
        let method = method.position().and_then(|position| self.methods.get(position)).unwrap_or(&self.other);
        method.of(outcome).add(took);
    }

    /// A method appears with all its outcomes from its first call on. A page with every method that is never called
    /// would be long; an increase of errors is visible only in a series that existed before.
    pub(in crate::authority) fn family(&self) -> Family {
        let known = METHODS.iter().map(|method| method_label(method.name)).zip(&self.methods);
        let called = known.chain([(OTHER, &self.other)]).flat_map(|(method, durations)| {
            let read = RequestOutcome::ALL.map(|outcome| (outcome, durations.of(outcome).read()));
            let called = read.iter().any(|(_, taken)| taken.count() > 0);
            read.into_iter().filter(move |_| called).map(move |(outcome, taken): (_, Distribution)| {
                (labels([("method", method), ("outcome", outcome.label())]), taken)
            })
        });
        Family::histograms(
            "lanyard_request_duration_seconds",
            "How long requests took, from their head to the end of the answer",
            called,
        )
    }
}

/// The label of a method: a gRPC method without the leading slash, as in OpenTelemetry; an HTTP endpoint by its path.
fn method_label(name: &'static str) -> &'static str {
    let grpc = name.strip_prefix('/').filter(|rest| {
        let package = rest.split_once('/').map(|(service, _)| service);
        package.is_some_and(|service| service.contains('.') && !service.starts_with('.'))
    });
    grpc.unwrap_or(name)
}
