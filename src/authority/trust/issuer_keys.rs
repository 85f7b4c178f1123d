//! The issuers outside of SPIFFE whose JWTs authenticate clients, such as the API server of a Kubernetes cluster, and the
//! keys that they sign with.

use std::sync::Arc;
use std::time::Duration;

use crate::authority::clock::Timestamp;
use crate::authority::trust::jwt_authorities::JwtAuthorities;

/// The longest time from `iat` to `exp` of an assertion that is accepted, whatever the configuration says.
pub const MAX_ASSERTION_AGE: Duration = Duration::from_hours(1);

/// An issuer that the configuration trusts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrustedIssuer {
    /// Its name, for records, metrics and the log.
    pub name: String,
    /// Its identifier: the `iss` of its JWTs.
    pub issuer: String,
    /// The `aud` that its JWTs must have, and no other.
    pub audience: String,
    /// The longest time from `iat` to `exp`, at most [`MAX_ASSERTION_AGE`].
    pub max_age: Duration,
}

/// A trusted issuer and its keys, all from one source.
#[derive(Clone, Debug, PartialEq)]
pub struct IssuerKeys {
    /// The issuer.
    pub trusted: Arc<TrustedIssuer>,
    /// Its keys. None before they are known.
    pub keys: JwtAuthorities,
    /// When their source last confirmed them; `None` where they are in effect until they are replaced, as those of a file.
    pub confirmed: Option<Timestamp>,
    /// The first moment at which they are no longer valid; `None` where they have no end.
    pub good_until: Option<Timestamp>,
}

impl IssuerKeys {
    /// Whether the keys can prove anything: there are some, and they have been confirmed of late.
    pub fn are_usable(&self, now: Timestamp) -> bool {
        self.good_until.is_none_or(|until| now < until) && self.keys.all().next().is_some()
    }
}
