//! All protocols give one answer.

mod explanations;
mod faults;
mod registrations;
mod revocations;
mod roads;
mod roles;
mod routes;
mod tokens;
