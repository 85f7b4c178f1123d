//! The limits of all listeners for connections and for newcomers, and their metrics.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::authority::observe::Family;
use crate::authority::observe::labels;
use crate::server::descriptors;
use crate::server::descriptors::FurtherListeners;
use crate::server::descriptors::Permitted;
use crate::server::transport::connection_limit::ConnectionLimit;
use crate::server::transport::gate::Gate;
use crate::server::transport::places::Displaced;
use crate::server::transport::places::Places;
use crate::tls;

/// The limits of all listeners.
#[derive(Clone, Debug)]
pub(in crate::server) struct Newcomers {
    /// In the order in which they are opened.
    pub(in crate::server) of_listeners: Vec<(Arc<ConnectionLimit>, Arc<Gate>)>,
    /// How often accepting failed by no fault of a peer.
    pub(in crate::server) accept_errors: Arc<AtomicU64>,
}

impl Newcomers {
    /// Limits that this many file descriptors permit.
    pub(in crate::server) fn new(limit: u64, config: &tls::Config, further: FurtherListeners) -> Self {
        let permitted = Permitted::of(limit, descriptors::open(), config.max_connections, further);
        if let Some((listener, permitted)) = permitted.falls_short(config.max_connections, further) {
            tracing::warn!(
                limit,
                listener,
                permitted,
                max_connections = config.max_connections,
                "the limit of file descriptors permits fewer connections than tls.max_connections"
            );
        }
        let gate = |limit: &ConnectionLimit| {
            // Strangers alone never hold all places of a listener.
            let unfinished = config.max_unfinished.min(limit.most() / 2);
            let proxies = if limit.listener() == "ops" { Arc::default() } else { Arc::clone(&config.proxies) };
            Arc::new(Gate::new(unfinished, config.max_handshakes, proxies))
        };
        let limits = ConnectionLimit::of_all(further, permitted);
        let of_listeners = limits.into_iter().map(|limit| (Arc::clone(&limit), gate(&limit))).collect();
        Self { of_listeners, accept_errors: Arc::default() }
    }

    /// What is used of the limits, and what was refused.
    pub(in crate::server) fn families(&self) -> [Family; 8] {
        let connections = |count: fn(&ConnectionLimit) -> u64| {
            let limits = self.of_listeners.iter().map(|(limit, _)| limit);
            limits.map(move |limit| (labels([("listener", limit.listener())]), count(limit)))
        };
        let used = |places: fn(&Gate) -> &Places| {
            let gates = self.of_listeners.iter();
            gates.map(move |(limit, gate)| (labels([("listener", limit.listener())]), places(gate).taken()))
        };
        let displaced = |places: fn(&Gate) -> &Places| {
            self.of_listeners.iter().flat_map(move |(limit, gate)| {
                let listener = limit.listener();
                Displaced::ALL.map(move |why| {
                    (labels([("listener", listener), ("reason", why.label())]), places(gate).displaced(why))
                })
            })
        };
        let errors = (Vec::new(), self.accept_errors.load(Ordering::Relaxed));
        [
            Family::gauges("lanyard_connections", "Open connections", connections(ConnectionLimit::open)),
            Family::gauges(
                "lanyard_connections_limit",
                "How many connections may be open, by the configuration and the limit of file descriptors",
                connections(|limit| u64::try_from(limit.most()).unwrap_or(u64::MAX)),
            ),
            Family::counters(
                "lanyard_connections_accepted",
                "Connections that were accepted",
                connections(ConnectionLimit::accepted),
            ),
            Family::counters(
                "lanyard_connections_refused",
                "Connections that were closed at once, because the limit was reached",
                connections(ConnectionLimit::refused),
            ),
            Family::gauges(
                "lanyard_connections_unfinished",
                "Connections without a whole ClientHello, or without a request where clients have no certificate",
                used(|gate| &gate.unfinished),
            ),
            Family::counters(
                "lanyard_connections_unfinished_displaced",
                "Unfinished connections that were ended to make room for others",
                displaced(|gate| &gate.unfinished),
            ),
            Family::gauges("lanyard_handshakes", "Handshakes under way", used(|gate| &gate.handshakes)),
            Family::counters("lanyard_accept_errors", "Errors of accepting that no peer caused", [errors]),
        ]
    }
}
