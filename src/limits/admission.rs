//! The admission of requests on one serving thread.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::authority::access::NotAdmitted;
use crate::authority::access::Priority;
use crate::limits::controller::Controller;
use crate::limits::metrics::Refusals;

/// The admission of one serving thread, which alone takes its lock, except for a moment's look from elsewhere.
#[derive(Debug)]
pub struct Admission {
    began: Instant,
    controller: Mutex<Controller>,
    /// Whether the beats pause, because there are no requests.
    paused: AtomicBool,
    requests: Notify,
    refusals: Arc<Refusals>,
    /// How late the thread is, where that is not measured.
    lateness: Option<Lateness>,
}

/// How late serving threads are taken to be.
#[derive(Clone, Debug, Default)]
pub struct Lateness(Arc<AtomicU64>);

impl Lateness {
    /// From now on they are so late, to the microsecond.
    pub fn set(&self, late: Duration) {
        self.0.store(u64::try_from(late.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn now(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

impl Admission {
    /// The admission of a thread that requests may wait so long for. Its lateness is measured, unless it is given.
    pub fn new(queue_delay: Duration, refusals: Arc<Refusals>, lateness: Option<Lateness>) -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            controller: Mutex::new(Controller::new(queue_delay)),
            paused: AtomicBool::new(true),
            requests: Notify::new(),
            refusals,
            lateness,
        })
    }

    /// Whether a request of this priority is answered. One that is refused costs nothing more.
    pub fn admit(&self, priority: Priority) -> Result<(), NotAdmitted> {
        let admitted = match &self.lateness {
            None => self.measured(priority),
            Some(lateness) => self.controller().admit_late(priority, lateness.now()),
        };
        if admitted {
            return Ok(());
        }
        self.refusals.add(priority);
        Err(NotAdmitted::Overloaded)
    }

    fn measured(&self, priority: Priority) -> bool {
        let now = self.began.elapsed();
        let mut controller = self.controller();
        if self.paused.swap(false, Ordering::Relaxed) {
            controller.wake(now);
            self.requests.notify_one();
        }
        controller.admit(priority, now)
    }

    /// Measures how late the thread is, for as long as the thread runs. It must be a task of that thread like those that
    /// serve connections.
    pub async fn run(self: Arc<Self>) {
        loop {
            self.requests.notified().await;
            let mut due = self.controller().wake(self.began.elapsed());
            loop {
                tokio::time::sleep_until(self.began + due).await;
                let mut controller = self.controller();
                if controller.is_idle() {
                    // Within the lock, in which `admit` looks at it.
                    self.paused.store(true, Ordering::Relaxed);
                    break;
                }
                let (late, next) = controller.beat(self.began.elapsed());
                due = next;
                drop(controller);
                self.refusals.delays.add(late);
            }
        }
    }

    fn controller(&self) -> MutexGuard<'_, Controller> {
        self.controller.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
