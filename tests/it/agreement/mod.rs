//! All protocols give one answer.

mod faults;
mod registrations;
mod routes;
mod tokens;
