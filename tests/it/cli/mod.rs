//! The command line.

mod apply;
mod authentication;
mod commands;
mod connection_flags;
mod contexts;
mod dev;
mod doctor;
mod doctor_certificates;
mod doctor_clients;
mod doctor_endpoints;
mod doctor_envoy;
mod doctor_resources;
mod features;
mod grants;
mod history;
mod keys;
mod oauth;
mod prune;
mod refused_certificates;
mod registry_files;
mod resource;
mod revocations;
mod token_out;
mod token_watch;
mod whoami;
mod yaml_documents;
