//! The issuers outside of SPIFFE whose JWTs are believed, such as the API server of a Kubernetes cluster, what for, and the keys
//! that they sign with. An issuer is trusted for one thing: a JWT that is good for one is good for no other.

use std::sync::Arc;
use std::time::Duration;

use spiffe::TrustDomain;

use crate::authority::clock::Timestamp;
use crate::authority::registration::ClientPattern;
use crate::authority::registration::ScopeGrant;
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
    /// What its JWTs are believed for.
    pub proves: Proves,
}

/// What the JWTs of an issuer are believed for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Proves {
    /// Who a client is: assertions of clients by `issuer_jwt`.
    Clients,
    /// For whom a request is made: what exchangers may exchange.
    Subjects(SubjectTerms),
    /// Which of its clients may speak here for whom: grants of the authorization server of another trust domain.
    Grants(Box<GrantTerms>),
}

/// Tokens of an issuer that are exchanged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SubjectTerms {
    /// The types that they may be called by.
    pub kinds: Vec<SubjectKind>,
    /// The `typ` that they have. `None`: that of their kind.
    pub typ: Option<String>,
    /// Where their scopes are: a JSON Pointer (RFC 6901). `None`: they have none.
    pub scope_claim: Option<String>,
}

/// What a token of another issuer is said to be (RFC 8693 section 3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SubjectKind {
    /// An access token.
    AccessToken,
    /// A JWT that is none of the other types.
    Jwt,
}

/// Grants of another trust domain's authorization server (draft-ietf-oauth-identity-chaining section 2.4).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GrantTerms {
    /// The token endpoint of this server, which a grant may name in place of its issuer.
    pub token_endpoint: String,
    /// The `typ` of its grants.
    pub typ: String,
    /// The trust domain whose workloads it may speak for by their SPIFFE IDs. `None`: no SPIFFE IDs.
    pub trust_domain: Option<TrustDomain>,
    /// For whom: by their names here.
    pub subjects: Vec<ClientPattern>,
    /// The clients that may use its grants.
    pub clients: Vec<ClientPattern>,
    /// What each scope of a grant makes of scopes of resources here.
    pub grants: Vec<ScopeGrant>,
    /// The resources that they are good for.
    pub audience: Vec<String>,
    /// The longest lifetime of the tokens that they become.
    pub ttl: Duration,
    /// Whether the store keeps which were used, so that each is good once at all replicas together.
    pub once_strict: bool,
}

impl TrustedIssuer {
    /// Whether it authenticates clients.
    pub fn proves_clients(&self) -> bool {
        matches!(self.proves, Proves::Clients)
    }

    /// Where its tokens are exchanged: how they are read.
    pub fn subject_terms(&self) -> Option<&SubjectTerms> {
        match &self.proves {
            Proves::Subjects(terms) => Some(terms),
            Proves::Clients | Proves::Grants(_) => None,
        }
    }

    /// Where its grants are taken: what they may be for.
    pub fn grant_terms(&self) -> Option<&GrantTerms> {
        match &self.proves {
            Proves::Grants(terms) => Some(terms),
            Proves::Clients | Proves::Subjects(_) => None,
        }
    }
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
