//! Sources of bundles, client CAs and published certificates for the core.

mod federation;
mod feeds;
mod own_bundle;
mod published_jwks;
mod stored;
mod trusted_issuers;
mod workload_identity;

pub(in crate::server) use crate::server::trust::federation::Federation;
pub(crate) use crate::server::trust::federation::endpoint as federation_endpoint;
pub(in crate::server) use crate::server::trust::feeds::Feeds;
pub(in crate::server) use crate::server::trust::feeds::Source;
pub(in crate::server) use crate::server::trust::own_bundle::OwnBundle;
pub(in crate::server) use crate::server::trust::published_jwks::client as jwks_client;
pub(in crate::server) use crate::server::trust::published_jwks::start as start_jwks_polling;
pub(in crate::server) use crate::server::trust::trusted_issuers::TrustedIssuers;
pub(in crate::server) use crate::server::trust::workload_identity::WorkloadIdentity;
pub(in crate::server) use crate::server::trust::workload_identity::follow as follow_workload_api;
