//! The share of one caller, and what a request holds of it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::authority::access::Exceeded;
use crate::authority::access::Limit;
use crate::limits::config::KEPT;
use crate::limits::level::Counted;
use crate::limits::level::Level;
use crate::limits::metrics::Usage;
use crate::limits::role::CallerRole;

/// What a request takes while it is under way, besides its head and its body, in bytes: its stream, its task, its span and
/// the state of its method.
pub const REQUEST_BYTES: usize = 20 * 1024;

/// What all callers hold together.
#[derive(Debug)]
pub(super) struct Whole {
    bytes: Counted,
    most_bytes: usize,
    pub(super) usage: Usage,
}

impl Whole {
    pub(super) fn new(most_bytes: usize) -> Self {
        Self { bytes: Counted::default(), most_bytes, usage: Usage::default() }
    }

    fn bytes_for(&self, role: CallerRole) -> usize {
        if role.is_favoured() { self.most_bytes } else { self.most_bytes - self.most_bytes / usize::from(KEPT) }
    }
}

/// The share of one identity at one address.
#[derive(Debug)]
pub struct Share {
    pub(super) role: CallerRole,
    pub(super) address: Level,
    pub(super) identity: Arc<Level>,
    pub(super) whole: Arc<Whole>,
    /// When its last connection ended, in milliseconds of [`super::Shares`].
    pub(super) left: AtomicU64,
}

impl Share {
    /// Begins a request with a head of so many bytes: one more that is under way, one more of this second, and the memory
    /// that it takes besides its body.
    pub fn begin(self: &Arc<Self>, head: usize) -> Result<UnderWay, Exceeded> {
        let mut under_way = self.under_way().map_err(|exceeded| self.refused(exceeded))?;
        self.ask()?;
        under_way.0.add(head.saturating_add(REQUEST_BYTES))?;
        Ok(under_way)
    }

    /// Counts a message of a stream for the rate: it is a request of its own.
    pub fn ask(&self) -> Result<(), Exceeded> {
        self.address.ask().and_then(|()| self.identity.ask()).map_err(|exceeded| self.refused(exceeded))
    }

    /// A hold on bytes, of none yet.
    pub fn hold(self: &Arc<Self>) -> Hold {
        Hold { share: Arc::clone(self), bytes: 0 }
    }

    /// The bytes that are free of those for all callers, as far as this one may take them.
    pub fn free_bytes(&self) -> usize {
        self.whole.bytes_for(self.role).saturating_sub(self.whole.bytes.now())
    }

    /// The role by which the share was chosen.
    pub fn role(&self) -> CallerRole {
        self.role
    }

    fn under_way(self: &Arc<Self>) -> Result<UnderWay, Exceeded> {
        let (address, identity) = (&self.address, &self.identity);
        if !address.requests.take(1, address.bounds.requests) {
            return Err(Limit::Requests.into());
        }
        if !identity.requests.take(1, identity.bounds.requests) {
            address.requests.release(1);
            return Err(Limit::Requests.into());
        }
        self.whole.usage.add(self.role, Limit::Requests, 1);
        Ok(UnderWay(self.hold()))
    }

    fn take_bytes(&self, bytes: usize) -> Result<(), Exceeded> {
        let (address, identity, whole) = (&self.address, &self.identity, &self.whole);
        if !address.bytes.take(bytes, address.bounds.buffered_bytes) {
            return Err(Limit::BufferedBytes.into());
        }
        if !identity.bytes.take(bytes, identity.bounds.buffered_bytes) {
            address.bytes.release(bytes);
            return Err(Limit::BufferedBytes.into());
        }
        if !whole.bytes.take(bytes, whole.bytes_for(self.role)) {
            address.bytes.release(bytes);
            identity.bytes.release(bytes);
            return Err(Limit::BufferedBytes.into());
        }
        whole.usage.add(self.role, Limit::BufferedBytes, bytes);
        Ok(())
    }

    /// Takes bytes whether they are within the bounds or not.
    fn take_bytes_anyway(&self, bytes: usize) {
        self.address.bytes.add(bytes);
        self.identity.bytes.add(bytes);
        self.whole.bytes.add(bytes);
        self.whole.usage.add(self.role, Limit::BufferedBytes, bytes);
    }

    fn release_bytes(&self, bytes: usize) {
        self.address.bytes.release(bytes);
        self.identity.bytes.release(bytes);
        self.whole.bytes.release(bytes);
        self.whole.usage.remove(self.role, Limit::BufferedBytes, bytes);
    }

    /// Counts that something is refused because of this limit.
    pub fn refused(&self, exceeded: Exceeded) -> Exceeded {
        self.whole.usage.refused(self.role, exceeded.limit);
        exceeded
    }
}

/// A request under way, and the bytes that it takes besides its body. It ends when this is dropped.
#[derive(Debug)]
pub struct UnderWay(Hold);

impl UnderWay {
    /// The share of which it is.
    pub fn share(&self) -> &Arc<Share> {
        &self.0.share
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let share = self.share();
        share.address.requests.release(1);
        share.identity.requests.release(1);
        share.whole.usage.remove(share.role, Limit::Requests, 1);
    }
}

/// Bytes that are held for a caller. Dropping it releases them.
#[derive(Debug)]
pub struct Hold {
    share: Arc<Share>,
    bytes: usize,
}

impl Hold {
    /// Holds so many bytes more.
    pub fn add(&mut self, bytes: usize) -> Result<(), Exceeded> {
        self.share.take_bytes(bytes).map_err(|exceeded| self.share.refused(exceeded))?;
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    /// Holds so many bytes more, which are there already and cannot be refused.
    pub fn add_anyway(&mut self, bytes: usize) {
        self.share.take_bytes_anyway(bytes);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Releases all but so many bytes.
    pub fn keep(&mut self, bytes: usize) {
        let released = self.bytes.saturating_sub(bytes);
        self.share.release_bytes(released);
        self.bytes = self.bytes.saturating_sub(released);
    }

    /// How many bytes it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The share of which they are.
    pub fn share(&self) -> &Arc<Share> {
        &self.share
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.keep(0);
    }
}
