//! The requests that are measured, and how their answers are read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lanyard::authority::decision::RECEIPT_HEADER;
use lanyard::proto::Decision;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::ValidateBindingResponse;
use lanyard::proto::ValidateBindingsResponse;
use lanyard::proto::envoy::service::auth::v3::AttributeContext;
use lanyard::proto::envoy::service::auth::v3::CheckRequest;
use lanyard::proto::envoy::service::auth::v3::CheckResponse;
use lanyard::proto::envoy::service::auth::v3::attribute_context as envoy;
use lanyard::proto::envoy::service::auth::v3::attribute_context::HttpRequest;
use lanyard::proto::envoy::service::auth::v3::attribute_context::Peer;
use lanyard::proto::envoy::service::auth::v3::check_response::HttpResponse;
use lanyard::proto::validate_binding_request::Evidence;
use lanyard::proto::validate_bindings_response::Outcome;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use prost::Message as _;
use sha2::Digest as _;
use sha2::Sha256;

use crate::support::client::Verdict;
use crate::support::frames::Request;

/// The sample resource of `lanyard dev`.
pub(crate) const AUDIENCE: &str = "https://orders.dev.internal";

pub(crate) const VALIDATE: &str = "/lanyard.v1.BindingService/ValidateBinding";
pub(crate) const VALIDATE_STREAM: &str = "/lanyard.v1.BindingService/ValidateBindings";
pub(crate) const ISSUE: &str = "/lanyard.v1.TokenService/IssueToken";
pub(crate) const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// The SPIFFE ID of the sample proxy.
pub(crate) const PROXY: &str = "spiffe://dev.internal/proxy";

/// A validation for the sample resource.
pub(crate) fn validate(token: &str, evidence: &Evidence) -> ValidateBindingRequest {
    ValidateBindingRequest {
        access_token: token.to_owned(),
        evidence: Some(evidence.clone()),
        audience: AUDIENCE.to_owned(),
        scope: String::new(),
        receipt: false,
    }
}

/// What the sample proxy's Envoy sends for a request to the sample resource: with the hash in its header, and where it is
/// asked for, the whole certificate.
pub(crate) fn check(token: &str, der: &[u8], whole: bool) -> CheckRequest {
    check_by(PROXY, token, der, whole)
}

/// What the Envoy of this proxy sends.
pub(crate) fn check_by(proxy: &str, token: &str, der: &[u8], whole: bool) -> CheckRequest {
    let headers = [("authorization", format!("Bearer {token}")), ("x-forwarded-client-cert", forwarded(proxy, der))];
    let http = HttpRequest {
        method: "GET".to_owned(),
        path: "/orders/1".to_owned(),
        host: "orders.dev.internal".to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
        ..HttpRequest::default()
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(Peer {
                certificate: if whole { certificate(der) } else { String::new() },
                principal: "spiffe://dev.internal/workload".to_owned(),
                ..Peer::default()
            }),
            request: Some(envoy::Request { http: Some(http) }),
            context_extensions: [("resource".to_owned(), AUDIENCE.to_owned())].into(),
            ..AttributeContext::default()
        }),
    }
}

/// `x-forwarded-client-cert`, as the Envoy of this proxy writes it by default.
pub(crate) fn forwarded(proxy: &str, der: &[u8]) -> String {
    let hash = hex::encode(Sha256::digest(der));
    format!("By={proxy};Hash={hash};Subject=\"\";URI=spiffe://dev.internal/workload")
}

/// `source.certificate` as Envoy writes it.
fn certificate(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
    utf8_percent_encode(&pem, NON_ALPHANUMERIC).to_string()
}

/// Whether a `ValidateBindingResponse` allows.
pub(crate) fn validated(message: &[u8]) -> Verdict {
    let allowed = ValidateBindingResponse::decode(message).is_ok_and(|answer| answer.decision() == Decision::Allow);
    if allowed { Verdict::Served } else { Verdict::Refused }
}

/// Whether a `ValidateBindingsResponse` allows.
pub(crate) fn validated_in_stream(message: &[u8]) -> Verdict {
    let judged = ValidateBindingsResponse::decode(message).ok().and_then(|answer| answer.outcome);
    let allowed = matches!(judged, Some(Outcome::Judged(answer)) if answer.decision() == Decision::Allow);
    if allowed { Verdict::Served } else { Verdict::Refused }
}

/// An answer that is not looked at.
pub(crate) fn answered(_: &[u8]) -> Verdict {
    Verdict::Served
}

/// Whether a `CheckResponse` allows.
pub(crate) fn checked(message: &[u8]) -> Verdict {
    let allowed = CheckResponse::decode(message)
        .is_ok_and(|answer| matches!(answer.http_response, Some(HttpResponse::OkResponse(_))));
    if allowed { Verdict::Served } else { Verdict::Refused }
}

/// Whether a `CheckResponse` allows, with a receipt.
pub(crate) fn checked_with_receipt(message: &[u8]) -> Verdict {
    let has_receipt = CheckResponse::decode(message).is_ok_and(|answer| match answer.http_response {
        Some(HttpResponse::OkResponse(ok)) => {
            ok.headers.iter().filter_map(|option| option.header.as_ref()).any(|header| header.key == RECEIPT_HEADER)
        }
        Some(HttpResponse::DeniedResponse(_) | HttpResponse::ErrorResponse(_)) | None => false,
    });
    if has_receipt { Verdict::Served } else { Verdict::Refused }
}

/// Both requests, encoded.
pub(crate) fn encoded_check(token: &str, der: &[u8], whole: bool) -> Request {
    Request::unary(CHECK, &check(token, der, whole))
}
