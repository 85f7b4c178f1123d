//! A flood of refusals as few records: of the same refusal of the same caller the first ones in a second are recorded at
//! once, and the others as their number; while the flood lasts, one in each second. The same is done to what admins read.
//! Nothing else is held back, and metrics count each refusal.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::authority::clock::Clock;
use crate::authority::clock::Timestamp;
use crate::authority::observe::audit::record::AuditEvent;
use crate::authority::observe::audit::record::AuditOutcome;
use crate::authority::observe::audit::record::AuditRecord;
use crate::authority::observe::audit::record::Severity;
use crate::authority::observe::audit::sink::AuditSink;

/// The most callers and reasons that are told apart at a time, some 200 bytes each. The refusals of further callers are
/// told apart by their reason alone.
const MAX_CALLERS: usize = 1024;

/// How many refusals in one second are no flood yet: their causes and paths may differ, and all of them are of interest.
const BURST: u32 = 10;

/// What the number of refusals beyond [`MAX_CALLERS`] names as their caller.
const OTHERS: &str = "other callers";

/// Hands records on to a sink, and folds refusals.
#[derive(Debug)]
pub struct FoldedRefusals {
    sink: Arc<dyn AuditSink>,
    clock: Arc<dyn Clock>,
    refusals: Mutex<BTreeMap<Refusal, Repeats>>,
}

/// What refusals have in common that are recorded once. Nothing in it is the caller's choice: a name is of a certificate or
/// of a verified token.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Refusal {
    event: AuditEvent,
    outcome: AuditOutcome,
    reason: Option<&'static str>,
    request: Option<&'static str>,
    /// The caller, or the address of one without a name.
    actor: Option<String>,
    remote: Option<String>,
    /// The client and its certificate as a proxy saw them.
    client_id: Option<String>,
    evidence: Option<String>,
    /// The method by which an admin read.
    read_by: Option<String>,
}

#[derive(Debug)]
struct Repeats {
    severity: Severity,
    /// The second of the last one.
    second: Timestamp,
    /// How many more are recorded by themselves in that second.
    left: u32,
    /// Whether there were others in that second.
    flooded: bool,
    /// The number of others since it was recorded last.
    count: u64,
}

impl Repeats {
    fn new(severity: Severity, now: Timestamp) -> Self {
        Self { severity, second: now, left: BURST, flooded: false, count: 0 }
    }

    /// Whether one more is recorded by itself.
    fn takes(&mut self, now: Timestamp) -> bool {
        if self.second != now {
            self.left = if self.flooded { 1 } else { BURST };
            (self.second, self.flooded) = (now, false);
        }
        if self.left > 0 {
            self.left -= 1;
        } else {
            (self.flooded, self.count) = (true, self.count + 1);
        }
        !self.flooded
    }
}

impl Refusal {
    fn of(record: &AuditRecord) -> Option<Self> {
        match record.outcome {
            AuditOutcome::Denied | AuditOutcome::Reported => {}
            AuditOutcome::Allowed if record.event == AuditEvent::AdminRead => {}
            AuditOutcome::Allowed | AuditOutcome::Changed => return None,
        }
        Some(Self {
            event: record.event,
            outcome: record.outcome,
            reason: record.reason,
            request: record.request,
            remote: if record.actor.is_none() { record.remote_host().map(str::to_owned) } else { None },
            actor: record.actor.clone(),
            client_id: record.client_id.clone(),
            evidence: record.evidence.clone(),
            read_by: record.method.clone().filter(|_| record.event == AuditEvent::AdminRead),
        })
    }

    fn of_any_caller(self) -> Self {
        let actor = Some(OTHERS.to_owned());
        Self { actor, remote: None, client_id: None, evidence: None, ..self }
    }

    fn repeated(self, severity: Severity, count: u64) -> AuditRecord {
        AuditRecord {
            reason: self.reason,
            request: self.request,
            actor: self.actor,
            remote: self.remote,
            client_id: self.client_id,
            evidence: self.evidence,
            method: self.read_by,
            ..AuditRecord::of_repeated(self.event, severity, self.outcome, count)
        }
    }
}

impl FoldedRefusals {
    /// Hands records on to this sink.
    pub fn new(sink: Arc<dyn AuditSink>, clock: Arc<dyn Clock>) -> Self {
        Self { sink, clock, refusals: Mutex::default() }
    }

    /// Records the numbers of the seconds that are over. It is called each second, and not within a request, whose trace
    /// has nothing to do with them.
    pub fn tick(&self) {
        let now = self.clock.now();
        self.record_repeats(|repeats| repeats.second != now);
    }

    /// Records all numbers.
    pub fn finish(&self) {
        self.record_repeats(|_| true);
    }

    fn record_repeats(&self, is_over: impl Fn(&Repeats) -> bool) {
        let mut due = Vec::new();
        // Those of which nothing was counted are forgotten.
        self.refusals().retain(|refusal, repeats| {
            let count = if is_over(repeats) { mem::take(&mut repeats.count) } else { 0 };
            if count > 0 {
                due.push(refusal.clone().repeated(repeats.severity, count));
            }
            count > 0 || !is_over(repeats)
        });
        for record in due {
            self.sink.record(&record);
        }
    }

    /// Whether a refusal is to be recorded by itself. Otherwise it is counted.
    fn takes(&self, refusal: Refusal, severity: Severity) -> bool {
        let now = self.clock.now();
        let mut refusals = self.refusals();
        let is_new = !refusals.contains_key(&refusal);
        let refusal = if is_new && refusals.len() >= MAX_CALLERS { refusal.of_any_caller() } else { refusal };
        refusals.entry(refusal).or_insert_with(|| Repeats::new(severity, now)).takes(now)
    }

    fn refusals(&self) -> MutexGuard<'_, BTreeMap<Refusal, Repeats>> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AuditSink for FoldedRefusals {
    fn wants(&self, event: AuditEvent, severity: Severity) -> bool {
        self.sink.wants(event, severity)
    }

    fn record(&self, record: &AuditRecord) {
        if Refusal::of(record).is_none_or(|refusal| self.takes(refusal, record.severity)) {
            self.sink.record(record);
        }
    }
}
