//! The chart over every file in `helm/examples`: Helm finds nothing to complain of, and an API server would take what comes
//! out, in three versions of Kubernetes, custom resources too.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::deploy::manifests::held_to_definitions;
use crate::deploy::manifests::in_modules;
use crate::support::helm;
use crate::support::helm::Rendered;
use crate::support::process::Finished;
use crate::support::process::run;
use crate::support::server::in_crate;
use crate::support::tools;
use crate::support::yaml;

/// What manifests are held to.
pub(super) const KUBERNETES: [&str; 3] = ["1.29", "1.33", "1.37"];

/// The definitions of custom resources: of the Prometheus operator's a copy is kept here, cert-manager's is in its Go module.
/// `None` if go is to be skipped.
fn definitions() -> Option<Vec<PathBuf>> {
    let certificate = ["deploy/crds/cert-manager.io_certificates.yaml"];
    let mut files = in_modules(&[("github.com/cert-manager/cert-manager@v1.19.0", &certificate)])?;
    files.extend(["servicemonitors.yaml", "prometheusrules.yaml"].map(|name| in_crate("tests/it/helm").join(name)));
    Some(files)
}

/// Whether its definition is not one of Kubernetes' own.
pub(super) fn is_custom(object: &Value) -> bool {
    let group = object["apiVersion"].as_str().unwrap().split_once('/').map_or("", |(group, _)| group);
    group.contains('.') && !group.ends_with(".k8s.io")
}

/// One file an object, under names that tell of it.
pub(super) fn written(folder: &Path, objects: &[&Value]) -> Vec<PathBuf> {
    let write = |(number, object): (usize, &&Value)| {
        let path = folder.join(format!("{number}-{}.yaml", object["kind"].as_str().unwrap()));
        fs::write(&path, yaml::to_string(object)).unwrap();
        path
    };
    objects.iter().enumerate().map(write).collect()
}

/// Holds files to the schemas of a version of Kubernetes, unknown fields refused; `None` if helm is to be skipped.
pub(super) fn held_to_kubernetes(version: &str, files: &[PathBuf]) -> Option<Finished> {
    Some(run(tools::kubernetes_validate()?.args(["--strict", "--kubernetes-version", version]).args(files)))
}

#[test]
fn helm_lint_has_no_complaint_about_any_example() {
    let examples = helm::examples();
    assert!(examples.len() >= 8, "{examples:?}");
    for example in &examples {
        let Some(finished) = helm::lint(example) else { return };
        let said = finished.ok();
        assert!(said.contains("1 chart(s) linted, 0 chart(s) failed") && !said.contains("[WARNING]"), "{said}");
    }
}

#[test]
fn three_versions_of_kubernetes_would_take_every_manifest_of_every_example() {
    for version in KUBERNETES {
        let folder = TempDir::new().unwrap();
        let mut files = Vec::new();
        for example in &helm::examples() {
            let Some(rendered) = Rendered::of(example, &["--kube-version", version]) else { return };
            let own: Vec<&Value> = rendered.objects.iter().filter(|object| !is_custom(object)).collect();
            let folder = folder.path().join(&rendered.name);
            fs::create_dir(&folder).unwrap();
            files.extend(written(&folder, &own));
        }
        let Some(finished) = held_to_kubernetes(version, &files) else { return };
        // A kind that it does not know is none that it complains of.
        let passed = format!("against version {version}");
        let passed = |line: &&str| line.starts_with("INFO ") && line.ends_with(&passed);
        let said = finished.ok();
        assert_eq!(said.lines().filter(passed).count(), files.len(), "{said}");
        assert_eq!(said.lines().count(), files.len(), "{said}");
    }
}

#[test]
fn the_operators_definitions_would_take_every_custom_resource_of_every_example() {
    let Some(all) = helm::all_rendered() else { return };
    let objects: Vec<&Value> = all.iter().flat_map(|rendered| &rendered.objects).filter(|one| is_custom(one)).collect();
    for kind in ["ServiceMonitor", "PrometheusRule", "Certificate"] {
        assert!(objects.iter().any(|object| object["kind"] == kind), "no example has a {kind}");
    }
    let folder = TempDir::new().unwrap();
    let Some(definitions) = definitions() else { return };
    let Some(finished) = held_to_definitions(&definitions, &written(folder.path(), &objects)) else { return };
    assert_eq!(finished.ok(), format!("looked at {}\n", objects.len()));
}

