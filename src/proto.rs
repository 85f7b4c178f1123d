//! The code generated from the protos: `proto/lanyard/v1` here, Envoy's external authorization in the modules of its
//! packages.
#![expect(missing_docs, clippy::pedantic, clippy::allow_attributes_without_reason, reason = "generated")]
#![cfg_attr(feature = "server", expect(clippy::allow_attributes, reason = "generated"))]

tonic::include_proto!("lanyard.v1");

/// The part of Envoy's packages that external authorization needs.
#[cfg(feature = "server")]
pub mod envoy {
    pub mod config {
        pub mod core {
            pub mod v3 {
                tonic::include_proto!("envoy.config.core.v3");
            }
        }
    }

    pub mod service {
        pub mod auth {
            pub mod v3 {
                tonic::include_proto!("envoy.service.auth.v3");
            }
        }
    }

    pub mod r#type {
        pub mod v3 {
            tonic::include_proto!("envoy.r#type.v3");
        }
    }
}

/// The Google packages that Envoy's packages refer to.
#[cfg(feature = "server")]
pub mod google {
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
}

/// The file descriptors of all packages, for reflection.
#[cfg(feature = "server")]
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
