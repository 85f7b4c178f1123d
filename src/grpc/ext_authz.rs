//! `envoy.service.auth.v3.Authorization`: the check that Envoy, or any proxy with the same protocol, makes for each
//! request.
//!
//! Every decision is an explicit response. Envoy treats a gRPC error as a failed check, and its `failure_mode_allow`
//! may then let the request through. Errors are therefore reserved for when no decision is possible; a fault of a
//! client or of a misconfigured proxy is a denied response.

use axum::body::Body;
use axum::http::Response;
use http_body_util::BodyExt as _;
use prost_types::ListValue;
use prost_types::Struct;
use prost_types::Value;
use prost_types::value::Kind;
use serde_json::json;
use tonic::Code;
use tonic::Request;
use tonic::Status;
use tonic::codec::Codec as _;
use tonic::codec::EncodeBody;
use tonic_prost::ProstCodec;

use crate::authority::Authority;
use crate::authority::access::NotAdmitted;
use crate::authority::access::RETRY_AFTER;
use crate::authority::access::Sender;
use crate::authority::decision;
use crate::authority::decision::Match;
use crate::authority::evidence::EvidenceGrade;

use crate::authority::decision::Allowance;
use crate::authority::decision::Asserted;
use crate::authority::decision::CheckAnswer;
use crate::authority::decision::CheckRefusal;
use crate::authority::decision::Denial;
use crate::authority::deny_reason::DenyReason;
use crate::authority::observe::RequestOutcome;
use crate::authority::resources::Destination;
use crate::authority::scope::Scope;
use crate::grpc::Services;
use crate::grpc::caller;
use crate::grpc::status;
use crate::proto::envoy::config::core::v3::HeaderValue;
use crate::proto::envoy::config::core::v3::HeaderValueOption;
use crate::proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use crate::proto::envoy::service::auth::v3::AttributeContext;
use crate::proto::envoy::service::auth::v3::CheckRequest;
use crate::proto::envoy::service::auth::v3::CheckResponse;
use crate::proto::envoy::service::auth::v3::DeniedHttpResponse;
use crate::proto::envoy::service::auth::v3::OkHttpResponse;
use crate::proto::envoy::service::auth::v3::authorization_server::Authorization;
use crate::proto::envoy::service::auth::v3::check_response::HttpResponse;
use crate::proto::envoy::r#type::v3::HttpStatus;
use crate::proto::google::rpc;
use crate::trace_context;
use crate::trace_context::IncomingTrace;

/// The response header that carries, for a resource that asks for it, the reason for which the request would have been
/// denied.
const REPORT: &str = "x-lanyard-report";

#[tonic::async_trait]
impl Authorization for Services {
    async fn check(&self, request: Request<CheckRequest>) -> Result<tonic::Response<CheckResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let attributes = message.attributes.unwrap_or_default();
        let answer = if let Some(request) = read(&attributes) {
            // If the proxy does not trace, the denial belongs to the trace of its client.
            trace_context::adopt(|| IncomingTrace::from_raw(&request.headers));
            self.authority.check(caller, &request).map_err(status::stale)?
        } else {
            let refusal = CheckRefusal::RequestMalformed;
            self.authority.report_unread_check(&caller.sender(), refusal);
            CheckAnswer::Deny(denial(refusal))
        };
        let mut response = tonic::Response::new(print(&answer));
        if let CheckAnswer::Deny(denial) = &answer {
            response.extensions_mut().insert(outcome(denial.refusal));
        }
        Ok(response)
    }
}

/// The outcome of a denial in the metrics. In gRPC a denial is a successful response.
fn outcome(refusal: CheckRefusal) -> RequestOutcome {
    if refusal == CheckRefusal::Unable { RequestOutcome::Error } else { RequestOutcome::Refused }
}

