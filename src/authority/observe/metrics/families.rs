//! The counters as metric families.

use crate::authority::decision::CheckRefusal;
use crate::authority::decision::ExchangeError;
use crate::authority::deny_reason::DenyReason;
use crate::authority::observe::families::Family;
use crate::authority::observe::families::Labels;
use crate::authority::observe::families::labels;
use crate::authority::observe::metrics::Cache;
use crate::authority::observe::metrics::Decisions;
use crate::authority::observe::metrics::Metrics;
use crate::authority::observe::metrics::counts::Counts;
use crate::authority::observe::metrics::counts::Reason;
use crate::authority::observe::metrics::counts::read;
use crate::authority::resources::Resources;

/// What an exchange is asked for.
const ACCESS_TOKEN: &str = "access_token";
const TXN_TOKEN: &str = "txn_token";
const JWT_GRANT: &str = "jwt";

/// The denials that a check of a bearer token alone would have allowed.
const DOWNGRADES: [DenyReason; 7] = [
    DenyReason::NotBound,
    DenyReason::EvidenceMissing,
    DenyReason::EvidenceTooWeak,
    DenyReason::CertificateRenewed,
    DenyReason::CertificateMismatch,
    DenyReason::LineageOver,
    DenyReason::RotationStrict,
];

/// A reason that no event has. Its series remain, at 0, for queries that name them.
const OTHER: &str = "OTHER";

impl Metrics {
    /// All counters. Series at 0 are included: a rate can only be computed for a series that existed before it grew.
    pub(in crate::authority) fn families(&self, registered: &Resources) -> Vec<Family> {
        let caches = |count: fn(&super::Lookups) -> u64| {
            Cache::ALL.map(|cache| (labels([("cache", cache.label())]), count(self.lookups(cache))))
        };
        vec![
            self.decisions(),
            Family::counters(
                "lanyard_report_mode_denials",
                "Denials that were let through in report mode",
                self.report_denials.read(registered),
            ),
            self.downgrades(),
            one("lanyard_tokens_issued", "Tokens issued", read(&self.issued)),
            by("lanyard_grants_refused", "Token requests that were refused", "error", &self.grants_refused),
            self.exchanges(),
            by("lanyard_calls_refused", "Calls that were not admitted", "reason", &self.calls_refused),
            by(
                "lanyard_handshakes_refused",
                "Handshakes that failed, or that were ended because no rule proves the certificate",
                "reason",
                &self.handshakes_refused,
            ),
            by(
                "lanyard_quota_exceeded",
                "Requests beyond what one caller, or all, can make the server keep",
                "quota",
                &self.quotas_exceeded,
            ),
            by("lanyard_receipts", "Receipts of presentations, by what became of them", "outcome", &self.receipts),
            one(
                "lanyard_assertions_reused",
                "Client assertions of trusted issuers that came with another certificate than the first one",
                read(&self.assertions_reused),
            ),
            one(
                "lanyard_path_signatures_verified",
                "Signatures of certificates that were verified to find paths to CAs",
                read(&self.path_signatures),
            ),
            one(
                "lanyard_store_divergences",
                "Parts of the snapshot that differed from the store, because a change was missed",
                read(&self.divergences),
            ),
            one(
                "lanyard_edge_decisions_reported",
                "Requests that edges decided and reported to this server, by resource and outcome in lanyard_resource_requests",
                read(&self.reported_by_edges),
            ),
            one(
                "lanyard_edge_decisions_not_told_apart",
                "Requests that edges decided and reported no more than the number of",
                read(&self.not_told_apart_by_edges),
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
        let bindings = decisions("validate_binding", &self.validate_binding);
        let all = bindings.chain(decisions("introspect", &self.introspect)).chain(decisions("check", &self.check));
        Family::counters("lanyard_decisions", "Uses of tokens that were decided", all)
    }

    fn exchanges(&self) -> Family {
        let labels =
            |outcome, reason, requested| labels([("outcome", outcome), ("reason", reason), ("requested", requested)]);
        let issued = [
            (labels("issued", "", ACCESS_TOKEN), read(&self.exchanged)),
            (labels("issued", "", TXN_TOKEN), read(&self.txn_tokens)),
            (labels("issued", "", JWT_GRANT), read(&self.jwt_grants)),
            (labels("reported", ExchangeError::ReceiptMissing.code(), ACCESS_TOKEN), read(&self.exchanges_reported)),
        ];
        let refused = [
            (ACCESS_TOKEN, &self.exchanges_refused),
            (TXN_TOKEN, &self.txn_tokens_refused),
            (JWT_GRANT, &self.jwt_grants_refused),
        ];
        let refused = refused.into_iter().flat_map(|(requested, counts)| {
            counts.read().map(move |(reason, count)| (labels("refused", reason, requested), count))
        });
        Family::counters("lanyard_exchanges", "Requests to exchange a token", issued.into_iter().chain(refused))
    }

    fn downgrades(&self) -> Family {
        let counts = DOWNGRADES.map(|reason| {
            let checks = self.check.denied.of(CheckRefusal::Denied(reason));
            let count = self.validate_binding.denied.of(reason) + self.introspect.denied.of(reason) + checks;
            (labels([("reason", reason.code())]), count)
        });
        let help =
            "Denials of uses that a check of the bearer token alone would have let through, in any question and mode";
        Family::counters("lanyard_downgrades_refused", help, counts)
    }
}

fn decisions<R: Reason>(question: &'static str, decided: &Decisions<R>) -> impl Iterator<Item = (Labels, u64)> {
    let labels = move |decision, reason| labels([("question", question), ("decision", decision), ("reason", reason)]);
    let denied = decided.denied.read().chain([(OTHER, 0)]).map(move |(reason, count)| (labels("deny", reason), count));
    std::iter::once((labels("allow", ""), read(&decided.allowed))).chain(denied)
}

fn by<R: Reason>(name: &'static str, help: &'static str, label: &'static str, counts: &Counts<R>) -> Family {
    Family::counters(name, help, counts.read().map(|(value, count)| (labels([(label, value)]), count)))
}

fn one(name: &'static str, help: &'static str, count: u64) -> Family {
    Family::counters(name, help, [(Vec::new(), count)])
}
