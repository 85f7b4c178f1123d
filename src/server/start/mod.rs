//! The components that exist before anything is served: the store, the signing keys, the core.

mod components;
mod edge;
mod signing_keys;
mod store;
mod store_identity;

pub(in crate::server) use crate::server::start::components::Components;
pub(crate) use crate::server::start::signing_keys::open as open_signing_keys;
pub(crate) use crate::server::start::signing_keys::prove as prove_signing_keys;
pub(crate) use crate::server::start::signing_keys::sealer as key_sealer;
pub(crate) use crate::server::start::signing_keys::sealer_with_token as key_sealer_with_token;
pub(in crate::server) use crate::server::start::store::Stored;
pub(crate) use crate::server::start::store::open as open_store;
