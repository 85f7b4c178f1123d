//! The transport to the registry.

use tokio::time::sleep;
use tonic::Status;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::Bytes;
use tonic::codegen::StdError;
use tonic_types::StatusExt as _;

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

/// How many times a call is made again to a server that is too busy for it, each time after the time that it names.
const BUSY_ATTEMPTS: usize = 60;

/// Makes a call, and again while the server says when it may be made again: such a call changed nothing.
pub(in crate::apply) async fn patiently<T>(mut call: impl AsyncFnMut() -> Result<T, Status>) -> Result<T, Status> {
    for _ in 0..BUSY_ATTEMPTS {
        match call().await {
            Err(status) => match status.get_details_retry_info().and_then(|info| info.retry_delay) {
                Some(delay) => sleep(delay).await,
                None => return Err(status),
            },
            done => return done,
        }
    }
    call().await
}
