//! The chart.

mod hooks;
mod manifests;
mod meshes;
mod properties;
mod registrations;
mod secrets;
mod server;
mod typed;
mod values;
