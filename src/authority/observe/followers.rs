//! Decisions as they are recorded, for those who follow them. Each has a queue of its own: one that is slow is told how many
//! it missed, and no decision waits for it.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

use arc_swap::ArcSwap;

use crate::authority::clock::Timestamp;
use crate::authority::identity::PeerIdentity;
use crate::authority::observe::audit::AuditOutcome;
use crate::authority::observe::audit::AuditRecord;
use crate::authority::observe::pattern::matches;
use crate::authority::reference::Reference;

/// The most that follow at a time.
pub const MAX_FOLLOWERS: usize = 16;

/// The most admins of teams among them, so that there is always room for operators.
const MAX_TEAM_FOLLOWERS: usize = 8;

/// The most decisions that wait for one of them, some 2 KiB each.
pub const MAX_WAITING: usize = 1024;

/// Which decisions are asked for.
#[derive(Clone, Debug, Default)]
pub struct DecisionFilter {
    /// Those at this resource, by its audience, or at a destination of this name that no resource is registered for.
    pub resource: Option<String>,
    /// Those whose caller or client has a name that this pattern matches; `*` in it stands for any text.
    pub caller: Option<String>,
    /// Those with this code.
    pub reason: Option<String>,
    /// Those with this outcome.
    pub outcome: Option<AuditOutcome>,
}

impl DecisionFilter {
    fn takes(&self, record: &AuditRecord) -> bool {
        self.outcome.is_none_or(|outcome| record.outcome == outcome)
            && self.reason.as_deref().is_none_or(|reason| record.reason == Some(reason))
            && self.resource.as_deref().is_none_or(|resource| record.is_at(resource))
            && self.caller.as_deref().is_none_or(|pattern| record.names().any(|name| matches(pattern, name)))
    }
}

/// A decision, as the audit trail has it. There is no token in it.
#[derive(Clone, Debug)]
pub struct FollowedDecision {
    /// When it was made.
    pub at: Timestamp,
    /// The kind of event, as in the audit trail.
    pub event: &'static str,
    /// The outcome.
    pub outcome: AuditOutcome,
    /// The fixed code of a refusal.
    pub reason: Option<&'static str>,
    /// The reference of a refusal.
    pub reference: Option<Reference>,
    /// Who asked, by its certificate; at an introspection by its `client_id`.
    pub caller: Option<String>,
    /// The certificate that a proxy saw, or the SPIFFE ID of its holder.
    pub evidence: Option<String>,
    /// The client: that of the token, or the one that a token request names.
    pub client_id: Option<String>,
    /// The resource, or what was named where none matches.
    pub resource: Option<String>,
    /// The template of the route that matched. Of refusals only.
    pub route: Option<String>,
    /// The method of the checked request.
    pub method: Option<String>,
    /// Its path, without its query.
    pub path: Option<String>,
    /// The token's identifier.
    pub jti: Option<String>,
}

impl FollowedDecision {
    fn new(at: Timestamp, record: &AuditRecord) -> Self {
        Self {
            at,
            event: record.event.into(),
            outcome: record.outcome,
            reason: record.reason,
            reference: record.reference,
            caller: record.actor.clone(),
            evidence: record.evidence.clone(),
            client_id: record.client_id.clone(),
            resource: record.resource.clone().or_else(|| record.requested.clone()),
            route: record.route.clone(),
            method: record.method.clone(),
            path: record.path.clone(),
            jti: record.jti.clone(),
        }
    }
}

/// What a follower gets.
#[derive(Clone, Debug)]
pub struct Followed {
    /// How many decisions it missed since the one before, because it was slow.
    pub missed: u64,
    /// The next decision; `None` where only decisions that it missed came after the last one.
    pub decision: Option<Arc<FollowedDecision>>,
}

/// Those who follow this replica's decisions.
#[derive(Debug, Default)]
pub struct Followers {
    /// How many there are: all that a decision looks at while there are none.
    count: AtomicUsize,
    queues: ArcSwap<Vec<Arc<Queue>>>,
    turn: Mutex<()>,
}

