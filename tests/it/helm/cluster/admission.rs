//! What the chart refuses before the API server is asked, and what the API server admits of what the chart renders.

use std::collections::HashMap;
use std::fs;

use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::helm::cluster::release::Release;
use crate::support::helm;
use crate::support::helm::Rendered;
use crate::support::helm::examples;
use crate::support::kubernetes::Cluster;
use crate::support::kubernetes::Options;
use crate::support::process::text;
use crate::support::server::in_crate;

#[test]
#[ignore = "long: builds Kubernetes once; .ci/run-long runs it"]
fn long_the_chart_refuses_what_would_not_work_and_the_api_server_takes_the_nearest_that_does() {
    let Some(cluster) = Cluster::start(&Options::default()) else { return };
    let release = Release::prepare(&cluster, "secret");
    let before = release.objects();
    let admits_outside = "service.type=LoadBalancer,networkPolicy.public[0].ipBlock.cidr=0.0.0.0/0";
    for (refused, reason, nearest) in [
        (
            "podLabels.app\\.kubernetes\\.io/name=mine",
            "podLabels: app.kubernetes.io/name is one of the labels by which",
            "podLabels.example\\.com/name=mine",
        ),
        (
            "podLabels.app\\.kubernetes\\.io/component=mine",
            "podLabels: app.kubernetes.io/component is one of",
            "podLabels.app\\.kubernetes\\.io/tier=mine",
        ),
        (
            "service.type=LoadBalancer",
            "service.type is LoadBalancer, and the NetworkPolicy admits only pods",
            admits_outside,
        ),
        (
            "service.type=NodePort",
            "service.type is NodePort, and the NetworkPolicy admits only pods",
            "service.type=NodePort,networkPolicy.enabled=false",
        ),
    ] {
        let said = release.helm("install", &["--set", refused]);
        assert!(said.code == Some(1) && said.stderr.contains(reason), "{refused}: {said:?}");
        assert_eq!(release.objects(), before, "{refused}");
        // Without --wait: there is no load balancer here that would give the Service an address.
        release.helm("install", &["--set", nearest, "--no-hooks"]).ok();
        release
            .kubectl(&["wait", "--for=jsonpath={.status.readyReplicas}=1", "statefulset/lanyard", "--timeout=60s"])
            .ok();
        release.uninstall();
        release.kubectl(&["delete", "persistentvolumeclaim/data-lanyard-0"]).ok();
    }
}

#[test]
#[ignore = "long: builds Kubernetes once; .ci/run-long runs it"]
fn long_the_api_server_admits_every_object_and_pod_of_every_example() {
    let Some(cluster) = Cluster::start(&Options { cert_manager: true, ..Options::default() }) else { return };
    for definition in ["servicemonitors.yaml", "prometheusrules.yaml"] {
        cluster.kubectl(&["create", "--filename", text(&in_crate("tests/it/helm").join(definition))]).ok();
    }
    let namespace = "admission";
    let restricted = ["enforce", "warn"].map(|what| (format!("pod-security.kubernetes.io/{what}"), "restricted"));
    let metadata = json!({"name": namespace, "labels": HashMap::from(restricted)});
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}));
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let admitted = |objects: &[Value]| {
        let file = folder.path().join("objects.json");
        fs::write(&file, json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()).unwrap();
        cluster.kubectl(&["apply", "--dry-run=server", "--filename", text(&file)])
    };
    // The controller adds the volume of the claim to the pod of a StatefulSet.
    let claiming = |pod: &Value| {
        let mut spec = pod["spec"].clone();
        let claimed = json!({"name": "data", "persistentVolumeClaim": {"claimName": "data-lanyard-0"}});
        spec["volumes"].as_array_mut().unwrap().push(claimed);
        spec
    };
    for example in examples() {
        let rendered = Rendered::of(&example, &[]).unwrap();
        let mut objects = rendered.objects.clone();
        // Of the pod template of a StatefulSet or a Job the API server only warns, and later refuses the pods.
        for (owner, pod) in rendered.pods() {
            let name = owner.to_lowercase().replace(", ", "-").replace('"', "");
            objects.push(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": claiming(pod)}));
        }
        for object in &mut objects {
            object["metadata"]["namespace"] = namespace.into();
            // A pod is refused where its account is not there.
            if object["kind"] == "ServiceAccount" {
                cluster.apply(object);
            }
        }
        let found = admitted(&objects);
        assert!(!found.stderr.contains("Warning"), "{}: {found:?}", rendered.name);
        assert_eq!(found.ok().lines().count(), objects.len(), "{}", rendered.name);
    }

    // The nearest pod that is not admitted.
    let mut pod = claiming(Rendered::of(&helm::example("minimal"), &[]).unwrap().pods()[0].1);
    pod["securityContext"]["seccompProfile"] = Value::Null;
    let metadata = json!({"name": "refused", "namespace": namespace});
    let refused = admitted(&[json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod})]);
    assert!(refused.code == Some(1) && refused.stderr.contains("violates PodSecurity \"restricted"), "{refused:?}");
}
