//! Where private keys live: behind the port of `authority::keys`.

pub mod local;
