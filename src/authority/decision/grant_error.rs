//! Why a token request is refused, and how the error is reported to the caller.

use std::fmt;

use crate::authority::state::Undecidable;
use crate::authority::trust::InvalidIssuerJwt;
use crate::authority::trust::InvalidJwtSvid;

/// Why a token request is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::EnumDiscriminants)]
#[strum_discriminants(name(GrantErrorKind), doc = "The variants of [`GrantError`].", derive(strum::VariantArray))]
pub enum GrantError {
    /// The certificate or the assertion is not what the registration of the `client_id` expects, or there is no such
    /// registration. Which of these it is goes only to the log.
    InvalidClient(Mismatch),
    /// The client assertion is invalid. The reason goes only to the log.
    InvalidAssertion(InvalidJwtSvid),
    /// The client assertion is not a valid one of a trusted issuer. The reason goes only to the log.
    InvalidIssuerJwt(InvalidIssuerJwt),
    /// Too many assertions of trusted issuers have not expired, so that this one cannot be tied to its certificate.
    TooManyAssertions,
    /// The type of the client assertion is not supported.
    UnknownAssertionType,
    /// A client assertion without its type, or the reverse.
    HalfAnAssertion,
    /// The assertion arrived over another client's connection, and tokens must be bound.
    ForeignConnection,
    /// The request cannot be read.
    InvalidRequest,
    /// A scope that the client may not have or that none of the resources defines, or a malformed list of scopes.
    InvalidScope,
    /// An audience that the client may not have.
    InvalidTarget,
    /// The token would be larger than the largest accepted token.
    TokenTooLarge,
    /// The signing key or the random number generator failed.
    ServerError,
    /// Too many tokens are waiting for their signature.
    Busy,
    /// The hardware security module that holds the signing key does not answer, or there is no key that signs.
    SigningUnavailable,
    /// A requested resource is suspended, because its record cannot be read.
    ResourceSuspended,
    /// No decision can be made by the snapshot, so it is unknown whether the client is still registered.
    Undecidable(Undecidable),
}

/// The errors of RFC 6749 section 5.2 and RFC 8707 section 2 that a token request gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum GrantErrorCode {
    /// Client authentication failed.
    InvalidClient,
    /// The request is malformed.
    InvalidRequest,
    /// The scope is malformed, exceeds what is registered, or is one that none of the resources defines.
    InvalidScope,
    /// The resource is malformed, or is not registered.
    InvalidTarget,
    /// A grant other than `client_credentials`. Only a protocol can detect this: the core receives no other.
    UnsupportedGrantType,
    /// The server failed.
    ServerError,
    /// The server cannot decide at the moment.
    TemporarilyUnavailable,
}

impl GrantErrorCode {
    /// The code as defined in the RFCs.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The form of a token request, where the texts of its errors depend on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RequestForm {
    /// A message of `TokenService`: audiences are in the field `audience`, and an SVID replaces a missing `client_id`.
    Message,
    /// An OAuth form: audiences are in the parameter `resource` (RFC 8707), and `client_id` is required (RFC 8705
    /// section 2).
    OAuth,
}

/// Why a client was not authenticated, for the log and the audit trail.
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::VariantArray, thiserror::Error)]
pub enum Mismatch {
    /// There is no registration under the `client_id`.
    #[error("no such client")]
    UnknownClient,
    /// Several registrations claim the SPIFFE ID.
    #[error("several registrations claim this SPIFFE ID")]
    AmbiguousClient,
    /// The registration, or a wider one that also matches, is disabled.
    #[error("the client is disabled")]
    DisabledClient,
    /// The record of the registration, or of a wider one that also matches, cannot be read.
    #[error("the record of the client is one that this version cannot read")]
    SuspendedClient,
    /// The client has been revoked.
    #[error("the client has been revoked")]
    RevokedClient,
    /// The certificate is not the registered one, or was not proven as the method requires.
    #[error("the certificate does not match the registration")]
    Certificate,
    /// The assertion is missing although the registration requires one, is another client's, or is not allowed by the
    /// registration.
    #[error("the client assertion does not match the registration")]
    Assertion,
    /// The assertion was used with another certificate before: one of the two has stolen it.
    #[error("the client assertion was used with another certificate before")]
    AssertionReused,
    /// The certificate does not bear the SPIFFE ID of the assertion, and tokens have to be bound.
    #[error("the certificate does not bear the SPIFFE ID of the client assertion")]
    Connection,
}

