//! The implementations of the store port `authority::store`.
//!
//! Two keep the present state in memory ([`table`]) and answer reads and watches from it; [`sled::SledStore`] makes every
//! write durable first. [`etcd::EtcdStore`] asks etcd, and [`upstream::UpstreamStore`] follows another server.

mod channel;
pub mod disk;
pub mod etcd;
pub mod instrumented;
pub mod memory;
mod packed;
pub mod peer;
mod sample;
pub mod sled;
mod step;
mod table;
pub mod upstream;
