//! Resource metadata as operators write it and as it is stored, before it is parsed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::authority::records::InvalidMetadata;
use crate::authority::records::Kind;
use crate::authority::scope::Scope;
use crate::authority::scope::list_comma;

/// A protected resource as operators write it. It is stored and returned in this form.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a member of the document")]
pub struct ResourceMetadata {
    /// The resource indicator (RFC 8707), which is the name of the resource.
    pub audience: String,
    /// The scopes that it defines, space-separated.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// The routes, each with its requirements.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteMetadata>,
    /// The lowest accepted grade of evidence: `spiffe_id`, `thumbprint` or `certificate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_evidence: Option<String>,
    /// The source of the evidence, if it is not the immediate peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_from: Option<EvidenceSource>,
    /// The names of the trust domains whose workloads are accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trust_domains: Vec<String>,
    /// `enforce` or `report`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Whether a response header reports a denial that is not enforced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub report_header: bool,
    /// Whether the token is removed from requests that are allowed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remove_authorization: bool,
    /// The SPIFFE IDs of the workloads that serve the resource.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destination_principals: Vec<String>,
    /// The hosts of the resource, with or without ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorities: Vec<String>,
    /// The delegated tokens that it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegated: Option<DelegatedMetadata>,
    /// The contact for the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Whether each allowed use is recorded in the audit trail.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub record_allowed: bool,
    /// What applies its documents: `--prune` of `apply` goes by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// How old the snapshot may be for this resource, as text such as `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::authority::resources::duration")]
    pub max_staleness: Option<Duration>,
    /// Whether what is presented here leaves receipts, and who redeems them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipts: Option<ReceiptsMetadata>,
    /// What becomes of the transaction tokens that requests bring: `ignore`, `strip`, `accept` or `require`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub txn_token: Option<String>,
    /// Whether a replica refuses a transaction that it has seen here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub txn_once: bool,
}

/// A route as operators write it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RouteMetadata {
    /// HTTP methods. An empty list means all methods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// A path template.
    pub path: String,
    /// The required scopes, space-separated.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// Whether requests need no token.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public: bool,
    /// The transaction token that checks mint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub txn: Option<RouteTxnMetadata>,
    /// The scopes that the transaction token of a request must have, space-separated.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub txn_scope: String,
}

/// The transaction token that the checks of a route mint, as operators write it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RouteTxnMetadata {
    /// What the transaction is for: scopes of the trust domain, space-separated.
    pub scope: String,
    /// The members of `tctx`: texts, and variables of the path such as `{id}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
    /// The members of `rctx` besides `method` and `route`: `req_ip`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<String>,
}

/// What operators write about receipts.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptsMetadata {
    /// The clients that may redeem receipts of the resource: `client_id`s, or patterns of SPIFFE IDs that end in `/*`.
    pub exchangers: Vec<String>,
    /// How long a receipt is valid, as text such as `30s`, which is the default.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::authority::resources::receipt_ttl")]
    pub ttl: Option<Duration>,
    /// `effect`, which is the default, or `strict`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once: Option<String>,
}

/// Where a check finds the evidence, if not with the immediate peer. Exactly one of the two is set.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceSource {
    /// The SPIFFE IDs of the gateways in front of the proxy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub via: Vec<String>,
    /// Whether the header is evidence by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub header: bool,
}

/// That a resource takes delegated tokens, as operators write it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DelegatedMetadata {
    /// Whose: `client_id`s, or SPIFFE IDs followed by `/*`.
    pub actors: Vec<String>,
    /// The most actors, one after another, that a token may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_actors: Option<u32>,
    /// `enforce` or `report`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

impl ResourceMetadata {
    /// Refuses what can be read, but means something else than its author meant. Stored records are not checked for it.
    pub(in crate::authority) fn check_mistakes(&self) -> Result<(), InvalidMetadata> {
        let scopes =
            std::iter::once(("scope", &self.scope)).chain(self.routes.iter().map(|one| ("routes", &one.scope)));
        for (field, text) in scopes {
            if let Ok(scope) = Scope::parse(text)
                && let Some(token) = scope.with_list_comma()
            {
                return Err(invalid(field, &list_comma(token)));
            }
        }
        let segments = self.routes.iter().flat_map(|route| route.path.split('/'));
        match segments.into_iter().find(|segment| segment.starts_with(':')) {
            Some(segment) => {
                let name = segment.trim_start_matches(':');
                Err(invalid(
                    "routes",
                    &format!("'{segment}' matches only itself: write {{{name}}} for any one segment"),
                ))
            }
            None => Ok(()),
        }
    }
}

pub(in crate::authority) fn invalid(field: &'static str, problem: &str) -> InvalidMetadata {
    InvalidMetadata { kind: Kind::Resource, field, problem: problem.to_owned() }
}
