//! The codes of reasons: what they are, and that each is in every protocol, in the metrics and in the documentation.

use std::fs;

use axum::body::to_bytes;
use axum::response::IntoResponse as _;
use lanyard::authority::access::Limit;
use lanyard::authority::access::NotAdmitted;
use lanyard::authority::access::NotAdmittedCode;
use lanyard::authority::decision::CheckRefusal;
use lanyard::authority::decision::CheckRefusalCode;
use lanyard::authority::decision::ExchangeErrorCode;
use lanyard::authority::decision::ExchangeRefusal;
use lanyard::authority::decision::GrantError;
use lanyard::authority::decision::GrantErrorCode;
use lanyard::authority::decision::GrantErrorKind;
use lanyard::authority::decision::KeyChangeError;
use lanyard::authority::decision::KeyChangeErrorCode;
use lanyard::authority::decision::Mismatch;
use lanyard::authority::decision::NoDecision;
use lanyard::authority::decision::NoDecisionCode;
use lanyard::authority::decision::NotAnnounced;
use lanyard::authority::decision::NotAnnouncedCode;
use lanyard::authority::decision::RequestForm;
use lanyard::authority::decision::RevokeError;
use lanyard::authority::decision::RevokeErrorCode;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::evidence::InvalidEvidence;
use lanyard::authority::evidence::NotForwarded;
use lanyard::authority::observe::Family;
use lanyard::authority::observe::HandshakeErrorCode;
use lanyard::authority::observe::Samples;
use lanyard::authority::records::Held;
use lanyard::authority::records::ProposalId;
use lanyard::authority::reference::Reference;
use lanyard::authority::reference::ReplicaTag;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::state::Undecidable;
use lanyard::authority::trust::InvalidIssuerJwt;
use lanyard::authority::trust::InvalidJwtSvid;
use lanyard::authority::trust::Unproven;
use lanyard::authority::trust::UnprovenCode;
use lanyard::grpc::ext_authz;
use lanyard::grpc::status;
use lanyard::http::error::OAuthError;
use lanyard::proto::envoy::service::auth::v3::CheckResponse;
use lanyard::proto::envoy::service::auth::v3::check_response::HttpResponse;
use prost::Message as _;
use serde_json::Value;
use strum::VariantArray;
use tonic::Status;

use crate::support::authority::ADMIN;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::server::in_crate;
use crate::support::server::reason_of;

/// The codes of all variants, in their order.
fn codes<C: VariantArray + Copy + Into<&'static str>>() -> Vec<&'static str> {
    C::VARIANTS.iter().map(|code| (*code).into()).collect()
}

// Resources, dashboards and alerts of others know these texts.
/// The codes of denials, in the order of the checks.
const DENIALS: [&str; 36] = [
    "TOKEN_MALFORMED",
    "TOKEN_TYPE",
    "UNKNOWN_KEY",
    "BAD_SIGNATURE",
    "WRONG_ISSUER",
    "TOKEN_EXPIRED",
    "TOKEN_NOT_YET_VALID",
    "CLIENT_UNKNOWN",
    "CLIENT_DISABLED",
    "CLIENT_SUSPENDED",
    "CLIENT_RECREATED",
    "AUTHENTICATION_CHANGED",
    "CLIENT_CA_REMOVED",
    "TRUST_DOMAIN_UNTRUSTED",
    "ISSUER_UNTRUSTED",
    "TOKEN_REVOKED",
    "CLIENT_REVOKED",
    "IDENTITY_REVOKED",
    "CERTIFICATE_REVOKED",
    "DELEGATION_BROKEN",
    "WRONG_AUDIENCE",
    "RESOURCE_DELETED",
    "RESOURCE_SUSPENDED",
    "DELEGATION_NOT_ACCEPTED",
    "ACTOR_NOT_ACCEPTED",
    "TRUST_DOMAIN_NOT_ACCEPTED",
    "NOT_BOUND",
    "EVIDENCE_MISSING",
    "EVIDENCE_TOO_WEAK",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_NOT_YET_VALID",
    "CERTIFICATE_RENEWED",
    "CERTIFICATE_MISMATCH",
    "LINEAGE_OVER",
    "ROTATION_STRICT",
    "INSUFFICIENT_SCOPE",
];

