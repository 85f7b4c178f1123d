//! `lanyard.v1.BindingService`.

use prost::Message as _;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;
use tonic::codegen::BoxStream;

use crate::authority::Authority;
use crate::authority::decision::NoDecision;
use crate::authority::decision::ValidateRequest;
use crate::authority::state::Asker;
use crate::grpc::Services;
use crate::grpc::asker;
use crate::grpc::binding_answer;
use crate::grpc::binding_question::BindingQuestion;
use crate::grpc::status;
use crate::grpc::wire::Writer;
use crate::proto::ValidateBindingRequest;
use crate::proto::ValidateBindingResponse;
use crate::proto::ValidateBindingsResponse;
use crate::proto::binding_service_server::BindingService;

#[tonic::async_trait]
impl BindingService for Services {
    async fn validate_binding(
        &self,
        request: Request<ValidateBindingRequest>,
    ) -> Result<Response<ValidateBindingResponse>, Status> {
        let (_, mut extensions, message) = request.into_parts();
        let (question, mut answer) = (BindingQuestion::of(&message), Vec::new());
        let asker = asker(&mut extensions)?;
        evaluate(&self.authority, &asker, &question, &mut Writer::new(&mut answer))?;
        // What is printed is printed in one place.
        let answer = ValidateBindingResponse::decode(answer.as_slice()).map_err(|_| status::broken())?;
        Ok(Response::new(answer))
    }

    type ValidateBindingsStream = BoxStream<ValidateBindingsResponse>;

    async fn validate_bindings(
        &self,
        _: Request<Streaming<ValidateBindingRequest>>,
    ) -> Result<Response<Self::ValidateBindingsStream>, Status> {
        Err(Status::unimplemented("the stream is served before it gets here"))
    }
}

/// Evaluates one request, unary or in a stream, and writes the answer.
pub(super) fn evaluate(
    authority: &Authority,
    caller: &Asker,
    question: &BindingQuestion<'_>,
    answer: &mut Writer<'_>,
) -> Result<(), Status> {
    let evidence = question.evidence().map_err(|error| {
        let why = NoDecision::from(error);
        status::refused(status::no_decision)(authority.report_not_decided(caller, question.audience, why))
    })?;
    let request = ValidateRequest {
        access_token: question.access_token,
        evidence,
        audience: Some(question.audience),
        scope: question.scope,
        receipt: question.receipt,
    };
    let evaluation = authority.validate_binding(caller, request).map_err(status::refused(status::no_decision))?;
    binding_answer::write(&evaluation, answer);
    Ok(())
}
