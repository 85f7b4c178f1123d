//! A protected resource as operators write it: one YAML document, under the names that the registry has. What is printed
//! can be applied again.

use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::Error;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde::de::value::MapAccessDeserializer;

use crate::authority::resources::Gateways;
use crate::authority::resources::RouteMetadata;
use crate::cli::documents::Record;
use crate::proto::EvidenceFrom;
use crate::proto::ProtectedResource;
use crate::proto::Route;

/// One protected resource. A field that is not known is refused: a misspelt restriction must not be taken for none.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, expecting = "a mapping, with the fields of a protected resource")]
pub(in crate::cli) struct ResourceYaml {
    pub(in crate::cli) audience: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    scope: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::cli) routes: Vec<RouteMetadata>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) least_evidence: Option<String>,
    #[serde(default)]
    pub(in crate::cli) evidence_from: EvidenceFromYaml,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    trust_domains: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) mode: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    report_header: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    remove_authorization: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    destination_principals: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    authorities: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) owner: Option<String>,
}

/// The word `peer`, or a mapping `{via: [SPIFFE IDs]}`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::cli) enum EvidenceFromYaml {
    #[default]
    Peer,
    Via(Gateways),
}

impl<'de> Deserialize<'de> for EvidenceFromYaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = EvidenceFromYaml;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("evidence_from: peer, or {via: [SPIFFE IDs of gateways]}")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<EvidenceFromYaml, E> {
                if word == "peer" {
                    return Ok(EvidenceFromYaml::Peer);
                }
                Err(E::invalid_value(serde::de::Unexpected::Str(word), &self))
            }

            fn visit_map<A: MapAccess<'de>>(self, mapping: A) -> Result<EvidenceFromYaml, A::Error> {
                Gateways::deserialize(MapAccessDeserializer::new(mapping)).map(EvidenceFromYaml::Via)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Serialize for EvidenceFromYaml {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Peer => serializer.serialize_str("peer"),
            Self::Via(gateways) => gateways.serialize(serializer),
        }
    }
}

impl From<ResourceYaml> for ProtectedResource {
    fn from(yaml: ResourceYaml) -> Self {
        let route = |RouteMetadata { methods, path, scope, public }| Route { methods, path, scope, public };
        Self {
            audience: yaml.audience,
            scope: yaml.scope,
            routes: yaml.routes.into_iter().map(route).collect(),
            least_evidence: yaml.least_evidence.unwrap_or_default(),
            evidence_from: match yaml.evidence_from {
                EvidenceFromYaml::Peer => None,
                EvidenceFromYaml::Via(Gateways { via }) => Some(EvidenceFrom { via }),
            },
            trust_domains: yaml.trust_domains,
            mode: yaml.mode.unwrap_or_default(),
            report_header: yaml.report_header,
            remove_authorization: yaml.remove_authorization,
            destination_principals: yaml.destination_principals,
            authorities: yaml.authorities,
            owner: yaml.owner.unwrap_or_default(),
            ..Self::default()
        }
    }
}

impl From<ProtectedResource> for Record<ResourceYaml> {
    fn from(resource: ProtectedResource) -> Self {
        let set = |text: String| (!text.is_empty()).then_some(text);
        let route = |Route { methods, path, scope, public }| RouteMetadata { methods, path, scope, public };
        let document = ResourceYaml {
            audience: resource.audience,
            scope: resource.scope,
            routes: resource.routes.into_iter().map(route).collect(),
            least_evidence: set(resource.least_evidence),
            evidence_from: match resource.evidence_from {
                None => EvidenceFromYaml::Peer,
                Some(EvidenceFrom { via }) => EvidenceFromYaml::Via(Gateways { via }),
            },
            trust_domains: resource.trust_domains,
            mode: set(resource.mode),
            report_header: resource.report_header,
            remove_authorization: resource.remove_authorization,
            destination_principals: resource.destination_principals,
            authorities: resource.authorities,
            owner: set(resource.owner),
        };
        Self {
            document,
            etag: resource.etag,
            create_time: resource.create_time.map(|time| time.to_string()),
            update_time: resource.update_time.map(|time| time.to_string()),
            created_by: resource.created_by,
            updated_by: resource.updated_by,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::documents;

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
"#;

    fn documents(text: &str) -> Result<Vec<ResourceYaml>, crate::yaml::YamlError> {
        documents::documents(text)
    }

    fn message(text: &str) -> ProtectedResource {
        documents(text).unwrap().remove(0).into()
    }

    #[test]
    fn a_document_becomes_the_message_of_the_same_names() {
        let route = |methods: &[&str], path: &str, scope: &str, public| Route {
            methods: methods.iter().map(|&method| method.to_owned()).collect(),
            path: path.to_owned(),
            scope: scope.to_owned(),
            public,
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
            evidence_from: Some(EvidenceFrom { via: vec!["spiffe://prod.example/gateway".to_owned()] }),
            trust_domains: vec!["prod.example".to_owned()],
            mode: "report".to_owned(),
            report_header: true,
            remove_authorization: true,
            destination_principals: vec!["spiffe://prod.example/ns/shop/sa/orders".to_owned()],
            authorities: vec!["orders.shop.internal".to_owned()],
            owner: "team-shop".to_owned(),
            ..ProtectedResource::default()
        };
        assert_eq!(message(ORDERS), expected);
    }

    #[test]
    fn what_is_printed_can_be_applied_again() {
        let shortest = "audience: urn:orders\n";
        for text in [ORDERS, shortest] {
            let printed = Record::from(ProtectedResource { etag: "7".to_owned(), ..message(text) }).to_yaml().unwrap();
            assert!(printed.starts_with("# etag: 7\n"), "{printed}");
            assert_eq!(message(&printed), message(text), "{printed}");
        }
    }

    #[test]
    fn evidence_is_from_the_peer_or_via_gateways() {
        let from = |text: &str| documents(&format!("audience: urn:orders\nevidence_from: {text}\n"));
        for peer in ["peer", "'peer'"] {
            assert_eq!(from(peer).unwrap()[0].evidence_from, EvidenceFromYaml::Peer);
        }
        assert!(
            matches!(&from("{via: [a, b]}").unwrap()[0].evidence_from, EvidenceFromYaml::Via(two) if two.via.len() == 2)
        );
        for refused in ["Peer", "via", "[a]", "true", "''", "{}", "{via: a}", "{from: [a]}", "{via: [a], peer: true}"] {
            let error = from(refused).unwrap_err().to_string();
            assert!(error.contains("line 2"), "{refused}: {error}");
        }
        assert!(from("gateway").unwrap_err().to_string().contains("expected evidence_from: peer, or {via: "));
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
