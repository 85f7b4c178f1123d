//! Several replicas, as processes, over a real etcd of three members with mutual TLS.

mod faults;
mod fleet;
mod gate;
mod history;
mod load;
mod shared;
