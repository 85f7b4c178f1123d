//! Signing keys in their states: rotated, revoked, sealed anew.

mod config;
mod hsm;
mod hsm_writes;
mod pkcs11;
pub mod reseal;
mod reseal_crash;
mod revoked;
mod rotated;
mod service;
mod stored;
mod support;