/// One of them. Dropped, it follows no more.
#[derive(Debug)]
pub struct Follower {
    followers: Arc<Followers>,
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    filter: DecisionFilter,
    /// The admin of a team, who follows what is the team's; `None` for one who follows everything.
    team_admin: Option<Arc<PeerIdentity>>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Each with how many were missed before it.
    decisions: VecDeque<(u64, Arc<FollowedDecision>)>,
    missed: u64,
    waker: Option<Waker>,
}

impl Followers {
    /// Whether there are any.
    pub(in crate::authority) fn is_any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// One more, unless there are too many. A team's admin gets what is the team's.
    pub(in crate::authority) fn add(
        self: &Arc<Self>,
        filter: DecisionFilter,
        team_admin: Option<Arc<PeerIdentity>>,
    ) -> Option<Follower> {
        let _turn = self.turn();
        let queues = self.queues.load();
        let of_teams = queues.iter().filter(|queue| queue.team_admin.is_some()).count();
        if queues.len() >= MAX_FOLLOWERS || team_admin.is_some() && of_teams >= MAX_TEAM_FOLLOWERS {
            return None;
        }
        let queue = Arc::new(Queue { filter, team_admin, waiting: Mutex::default() });
        self.replace(queues.iter().chain([&queue]).map(Arc::clone).collect());
        Some(Follower { followers: Arc::clone(self), queue })
    }

    /// Hands a decision to those who ask for such a one. Whether it is a team's says `is_theirs`, of one of its admins.
    pub(in crate::authority) fn show(
        &self,
        at: Timestamp,
        record: &AuditRecord,
        is_theirs: impl Fn(&PeerIdentity) -> bool,
    ) {
        let queues = self.queues.load();
        let is_for =
            |queue: &&Arc<Queue>| queue.filter.takes(record) && queue.team_admin.as_deref().is_none_or(&is_theirs);
        let mut asking = queues.iter().filter(is_for).peekable();
        if asking.peek().is_some() {
            let decision = Arc::new(FollowedDecision::new(at, record));
            for queue in asking {
                queue.push(&decision);
            }
        }
    }

    fn remove(&self, queue: &Arc<Queue>) {
        let _turn = self.turn();
        let left = self.queues.load().iter().filter(|other| !Arc::ptr_eq(other, queue)).map(Arc::clone).collect();
        self.replace(left);
    }

