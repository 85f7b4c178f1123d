//! Takes the records from the threads that serve requests, and writes them by a thread of its own.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

use crate::authority::clock::Clock;
use crate::authority::clock::Timestamp;
use crate::authority::observe::AuditEvent;
use crate::authority::observe::AuditHead;
use crate::authority::observe::AuditRecord;
use crate::authority::observe::AuditSink;
use crate::authority::observe::Family;
use crate::authority::observe::Severity;
use crate::authority::observe::labels;
use crate::telemetry::trail::chain::ChainEnd;
use crate::telemetry::trail::chain::SIGNED;
use crate::telemetry::trail::chain::STARTED;
use crate::telemetry::trail::chain::STOPPED;
use crate::telemetry::trail::config::Config;
use crate::telemetry::trail::config::TrailError;
use crate::telemetry::trail::key::HeadKey;
use crate::telemetry::trail::key::PublicKey;
use crate::telemetry::trail::output::Output;

/// The most records that wait for the disk, some 1 KiB each. Further ones are counted, and missing in the sequence.
const MAX_WAITING: usize = 16_384;

/// The most that wait where one more of what was allowed is taken: the rest is for refusals and changes.
const MAX_WAITING_ALLOWED: usize = MAX_WAITING / 2;

/// How often the last hash is signed, if there is a new one.
const SIGNED_EVERY: Duration = Duration::from_mins(1);

/// How long the writer sleeps at most, and how long it waits after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// The audit trail in a file.
#[derive(Debug)]
pub struct AuditFile {
    queue: Arc<Queue>,
    clock: Arc<dyn Clock>,
    public_key: Option<PublicKey>,
}

/// How many records were written, and how many could not be.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Those on the disk.
    pub written: u64,
    /// Those that are missing in the sequence.
    pub lost: u64,
}

impl Counts {
    /// The numbers as a metric family.
    pub fn family(self) -> Family {
        let samples = [("written", self.written), ("lost", self.lost)];
        let samples = samples.map(|(outcome, count)| (labels([("outcome", outcome)]), count));
        Family::counters("lanyard_audit_records", "Records for the file of the audit trail", samples)
    }
}

