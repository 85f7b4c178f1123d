//! The chart.

mod hooks;
mod manifests;
mod meshes;
mod properties;
mod server;
mod values;
