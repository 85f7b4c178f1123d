//! A client as operators write it: one YAML document, under the names of RFC 7591 and RFC 8705. What is printed can be
//! applied again.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::Error as _;

use crate::cli::documents::Record;
use crate::proto::Client;

/// One client. A field that is not known is refused: a misspelt restriction must not be taken for none.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, expecting = "a mapping, with the fields of a client")]
pub(in crate::cli) struct ClientYaml {
    pub(in crate::cli) client_id: String,
    pub(in crate::cli) token_endpoint_auth_method: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) spiffe_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) tls_client_auth_subject_dn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) tls_client_auth_san_dns: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) tls_client_auth_san_uri: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) tls_client_auth_san_ip: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) tls_client_auth_san_email: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_ca: Option<String>,
    /// A mapping, or JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) jwks: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jwks_uri: Option<String>,
    /// Only written, never printed: the server turns it into `jwks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) certificate_pem: Option<String>,
    /// Only written: a PEM file, whose path starts at the folder of the document. Its certificates become `jwks` before
    /// anything is sent.
    #[serde(default, skip_serializing)]
    pub(in crate::cli) certificate_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(in crate::cli) scope: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    audience: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    grant_types: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls_client_certificate_bound_access_tokens: Option<bool>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "read_ttl",
        serialize_with = "write_ttl"
    )]
    access_token_ttl: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rotation: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::cli) disabled: bool,
}

impl From<ClientYaml> for Client {
    fn from(yaml: ClientYaml) -> Self {
        let seconds = |ttl: Duration| prost_types::Duration {
            // Beyond what any server takes, which then refuses it.
            seconds: i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(ttl.subsec_nanos()).unwrap_or_default(),
        };
        Self {
            client_id: yaml.client_id,
            token_endpoint_auth_method: yaml.token_endpoint_auth_method,
            spiffe_id: yaml.spiffe_id.unwrap_or_default(),
            tls_client_auth_subject_dn: yaml.tls_client_auth_subject_dn.unwrap_or_default(),
            tls_client_auth_san_dns: yaml.tls_client_auth_san_dns.unwrap_or_default(),
            tls_client_auth_san_uri: yaml.tls_client_auth_san_uri.unwrap_or_default(),
            tls_client_auth_san_ip: yaml.tls_client_auth_san_ip.unwrap_or_default(),
            tls_client_auth_san_email: yaml.tls_client_auth_san_email.unwrap_or_default(),
            client_ca: yaml.client_ca.unwrap_or_default(),
            jwks: match yaml.jwks {
                None => String::new(),
                Some(serde_json::Value::String(text)) => text,
                Some(mapping) => mapping.to_string(),
            },
            jwks_uri: yaml.jwks_uri.unwrap_or_default(),
            certificate_pem: yaml.certificate_pem.unwrap_or_default(),
            scope: yaml.scope,
            audience: yaml.audience,
            grant_types: yaml.grant_types,
            tls_client_certificate_bound_access_tokens: yaml.tls_client_certificate_bound_access_tokens,
            access_token_ttl: yaml.access_token_ttl.map(seconds),
            rotation: yaml.rotation.unwrap_or_default(),
            owner: yaml.owner.unwrap_or_default(),
            disabled: yaml.disabled,
            ..Self::default()
        }
    }
}

impl From<Client> for ClientYaml {
    fn from(client: Client) -> Self {
        let set = |text: String| (!text.is_empty()).then_some(text);
        Self {
            client_id: client.client_id,
            token_endpoint_auth_method: client.token_endpoint_auth_method,
            spiffe_id: set(client.spiffe_id),
            tls_client_auth_subject_dn: set(client.tls_client_auth_subject_dn),
            tls_client_auth_san_dns: set(client.tls_client_auth_san_dns),
            tls_client_auth_san_uri: set(client.tls_client_auth_san_uri),
            tls_client_auth_san_ip: set(client.tls_client_auth_san_ip),
            tls_client_auth_san_email: set(client.tls_client_auth_san_email),
            client_ca: set(client.client_ca),
            jwks: set(client.jwks).map(|text| serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text))),
            jwks_uri: set(client.jwks_uri),
            certificate_pem: set(client.certificate_pem),
            certificate_file: None,
            scope: client.scope,
            audience: client.audience,
            grant_types: client.grant_types,
            tls_client_certificate_bound_access_tokens: client.tls_client_certificate_bound_access_tokens,
            access_token_ttl: client.access_token_ttl.and_then(|ttl| Duration::try_from(ttl).ok()),
            rotation: set(client.rotation),
            owner: set(client.owner),
            disabled: client.disabled,
        }
    }
}

