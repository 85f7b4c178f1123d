//! Edges: servers that decide beside proxies by what the centre sends them.

mod configuration;
mod decisions;
mod fleet;
mod freshness;
mod refused;
mod upstream_store;
