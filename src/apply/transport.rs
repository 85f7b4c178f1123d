//! The transport to the registry.

use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::Bytes;
use tonic::codegen::StdError;

use crate::proto::registry_service_client::RegistryServiceClient;

/// A client of a server's `RegistryService`.
pub type Registry<S> = RegistryServiceClient<S>;

/// A service over which gRPC clients can make calls at once, such as a [`tonic::transport::Channel`].
pub trait Transport:
    Clone
    + GrpcService<
        Body,
        Error: Into<StdError>,
        ResponseBody: tonic::codegen::Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
    >
{
}

impl<S> Transport for S where
    S: Clone
        + GrpcService<
            Body,
            Error: Into<StdError>,
            ResponseBody: tonic::codegen::Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
        >
{
}
