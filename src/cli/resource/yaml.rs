//! A protected resource as operators write it: one YAML document, with the field names of the registry. The printed
//! form can be applied again.

use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::Error;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde::de::value::MapAccessDeserializer;

use crate::authority::resources::EvidenceSource;
use crate::authority::resources::ResourceMetadata;
use crate::cli::documents::extra_field;

/// One protected resource. An unknown field is refused, so that a misspelt restriction is not silently dropped. In
/// `evidence_from`, the word `peer` is the same as leaving it out.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) struct ResourceYaml {
    pub(in crate::cli) metadata: ResourceMetadata,
}

impl From<ResourceMetadata> for ResourceYaml {
    fn from(metadata: ResourceMetadata) -> Self {
        Self { metadata }
    }
}

impl<'de> Deserialize<'de> for ResourceYaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expecting = "a mapping, with the fields of a protected resource";
        let (metadata, from) = extra_field::read(deserializer, expecting, "evidence_from")?;
        let evidence_from = match from {
            None | Some(EvidenceFromYaml::Peer) => None,
            Some(EvidenceFromYaml::Header) => Some(EvidenceSource { via: Vec::new(), header: true }),
            Some(EvidenceFromYaml::Via(via)) => Some(EvidenceSource { via, header: false }),
        };
        Ok(Self { metadata: ResourceMetadata { evidence_from, ..metadata } })
    }
}

impl Serialize for ResourceYaml {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Printed<'a> {
            #[serde(flatten)]
            metadata: &'a ResourceMetadata,
            #[serde(skip_serializing_if = "Option::is_none")]
            evidence_from: Option<&'static str>,
        }
        let (evidence_from, printed) = match &self.metadata.evidence_from {
            None => (Some("peer"), None),
            Some(EvidenceSource { header: true, .. }) => (Some("header"), None),
            via @ Some(EvidenceSource { header: false, .. }) => (None, via.clone()),
        };
        let metadata = &ResourceMetadata { evidence_from: printed, ..self.metadata.clone() };
        Printed { metadata, evidence_from }.serialize(serializer)
    }
}

