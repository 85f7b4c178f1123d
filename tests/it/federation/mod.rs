//! Bundles of other trust domains (SPIFFE Federation).

mod config;
mod endpoint;
mod own_bundle;
mod trust;
