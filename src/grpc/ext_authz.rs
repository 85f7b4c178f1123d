//! `envoy.service.auth.v3.Authorization`: the check that Envoy, or any proxy with the same protocol, makes for each
//! request.
//!
//! Every decision is an explicit response. Envoy treats a gRPC error as a failed check, and its `failure_mode_allow`
//! may then let the request through. Errors are therefore reserved for when no decision is possible; a fault of a
//! client or of a misconfigured proxy is a denied response.

use axum::body::Body;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::Response;
use axum::http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use prost::Message as _;
use tonic::Code;
use tonic::Request;
use tonic::Status;

use crate::authority::Authority;
use crate::authority::access::NotAdmitted;
use crate::authority::access::Sender;
use crate::authority::decision;
use crate::authority::decision::CheckAnswer;
use crate::authority::decision::CheckRefusal;
use crate::authority::decision::Denial;
use crate::authority::observe::RequestOutcome;
use crate::authority::reference::Reference;
use crate::authority::scope::Scope;
use crate::authority::state::Asker;
use crate::grpc::Services;
use crate::grpc::asker;
use crate::grpc::check_answer;
use crate::grpc::check_question;
use crate::grpc::short_answer::ShortAnswer;
use crate::grpc::status;
use crate::grpc::wire;
use crate::grpc::wire::Writer;
use crate::proto::envoy::service::auth::v3::CheckRequest;
use crate::proto::envoy::service::auth::v3::CheckResponse;
use crate::proto::envoy::service::auth::v3::authorization_server::Authorization;
use crate::trace_context;
use crate::trace_context::IncomingTrace;

#[tonic::async_trait]
impl Authorization for Services {
    async fn check(&self, request: Request<CheckRequest>) -> Result<tonic::Response<CheckResponse>, Status> {
        let (_, mut extensions, message) = request.into_parts();
        let (attributes, mut answer) = (message.attributes.unwrap_or_default(), Vec::new());
        let request = check_question::of(&attributes);
        let checked = check_when_signed(&self.authority, &asker(&mut extensions)?, request.as_ref()).await?;
        let outcome = write(&checked, &mut Writer::new(&mut answer));
        // What is printed is printed in one place.
        let answer = CheckResponse::decode(answer.as_slice()).map_err(|_| status::broken())?;
        let mut response = tonic::Response::new(answer);
        response.extensions_mut().insert(outcome);
        Ok(response)
    }
}

/// Answers a check, and writes the answer. `None` is a request that describes no HTTP request. Returns the outcome for the
/// metrics.
pub(super) fn check(
    authority: &Authority,
    caller: &Asker,
    request: Option<&decision::CheckRequest<'_>>,
    answer: &mut Writer<'_>,
) -> Result<RequestOutcome, Status> {
    let checked = match readable(authority, caller, request) {
        Ok(request) => authority.check(caller, request).map_err(status::refused(status::stale))?,
        Err(denied) => denied,
    };
    Ok(write(&checked, answer))
}

/// The same, once the signature of a transaction token is there.
pub(super) async fn check_when_signed(
    authority: &Authority,
    caller: &Asker,
    request: Option<&decision::CheckRequest<'_>>,
) -> Result<CheckAnswer, Status> {
    match readable(authority, caller, request) {
        Ok(request) => authority.check_when_signed(caller, request).await.map_err(status::refused(status::stale)),
        Err(denied) => Ok(denied),
    }
}

/// Writes an answer, and returns the outcome for the metrics.
pub(super) fn write(checked: &CheckAnswer, answer: &mut Writer<'_>) -> RequestOutcome {
    check_answer::write(checked, answer);
    outcome(checked)
}

