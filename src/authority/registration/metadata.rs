//! A client as operators write it and as it is stored, before anything is made of it.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::authority::records::InvalidMetadata;
use crate::authority::records::Kind;

/// A client as operators write it, under the names of RFC 7591 and RFC 8705: what is stored, and what is shown.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClientMetadata {
    /// The client's name, or its SPIFFE ID.
    pub client_id: String,
    /// `spiffe_x509`, `spiffe_jwt`, `tls_client_auth` or `self_signed_tls_client_auth`.
    pub token_endpoint_auth_method: String,
    /// An exact SPIFFE ID, or a pattern that ends in `/*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spiffe_id: Option<String>,
    /// RFC 4514 text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_subject_dn: Option<String>,
    /// A host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_san_dns: Option<String>,
    /// A URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_san_uri: Option<String>,
    /// An address: dotted decimal, or RFC 5952.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_san_ip: Option<String>,
    /// A mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_san_email: Option<String>,
    /// The one client CA that may vouch for the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<String>,
    /// A JWK Set whose keys carry certificates in `x5c`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<serde_json::Value>,
    /// Where such a JWK Set is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// PEM certificates; they are turned into `jwks` and never stored as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_pem: Option<String>,
    /// Space-separated scopes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// Resource indicators.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audience: Vec<String>,
    /// `client_credentials`, which is the default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grant_types: Vec<String>,
    /// Left out means true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_client_certificate_bound_access_tokens: Option<bool>,
    /// How long a token lives; as text such as `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::authority::registration::duration")]
    pub access_token_ttl: Option<Duration>,
    /// `strict`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<String>,
    /// Who answers for the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Whether it is switched off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
}

pub(in crate::authority) fn invalid(field: &'static str, problem: &str) -> InvalidMetadata {
    InvalidMetadata { kind: Kind::Client, field, problem: problem.to_owned() }
}
