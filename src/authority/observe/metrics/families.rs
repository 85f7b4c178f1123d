//! The counts as measures.

use crate::authority::observe::families::Family;
use crate::authority::observe::families::labels;
use crate::authority::observe::metrics::Cache;
use crate::authority::observe::metrics::Counts;
use crate::authority::observe::metrics::Metrics;
use crate::authority::observe::metrics::Question;
use crate::authority::observe::metrics::read;

/// What a check of a bearer token alone would have let through.
const DOWNGRADES: [&str; 6] =
    ["NOT_BOUND", "EVIDENCE_MISSING", "EVIDENCE_TOO_WEAK", "CERTIFICATE_MISMATCH", "LINEAGE_OVER", "ROTATION_STRICT"];

impl Metrics {
    /// What was counted so far. Series of which nothing was counted yet are there too: a rate can only be told of a series
    /// that was seen before it grew.
    pub(in crate::authority) fn families(&self) -> Vec<Family> {
        let caches = |count: fn(&super::Lookups) -> u64| {
            Cache::ALL.map(|cache| (labels([("cache", cache.label())]), count(self.lookups(cache))))
        };
        vec![
            self.decisions(),
            by(
                "lanyard_report_mode_denials",
                "Denials that were let through in report mode",
                "reason",
                &self.report_denials,
            ),
            self.downgrades(),
            one("lanyard_tokens_issued", "Tokens issued", read(&self.issued)),
            by("lanyard_grants_refused", "Token requests that were refused", "error", &self.grants_refused),
            by("lanyard_calls_refused", "Calls that were not admitted", "reason", &self.calls_refused),
            by(
                "lanyard_handshakes_refused",
                "Handshakes that failed, or that were ended because no rule proves the certificate",
                "reason",
                &self.handshakes_refused,
            ),
            one(
                "lanyard_panics",
                "Requests, handshakes and tasks beside them that ended in a panic",
                read(&self.panics),
            ),
            self.requests.family(),
            Family::counters(
                "lanyard_cache_hits",
                "Look-ups that found what was remembered",
                caches(|one| read(&one.hits)),
            ),
            Family::counters("lanyard_cache_misses", "Look-ups that found nothing", caches(|one| read(&one.misses))),
        ]
    }

    fn decisions(&self) -> Family {
        let decisions = Question::ALL.into_iter().flat_map(|question| {
            let decided = self.of(question);
            let labels = move |decision, reason| {
                labels([("question", question.label()), ("decision", decision), ("reason", reason)])
            };
            let denied = decided.denied.read().map(move |(reason, count)| (labels("deny", reason), count));
            std::iter::once((labels("allow", ""), read(&decided.allowed))).chain(denied)
        });
        Family::counters("lanyard_decisions", "Uses of tokens that were judged", decisions)
    }

    fn downgrades(&self) -> Family {
        let counts = DOWNGRADES.map(|reason| {
            let all = Question::ALL.into_iter().flat_map(|question| self.of(question).denied.read());
            let count = all.filter(|(denied, _)| *denied == reason).map(|(_, count)| count).sum();
            (labels([("reason", reason)]), count)
        });
        let help =
            "Denials of uses that a check of the bearer token alone would have let through, in any question and mode";
        Family::counters("lanyard_downgrades_refused", help, counts)
    }
}

fn by(name: &'static str, help: &'static str, label: &'static str, counts: &Counts) -> Family {
    Family::counters(name, help, counts.read().map(|(value, count)| (labels([(label, value)]), count)))
}

fn one(name: &'static str, help: &'static str, count: u64) -> Family {
    Family::counters(name, help, [(Vec::new(), count)])
}
