//! All protocols give one answer.

mod faults;
mod revocations;
mod routes;
mod tokens;
