//! What the configuration settles.

use std::time::Duration;

use serde::Deserialize;

use crate::authority::access::RoleGrants;
use crate::authority::registration::JwksUriPolicy;
use crate::authority::state::LineagePolicy;

/// What the configuration settles once and for all; but for the roles, of which only the first are here.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The issuer identifier (RFC 8414 section 2): the public listener's URL.
    pub issuer: String,
    /// Where the mTLS listener is reached: the URL in front of the endpoints' paths, without a slash at its end.
    pub mtls_url: String,
    /// Who may register clients over HTTP.
    pub registration: RegistrationPolicy,
    /// Whether tokens that are bound to no certificate may exist at all.
    pub unbound_tokens: bool,
    /// How long a proxy may keep an allowance, at most.
    pub verdict_ttl: Duration,
    /// For how long decisions may go by what is known of the store once it cannot be followed any more. `None`: for ever.
    pub max_staleness: Option<Duration>,
    /// Who holds which role at the start. See [`Authority::replace_roles`].
    pub roles: RoleGrants,
    /// Where clients may publish their certificates.
    pub jwks_uri: JwksUriPolicy,
    /// How far tokens follow the renewal of their certificates by lineage.
    pub lineage: LineagePolicy,
}

/// Who may register clients over HTTP (RFC 7591).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum RegistrationPolicy {
    /// Nobody.
    #[default]
    Off,
    /// Admins.
    Admins,
    /// Admins, and each workload with an SVID for itself alone, within what an operator registered for it.
    OwnIdentity,
}

impl Policy {
    /// Whether there is a registration endpoint.
    pub fn registers_dynamically(&self) -> bool {
        self.registration != RegistrationPolicy::Off
    }
}
