//! Which requests a serving thread refuses, by how late it is. A state machine that is told the time.
//!
//! The thread has one queue of tasks that are ready. A task that asks to run at a certain moment, the *beat*, runs late by
//! the time that the tasks before it take, which is how long a request that arrives now waits. As in `CoDel` (RFC 8289), a
//! queue that empties now and then is a burst and does no harm; the thread is overloaded when the smallest lateness of a
//! whole interval is above the target. While it is, a request is refused if the thread is already later than the request's
//! priority allows, so that the queue stays about that long, and the thread never idle.

use std::time::Duration;

use strum::EnumCount as _;

use crate::authority::access::Priority;
use crate::limits::config::KEPT;

/// Over how long the smallest lateness is taken: RFC 8289 section 4.3, for round trips within a data centre and their
/// retries.
const INTERVAL: Duration = Duration::from_millis(100);

/// How long after a beat the next one is due.
const PERIOD: Duration = Duration::from_millis(2);

/// With fewer requests between two beats it is not they that make the thread late, but what else runs on the machine, and
/// to refuse them would not help.
const BACKLOG: u32 = 8;

/// The state of one serving thread. All times are measured from the same moment in the past.
#[derive(Debug)]
pub struct Controller {
    target: Duration,
    /// When the next beat is due.
    due: Duration,
    /// When the present interval began, and the smallest lateness in it.
    began: Duration,
    least: Option<Duration>,
    overloaded: bool,
    /// The requests since the last beat.
    since_beat: u32,
    /// The requests that were admitted of late, by priority: halved at the end of each interval.
    admitted: [u32; Priority::COUNT],
}

impl Controller {
    /// A thread without requests, which is overloaded when it is never less late than `target`.
    pub fn new(target: Duration) -> Self {
        Self {
            target,
            due: PERIOD,
            began: Duration::ZERO,
            least: None,
            overloaded: false,
            since_beat: 0,
            admitted: [0; Priority::COUNT],
        }
    }

    /// Begins anew after a time without beats. Returns when the next one is due.
    pub fn wake(&mut self, now: Duration) -> Duration {
        (self.began, self.least, self.overloaded, self.since_beat) = (now, None, false, 0);
        self.due = now.saturating_add(PERIOD);
        self.due
    }

    /// The beat runs. Returns how late it is, and when the next one is due.
    pub fn beat(&mut self, now: Duration) -> (Duration, Duration) {
        let late = now.saturating_sub(self.due);
        let least = self.least.map_or(late, |least| least.min(late));
        if now.saturating_sub(self.began) < INTERVAL {
            self.least = Some(least);
        } else {
            self.overloaded = least > self.target;
            (self.began, self.least) = (now, None);
            self.admitted = self.admitted.map(|count| count / 2);
        }
        self.since_beat = 0;
        self.due = now.saturating_add(PERIOD);
        (late, self.due)
    }

    /// Whether a request is to be answered. Each priority keeps a tenth of what is admitted, however late the thread is.
    pub fn admit(&mut self, priority: Priority, now: Duration) -> bool {
        self.since_beat = self.since_beat.saturating_add(1);
        let (late, is_backlog) = (now.saturating_sub(self.due), self.since_beat > BACKLOG);
        self.decide(priority, late, is_backlog)
    }

    /// The same on a thread that is known to be so late all the time.
    pub fn admit_late(&mut self, priority: Priority, late: Duration) -> bool {
        self.overloaded = late > self.target;
        self.decide(priority, late, true)
    }

    fn decide(&mut self, priority: Priority, late: Duration, is_backlog: bool) -> bool {
        let in_time = !is_backlog || late <= self.allowed(priority);
        let all = self.admitted.iter().fold(0_u32, |all, count| all.saturating_add(*count));
        let Some(own) = self.admitted.get_mut(priority as usize) else { return in_time };
        let admitted = in_time || u64::from(*own) * u64::from(KEPT) < u64::from(all);
        *own = own.saturating_add(admitted.into());
        admitted
    }

    /// How late the thread may be for a request of this priority.
    fn allowed(&self, priority: Priority) -> Duration {
        if !self.overloaded {
            return INTERVAL.max(self.target);
        }
        match priority {
            Priority::Vital => self.target.saturating_mul(3),
            Priority::Decision => self.target.saturating_mul(3) / 2,
            Priority::Issuing => self.target.saturating_mul(5) / 4,
            Priority::Rest => self.target,
        }
    }

    /// Whether the thread has been late for a whole interval.
    pub fn is_overloaded(&self) -> bool {
        self.overloaded
    }

    /// Whether no request came since the last beat.
    pub fn is_idle(&self) -> bool {
        self.since_beat == 0
    }
}
