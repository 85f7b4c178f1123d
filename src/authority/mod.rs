//! The core: what is decided, without sockets, runtime, proto or database.
pub mod store;
