//! The examples in `deploy/`, and the container image.

mod consul;
mod envoy_page;
pub mod examples;
mod image;
pub mod manifests;
mod mesh_certificates;
