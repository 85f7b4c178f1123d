//! The command line.

mod commands;
mod dev;
mod doctor;
mod doctor_certificates;
mod doctor_clients;
mod doctor_endpoints;
mod oauth;
mod resource;
mod token_watch;
mod yaml_documents;