/// The word `peer` or `header`, or a mapping `{via: [SPIFFE IDs]}`.
enum EvidenceFromYaml {
    Peer,
    Header,
    Via(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GatewaysYaml {
    via: Vec<String>,
}

impl<'de> Deserialize<'de> for EvidenceFromYaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = EvidenceFromYaml;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("evidence_from: peer, header, or {via: [SPIFFE IDs of gateways]}")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<EvidenceFromYaml, E> {
                match word {
                    "peer" => Ok(EvidenceFromYaml::Peer),
                    "header" => Ok(EvidenceFromYaml::Header),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(word), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, mapping: A) -> Result<EvidenceFromYaml, A::Error> {
                let GatewaysYaml { via } = GatewaysYaml::deserialize(MapAccessDeserializer::new(mapping))?;
                Ok(EvidenceFromYaml::Via(via))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::Document as _;
    use crate::cli::documents;
    use crate::cli::documents::Record;
    use crate::proto::EvidenceFrom;
    use crate::proto::ProtectedResource;
    use crate::proto::Route;

    const ORDERS: &str = r#"audience: https://orders.shop.internal
scope: "orders.read orders.write"
routes:
- {methods: [GET], path: "/orders/{id}", scope: orders.read}
- {methods: [POST], path: /orders, scope: orders.write}
- {path: /healthz, public: true}
least_evidence: certificate
evidence_from: {via: [spiffe://prod.example/gateway]}
trust_domains: [prod.example]
mode: report
report_header: true
remove_authorization: true
destination_principals: [spiffe://prod.example/ns/shop/sa/orders]
authorities: [orders.shop.internal]
owner: team-shop
max_staleness: 2m
"#;

    fn documents(text: &str) -> Result<Vec<ResourceYaml>, crate::yaml::YamlError> {
        documents::documents(text)
    }

    fn message(text: &str) -> ProtectedResource {
        documents(text).unwrap().remove(0).metadata.message(String::new())
    }

    #[test]
    fn a_document_becomes_the_message_of_the_same_names() {
        let route = |methods: &[&str], path: &str, scope: &str, public| Route {
            methods: methods.iter().map(|&method| method.to_owned()).collect(),
            path: path.to_owned(),
            scope: scope.to_owned(),
            public,
            ..Route::default()
        };
        let expected = ProtectedResource {
            audience: "https://orders.shop.internal".to_owned(),
            scope: "orders.read orders.write".to_owned(),
            routes: vec![
                route(&["GET"], "/orders/{id}", "orders.read", false),
                route(&["POST"], "/orders", "orders.write", false),
                route(&[], "/healthz", "", true),
            ],
            least_evidence: "certificate".to_owned(),
            evidence_from: Some(EvidenceFrom { via: vec!["spiffe://prod.example/gateway".to_owned()], header: false }),
            trust_domains: vec!["prod.example".to_owned()],
            mode: "report".to_owned(),
            report_header: true,
            remove_authorization: true,
            destination_principals: vec!["spiffe://prod.example/ns/shop/sa/orders".to_owned()],
            authorities: vec!["orders.shop.internal".to_owned()],
            owner: "team-shop".to_owned(),
            max_staleness: Some(prost_types::Duration { seconds: 120, nanos: 0 }),
            ..ProtectedResource::default()
        };
        assert_eq!(message(ORDERS), expected);
    }

    #[test]
    fn what_is_printed_can_be_applied_again() {
        let shortest = "audience: urn:orders\n";
        let by_header = "audience: urn:orders\nevidence_from: header\n";
        for text in [ORDERS, shortest, by_header] {
            let printed = Record::<ResourceYaml>::read(ProtectedResource { etag: "7".to_owned(), ..message(text) });
            let printed = printed.unwrap().to_yaml().unwrap();
            assert!(printed.starts_with("# etag: 7\n"), "{printed}");
            assert_eq!(message(&printed), message(text), "{printed}");
            assert_eq!(printed.matches("evidence_from:").count(), 1, "{printed}");
        }
    }

    #[test]
    fn evidence_is_from_the_peer_the_header_or_via_gateways() {
        let from = |text: &str| documents(&format!("audience: urn:orders\nevidence_from: {text}\n"));
        for peer in ["peer", "'peer'"] {
            assert_eq!(from(peer).unwrap()[0].metadata.evidence_from, None);
        }
        assert!(matches!(&from("{via: [a, b]}").unwrap()[0].metadata.evidence_from, Some(two) if two.via.len() == 2));
        let by_header = EvidenceSource { via: Vec::new(), header: true };
        for header in ["header", "'header'"] {
            assert_eq!(from(header).unwrap()[0].metadata.evidence_from.as_ref(), Some(&by_header));
        }
        for refused in [
            "Peer",
            "Header",
            "{header: true}",
            "via",
            "[a]",
            "true",
            "''",
            "{}",
            "{via: a}",
            "{from: [a]}",
            "{via: [a], peer: true}",
        ] {
            let error = from(refused).unwrap_err().to_string();
            assert!(error.contains("line 2"), "{refused}: {error}");
        }
        assert!(from("gateway").unwrap_err().to_string().contains("expected evidence_from: peer, header, or {via: "));
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_line() {
        let error = |from: &str, to: &str| documents(&ORDERS.replace(from, to)).unwrap_err().to_string();
        let top = error("owner", "onwer");
        assert!(top.contains("unknown field `onwer`") && top.contains("line 15"), "{top}");
        let in_a_route = error("public: true", "open: true");
        assert!(in_a_route.contains("unknown field `open`") && in_a_route.contains("line 6"), "{in_a_route}");
        assert!(error("audience: https://orders.shop.internal", "").contains("missing field `audience`"));
        assert!(error("report_header: true", "report_header: maybe").contains("report_header"));
    }
}
