//! All protocols give one answer.

mod faults;
mod routes;
mod tokens;
