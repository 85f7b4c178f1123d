//! `lanyard.v1.BindingService`.

use prost_types::Struct;
use prost_types::Timestamp;
use prost_types::Value;
use prost_types::value::Kind;
use tonic::Request;
use tonic::Response;
use tonic::Status;

use crate::authority::binding;
use crate::authority::binding::Decision;
use crate::authority::binding::Evidence;
use crate::authority::token::AccessTokenClaims;
use crate::authority::token::Audience;
use crate::authority::validation::BroughtEvidence;
use crate::authority::validation::Judgement;
use crate::authority::validation::ValidateRequest;
use crate::grpc::Services;
use crate::grpc::caller;
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
        let caller = caller(&extensions)?;
        let evidence = evidence(message.evidence).map_err(status::invalid_evidence)?;
        let request = ValidateRequest {
            access_token: &message.access_token,
            evidence,
            audience: Some(&message.audience),
            scope: &message.scope,
        };
        let judgement =
            self.authority.validate_binding(&caller.identity, &caller.roles, request).map_err(status::no_decision)?;
        Ok(Response::new(print(&judgement)))
    }
}

fn evidence(brought: Option<Brought>) -> Result<BroughtEvidence, crate::authority::evidence::InvalidEvidence> {
    Ok(match brought {
        // `own_connection: false` says as little as leaving it out.
        None | Some(Brought::OwnConnection(false)) => BroughtEvidence::Nothing,
        Some(Brought::OwnConnection(true)) => BroughtEvidence::OwnConnection,
        Some(Brought::Certificate(der)) => BroughtEvidence::Of(Some(Evidence::from_der(&der)?)),
        Some(Brought::CertificateThumbprint(digest)) => BroughtEvidence::Of(Some(Evidence::from_thumbprint(&digest)?)),
        Some(Brought::SpiffeId(text)) => BroughtEvidence::Of(Some(Evidence::from_spiffe_id(&text)?)),
        Some(Brought::ForwardedClientCert(header)) => BroughtEvidence::Of(Evidence::from_forwarded(&header)?),
    })
}

fn print(judgement: &Judgement) -> ValidateBindingResponse {
    let mut response = ValidateBindingResponse {
        evidence_grade: judgement.grade.map_or(proto::EvidenceGrade::Unspecified, grade).into(),
        claims: judgement.token.as_deref().map(|token| claims(&token.claims)),
        ..ValidateBindingResponse::default()
    };
    match judgement.decision {
        Decision::Allow(verdict) => {
            response.set_decision(proto::Decision::Allow);
            response.set_match(match verdict.matched {
                binding::Match::Exact => proto::Match::Exact,
            });
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

fn grade(grade: binding::EvidenceGrade) -> proto::EvidenceGrade {
    match grade {
        binding::EvidenceGrade::SpiffeId => proto::EvidenceGrade::SpiffeId,
        binding::EvidenceGrade::Thumbprint => proto::EvidenceGrade::Thumbprint,
        binding::EvidenceGrade::Certificate => proto::EvidenceGrade::Certificate,
    }
}

fn reason(reason: binding::DenyReason) -> proto::DenyReason {
    match reason {
        binding::DenyReason::TokenMalformed => proto::DenyReason::TokenMalformed,
        binding::DenyReason::TokenType => proto::DenyReason::TokenType,
        binding::DenyReason::UnknownKey => proto::DenyReason::UnknownKey,
        binding::DenyReason::BadSignature => proto::DenyReason::BadSignature,
        binding::DenyReason::WrongIssuer => proto::DenyReason::WrongIssuer,
        binding::DenyReason::TokenExpired => proto::DenyReason::TokenExpired,
        binding::DenyReason::TokenNotYetValid => proto::DenyReason::TokenNotYetValid,
        binding::DenyReason::ClientUnknown => proto::DenyReason::ClientUnknown,
        binding::DenyReason::ClientDisabled => proto::DenyReason::ClientDisabled,
        binding::DenyReason::ClientRecreated => proto::DenyReason::ClientRecreated,
        binding::DenyReason::WrongAudience => proto::DenyReason::WrongAudience,
        binding::DenyReason::NotBound => proto::DenyReason::NotBound,
        binding::DenyReason::EvidenceMissing => proto::DenyReason::EvidenceMissing,
        binding::DenyReason::EvidenceTooWeak => proto::DenyReason::EvidenceTooWeak,
        binding::DenyReason::CertificateExpired => proto::DenyReason::CertificateExpired,
        binding::DenyReason::CertificateNotYetValid => proto::DenyReason::CertificateNotYetValid,
        binding::DenyReason::CertificateMismatch => proto::DenyReason::CertificateMismatch,
        binding::DenyReason::RotationStrict => proto::DenyReason::RotationStrict,
        binding::DenyReason::InsufficientScope => proto::DenyReason::InsufficientScope,
    }
}

/// The claims as they stand in the token.
fn claims(claims: &AccessTokenClaims) -> Struct {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    // A NumericDate is far below the 2^53 up to which a double is exact.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let number = |seconds: u64| Value { kind: Some(Kind::NumberValue(seconds as f64)) };
    let audience = match &claims.aud {
        Audience::One(one) => text(one),
        Audience::Several(several) => {
            let values = several.iter().map(|one| text(one)).collect();
            Value { kind: Some(Kind::ListValue(prost_types::ListValue { values })) }
        }
    };
    let confirmation = claims.cnf.as_ref().map(|cnf| {
        let fields = cnf.x5t_s256.iter().map(|thumbprint| ("x5t#S256".to_owned(), text(thumbprint))).collect();
        Value { kind: Some(Kind::StructValue(Struct { fields })) }
    });
    let fields = [
        ("iss", Some(text(&claims.iss))),
        ("sub", Some(text(&claims.sub))),
        ("aud", Some(audience)),
        ("exp", Some(number(claims.exp.0))),
        ("iat", Some(number(claims.iat.0))),
        ("nbf", Some(number(claims.nbf.0))),
        ("jti", Some(text(&claims.jti))),
        ("client_id", Some(text(&claims.client_id))),
        ("scope", claims.scope.as_deref().map(text)),
        ("cnf", confirmation),
        ("lanyard_creation", Some(text(&claims.lanyard_creation))),
    ];
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    Struct { fields }
}
