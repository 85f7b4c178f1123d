//! A server that starts, reloads, panics, drains and stops.

mod config;
mod config_origins;
mod drain;
mod drain_load;
mod drain_newcomers;
mod health;
mod panics;
mod reload;
mod reload_configuration;
mod reload_process;
mod restart;
