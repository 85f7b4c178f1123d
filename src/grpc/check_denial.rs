//! The denial of a check: a response to the client that asked the proxy (RFC 6750 section 3.1, RFC 8705 section 3).

use prost_types::Struct;
use prost_types::Value;
use prost_types::value::Kind;
use serde_json::json;
use tonic::Code;

use crate::authority::access::RETRY_AFTER;
use crate::authority::decision::CheckRefusal;
use crate::authority::decision::Denial;
use crate::authority::deny_reason::DenyReason;
use crate::authority::reference::REFERENCE_HEADER;
use crate::proto::envoy::config::core::v3::HeaderValue;
use crate::proto::envoy::config::core::v3::HeaderValueOption;
use crate::proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use crate::proto::envoy::service::auth::v3::CheckResponse;
use crate::proto::envoy::service::auth::v3::DeniedHttpResponse;
use crate::proto::envoy::service::auth::v3::check_response::HttpResponse;
use crate::proto::envoy::r#type::v3::HttpStatus;
use crate::proto::google::rpc;

/// A refusal as an HTTP response.
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
        // A new access token would not help.
        CheckRefusal::Denied(DenyReason::ResourceSuspended)
        | CheckRefusal::ResourceUnknown
        | CheckRefusal::RouteUnknown
        | CheckRefusal::NotAProxy
        | CheckRefusal::TxnTokenMissing
        | CheckRefusal::TxnTokenInvalid
        | CheckRefusal::TxnTokenForeign
        | CheckRefusal::TxnTokenExpired
        | CheckRefusal::TxnTokenRevoked
        | CheckRefusal::TxnScopeMissing
        | CheckRefusal::TxnTokenSeen => other(403, Code::PermissionDenied),
        CheckRefusal::Denied(_) => token(401, Code::Unauthenticated, Some("invalid_token")),
        CheckRefusal::TokenMissing => token(401, Code::Unauthenticated, None),
        CheckRefusal::AuthorizationMalformed => token(400, Code::InvalidArgument, Some("invalid_request")),
        CheckRefusal::EvidenceMalformed(_)
        | CheckRefusal::PathNotCanonical
        | CheckRefusal::RequestMalformed
        | CheckRefusal::TxnTokenMalformed
        | CheckRefusal::TxnContextRefused => other(400, Code::InvalidArgument),
        CheckRefusal::TxnTokenNotMinted => other(503, Code::Unavailable),
        CheckRefusal::Overloaded | CheckRefusal::Unable => other(503, Code::ResourceExhausted),
    }
}

pub(super) fn denied(denial: &Denial) -> CheckResponse {
    let Denial { refusal, reference, audience, scope } = denial;
    let reference = reference.to_string();
    let Saying { http, grpc, error, challenge } = saying(*refusal);
    // Fixed sentences, without quotes and backslashes (RFC 6750 section 3).
    let description = refusal.to_string();
    let body = json!({
        "error": error.unwrap_or(if challenge { "unauthorized" } else { "access_denied" }),
        "error_description": description,
        "reason": refusal.code(),
        "reference": reference,
    });
    let mut headers = vec![
        header("content-type", "application/json"),
        header("cache-control", "no-store"),
        header(REFERENCE_HEADER, &reference),
    ];
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
    let field = |name: &str, text: &str| (name.to_owned(), Value { kind: Some(Kind::StringValue(text.to_owned())) });
    let fields = [field("reason", refusal.code()), field("reference", &reference)];
    CheckResponse {
        status: Some(rpc::Status { code: grpc.into(), message: refusal.code().to_owned(), details: Vec::new() }),
        dynamic_metadata: Some(Struct { fields: fields.into() }),
        http_response: Some(HttpResponse::DeniedResponse(DeniedHttpResponse {
            status: Some(HttpStatus { code: http }),
            headers,
            body: body.to_string(),
        })),
    }
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
