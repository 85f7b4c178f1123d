//! Trace propagation, on each call.

use tonic::Request;
use tonic::Status;
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;

use crate::trace_context;
use crate::trace_context::IncomingTrace;

/// Puts the present span on each call, and without one what the program itself was started with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Onward(IncomingTrace);

impl Onward {
    /// For a program that was started with this.
    #[cfg(feature = "server")]
    pub(in crate::client) fn new(carried: IncomingTrace) -> Self {
        Self(carried)
    }
}

impl Interceptor for Onward {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let mut headers = std::mem::take(request.metadata_mut()).into_headers();
        trace_context::inject_or(&self.0, &mut headers);
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        Ok(request)
    }
}