#[test]
fn no_code_has_changed() {
    assert_eq!(codes::<DenyReason>(), DENIALS);
    let checks = [
        // A use of a token is denied under its own reason.
        "DENIED",
        "TOKEN_MISSING",
        "AUTHORIZATION_MALFORMED",
        "EVIDENCE_MALFORMED",
        "RESOURCE_UNKNOWN",
        "ROUTE_UNKNOWN",
        "PATH_NOT_CANONICAL",
        "TXN_TOKEN_MISSING",
        "TXN_TOKEN_MALFORMED",
        "TXN_TOKEN_INVALID",
        "TXN_TOKEN_FOREIGN",
        "TXN_TOKEN_EXPIRED",
        "TXN_TOKEN_REVOKED",
        "TXN_SCOPE_MISSING",
        "TXN_TOKEN_SEEN",
        "TXN_CONTEXT_REFUSED",
        "TXN_TOKEN_NOT_MINTED",
        "REQUEST_MALFORMED",
        "NOT_A_PROXY",
        "OVERLOADED",
        "UNABLE",
    ];
    assert_eq!(codes::<CheckRefusalCode>(), checks);
    let grants = [
        "invalid_client",
        "invalid_request",
        "invalid_scope",
        "invalid_target",
        "unsupported_grant_type",
        "server_error",
        "temporarily_unavailable",
    ];
    assert_eq!(codes::<GrantErrorCode>(), grants);
    let questions = [
        "TOKEN_MISSING",
        "AUDIENCE_MISSING",
        "SCOPE_MALFORMED",
        "NOT_A_PROXY",
        "FOREIGN_RESOURCE",
        "SNAPSHOT_STALE",
        "RECORD_TOO_NEW",
        "EVIDENCE_MALFORMED",
    ];
    assert_eq!(codes::<NoDecisionCode>(), questions);
    let calls = [
        "NO_SUCH_METHOD",
        "NO_CERTIFICATE",
        "CERTIFICATE_NOT_PROVEN",
        "CERTIFICATE_NOT_FORWARDED",
        "WRONG_ROLE",
        "SHARE_EXCEEDED",
        "OVERLOADED",
        "NOT_AT_AN_EDGE",
    ];
    assert_eq!(codes::<NotAdmittedCode>(), calls);
    let successors = [
        "NOT_LINEAGE",
        "SUCCESSOR_NOT_PROVEN",
        "SUCCESSOR_OTHER_IDENTITY",
        "SUCCESSOR_NOT_ANOTHER",
        "SUCCESSOR_TAKEN",
        "QUOTA_EXCEEDED",
        "REGISTRY_UNAVAILABLE",
    ];
    assert_eq!(codes::<NotAnnouncedCode>(), successors);
    let revocations = [
        "NOT_YOURS",
        "ONLY_ADMINS_LIFT",
        "INVALID_REQUEST",
        "INVALID_REQUEST",
        "NOT_LIFTABLE",
        "LAST_ADMIN",
        "QUOTA_EXCEEDED",
        "PROPOSED",
        "REVOCATION_UNAVAILABLE",
    ];
    assert_eq!(codes::<RevokeErrorCode>(), revocations);
    let keys = [
        "KEY_NOT_FOUND",
        "INVALID_REQUEST",
        "KEY_UNREADABLE",
        "KEY_NOT_MADE",
        "KEYS_CHANGED",
        "PROPOSED",
        "KEYS_UNAVAILABLE",
    ];
    assert_eq!(codes::<KeyChangeErrorCode>(), keys);
}

