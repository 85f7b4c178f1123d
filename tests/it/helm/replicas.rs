//! Several replicas over an etcd: a Deployment that is updated without a gap, and nothing that belongs to one process.

use serde_json::Value;
use serde_json::json;

use crate::support::helm;
use crate::support::helm::Rendered;

fn rendered(flags: &[&str]) -> Option<Rendered> {
    Rendered::of(&helm::example("etcd"), flags)
}

#[test]
fn with_etcd_there_is_a_deployment_without_a_volume_that_is_updated_without_a_gap() {
    let Some(rendered) = rendered(&[]) else { return };
    assert_eq!(rendered.all("StatefulSet").count(), 0);
    assert_eq!(rendered.all("HorizontalPodAutoscaler").count(), 0);
    let server = rendered.server();
    assert_eq!(server["kind"], "Deployment");
    assert_eq!(server["spec"]["replicas"], 3);
    assert_eq!(server["spec"]["strategy"]["rollingUpdate"], json!({"maxSurge": 1, "maxUnavailable": 0}));
    for absent in ["serviceName", "podManagementPolicy", "volumeClaimTemplates", "persistentVolumeClaimRetentionPolicy"]
    {
        assert_eq!(server["spec"][absent], Value::Null, "{absent}");
    }
    let pod = &server["spec"]["template"]["spec"];
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    let paths: Vec<&str> = mounts.iter().map(|mount| mount["mountPath"].as_str().unwrap()).collect();
    assert!(paths.contains(&"/var/run/lanyard/etcd") && !paths.contains(&"/var/lib/lanyard"), "{paths:?}");
    assert!(pod["affinity"]["podAntiAffinity"].is_object());
    assert_eq!(pod["topologySpreadConstraints"][0]["topologyKey"], "topology.kubernetes.io/zone");
    let config = rendered.all("ConfigMap").find_map(|map| map["data"]["lanyard.yaml"].as_str()).unwrap();
    assert!(config.contains("prefix: /lanyard") && config.contains("drain_delay: 5s"), "{config}");
    assert!(!config.contains("sled"), "{config}");
}

#[test]
fn an_autoscaler_sets_the_number_of_replicas_and_the_deployment_does_not() {
    let Some(rendered) = rendered(&["--set", "autoscaling.enabled=true"]) else { return };
    assert_eq!(rendered.server()["spec"]["replicas"], Value::Null);
    let scalers: Vec<&Value> = rendered.all("HorizontalPodAutoscaler").collect();
    let [scaler] = scalers.as_slice() else { panic!("{scalers:?}") };
    let target = &scaler["spec"]["scaleTargetRef"];
    assert_eq!((&target["kind"], &target["name"]), (&json!("Deployment"), &rendered.server()["metadata"]["name"]));
    assert_eq!((&scaler["spec"]["minReplicas"], &scaler["spec"]["maxReplicas"]), (&json!(3), &json!(6)));
}

#[test]
fn without_etcd_there_is_one_replica_on_a_volume() {
    let Some(rendered) = Rendered::of(&helm::example("minimal"), &[]) else { return };
    assert_eq!(
        (&rendered.server()["kind"], &rendered.server()["spec"]["replicas"]),
        (&json!("StatefulSet"), &json!(1))
    );
    assert_eq!(rendered.all("Deployment").count(), 0);
}