#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<(u64, Timestamp, AuditRecord)>,
    /// The number of the last record.
    sequence: u64,
    counts: Counts,
    /// The last record on the disk.
    head: AuditHead,
    is_closing: bool,
    is_closed: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AuditFile {
    /// Opens the file and begins a chain of this name.
    pub fn open(config: Config, chain: String, clock: Arc<dyn Clock>) -> Result<Self, TrailError> {
        let key = config.key.as_deref().map(HeadKey::open).transpose()?;
        let public_key = key.as_ref().map(|key| key.public().clone());
        let file = config.file.clone();
        let unwritable = |error| TrailError::File { file: file.clone(), error };
        let mut output = Output::open(config).map_err(unwritable)?;
        let (mut chain, mut begin) = (ChainEnd::new(chain, key), Vec::new());
        let now = clock.now();
        chain.append_event(&mut begin, 1, now, STARTED);
        output.write(&begin).map_err(unwritable)?;
        let state = State {
            waiting: VecDeque::new(),
            sequence: 1,
            counts: Counts { written: 1, lost: 0 },
            head: chain.head(now, false),
            is_closing: false,
            is_closed: false,
        };
        let queue = Arc::new(Queue { state: Mutex::new(state), changed: Condvar::new() });
        let mut writer = Writer {
            queue: Arc::clone(&queue),
            clock: Arc::clone(&clock),
            chain,
            output,
            signed: (now, 0),
            is_failing: false,
        };
        let spawned = thread::Builder::new().name("lanyard-audit".to_owned()).spawn(move || writer.run());
        spawned.map_err(unwritable)?;
        Ok(Self { queue, clock, public_key })
    }

    /// How many records were written and lost.
    pub fn counts(&self) -> Counts {
        self.queue.state().counts
    }

    /// The public key that verifies the signatures; `None` where nothing is signed.
    pub fn public_key(&self) -> Option<&PublicKey> {
        self.public_key.as_ref()
    }

    /// The last record on the disk.
    pub fn head(&self) -> AuditHead {
        self.queue.state().head.clone()
    }

    /// Writes what waits and ends the chain. Returns when that is on the disk, or cannot be written: it may wait for a disk.
    pub fn close(&self) {
        let mut state = self.queue.state();
        state.is_closing = true;
        self.queue.changed.notify_all();
        while !state.is_closed {
            state = self.queue.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl AuditSink for AuditFile {
    /// Allowances are counted by metrics. What admins read is here, but in the log only at the level `debug`: an `apply`
    /// reads each registration.
    fn wants(&self, event: AuditEvent, severity: Severity) -> bool {
        match severity {
            Severity::Debug => event == AuditEvent::AdminRead,
            Severity::Info | Severity::Warn => true,
        }
    }

    fn record(&self, record: AuditRecord) {
        let now = self.clock.now();
        let mut state = self.queue.state();
        // The number is taken whether or not there is room, so that what is lost shows.
        state.sequence += 1;
        let room = if record.is_of_allowance() { MAX_WAITING_ALLOWED } else { MAX_WAITING };
        if state.waiting.len() >= room || state.is_closing {
            state.counts.lost += 1;
            return;
        }
        let sequence = state.sequence;
        state.waiting.push_back((sequence, now, record));
        self.queue.changed.notify_all();
    }
}

struct Writer {
    queue: Arc<Queue>,
    clock: Arc<dyn Clock>,
    chain: ChainEnd,
    output: Output,
    /// When a hash was signed last, and the number of that line.
    signed: (Timestamp, u64),
    /// Whether the last write failed, which is logged once.
    is_failing: bool,
}

/// What to write: records, and then the lines about the chain that are due, by their numbers.
struct Taken {
    records: VecDeque<(u64, Timestamp, AuditRecord)>,
    stopped: Option<u64>,
    signed: Option<u64>,
}

impl State {
    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}

impl Writer {
    fn run(&mut self) {
        loop {
            let taken = self.take();
            let is_last = taken.stopped.is_some();
            let (lines, count) = self.lines(taken);
            let mut is_written = self.write(&lines, count, is_last);
            // The lines are in the chain already: they are tried again as they are, until the server ends.
            while !is_written && !self.pause() {
                is_written = self.write(&lines, count, is_last);
            }
            if is_last || !is_written {
                self.queue.state().is_closed = true;
                self.queue.changed.notify_all();
                return;
            }
        }
    }

    /// Waits for records, for the time to sign, or for the end.
    fn take(&self) -> Taken {
        let mut state = self.queue.state();
        loop {
            let (last_signed, line) = self.signed;
            let is_minute = last_signed.until(self.clock.now()) >= SIGNED_EVERY;
            let is_due = self.chain.is_signed() && is_minute && state.sequence > line;
            if !state.waiting.is_empty() || state.is_closing || is_due {
                let (records, is_closing) = (mem::take(&mut state.waiting), state.is_closing);
                let stopped = is_closing.then(|| state.next());
                let signed = (is_due || (is_closing && self.chain.is_signed())).then(|| state.next());
                return Taken { records, stopped, signed };
            }
            state = self.queue.changed.wait_timeout(state, PAUSE).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits after a failure, or until the server ends. Returns whether it ends.
    fn pause(&self) -> bool {
        let state = self.queue.state();
        let waited = self.queue.changed.wait_timeout_while(state, PAUSE, |state| !state.is_closing);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_closing
    }

    /// The lines, and how many there are.
    fn lines(&mut self, taken: Taken) -> (Vec<u8>, u64) {
        let (mut lines, now) = (Vec::new(), self.clock.now());
        let count = taken.records.len() + usize::from(taken.stopped.is_some()) + usize::from(taken.signed.is_some());
        for (sequence, time, record) in taken.records {
            self.chain.append(&mut lines, sequence, time, &record);
        }
        if let Some(sequence) = taken.stopped {
            self.chain.append_event(&mut lines, sequence, now, STOPPED);
        }
        if let Some(sequence) = taken.signed {
            self.chain.append_event(&mut lines, sequence, now, SIGNED);
            self.signed = (now, sequence);
        }
        (lines, count as u64)
    }

    fn write(&mut self, lines: &[u8], count: u64, is_last: bool) -> bool {
        let (written, now) = (self.output.write(lines), self.clock.now());
        let rotated = if written.is_ok() { self.output.rotate(now) } else { Ok(()) };
        if written.is_ok() {
            let mut state = self.queue.state();
            state.counts.written += count;
            state.head = self.chain.head(now, is_last);
        }
        let is_failing = written.is_err() || rotated.is_err();
        if let (Err(error), false) = (written.as_ref().and(rotated.as_ref()), self.is_failing) {
            tracing::error!(%error, "the audit trail cannot be written, or its file cannot be renamed; it is tried again");
        }
        if self.is_failing && !is_failing {
            tracing::warn!("the audit trail is written again");
        }
        self.is_failing = is_failing;
        written.is_ok()
    }
}
