//! The chart on a real API server, with its pods as processes. Long: each test starts a cluster of its own.

mod admission;
mod certificates;
mod life_cycle;
mod own_etcd;
mod registrations;
mod release;
mod replicas;
mod store;
