//! Shared test support: certificates, and authorities and servers to present them to.

pub mod as_of_now;
pub mod authority;
pub mod binding_stream;
pub mod bound_resource;
pub mod bundle;
pub mod ca;
pub mod calls;
pub mod cert_manager;
pub mod check;
pub mod child;
pub mod collector;
pub mod dcr;
pub mod der;
pub mod dev;
pub mod dockerfile;
pub mod doctor;
pub mod door;
pub mod edge;
pub mod envoy;
pub mod etcd;
pub mod forwarded;
pub mod frames;
pub mod go_programs;
pub mod hand_fed;
pub mod helm;
pub mod helm_pod;
pub mod helm_server;
pub mod http;
pub mod image;
pub mod jwt_svid;
pub mod keys;
pub mod kubernetes;
pub mod leaf;
pub mod local;
pub mod logged;
pub mod made;
pub mod mesh;
pub mod mint;
pub mod observed;
pub mod openssl;
pub mod page;
pub mod panicking_clock;
pub mod previous;
pub mod process;
pub mod publisher;
pub mod raw;
pub mod resources;
pub mod revocation;
pub mod revocation_feed;
pub mod scripted_centre;
pub mod server;
pub mod softhsm;
pub mod stores;
pub mod terminator;
pub mod test_process;
pub mod tools;
pub mod unread;
pub mod unreferenced;
pub mod upstream;
pub mod wire;
pub mod workload;
pub mod workload_api;
pub mod yaml;

use lanyard::authority::clock::Timestamp;

/// The present time of every test that sets no other: 2027-01-15T08:00:00Z.
pub const NOW: Timestamp = Timestamp(1_800_000_000);

/// A deterministic sequence of pseudo-random numbers: xorshift64.
pub struct Xorshift(u64);

impl Xorshift {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    /// One of the elements.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
