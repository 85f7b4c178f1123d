//! All protocols give one answer.

mod faults;
mod registrations;
mod revocations;
mod roles;
mod routes;
mod tokens;
