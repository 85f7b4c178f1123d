//! Takes the records from the threads that serve requests, and makes them the lines of a chain by a thread of its own. Each
//! destination gets all lines.

use std::collections::VecDeque;
use std::mem;
use std::slice;
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
use crate::telemetry::export_failures::ExportFailures;
use crate::telemetry::trail::chain::ChainEnd;
use crate::telemetry::trail::chain::Gap;
use crate::telemetry::trail::chain::Line;
use crate::telemetry::trail::chain::SIGNED;
use crate::telemetry::trail::chain::STARTED;
use crate::telemetry::trail::chain::STOPPED;
use crate::telemetry::trail::collector::Collector;
use crate::telemetry::trail::config::Config;
use crate::telemetry::trail::config::TrailError;
use crate::telemetry::trail::destination::Counts;
use crate::telemetry::trail::destination::Destination;
use crate::telemetry::trail::file::LogFile;
use crate::telemetry::trail::key::HeadKey;
use crate::telemetry::trail::key::PublicKey;
use crate::telemetry::trail::stdout::Stdout;

/// The most records that wait to become lines, some 1 KiB each. Further ones are counted, and missing in the sequence.
const MAX_WAITING: usize = 16_384;

/// The most that wait where one more of what was allowed is taken: the rest is for refusals and changes.
const MAX_WAITING_ALLOWED: usize = MAX_WAITING / 2;

/// How long the thread lets records gather after the first one: to wake it for each of them, and to sync each line, costs
/// more than all else about a record.
const GATHERING: Duration = Duration::from_millis(5);

/// How often the last hash is signed, if there is a new one.
const SIGNED_EVERY: Duration = Duration::from_mins(1);

/// How long the thread sleeps at most.
const PAUSE: Duration = Duration::from_secs(1);

/// The names of all destinations, as metrics have them.
const FILE: &str = "file";
const STDOUT: &str = "stdout";
const OTLP: &str = "otlp";

/// The audit trail: a chain of lines, and where they go.
#[derive(Debug)]
pub struct AuditTrail {
    queue: Arc<Queue>,
    destinations: Arc<[Arc<Destination>]>,
    clock: Arc<dyn Clock>,
    public_key: Option<PublicKey>,
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
    /// How many records found no room.
    lost: u64,
    /// The last line.
    last: Arc<Line>,
    is_closing: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AuditTrail {
    /// Opens the destinations and begins a chain of this name. The first line is in the file when this returns.
    pub fn open(
        config: Config,
        chain: String,
        clock: Arc<dyn Clock>,
        failures: &Arc<ExportFailures>,
    ) -> Result<Self, TrailError> {
        let key = config.key.as_deref().map(HeadKey::open).transpose()?;
        let public_key = key.as_ref().map(|key| key.public().clone());
        let mut chain = ChainEnd::new(chain, key);
        let now = clock.now();
        let first = chain.event(1, now, STARTED).map(Arc::new).ok_or(TrailError::FirstLine)?;
        let mut destinations = Vec::new();
        let thread = |error| TrailError::Thread { error };
        if let Some(config) = config.file {
            let file = config.path.clone();
            let mut output =
                LogFile::open(config, Arc::clone(&clock)).map_err(|error| TrailError::File { file, error })?;
            output.begin(&first)?;
            let destination = Arc::new(Destination::new(FILE, Arc::clone(&clock), Some(Arc::clone(&first))));
            destination.start(output).map_err(thread)?;
            destinations.push(destination);
        }
        let begin = |name| {
            let destination = Arc::new(Destination::new(name, Arc::clone(&clock), None));
            destination.push(slice::from_ref(&first));
            destination
        };
        if config.stdout {
            let destination = begin(STDOUT);
            destination.start(Stdout::open().map_err(thread)?).map_err(thread)?;
            destinations.push(destination);
        }
        if let Some(collector) = &config.otlp {
            let destination = begin(OTLP);
            destination.start(Collector::open(collector, Arc::clone(failures))?).map_err(thread)?;
            destinations.push(destination);
        }
        let destinations: Arc<[_]> = destinations.into();
        let state = State { waiting: VecDeque::new(), sequence: 1, lost: 0, last: first, is_closing: false };
        let queue = Arc::new(Queue { state: Mutex::new(state), changed: Condvar::new() });
        let mut writer = Writer {
            queue: Arc::clone(&queue),
            destinations: Arc::clone(&destinations),
            clock: Arc::clone(&clock),
            chain,
            signed: (now, 0),
        };
        thread::Builder::new().name("lanyard-audit".to_owned()).spawn(move || writer.run()).map_err(thread)?;
        Ok(Self { queue, destinations, clock, public_key })
    }

    /// The public key that verifies the signatures; `None` where nothing is signed.
    pub fn public_key(&self) -> Option<&PublicKey> {
        self.public_key.as_ref()
    }

    /// The last record: of those on the disk, where there is a file.
    pub fn head(&self) -> AuditHead {
        let file = self.destinations.iter().find(|destination| destination.name() == FILE);
        let (line, time) = file.and_then(|file| file.last()).unwrap_or_else(|| {
            let line = Arc::clone(&self.queue.state().last);
            let time = line.link.time;
            (line, time)
        });
        let Line { link, hash, is_end, .. } = &*line;
        AuditHead { chain: link.chain.clone(), sequence: link.sequence, hash: hash.clone(), time, has_ended: *is_end }
    }

    /// Ends the chain. Returns when each destination has all lines or cannot take them, or after `limit` for each.
    pub fn close(&self, limit: Duration) {
        self.queue.state().is_closing = true;
        self.queue.changed.notify_all();
        self.destinations.iter().for_each(|destination| destination.wait(limit));
    }

    fn counts(&self, name: &str) -> Counts {
        let lost = self.queue.state().lost;
        let found = self.destinations.iter().find(|destination| destination.name() == name);
        let counts = found.map(|destination| destination.counts());
        counts.map(|counts| Counts { lost: counts.lost + lost, ..counts }).unwrap_or_default()
    }
}

/// The metric families of the trail, or of a server that has none.
pub fn families(trail: Option<&AuditTrail>) -> [Family; 2] {
    let samples = [FILE, STDOUT, OTLP].into_iter().flat_map(|name| {
        let Counts { written, lost } = trail.map(|trail| trail.counts(name)).unwrap_or_default();
        [("written", written), ("lost", lost)]
            .map(|(outcome, count)| (labels([("destination", name), ("outcome", outcome)]), count))
    });
    let last = trail.map_or(0, |trail| trail.head().sequence);
    let help = "The number of the last record of the audit trail, on the disk where it goes to a file";
    [
        Family::counters("lanyard_audit_records", "Records of the audit trail, by where they go", samples),
        Family::gauges("lanyard_audit_last_record", help, [(labels([]), last)]),
    ]
}

impl AuditSink for AuditTrail {
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
            state.lost += 1;
            return;
        }
        let sequence = state.sequence;
        state.waiting.push_back((sequence, now, record));
        // The thread that was told of the first takes those that follow it, too.
        if state.waiting.len() == 1 {
            self.queue.changed.notify_all();
        }
    }
}

