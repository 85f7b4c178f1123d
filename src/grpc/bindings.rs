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
use crate::authority::deny_reason::DenyReason;
use crate::authority::evidence::Evidence;
use crate::authority::evidence::EvidenceGrade;
use crate::authority::evidence::InvalidEvidence;
use crate::authority::observe::AuditEvent;
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
        self.judged(caller(&extensions)?, message).map(Response::new)
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
    /// The answer to one question, alone or in a stream.
    pub(super) fn judged(
        &self,
        caller: &Caller,
        message: ValidateBindingRequest,
    ) -> Result<ValidateBindingResponse, Status> {
        let evidence = evidence(message.evidence).map_err(|error| {
            let why = NoDecision::from(error);
            AuditEvent::NotDecided { caller: &caller.identity, why: &why }.record();
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

fn evidence(presented: Option<Brought>) -> Result<PresentedEvidence, InvalidEvidence> {
    Ok(match presented {
        // `own_connection: false` says as little as leaving it out.
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
        claims: evaluation.token.as_deref().map(|token| claims::print(&token.claims)),
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
            response.set_reason(reason(why));
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

fn reason(reason: DenyReason) -> proto::DenyReason {
    match reason {
        DenyReason::TokenMalformed => proto::DenyReason::TokenMalformed,
        DenyReason::TokenType => proto::DenyReason::TokenType,
        DenyReason::UnknownKey => proto::DenyReason::UnknownKey,
        DenyReason::BadSignature => proto::DenyReason::BadSignature,
        DenyReason::WrongIssuer => proto::DenyReason::WrongIssuer,
        DenyReason::TokenExpired => proto::DenyReason::TokenExpired,
        DenyReason::TokenNotYetValid => proto::DenyReason::TokenNotYetValid,
        DenyReason::ClientUnknown => proto::DenyReason::ClientUnknown,
        DenyReason::ClientDisabled => proto::DenyReason::ClientDisabled,
        DenyReason::ClientRecreated => proto::DenyReason::ClientRecreated,
        DenyReason::TokenRevoked => proto::DenyReason::TokenRevoked,
        DenyReason::ClientRevoked => proto::DenyReason::ClientRevoked,
        DenyReason::CertificateRevoked => proto::DenyReason::CertificateRevoked,
        DenyReason::WrongAudience => proto::DenyReason::WrongAudience,
        DenyReason::TrustDomainNotAccepted => proto::DenyReason::TrustDomainNotAccepted,
        DenyReason::NotBound => proto::DenyReason::NotBound,
        DenyReason::EvidenceMissing => proto::DenyReason::EvidenceMissing,
        DenyReason::EvidenceTooWeak => proto::DenyReason::EvidenceTooWeak,
        DenyReason::CertificateExpired => proto::DenyReason::CertificateExpired,
        DenyReason::CertificateNotYetValid => proto::DenyReason::CertificateNotYetValid,
        DenyReason::CertificateMismatch => proto::DenyReason::CertificateMismatch,
        DenyReason::LineageOver => proto::DenyReason::LineageOver,
        DenyReason::RotationStrict => proto::DenyReason::RotationStrict,
        DenyReason::InsufficientScope => proto::DenyReason::InsufficientScope,
    }
}
