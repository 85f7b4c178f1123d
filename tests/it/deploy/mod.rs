//! The examples in `deploy/`, and the container image.

pub mod examples;
mod image;
pub mod manifests;
