//! The shares of all callers that are connected, or were a moment ago.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use spiffe::SpiffeId;
use tokio::time::Instant;

use crate::authority::access::CallerIdentity;
use crate::authority::access::Exceeded;
use crate::authority::access::Limit;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::observe::Family;
use crate::limits::activity::Activity;
use crate::limits::activity::Busy;
use crate::limits::bounds::CallerBounds;
use crate::limits::config::Config;
use crate::limits::level::Level;
use crate::limits::level::RECOVERED;
use crate::limits::reserve::Reserve;
use crate::limits::role::CallerRole;
use crate::limits::share::Share;
use crate::limits::share::Whole;

/// Who has a share.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Identity {
    Spiffe(SpiffeId),
    Certificate(CertificateThumbprint),
    /// A proxy on this machine.
    User(u32),
    /// Callers without a certificate have no common identity: each address is one.
    Address(Option<IpAddr>),
}

/// The shares.
pub struct Shares {
    config: Config,
    began: Instant,
    most_tracked: usize,
    whole: Arc<Whole>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    callers: HashMap<(Identity, Option<IpAddr>), Arc<Share>>,
    identities: HashMap<Identity, Arc<Level>>,
    /// The open connections, in the order in which they were opened.
    connections: BTreeMap<u64, Open>,
    opened: u64,
}

struct Open {
    share: Arc<Share>,
    reserve: Arc<Reserve>,
    activity: Arc<Activity>,
}

impl Open {
    fn release(self) {
        let Self { share, reserve, .. } = self;
        share.address.connections.release(1);
        share.identity.connections.release(1);
        if !share.role.is_favoured() {
            reserve.release();
        }
        share.whole.usage.remove(share.role, Limit::Connections, 1);
    }
}

/// An open connection, which counts for its caller's share until this is dropped.
#[derive(Debug)]
pub struct Connection {
    id: u64,
    share: Arc<Share>,
    activity: Arc<Activity>,
    shares: Arc<Shares>,
}

impl Connection {
    /// The share that it counts for.
    pub fn share(&self) -> &Arc<Share> {
        &self.share
    }

    /// Notes that a request begins. It ends when the result is dropped.
    pub fn busy(&self) -> Busy {
        self.activity.begin(self.shares.now())
    }

    /// Completes when the connection is to end, because it was idle and another one needs its place.
    pub async fn superseded(&self) {
        self.activity.close.notified().await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shares.close(self);
    }
}

impl Shares {
    /// No caller yet. Of callers that are not connected, so many are remembered that there are no more than
    /// `most_tracked` altogether.
    pub fn new(config: Config, most_tracked: usize) -> Arc<Self> {
        let whole = Arc::new(Whole::new(config.buffered_bytes));
        Arc::new(Self { config, began: Instant::now(), most_tracked, whole, state: Mutex::default() })
    }

    /// The share of a peer, or of a caller without a certificate, at its address.
    pub fn share(&self, caller: Option<&CallerIdentity>, role: CallerRole, address: Option<IpAddr>) -> Arc<Share> {
        self.share_in(&mut self.state(), caller, role, address)
    }

    /// Opens a connection of this caller on a listener. Where a share is used up, or all places that are not reserved, an
    /// idle connection goes first: one of the share, or the one that has been idle for longest.
    pub fn open(
        self: &Arc<Self>,
        caller: Option<&CallerIdentity>,
        role: CallerRole,
        address: Option<IpAddr>,
        reserve: &Arc<Reserve>,
    ) -> Result<Connection, Exceeded> {
        let mut state = self.state();
        let share = self.share_in(&mut state, caller, role, address);
        let (own, identity) = (&share.address, &share.identity);
        let exceeded = || share.refused(Limit::Connections.into());
        let is_own = |open: &Open| Arc::ptr_eq(&open.share, &share);
        let is_identity = |open: &Open| Arc::ptr_eq(&open.share.identity, &share.identity);
        let is_ordinary = |open: &Open| Arc::ptr_eq(&open.reserve, reserve) && !open.share.role.is_favoured();
        let mut take =
            |take: &dyn Fn() -> bool, of: &dyn Fn(&Open) -> bool| take() || self.supersede(&mut state, of) && take();
        if !take(&|| own.connections.take(1, own.bounds.connections), &is_own) {
            return Err(exceeded());
        }
        if !take(&|| identity.connections.take(1, identity.bounds.connections), &is_identity) {
            own.connections.release(1);
            return Err(exceeded());
        }
        if !role.is_favoured() && !take(&|| reserve.take(), &is_ordinary) {
            own.connections.release(1);
            identity.connections.release(1);
            return Err(exceeded());
        }
        self.whole.usage.add(role, Limit::Connections, 1);
        state.opened = state.opened.wrapping_add(1);
        let (id, activity) = (state.opened, Arc::new(Activity::default()));
        activity.last.store(self.now(), Ordering::Relaxed);
        let open = Open { share: Arc::clone(&share), reserve: Arc::clone(reserve), activity: Arc::clone(&activity) };
        state.connections.insert(id, open);
        drop(state);
        Ok(Connection { id, share, activity, shares: Arc::clone(self) })
    }

