//! Propagates the trace context with each call.

use tonic::Request;
use tonic::Status;
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;

use crate::trace_context;
use crate::trace_context::IncomingTrace;

/// Adds the current span to each call, or else the trace context that the program was started with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Onward(IncomingTrace);

impl Onward {
    /// For a program that was started with this trace context.
    #[cfg(feature = "server")]
    pub(in crate::client) fn new(incoming: IncomingTrace) -> Self {
        Self(incoming)
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
