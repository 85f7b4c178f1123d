//! A bounded number of places, for connections whose peers are not known yet.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::server::bounds::SHARES;
use crate::server::transport::origin::Origin;

/// Places of which the oldest is given away when all are taken. Once half of them are, each origin has a share: beyond
/// it, it loses its own oldest place. So nobody is refused at the door, and whoever is silent longest goes first.
#[derive(Debug)]
pub(in crate::server) struct Places {
    most: usize,
    /// How long a place is kept at least.
    patience: Duration,
    taken: Mutex<Taken>,
    freed: Notify,
    displaced: [AtomicU64; 2],
}

#[derive(Debug, Default)]
struct Taken {
    /// By the order in which they were taken.
    holders: BTreeMap<u64, Holder>,
    of_origins: HashMap<Origin, BTreeSet<u64>>,
    /// Those who were displaced, until they have gone.
    leaving: BTreeSet<u64>,
    next: u64,
}

#[derive(Debug)]
struct Holder {
    origin: Option<Origin>,
    since: Instant,
    /// Dropping it tells the holder.
    _displaces: oneshot::Sender<()>,
}

/// Why a place was given away.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::server) enum Displaced {
    /// All places were taken, and it was the oldest.
    Oldest,
    /// Its origin had more than its share, and it was the oldest of those.
    OverShare,
}

impl Displaced {
    pub(in crate::server) const ALL: [Self; 2] = [Self::Oldest, Self::OverShare];

    /// Its name in the metrics.
    pub(in crate::server) fn label(self) -> &'static str {
        match self {
            Self::Oldest => "oldest",
            Self::OverShare => "over_share",
        }
    }
}

/// A place. Dropping it gives it back.
#[derive(Debug)]
pub(in crate::server) struct Place {
    holder: Arc<Departure>,
    displaced: oneshot::Receiver<()>,
}

/// Tells when a holder that was displaced has gone, with all that it held beside its place: once all of these are dropped.
#[derive(Debug)]
pub(in crate::server) struct Departure {
    places: Arc<Places>,
    number: u64,
}

/// Why there is no place at this moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wait {
    /// Until one is given back, or at this time the oldest.
    AnyPlace(Instant),
    /// Until this time, when the oldest one of the same origin.
    OwnPlace(Instant),
}

impl Places {
    /// This many places, of which each is kept for `patience` at least.
    pub(in crate::server) fn new(most: usize, patience: Duration) -> Arc<Self> {
        let (taken, freed, displaced) = (Mutex::default(), Notify::new(), <[AtomicU64; 2]>::default());
        Arc::new(Self { most: most.max(1), patience, taken, freed, displaced })
    }

    /// Takes a place at once, and displaces another one if that is needed, whatever its age.
    pub(in crate::server) fn take_at_once(self: &Arc<Self>, origin: Option<Origin>) -> Place {
        let mut taken = self.lock();
        if let Some((number, why)) = self.next_to_go(&taken, origin) {
            self.displace(&mut taken, number, why);
        }
        self.insert(&mut taken, origin)
    }

    /// Takes a place, and waits for one if that is needed.
    pub(in crate::server) async fn take(self: &Arc<Self>, origin: Option<Origin>) -> Place {
        loop {
            let freed = self.freed.notified();
            match self.try_take(origin) {
                Ok(place) => return place,
                Err(Wait::AnyPlace(until)) => tokio::select! {
                    () = freed => {}
                    () = tokio::time::sleep_until(until) => {}
                },
                Err(Wait::OwnPlace(until)) => tokio::time::sleep_until(until).await,
            }
        }
    }

    /// Whether somebody is about to go: the holder of the oldest place, if it has kept that for this long, or one who was
    /// displaced before.
    pub(in crate::server) fn make_room(&self, age: Duration) -> bool {
        let mut taken = self.lock();
        if !taken.leaving.is_empty() {
            return true;
        }
        let oldest = taken.holders.first_key_value().filter(|(_, holder)| holder.since.elapsed() >= age);
        let Some(oldest) = oldest.map(|(number, _)| *number) else { return false };
        self.displace(&mut taken, oldest, Displaced::Oldest);
        true
    }

    /// How many places are taken.
    pub(in crate::server) fn taken(&self) -> u64 {
        u64::try_from(self.lock().holders.len()).unwrap_or(u64::MAX)
    }

    /// How many places were given away so far for this reason.
    pub(in crate::server) fn displaced(&self, why: Displaced) -> u64 {
        self.counter(why).load(Ordering::Relaxed)
    }

