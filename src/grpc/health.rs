//! `grpc.health.v1.Health`, including Watch: for an unknown service it sends `SERVICE_UNKNOWN` and keeps the stream
//! open. No service is SERVING before the server is ready.

use std::pin::Pin;

use futures_core::Stream;
use tokio::sync::watch;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::WatchStream;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::HealthCheckResponse;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::health_server::HealthServer;

/// Follows whether the server is ready.
pub type Readiness = watch::Receiver<bool>;

/// The services with a health status. The empty name means the server as a whole.
const SERVICES: [&str; 11] = [
    "",
    "envoy.service.auth.v3.Authorization",
    "lanyard.v1.AdminService",
    "lanyard.v1.BindingService",
    "lanyard.v1.DecisionService",
    "lanyard.v1.ExplanationService",
    "lanyard.v1.KeyService",
    "lanyard.v1.ProposalService",
    "lanyard.v1.RegistryService",
    "lanyard.v1.SnapshotService",
    "lanyard.v1.TokenService",
];

#[derive(Debug)]
pub(super) struct HealthService(Readiness);

pub(super) fn service(readiness: Readiness) -> HealthServer<HealthService> {
    HealthServer::new(HealthService(readiness)).max_decoding_message_size(1024)
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if !SERVICES.contains(&request.get_ref().service.as_str()) {
            return Err(Status::not_found("no such service"));
        }
        Ok(Response::new(serving(*self.0.borrow())))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let known = SERVICES.contains(&request.get_ref().service.as_str());
        // Sends the current status first, then each change. The stream ends only with the connection.
        let mut last = None;
        let changes = WatchStream::new(self.0.clone()).filter_map(move |ready| {
            let response = if known { serving(ready) } else { status(ServingStatus::ServiceUnknown) };
            (last.replace(response.status) != Some(response.status)).then_some(Ok(response))
        });
        Ok(Response::new(Box::pin(changes)))
    }
}

fn serving(ready: bool) -> HealthCheckResponse {
    status(if ready { ServingStatus::Serving } else { ServingStatus::NotServing })
}

fn status(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
