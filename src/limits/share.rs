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
    /// Begins a request: one more that is under way, and one more of this second.
    pub fn begin(self: &Arc<Self>) -> Result<UnderWay, Exceeded> {
        let under_way = self.under_way().map_err(|exceeded| self.refused(exceeded))?;
        self.ask()?;
        Ok(under_way)
    }

    /// Counts a message of a stream for the rate: it is a request of its own.
    pub fn ask(&self) -> Result<(), Exceeded> {
        self.address.ask().and_then(|()| self.identity.ask()).map_err(|exceeded| self.refused(exceeded))
    }

    /// A hold on the bytes of a request, of none yet.
    pub fn hold(self: &Arc<Self>) -> Hold {
        Hold { share: Arc::clone(self), bytes: 0 }
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
        Ok(UnderWay(Arc::clone(self)))
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

    fn release_bytes(&self, bytes: usize) {
        self.address.bytes.release(bytes);
        self.identity.bytes.release(bytes);
        self.whole.bytes.release(bytes);
        self.whole.usage.remove(self.role, Limit::BufferedBytes, bytes);
    }

    pub(super) fn refused(&self, exceeded: Exceeded) -> Exceeded {
        self.whole.usage.refused(self.role, exceeded.limit);
        exceeded
    }
}

/// A request under way. It ends when this is dropped.
#[derive(Debug)]
pub struct UnderWay(Arc<Share>);

impl UnderWay {
    /// The share of which it is.
    pub fn share(&self) -> &Arc<Share> {
        &self.0
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let Self(share) = self;
        share.address.requests.release(1);
        share.identity.requests.release(1);
        share.whole.usage.remove(share.role, Limit::Requests, 1);
    }
}

/// The bytes that are buffered for one request. Dropping it releases them.
#[derive(Debug)]
pub struct Hold {
    share: Arc<Share>,
    bytes: usize,
}

impl Hold {
    /// Holds so many bytes from now on, in place of those before.
    pub fn set(&mut self, bytes: usize) -> Result<(), Exceeded> {
        if let Some(more) = bytes.checked_sub(self.bytes) {
            if more > 0 {
                self.share.take_bytes(more).map_err(|exceeded| self.share.refused(exceeded))?;
            }
        } else {
            self.share.release_bytes(self.bytes.saturating_sub(bytes));
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Holds so many bytes more.
    pub fn add(&mut self, bytes: usize) -> Result<(), Exceeded> {
        self.set(self.bytes.saturating_add(bytes))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.share.release_bytes(self.bytes);
    }
}
