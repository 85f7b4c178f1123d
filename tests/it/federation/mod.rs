//! Bundles of other trust domains (SPIFFE Federation).

mod config;
mod elsewhere;
mod endpoint;
mod own_bundle;
mod stored;
mod trust;