#[test]
fn no_code_of_a_refused_handshake_has_changed() {
    let certificates = [
        "CHAIN_SIZE",
        "INVALID",
        "EXPIRED",
        "NOT_YET_VALID",
        "SEVERAL_URIS",
        "INVALID_SPIFFE_ID",
        "SIGNING_CERTIFICATE",
        "KEY_USAGE",
        "NAMES_NOT_CRITICAL",
        "UNKNOWN_TRUST_DOMAIN",
        "STALE_BUNDLE",
        "NO_PATH",
        "EXTENDED_KEY_USAGE",
        "UNSUPPORTED_VERSION",
        "UNSUPPORTED_KEY",
        "UNSUPPORTED_SIGNATURE",
        "CRITICAL_EXTENSION",
        "ISSUER_NOT_CA",
        "ISSUER_KEY_USAGE",
        "ISSUER_EXTENDED_KEY_USAGE",
        "ISSUER_SPIFFE_ID",
        "ISSUER_EXPIRED",
        "ISSUER_NOT_YET_VALID",
        "PATH_LENGTH",
        "NAME_CONSTRAINTS",
        "UNSUPPORTED_NAME_CONSTRAINTS",
        "POLICY_REQUIRED",
        "PATH_TOO_COMPLEX",
        "REVOKED",
        "IDENTITY_REVOKED",
        "UNKNOWN",
    ];
    assert_eq!(codes::<UnprovenCode>(), certificates);
    // A certificate is refused under its own reason.
    assert_eq!(
        codes::<HandshakeErrorCode>(),
        ["UNPROVEN", "HANDSHAKE_FAILED", "TOO_SLOW", "DISPLACED", "PROXY_HEADER", "USER_UNKNOWN"]
    );
}

/// What is missing, and where.
#[derive(Default)]
struct Missing(Vec<String>);

impl Missing {
    fn unless(&mut self, holds: bool, code: &str, place: &str) {
        if !holds {
            self.0.push(format!("{code} is missing in {place}"));
        }
    }

    /// In a row of one of the page's tables.
    fn page(&mut self, code: &str, page: &str) {
        let text = fs::read_to_string(in_crate(page)).unwrap();
        let rows = text.lines().filter(|line| line.starts_with('|'));
        let mut words = rows.flat_map(|row| row.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_'));
        self.unless(words.any(|word| word == code), code, page);
    }

    /// A series of this family whose label `reason` or `error` is the code; `among` is another of its labels.
    fn series(&mut self, families: &[Family], code: &str, family: &str, among: Option<&str>) {
        let found = families.iter().filter(|one| one.name == family).any(|one| match &one.samples {
            Samples::Counters(samples) => samples.iter().any(|sample| {
                let has = |value: &str| sample.labels.iter().any(|(_, label)| label == value);
                has(code) && among.is_none_or(has)
            }),
            Samples::Gauges(_) | Samples::Histograms(_) => false,
        });
        self.unless(found, code, &format!("the metric {family} {}", among.unwrap_or_default()));
    }

    fn grpc(&mut self, code: &str, status: &Status, place: &str) {
        self.unless(reason_of(status) == code, code, &format!("gRPC's {place}"));
        self.unless(!status.message().is_empty(), code, &format!("the message of gRPC's {place}"));
    }

    fn ext_authz(&mut self, refusal: CheckRefusal) {
        let code = refusal.code();
        let denied = ext_authz::denied(refusal, Reference::new(ReplicaTag::of(""), 0));
        // One byte of flags and four of length (gRPC over HTTP/2).
        let response = CheckResponse::decode(&denied.frame[5..]).unwrap();
        let Some(HttpResponse::DeniedResponse(denied)) = response.http_response else {
            return self.unless(false, code, "ext_authz, which does not deny");
        };
        let body: Value = serde_json::from_str(&denied.body).unwrap();
        self.unless(body["reason"] == code, code, "the body of an ext_authz denial");
        self.unless(denied.status.is_some_and(|status| status.code >= 400), code, "the statuses of ext_authz");
        self.unless(
            response.status.is_some_and(|status| status.message == code),
            code,
            "the status of a CheckResponse",
        );
        let metadata = response.dynamic_metadata.unwrap_or_default();
        self.unless(format!("{metadata:?}").contains(code), code, "the dynamic metadata of ext_authz");
    }
}

fn oauth(error: OAuthError) -> (u16, Value) {
    let response = error.into_response();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&ready(to_bytes(response.into_body(), usize::MAX)).unwrap()).unwrap())
}

