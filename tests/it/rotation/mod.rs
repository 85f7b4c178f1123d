//! Certificates that follow one another.

mod announced;
pub mod policies;
