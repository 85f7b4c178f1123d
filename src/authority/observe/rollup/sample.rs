//! A request as it is remembered to be decided once more: without its token, of which the claims are kept, and without its query.

use std::fmt;
use std::sync::Arc;

use spiffe::SpiffeId;

use crate::authority::clock::Timestamp;
use crate::authority::decision::CheckRefusal;
use crate::authority::deny_reason::DenyReason;
use crate::authority::evidence::Evidence;
use crate::authority::evidence::EvidenceFrom;
use crate::authority::evidence::InvalidEvidence;
use crate::authority::scope::Scope;
use crate::authority::tokens::VerifiedToken;

/// The longest path, and the longest method, in bytes, of which a sample is kept.
const MAX_PATH_BYTES: usize = 256;
const MAX_METHOD_BYTES: usize = 32;

/// One request.
#[derive(Clone, Debug)]
pub struct RequestSample {
    /// When it was decided.
    pub at: Timestamp,
    /// What it asked for.
    pub request: SampledRequest,
    /// What it showed.
    pub shown: Shown,
}

/// What a request asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SampledRequest {
    /// A request that a proxy asked about.
    Check {
        /// The method.
        method: Box<str>,
        /// The path, without the query.
        path: Box<str>,
    },
    /// A use of a token that needs these scopes.
    ValidateBinding(Scope),
}

/// What a request showed, as far as it was looked at.
#[derive(Clone, Debug)]
pub enum Shown {
    /// It was not looked at: the path or the route settled the request.
    Nothing,
    /// There is no token that can be read: [`CheckRefusal::TokenMissing`] or [`CheckRefusal::AuthorizationMalformed`].
    NoToken(CheckRefusal),
    /// The evidence from this source cannot be read.
    NoEvidence(InvalidEvidence, EvidenceFrom),
    /// A use of a token.
    Use(Arc<TokenUse>),
}

/// A use of a token.
#[derive(Clone, Debug)]
pub struct TokenUse {
    /// The claims of the token, or why its signature is none of this server's.
    pub token: Result<Arc<VerifiedToken>, DenyReason>,
    /// The evidence of the certificate.
    pub evidence: Option<Evidence>,
    /// Where that comes from.
    pub from: EvidenceFrom,
    /// The name of the proxy's immediate peer, where that must be the token's user.
    pub principal: Option<Box<str>>,
    /// The SPIFFE ID that a proxy reports beside a thumbprint.
    pub reported: Option<SpiffeId>,
}

impl SampledRequest {
    /// A checked request; `None` if it is too long to be kept.
    pub(in crate::authority) fn check(method: &str, path: &str) -> Option<Self> {
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let is_short = method.len() <= MAX_METHOD_BYTES && path.len() <= MAX_PATH_BYTES;
        is_short.then(|| Self::Check { method: method.into(), path: path.into() })
    }
}

/// For people: the method and the path, or the scopes.
impl fmt::Display for SampledRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Check { method, path } => write!(formatter, "{method} {path}"),
            Self::ValidateBinding(scope) => write!(formatter, "scope: {scope}"),
        }
    }
}

impl RequestSample {
    /// About how many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        let request = match &self.request {
            SampledRequest::Check { method, path } => method.len() + path.len(),
            SampledRequest::ValidateBinding(scope) => {
                scope.tokens().map(|token| token.len() + size_of::<String>()).sum()
            }
        };
        let shown = match &self.shown {
            Shown::Nothing | Shown::NoToken(_) => 0,
            Shown::NoEvidence(_, from) => bytes_of_source(from),
            Shown::Use(shown) => shown.bytes(),
        };
        size_of::<Self>() + request + shown
    }
}

impl TokenUse {
    /// What samples share counts for each of them.
    fn bytes(&self) -> usize {
        let token = self.token.as_ref().map_or(0, |token| token.bytes());
        let evidence = match &self.evidence {
            Some(Evidence::Certificate(certificate)) => certificate.bytes(),
            Some(Evidence::SpiffeId(id)) => id.to_string().len(),
            Some(Evidence::Thumbprint(_)) | None => 0,
        };
        let principal = self.principal.as_ref().map_or(0, |principal| principal.len());
        let reported = self.reported.as_ref().map_or(0, |id| id.to_string().len());
        size_of::<Self>() + token + evidence + bytes_of_source(&self.from) + principal + reported
    }
}

fn bytes_of_source(from: &EvidenceFrom) -> usize {
    match from {
        EvidenceFrom::Peer | EvidenceFrom::Header => 0,
        EvidenceFrom::Via(gateways) => {
            gateways.iter().map(|gateway| size_of::<SpiffeId>() + gateway.to_string().len()).sum()
        }
    }
}
