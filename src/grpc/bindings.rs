//! `lanyard.v1.BindingService`.

use prost_types::Timestamp;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;

use crate::authority::decision::Decision;
use crate::authority::decision::Evaluation;
use crate::authority::decision::Match;
use crate::authority::decision::NoDecision;
use crate::authority::decision::PresentedEvidence;
use crate::authority::decision::ValidateRequest;
use crate::authority::evidence::Evidence;
use crate::authority::evidence::EvidenceGrade;
use crate::authority::evidence::InvalidEvidence;
use crate::authority::state::Caller;
use crate::grpc::Services;
use crate::grpc::binding_stream;
use crate::grpc::binding_stream::Answers;
use crate::grpc::caller;
use crate::grpc::claims;
use crate::grpc::status;
use crate::proto;
use crate::proto::ValidateBindingRequest;
use crate::proto::ValidateBindingResponse;
use crate::proto::binding_service_server::BindingService;
use crate::proto::validate_binding_request::Evidence as Brought;

#[tonic::async_trait]
impl BindingService for Services {
    async fn validate_binding(
        &self,
        request: Request<ValidateBindingRequest>,
    ) -> Result<Response<ValidateBindingResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        self.evaluate(caller(&extensions)?, message).map(Response::new)
    }

    type ValidateBindingsStream = Answers;

    async fn validate_bindings(
        &self,
        request: Request<Streaming<ValidateBindingRequest>>,
    ) -> Result<Response<Answers>, Status> {
        binding_stream::answers(self.clone(), request).map(Response::new)
    }
}

impl Services {
    /// Evaluates one request, unary or in a stream.
    pub(super) fn evaluate(
        &self,
        caller: &Caller,
        message: ValidateBindingRequest,
    ) -> Result<ValidateBindingResponse, Status> {
        let evidence = evidence(message.evidence).map_err(|error| {
            let why = NoDecision::from(error);
            self.authority.report_not_decided(caller, &message.audience, why);
            status::no_decision(why)
        })?;
        let request = ValidateRequest {
            access_token: &message.access_token,
            evidence,
            audience: Some(&message.audience),
            scope: &message.scope,
        };
        let evaluation = self.authority.validate_binding(caller, request).map_err(status::no_decision)?;
        Ok(print(&evaluation))
    }
}

pub(super) fn evidence(presented: Option<Brought>) -> Result<PresentedEvidence, InvalidEvidence> {
    Ok(match presented {
        // `own_connection: false` is the same as leaving it out.
        None | Some(Brought::OwnConnection(false)) => PresentedEvidence::Nothing,
        Some(Brought::OwnConnection(true)) => PresentedEvidence::OwnConnection,
        Some(Brought::Certificate(der)) => PresentedEvidence::Of(Some(Evidence::from_der(&der)?)),
        Some(Brought::CertificateThumbprint(digest)) => {
            PresentedEvidence::Of(Some(Evidence::from_thumbprint(&digest)?))
        }
        Some(Brought::SpiffeId(text)) => PresentedEvidence::Of(Some(Evidence::from_spiffe_id(&text)?)),
        Some(Brought::ForwardedClientCert(header)) => PresentedEvidence::Forwarded(header),
    })
}

fn print(evaluation: &Evaluation) -> ValidateBindingResponse {
    let mut response = ValidateBindingResponse {
        evidence_grade: evaluation.grade.map_or(proto::EvidenceGrade::Unspecified, grade).into(),
        claims: evaluation.claims().map(claims::print),
        ..ValidateBindingResponse::default()
    };
    match evaluation.decision {
        Decision::Allow(verdict) => {
            response.set_decision(proto::Decision::Allow);
            let (matched, generation) = match verdict.matched {
                Match::Exact => (proto::Match::Exact, 0),
                Match::SameIdentity => (proto::Match::SameIdentity, 0),
                Match::Lineage(generation) => (proto::Match::Lineage, generation),
            };
            response.set_match(matched);
            response.generation = generation;
            let seconds = i64::try_from(verdict.cache_until.0).unwrap_or(i64::MAX);
            response.cache_until = Some(Timestamp { seconds, nanos: 0 });
        }
        Decision::Deny(why) => {
            response.set_decision(proto::Decision::Deny);
            response.set_reason(status::deny_reason(why));
            response.explanation = why.to_string();
        }
    }
    response
}

fn grade(grade: EvidenceGrade) -> proto::EvidenceGrade {
    match grade {
        EvidenceGrade::SpiffeId => proto::EvidenceGrade::SpiffeId,
        EvidenceGrade::Thumbprint => proto::EvidenceGrade::Thumbprint,
        EvidenceGrade::Certificate => proto::EvidenceGrade::Certificate,
    }
}