/// The request, or the denial of a check that describes none.
#[expect(clippy::result_large_err, reason = "it is the answer, and goes on by value")]
fn readable<'a, 'b>(
    authority: &Authority,
    caller: &Asker,
    request: Option<&'a decision::CheckRequest<'b>>,
) -> Result<&'a decision::CheckRequest<'b>, CheckAnswer> {
    if let Some(request) = request {
        // If the proxy does not trace, the denial belongs to the trace of its client.
        trace_context::adopt(|| IncomingTrace::from_raw(&request.headers));
        return Ok(request);
    }
    let refusal = CheckRefusal::RequestMalformed;
    let reference = authority.report_unread_check(&caller.sender(), refusal);
    Err(CheckAnswer::Deny(denial(refusal, reference)))
}

/// The outcome of a check in the metrics. In gRPC a denial is a successful response.
fn outcome(checked: &CheckAnswer) -> RequestOutcome {
    match checked {
        CheckAnswer::Allow(_) => RequestOutcome::Ok,
        CheckAnswer::Deny(Denial { refusal: CheckRefusal::Unable, .. }) => RequestOutcome::Error,
        CheckAnswer::Deny(_) => RequestOutcome::Refused,
    }
}

/// A denial from before the resource lookup.
fn denial(refusal: CheckRefusal, reference: Reference) -> Denial {
    Denial { refusal, reference, audience: None, scope: Scope::default() }
}

/// The answer to a caller that the access table, its certificate or a limit rejects. It is a denied response too,
/// because a request must not pass on account of its proxy not being authorized, or of asking too often.
pub fn not_admitted(error: NotAdmitted, reference: Reference) -> ShortAnswer {
    let refusal = match error {
        NotAdmitted::ShareExceeded(_) | NotAdmitted::Overloaded => CheckRefusal::Overloaded,
        NotAdmitted::NotAtAnEdge => CheckRefusal::Unable,
        NotAdmitted::NoSuchMethod
        | NotAdmitted::NoCertificate
        | NotAdmitted::Unproven(_)
        | NotAdmitted::NotForwarded(_)
        | NotAdmitted::WrongRole => CheckRefusal::NotAProxy,
    };
    denied(refusal, reference)
}

/// Converts to a denied response the status of a check that failed before it was read (a message that is too large, or
/// no message at all) or that failed internally. UNAVAILABLE is kept: it means that no decision is possible.
pub fn into_denied_response(
    authority: &Authority,
    sender: impl FnOnce() -> Sender,
    response: Response<Body>,
) -> Response<Body> {
    let Some(status) = Status::from_header_map(response.headers()) else { return response };
    match status.code() {
        Code::Ok | Code::Unavailable => response,
        Code::InvalidArgument | Code::OutOfRange | Code::Internal | Code::Unimplemented => {
            unread(authority, &sender(), CheckRefusal::RequestMalformed)
        }
        Code::PermissionDenied | Code::Unauthenticated => unread(authority, &sender(), CheckRefusal::NotAProxy),
        Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::DataLoss => unread(authority, &sender(), CheckRefusal::Unable),
    }
}

/// Reports a check that did not reach the authority, and returns the response to it.
pub fn unread(authority: &Authority, sender: &Sender, refusal: CheckRefusal) -> Response<Body> {
    let reference = authority.report_unread_check(sender, refusal);
    response(denied(refusal, reference))
}

/// The answer with a denial from before the resource lookup.
pub fn denied(refusal: CheckRefusal, reference: Reference) -> ShortAnswer {
    answer(&CheckAnswer::Deny(denial(refusal, reference)))
}

/// The answer that says what was decided.
pub fn answer(checked: &CheckAnswer) -> ShortAnswer {
    let mut frame = Vec::new();
    wire::frame(&mut frame, |answer| check_answer::write(checked, answer));
    ShortAnswer { frame, outcome: outcome(checked) }
}

/// A complete gRPC response with this answer.
pub fn response(answer: ShortAnswer) -> Response<Body> {
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    let body = Full::new(Bytes::from(answer.frame)).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    response.extensions_mut().insert(answer.outcome);
    response.headers_mut().insert(CONTENT_TYPE, tonic::metadata::GRPC_CONTENT_TYPE);
    response
}
