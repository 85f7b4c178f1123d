//! `lanyard.v1.ExplanationService`.

use std::sync::Arc;

use tokio::task::spawn_blocking;
use tonic::Request;
use tonic::Response;
use tonic::Status;

use crate::authority::clock::Timestamp;
use crate::authority::observe::ExplainedRefusal;
use crate::authority::observe::RefusalFilter;
use crate::authority::registration::Claim;
use crate::authority::resources::ResourceMetadata;
use crate::grpc::Services;
use crate::grpc::caller;
use crate::grpc::explained;
use crate::grpc::explained::certificate;
use crate::grpc::explained::claim;
use crate::grpc::explained::step;
use crate::grpc::explained_exchange;
use crate::grpc::resource_reports::printed_report;
use crate::grpc::resource_reports::printed_simulation;
use crate::grpc::status;
use crate::grpc::status::malformed;
use crate::grpc::status::refused;
use crate::grpc::status::unreadable;
use crate::messages::timestamp;
use crate::proto::ExplainCheckRequest;
use crate::proto::ExplainCheckResponse;
use crate::proto::ExplainExchangeRequest;
use crate::proto::ExplainExchangeResponse;
use crate::proto::ExplainIdentityRequest;
use crate::proto::ExplainIdentityResponse;
use crate::proto::ExplainRefusalRequest;
use crate::proto::ExplainRefusalResponse;
use crate::proto::ListRefusalsRequest;
use crate::proto::ListRefusalsResponse;
use crate::proto::Refusal;
use crate::proto::ReportResourceRequest;
use crate::proto::ReportResourceResponse;
use crate::proto::SimulateResourceRequest;
use crate::proto::SimulateResourceResponse;
use crate::proto::explanation_service_server::ExplanationService;

/// How many refusals are listed if the request does not say, and at most.
const USUAL_SIZE: usize = 10;
const MAX_SIZE: usize = 100;

#[tonic::async_trait]
impl ExplanationService for Services {
    async fn explain_refusal(
        &self,
        request: Request<ExplainRefusalRequest>,
    ) -> Result<Response<ExplainRefusalResponse>, Status> {
        let caller = caller(request.extensions())?;
        let explained = self.authority.why(caller, &request.get_ref().reference);
        let refusal = explained.map_err(|error| status::unexplained(&error))?;
        Ok(Response::new(ExplainRefusalResponse { refusal: Some(printed(refusal)) }))
    }

    async fn list_refusals(
        &self,
        request: Request<ListRefusalsRequest>,
    ) -> Result<Response<ListRefusalsResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        let size = match usize::try_from(message.page_size) {
            Ok(0) => USUAL_SIZE,
            Ok(size) => size.min(MAX_SIZE),
            Err(_) => return Err(malformed("page_size", "is negative")),
        };
        let since = message.since.map(|since| u64::try_from(since.seconds).map(Timestamp)).transpose();
        let sent = |text: String| Some(text).filter(|text| !text.is_empty());
        let filter = RefusalFilter {
            resource: sent(message.resource),
            since: since.map_err(|_| malformed("since", "is before 1970"))?,
            caller: sent(message.caller),
            reason: sent(message.reason),
        };
        let found = self.authority.recent_refusals(caller(&extensions)?, &filter, size);
        Ok(Response::new(ListRefusalsResponse { refusals: found.into_iter().map(printed).collect() }))
    }

    async fn explain_check(
        &self,
        request: Request<ExplainCheckRequest>,
    ) -> Result<Response<ExplainCheckResponse>, Status> {
        let question = explained::question(request.get_ref())?;
        let answer = self.authority.explain_check(caller(request.extensions())?, &question);
        answer.map(|explained| Response::new(explained::check(explained))).map_err(refused(status::not_explained))
    }

    async fn explain_identity(
        &self,
        request: Request<ExplainIdentityRequest>,
    ) -> Result<Response<ExplainIdentityResponse>, Status> {
        let asked = explained::identity(request.get_ref().identity.as_ref())?;
        let answer = self.authority.explain_identity(caller(request.extensions())?, &asked);
        let answer = answer.map_err(refused(status::not_explained))?;
        Ok(Response::new(explained::identity_response(answer)))
    }

    async fn explain_exchange(
        &self,
        request: Request<ExplainExchangeRequest>,
    ) -> Result<Response<ExplainExchangeResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        let question = explained_exchange::question(message)?;
        let answer = self.authority.explain_exchange(caller(&extensions)?, &question);
        answer
            .map(|explained| Response::new(explained_exchange::answer(explained)))
            .map_err(refused(status::not_explained))
    }

    async fn report_resource(
        &self,
        request: Request<ReportResourceRequest>,
    ) -> Result<Response<ReportResourceResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        let (authority, caller) = (Arc::clone(&self.authority), caller(&extensions)?.clone());
        // Thousands of kinds of requests may be printed, and others wait on this thread.
        let printed =
            spawn_blocking(move || authority.resource_report(&caller, &message.audience).map(printed_report)).await;
        let printed = printed.map_err(|_| Status::internal("the report ended in an error"))?;
        printed.map(Response::new).map_err(|error| status::registry_error(&error))
    }

    async fn simulate_resource(
        &self,
        request: Request<SimulateResourceRequest>,
    ) -> Result<Response<SimulateResourceResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?.clone();
        let resource = message.resource.ok_or_else(|| malformed("resource", "is missing"))?;
        let metadata = ResourceMetadata::try_from(resource).map_err(unreadable)?;
        let authority = Arc::clone(&self.authority);
        // Thousands of requests may be decided, and others wait on this thread.
        let simulated = spawn_blocking(move || authority.simulate_resource(&caller, metadata)).await;
        let simulated = simulated.map_err(|_| Status::internal("the simulation ended in an error"))?;
        simulated.map(|one| Response::new(printed_simulation(one))).map_err(|error| status::registry_error(&error))
    }
}

fn printed((refusal, claims): (ExplainedRefusal, Vec<Claim>)) -> Refusal {
    Refusal {
        reference: refusal.reference.to_string(),
        time: Some(timestamp(refusal.at)),
        event: refusal.event.to_owned(),
        reason: refusal.reason.to_owned(),
        cause: refusal.cause,
        fix: refusal.fix,
        let_through: refusal.let_through,
        caller: refusal.caller,
        remote: refusal.remote,
        listener: refusal.listener.to_owned(),
        connection: refusal.connection.map(certificate),
        evidence: refusal.evidence.map(certificate),
        evidence_text: refusal.evidence_text,
        client_id: refusal.client_id,
        registration: refusal.registration,
        resource: refusal.resource,
        route: refusal.route,
        method: refusal.method,
        path: refusal.path,
        jti: refusal.jti,
        steps: refusal.steps.into_iter().map(step).collect(),
        claims: claims.iter().map(claim).collect(),
    }
}
