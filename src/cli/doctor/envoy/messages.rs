//! The messages of a configuration that matter, wherever they are: in a bootstrap, a dump, or a file of xDS resources.

use serde_json::Value;

use crate::cli::doctor::envoy::document::field;
use crate::cli::doctor::envoy::document::list;
use crate::cli::doctor::envoy::document::text;

/// A message, and the name of the listener that it belongs to.
pub(in crate::cli::doctor::envoy) struct Found<'a> {
    pub(in crate::cli::doctor::envoy) listener: Option<&'a str>,
    pub(in crate::cli::doctor::envoy) body: &'a Value,
}

/// The messages by their types.
#[derive(Default)]
pub(in crate::cli::doctor::envoy) struct Messages<'a> {
    /// `HttpConnectionManager`.
    pub(in crate::cli::doctor::envoy) managers: Vec<Found<'a>>,
    /// `DownstreamTlsContext`.
    pub(in crate::cli::doctor::envoy) downstream_tls: Vec<Found<'a>>,
    /// `ExtAuthz`.
    pub(in crate::cli::doctor::envoy) checks: Vec<Found<'a>>,
    clusters: Vec<&'a Value>,
}

impl<'a> Messages<'a> {
    pub(in crate::cli::doctor::envoy) fn of(documents: &'a [Value]) -> Self {
        let mut messages = Self::default();
        for document in documents {
            messages.visit(None, document);
        }
        messages
    }

    /// The cluster of this name.
    pub(in crate::cli::doctor::envoy) fn cluster(&self, name: &str) -> Option<&'a Value> {
        self.clusters.iter().copied().find(|cluster| text(cluster, "name") == Some(name))
    }

    fn visit(&mut self, listener: Option<&'a str>, value: &'a Value) {
        match value {
            Value::Object(members) => {
                let is_listener = ["filter_chains", "default_filter_chain", "listener_filters"]
                    .iter()
                    .any(|name| field(value, name).is_some());
                let listener = if is_listener { text(value, "name").or(listener) } else { listener };
                if let Some((kind, body)) = typed(value) {
                    match kind {
                        "HttpConnectionManager" => self.managers.push(Found { listener, body }),
                        "DownstreamTlsContext" => self.downstream_tls.push(Found { listener, body }),
                        "ExtAuthz" => self.checks.push(Found { listener, body }),
                        _ => {}
                    }
                }
                if is_cluster(value) {
                    self.clusters.push(value);
                }
                members.values().for_each(|member| self.visit(listener, member));
            }
            Value::Array(entries) => entries.iter().for_each(|entry| self.visit(listener, entry)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// The name of a message's type without its package, and the message. A `TypedStruct` (xDS) wraps it.
pub(in crate::cli::doctor::envoy) fn typed(value: &Value) -> Option<(&str, &Value)> {
    let name = |url: &'_ str| url.rfind(['.', '/']).map_or(0, |last| last + 1);
    let url = value.get("@type")?.as_str()?;
    let kind = url.get(name(url)..)?;
    if kind == "TypedStruct" {
        let url = text(value, "type_url")?;
        return Some((url.get(name(url)..)?, value.get("value")?));
    }
    Some((kind, value))
}

/// Whether a message of this type is in the value, at any depth.
pub(in crate::cli::doctor::envoy) fn holds(kind: &str, value: &Value) -> bool {
    find(value, &|found, _| found == kind)
}

fn find(value: &Value, wanted: &impl Fn(&str, &Value) -> bool) -> bool {
    if typed(value).is_some_and(|(kind, body)| wanted(kind, body)) {
        return true;
    }
    match value {
        Value::Object(members) => members.values().any(|member| find(member, wanted)),
        Value::Array(entries) => entries.iter().any(|entry| find(entry, wanted)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Whether the value is a cluster, by its type or by the fields that only clusters have.
fn is_cluster(value: &Value) -> bool {
    let fields = ["load_assignment", "eds_cluster_config", "lb_policy", "transport_socket_matches", "cluster_type"];
    text(value, "name").is_some()
        && (typed(value).is_some_and(|(kind, _)| kind == "Cluster")
            || fields.iter().any(|name| field(value, name).is_some()))
}

/// Whether a cluster's connections present a client certificate, from a file or by SDS.
pub(in crate::cli::doctor::envoy) fn presents_certificate(cluster: &Value) -> bool {
    let sockets = field(cluster, "transport_socket").into_iter().chain(list(cluster, "transport_socket_matches"));
    let presents = |kind: &str, body: &Value| {
        let common = field(body, "common_tls_context");
        let sources = ["tls_certificates", "tls_certificate_sds_secret_configs"];
        let provider = "tls_certificate_provider_instance";
        kind == "UpstreamTlsContext"
            && common.is_some_and(|common| {
                sources.iter().any(|source| !list(common, source).is_empty()) || field(common, provider).is_some()
            })
    };
    sockets.into_iter().any(|socket| find(socket, &presents))
}
