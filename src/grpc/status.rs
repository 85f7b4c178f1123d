//! The core's refusals as gRPC statuses, each with a `google.rpc.ErrorInfo` of a fixed reason. The caller gets a fixed
//! sentence; the cause is in the log.

use std::collections::HashMap;
use std::time::Duration;

use tonic::Code;
use tonic::Status;
use tonic_types::ErrorDetails;
use tonic_types::ErrorInfo;
use tonic_types::StatusExt as _;

use crate::authority::Authority;
use crate::authority::access::Exceeded;
use crate::authority::access::NotAdmitted;
use crate::authority::access::RETRY_AFTER;
use crate::authority::decision::ExchangeRefusal;
use crate::authority::decision::GrantError;
use crate::authority::decision::GrantErrorCode;
use crate::authority::decision::KeyChangeError;
use crate::authority::decision::NoDecision;
use crate::authority::decision::NotAnnounced;
use crate::authority::decision::NotExplained;
use crate::authority::decision::ProposalError;
use crate::authority::decision::RevokeError;
use crate::authority::deny_reason::DenyReason;
use crate::authority::observe::RefusedRequest;
use crate::authority::observe::Unexplained;
use crate::authority::records::Held;
use crate::authority::records::NotGranted;
use crate::authority::records::RegistryError;
use crate::authority::reference::Reference;
use crate::authority::reference::Refused;
use crate::authority::state::Caller;
use crate::authority::state::FeatureError;
use crate::authority::state::Undecidable;
use crate::messages::Malformed;
use crate::proto;

/// The domain of every `ErrorInfo` of this server.
const DOMAIN: &str = "lanyard";

/// The reason of a request that cannot be read.
pub(super) const INVALID_REQUEST: &str = "INVALID_REQUEST";

/// Builds a status with an `ErrorInfo`.
fn refusal(code: Code, reason: &str, message: impl Into<String>, metadata: HashMap<String, String>) -> Status {
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, DOMAIN, metadata))
}

pub(super) fn plain(code: Code, reason: &str, message: impl std::fmt::Display) -> Status {
    refusal(code, reason, message.to_string(), HashMap::new())
}

/// The name of a reference in the metadata of an `ErrorInfo`.
const REFERENCE: &str = "reference";

/// A status with the reference of the refusal that it is.
pub fn referring(status: &Status, reference: Reference) -> Status {
    telling(status, REFERENCE, reference.to_string())
}

/// The status of an edge that does not have a method, with where the centre has it.
pub fn naming_the_centre(status: &Status, centre: &str) -> Status {
    telling(status, "centre", centre.to_owned())
}

/// A status with one more entry in the metadata of its `ErrorInfo`.
fn telling(status: &Status, name: &str, value: String) -> Status {
    let mut details = status.get_error_details();
    if let Some(info) = details.error_info() {
        let (reason, mut metadata) = (info.reason.clone(), info.metadata.clone());
        metadata.insert(name.to_owned(), value);
        details.set_error_info(reason, DOMAIN, metadata);
    }
    Status::with_error_details(status.code(), status.message(), details)
}

/// The reference in the detail of a status.
pub(super) fn reference_of(info: &ErrorInfo) -> Option<&str> {
    info.metadata.get(REFERENCE).map(String::as_str)
}

/// The status of a refusal whose error is printed so.
pub(super) fn refused<E>(print: impl FnOnce(E) -> Status) -> impl FnOnce(Refused<E>) -> Status {
    move |refused| referring(&print(refused.error), refused.reference)
}

/// Records an exchange that cannot be read, which does not reach the core, as the token endpoint does.
pub(super) fn unreadable_exchange(authority: &Authority, caller: &Caller, status: &Status) -> Status {
    let request = RefusedRequest::Token(GrantErrorCode::InvalidRequest);
    referring(status, authority.report_refused(&caller.sender(), request, status.message()))
}

/// A request that may be repeated after this time.
pub(super) fn exhausted(
    reason: &str,
    message: impl std::fmt::Display,
    retry_after: Duration,
    metadata: HashMap<String, String>,
) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    details.set_retry_info(Some(retry_after));
    Status::with_error_details(Code::ResourceExhausted, message.to_string(), details)
}

/// A call that the access table, the certificate or a limit rejects.
pub fn not_admitted(error: NotAdmitted) -> Status {
    let code = match error {
        NotAdmitted::NoSuchMethod => Code::Unimplemented,
        NotAdmitted::NoCertificate | NotAdmitted::Unproven(_) | NotAdmitted::NotForwarded(_) => Code::Unauthenticated,
        NotAdmitted::WrongRole => Code::PermissionDenied,
        NotAdmitted::NotAtAnEdge => Code::FailedPrecondition,
        NotAdmitted::ShareExceeded(Exceeded { limit, retry_after }) => {
            let metadata = HashMap::from([("limit".to_owned(), limit.label().to_owned())]);
            return exhausted(error.code(), error, retry_after, metadata);
        }
        NotAdmitted::Overloaded => return exhausted(error.code(), error, RETRY_AFTER, HashMap::new()),
    };
    plain(code, error.code(), error)
}