impl GrantError {
    /// The corresponding error of the RFCs.
    pub fn code(self) -> GrantErrorCode {
        match self {
            Self::InvalidClient(_)
            | Self::InvalidAssertion(_)
            | Self::InvalidIssuerJwt(_)
            | Self::UnknownAssertionType
            | Self::ForeignConnection => GrantErrorCode::InvalidClient,
            Self::InvalidRequest | Self::HalfAnAssertion | Self::TokenTooLarge => GrantErrorCode::InvalidRequest,
            Self::InvalidScope => GrantErrorCode::InvalidScope,
            Self::InvalidTarget => GrantErrorCode::InvalidTarget,
            Self::ServerError => GrantErrorCode::ServerError,
            Self::Busy
            | Self::TooManyAssertions
            | Self::SigningUnavailable
            | Self::ResourceSuspended
            | Self::Undecidable(_) => GrantErrorCode::TemporarilyUnavailable,
        }
    }

    /// The fixed text that the caller receives: printable ASCII without quotation marks and backslashes, as required of
    /// an `error_description` (RFC 6749 section 5.2).
    pub fn sentence(self, form: RequestForm) -> &'static str {
        match (self, form) {
            (Self::InvalidClient(_), _) => {
                "client_id is not registered, or this certificate or assertion is not the one that its registration expects"
            }
            (Self::InvalidAssertion(_), _) => {
                "client_assertion is not a JWT-SVID for this issuer alone that its trust domain signed and that is good now"
            }
            (Self::InvalidIssuerJwt(_), _) => {
                "client_assertion is not a JWT for this server alone that a trusted issuer signed and that is good now"
            }
            (Self::TooManyAssertions, _) => "too many client assertions are in use: try again later",
            (Self::UnknownAssertionType, _) => {
                "client_assertion_type is neither urn:ietf:params:oauth:client-assertion-type:jwt-spiffe nor urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            }
            (Self::HalfAnAssertion, _) => "client_assertion and client_assertion_type go together",
            (Self::ForeignConnection, _) => {
                "the connection needs an X509-SVID with the SPIFFE ID of the client assertion"
            }
            (Self::InvalidRequest, RequestForm::Message) => {
                "client_id is missing or malformed: only a caller with an SVID may leave it out"
            }
            (Self::InvalidRequest, RequestForm::OAuth) => "client_id is missing or malformed",
            (Self::InvalidScope, _) => {
                "the scope is malformed, goes beyond what is registered for this client, or is defined by no requested resource"
            }
            (Self::InvalidTarget, RequestForm::Message) => {
                "the audience goes beyond what is registered for this client"
            }
            (Self::InvalidTarget, RequestForm::OAuth) => "the resource goes beyond what is registered for this client",
            (Self::TokenTooLarge, _) => "the token would be too large: ask for fewer scopes or resources",
            (Self::ServerError, _) => "the token could not be made",
            (Self::Busy, _) => "too many tokens are being signed: try again",
            (Self::SigningUnavailable, _) => "no token can be signed at the moment: try again later",
            (Self::ResourceSuspended, _) => {
                "the record of a requested resource is one that this version of the server cannot read"
            }
            (Self::Undecidable(why), _) => why.sentence(),
        }
    }
}

impl fmt::Display for GrantError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.sentence(RequestForm::Message))
    }
}

impl std::error::Error for GrantError {}

impl From<Undecidable> for GrantError {
    fn from(why: Undecidable) -> Self {
        Self::Undecidable(why)
    }
}

impl From<Mismatch> for GrantError {
    fn from(mismatch: Mismatch) -> Self {
        match mismatch {
            // Only a caller that has authenticated as the client sees this.
            Mismatch::Connection => Self::ForeignConnection,
            Mismatch::UnknownClient
            | Mismatch::AmbiguousClient
            | Mismatch::DisabledClient
            | Mismatch::SuspendedClient
            | Mismatch::RevokedClient
            | Mismatch::Certificate
            | Mismatch::Assertion
            | Mismatch::AssertionReused => Self::InvalidClient(mismatch),
        }
    }
}
