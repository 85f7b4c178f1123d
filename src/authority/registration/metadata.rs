//! Client metadata as operators write it and as it is stored, before it is parsed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::authority::records::InvalidMetadata;
use crate::authority::records::Kind;

/// Client metadata as operators write it, with the names of RFC 7591 and RFC 8705. It is stored and returned in this
/// form.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClientMetadata {
    /// The client's identifier, which may be its SPIFFE ID.
    pub client_id: String,
    /// `spiffe_x509`, `spiffe_jwt`, `tls_client_auth`, `self_signed_tls_client_auth` or `issuer_jwt`.
    pub token_endpoint_auth_method: String,
    /// An exact SPIFFE ID, or a pattern that ends in `/*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spiffe_id: Option<String>,
    /// The expected subject distinguished name (RFC 4514 text).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_subject_dn: Option<String>,
    /// The expected dNSName: a host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_san_dns: Option<String>,
    /// The expected uniformResourceIdentifier: a URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_san_uri: Option<String>,
    /// The expected iPAddress: dotted decimal, or RFC 5952.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_san_ip: Option<String>,
    /// The expected rfc822Name: a mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_san_email: Option<String>,
    /// The configured name of the only client CA that may have issued the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<String>,
    /// A JWK Set whose keys carry certificates in `x5c`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<serde_json::Value>,
    /// The URL at which the client publishes such a JWK Set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// PEM certificates. They are converted into `jwks` and never stored as PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_pem: Option<String>,
    /// The trusted issuer of the client's assertions, their `iss`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The `sub` of the client's assertions, exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Further claims of the client's assertions: JSON Pointers (RFC 6901), each with the text that must be there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, String>,
    /// The scopes that the client may request, space-separated.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// The resource indicators that the client may request (RFC 8707).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audience: Vec<String>,
    /// The grant types: `client_credentials`, which is the default, and beside it that of token exchange, and that of grants of other
    /// authorization servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grant_types: Vec<String>,
    /// Whether tokens must be bound to a certificate. Defaults to true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_client_certificate_bound_access_tokens: Option<bool>,
    /// The maximum lifetime of an access token, as text such as `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::authority::registration::duration")]
    pub access_token_ttl: Option<Duration>,
    /// The use of tokens after the certificate is renewed: `strict`, `identity` or `lineage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<String>,
    /// What the client may exchange for tokens that speak for others (RFC 8693).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exchange: Vec<ExchangeRuleMetadata>,
    /// Who may act for the client: `client_id`s, or SPIFFE IDs followed by `/*`. Left out: whoever a rule names. Empty: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegates: Option<Vec<String>>,
    /// What the client may ask for transaction tokens for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub txn: Vec<TxnRuleMetadata>,
    /// The contact for the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What applies its documents: `--prune` of `apply` goes by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// Whether the client is disabled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
}

/// A rule of `exchange` as operators write it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExchangeRuleMetadata {
    /// Whose tokens: the subjects, as `client_id`s or SPIFFE IDs followed by `/*`, or as `issuer` calls them.
    pub subjects: Vec<String>,
    /// The issuer of the subjects, where it is another one. Left out: this server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The resource at which they must have been presented. Left out: tokens of `issuer` itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub presented_at: String,
    /// The resource that the new token is for.
    pub audience: String,
    /// What each scope that was presented makes of scopes of the new token.
    pub grants: Vec<ScopeGrantMetadata>,
    /// `receipt`, `independent`, `report` or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presentation: Option<String>,
    /// The lowest grade of the evidence in the receipt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_evidence: Option<String>,
    /// The longest lifetime of the new token, as text such as `2m`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::authority::registration::duration")]
    pub ttl: Option<Duration>,
    /// The most actors, one after another, that the new token may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_actors: Option<u32>,
}

/// A rule of `txn` as operators write it: with `presented_at` and `grants`, or `issuer` and `grants`, or `subjects: [self]` with
/// `scope`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TxnRuleMetadata {
    /// Whose tokens: the subjects, as `client_id`s or SPIFFE IDs followed by `/*`, or as `issuer` calls them. Or `self` alone.
    pub subjects: Vec<String>,
    /// The issuer of the tokens, where it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The resource at which they must have been presented.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presented_at: Option<String>,
    /// What each scope that was presented makes of scopes of the transaction token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<ScopeGrantMetadata>,
    /// The scopes that the client may ask for itself, space-separated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The members that `request_details` may have, which become `tctx`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// The members that `request_context` may have, which become `rctx`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<String>,
    /// The longest lifetime of the token, as text such as `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::authority::registration::duration")]
    pub ttl: Option<Duration>,
}

/// A translation of scopes as operators write it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ScopeGrantMetadata {
    /// The scopes that the presented token must have, space-separated.
    pub needs: String,
    /// The scopes that the new token may have for that, space-separated.
    pub gives: String,
}

pub(in crate::authority) fn invalid(field: &'static str, problem: &str) -> InvalidMetadata {
    InvalidMetadata { kind: Kind::Client, field, problem: problem.to_owned() }
}