/// A stream that would outlive its connection.
pub fn connection_over() -> Status {
    plain(Code::Unavailable, "CONNECTION_OVER", "the connection has reached its end; call again on a new one")
}

/// A request that failed because of an internal error.
pub fn broken() -> Status {
    plain(Code::Internal, "INTERNAL", "the server failed at this request")
}

/// A client that is not authenticated, or a refused token request.
pub fn grant_error(error: GrantError) -> Status {
    token_refused(error, None)
}

/// A refused token request, with an explanation for the client in place of the fixed sentence.
pub fn token_refused(error: GrantError, explanation: Option<String>) -> Status {
    let explained = |reason| plain(Code::InvalidArgument, reason, explanation.unwrap_or_else(|| error.to_string()));
    match error {
        GrantError::InvalidClient(_)
        | GrantError::InvalidAssertion(_)
        | GrantError::InvalidIssuerJwt(_)
        | GrantError::UnknownAssertionType
        | GrantError::ForeignConnection => plain(Code::Unauthenticated, "INVALID_CLIENT", error),
        GrantError::InvalidRequest | GrantError::HalfAnAssertion | GrantError::TokenTooLarge => {
            plain(Code::InvalidArgument, INVALID_REQUEST, error)
        }
        GrantError::InvalidScope => explained("INVALID_SCOPE"),
        GrantError::InvalidTarget => explained("INVALID_TARGET"),
        GrantError::ServerError => plain(Code::Unavailable, "SERVER_ERROR", error),
        GrantError::Busy | GrantError::TooManyAssertions => {
            exhausted("TEMPORARILY_UNAVAILABLE", error, RETRY_AFTER, HashMap::new())
        }
        GrantError::SigningUnavailable => plain(Code::Unavailable, "SIGNING_UNAVAILABLE", error),
        GrantError::ResourceSuspended => plain(Code::Unavailable, "RESOURCE_SUSPENDED", error),
        GrantError::Undecidable(error) => stale(error),
    }
}

/// A refused exchange.
pub fn exchange_refused(refusal: ExchangeRefusal) -> Status {
    let (code, reason) = match refusal {
        ExchangeRefusal::NotGranted(error) => return grant_error(error),
        ExchangeRefusal::NotEnabled => (Code::FailedPrecondition, "EXCHANGE_NOT_ENABLED"),
        ExchangeRefusal::TxnTokensNotEnabled => (Code::FailedPrecondition, "TXN_TOKENS_NOT_ENABLED"),
        ExchangeRefusal::ChainingNotEnabled => (Code::FailedPrecondition, "CHAINING_NOT_ENABLED"),
        ExchangeRefusal::InvalidGrant => (Code::InvalidArgument, "INVALID_GRANT"),
        ExchangeRefusal::UnauthorizedClient => (Code::PermissionDenied, "UNAUTHORIZED_CLIENT"),
        ExchangeRefusal::RequestMalformed(_) => (Code::InvalidArgument, INVALID_REQUEST),
        ExchangeRefusal::SubjectNotAccepted => (Code::InvalidArgument, "SUBJECT_NOT_ACCEPTED"),
        ExchangeRefusal::InvalidTarget => (Code::InvalidArgument, "INVALID_TARGET"),
        ExchangeRefusal::InvalidScope => (Code::InvalidArgument, "INVALID_SCOPE"),
        ExchangeRefusal::StoreUnavailable => return store_unavailable(),
    };
    plain(code, reason, refusal)
}

/// A request that cannot be answered by what the server knows of the store.
pub fn stale(error: Undecidable) -> Status {
    plain(Code::Unavailable, error.code(), error)
}

/// A request that needs the store, which does not answer.
pub(super) fn store_unavailable() -> Status {
    plain(Code::Unavailable, "STORE_UNAVAILABLE", "the store is unavailable")
}

/// A binding validation without a decision.
pub fn no_decision(error: NoDecision) -> Status {
    let code = match error {
        NoDecision::TokenMissing
        | NoDecision::AudienceMissing
        | NoDecision::ScopeMalformed
        | NoDecision::EvidenceMalformed(_) => Code::InvalidArgument,
        NoDecision::NotAProxy | NoDecision::ForeignResource => Code::PermissionDenied,
        NoDecision::Stale | NoDecision::RecordTooNew => Code::Unavailable,
    };
    plain(code, error.code(), error)
}

