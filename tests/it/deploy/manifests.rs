//! The manifests in `deploy/` against the definitions of their kinds, as a Kubernetes API server holds them to those: the
//! structure, unknown fields, values, and the rules in CEL. What Istio reads as text is held to its protobuf messages.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::deploy::examples::file;
use crate::deploy::examples::read;
use crate::support::process::Finished;
use crate::support::process::run;
use crate::support::tools;

/// The definitions, by Go module and file in it.
const DEFINITIONS: [(&str, &[&str]); 3] = [
    ("github.com/cert-manager/cert-manager@v1.19.0", &["deploy/crds/cert-manager.io_certificates.yaml"]),
    ("istio.io/api@v1.31.1", &["kubernetes/customresourcedefinitions.gen.yaml"]),
    (
        "github.com/envoyproxy/gateway@v1.9.1",
        &[
            "charts/gateway-helm/charts/crds/crds/gatewayapi-crds.yaml",
            "charts/gateway-helm/charts/crds/crds/generated/gateway.envoyproxy.io_clienttrafficpolicies.yaml",
            "charts/gateway-helm/charts/crds/crds/generated/gateway.envoyproxy.io_envoyproxies.yaml",
            "charts/gateway-helm/charts/crds/crds/generated/gateway.envoyproxy.io_securitypolicies.yaml",
        ],
    ),
];

/// The manifests, and how many objects each has.
const MANIFESTS: [(&str, usize); 7] = [
    ("linkerd/certificates.yaml", 2),
    ("istio/checks.yaml", 3),
    ("istio/ingress-gateway.yaml", 3),
    ("istio/local-socket.yaml", 2),
    ("istio/waypoint.yaml", 2),
    ("envoy-gateway/gateway.yaml", 4),
    ("envoy-gateway/checks.yaml", 3),
];

/// Files that are held to something else, in `examples.rs`, `mesh_certificates.rs`, `consul.rs` or here.
const OTHERS: [&str; 17] = [
    "consul/clients.yaml",
    "consul/intentions.hcl",
    "consul/lanyard.hcl",
    "consul/lanyard.yaml",
    "consul/orders.hcl",
    "consul/resources.yaml",
    "linkerd/clients.yaml",
    "linkerd/lanyard.yaml",
    "linkerd/resources.yaml",
    "istio/mesh-config.yaml",
    "istio/proxy-config.yaml",
    "istio/resources.yaml",
    "istio/clients.yaml",
    "istio/lanyard.yaml",
    "envoy-gateway/resources.yaml",
    "envoy-gateway/clients.yaml",
    "envoy-gateway/lanyard.yaml",
];

/// Holds files to what they are for; `None` if go is to be skipped.
fn held(kind: &str, files: &[PathBuf]) -> Option<Finished> {
    if kind == "crds" {
        return held_to_definitions(&in_modules(&DEFINITIONS)?, files);
    }
    Some(run(tools::go("manifests")?.args(["run", ".", kind]).args(files)))
}

/// Files of Go modules; `None` if go is to be skipped.
pub fn in_modules(modules: &[(&str, &[&str])]) -> Option<Vec<PathBuf>> {
    let mut files = Vec::new();
    for (name, paths) in modules {
        let folder = tools::go_module(name)?;
        files.extend(paths.iter().map(|path| folder.join(path)));
    }
    Some(files)
}

/// Holds files to definitions of custom resources; `None` if go is to be skipped.
pub fn held_to_definitions(definitions: &[PathBuf], files: &[PathBuf]) -> Option<Finished> {
    Some(run(tools::go("manifests")?.args(["run", ".", "crds"]).args(definitions).arg("--").args(files)))
}

/// Files with a text changed in each, in a folder.
fn changed(folder: &Path, changes: &[(&str, &str, &str)]) -> Vec<PathBuf> {
    let write = |(number, (name, from, to)): (usize, &(&str, &str, &str))| {
        let before = read(name);
        assert!(before.contains(from), "{name} has no '{from}'");
        let path = folder.join(format!("{number}.yaml"));
        fs::write(&path, before.replacen(from, to, 1)).unwrap();
        path
    };
    changes.iter().enumerate().map(write).collect()
}

