//! Implementations of the `Signer` port of `authority::keys`.

pub mod local;
pub mod pkcs11;
mod pool;
