//! What the benches share: a server in a process of its own, and a client that sends prebuilt frames.
#![allow(dead_code, reason = "each bench uses a part")]

pub(crate) mod client;
pub(crate) mod frames;
pub(crate) mod requests;
pub(crate) mod server;

use std::error::Error;

/// Ends a bench.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;
