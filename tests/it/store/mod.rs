//! The stores.

mod crash;
mod damage;
mod directory;
pub mod durability;
mod store_contract;
