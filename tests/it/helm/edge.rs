//! Edges: a server on each node that changes nothing, with a socket for the proxies there.

use std::fs;
use std::path::PathBuf;

use lanyard::config;
use lanyard::config::StoreConfig;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::helm::manifests::KUBERNETES;
use crate::helm::manifests::held_to_kubernetes;
use crate::helm::manifests::is_custom;
use crate::helm::manifests::written;
use crate::support::helm;
use crate::support::helm::Rendered;
use crate::support::helm::list;
use crate::support::yaml;

/// The edges of a release: one resource, one proxy.
const EDGE: [&str; 6] = [
    "--set",
    "edge.enabled=true",
    "--set-json",
    r#"edge.resources=["https://orders.prod.example"]"#,
    "--set-json",
    r#"edge.proxies=[{"uid": 1337, "resources": ["https://orders.prod.example"]}]"#,
];

/// The examples with each source of certificates, and what edges need besides there.
const SOURCES: [(&str, &[&str]); 3] =
    [("spiffe-csi", &[]), ("cert-manager", &[]), ("secret", &["--set", "edge.certificate.secret=edge-tls"])];

fn with_edges(example: &str, flags: &[&str]) -> Option<Rendered> {
    Rendered::of(&helm::example(example), &[&EDGE, flags].concat())
}

fn configuration(rendered: &Rendered, name: &str) -> Value {
    let file = &rendered.named("ConfigMap", name).unwrap()["data"]["lanyard.yaml"];
    yaml::document(file.as_str().unwrap()).unwrap()
}

/// The name of the example's server; that of its edges has `-edge` besides.
fn server_name(rendered: &Rendered) -> String {
    rendered.server()["metadata"]["name"].as_str().unwrap().to_owned()
}

#[test]
fn without_edges_nothing_of_them_is_rendered() {
    let Some(all) = helm::all_rendered() else { return };
    for rendered in &all {
        assert!(!rendered.text.contains("DaemonSet") && !rendered.text.contains("-edge"), "{}", rendered.name);
    }
}

#[test]
fn the_edges_read_the_configuration_that_is_rendered_for_them() {
    for (example, flags) in SOURCES {
        let Some(rendered) = with_edges(example, flags) else { return };
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("lanyard.yaml");
        let map = rendered.named("ConfigMap", &format!("{}-edge", server_name(&rendered))).unwrap();
        fs::write(&path, map["data"]["lanyard.yaml"].as_str().unwrap()).unwrap();
        let read = config::load(&path).unwrap_or_else(|error| panic!("{example}: {error}"));
        assert!(matches!(read.store, StoreConfig::Upstream(_)), "{example}: {:?}", read.store);
    }
}

#[test]
fn an_edge_has_no_rights_no_keys_and_of_the_node_one_directory() {
    for (example, flags) in SOURCES {
        let Some(rendered) = with_edges(example, flags) else { return };
        let sets: Vec<&Value> = rendered.all("DaemonSet").collect();
        let [set] = sets.as_slice() else { panic!("{example}: {}", sets.len()) };
        let pod = &set["spec"]["template"]["spec"];
        let security = &pod["securityContext"];
        assert_eq!((&security["runAsNonRoot"], &security["runAsUser"]), (&json!(true), &json!(65532)), "{example}");
        // The socket is given to the group of the proxies, of which the edge must be one.
        assert_eq!(security["supplementalGroups"], json!([1337]), "{example}");
        assert_eq!(pod["automountServiceAccountToken"], false, "{example}");
        assert!(["hostNetwork", "hostPID", "hostIPC", "hostUsers"].iter().all(|host| pod[host].is_null()), "{example}");
        let [container] = list(&pod["containers"]) else { panic!("{example}") };
        assert_eq!(container["args"], json!(["edge", "--config", "/etc/lanyard/lanyard.yaml"]), "{example}");
        assert_eq!(container["securityContext"]["capabilities"], json!({"drop": ["ALL"]}), "{example}");
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true, "{example}");
        let volumes = list(&pod["volumes"]);
        let of_node: Vec<&Value> = volumes.iter().filter(|volume| !volume["hostPath"].is_null()).collect();
        let directory = json!({"name": "socket", "hostPath": {"path": "/run/lanyard", "type": "Directory"}});
        assert_eq!(of_node, [&directory], "{example}");
        assert!(volumes.iter().all(|volume| volume["name"] != "keys" && volume["name"] != "data"), "{example}");
        // A pod of the old version has left the socket before the next one binds it.
        assert_eq!(set["spec"]["updateStrategy"]["rollingUpdate"], json!({"maxSurge": 0, "maxUnavailable": 1}));
        let selector = &set["spec"]["selector"]["matchLabels"];
        assert_eq!(selector, &set["spec"]["template"]["metadata"]["labels"], "{example}");
        assert_ne!(selector, &rendered.server()["spec"]["selector"]["matchLabels"], "{example}");
    }
}

