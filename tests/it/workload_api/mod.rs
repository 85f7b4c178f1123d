//! A server that has its certificate and bundles from the SPIFFE Workload API.

mod bundles;
mod etcd;
mod outage;
mod rotation;
mod start;
