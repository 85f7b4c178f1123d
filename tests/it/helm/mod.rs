//! The chart.

mod cluster;
mod edge;
mod hooks;
mod manifests;
mod meshes;
mod properties;
mod registrations;
mod replicas;
mod secrets;
mod server;
mod typed;
mod values;
