//! `lanyard.v1.ExplanationService`.

use tonic::Request;
use tonic::Response;
use tonic::Status;

use crate::authority::clock::Timestamp;
use crate::authority::decision::Step;
use crate::authority::identity::PresentedCertificate;
use crate::authority::observe::ExplainedRefusal;
use crate::authority::observe::RefusalFilter;
use crate::authority::registration::Claim;
use crate::grpc::Services;
use crate::grpc::caller;
use crate::grpc::status;
use crate::grpc::status::malformed;
use crate::messages;
use crate::messages::timestamp;
use crate::proto;
use crate::proto::DecisionStep;
use crate::proto::ExplainRefusalRequest;
use crate::proto::ExplainRefusalResponse;
use crate::proto::ListRefusalsRequest;
use crate::proto::ListRefusalsResponse;
use crate::proto::Refusal;
use crate::proto::RegistrationClaim;
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

fn certificate(certificate: PresentedCertificate) -> proto::PresentedCertificate {
    proto::PresentedCertificate {
        thumbprint: certificate.thumbprint.as_bytes().to_vec(),
        names: certificate.names,
        not_before: certificate.validity.map(|(from, _)| timestamp(from)),
        not_after: certificate.validity.map(|(_, until)| timestamp(until)),
    }
}

fn step(step: Step) -> DecisionStep {
    DecisionStep {
        check: step.check.code().to_owned(),
        found: step.found.into(),
        expected: step.expected.into(),
        passed: step.passed,
    }
}

fn claim(claim: &Claim) -> RegistrationClaim {
    let registration = &claim.client.registration;
    RegistrationClaim {
        client_id: registration.client_id.to_string(),
        etag: messages::etag(claim.client.revision),
        expects: registration.method.expectation(),
        applies: claim.applies,
        outcome: claim.outcome.to_owned(),
    }
}
