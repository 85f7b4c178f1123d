//! Implementations of the `Signer` port of `authority::keys`.

pub mod local;
mod pool;
