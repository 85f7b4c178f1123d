//! Settings from the configuration.

use std::time::Duration;

use serde::Deserialize;

use crate::authority::access::DualControl;
use crate::authority::access::RoleGrants;
use crate::authority::registration::ChainingTarget;
use crate::authority::registration::JwksUriPolicy;
use crate::authority::registration::TxnTokenPolicy;
use crate::authority::state::KeyPolicy;
use crate::authority::state::LineagePolicy;

/// Settings that stay fixed while the server runs, except for the roles, of which these are the initial ones.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The issuer identifier (RFC 8414 section 2): the public listener's URL.
    pub issuer: String,
    /// The base URL of the mTLS listener's endpoints, without a slash at its end.
    pub mtls_url: String,
    /// Which callers may register clients over HTTP.
    pub registration: RegistrationPolicy,
    /// Whether tokens without a certificate binding may be issued at all.
    pub unbound_tokens: bool,
    /// The longest time for which a proxy may cache an allowance.
    pub verdict_ttl: Duration,
    /// For how long decisions may use the snapshot once the store cannot be followed. `None`: indefinitely.
    pub max_staleness: Option<Duration>,
    /// The initial role grants. See [`Authority::replace_roles`].
    pub roles: RoleGrants,
    /// The hosts on which clients may publish their certificates.
    pub jwks_uri: JwksUriPolicy,
    /// The limits of a lineage, by which tokens follow the renewal of their certificates.
    pub lineage: LineagePolicy,
    /// What callers can make the server keep.
    pub quotas: Quotas,
    /// The rotation of signing keys.
    pub keys: KeyPolicy,
    /// For how long the changes of registrations are kept. Zero: they are not.
    pub history: Duration,
    /// What a second admin has to approve.
    pub dual_control: DualControl,
    /// Whether workloads may act for each other.
    pub exchange: ExchangePolicy,
    /// The transaction tokens that are issued. `None`: none are.
    pub txn_tokens: Option<TxnTokenPolicy>,
    /// The authorization servers of other trust domains for which grants are made.
    pub chaining: Vec<ChainingTarget>,
}

/// Token exchange (RFC 8693), and what it takes: receipts of presentations and delegated tokens.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct ExchangePolicy {
    /// Whether receipts are made and tokens exchanged. Off, neither is, and what is registered for it has no effect.
    pub enabled: bool,
}

/// How much callers can make the server keep. What is beyond a quota is refused, and stays registered, revoked and
/// announced as it was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quotas {
    /// The revocations of its own tokens by one caller, as long as these have an effect. Beyond them all tokens that are
    /// bound to its certificate are revoked by one record. Each takes some 2 KiB with its place in the store.
    pub revocations: usize,
    /// The clients that are registered over HTTP, by all registrants together. An identity registers itself once at most.
    pub registrations: usize,
    /// The certificates of one SPIFFE ID with an announced successor: all replicas of a workload share it, and each record
    /// is kept until its certificate has expired.
    pub rotations: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { revocations: 1000, registrations: 10_000, rotations: 10_000 }
    }
}

/// Which callers may register clients over HTTP (RFC 7591).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum RegistrationPolicy {
    /// No caller.
    #[default]
    Off,
    /// Admins.
    Admins,
    /// Admins, and each workload with an SVID for itself alone, within the limits that an operator registered for it.
    OwnIdentity,
}

impl Policy {
    /// Whether there is a registration endpoint.
    pub fn registers_dynamically(&self) -> bool {
        self.registration != RegistrationPolicy::Off
    }
}