/// Reads the request that a proxy describes. `None` if the attributes describe no HTTP request.
pub(super) fn read(attributes: &AttributeContext) -> Option<decision::CheckRequest<'_>> {
    let http = attributes.request.as_ref()?.http.as_ref()?;
    let (source, destination) = (attributes.source.as_ref(), attributes.destination.as_ref());
    // With Envoy's encode_raw_headers the headers are in `header_map`, otherwise in `headers`.
    let raw = http.header_map.iter().flat_map(|map| &map.headers).map(|header| {
        let value = if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value };
        (header.key.as_str(), value)
    });
    let headers = http.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).chain(raw);
    Some(decision::CheckRequest {
        destination: Destination {
            named: attributes.context_extensions.get("resource").map(String::as_str),
            principal: destination.map_or("", |peer| &peer.principal),
            authority: &http.host,
        },
        method: &http.method,
        path: &http.path,
        headers: headers.collect(),
        certificate: source.map_or("", |peer| &peer.certificate),
        principal: source.map_or("", |peer| &peer.principal),
    })
}

fn print(answer: &CheckAnswer) -> CheckResponse {
    match answer {
        CheckAnswer::Allow(allowance) => allowed(allowance),
        CheckAnswer::Deny(denial) => denied(denial),
    }
}

fn allowed(allowance: &Allowance) -> CheckResponse {
    let Allowance { asserted, remove, let_through, say_so } = allowance;
    let mut response = OkHttpResponse { headers_to_remove: remove.clone(), ..OkHttpResponse::default() };
    if let Some(asserted) = asserted {
        let (claims, verdict) = (asserted.claims(), &asserted.verdict);
        response.headers.push(header("x-lanyard-client-id", &claims.client_id));
        response.headers.push(header("x-lanyard-subject", &claims.sub));
        response.headers.extend(claims.scope.as_deref().map(|scope| header("x-lanyard-scope", scope)));
        response.headers.push(header("x-lanyard-binding", binding(verdict.matched)));
    }
    if let Some(refusal) = let_through.filter(|_| *say_so) {
        response.response_headers_to_add.push(header(REPORT, refusal.code()));
    }
    let reported = let_through.map(|refusal| ("would_deny", text(refusal.code())));
    let fields = asserted.iter().flat_map(metadata).chain(reported);
    CheckResponse {
        status: Some(status(Code::Ok, "")),
        dynamic_metadata: Some(Struct { fields: fields.map(|(name, value)| (name.to_owned(), value)).collect() }),
        http_response: Some(HttpResponse::OkResponse(response)),
    }
}

/// Dynamic metadata for later filters and the access log.
fn metadata(asserted: &Asserted) -> Vec<(&'static str, Value)> {
    let (claims, Asserted { audience, verdict, .. }) = (asserted.claims(), asserted);
    let values = claims.aud.all().iter().map(|one| text(one)).collect();
    let grade = match verdict.grade {
        EvidenceGrade::SpiffeId => "spiffe_id",
        EvidenceGrade::Thumbprint => "thumbprint",
        EvidenceGrade::Certificate => "certificate",
    };
    let list = ListValue { values };
    vec![
        ("resource", text(audience)),
        ("client_id", text(&claims.client_id)),
        ("sub", text(&claims.sub)),
        ("scope", text(claims.scope.as_deref().unwrap_or_default())),
        ("aud", Value { kind: Some(Kind::ListValue(list)) }),
        ("jti", text(&claims.jti)),
        ("match", text(binding(verdict.matched))),
        ("evidence_grade", text(grade)),
    ]
}

fn binding(matched: Match) -> &'static str {
    match matched {
        Match::Exact => "exact",
        Match::SameIdentity => "same-identity",
        Match::Lineage(_) => "lineage",
    }
}

fn text(text: &str) -> Value {
    Value { kind: Some(Kind::StringValue(text.to_owned())) }
}

/// A header that replaces every other of its name. Envoy up to 1.36 reads `append` only; later versions read
/// `append_action`, whose zero value appends.
#[expect(deprecated, reason = "see above")]
fn header(name: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value: value.to_owned(), raw_value: Vec::new() }),
        append: Some(false),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
    }
}

fn status(code: Code, message: &str) -> rpc::Status {
    rpc::Status { code: code.into(), message: message.to_owned(), details: Vec::new() }
}

/// A denial from before the resource lookup.
fn denial(refusal: CheckRefusal) -> Denial {
    Denial { refusal, audience: None, scope: Scope::default() }
}

/// A refusal as an HTTP response (RFC 6750 section 3.1, RFC 8705 section 3).
struct Saying {
    http: i32,
    grpc: Code,
    /// The error code of RFC 6750; `None` if the request has no token, or the refusal does not concern one.
    error: Option<&'static str>,
    /// Whether the response has a `WWW-Authenticate` challenge.
    challenge: bool,
}

