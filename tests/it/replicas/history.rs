//! What was acknowledged when, and whether the answers fit to it.

use std::collections::HashMap;
use std::error::Error as _;
use std::time::Duration;

use lanyard::proto::Decision;
use lanyard::proto::ValidateBindingResponse;
use tokio::time::Instant;
use tonic::Code;
use tonic::Status;

use crate::replicas::fleet::BOUND;

/// Times are compared in whole seconds, so that a snapshot may be used for up to a second longer on each side.
const ROUNDING: Duration = Duration::from_secs(2);

/// The tokens of a run, by number, and what happened to them.
#[derive(Debug, Default)]
pub struct History {
    /// When somebody first asked to revoke a token.
    asked: HashMap<usize, Instant>,
    /// When a revocation was acknowledged.
    acknowledged: HashMap<usize, Instant>,
    /// The clients whose registration was acknowledged.
    pub registered: Vec<String>,
    pub counts: Counts,
}

/// How many answers there were of each kind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    pub allowed: usize,
    pub denied: usize,
    pub stale: usize,
    /// The replica was not there, or did not answer.
    pub unreachable: usize,
    pub written: usize,
    pub not_written: usize,
}

impl History {
    pub fn asks_to_revoke(&mut self, token: usize) {
        self.asked.entry(token).or_insert_with(Instant::now);
    }

    pub fn revoked(&mut self, token: usize) {
        self.acknowledged.entry(token).or_insert_with(Instant::now);
    }

    /// The tokens whose revocation was acknowledged.
    pub fn all_revoked(&self) -> Vec<usize> {
        self.acknowledged.keys().copied().collect()
    }

    /// Whether nobody has asked to revoke it.
    pub fn is_good(&self, token: usize) -> bool {
        !self.asked.contains_key(&token)
    }

    /// Counts a write.
    pub fn wrote(&mut self, outcome: &Result<(), Status>) {
        match outcome {
            Ok(()) => self.counts.written += 1,
            Err(status) => {
                assert!(is_of_an_outage(status), "{status:?}");
                self.counts.not_written += 1;
            }
        }
    }

    /// Checks an answer about a token to a question that was asked at this time.
    pub fn check(&mut self, token: usize, asked: Instant, answer: &Result<ValidateBindingResponse, Status>) {
        match answer {
            Ok(answer) if answer.decision() == Decision::Allow => {
                if let Some(acknowledged) = self.acknowledged.get(&token) {
                    let since = asked.saturating_duration_since(*acknowledged);
                    assert!(since <= BOUND + ROUNDING, "token {token} was allowed {since:?} after it was revoked");
                }
                self.counts.allowed += 1;
            }
            Ok(answer) => {
                assert!(!self.is_good(token), "token {token} was denied, and nobody revoked it: {answer:?}");
                self.counts.denied += 1;
            }
            Err(status) if status.message().contains("has not been followed") => self.counts.stale += 1,
            Err(status) => {
                assert!(is_of_an_outage(status), "{status:?}");
                self.counts.unreachable += 1;
            }
        }
    }
}

/// Whether an error says that the replica, or its store, was not there. A request that meets the end of a connection is one
/// of the transport, whatever its code.
fn is_of_an_outage(status: &Status) -> bool {
    let known = [Code::Unavailable, Code::Cancelled, Code::Unknown, Code::DeadlineExceeded];
    known.contains(&status.code()) || status.source().is_some()
}
