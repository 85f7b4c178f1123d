//! A model of a serving thread: one queue, first in first out, in which the beat waits like any request.

use std::collections::VecDeque;
use std::time::Duration;

use crate::authority::access::Priority;
use crate::limits::controller::Controller;

/// What a request costs that is answered, and one that is refused.
const ANSWER: Duration = Duration::from_micros(50);
const REFUSAL: Duration = Duration::from_nanos(500);
const BEAT: Duration = Duration::from_micros(1);

/// What came of the requests of one priority.
#[derive(Clone, Copy, Default)]
struct Outcome {
    answered: u32,
    refused: u32,
}

struct Thread {
    controller: Controller,
    now: Duration,
    queue: VecDeque<Task>,
    due: Option<Duration>,
    outcomes: [Outcome; 4],
    /// How long each answered request took, from its arrival.
    waits: Vec<Duration>,
    chance: u64,
}

enum Task {
    Request(Priority, Duration),
    Beat,
}

impl Thread {
    fn new() -> Self {
        let mut controller = Controller::new(Duration::from_millis(5));
        let due = Some(controller.wake(Duration::ZERO));
        let (queue, waits) = (VecDeque::new(), Vec::new());
        Self { controller, now: Duration::ZERO, queue, due, outcomes: Default::default(), waits, chance: 1 }
    }

    /// A number from 0 to 1 (xorshift64).
    fn random(&mut self) -> f64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        f64::from(u32::try_from(self.chance >> 32).unwrap()) / f64::from(u32::MAX)
    }

    /// Runs for a time, in which requests of each of these priorities arrive at random, so many times what the thread can
    /// answer.
    fn run(&mut self, time: Duration, loads: &[(Priority, f64)]) {
        (self.outcomes, self.waits) = Default::default();
        let end = self.now + time;
        let gap = |this: &mut Self, load: f64| ANSWER.div_f64(load).mul_f64(-this.random().max(1e-9).ln());
        let mut next: Vec<_> =
            loads.iter().map(|&(priority, load)| (self.now + gap(self, load), priority, load)).collect();
        while self.now < end {
            for (at, priority, load) in &mut next {
                while *at <= self.now {
                    self.queue.push_back(Task::Request(*priority, *at));
                    *at += gap(self, *load);
                }
            }
            if self.due.is_some_and(|due| due <= self.now) {
                self.due = None;
                self.queue.push_back(Task::Beat);
            }
            match self.queue.pop_front() {
                Some(Task::Request(priority, arrived)) => {
                    if self.controller.admit(priority, self.now) {
                        self.now += ANSWER;
                        self.outcomes[priority as usize].answered += 1;
                        self.waits.push(self.now.saturating_sub(arrived));
                    } else {
                        self.now += REFUSAL;
                        self.outcomes[priority as usize].refused += 1;
                    }
                }
                Some(Task::Beat) => {
                    self.now += BEAT;
                    self.due = Some(self.controller.beat(self.now).1);
                }
                None => {
                    let arrivals = next.iter().map(|(at, ..)| *at);
                    self.now = arrivals.chain(self.due).min().unwrap();
                }
            }
        }
    }

    fn answered(&self) -> f64 {
        f64::from(self.outcomes.iter().map(|outcome| outcome.answered).sum::<u32>())
    }

    /// The part of the time in which answers were made.
    fn goodput(&self, time: Duration) -> f64 {
        ANSWER.as_secs_f64() * self.answered() / time.as_secs_f64()
    }

    /// The wait that 99 of 100 answered requests do not exceed.
    fn slowest(&mut self) -> Duration {
        self.waits.sort_unstable();
        self.waits[self.waits.len() * 99 / 100]
    }
}

const SECONDS: Duration = Duration::from_secs(2);

#[test]
fn at_2_and_5_times_its_capacity_a_thread_answers_as_much_as_it_can_in_time() {
    for priority in [Priority::Decision, Priority::Issuing, Priority::Rest] {
        for load in [1.2, 2.0, 5.0] {
            let mut thread = Thread::new();
            // It takes an interval to tell a queue that stays from a burst.
            thread.run(Duration::from_millis(300), &[(priority, load)]);
            thread.run(SECONDS, &[(priority, load)]);
            let (goodput, slowest) = (thread.goodput(SECONDS), thread.slowest());
            assert!(goodput >= 0.95, "{priority:?} at {load}: {goodput}");
            assert!(slowest <= Duration::from_millis(25), "{priority:?} at {load}: {slowest:?}");
        }
    }
}

#[test]
fn within_its_capacity_a_thread_refuses_nothing_nor_in_a_burst_and_soon_after_overload() {
    let mut thread = Thread::new();
    thread.run(SECONDS, &[(Priority::Rest, 0.5), (Priority::Decision, 0.3)]);
    assert!(thread.outcomes.iter().all(|outcome| outcome.refused == 0));
    for _ in 0..400 {
        thread.queue.push_back(Task::Request(Priority::Rest, thread.now));
    }
    thread.run(Duration::from_millis(200), &[(Priority::Decision, 0.3)]);
    let rest = thread.outcomes[Priority::Rest as usize];
    assert_eq!(rest.answered, 400);
    thread.run(SECONDS, &[(Priority::Decision, 5.0)]);
    thread.run(Duration::from_millis(250), &[(Priority::Decision, 0.5)]);
    thread.run(SECONDS, &[(Priority::Decision, 0.5)]);
    assert_eq!(thread.outcomes[Priority::Decision as usize].refused, 0);
}

#[test]
fn the_less_urgent_are_refused_first_and_each_keeps_a_tenth() {
    use Priority::Decision;
    use Priority::Issuing;
    use Priority::Rest;
    use Priority::Vital;
    let mut thread = Thread::new();
    for _ in 0..2 {
        thread.run(SECONDS, &[(Vital, 0.2), (Decision, 0.7), (Issuing, 0.7), (Rest, 0.7)]);
    }
    let part = |thread: &Thread, priority: Priority| {
        let Outcome { answered, refused } = thread.outcomes[priority as usize];
        f64::from(answered) / f64::from(answered + refused)
    };
    let parts = [Vital, Decision, Issuing, Rest].map(|priority| part(&thread, priority));
    assert!(parts.is_sorted_by(|one, two| one >= two), "{parts:?}");
    assert!(parts[0] > 0.99 && parts[3] < 0.7, "{parts:?}");
    for flood in [Vital, Decision, Issuing, Rest] {
        let mut thread = Thread::new();
        let loads =
            [Vital, Decision, Issuing, Rest].map(|priority| (priority, if priority == flood { 5.0 } else { 0.5 }));
        thread.run(SECONDS, &loads);
        for (priority, _) in loads {
            let own = f64::from(thread.outcomes[priority as usize].answered) / thread.answered();
            assert!(own > 0.09, "{priority:?} has {own} in a flood of {flood:?}");
        }
    }
}

#[test]
fn requests_that_are_few_are_answered_however_late_the_thread_is() {
    let mut controller = Controller::new(Duration::from_millis(5));
    let mut now = controller.wake(Duration::ZERO);
    for _ in 0..100 {
        // Something else on the machine takes the core between any two of them.
        now += Duration::from_millis(50);
        assert!((0..8).all(|_| controller.admit(Priority::Rest, now)));
        controller.beat(now);
    }
    assert!(controller.is_overloaded());
    // The ninth is their own queue.
    assert!((0..8).all(|_| controller.admit(Priority::Decision, now)));
    assert!(!controller.admit(Priority::Rest, now + Duration::from_millis(50)));
}