fn check_refusals(code: CheckRefusalCode) -> Vec<CheckRefusal> {
    match code {
        CheckRefusalCode::Denied => DenyReason::VARIANTS.iter().copied().map(CheckRefusal::Denied).collect(),
        CheckRefusalCode::TokenMissing => vec![CheckRefusal::TokenMissing],
        CheckRefusalCode::AuthorizationMalformed => vec![CheckRefusal::AuthorizationMalformed],
        CheckRefusalCode::EvidenceMalformed => vec![CheckRefusal::EvidenceMalformed(InvalidEvidence::Thumbprint)],
        CheckRefusalCode::ResourceUnknown => vec![CheckRefusal::ResourceUnknown],
        CheckRefusalCode::RouteUnknown => vec![CheckRefusal::RouteUnknown],
        CheckRefusalCode::PathNotCanonical => vec![CheckRefusal::PathNotCanonical],
        CheckRefusalCode::TxnTokenMissing => vec![CheckRefusal::TxnTokenMissing],
        CheckRefusalCode::TxnTokenMalformed => vec![CheckRefusal::TxnTokenMalformed],
        CheckRefusalCode::TxnTokenInvalid => vec![CheckRefusal::TxnTokenInvalid],
        CheckRefusalCode::TxnTokenForeign => vec![CheckRefusal::TxnTokenForeign],
        CheckRefusalCode::TxnTokenExpired => vec![CheckRefusal::TxnTokenExpired],
        CheckRefusalCode::TxnTokenRevoked => vec![CheckRefusal::TxnTokenRevoked],
        CheckRefusalCode::TxnScopeMissing => vec![CheckRefusal::TxnScopeMissing],
        CheckRefusalCode::TxnTokenSeen => vec![CheckRefusal::TxnTokenSeen],
        CheckRefusalCode::TxnContextRefused => vec![CheckRefusal::TxnContextRefused],
        CheckRefusalCode::TxnTokenNotMinted => vec![CheckRefusal::TxnTokenNotMinted],
        CheckRefusalCode::RequestMalformed => vec![CheckRefusal::RequestMalformed],
        CheckRefusalCode::NotAProxy => vec![CheckRefusal::NotAProxy],
        CheckRefusalCode::Overloaded => vec![CheckRefusal::Overloaded],
        CheckRefusalCode::Unable => vec![CheckRefusal::Unable],
    }
}

fn grant_errors(kind: GrantErrorKind) -> Vec<GrantError> {
    match kind {
        GrantErrorKind::InvalidClient => Mismatch::VARIANTS.iter().copied().map(GrantError::InvalidClient).collect(),
        GrantErrorKind::InvalidAssertion => vec![GrantError::InvalidAssertion(InvalidJwtSvid::Expired)],
        GrantErrorKind::InvalidIssuerJwt => vec![GrantError::InvalidIssuerJwt(InvalidIssuerJwt::Expired)],
        GrantErrorKind::TooManyAssertions => vec![GrantError::TooManyAssertions],
        GrantErrorKind::UnknownAssertionType => vec![GrantError::UnknownAssertionType],
        GrantErrorKind::HalfAnAssertion => vec![GrantError::HalfAnAssertion],
        GrantErrorKind::ForeignConnection => vec![GrantError::ForeignConnection],
        GrantErrorKind::InvalidRequest => vec![GrantError::InvalidRequest],
        GrantErrorKind::InvalidScope => vec![GrantError::InvalidScope],
        GrantErrorKind::InvalidTarget => vec![GrantError::InvalidTarget],
        GrantErrorKind::TokenTooLarge => vec![GrantError::TokenTooLarge],
        GrantErrorKind::ServerError => vec![GrantError::ServerError],
        GrantErrorKind::Busy => vec![GrantError::Busy],
        GrantErrorKind::SigningUnavailable => vec![GrantError::SigningUnavailable],
        GrantErrorKind::ResourceSuspended => vec![GrantError::ResourceSuspended],
        GrantErrorKind::Undecidable => Undecidable::VARIANTS.iter().copied().map(GrantError::Undecidable).collect(),
    }
}

