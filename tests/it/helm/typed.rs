//! Numbers and names keep their type, whatever they look like.

use std::path::Path;

use serde_json::Value;

use crate::support::helm;
use crate::support::helm::Rendered;
use crate::support::helm::list;

/// Keys whose values an API server wants as text.
const TEXTS: [&str; 18] = [
    "name",
    "namespace",
    "secretName",
    "serviceName",
    "serviceAccountName",
    "priorityClassName",
    "storageClassName",
    "image",
    "imagePullPolicy",
    "driver",
    "path",
    "key",
    "appProtocol",
    "storage",
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "clusterIP",
    "interval",
];

/// Keys whose values an API server wants as whole numbers.
const NUMBERS: [&str; 13] = [
    "activeDeadlineSeconds",
    "backoffLimit",
    "containerPort",
    "defaultMode",
    "failureThreshold",
    "fsGroup",
    "maxUnavailable",
    "periodSeconds",
    "replicas",
    "runAsGroup",
    "runAsUser",
    "terminationGracePeriodSeconds",
    "timeoutSeconds",
];

/// Calls `look` with each key and value, at any depth.
fn each(value: &Value, look: &mut dyn FnMut(&str, &Value)) {
    match value {
        Value::Object(mapping) => {
            for (key, inner) in mapping {
                look(key, inner);
                each(inner, look);
            }
        }
        Value::Array(sequence) => sequence.iter().for_each(|inner| each(inner, look)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_typed(rendered: &Rendered) {
    for object in rendered.objects.iter().filter(|object| object["kind"] != "PrometheusRule") {
        each(object, &mut |key, value| {
            if TEXTS.contains(&key) {
                assert!(value.is_string(), "{}: {key}: {value}", rendered.name);
            }
            if NUMBERS.contains(&key) {
                assert!(value.is_u64(), "{}: {key}: {value}", rendered.name);
            }
        });
    }
}

/// The case 20: `registrations.timeoutSeconds` of a million was rendered as 1e+06, which is no integer of Kubernetes.
#[test]
fn a_million_is_a_whole_number_wherever_the_chart_has_a_number() {
    let folder = tempfile::tempdir().unwrap();
    let values = folder.path().join("values.yaml");
    let more = "registrations:\n  timeoutSeconds: 1000000\n  clients:\n    a: {client_id: \"spiffe://prod.example/a\", \
                token_endpoint_auth_method: spiffe_x509, scope: a, audience: [\"https://o.test\"]}\n\
                config: {tls: {max_connections: 1000000, drain_timeout: 300h}}\n";
    std::fs::write(&values, more).unwrap();
    let Some(rendered) = Rendered::of(&helm::example("cert-manager"), &["--values", path(&values)]) else { return };
    assert_eq!(rendered.all("Job").next().unwrap()["spec"]["activeDeadlineSeconds"].as_u64(), Some(1_000_000));
    let grace = &rendered.server()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
    assert_eq!(grace.as_u64(), Some(300 * 3600 + 10));
    assert!(!rendered.text.contains("e+0"), "{}", rendered.text);
    is_typed(&rendered);
}

#[test]
fn names_that_look_like_numbers_stay_text() {
    let flags = [
        "fullnameOverride=1234",
        "nameOverride=56",
        "image.repository=78",
        "image.tag=20261129013344",
        "image.pullSecrets[0]=90",
        "keyEncryptionKey.existingSecret=1e6",
        "keyEncryptionKey.key=0x1f",
        "certificates.secret.name=12",
        "certificates.ca.configMap=13",
        "certificates.ca.key=14",
        "registrations.admin.secret=15",
        "test.secret=16",
        "persistence.size=1024",
        "persistence.storageClassName=17",
        "priorityClassName=18",
        "serviceAccount.name=19",
        "service.mtlsAppProtocol=20",
        "podLabels.a=21",
        "podAnnotations.a=22",
    ];
    let flags: Vec<&str> = flags.iter().flat_map(|flag| ["--set-string", flag]).collect();
    let Some(rendered) = Rendered::of(&helm::example("secret"), &flags) else { return };
    is_typed(&rendered);
    for (name, pod) in rendered.pods() {
        assert_eq!(pod["spec"]["imagePullSecrets"], serde_json::json!([{"name": "90"}]), "{name}");
        assert_eq!(pod["metadata"]["labels"]["a"], "21", "{name}");
        assert_eq!(pod["metadata"]["annotations"]["a"], "22", "{name}");
        for container in list(&pod["spec"]["containers"]) {
            assert_eq!(container["image"], "78:20261129013344", "{name}");
        }
    }
}

#[test]
fn every_example_has_its_types() {
    for rendered in helm::all_rendered().into_iter().flatten() {
        is_typed(&rendered);
    }
}

/// The case 52: a tag that is a number is refused, and `off` without quotes is the word.
#[test]
fn a_number_as_tag_is_refused_and_off_stays_a_word() {
    let minimal = helm::example("minimal");
    let Some(number) = helm::template(&minimal, &["--set", "image.tag=20261129013344"]) else { return };
    assert!(number.code == Some(1) && number.stderr.contains("at '/image/tag': got number, want string"), "{number:?}");
    let rendered = Rendered::of(&minimal, &["--set-json", "config={\"registration\": false}"]).unwrap();
    let config = rendered.named("ConfigMap", "lanyard").unwrap()["data"]["lanyard.yaml"].as_str().unwrap();
    assert!(config.lines().any(|line| line == "registration: \"off\""), "{config}");
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