/// Each of these changes is complained about, in these words.
fn each_refused(kind: &str, changes: &[(&str, &str, &str, &str)]) {
    let folder = TempDir::new().unwrap();
    let texts: Vec<(&str, &str, &str)> = changes.iter().map(|&(name, from, to, _)| (name, from, to)).collect();
    let Some(finished) = held(kind, &changed(folder.path(), &texts)) else { return };
    assert_eq!(finished.code, Some(1), "{finished:?}");
    for (number, (name, from, to, complaint)) in changes.iter().enumerate() {
        let beginning = folder.path().join(format!("{number}.yaml"));
        let said = |line: &&str| line.starts_with(beginning.to_str().unwrap()) && line.contains(complaint);
        let found = finished.stdout.lines().find(said);
        assert!(found.is_some(), "{name}: '{to}' for '{from}' is let by: {finished:?}");
    }
}

#[test]
fn every_file_for_a_mesh_is_held_to_something() {
    let mut known: Vec<String> = MANIFESTS.iter().map(|(name, _)| *name).chain(OTHERS).map(ToOwned::to_owned).collect();
    let mut there: Vec<String> = ["istio", "envoy-gateway", "consul", "linkerd"]
        .iter()
        .flat_map(|folder| fs::read_dir(file(folder)).unwrap().map(move |entry| (folder, entry.unwrap().file_name())))
        .map(|(folder, name)| format!("{folder}/{}", name.to_str().unwrap()))
        .collect();
    known.sort_unstable();
    there.sort_unstable();
    assert_eq!(there, known);
}

#[test]
fn an_api_server_would_take_every_manifest() {
    let files: Vec<PathBuf> = MANIFESTS.iter().map(|(name, _)| file(name)).collect();
    let Some(finished) = held("crds", &files) else { return };
    let objects: usize = MANIFESTS.iter().map(|(_, count)| count).sum();
    assert_eq!(finished.ok(), format!("looked at {objects}\n"));
}

#[test]
fn a_manifest_that_is_a_little_wrong_is_told_from_one_that_is_right() {
    each_refused(
        "crds",
        &[
            ("istio/checks.yaml", "mode: ISTIO_MUTUAL", "mode: ISTIO_MUTAL", "Unsupported value"),
            ("istio/checks.yaml", "subjectAltNames", "subjectAltName", "unknown field"),
            ("istio/checks.yaml", "rules: [{}]", "rules: [{}]\n  failOpen: false", "unknown field"),
            ("istio/checks.yaml", "port: {number: 8443}", "port: {number: 8443s}", "must be of type integer"),
            ("envoy-gateway/checks.yaml", "failOpen:", "failureModeAllow:", "unknown field"),
            ("envoy-gateway/checks.yaml", "statusOnError: 503", "statusOnError: 200", "Unsupported value"),
            ("envoy-gateway/checks.yaml", "kind: SecurityPolicy", "kind: SecurityPolicies", "no definition"),
            // Rules in CEL.
            ("istio/local-socket.yaml", "unix:///run", "unix://run", "UDS must be an absolute path"),
            (
                "istio/local-socket.yaml",
                "- address: unix",
                "- ports: {grpc: 80}\n    address: unix",
                "UDS may not include ports",
            ),
            ("envoy-gateway/checks.yaml", "type: Value,", "type: ValueRef,", "Exactly one of value or valueRef"),
            ("envoy-gateway/gateway.yaml", "mode: SanitizeSet", "mode: Sanitize", "certDetailsToAdd can only be set"),
        ],
    );
}

#[test]
fn istio_would_take_its_mesh_configuration_and_the_annotation() {
    let files = |name: &str| vec![file(&format!("istio/{name}.yaml"))];
    for kind in ["mesh-config", "proxy-config"] {
        let Some(finished) = held(kind, &files(kind)) else { return };
        assert_eq!(finished.ok(), "looked at 1\n");
    }
    let mesh = "istio/mesh-config.yaml";
    each_refused(
        "mesh-config",
        &[
            (mesh, "failOpen", "failureModeAllow", "unknown field"),
            (mesh, "statusOnError: \"503\"", "statusOnError: 503", "invalid value for string"),
            (mesh, "0.25s", "250ms", "Duration"),
        ],
    );
    let proxy = "istio/proxy-config.yaml";
    each_refused(
        "proxy-config",
        &[
            (proxy, "SANITIZE_SET\n", "SanitizeSet\n", "enum"),
            (proxy, "cert: true", "certificate: true", "unknown field"),
        ],
    );
}