    /// What is used and refused, and how many callers are tracked.
    pub fn families(&self) -> Vec<Family> {
        let tracked = u64::try_from(self.tracked()).unwrap_or(u64::MAX);
        let callers =
            Family::gauges("lanyard_limit_callers", "Callers whose shares are tracked", [(Vec::new(), tracked)]);
        self.whole.usage.families().into_iter().chain([callers]).collect()
    }

    /// How many callers are tracked.
    pub fn tracked(&self) -> usize {
        self.state().callers.len()
    }

    fn close(&self, connection: &Connection) {
        let open = self.state().connections.remove(&connection.id);
        connection.share.left.store(self.now(), Ordering::Relaxed);
        // One that was superseded has given its place away.
        if let Some(open) = open {
            open.release();
        }
    }

    /// Milliseconds since the start.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Ends the connection of these that has been idle for longest, if there is one that has been for long enough.
    fn supersede(&self, state: &mut State, of: &dyn Fn(&Open) -> bool) -> bool {
        let idle_for = u64::try_from(self.config.idle_after.as_millis()).unwrap_or(u64::MAX);
        let now = self.now();
        let idle = state.connections.iter().filter_map(|(id, open)| {
            let last = open.activity.last.load(Ordering::Relaxed);
            let is_idle = open.activity.under_way.load(Ordering::Relaxed) == 0 && now.saturating_sub(last) >= idle_for;
            (is_idle && of(open)).then_some((last, *id))
        });
        let Some((_, id)) = idle.min() else { return false };
        let Some(open) = state.connections.remove(&id) else { return false };
        open.activity.close.notify_one();
        open.release();
        true
    }

    fn share_in(
        &self,
        state: &mut State,
        caller: Option<&CallerIdentity>,
        role: CallerRole,
        address: Option<IpAddr>,
    ) -> Arc<Share> {
        let identity = match caller {
            None => Identity::Address(address),
            Some(CallerIdentity::Local(proxy)) => Identity::User(proxy.user),
            Some(CallerIdentity::Certificate(peer)) => match peer.spiffe_id() {
                Some(id) => Identity::Spiffe(id.clone()),
                None => Identity::Certificate(peer.thumbprint()),
            },
        };
        let bounds = self.config.callers.bounds_of(caller, role);
        let key = (identity, address);
        if let Some(share) = state.callers.get(&key).filter(|share| is_as(share, role, bounds)) {
            share.left.store(self.now(), Ordering::Relaxed);
            return Arc::clone(share);
        }
        if state.callers.len() >= self.most_tracked {
            self.forget(state);
        }
        let known = state.identities.get(&key.0).filter(|level| level.bounds == bounds.identity);
        let identity = known.map_or_else(|| Arc::new(Level::new(bounds.identity)), Arc::clone);
        state.identities.insert(key.0.clone(), Arc::clone(&identity));
        let share = Arc::new(Share {
            role,
            address: Level::new(bounds.address),
            identity,
            whole: Arc::clone(&self.whole),
            left: AtomicU64::new(self.now()),
        });
        state.callers.insert(key, Arc::clone(&share));
        share
    }

    /// Forgets callers that hold nothing: those whose rates have recovered, which loses nothing, and if that is not
    /// enough those that left first.
    fn forget(&self, state: &mut State) {
        let recovered = u64::try_from(RECOVERED.as_millis()).unwrap_or(u64::MAX);
        let now = self.now();
        let left = |share: &Share| share.left.load(Ordering::Relaxed);
        let holds_nothing = |share: &Arc<Share>| Arc::strong_count(share) == 1;
        state.callers.retain(|_, share| !holds_nothing(share) || now.saturating_sub(left(share)) < recovered);
        if state.callers.len() >= self.most_tracked {
            let mut idle: Vec<u64> =
                state.callers.values().filter(|share| holds_nothing(share)).map(|share| left(share)).collect();
            // Several at once, so that not each newcomer costs a look at all of them.
            let beyond = state.callers.len().saturating_sub(self.most_tracked);
            let most = idle.len().min(beyond.saturating_add((self.most_tracked / 8).max(1)));
            idle.sort_unstable();
            if let Some(last) = most.checked_sub(1).and_then(|last| idle.get(last)).copied() {
                let mut rest = most;
                state.callers.retain(|_, share| {
                    let goes = rest > 0 && holds_nothing(share) && left(share) <= last;
                    rest -= usize::from(goes);
                    !goes
                });
            }
        }
        state.identities.retain(|_, level| Arc::strong_count(level) > 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_as(share: &Share, role: CallerRole, bounds: CallerBounds) -> bool {
    share.role == role && share.address.bounds == bounds.address && share.identity.bounds == bounds.identity
}

impl fmt::Debug for Shares {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shares").field("tracked", &self.tracked()).finish_non_exhaustive()
    }
}
