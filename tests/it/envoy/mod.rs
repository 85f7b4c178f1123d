//! Envoy: the checks that it asks for, and a real one that asks.

mod evidence;
mod ext_authz;
mod ext_authz_evidence;
mod ext_authz_protos;
mod ext_authz_resources;
mod failures;
mod gateway;
mod receipts;
mod reported_peer;
mod requests;
mod rotation;
mod shipped_configuration;
mod txn;