    fn replace(&self, queues: Vec<Arc<Queue>>) {
        self.count.store(queues.len(), Ordering::Relaxed);
        self.queues.store(Arc::new(queues));
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn push(&self, decision: &Arc<FollowedDecision>) {
        let waker = {
            let mut waiting = self.waiting();
            if waiting.decisions.len() < MAX_WAITING {
                let missed = mem::take(&mut waiting.missed);
                waiting.decisions.push_back((missed, Arc::clone(decision)));
            } else {
                waiting.missed += 1;
            }
            waiting.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower {
    /// Whether it follows everything.
    pub fn sees_all(&self) -> bool {
        self.queue.team_admin.is_none()
    }

    /// The next decision, or how many were missed. There is always another one to wait for.
    pub fn poll_next(&self, context: &mut Context<'_>) -> Poll<Followed> {
        let mut waiting = self.queue.waiting();
        if let Some((missed, decision)) = waiting.decisions.pop_front() {
            return Poll::Ready(Followed { missed, decision: Some(decision) });
        }
        if waiting.missed > 0 {
            return Poll::Ready(Followed { missed: mem::take(&mut waiting.missed), decision: None });
        }
        waiting.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.followers.remove(&self.queue);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::task::Wake;

    use super::*;
    use crate::authority::observe::audit::AuditEvent;
    use crate::authority::observe::audit::Severity;

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    fn record(outcome: AuditOutcome, reason: Option<&'static str>, resource: &str, client: &str) -> AuditRecord {
        AuditRecord {
            reason,
            resource: Some(resource.to_owned()),
            client_id: Some(client.to_owned()),
            ..AuditRecord::of_repeated(AuditEvent::Checked, Severity::Info, outcome, 1)
        }
    }

    /// Shows a decision of this number.
    fn show(followers: &Followers, number: u64) {
        followers.show(Timestamp(number), &record(AuditOutcome::Allowed, None, "a", "c"), |_| false);
    }

    /// How many were missed before the next decision, and its number; `None` where nothing waits.
    fn next(follower: &Follower) -> Option<(u64, Option<u64>)> {
        match follower.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Followed { missed, decision }) => Some((missed, decision.map(|decision| decision.at.0))),
            Poll::Pending => None,
        }
    }

    #[test]
    fn one_that_is_slow_misses_some_and_is_told_how_many_where_they_are_missing() {
        let followers = Arc::new(Followers::default());
        let follower = followers.add(DecisionFilter::default(), None).unwrap();
        let most = MAX_WAITING as u64;
        (0..most + 3).for_each(|number| show(&followers, number));
        assert_eq!(next(&follower), Some((0, Some(0))));
        show(&followers, 9000);
        show(&followers, 9001);
        for number in 1..most {
            assert_eq!(next(&follower), Some((0, Some(number))));
        }
        assert_eq!(next(&follower), Some((3, Some(9000))));
        assert_eq!(next(&follower), Some((1, None)));
        assert_eq!(next(&follower), None);
        show(&followers, 9002);
        assert_eq!(next(&follower), Some((0, Some(9002))));
    }

    #[test]
    fn one_that_waits_is_woken_by_what_it_asks_for_and_not_by_another_decision() {
        let followers = Arc::new(Followers::default());
        let at_b = DecisionFilter { resource: Some("b".to_owned()), ..DecisionFilter::default() };
        let follower = followers.add(at_b, None).unwrap();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        assert!(follower.poll_next(&mut Context::from_waker(&waker)).is_pending());
        show(&followers, 1);
        assert!(!woken.0.load(Ordering::Relaxed));
        followers.show(Timestamp(2), &record(AuditOutcome::Denied, None, "b", "c"), |_| false);
        assert!(woken.0.load(Ordering::Relaxed));
        assert_eq!(next(&follower), Some((0, Some(2))));
    }

    #[test]
    fn no_more_follow_than_may_and_one_that_ends_makes_room() {
        let followers = Arc::new(Followers::default());
        let add = || followers.add(DecisionFilter::default(), None);
        assert!(!followers.is_any());
        let mut all: Vec<Follower> = (0..MAX_FOLLOWERS).map(|_| add().unwrap()).collect();
        assert!(add().is_none() && followers.is_any());
        drop(all.pop());
        assert!(add().is_some());
        all.clear();
        assert!(!followers.is_any());
    }

    #[test]
    fn each_filter_takes_what_it_names_and_nothing_else() {
        let denied = record(AuditOutcome::Denied, Some("TOKEN_EXPIRED"), "https://a", "spiffe://p/shop/pay");
        let text = |text: &str| Some(text.to_owned());
        let none = DecisionFilter::default;
        for filter in [
            none(),
            DecisionFilter { resource: text("https://a"), ..none() },
            DecisionFilter { caller: text("spiffe://p/shop/*"), ..none() },
            DecisionFilter { reason: text("TOKEN_EXPIRED"), ..none() },
            DecisionFilter { outcome: Some(AuditOutcome::Denied), ..none() },
        ] {
            assert!(filter.takes(&denied), "{filter:?}");
        }
        for filter in [
            DecisionFilter { resource: text("https://a/"), ..none() },
            DecisionFilter { caller: text("spiffe://p/shop"), ..none() },
            DecisionFilter { reason: text("TOKEN_EXPIRE"), ..none() },
            DecisionFilter { outcome: Some(AuditOutcome::Allowed), ..none() },
            DecisionFilter { outcome: Some(AuditOutcome::Denied), reason: text("TOKEN_MISSING"), ..none() },
        ] {
            assert!(!filter.takes(&denied), "{filter:?}");
        }
    }
}
