//! A token with the certificate that it is bound to, and why there is none.

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

/// The server counts in whole seconds, so a token may end up to one earlier than `expires_in` after it was asked for.
const WHOLE_SECOND: Duration = Duration::from_secs(1);

/// What is kept back of a token's life, for its way to whoever judges it: a twentieth, and no more than this.
const MOST_KEPT_BACK: Duration = Duration::from_secs(5);

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
    /// What the server answered to a request that was sent at `asked` over a connection with this certificate.
    pub(in crate::client) fn new(
        issued: IssueTokenResponse,
        asked: Instant,
        certificate: CertificateDer<'static>,
    ) -> Result<Self, TokenError> {
        let life = issued.expires_in.and_then(|span| Duration::try_from(span).ok());
        let life = life.ok_or(TokenError::Malformed("it says no time that the token is good for"))?;
        let mut header = HeaderValue::try_from(format!("Bearer {}", issued.access_token))
            .map_err(|_| TokenError::Malformed("its token is no header value"))?;
        header.set_sensitive(true);
        if issued.access_token.is_empty() {
            return Err(TokenError::Malformed("it holds no token"));
        }
        let kept_back = WHOLE_SECOND + (life / 20).min(MOST_KEPT_BACK);
        let usable_until = asked.checked_add(life.saturating_sub(kept_back)).unwrap_or(asked);
        let (text, scope) = (issued.access_token, issued.scope);
        Ok(Self(Arc::new(Inner { text, header, scope, certificate, life, usable_until })))
    }

    /// The token itself, a secret.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// The value of an `authorization` header, marked as sensitive.
    pub fn authorization(&self) -> &HeaderValue {
        &self.0.header
    }

    /// The scopes that were granted, space-separated.
    pub fn scope(&self) -> &str {
        &self.0.scope
    }

    /// The certificate that it is bound to, DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.0.certificate
    }

    /// How long it was good for when it was issued.
    pub fn life(&self) -> Duration {
        self.0.life
    }

    /// When it is used no longer: a little before it expires.
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
    /// The server cannot be reached, or did not let us in.
    #[error("{0}")]
    Connection(String, #[source] Box<Status>),
    /// The server cannot answer now.
    #[error("the server cannot answer now: {}", said(.0))]
    Unavailable(#[source] Box<Status>),
    /// The server refuses what is asked for; asking again changes nothing until somebody changes the registration.
    #[error("the server refused: {}", said(.0))]
    Refused(#[source] Box<Status>),
    /// The server's answer cannot be read.
    #[error("the server's answer is not usable: {0}")]
    Malformed(&'static str),
    /// There is no token at this moment.
    #[error("there is no usable token")]
    NoToken,
}

impl TokenError {
    /// Tells an answer of the server from a missing one.
    pub(in crate::client) fn of(status: Status) -> Self {
        match connection::find::<ConnectError>(&status) {
            Some(cause) => Self::Connection(cause.to_string(), Box::new(status)),
            None if is_temporary(status.code()) => Self::Unavailable(Box::new(status)),
            None => Self::Refused(Box::new(status)),
        }
    }

    /// What the server, or the way to it, said.
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

    /// Whether it goes away by itself, as far as that can be said: the server is out of reach or busy.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Connection(..) => self.is_unreachable(),
            Self::Unavailable(_) | Self::WorkloadApi(_) | Self::NoToken => true,
            Self::Files(_) | Self::Refused(_) | Self::Malformed(_) => false,
        }
    }

    /// Whether nothing answered at all.
    pub(in crate::client) fn is_unreachable(&self) -> bool {
        let cause = self.status().and_then(|status| connection::find::<ConnectError>(status));
        matches!(cause, Some(ConnectError::Unreachable(..) | ConnectError::Silent(..)))
    }
}

/// A connection that ends under a call shows as one of several codes.
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

fn said(status: &Status) -> String {
    let reason = status.get_details_error_info().map(|info| info.reason);
    let name = reason.unwrap_or_else(|| format!("{:?}", status.code()));
    let message = if status.message().is_empty() { status.code().description() } else { status.message() };
    format!("{message} ({name})")
}
