//! The command line.

mod commands;
mod dev;
mod doctor;
mod doctor_certificates;
mod doctor_endpoints;
mod oauth;
mod refused_certificates;
mod resource;
mod token_watch;
mod yaml_documents;
