//! Counters of decisions, as plain values for any exporter.
//!
//! The labels of each counter are fixed here, regardless of what callers send.

mod counts;
mod families;
mod report_denials;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::authority::access::NotAdmitted;
use crate::authority::decision::CheckRefusal;
use crate::authority::decision::ExchangeError;
use crate::authority::decision::GrantErrorCode;
use crate::authority::deny_reason::DenyReason;
use crate::authority::observe::handshake_error::HandshakeError;
use crate::authority::observe::metrics::counts::Counts;
use crate::authority::observe::metrics::counts::Reason;
use crate::authority::observe::metrics::counts::increment;
pub use crate::authority::observe::metrics::counts::known_reason;
use crate::authority::observe::metrics::report_denials::ReportDenials;
use crate::authority::observe::quota::Quota;
use crate::authority::observe::receipt_outcome::ReceiptOutcome;
use crate::authority::observe::requests::Requests;
use crate::authority::resources::Resources;

/// The caches of results that are expensive to compute.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cache {
    /// Tokens whose signatures were verified.
    Tokens,
    /// Certificates that proxies have seen, and that have a path to their bundle.
    Certificates,
    /// Peers whose certificates a TLS terminator forwards.
    ForwardedPeers,
}

/// The result of a cache lookup.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lookup {
    /// The entry was present.
    Hit,
    /// The entry was absent.
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
#[derive(Debug, Default)]
pub struct Metrics {
    /// `BindingService`, by unary call or over a stream.
    validate_binding: Decisions<DenyReason>,
    /// Introspection, over gRPC or HTTP.
    introspect: Decisions<DenyReason>,
    /// Envoy's checks.
    check: Decisions<CheckRefusal>,
    report_denials: ReportDenials,
    issued: AtomicU64,
    grants_refused: Counts<GrantErrorCode>,
    exchanged: AtomicU64,
    /// Those of them that only a rule in report mode let through.
    exchanges_reported: AtomicU64,
    exchanges_refused: Counts<ExchangeError>,
    txn_tokens: AtomicU64,
    txn_tokens_refused: Counts<ExchangeError>,
    jwt_grants: AtomicU64,
    jwt_grants_refused: Counts<ExchangeError>,
    calls_refused: Counts<NotAdmitted>,
    handshakes_refused: Counts<HandshakeError>,
    path_signatures: AtomicU64,
    assertions_reused: AtomicU64,
    quotas_exceeded: Counts<Quota>,
    receipts: Counts<ReceiptOutcome>,
    panics: AtomicU64,
    divergences: AtomicU64,
    reported_by_edges: AtomicU64,
    not_told_apart_by_edges: AtomicU64,
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
struct Decisions<R> {
    allowed: AtomicU64,
    denied: Counts<R>,
}

impl<R: Reason> Default for Decisions<R> {
    fn default() -> Self {
        Self { allowed: AtomicU64::default(), denied: Counts::default() }
    }
}

impl<R: Reason> Decisions<R> {
    fn add(&self, refused: Option<R>) {
        match refused {
            None => increment(&self.allowed),
            Some(reason) => self.denied.add(reason),
        }
    }
}

/// Counters that only the core increments, in the same place where it records the event.
impl Metrics {
    pub(in crate::authority) fn binding_decided(&self, refused: Option<DenyReason>) {
        self.validate_binding.add(refused);
    }

    pub(in crate::authority) fn introspected(&self, refused: Option<DenyReason>) {
        self.introspect.add(refused);
    }

    /// `let_through_at` is the resource at which a denial did not stop the request, because it is in the mode `report`,
    /// beside all that are registered.
    pub(in crate::authority) fn checked(
        &self,
        refused: Option<CheckRefusal>,
        let_through_at: Option<(&str, &Resources)>,
    ) {
        self.check.add(refused);
        if let (Some(refusal), Some((audience, registered))) = (refused, let_through_at) {
            self.report_denials.add(audience, refusal, registered);
        }
    }

    pub(in crate::authority) fn issued(&self) {
        increment(&self.issued);
    }

    pub(in crate::authority) fn grant_refused(&self, code: GrantErrorCode) {
        self.grants_refused.add(code);
    }

    /// Counts a token that was issued in exchange; `reported` is whether it would have been refused for lack of a receipt.
    pub(in crate::authority) fn exchanged(&self, reported: bool) {
        increment(if reported { &self.exchanges_reported } else { &self.exchanged });
    }

    /// Counts a transaction token that was issued.
    pub(in crate::authority) fn txn_token(&self) {
        increment(&self.txn_tokens);
    }

    /// Counts a grant for another authorization server.
    pub(in crate::authority) fn jwt_grant(&self) {
        increment(&self.jwt_grants);
    }

    pub(in crate::authority) fn jwt_grant_refused(&self, error: ExchangeError) {
        self.jwt_grants_refused.add(error);
    }

    pub(in crate::authority) fn txn_token_refused(&self, error: ExchangeError) {
        self.txn_tokens_refused.add(error);
    }

    pub(in crate::authority) fn exchange_refused(&self, error: ExchangeError) {
        self.exchanges_refused.add(error);
    }

    pub(in crate::authority) fn call_refused(&self, error: NotAdmitted) {
        self.calls_refused.add(error);
    }

    pub(in crate::authority) fn path_signatures_verified(&self, signatures: u32) {
        self.path_signatures.fetch_add(signatures.into(), Ordering::Relaxed);
    }

    /// Counts an assertion that came with another certificate than the first one.
    pub(in crate::authority) fn assertion_reused(&self) {
        increment(&self.assertions_reused);
    }

    /// Counts a request that goes beyond a quota.
    pub(in crate::authority) fn quota_exceeded(&self, quota: Quota) {
        self.quotas_exceeded.add(quota);
    }

    pub(in crate::authority) fn receipt(&self, outcome: ReceiptOutcome) {
        self.receipts.add(outcome);
    }

    pub(in crate::authority) fn handshake_refused(&self, error: HandshakeError) {
        self.handshakes_refused.add(error);
    }
}

impl Metrics {
    /// Records a lookup in a cache.
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

    /// Counts a request, a handshake or a background task that ended in a panic, which is an error in this server.
    pub fn panicked(&self) {
        increment(&self.panics);
    }

    /// Counts a part of the snapshot that differed from the store, because a change was missed.
    pub fn diverged(&self) {
        increment(&self.divergences);
    }

    /// Counts requests that an edge has decided and reported, and those of which it reported no more than their number.
    pub fn reported_by_edge(&self, decided: u64, not_told_apart: u64) {
        self.reported_by_edges.fetch_add(decided, Ordering::Relaxed);
        self.not_told_apart_by_edges.fetch_add(not_told_apart, Ordering::Relaxed);
    }

    fn lookups(&self, cache: Cache) -> &Lookups {
        match cache {
            Cache::Tokens => &self.tokens,
            Cache::Certificates => &self.certificates,
            Cache::ForwardedPeers => &self.forwarded_peers,
        }
    }
}
