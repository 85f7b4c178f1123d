//! Takes the records from the threads that serve requests, and makes them the lines of a chain by a thread of its own. Each
//! destination gets all lines.

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
use crate::telemetry::export_failures::ExportFailures;
use crate::telemetry::trail::chain::ChainEnd;
use crate::telemetry::trail::chain::Gap;
use crate::telemetry::trail::chain::SIGNED;
use crate::telemetry::trail::chain::STARTED;
use crate::telemetry::trail::chain::STOPPED;
use crate::telemetry::trail::collector::Collector;
use crate::telemetry::trail::config::Config;
use crate::telemetry::trail::config::TrailError;
use crate::telemetry::trail::destination::BATCH;
use crate::telemetry::trail::destination::Counts;
use crate::telemetry::trail::destination::Destination;
use crate::telemetry::trail::file::LogFile;
use crate::telemetry::trail::key::HeadKey;
use crate::telemetry::trail::key::PublicKey;
use crate::telemetry::trail::lines::About;
use crate::telemetry::trail::lines::Buffer;
use crate::telemetry::trail::lines::Line;
use crate::telemetry::trail::print::print;
use crate::telemetry::trail::stdout::Stdout;
use crate::trace_context;

/// The most records that wait to become lines, and the most bytes of them. Further ones are counted, and missing in the
/// sequence. Half of it is for refusals and changes alone.
const MAX_WAITING: usize = 16_384;
const MAX_WAITING_BYTES: usize = 16 << 20;

/// How long the thread lets records gather after the first one: to wake it for each of them, and to sync each line, costs
/// more than all else about a record.
const GATHERING: Duration = Duration::from_millis(5);

