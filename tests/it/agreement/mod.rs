//! All protocols give one answer.

mod faults;
mod registrations;
mod revocations;
mod routes;
mod tokens;