    fn try_take(self: &Arc<Self>, origin: Option<Origin>) -> Result<Place, Wait> {
        let mut taken = self.lock();
        if let Some((number, why)) = self.next_to_go(&taken, origin) {
            let since = taken.holders.get(&number).map(|holder| holder.since);
            let until = since.map_or_else(Instant::now, |since| since + self.patience);
            if Instant::now() < until {
                return Err(match why {
                    Displaced::Oldest => Wait::AnyPlace(until),
                    Displaced::OverShare => Wait::OwnPlace(until),
                });
            }
            self.displace(&mut taken, number, why);
        }
        Ok(self.insert(&mut taken, origin))
    }

    /// Which place is given away before this origin takes one; `None` if there is no need.
    fn next_to_go(&self, taken: &Taken, origin: Option<Origin>) -> Option<(u64, Displaced)> {
        let own = origin.and_then(|origin| taken.of_origins.get(&origin));
        if let Some(own) = own.filter(|own| self.is_share(own.len()) && self.is_half(taken.holders.len())) {
            return own.first().map(|number| (*number, Displaced::OverShare));
        }
        if taken.holders.len() < self.most {
            return None;
        }
        taken.holders.first_key_value().map(|(number, _)| (*number, Displaced::Oldest))
    }

    /// Whether this many places are the share of an origin.
    fn is_share(&self, own: usize) -> bool {
        own >= (self.most / SHARES).max(1)
    }

    fn is_half(&self, taken: usize) -> bool {
        taken * 2 >= self.most
    }

    fn displace(&self, taken: &mut Taken, number: u64, why: Displaced) {
        taken.remove(number);
        taken.leaving.insert(number);
        self.counter(why).fetch_add(1, Ordering::Relaxed);
    }

    fn insert(self: &Arc<Self>, taken: &mut Taken, origin: Option<Origin>) -> Place {
        let (sender, displaced) = oneshot::channel();
        let number = taken.next;
        taken.next += 1;
        taken.holders.insert(number, Holder { origin, since: Instant::now(), _displaces: sender });
        if let Some(origin) = origin {
            taken.of_origins.entry(origin).or_default().insert(number);
        }
        Place { holder: Arc::new(Departure { places: Arc::clone(self), number }), displaced }
    }

    fn counter(&self, why: Displaced) -> &AtomicU64 {
        let [oldest, over_share] = &self.displaced;
        match why {
            Displaced::Oldest => oldest,
            Displaced::OverShare => over_share,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Removes a holder, and returns whether it was there.
    fn remove(&mut self, number: u64) -> bool {
        let Some(holder) = self.holders.remove(&number) else { return false };
        self.forget(holder.origin, number);
        true
    }

    fn forget(&mut self, origin: Option<Origin>, number: u64) {
        let Some(origin) = origin else { return };
        if let Some(own) = self.of_origins.get_mut(&origin) {
            own.remove(&number);
            if own.is_empty() {
                self.of_origins.remove(&origin);
            }
        }
    }
}

impl Place {
    /// Completes when the place has been given away.
    pub(in crate::server) async fn displaced(&mut self) {
        // The sender never sends.
        drop((&mut self.displaced).await);
    }

    /// Counts the place for this origin from now on, and keeps its age.
    pub(in crate::server) fn belongs_to(&self, origin: Option<Origin>) {
        let number = self.holder.number;
        let mut taken = self.holder.places.lock();
        let Some(holder) = taken.holders.get_mut(&number) else { return };
        let before = std::mem::replace(&mut holder.origin, origin);
        taken.forget(before, number);
        let Some(origin) = origin else { return };
        // As if it took the place now.
        let places = &self.holder.places;
        let own = taken.of_origins.get(&origin);
        let surplus = own.filter(|own| places.is_share(own.len()) && places.is_half(taken.holders.len() - 1));
        if let Some(oldest) = surplus.and_then(|own| own.first().copied()) {
            places.displace(&mut taken, oldest, Displaced::OverShare);
        }
        taken.of_origins.entry(origin).or_default().insert(number);
    }

    /// To be kept for as long as the holder has anything that others wait for.
    pub(in crate::server) fn departure(&self) -> Arc<Departure> {
        Arc::clone(&self.holder)
    }

    /// Runs `work` for as long as the place is kept. When it is given away, the peer may have sent by now what it is
    /// waited for, which shows once the runtime has looked: then the work goes on to where it waits next. `None` if it
    /// still waits for its peer.
    pub(in crate::server) async fn during<T>(&mut self, mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        tokio::select! {
            biased;
            done = work.as_mut() => return Some(done),
            () = self.displaced() => {}
        }
        tokio::task::yield_now().await;
        tokio::select! {
            biased;
            done = work => Some(done),
            () = ready(()) => None,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Departure { places, number } = &*self.holder;
        if places.lock().remove(*number) {
            places.freed.notify_one();
        }
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        self.places.lock().leaving.remove(&self.number);
    }
}

#[cfg(test)]
mod tests;
