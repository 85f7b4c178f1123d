//! A client as operators write it: one YAML document, under the names of RFC 7591 and RFC 8705. The printed form can be
//! applied again.

use std::path::PathBuf;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

use crate::authority::registration::ClientMetadata;
use crate::cli::documents::extra_field;

/// One client. An unknown field is refused, so that a misspelt restriction is not silently dropped.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) struct ClientYaml {
    /// `jwks` may also be JSON text instead of a mapping.
    pub(in crate::cli) metadata: ClientMetadata,
    /// A PEM file, with a path relative to the folder of the document. It is only read, never printed: its certificates
    /// become `jwks` before the document is sent.
    pub(in crate::cli) certificate_file: Option<PathBuf>,
}

impl From<ClientMetadata> for ClientYaml {
    fn from(metadata: ClientMetadata) -> Self {
        Self { metadata, certificate_file: None }
    }
}

impl<'de> Deserialize<'de> for ClientYaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expecting = "a mapping, with the fields of a client";
        let (metadata, file) = extra_field::read(deserializer, expecting, "certificate_file")?;
        Ok(Self { metadata, certificate_file: Option::flatten(file) })
    }
}

impl Serialize for ClientYaml {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.metadata.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::Document as _;
    use crate::cli::documents;
    use crate::cli::documents::Record;
    use crate::proto::Client;

    /// The message that writes a document.
    fn message(document: &ClientYaml) -> Client {
        document.metadata.message(String::new())
    }

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
        let client = message(&documents(CHECKOUT).unwrap()[0]);
        assert_eq!(client.client_id, "checkout");
        assert_eq!(client.scope, "orders.read orders.write");
        assert_eq!(client.audience, ["https://orders.shop.internal"]);
        assert_eq!(client.tls_client_certificate_bound_access_tokens, Some(true));
        assert_eq!(client.access_token_ttl.unwrap().seconds, 300);
        assert!(client.jwks.is_empty() && client.etag.is_empty());
    }

    #[test]
    fn what_is_printed_can_be_applied_again() {
        let mut client = message(&documents(CHECKOUT).unwrap()[0]);
        client.jwks = r#"{"keys":[{"kty":"EC","x5c":["MIIB"]}]}"#.to_owned();
        client.etag = "7".to_owned();
        client.created_by = "spiffe://prod.example/admin\ndisabled: true".to_owned();
        let printed = Record::<ClientYaml>::read(client.clone()).unwrap().to_yaml().unwrap();
        assert!(printed.starts_with("# etag: 7\n"), "{printed}");
        let again = message(&documents(&printed).unwrap()[0]);
        assert_eq!(again, Client { etag: String::new(), created_by: String::new(), ..client });
    }

    #[test]
    fn certificates_may_be_a_mapping_or_json_text() {
        let start = "client_id: a\ntoken_endpoint_auth_method: self_signed_tls_client_auth\n";
        let mapping = documents(&format!("{start}jwks:\n  keys:\n  - kty: EC\n")).unwrap().remove(0);
        let text = documents(&format!("{start}jwks: '{{\"keys\":[{{\"kty\":\"EC\"}}]}}'\n")).unwrap().remove(0);
        assert_eq!(message(&mapping), message(&text));
    }

    #[test]
    fn several_documents_are_read_and_empty_ones_passed_over() {
        let two = format!("---\n{CHECKOUT}---\n# nothing\n---\n{}", CHECKOUT.replace("checkout", "billing"));
        let names: Vec<String> = documents(&two).unwrap().into_iter().map(|yaml| yaml.metadata.client_id).collect();
        assert_eq!(names, ["checkout", "billing"]);
        assert_eq!(documents("# nothing\n").unwrap(), []);
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_line() {
        let text = error(&CHECKOUT.replace("owner", "onwer"));
        assert!(text.contains("unknown field `onwer`") && text.contains("line 11"), "{text}");
        assert!(text.contains("`disabled`, `certificate_file`"), "{text}");
        let second = error(&format!("{CHECKOUT}---\nclient_id: a\ntoken_endpoint_auth_method: b\nsort: Client\n"));
        assert!(second.contains("unknown field `sort`") && second.contains("line 16"), "{second}");
    }

    #[test]
    fn a_field_of_another_type_or_standing_twice_is_refused() {
        assert!(error(&CHECKOUT.replace("5m", "soon")).contains("access_token_ttl"));
        assert!(error(&CHECKOUT.replace("disabled: false", "disabled: maybe")).contains("disabled"));
        assert!(error(&format!("{CHECKOUT}disabled: true\n")).contains("duplicate"));
        assert!(error(&format!("{CHECKOUT}certificate_file: a\ncertificate_file: b\n")).contains("duplicate"));
        assert!(error(&format!("{CHECKOUT}certificate_file: [a]\n")).contains("certificate_file: invalid type"));
        assert!(error("[checkout]").contains("expected a mapping, with the fields of a client"));
        assert!(error("token_endpoint_auth_method: spiffe_x509\n").contains("client_id"));
    }
}
