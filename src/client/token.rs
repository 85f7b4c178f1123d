//! A token with the certificate that it is bound to, and the errors of getting one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use rustls_pki_types::CertificateDer;
use tokio::time::Instant;
use tonic::Code;
use tonic::Status;
use tonic_types::StatusExt;

use crate::client::connection;
use crate::client::connection::ConnectError;
use crate::client::files::FileError;
use crate::proto::IssueTokenResponse;

/// The server counts in whole seconds, so a token may expire up to one second earlier than `expires_in` after the
/// request.
const WHOLE_SECOND: Duration = Duration::from_secs(1);

/// The upper limit of the margin that is subtracted from a token's lifetime, a twentieth of it: the time for its way to
/// the service that validates it.
const MAX_MARGIN: Duration = Duration::from_secs(5);

/// An access token, with the certificate that it is bound to. Clones share it.
#[derive(Clone)]
pub struct BoundToken(Arc<Inner>);

struct Inner {
    text: String,
    header: HeaderValue,
    scope: String,
    certificate: CertificateDer<'static>,
    life: Duration,
    usable_until: Instant,
}

impl BoundToken {
    /// The token in the response to a request that was sent at `asked` over a connection with this certificate.
    pub(in crate::client) fn new(
        issued: IssueTokenResponse,
        asked: Instant,
        certificate: CertificateDer<'static>,
    ) -> Result<Self, TokenError> {
        let life = issued.expires_in.and_then(|span| Duration::try_from(span).ok());
        let life = life.ok_or(TokenError::Malformed("it names no lifetime of the token"))?;
        let mut header = HeaderValue::try_from(format!("Bearer {}", issued.access_token))
            .map_err(|_| TokenError::Malformed("its token is not a valid header value"))?;
        header.set_sensitive(true);
        if issued.access_token.is_empty() {
            return Err(TokenError::Malformed("it contains no token"));
        }
        let margin = WHOLE_SECOND + (life / 20).min(MAX_MARGIN);
        let usable_until = asked.checked_add(life.saturating_sub(margin)).unwrap_or(asked);
        let (text, scope) = (issued.access_token, issued.scope);
        Ok(Self(Arc::new(Inner { text, header, scope, certificate, life, usable_until })))
    }

    /// The token's text, a secret.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// The value of the `authorization` header, marked as sensitive.
    pub fn authorization(&self) -> &HeaderValue {
        &self.0.header
    }

    /// The granted scopes, space-separated.
    pub fn scope(&self) -> &str {
        &self.0.scope
    }

    /// The certificate that it is bound to, DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.0.certificate
    }

    /// The lifetime of the token when it was issued.
    pub fn life(&self) -> Duration {
        self.0.life
    }

    /// When it is no longer used: shortly before it expires.
    pub fn usable_until(&self) -> Instant {
        self.0.usable_until
    }

    /// Whether it may still be used.
    pub fn is_usable(&self) -> bool {
        Instant::now() < self.0.usable_until
    }
}

impl fmt::Debug for BoundToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("BoundToken").field("life", &self.0.life).field("scope", &self.0.scope).finish_non_exhaustive()
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// A file is missing or wrong.
    #[error(transparent)]
    Files(#[from] FileError),
    /// The SPIFFE Workload API gives no certificate.
    #[error("the Workload API gives no certificate: {0}")]
    WorkloadApi(String),
    /// The server cannot be reached, or did not accept the certificate; or the client assertion cannot be read.
    #[error("{0}")]
    Connection(String, #[source] Box<Status>),
    /// The server cannot answer at present.
    #[error("the server cannot answer now: {}", describe(.0))]
    Unavailable(#[source] Box<Status>),
    /// The server refused the request. Repeating it does not help until the registration is changed.
    #[error("the server refused: {}", describe(.0))]
    Refused(#[source] Box<Status>),
    /// The server's response is invalid.
    #[error("the server's answer is not usable: {0}")]
    Malformed(&'static str),
    /// There is no usable token at present.
    #[error("there is no usable token")]
    NoToken,
}

impl TokenError {
    /// Distinguishes a failed connection from a status that the server sent.
    pub(in crate::client) fn of(status: Status) -> Self {
        let files = connection::find::<FileError>(&status).map(ToString::to_string);
        match connection::find::<ConnectError>(&status).map(ToString::to_string).or(files) {
            Some(cause) => Self::Connection(cause, Box::new(status)),
            None if is_temporary(status.code()) => Self::Unavailable(Box::new(status)),
            None => Self::Refused(Box::new(status)),
        }
    }

    /// The status that the server sent, or that stands for a failed connection.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Connection(_, status) | Self::Unavailable(status) | Self::Refused(status) => Some(status),
            Self::Files(_) | Self::WorkloadApi(_) | Self::Malformed(_) | Self::NoToken => None,
        }
    }

    /// The server's fixed code, such as `INVALID_CLIENT`.
    pub fn reason(&self) -> Option<String> {
        self.status().and_then(StatusExt::get_details_error_info).map(|info| info.reason)
    }

    /// Whether a later attempt may succeed without a change: the server is unreachable or busy.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Connection(..) => self.is_unreachable(),
            Self::Unavailable(_) | Self::WorkloadApi(_) | Self::NoToken => true,
            Self::Files(_) | Self::Refused(_) | Self::Malformed(_) => false,
        }
    }

    /// Whether the server could not be reached or did not answer.
    pub(in crate::client) fn is_unreachable(&self) -> bool {
        let cause = self.status().and_then(|status| connection::find::<ConnectError>(status));
        matches!(cause, Some(ConnectError::Unreachable(..) | ConnectError::TimedOut(..)))
    }
}

/// Includes the codes of a connection that breaks during a call.
fn is_temporary(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Cancelled
            | Code::Unknown
            | Code::Internal
    )
}

fn describe(status: &Status) -> String {
    let reason = status.get_details_error_info().map(|info| info.reason);
    let name = reason.unwrap_or_else(|| format!("{:?}", status.code()));
    let message = if status.message().is_empty() { status.code().description() } else { status.message() };
    format!("{message} ({name})")
}
