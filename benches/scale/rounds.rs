//! Rounds of calls to one server.

use tokio::time::Instant;

use crate::as_float;
use crate::support::Failure;
use crate::support::client::Connection;
use crate::support::client::Measured;
use crate::support::client::Peer;
use crate::support::frames::Request;
use crate::support::requests;
use crate::support::server::Process as _;
use crate::support::server::Server;

/// Connections, and calls under way on each.
const CONNECTIONS: usize = 4;
const CONCURRENT: usize = 32;

/// Connections to one server.
pub(crate) struct Callers<'a> {
    server: &'a Server,
    connections: Vec<Connection>,
}

/// Calls a second, and microseconds of the server's CPU time for each.
pub(crate) struct Round {
    pub(crate) rps: f64,
    pub(crate) cpu_us: f64,
}

impl<'a> Callers<'a> {
    pub(crate) async fn connect(server: &'a Server, peer: &Peer) -> Result<Self, Failure> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(peer.connect().await?);
        }
        Ok(Self { server, connections })
    }

    /// Sends so many calls, as fast as the server answers. Every call must be allowed.
    pub(crate) async fn round(&mut self, requests: &[Request], calls: usize) -> Result<Round, Failure> {
        let (share, part) = (calls / CONNECTIONS, requests.len().div_ceil(CONNECTIONS));
        let before = self.server.cpu_seconds()?;
        let begin = Instant::now();
        let all = self.connections.iter_mut().zip(requests.chunks(part).cycle());
        let all = all.map(|(one, requests)| one.closed_loop(requests, share, CONCURRENT, requests::validated));
        let mut measured = Measured::default();
        for one in futures_util::future::join_all(all).await {
            measured.add(&one?)?;
        }
        let (time, cpu) = (begin.elapsed().as_secs_f64(), self.server.cpu_seconds()? - before);
        if measured.refused.len() + measured.failed > 0 {
            return Err(format!("{} calls refused, {} failed", measured.refused.len(), measured.failed).into());
        }
        Ok(Round { rps: as_float(calls) / time, cpu_us: cpu * 1e6 / as_float(calls) })
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