/// Why a use of a token is denied.
pub fn deny_reason(reason: DenyReason) -> proto::DenyReason {
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
        DenyReason::ClientSuspended => proto::DenyReason::ClientSuspended,
        DenyReason::ClientRecreated => proto::DenyReason::ClientRecreated,
        DenyReason::AuthenticationChanged => proto::DenyReason::AuthenticationChanged,
        DenyReason::ClientCaRemoved => proto::DenyReason::ClientCaRemoved,
        DenyReason::TrustDomainUntrusted => proto::DenyReason::TrustDomainUntrusted,
        DenyReason::IssuerUntrusted => proto::DenyReason::IssuerUntrusted,
        DenyReason::TokenRevoked => proto::DenyReason::TokenRevoked,
        DenyReason::ClientRevoked => proto::DenyReason::ClientRevoked,
        DenyReason::IdentityRevoked => proto::DenyReason::IdentityRevoked,
        DenyReason::CertificateRevoked => proto::DenyReason::CertificateRevoked,
        DenyReason::DelegationBroken => proto::DenyReason::DelegationBroken,
        DenyReason::WrongAudience => proto::DenyReason::WrongAudience,
        DenyReason::ResourceDeleted => proto::DenyReason::ResourceDeleted,
        DenyReason::ResourceSuspended => proto::DenyReason::ResourceSuspended,
        DenyReason::DelegationNotAccepted => proto::DenyReason::DelegationNotAccepted,
        DenyReason::ActorNotAccepted => proto::DenyReason::ActorNotAccepted,
        DenyReason::TrustDomainNotAccepted => proto::DenyReason::TrustDomainNotAccepted,
        DenyReason::NotBound => proto::DenyReason::NotBound,
        DenyReason::EvidenceMissing => proto::DenyReason::EvidenceMissing,
        DenyReason::EvidenceTooWeak => proto::DenyReason::EvidenceTooWeak,
        DenyReason::CertificateExpired => proto::DenyReason::CertificateExpired,
        DenyReason::CertificateNotYetValid => proto::DenyReason::CertificateNotYetValid,
        DenyReason::CertificateRenewed => proto::DenyReason::CertificateRenewed,
        DenyReason::CertificateMismatch => proto::DenyReason::CertificateMismatch,
        DenyReason::LineageOver => proto::DenyReason::LineageOver,
        DenyReason::RotationStrict => proto::DenyReason::RotationStrict,
        DenyReason::InsufficientScope => proto::DenyReason::InsufficientScope,
    }
}

/// A revocation that was refused.
pub fn revoke_error(error: RevokeError) -> Status {
    let code = match error {
        RevokeError::NotYours | RevokeError::OnlyAdminsLift => Code::PermissionDenied,
        RevokeError::Malformed | RevokeError::EndPassed | RevokeError::NotLiftable => Code::InvalidArgument,
        RevokeError::Held(held) => return self::held(held),
        RevokeError::LastAdmin => Code::FailedPrecondition,
        RevokeError::QuotaExceeded => Code::ResourceExhausted,
        RevokeError::Unavailable => Code::Unavailable,
    };
    plain(code, error.code(), error)
}

/// A change of the signing keys that was refused.
pub fn key_change_error(error: KeyChangeError) -> Status {
    let code = match error {
        KeyChangeError::NotFound => Code::NotFound,
        KeyChangeError::Reason => Code::InvalidArgument,
        KeyChangeError::Held(held) => return self::held(held),
        KeyChangeError::Unreadable => Code::FailedPrecondition,
        KeyChangeError::Contended => Code::Aborted,
        KeyChangeError::NotMade | KeyChangeError::Unavailable => Code::Unavailable,
    };
    plain(code, error.code(), error)
}

/// A successor key that was refused.
pub fn not_announced(error: NotAnnounced) -> Status {
    let code = match error {
        NotAnnounced::NotLineage => Code::FailedPrecondition,
        NotAnnounced::Unproven(_) | NotAnnounced::OtherIdentity | NotAnnounced::NotAnother => Code::InvalidArgument,
        NotAnnounced::Taken => Code::Aborted,
        NotAnnounced::QuotaExceeded => Code::ResourceExhausted,
        NotAnnounced::Unavailable => Code::Unavailable,
    };
    plain(code, error.code(), error)
}

