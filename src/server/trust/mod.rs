//! What feeds the core with bundles, client CAs and published certificates.

mod federation;
mod feeds;
mod jwks_polling;
mod own_bundle;
mod workload_identity;

pub(in crate::server) use crate::server::trust::federation::Federation;
pub(crate) use crate::server::trust::federation::endpoint as federation_endpoint;
pub(in crate::server) use crate::server::trust::feeds::Feeds;
pub(in crate::server) use crate::server::trust::feeds::Source;
pub(in crate::server) use crate::server::trust::jwks_polling::client as jwks_client;
pub(in crate::server) use crate::server::trust::jwks_polling::start as start_jwks_polling;
pub(in crate::server) use crate::server::trust::own_bundle::OwnBundle;
pub(in crate::server) use crate::server::trust::workload_identity::WorkloadIdentity;
pub(in crate::server) use crate::server::trust::workload_identity::follow as follow_workload_api;
