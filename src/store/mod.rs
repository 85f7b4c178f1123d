//! The stores behind the port of `authority::store`.
//!
//! Both keep the present state in memory ([`table`]) and answer reads and watches from there; [`sled::SledStore`] makes
//! every write durable first.

pub mod disk;
pub mod instrumented;
pub mod memory;
pub mod sled;
mod step;
mod table;
