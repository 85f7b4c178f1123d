//! How many connections the limit of file descriptors permits.
//!
//! Each listener has a part of its own, so that no connections to one keep those to another out, and the rest of the
//! process keeps enough for its files and outgoing connections: accepting does not fail for lack of descriptors.

use std::fs;

use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::getrlimit;
use rustix::process::setrlimit;

use crate::config::Config;

/// The descriptors that are kept for files and outgoing connections: an eighth of all, within these bounds.
const KEPT: (u64, u64) = (8, 256);

/// The descriptors that are kept for probes and scrapes: a sixteenth of what is left, within these bounds.
const OPS: (u64, u64) = (4, 1024);

/// The most connections on each listener.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Permitted {
    /// On the mTLS listener.
    pub(crate) mtls: usize,
    /// On the public listener.
    pub(crate) public: usize,
    /// On the ops listener.
    pub(crate) ops: usize,
    /// On the listener behind a terminator, if there is one.
    pub(crate) forwarded: usize,
    /// On the socket for proxies on this machine, if there is one.
    pub(crate) local: usize,
}

/// Which listeners there are beside those that each server has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct FurtherListeners {
    /// The listener behind a terminator.
    pub(crate) forwarded: bool,
    /// The socket for proxies on this machine.
    pub(crate) local: bool,
}

impl FurtherListeners {
    /// Those of a configuration.
    pub(crate) fn of(config: &Config) -> Self {
        Self { forwarded: config.forwarded.is_some(), local: config.local.is_some() }
    }
}

/// Raises this process's limit of file descriptors as far as it may, and returns it.
pub(in crate::server) fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit of file descriptors cannot be raised");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The limit that this process could have.
pub(crate) fn reachable() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// How many descriptors this process has open.
pub(in crate::server) fn open() -> u64 {
    let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    u64::try_from(open).unwrap_or(u64::MAX)
}

/// The descriptors that a server has open before it accepts a connection.
const AT_START: u64 = 64;

impl Permitted {
    /// What a server will permit that is not started yet.
    pub(crate) fn expected(limit: u64, wanted: usize, further: FurtherListeners) -> Self {
        Self::of(limit, AT_START, wanted, further)
    }

    /// Divides what a limit leaves beside `open` descriptors. Each listener gets `wanted` at most.
    pub(in crate::server) fn of(limit: u64, open: u64, wanted: usize, further: FurtherListeners) -> Self {
        let left = limit.saturating_sub(open).saturating_sub((limit / 8).clamp(KEPT.0, KEPT.1));
        let ops = (left / 16).clamp(OPS.0, OPS.1);
        let others = left.saturating_sub(ops);
        let part = |eighths: u64| usize::try_from(others / 8 * eighths).unwrap_or(usize::MAX).clamp(2, wanted.max(2));
        let ops = usize::try_from(ops).unwrap_or(usize::MAX).min(wanted.max(2));
        let (mtls, forwarded, local) = match (further.forwarded, further.local) {
            (false, false) => (part(7), 0, 0),
            (true, false) => (part(4), part(3), 0),
            (false, true) => (part(4), 0, part(3)),
            (true, true) => (part(3), part(2), part(2)),
        };
        Self { mtls, public: part(1), ops, forwarded, local }
    }

    /// The listener for workloads and proxies that gets fewer than `wanted`, and how many it gets.
    pub(crate) fn falls_short(&self, wanted: usize, further: FurtherListeners) -> Option<(&'static str, usize)> {
        let listeners = [
            ("mtls", self.mtls, true),
            ("forwarded", self.forwarded, further.forwarded),
            ("local", self.local, further.local),
        ];
        let short = listeners.into_iter().filter(|(_, permitted, is_used)| *is_used && *permitted < wanted);
        short.map(|(listener, permitted, _)| (listener, permitted)).min_by_key(|(_, permitted)| *permitted)
    }
}

#[cfg(test)]
mod tests {
    use super::FurtherListeners;
    use super::Permitted;

    #[test]
    fn all_listeners_together_stay_below_the_limit_and_each_has_some() {
        for limit in [64, 100, 256, 1024, 4096, 20_000, 65_536, 1 << 20, u64::MAX] {
            for (forwarded, local) in [(false, false), (true, false), (false, true), (true, true)] {
                let further = FurtherListeners { forwarded, local };
                let permitted = Permitted::of(limit, 32, 10_000, further);
                let Permitted { mtls, public, ops, forwarded: behind, local: beside } = permitted;
                let sum = u64::try_from(mtls + public + ops + behind + beside).unwrap();
                assert!(sum + 32 + 8 <= limit, "{limit}: {sum}");
                assert!(mtls >= 2 && public >= 2 && ops >= 4, "{limit}");
                assert!((behind >= 2) == forwarded && (beside >= 2) == local, "{limit}");
                assert!(mtls >= public, "{limit}");
            }
        }
        let plenty = Permitted { mtls: 10_000, public: 10_000, ops: 1024, forwarded: 0, local: 0 };
        assert_eq!(Permitted::of(1 << 20, 32, 10_000, FurtherListeners::default()), plenty);
    }

    #[test]
    fn a_limit_that_is_too_low_is_said_of_the_listener_that_it_cuts_most() {
        let of = |limit, forwarded| {
            let further = FurtherListeners { forwarded, local: false };
            Permitted::of(limit, 32, 10_000, further).falls_short(10_000, further)
        };
        assert_eq!(of(1 << 20, true), None);
        assert_eq!(of(20_000, false), None);
        assert_eq!(of(1024, false), Some(("mtls", 707)));
        assert_eq!(of(20_000, true), Some(("forwarded", 7_008)));
    }

    #[test]
    fn a_listener_gets_no_more_than_it_is_to_have() {
        let Permitted { mtls, public, ops, .. } = Permitted::of(1 << 20, 32, 2, FurtherListeners::default());
        assert_eq!((mtls, public, ops), (2, 2, 2));
    }
}