/// What an exchange is refused with, besides the errors of grants.
const EXCHANGE_REFUSALS: [ExchangeRefusal; 10] = [
    ExchangeRefusal::NotEnabled,
    ExchangeRefusal::TxnTokensNotEnabled,
    ExchangeRefusal::ChainingNotEnabled,
    ExchangeRefusal::UnauthorizedClient,
    ExchangeRefusal::InvalidGrant,
    ExchangeRefusal::RequestMalformed("a sentence"),
    ExchangeRefusal::SubjectNotAccepted,
    ExchangeRefusal::InvalidTarget,
    ExchangeRefusal::InvalidScope,
    ExchangeRefusal::StoreUnavailable,
];

/// The code of gRPC, and that of RFC 8693 section 2.2.2 or RFC 6749 section 5.2.
fn exchange_codes(refusal: ExchangeRefusal) -> (&'static str, &'static str) {
    match refusal {
        ExchangeRefusal::NotEnabled => ("EXCHANGE_NOT_ENABLED", "unsupported_grant_type"),
        ExchangeRefusal::TxnTokensNotEnabled => ("TXN_TOKENS_NOT_ENABLED", "invalid_request"),
        ExchangeRefusal::ChainingNotEnabled => ("CHAINING_NOT_ENABLED", "invalid_request"),
        ExchangeRefusal::InvalidGrant => ("INVALID_GRANT", "invalid_grant"),
        ExchangeRefusal::UnauthorizedClient => ("UNAUTHORIZED_CLIENT", "unauthorized_client"),
        ExchangeRefusal::RequestMalformed(_) => ("INVALID_REQUEST", "invalid_request"),
        ExchangeRefusal::SubjectNotAccepted => ("SUBJECT_NOT_ACCEPTED", "invalid_request"),
        ExchangeRefusal::InvalidTarget => ("INVALID_TARGET", "invalid_target"),
        ExchangeRefusal::InvalidScope => ("INVALID_SCOPE", "invalid_scope"),
        ExchangeRefusal::StoreUnavailable => ("STORE_UNAVAILABLE", "temporarily_unavailable"),
        ExchangeRefusal::NotGranted(error) => panic!("{error}"),
    }
}

fn no_decision(code: NoDecisionCode) -> NoDecision {
    match code {
        NoDecisionCode::TokenMissing => NoDecision::TokenMissing,
        NoDecisionCode::AudienceMissing => NoDecision::AudienceMissing,
        NoDecisionCode::ScopeMalformed => NoDecision::ScopeMalformed,
        NoDecisionCode::NotAProxy => NoDecision::NotAProxy,
        NoDecisionCode::ForeignResource => NoDecision::ForeignResource,
        NoDecisionCode::Stale => NoDecision::Stale,
        NoDecisionCode::RecordTooNew => NoDecision::RecordTooNew,
        NoDecisionCode::EvidenceMalformed => NoDecision::EvidenceMalformed(InvalidEvidence::Thumbprint),
    }
}

fn not_admitted(code: NotAdmittedCode) -> NotAdmitted {
    match code {
        NotAdmittedCode::NoSuchMethod => NotAdmitted::NoSuchMethod,
        NotAdmittedCode::NoCertificate => NotAdmitted::NoCertificate,
        NotAdmittedCode::Unproven => NotAdmitted::Unproven(Unproven::Expired),
        NotAdmittedCode::NotForwarded => NotAdmitted::NotForwarded(NotForwarded::Missing),
        NotAdmittedCode::WrongRole => NotAdmitted::WrongRole,
        NotAdmittedCode::ShareExceeded => NotAdmitted::ShareExceeded(Limit::Requests.into()),
        NotAdmittedCode::Overloaded => NotAdmitted::Overloaded,
        NotAdmittedCode::NotAtAnEdge => NotAdmitted::NotAtAnEdge,
    }
}

fn not_announced(code: NotAnnouncedCode) -> NotAnnounced {
    match code {
        NotAnnouncedCode::NotLineage => NotAnnounced::NotLineage,
        NotAnnouncedCode::Unproven => NotAnnounced::Unproven(Unproven::Expired),
        NotAnnouncedCode::OtherIdentity => NotAnnounced::OtherIdentity,
        NotAnnouncedCode::NotAnother => NotAnnounced::NotAnother,
        NotAnnouncedCode::Taken => NotAnnounced::Taken,
        NotAnnouncedCode::QuotaExceeded => NotAnnounced::QuotaExceeded,
        NotAnnouncedCode::Unavailable => NotAnnounced::Unavailable,
    }
}