/// A rendered object of this kind, with something put at a JSON pointer whose parent is there.
fn broken(all: &[Rendered], kind: &str, pointer: &str, value: Value) -> Value {
    let object = all.iter().find_map(|rendered| rendered.all(kind).next());
    let mut object = object.unwrap_or_else(|| panic!("no {kind}")).clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("{kind} has no {parent}"));
    parent.as_object_mut().unwrap().insert(key.to_owned(), value);
    object
}

#[test]
fn a_manifest_that_is_a_little_wrong_is_refused_by_every_version_of_kubernetes() {
    let Some(all) = helm::all_rendered() else { return };
    let container = "/spec/template/spec/containers/0";
    let wrong = [
        broken(&all, "StatefulSet", "/spec/replica", 1.into()),
        broken(&all, "StatefulSet", "/spec/replicas", "one".into()),
        broken(&all, "StatefulSet", &format!("{container}/securityContext/readonlyRootFilesystem"), true.into()),
        broken(&all, "Service", "/spec/ports/0/targetPort", true.into()),
        broken(&all, "NetworkPolicy", "/spec/ingres", Value::Array(Vec::new())),
        broken(&all, "PodDisruptionBudget", "/spec/maxUnavailable", Value::Array(Vec::new())),
        broken(&all, "Job", "/spec/template/spec/restartpolicy", "Never".into()),
        broken(&all, "ConfigMap", "/data/number", 1.into()),
    ];
    let folder = TempDir::new().unwrap();
    let files = written(folder.path(), &wrong.iter().collect::<Vec<_>>());
    for version in KUBERNETES {
        let Some(finished) = held_to_kubernetes(version, &files) else { return };
        assert_eq!(finished.code, Some(1), "{finished:?}");
        for file in &files {
            let refused = format!("ERROR {} did not validate", file.display());
            assert!(finished.stdout.lines().any(|line| line.starts_with(&refused)), "{}: {finished:?}", file.display());
        }
    }
}

#[test]
fn a_custom_resource_that_is_a_little_wrong_is_refused() {
    let Some(all) = helm::all_rendered() else { return };
    let wrong = [
        (broken(&all, "ServiceMonitor", "/spec/endpoint", Value::Array(Vec::new())), "unknown field spec.endpoint"),
        (
            broken(&all, "ServiceMonitor", "/spec/endpoints/0/interval", "30 seconds".into()),
            "spec.endpoints[0].interval",
        ),
        (
            broken(
                &all,
                "PrometheusRule",
                "/spec/groups",
                json!([{"name": "a", "rules": [{"expr": "1", "for": "soon"}]}]),
            ),
            "spec.groups[0].rules[0].for",
        ),
        (
            broken(
                &all,
                "PrometheusRule",
                "/spec/groups",
                json!([{"name": "a", "rules": [{"expr": "1", "severity": "x"}]}]),
            ),
            "unknown field spec.groups[0].rules[0].severity",
        ),
        (broken(&all, "Certificate", "/spec/dnsName", Value::Array(Vec::new())), "unknown field spec.dnsName"),
        (broken(&all, "Certificate", "/spec/secretName", 1.into()), "spec.secretName"),
    ];
    let folder = TempDir::new().unwrap();
    let files = written(folder.path(), &wrong.iter().map(|(object, _)| object).collect::<Vec<_>>());
    let Some(definitions) = definitions() else { return };
    let Some(finished) = held_to_definitions(&definitions, &files) else { return };
    assert_eq!(finished.code, Some(1), "{finished:?}");
    for (file, (_, complaint)) in files.iter().zip(&wrong) {
        let said = |line: &str| line.starts_with(file.to_str().unwrap()) && line.contains(complaint);
        assert!(finished.stdout.lines().any(said), "'{complaint}' of {}: {finished:?}", file.display());
    }
}
