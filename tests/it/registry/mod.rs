//! Clients and protected resources that are registered.

mod applied;
mod client_cas;
mod client_metadata;
mod clients;
mod deleted_resources;
mod directory;
mod features;
mod fields;
mod history;
mod lost_answers;
mod newer;
mod patterns;
mod preview;
mod registrations;
mod resource_defaults;
mod resource_lookup;
pub mod resources;
mod resources_fields;
mod stored;
mod suspended;
mod unique_authorities;
mod unique_identities;
