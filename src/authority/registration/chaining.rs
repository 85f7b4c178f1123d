//! The authorization servers of other trust domains for which this one makes grants, by the configuration
//! (draft-ietf-oauth-identity-chaining).

use std::time::Duration;

use crate::authority::registration::client_id::ClientId;
use crate::authority::registration::client_pattern::ClientPattern;
use crate::authority::registration::scope_grant::ScopeGrant;

/// The grant type of a JWT of another authorization server (RFC 7523 section 2.1).
pub const JWT_BEARER_GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The `typ` of grants, where the other authorization server asks for no other one.
pub const GRANT_TYP: &str = "authorization-grant+jwt";

/// The longest that a grant may be valid.
pub const MAX_GRANT_TTL: Duration = Duration::from_mins(1);

/// Which actors a grant tells of.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ToldActors {
    /// All who act for the subject.
    All,
    /// The newest one alone, which uses the grant.
    #[default]
    Last,
    /// None.
    None,
}

/// Another authorization server, and who may go there for whom.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChainingTarget {
    /// Its issuer identifier, which is the audience of the grants.
    pub issuer: String,
    /// Who may ask for grants.
    pub clients: Vec<ClientPattern>,
    /// For whom.
    pub subjects: Vec<ClientPattern>,
    /// The resources at which the subjects must have presented their tokens. None: a client asks for itself alone.
    pub presented_at: Vec<String>,
    /// What each scope that was presented makes of scopes of the grant.
    pub grants: Vec<ScopeGrant>,
    /// The longest that a grant is valid.
    pub ttl: Duration,
    /// Which actors it tells of.
    pub told: ToldActors,
    /// The `typ` of the grants.
    pub typ: String,
}

impl ChainingTarget {
    /// Whether a client may ask for grants.
    pub fn is_for_client(&self, client_id: &ClientId) -> bool {
        self.clients.iter().any(|pattern| pattern.matches(client_id))
    }

    /// Whether grants may be for this subject.
    pub fn is_for_subject(&self, subject: &ClientId) -> bool {
        self.subjects.iter().any(|pattern| pattern.matches(subject))
    }
}
