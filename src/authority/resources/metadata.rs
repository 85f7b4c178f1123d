//! A protected resource as operators write it and as it is stored, before anything is made of it.

use serde::Deserialize;
use serde::Serialize;

use crate::authority::records::InvalidMetadata;
use crate::authority::records::Kind;

/// A protected resource as operators write it: what is stored, and what is shown.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceMetadata {
    /// The resource indicator (RFC 8707), which is its name.
    pub audience: String,
    /// The scopes that it defines, space-separated.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// What requests need.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteMetadata>,
    /// `spiffe_id`, `thumbprint` or `certificate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_evidence: Option<String>,
    /// Where the evidence comes from, if not from the immediate peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_from: Option<Gateways>,
    /// Names of trust domains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trust_domains: Vec<String>,
    /// `enforce` or `report`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Whether a denial that is let through is said in a response header.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub report_header: bool,
    /// Whether the token is taken out of requests that are let through.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remove_authorization: bool,
    /// SPIFFE IDs of the workloads that serve it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destination_principals: Vec<String>,
    /// Hosts, with or without ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorities: Vec<String>,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// A route as it is written.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RouteMetadata {
    /// HTTP methods; none stands for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// A path template.
    pub path: String,
    /// The scopes needed, space-separated.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// Whether no token is needed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public: bool,
}

/// The gateways in front of a proxy.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Gateways {
    /// Their SPIFFE IDs.
    pub via: Vec<String>,
}

pub(in crate::authority) fn invalid(field: &'static str, problem: &str) -> InvalidMetadata {
    InvalidMetadata { kind: Kind::Resource, field, problem: problem.to_owned() }
}
