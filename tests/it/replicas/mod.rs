//! Several replicas, as processes, over a real etcd of three members with mutual TLS.

mod core;
mod faults;
mod federated;
pub mod fleet;
pub mod gate;
mod history;
mod keys;
mod load;
mod published;
mod races;
mod receipts;
mod resource_bounds;
mod restart;
mod rolling;
mod shared;
mod spread;
mod versions;
