//! The command line.

mod commands;
mod dev;
mod doctor;
mod doctor_certificates;
mod doctor_endpoints;
mod oauth;
mod resource;
mod token_out;
mod token_watch;
mod whoami;
mod yaml_documents;