#[test]
fn the_servers_and_the_edges_are_configured_for_each_other() {
    for (example, flags) in SOURCES {
        let Some(rendered) = with_edges(example, flags) else { return };
        let server = server_name(&rendered);
        let edge = format!("{server}-edge");
        let (server_config, edge_config) = (configuration(&rendered, &server), configuration(&rendered, &edge));
        let [granted] = list(&server_config["roles"]["edges"]) else { panic!("{example}: {server_config}") };
        let id = granted["spiffe_id"].as_str().unwrap();
        assert!(id.ends_with(&format!("/sa/{edge}")), "{id}");
        assert_eq!(granted["resources"], json!(["https://orders.prod.example"]), "{example}");
        let account = &rendered.all("DaemonSet").next().unwrap()["spec"]["template"]["spec"]["serviceAccountName"];
        assert_eq!(account, &Value::from(edge.clone()), "{example}");
        assert!(rendered.named("ServiceAccount", &edge).is_some(), "{example}");
        let local = json!({
            "unix": "/socket/local.sock",
            "group": 1337,
            "proxies": [{"uid": 1337, "resources": ["https://orders.prod.example"]}],
        });
        assert_eq!(edge_config["local"], local, "{example}");
        for key in ["keys", "roles"] {
            assert!(edge_config[key].is_null(), "{example}: {key}");
        }
        for key in ["issuer", "mtls_url", "trust"] {
            assert_eq!(edge_config[key], server_config[key], "{example}: {key}");
        }
        let upstream = &edge_config["store"]["upstream"];
        let [endpoint] = list(&upstream["endpoints"]) else { panic!("{upstream}") };
        assert_eq!(endpoint, &Value::from(format!("https://{server}.{}.svc.cluster.local:8443", rendered.namespace)));
        if example == "spiffe-csi" {
            assert_eq!(upstream["certificate"], "workload_api");
            assert!(upstream["server_spiffe_id"].as_str().unwrap().ends_with(&format!("/sa/{server}")), "{upstream}");
        } else {
            assert_eq!(upstream["ca"], "/var/run/lanyard/trust/ca.pem", "{example}");
        }
        if example == "cert-manager" {
            assert_eq!(rendered.named("Certificate", &edge).unwrap()["spec"]["uris"], json!([id]));
        }
        // The edges reach the servers, and nobody the edges.
        let policy = rendered.named("NetworkPolicy", &server).unwrap();
        let admitted = |rule: &&Value| rule.to_string().contains("\"app.kubernetes.io/component\":\"edge\"");
        assert_eq!(list(&policy["spec"]["ingress"]).iter().filter(admitted).count(), 1, "{example}");
        let own = rendered.named("NetworkPolicy", &edge).unwrap();
        assert!(list(&own["spec"]["ingress"]).iter().all(|rule| rule["ports"][0]["port"] == "ops"), "{example}");
    }
}

#[test]
fn three_versions_of_kubernetes_would_take_the_edges() {
    for version in KUBERNETES {
        let folder = TempDir::new().unwrap();
        let mut files: Vec<PathBuf> = Vec::new();
        for (example, flags) in SOURCES {
            let Some(rendered) = with_edges(example, &[flags, &["--kube-version", version]].concat()) else { return };
            let own: Vec<&Value> = rendered.objects.iter().filter(|object| !is_custom(object)).collect();
            let folder = folder.path().join(example);
            fs::create_dir(&folder).unwrap();
            files.extend(written(&folder, &own));
        }
        let Some(finished) = held_to_kubernetes(version, &files) else { return };
        assert_eq!(finished.ok().lines().filter(|line| line.starts_with("INFO ")).count(), files.len());
    }
}

#[test]
fn values_of_edges_that_contradict_each_other_are_refused_with_the_reason() {
    let proxies = |entries: &str| format!("edge.proxies={entries}");
    let (twice, foreign, nobody) = (
        proxies(
            r#"[{"uid": 1, "resources": ["https://orders.prod.example"]}, {"uid": 1, "resources": ["https://orders.prod.example"]}]"#,
        ),
        proxies(r#"[{"uid": 1, "resources": ["https://other.example"]}]"#),
        proxies("[]"),
    );
    let negative = proxies(r#"[{"uid": -1, "resources": ["https://orders.prod.example"]}]"#);
    for (example, wrong, complaint) in [
        ("spiffe-csi", vec!["--set-json", "edge.resources=[]"], "edge.resources: name the audiences"),
        ("spiffe-csi", vec!["--set-json", &nobody], "edge.proxies: name the users"),
        ("spiffe-csi", vec!["--set-json", &twice], "two entries are for uid 1"),
        ("spiffe-csi", vec!["--set-json", &foreign], "https://other.example is none of edge.resources"),
        ("spiffe-csi", vec!["--set-json", &negative], "edge"),
        ("spiffe-csi", vec!["--set", "edge.certificate.secret=mine"], "goes with certificates.secret alone"),
        ("secret", vec![], "edge.certificate.secret: name the Secret"),
        ("spiffe-csi", vec!["--set", "edge.config.keys.algorithm=ES256"], "edge.config.keys"),
        ("spiffe-csi", vec!["--set", "edge.config.local.unix=/a"], "edge.config.local"),
        ("spiffe-csi", vec!["--set", "edge.socketDirectory=run"], "socketDirectory"),
        ("spiffe-csi", vec!["--set", "config.local.unix=/a"], "config.local: no other container shares a socket"),
    ] {
        let finished = helm::template(&helm::example(example), &[&EDGE[..], &wrong].concat());
        let Some(finished) = finished else { return };
        assert_eq!(finished.code, Some(1), "{wrong:?} is let by");
        assert!(finished.stderr.contains(complaint), "not '{complaint}' of {wrong:?}: {}", finished.stderr);
    }
    // All resources at once are not contradicted by one of them.
    for right in [vec!["--set", "edge.resources={*}"], vec!["--set", "edge.config.limits.queue_delay=5ms"]] {
        assert!(with_edges("spiffe-csi", &right).is_some_and(|rendered| rendered.all("DaemonSet").count() == 1));
    }
}
