//! How often each thing was decided: plain counts, for whoever exposes them.
//!
//! The labels of each count are fixed here, whatever callers send. A code that is not among them is counted as
//! [`OTHER`], so that a new one that was forgotten here is seen rather than lost.

mod families;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::authority::access::NotAdmitted;
use crate::authority::decision::Decision;
use crate::authority::decision::GrantError;
use crate::authority::observe::requests::Requests;
use crate::authority::trust::Unproven;

/// The label of what has no label of its own.
pub const OTHER: &str = "OTHER";

/// Why a use of a token can be denied, in every question.
const DENY_REASONS: &[&str] = &[
    "TOKEN_MALFORMED",
    "TOKEN_TYPE",
    "UNKNOWN_KEY",
    "BAD_SIGNATURE",
    "WRONG_ISSUER",
    "TOKEN_EXPIRED",
    "TOKEN_NOT_YET_VALID",
    "CLIENT_UNKNOWN",
    "CLIENT_DISABLED",
    "CLIENT_RECREATED",
    "TOKEN_REVOKED",
    "CLIENT_REVOKED",
    "CERTIFICATE_REVOKED",
    "WRONG_AUDIENCE",
    "TRUST_DOMAIN_NOT_ACCEPTED",
    "NOT_BOUND",
    "EVIDENCE_MISSING",
    "EVIDENCE_TOO_WEAK",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_NOT_YET_VALID",
    "CERTIFICATE_MISMATCH",
    "LINEAGE_OVER",
    "ROTATION_STRICT",
    "INSUFFICIENT_SCOPE",
];

/// Why a check can be denied besides, before it comes to a use of a token.
const CHECK_REASONS: &[&str] = &[
    "TOKEN_MISSING",
    "AUTHORIZATION_MALFORMED",
    "EVIDENCE_MALFORMED",
    "RESOURCE_UNKNOWN",
    "ROUTE_UNKNOWN",
    "PATH_NOT_CANONICAL",
    "REQUEST_MALFORMED",
    "NOT_A_PROXY",
    "UNABLE",
];

/// RFC 6749 section 5.2, RFC 8707 section 2.
const GRANT_ERRORS: &[&str] = &[
    "invalid_client",
    "invalid_request",
    "invalid_scope",
    "invalid_target",
    "unsupported_grant_type",
    "server_error",
    "temporarily_unavailable",
];

const NOT_ADMITTED: &[&str] =
    &["NO_SUCH_METHOD", "NO_CERTIFICATE", "CERTIFICATE_NOT_PROVEN", "CERTIFICATE_NOT_FORWARDED", "WRONG_ROLE"];

/// Why a handshake can fail, besides that no rule proves the certificate: no certificate, no common version, or no TLS.
pub const HANDSHAKE_FAILED: &str = "HANDSHAKE_FAILED";
/// The same: it took too long, or waited too long for its turn.
pub const TOO_SLOW: &str = "TOO_SLOW";

const HANDSHAKES: &[&str] = &[
    "CHAIN_SIZE",
    "INVALID",
    "EXPIRED",
    "NOT_YET_VALID",
    "SEVERAL_URIS",
    "INVALID_SPIFFE_ID",
    "SIGNING_CERTIFICATE",
    "KEY_USAGE",
    "NAMES_NOT_CRITICAL",
    "UNKNOWN_TRUST_DOMAIN",
    "STALE_BUNDLE",
    "NO_PATH",
    "REVOKED",
    "UNKNOWN",
    HANDSHAKE_FAILED,
    TOO_SLOW,
];

/// In which question a decision was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Question {
    /// `BindingService`, by one call or over a stream.
    ValidateBinding,
    /// Introspection, over gRPC or HTTP.
    Introspect,
    /// Envoy's checks.
    Check,
}

impl Question {
    /// All voices.
    pub const ALL: [Self; 3] = [Self::ValidateBinding, Self::Introspect, Self::Check];

    /// The question's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::ValidateBinding => "validate_binding",
            Self::Introspect => "introspect",
            Self::Check => "check",
        }
    }
}

/// What a decision came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Allowed.
    Allow,
    /// Denied, with the code of the reason.
    Deny(&'static str),
}

impl From<&Decision> for Outcome {
    fn from(decision: &Decision) -> Self {
        match decision {
            Decision::Allow(_) => Self::Allow,
            Decision::Deny(reason) => Self::Deny(reason.code()),
        }
    }
}

/// What is remembered, so that it need not be worked out again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cache {
    /// Tokens whose signatures were verified.
    Tokens,
    /// Certificates that proxies have seen, and that have a path to their bundle.
    Certificates,
    /// Peers whose certificates a terminator passes on.
    ForwardedPeers,
}

/// Whether it was there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lookup {
    /// It was.
    Hit,
    /// It was not.
    Miss,
}

impl Cache {
    const ALL: [Self; 3] = [Self::Tokens, Self::Certificates, Self::ForwardedPeers];

