//! The size of a share, and what it is by default.

use std::num::NonZero;

use crate::limits::machine::Machine;
use crate::limits::role::CallerRole;

/// The size of one share.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bounds {
    /// Open connections.
    pub connections: usize,
    /// Requests under way, streams among them.
    pub requests: usize,
    /// Requests, and messages of streams, for each second; twice as many at once.
    pub requests_per_second: NonZero<u32>,
    /// Bytes of requests under way, each with [`super::REQUEST_BYTES`], and of answers that are not read.
    pub buffered_bytes: usize,
}

/// The shares of one identity.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CallerBounds {
    /// At each of its addresses: replicas that share an identity have addresses of their own.
    pub address: Bounds,
    /// At all of them together.
    pub identity: Bounds,
}

/// The parts of a share that the configuration sets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SetBounds {
    /// Open connections.
    pub connections: Option<NonZero<usize>>,
    /// Requests under way.
    pub requests: Option<NonZero<usize>>,
    /// Requests for each second.
    pub requests_per_second: Option<NonZero<u32>>,
    /// Bytes that are buffered.
    pub buffered_bytes: Option<NonZero<usize>>,
}

impl SetBounds {
    fn over(self, rest: Bounds) -> Bounds {
        Bounds {
            connections: self.connections.map_or(rest.connections, NonZero::get),
            requests: self.requests.map_or(rest.requests, NonZero::get),
            requests_per_second: self.requests_per_second.unwrap_or(rest.requests_per_second),
            buffered_bytes: self.buffered_bytes.map_or(rest.buffered_bytes, NonZero::get),
        }
    }
}

/// The parts of the shares of one identity that the configuration sets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SetCallerBounds {
    /// At each of its addresses.
    pub address: SetBounds,
    /// At all of them together.
    pub identity: SetBounds,
}

impl SetCallerBounds {
    /// These, and the others of `rest`. What is set for an address raises what is not set for the identity, and the
    /// reverse: an address has never more than its identity.
    pub(super) fn over(self, rest: CallerBounds) -> CallerBounds {
        let (address, identity) = (self.address.over(rest.address), self.identity.over(rest.identity));
        let is_set = |set: bool, at_address: usize, of_identity: usize| {
            if set { (at_address.min(of_identity), of_identity) } else { (at_address, of_identity.max(at_address)) }
        };
        let set = self.identity;
        let (connections, all_connections) =
            is_set(set.connections.is_some(), address.connections, identity.connections);
        let (requests, all_requests) = is_set(set.requests.is_some(), address.requests, identity.requests);
        let (bytes, all_bytes) = is_set(set.buffered_bytes.is_some(), address.buffered_bytes, identity.buffered_bytes);
        let (rate, all_rate) = if set.requests_per_second.is_some() {
            (address.requests_per_second.min(identity.requests_per_second), identity.requests_per_second)
        } else {
            (address.requests_per_second, identity.requests_per_second.max(address.requests_per_second))
        };
        let bounds = |connections, requests, requests_per_second, buffered_bytes| Bounds {
            connections,
            requests,
            requests_per_second,
            buffered_bytes,
        };
        CallerBounds {
            address: bounds(connections, requests, rate, bytes),
            identity: bounds(all_connections, all_requests, all_rate, all_bytes),
        }
    }
}

const MIB: usize = 1024 * 1024;

/// The bytes that are buffered for all callers, in memory of which this is one part.
const BUFFERED_PART: usize = 8;

impl CallerBounds {
    /// The defaults for a role, on a listener with room for so many connections.
    pub fn default_of(role: CallerRole, max_connections: usize, machine: Machine) -> Self {
        let cores = u32::try_from(machine.cores).unwrap_or(u32::MAX);
        let bytes = buffered_bytes(machine);
        let bounds = |connections: usize, part: usize, requests, rate: u32, mib: usize, of_all: usize| Bounds {
            // At least four, so that a caller can renew its connections one after the other.
            connections: connections.min((max_connections / part).max(4)).min(max_connections),
            requests,
            requests_per_second: NonZero::new(rate).unwrap_or(NonZero::<u32>::MIN),
            buffered_bytes: (mib * MIB).min(bytes / of_all),
        };
        let (address, identity) = match role {
            CallerRole::Workload => (bounds(64, 8, 512, 2_000, 8, 8), bounds(1_024, 4, 2_048, 10_000, 32, 4)),
            // A proxy asks for all of its clients: what one proxy can ask of all cores is bounded by admission.
            CallerRole::Proxy => (
                bounds(1_024, 4, 8_192, cores.saturating_mul(50_000), 64, 4),
                bounds(8_192, 2, 65_536, cores.saturating_mul(200_000), 256, 2),
            ),
            CallerRole::Admin => (bounds(64, 8, 512, 1_000, 8, 8), bounds(256, 4, 1_024, 2_000, 16, 4)),
            // Callers without a certificate are known by their address alone, which may be a load balancer's.
            CallerRole::Anonymous => {
                let all = bounds(8_192, 2, 8_192, cores.saturating_mul(10_000), 16, 8);
                (all, Bounds { requests: usize::MAX, requests_per_second: NonZero::<u32>::MAX, ..all })
            }
        };
        Self { address, identity }
    }
}

/// The bytes that are buffered for all callers together.
pub fn buffered_bytes(machine: Machine) -> usize {
    let memory = usize::try_from(machine.memory_bytes).unwrap_or(usize::MAX);
    (memory / BUFFERED_PART).clamp(16 * MIB, 1_024 * MIB)
}