impl From<Client> for Record<ClientYaml> {
    fn from(mut client: Client) -> Self {
        Self {
            etag: std::mem::take(&mut client.etag),
            create_time: client.create_time.take().map(|time| time.to_string()),
            update_time: client.update_time.take().map(|time| time.to_string()),
            created_by: std::mem::take(&mut client.created_by),
            updated_by: std::mem::take(&mut client.updated_by),
            document: client.into(),
        }
    }
}

fn read_ttl<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let ttl = humantime::parse_duration(&text)
        .map_err(|_| D::Error::custom("access_token_ttl must be a duration such as 5m or 90s"))?;
    Ok(Some(ttl))
}

#[expect(clippy::ref_option, reason = "serde hands the field over as it is")]
fn write_ttl<S: Serializer>(ttl: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    ttl.map(|ttl| humantime::format_duration(ttl).to_string()).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::documents;

    fn documents(text: &str) -> Result<Vec<ClientYaml>, crate::yaml::YamlError> {
        documents::documents(text)
    }

    const CHECKOUT: &str = r#"
client_id: checkout
token_endpoint_auth_method: spiffe_x509
spiffe_id: spiffe://prod.example/ns/shop/sa/checkout
scope: "orders.read orders.write"
audience: [https://orders.shop.internal]
grant_types: [client_credentials]
tls_client_certificate_bound_access_tokens: true
access_token_ttl: 5m
rotation: strict
owner: team-shop
disabled: false
"#;

    fn error(text: &str) -> String {
        documents(text).unwrap_err().to_string()
    }

    #[test]
    fn a_document_becomes_the_message_of_the_same_names() {
        let client = Client::from(documents(CHECKOUT).unwrap().remove(0));
        assert_eq!(client.client_id, "checkout");
        assert_eq!(client.scope, "orders.read orders.write");
        assert_eq!(client.audience, ["https://orders.shop.internal"]);
        assert_eq!(client.tls_client_certificate_bound_access_tokens, Some(true));
        assert_eq!(client.access_token_ttl.unwrap().seconds, 300);
        assert!(client.jwks.is_empty() && client.etag.is_empty());
    }

    #[test]
    fn what_is_printed_can_be_applied_again() {
        let mut client = Client::from(documents(CHECKOUT).unwrap().remove(0));
        client.jwks = r#"{"keys":[{"kty":"EC","x5c":["MIIB"]}]}"#.to_owned();
        client.etag = "7".to_owned();
        client.created_by = "spiffe://prod.example/admin\ndisabled: true".to_owned();
        let printed = Record::from(client.clone()).to_yaml().unwrap();
        assert!(printed.starts_with("# etag: 7\n"), "{printed}");
        let again = Client::from(documents(&printed).unwrap().remove(0));
        assert_eq!(again, Client { etag: String::new(), created_by: String::new(), ..client });
    }

    #[test]
    fn certificates_may_be_a_mapping_or_json_text() {
        let start = "client_id: a\ntoken_endpoint_auth_method: self_signed_tls_client_auth\n";
        let mapping = documents(&format!("{start}jwks:\n  keys:\n  - kty: EC\n")).unwrap().remove(0);
        let text = documents(&format!("{start}jwks: '{{\"keys\":[{{\"kty\":\"EC\"}}]}}'\n")).unwrap().remove(0);
        assert_eq!(Client::from(mapping), Client::from(text));
    }

    #[test]
    fn several_documents_are_read_and_empty_ones_passed_over() {
        let two = format!("---\n{CHECKOUT}---\n# nothing\n---\n{}", CHECKOUT.replace("checkout", "billing"));
        let names: Vec<String> = documents(&two).unwrap().into_iter().map(|yaml| yaml.client_id).collect();
        assert_eq!(names, ["checkout", "billing"]);
        assert_eq!(documents("# nothing\n").unwrap(), []);
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_line() {
        let text = error(&CHECKOUT.replace("owner", "onwer"));
        assert!(text.contains("unknown field `onwer`") && text.contains("line 11"), "{text}");
        let second = error(&format!("{CHECKOUT}---\nclient_id: a\ntoken_endpoint_auth_method: b\nkind: Client\n"));
        assert!(second.contains("unknown field `kind`") && second.contains("line 16"), "{second}");
    }

    #[test]
    fn a_field_of_another_type_or_standing_twice_is_refused() {
        assert!(error(&CHECKOUT.replace("5m", "soon")).contains("access_token_ttl"));
        assert!(error(&CHECKOUT.replace("disabled: false", "disabled: maybe")).contains("disabled"));
        assert!(error(&format!("{CHECKOUT}disabled: true\n")).contains("duplicate"));
        assert!(error("token_endpoint_auth_method: spiffe_x509\n").contains("client_id"));
    }
}