    fn label(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Certificates => "certificates",
            Self::ForwardedPeers => "forwarded_peers",
        }
    }
}

/// All counts since the start. They only grow.
#[derive(Debug)]
pub struct Metrics {
    validate_binding: Decisions,
    introspect: Decisions,
    check: Decisions,
    report_denials: Counts,
    issued: AtomicU64,
    grants_refused: Counts,
    calls_refused: Counts,
    handshakes_refused: Counts,
    panics: AtomicU64,
    requests: Requests,
    tokens: Lookups,
    certificates: Lookups,
    forwarded_peers: Lookups,
}

#[derive(Debug, Default)]
struct Lookups {
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug)]
struct Decisions {
    allowed: AtomicU64,
    denied: Counts,
}

/// One count a label, and one for [`OTHER`].
#[derive(Debug)]
struct Counts {
    labelled: Vec<(&'static str, AtomicU64)>,
    other: AtomicU64,
}

impl Counts {
    fn new<'a>(labels: impl IntoIterator<Item = &'a &'static str>) -> Self {
        let labelled = labels.into_iter().map(|label| (*label, AtomicU64::default())).collect();
        Self { labelled, other: AtomicU64::default() }
    }

    fn add(&self, label: &str) {
        let known = self.labelled.iter().find(|(known, _)| *known == label);
        increment(known.map_or(&self.other, |(_, count)| count));
    }

    fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let known = self.labelled.iter().map(|(label, count)| (*label, read(count)));
        known.chain([(OTHER, read(&self.other))])
    }
}

fn increment(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

impl Default for Metrics {
    fn default() -> Self {
        let decisions = || Decisions { allowed: AtomicU64::default(), denied: Counts::new(DENY_REASONS) };
        let check_reasons = || Counts::new(DENY_REASONS.iter().chain(CHECK_REASONS));
        Self {
            validate_binding: decisions(),
            introspect: decisions(),
            check: Decisions { denied: check_reasons(), ..decisions() },
            report_denials: check_reasons(),
            issued: AtomicU64::default(),
            grants_refused: Counts::new(GRANT_ERRORS),
            calls_refused: Counts::new(NOT_ADMITTED),
            handshakes_refused: Counts::new(HANDSHAKES),
            panics: AtomicU64::default(),
            requests: Requests::default(),
            tokens: Lookups::default(),
            certificates: Lookups::default(),
            forwarded_peers: Lookups::default(),
        }
    }
}

/// What is counted.
impl Metrics {
    /// A use was judged.
    pub fn decided(&self, question: Question, outcome: impl Into<Outcome>) {
        let decisions = self.of(question);
        match outcome.into() {
            Outcome::Allow => increment(&decisions.allowed),
            Outcome::Deny(code) => decisions.denied.add(code),
        }
    }

    /// A denial was let through, because its resource is in the mode `report`.
    pub fn report_denial(&self, code: &'static str) {
        self.report_denials.add(code);
    }

    /// A token request got its token, or did not.
    pub fn granted<T>(&self, outcome: &Result<T, GrantError>) {
        match outcome {
            Ok(_) => increment(&self.issued),
            Err(error) => self.grant_refused(error.code()),
        }
    }

    /// A token request was refused, with this error of RFC 6749.
    pub fn grant_refused(&self, code: &'static str) {
        self.grants_refused.add(code);
    }

    /// A call did not reach what it called.
    pub fn call_refused(&self, error: NotAdmitted) {
        self.calls_refused.add(error.code());
    }

    /// A handshake was ended, because no rule proves the certificate.
    pub fn handshake_refused(&self, unproven: Unproven) {
        self.handshakes_refused.add(unproven.code());
    }

    /// A handshake failed for another reason: [`HANDSHAKE_FAILED`] or [`TOO_SLOW`].
    pub fn handshake_failed(&self, reason: &'static str) {
        self.handshakes_refused.add(reason);
    }

    /// Something was looked for in a cache.
    pub fn looked_up(&self, cache: Cache, outcome: Lookup) {
        let lookups = self.lookups(cache);
        increment(match outcome {
            Lookup::Hit => &lookups.hits,
            Lookup::Miss => &lookups.misses,
        });
    }

    /// The durations of requests.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// A request, a handshake or a task beside them ended in a panic, which is a fault of this server's.
    pub fn panicked(&self) {
        increment(&self.panics);
    }

    fn of(&self, question: Question) -> &Decisions {
        match question {
            Question::ValidateBinding => &self.validate_binding,
            Question::Introspect => &self.introspect,
            Question::Check => &self.check,
        }
    }

    fn lookups(&self, cache: Cache) -> &Lookups {
        match cache {
            Cache::Tokens => &self.tokens,
            Cache::Certificates => &self.certificates,
            Cache::ForwardedPeers => &self.forwarded_peers,
        }
    }
}
