//! What the tests share: certificates, clocks, an authority on a store in memory.

pub mod ca;
pub mod der;
pub mod leaf;
pub mod server;

use lanyard::authority::clock::Timestamp;

/// The present moment of every test that does not set another: 2027-01-15T08:00:00Z.
pub const NOW: Timestamp = Timestamp(1_800_000_000);
