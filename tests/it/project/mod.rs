//! The sources and the documentation.

mod documented;
mod layering;
mod reasons;
