//! A real Kubernetes without containers: etcd, the API server, its controllers and the scheduler, built from their Go modules,
//! as processes in a network of their own; cert-manager where a test wants it; and a small kubelet (`kubelet.py`), which runs
//! pods as processes in the root of the image that the Dockerfile makes.
//!
//! Not there: a container runtime, DNS and kube-proxy (the names of all Services are 127.0.0.1, or with `Options::apart` lead to
//! the pods that are ready: `networks.py`), the enforcement of network policies, load balancers, storage drivers (volumes are folders), and limits of memory and CPU.

mod build;
mod cluster;
mod control_plane;
mod network;

pub use cluster::Cluster;
pub use cluster::Options;