fn saying(refusal: CheckRefusal) -> Saying {
    let token = |http, grpc, error| Saying { http, grpc, error, challenge: true };
    let other = |http, grpc| Saying { http, grpc, error: None, challenge: false };
    match refusal {
        CheckRefusal::Denied(DenyReason::InsufficientScope) => {
            token(403, Code::PermissionDenied, Some("insufficient_scope"))
        }
        CheckRefusal::Denied(_) => token(401, Code::Unauthenticated, Some("invalid_token")),
        CheckRefusal::TokenMissing => token(401, Code::Unauthenticated, None),
        CheckRefusal::AuthorizationMalformed => token(400, Code::InvalidArgument, Some("invalid_request")),
        CheckRefusal::EvidenceMalformed(_) | CheckRefusal::PathNotCanonical | CheckRefusal::RequestMalformed => {
            other(400, Code::InvalidArgument)
        }
        CheckRefusal::ResourceUnknown | CheckRefusal::RouteUnknown | CheckRefusal::NotAProxy => {
            other(403, Code::PermissionDenied)
        }
        CheckRefusal::Overloaded | CheckRefusal::Unable => other(503, Code::ResourceExhausted),
    }
}

fn denied(denial: &Denial) -> CheckResponse {
    let Denial { refusal, audience, scope } = denial;
    let Saying { http, grpc, error, challenge } = saying(*refusal);
    // Fixed sentences, without quotes and backslashes (RFC 6750 section 3).
    let description = refusal.to_string();
    let body = json!({
        "error": error.unwrap_or(if challenge { "unauthorized" } else { "access_denied" }),
        "error_description": description,
        "reason": refusal.code(),
    });
    let mut headers = vec![header("content-type", "application/json"), header("cache-control", "no-store")];
    if *refusal == CheckRefusal::Overloaded {
        headers.push(header("retry-after", &RETRY_AFTER.as_secs().to_string()));
    }
    if challenge {
        let mut parameters = vec![format!("realm=\"{}\"", audience.as_deref().unwrap_or("lanyard"))];
        if let Some(error) = error {
            parameters.push(format!("error=\"{error}\""));
            parameters.push(format!("error_description=\"{description}\""));
        }
        if error == Some("insufficient_scope") {
            parameters.push(format!("scope=\"{scope}\""));
        }
        headers.push(header("www-authenticate", &format!("Bearer {}", parameters.join(", "))));
    }
    let reason = ("reason".to_owned(), text(refusal.code()));
    CheckResponse {
        status: Some(status(grpc, refusal.code())),
        dynamic_metadata: Some(Struct { fields: [reason].into() }),
        http_response: Some(HttpResponse::DeniedResponse(DeniedHttpResponse {
            status: Some(HttpStatus { code: http }),
            headers,
            body: body.to_string(),
        })),
    }
}

/// The response to a caller that the access table, its certificate or a limit rejects. It is a denied response too,
/// because a request must not pass on account of its proxy not being authorized, or of asking too often.
pub fn not_admitted(error: NotAdmitted) -> Response<Body> {
    denied_response(match error {
        NotAdmitted::ShareExceeded(_) | NotAdmitted::Overloaded => CheckRefusal::Overloaded,
        NotAdmitted::NoSuchMethod
        | NotAdmitted::NoCertificate
        | NotAdmitted::Unproven(_)
        | NotAdmitted::NotForwarded(_)
        | NotAdmitted::WrongRole => CheckRefusal::NotAProxy,
    })
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
    authority.report_unread_check(sender, refusal);
    denied_response(refusal)
}

/// A complete gRPC response with this denial.
pub fn denied_response(refusal: CheckRefusal) -> Response<Body> {
    let message = tokio_stream::once(Ok(denied(&denial(refusal))));
    let encoder = ProstCodec::<CheckResponse, CheckRequest>::default().encoder();
    let body =
        EncodeBody::new_server(encoder, message, None, tonic::codec::SingleMessageCompressionOverride::default(), None);
    let mut response = Response::new(Body::new(body.map_err(axum::Error::new)));
    response.extensions_mut().insert(outcome(refusal));
    response.headers_mut().insert(axum::http::header::CONTENT_TYPE, tonic::metadata::GRPC_CONTENT_TYPE);
    response
}