fn revoke_error(code: RevokeErrorCode) -> RevokeError {
    match code {
        RevokeErrorCode::NotYours => RevokeError::NotYours,
        RevokeErrorCode::OnlyAdminsLift => RevokeError::OnlyAdminsLift,
        RevokeErrorCode::Malformed => RevokeError::Malformed,
        RevokeErrorCode::EndPassed => RevokeError::EndPassed,
        RevokeErrorCode::NotLiftable => RevokeError::NotLiftable,
        RevokeErrorCode::LastAdmin => RevokeError::LastAdmin,
        RevokeErrorCode::QuotaExceeded => RevokeError::QuotaExceeded,
        RevokeErrorCode::Held => RevokeError::Held(proposed()),
        RevokeErrorCode::Unavailable => RevokeError::Unavailable,
    }
}

/// What is said of a change that waits for a second admin.
fn proposed() -> Held {
    Held::Proposed(ProposalId::parse("00-00000000").unwrap())
}

fn key_change_error(code: KeyChangeErrorCode) -> KeyChangeError {
    match code {
        KeyChangeErrorCode::NotFound => KeyChangeError::NotFound,
        KeyChangeErrorCode::Reason => KeyChangeError::Reason,
        KeyChangeErrorCode::Unreadable => KeyChangeError::Unreadable,
        KeyChangeErrorCode::NotMade => KeyChangeError::NotMade,
        KeyChangeErrorCode::Contended => KeyChangeError::Contended,
        KeyChangeErrorCode::Held => KeyChangeError::Held(proposed()),
        KeyChangeErrorCode::Unavailable => KeyChangeError::Unavailable,
    }
}

const DEVELOPERS: &str = "docs/developers.md";
const OPERATORS: &str = "deploy/OPERATORS.md";
const HANDSHAKES: &str = "docs/runbooks/LanyardHandshakesRefused.md";