/// A registry request that was refused.
pub fn registry_error(error: &RegistryError) -> Status {
    let code = match error {
        RegistryError::Invalid(_)
        | RegistryError::EtagMissing(_)
        | RegistryError::InvalidPageToken
        | RegistryError::TooLarge(_) => Code::InvalidArgument,
        RegistryError::Exists(_) | RegistryError::IdentityTaken(_) | RegistryError::AuthorityTaken { .. } => {
            Code::AlreadyExists
        }
        RegistryError::NotFound(_) | RegistryError::Covered(_) | RegistryError::Deleted | RegistryError::NotDeleted => {
            Code::NotFound
        }
        RegistryError::Conflict(_) => Code::Aborted,
        RegistryError::TooNew { .. } | RegistryError::FeatureNotEnabled { .. } | RegistryError::ReplicaTooOld(_) => {
            Code::FailedPrecondition
        }
        RegistryError::NotGranted(_) => Code::PermissionDenied,
        RegistryError::Held(held) => return self::held(*held),
        RegistryError::Unavailable => Code::Unavailable,
    };
    if let RegistryError::NotGranted(NotGranted { grant, member, .. }) = error {
        let named = [("grant", grant.clone()), ("member", (*member).to_owned())];
        let metadata = named.map(|(name, value)| (name.to_owned(), value)).into();
        return refusal(code, error.code(), error.to_string(), metadata);
    }
    let detail = match error {
        RegistryError::Invalid(invalid) => Some(("field", invalid.field)),
        RegistryError::Deleted => Some(("deleted", "true")),
        RegistryError::FeatureNotEnabled { feature, .. } => Some(("feature", *feature)),
        RegistryError::Exists(_)
        | RegistryError::IdentityTaken(_)
        | RegistryError::AuthorityTaken { .. }
        | RegistryError::NotFound(_)
        | RegistryError::Covered(_)
        | RegistryError::NotDeleted
        | RegistryError::Conflict(_)
        | RegistryError::EtagMissing(_)
        | RegistryError::InvalidPageToken
        | RegistryError::TooLarge(_)
        | RegistryError::TooNew { .. }
        | RegistryError::ReplicaTooOld(_)
        | RegistryError::NotGranted(_)
        | RegistryError::Held(_)
        | RegistryError::Unavailable => None,
    };
    let metadata = detail.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
    refusal(code, error.code(), error.to_string(), metadata)
}

/// A change that a second admin has to approve: `proposal` names it where it is proposed.
fn held(held: Held) -> Status {
    let (code, named) = match held {
        Held::Proposed(id) => (Code::FailedPrecondition, Some(("proposal", id.to_string()))),
        Held::TooMany => (Code::ResourceExhausted, None),
        Held::NotHere | Held::OldReplica => (Code::FailedPrecondition, None),
        Held::NotEnabled => (Code::FailedPrecondition, Some(("feature", "dual-control".to_owned()))),
    };
    let metadata = named.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
    refusal(code, held.code(), held.to_string(), metadata)
}

/// A proposal that is not shown, approved or rejected.
pub(super) fn proposal_error(error: &ProposalError) -> Status {
    let code = match error {
        ProposalError::NotFound => Code::NotFound,
        ProposalError::OwnProposal | ProposalError::NotYours => Code::PermissionDenied,
        ProposalError::Outdated => Code::Aborted,
        ProposalError::ProposerNotAllowed | ProposalError::Unreadable => Code::FailedPrecondition,
        ProposalError::Registry(error) => return registry_error(error),
        ProposalError::Key(error) => return key_change_error(*error),
        ProposalError::Revocation(error) => return revoke_error(*error),
        ProposalError::Feature(error) => return feature_error(error),
        ProposalError::Unavailable => Code::Unavailable,
    };
    plain(code, error.code(), error)
}

/// A feature that was not enabled.
pub(super) fn feature_error(error: &FeatureError) -> Status {
    let code = match error {
        FeatureError::NotFound => Code::NotFound,
        FeatureError::ReplicaTooOld(_) => Code::FailedPrecondition,
        FeatureError::Held(held) => return self::held(*held),
        FeatureError::Unavailable => Code::Unavailable,
    };
    plain(code, error.code(), error)
}

/// A refusal that is not explained.
pub(super) fn unexplained(error: &Unexplained) -> Status {
    let (code, replica) = match error {
        Unexplained::ReferenceMalformed => (Code::InvalidArgument, None),
        Unexplained::RefusalNotFound => (Code::NotFound, None),
        Unexplained::OtherReplica(replica) => (Code::FailedPrecondition, replica.as_ref()),
    };
    let metadata = replica.map(|name| ("replica".to_owned(), name.clone())).into_iter().collect();
    refusal(code, error.code(), error.to_string(), metadata)
}

/// A question that is not answered.
pub(super) fn not_explained(error: NotExplained) -> Status {
    match error {
        NotExplained::NotYours => plain(Code::PermissionDenied, error.code(), error),
        NotExplained::Undecidable(error) => stale(error),
    }
}

/// A field of a request that cannot be read.
pub(super) fn malformed(field: &'static str, problem: &str) -> Status {
    let metadata = HashMap::from([("field".to_owned(), field.to_owned())]);
    refusal(Code::InvalidArgument, INVALID_REQUEST, format!("{field}: {problem}"), metadata)
}

/// A message of the registry that cannot be read.
pub(super) fn unreadable(error: Malformed) -> Status {
    malformed(error.field, error.problem)
}
