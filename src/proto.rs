//! The generated code of `proto/lanyard/v1`, for the rooms that speak it.
#![expect(missing_docs, clippy::pedantic, clippy::allow_attributes_without_reason, reason = "generated")]
#![cfg_attr(feature = "server", expect(clippy::allow_attributes, reason = "generated"))]

tonic::include_proto!("lanyard.v1");

/// The descriptors of all services, for reflection.
#[cfg(feature = "server")]
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/lanyard.v1.bin"));
