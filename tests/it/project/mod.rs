//! The sources and the documentation.

mod access_table;
mod documented;
mod layering;
mod mutants;
mod reasons;
mod skipping;
