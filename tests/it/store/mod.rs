//! The stores.

mod backup;
mod crash;
mod damage;
mod directory;
pub mod durability;
mod etcd;
mod expiry;
mod faults;
mod full_disk;
mod image;
mod newer;
pub mod store_contract;
mod transactions;
mod watch;