/// How long it goes on with that where there were as many as this in that time, and how many it takes together. A crash
/// loses no more than what has gathered.
const GATHERING_MANY: Duration = Duration::from_millis(95);
const MANY: usize = 64;
const GATHERED: usize = 4096;

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
    /// The name of the chain, and how each of its lines begins.
    chain: Arc<str>,
    begin: Arc<[u8]>,
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
    /// Records that wait to become lines. They are printed where they are made: a record by itself is about 1 KiB in some ten
    /// allocations.
    waiting: Buffer,
    /// The number of the last record.
    sequence: u64,
    /// How many records found no room.
    lost: u64,
    /// The last line.
    last: Line,
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
        chain: &str,
        clock: Arc<dyn Clock>,
        failures: &Arc<ExportFailures>,
    ) -> Result<Self, TrailError> {
        let key = config.key.as_deref().map(HeadKey::open).transpose()?;
        let public_key = key.as_ref().map(|key| key.public().clone());
        let mut chain = ChainEnd::new(chain, key);
        let now = clock.now();
        chain.push_event(1, now, STARTED);
        let first = chain.take(BATCH).into_iter().next().ok_or(TrailError::FirstLine)?;
        let last = *first.last().ok_or(TrailError::FirstLine)?;
        let mut destinations = Vec::new();
        let thread = |error| TrailError::Thread { error };
        if let Some(config) = config.file {
            let file = config.path.clone();
            let mut output =
                LogFile::open(config, Arc::clone(&clock)).map_err(|error| TrailError::File { file, error })?;
            output.begin(&first)?;
            let destination = Arc::new(Destination::new(FILE, Arc::clone(&clock), Some(last)));
            destination.start(output).map_err(thread)?;
            destinations.push(destination);
        }
        let begin = |name| {
            let destination = Arc::new(Destination::new(name, Arc::clone(&clock), None));
            destination.push(&first);
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
        let state = State { waiting: Buffer::default(), sequence: 1, lost: 0, last, is_closing: false };
        let queue = Arc::new(Queue { state: Mutex::new(state), changed: Condvar::new() });
        let begin = Arc::clone(chain.begin());
        let mut writer = Writer {
            queue: Arc::clone(&queue),
            destinations: Arc::clone(&destinations),
            clock: Arc::clone(&clock),
            chain,
            made: Buffer::default(),
            signed: (now, 0),
        };
        thread::Builder::new().name("lanyard-audit".to_owned()).spawn(move || writer.run()).map_err(thread)?;
        Ok(Self { chain: Arc::clone(&first.chain), begin, queue, destinations, clock, public_key })
    }

    /// The public key that verifies the signatures; `None` where nothing is signed.
    pub fn public_key(&self) -> Option<&PublicKey> {
        self.public_key.as_ref()
    }

    /// The last record: of those on the disk, where there is a file.
    pub fn head(&self) -> AuditHead {
        let file = self.destinations.iter().find(|destination| destination.name() == FILE);
        let (line, time) = file.and_then(|file| file.last()).unwrap_or_else(|| {
            let line = self.queue.state().last;
            (line, line.about.time)
        });
        let Line { about, hash, is_end, .. } = line;
        let chain = self.chain.to_string();
        AuditHead { chain, sequence: about.sequence, hash: hash.to_text(), time, has_ended: is_end }
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

    /// Adds the trace of the request that is being answered, which the core does not know.
    fn record(&self, record: &AuditRecord) {
        let (time, trace) = (self.clock.now(), trace_context::current_id());
        let (event, severity) = (record.event().into(), record.severity());
        let mut state = self.queue.state();
        // The number is taken whether or not there is room, so that what is lost shows.
        let sequence = state.next();
        if state.is_closing || !state.has_room(record.is_of_allowance()) {
            state.lost += 1;
            return;
        }
        // To print it takes about as long as to copy it.
        let about = About { sequence, time, event, severity, trace };
        state.waiting.add(&self.begin, about, false, |text| print(record, trace, text));
        let count = state.waiting.count();
        drop(state);
        // The thread that was told of the first takes those that follow it, too.
        if count == 1 || count == GATHERED {
            self.queue.changed.notify_all();
        }
    }
}

struct Writer {
    queue: Arc<Queue>,
    destinations: Arc<[Arc<Destination>]>,
    clock: Arc<dyn Clock>,
    chain: ChainEnd,
    /// The records that are becoming lines.
    made: Buffer,
    /// When a hash was signed last, and the number of that line.
    signed: (Timestamp, u64),
}

/// What is due about the chain after the records, by the numbers of its lines.
struct Due {
    gaps: Vec<(u64, Gap)>,
    stopped: Option<u64>,
    signed: Option<u64>,
}

impl State {
    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn has_room(&self, is_of_allowance: bool) -> bool {
        let share = if is_of_allowance { 2 } else { 1 };
        self.waiting.count() < MAX_WAITING / share && self.waiting.bytes() < MAX_WAITING_BYTES / share
    }
}

impl Writer {
    fn run(&mut self) {
        loop {
            let due = self.take();
            let is_last = due.stopped.is_some();
            self.lines(due);
            if is_last {
                self.chain.end();
            }
            self.hand_on();
            if is_last {
                self.destinations.iter().for_each(|destination| destination.close());
                return;
            }
        }
    }

    /// Waits for records, for what is due about the chain, or for the end.
    fn take(&mut self) -> Due {
        let mut state = self.queue.state();
        loop {
            let (last_signed, line) = self.signed;
            let is_minute = last_signed.until(self.clock.now()) >= SIGNED_EVERY;
            let is_due = self.chain.is_signed() && is_minute && state.sequence > line;
            let gathers = |state: &mut State| {
                let count = state.waiting.count();
                count > 0 && count < GATHERED && !state.is_closing
            };
            let gather = |state, limit| {
                let gathered = self.queue.changed.wait_timeout_while(state, limit, gathers);
                gathered.unwrap_or_else(PoisonError::into_inner).0
            };
            state = gather(state, GATHERING);
            if state.waiting.count() >= MANY {
                state = gather(state, GATHERING_MANY);
            }
            let is_closing = state.is_closing;
            let gaps: Vec<Gap> =
                self.destinations.iter().flat_map(|destination| destination.take_gaps(is_closing)).collect();
            if !state.waiting.is_empty() || !gaps.is_empty() || is_closing || is_due {
                mem::swap(&mut state.waiting, &mut self.made);
                let gaps = gaps.into_iter().map(|gap| (state.next(), gap)).collect();
                let stopped = is_closing.then(|| state.next());
                let signed = (is_due || (is_closing && self.chain.is_signed())).then(|| state.next());
                return Due { gaps, stopped, signed };
            }
            state = self.queue.changed.wait_timeout(state, PAUSE).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lines(&mut self, Due { gaps, stopped, signed }: Due) {
        let spare = self.chain.spare();
        self.chain.extend(mem::replace(&mut self.made, spare));
        let now = self.clock.now();
        for (sequence, gap) in gaps {
            self.chain.push_gap(sequence, now, gap);
        }
        if let Some(sequence) = stopped {
            self.chain.push_event(sequence, now, STOPPED);
        }
        if let Some(sequence) = signed {
            self.chain.push_event(sequence, now, SIGNED);
            self.signed = (now, sequence);
        }
    }

    /// Hands the lines on that are made.
    fn hand_on(&mut self) {
        for lines in self.chain.take(BATCH) {
            self.destinations.iter().for_each(|destination| destination.push(&lines));
            if let Some(last) = lines.last() {
                self.queue.state().last = *last;
            }
        }
    }
}