struct Writer {
    queue: Arc<Queue>,
    destinations: Arc<[Arc<Destination>]>,
    clock: Arc<dyn Clock>,
    chain: ChainEnd,
    /// When a hash was signed last, and the number of that line.
    signed: (Timestamp, u64),
}

/// What becomes lines: records, and then what is due about the chain, by their numbers.
struct Taken {
    records: VecDeque<(u64, Timestamp, AuditRecord)>,
    gaps: Vec<(u64, Gap)>,
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
            let mut lines = self.lines(taken);
            if let Some(end) = lines.last_mut() {
                end.is_end = is_last;
            }
            let lines: Vec<_> = lines.into_iter().map(Arc::new).collect();
            self.destinations.iter().for_each(|destination| destination.push(&lines));
            if let Some(last) = lines.last() {
                self.queue.state().last = Arc::clone(last);
            }
            if is_last {
                self.destinations.iter().for_each(|destination| destination.close());
                return;
            }
        }
    }

    /// Waits for records, for what is due about the chain, or for the end.
    fn take(&self) -> Taken {
        let mut state = self.queue.state();
        loop {
            let (last_signed, line) = self.signed;
            let is_minute = last_signed.until(self.clock.now()) >= SIGNED_EVERY;
            let is_due = self.chain.is_signed() && is_minute && state.sequence > line;
            if !state.waiting.is_empty() && !state.is_closing {
                state = self.queue.changed.wait_timeout(state, GATHERING).unwrap_or_else(PoisonError::into_inner).0;
            }
            let is_closing = state.is_closing;
            let gaps: Vec<Gap> =
                self.destinations.iter().flat_map(|destination| destination.take_gaps(is_closing)).collect();
            if !state.waiting.is_empty() || !gaps.is_empty() || is_closing || is_due {
                let records = mem::take(&mut state.waiting);
                let gaps = gaps.into_iter().map(|gap| (state.next(), gap)).collect();
                let stopped = is_closing.then(|| state.next());
                let signed = (is_due || (is_closing && self.chain.is_signed())).then(|| state.next());
                return Taken { records, gaps, stopped, signed };
            }
            state = self.queue.changed.wait_timeout(state, PAUSE).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lines(&mut self, Taken { records, gaps, stopped, signed }: Taken) -> Vec<Line> {
        let (mut lines, now) = (Vec::new(), self.clock.now());
        for (sequence, time, record) in records {
            lines.extend(self.chain.record(sequence, time, &record));
        }
        for (sequence, gap) in gaps {
            lines.extend(self.chain.gap(sequence, now, gap));
        }
        if let Some(sequence) = stopped {
            lines.extend(self.chain.event(sequence, now, STOPPED));
        }
        if let Some(sequence) = signed {
            lines.extend(self.chain.event(sequence, now, SIGNED));
            self.signed = (now, sequence);
        }
        lines
    }
}