#[test]
fn every_reason_is_in_every_protocol_the_metrics_and_the_documentation() {
    let fixture = TestAuthority::new();
    // A resource in report mode has its series from the start.
    let resource = ResourceMetadata {
        audience: "https://orders.shop.internal".to_owned(),
        mode: Some("report".to_owned()),
        ..ResourceMetadata::default()
    };
    ready(fixture.authority.create_resource(&fixture.svid(ADMIN), resource, false)).unwrap();
    let families = fixture.authority.metric_families();
    let mut missing = Missing::default();
    for reason in DenyReason::VARIANTS {
        let code = reason.code();
        let named = status::deny_reason(*reason).as_str_name() == format!("DENY_REASON_{code}");
        missing.unless(named, code, "gRPC's DenyReason");
        for question in ["validate_binding", "introspect", "check"] {
            missing.series(&families, code, "lanyard_decisions", Some(question));
        }
    }
    for refusal in CheckRefusalCode::VARIANTS.iter().flat_map(|code| check_refusals(*code)) {
        missing.ext_authz(refusal);
        missing.series(&families, refusal.code(), "lanyard_decisions", Some("check"));
        missing.series(&families, refusal.code(), "lanyard_report_mode_denials", None);
        missing.page(refusal.code(), OPERATORS);
    }
    for code in GrantErrorCode::VARIANTS {
        missing.series(&families, code.as_str(), "lanyard_grants_refused", None);
        missing.page(code.as_str(), DEVELOPERS);
    }
    for error in GrantErrorKind::VARIANTS.iter().flat_map(|kind| grant_errors(*kind)) {
        let code = error.code().as_str();
        // These are the ones that gRPC names otherwise.
        let own = [
            (GrantError::Undecidable(Undecidable::Stale), "SNAPSHOT_STALE"),
            (GrantError::Undecidable(Undecidable::RecordTooNew), "RECORD_TOO_NEW"),
            (GrantError::ResourceSuspended, "RESOURCE_SUSPENDED"),
            (GrantError::SigningUnavailable, "SIGNING_UNAVAILABLE"),
        ];
        let grpc = own.iter().find(|(named, _)| *named == error).map(|(_, grpc)| (*grpc).to_owned());
        let grpc = grpc.unwrap_or_else(|| code.to_uppercase());
        missing.grpc(&grpc, &status::grant_error(error), "token requests");
        missing.page(&grpc, DEVELOPERS);
        let (_, body) = oauth(error.into());
        missing.unless(body["error"] == code, code, "the token endpoint");
    }
    for code in codes::<ExchangeErrorCode>() {
        missing.series(&families, code, "lanyard_exchanges", Some("refused"));
    }
    for refusal in EXCHANGE_REFUSALS {
        let (grpc, http) = exchange_codes(refusal);
        missing.grpc(grpc, &status::exchange_refused(refusal), "ExchangeToken");
        missing.page(grpc, DEVELOPERS);
        let (_, body) = oauth(refusal.into());
        missing.unless(body["error"] == http, http, "the token endpoint");
    }
    for code in NoDecisionCode::VARIANTS {
        let why = no_decision(*code);
        missing.grpc(why.code(), &status::no_decision(why), "ValidateBinding");
        missing.page(why.code(), DEVELOPERS);
    }
    for code in NotAdmittedCode::VARIANTS {
        let error = not_admitted(*code);
        missing.grpc(error.code(), &status::not_admitted(error), "calls");
        missing.series(&families, error.code(), "lanyard_calls_refused", None);
        missing.page(error.code(), DEVELOPERS);
        // A path that is not there is a plain 404 everywhere.
        if let Some(refused) = OAuthError::not_admitted(error) {
            let (status, body) = oauth(refused);
            missing.unless(status >= 400 && body["error"].is_string(), error.code(), "the OAuth endpoints");
        } else {
            missing.unless(*code == NotAdmittedCode::NoSuchMethod, error.code(), "the OAuth endpoints");
        }
    }
    for code in NotAnnouncedCode::VARIANTS {
        let error = not_announced(*code);
        missing.grpc(error.code(), &status::not_announced(error), "AnnounceRotation");
        missing.page(error.code(), DEVELOPERS);
    }
    for code in RevokeErrorCode::VARIANTS {
        let error = revoke_error(*code);
        missing.grpc(error.code(), &status::revoke_error(error), "RevokeToken");
        missing.page(error.code(), DEVELOPERS);
        let (status, body) = oauth(error.into());
        missing.unless(status >= 400 && body["error"].is_string(), error.code(), "the revocation endpoint");
    }
    for code in KeyChangeErrorCode::VARIANTS {
        let error = key_change_error(*code);
        missing.grpc(error.code(), &status::key_change_error(error), "KeyService");
        missing.page(error.code(), DEVELOPERS);
    }
    let handshakes = codes::<HandshakeErrorCode>().into_iter().filter(|code| *code != "UNPROVEN");
    for code in codes::<UnprovenCode>().into_iter().chain(handshakes) {
        missing.series(&families, code, "lanyard_handshakes_refused", None);
        missing.page(code, HANDSHAKES);
    }
    assert!(missing.0.is_empty(), "\n{}", missing.0.join("\n"));
}

// RFC 6749 section 5.2: printable ASCII without quotation marks and backslashes.
#[test]
fn the_sentence_of_a_grant_error_is_the_same_in_every_protocol() {
    for error in GrantErrorKind::VARIANTS.iter().flat_map(|kind| grant_errors(*kind)) {
        let (message, form) = (error.sentence(RequestForm::Message), error.sentence(RequestForm::OAuth));
        assert_eq!((status::grant_error(error).message(), error.to_string().as_str()), (message, message));
        let (_, body) = oauth(error.into());
        let description = body["error_description"].as_str().unwrap();
        assert!(description.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'));
        let retry = if matches!(error, GrantError::Undecidable(_)) { ": try again" } else { "" };
        assert_eq!(description, format!("{form}{retry}"));
        // The names of parameters differ, and what may be left out.
        let as_message = match form {
            "the resource goes beyond what is registered for this client" => form.replace("resource", "audience"),
            "client_id is missing or malformed" => format!("{form}: only a caller with an SVID may leave it out"),
            same => same.to_owned(),
        };
        assert_eq!(message, as_message);
    }
}
