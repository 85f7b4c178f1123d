//! `lanyard.v1.AdminService`.

use std::pin::Pin;

use futures_core::Stream;
use futures_util::stream;
use tonic::Request;
use tonic::Response;
use tonic::Status;

use crate::authority::backup::Lines;
use crate::grpc::Services;
use crate::grpc::caller;
use crate::grpc::status;
use crate::proto::ExportStoreRequest;
use crate::proto::ExportStoreResponse;
use crate::proto::admin_service_server::AdminService;

/// The size of a message from which on it is sent, in bytes. No line is longer than a message may be.
const MESSAGE_BYTES: usize = 64 * 1024;

#[tonic::async_trait]
impl AdminService for Services {
    type ExportStoreStream = Pin<Box<dyn Stream<Item = Result<ExportStoreResponse, Status>> + Send>>;

    async fn export_store(
        &self,
        request: Request<ExportStoreRequest>,
    ) -> Result<Response<Self::ExportStoreStream>, Status> {
        let caller = caller(request.extensions())?;
        let export = self.authority.export_store(caller).await.map_err(|_| status::store_unavailable())?;
        // The lines are made as they are sent.
        Ok(Response::new(Box::pin(stream::iter(Messages(export.into_lines())))))
    }
}

/// The lines of an export, several to a message.
struct Messages(Lines);

impl Iterator for Messages {
    type Item = Result<ExportStoreResponse, Status>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut data = Vec::new();
        while data.len() < MESSAGE_BYTES
            && let Some(line) = self.0.next()
        {
            match line {
                Ok(line) => data.extend_from_slice(&line),
                Err(error) => {
                    tracing::error!(%error, "a record cannot be exported");
                    return Some(Err(status::broken()));
                }
            }
        }
        (!data.is_empty()).then_some(Ok(ExportStoreResponse { data }))
    }
}
