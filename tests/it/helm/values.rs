//! Values that the chart refuses before anything is installed, and what it says then. Next to each is one that it takes.

use std::fs;

use serde_json::Value;

use crate::support::helm;
use crate::support::helm::Rendered;
use crate::support::process::Finished;
use crate::support::server::in_crate;
use crate::support::yaml;

/// The least that the chart takes, with these flags besides; `None` if helm is to be skipped.
fn rendered(flags: &[&str]) -> Option<Finished> {
    helm::template(&helm::example("minimal"), flags)
}

/// What is wrong with each of these, in these words, and not with the flags beside it.
fn each_refused(cases: &[(&[&str], &str, &[&str])]) {
    for (wrong, complaint, right) in cases {
        let Some(finished) = rendered(wrong) else { return };
        assert_eq!(finished.code, Some(1), "{wrong:?} is let by");
        assert!(finished.stderr.contains(complaint), "not '{complaint}' of {wrong:?}: {}", finished.stderr);
        assert_eq!(finished.stdout, "", "{wrong:?}");
        let finished = rendered(right).unwrap();
        assert_eq!(finished.code, Some(0), "{right:?}: {finished:?}");
    }
}

#[test]
fn values_that_contradict_each_other_are_refused_with_the_reason() {
    const NO_KEY: [&str; 2] = ["--set", "keyEncryptionKey.existingSecret="];
    each_refused(&[
        (
            &["--set", "replicas=2"],
            "replicas is 2 and must be 1: the embedded store (sled) belongs to one process",
            &["--set", "replicas=1"],
        ),
        (
            &["--set", "autoscaling.enabled=true"],
            "Several replicas share an etcd",
            &["--set", "autoscaling.maxReplicas=9"],
        ),
        (
            &["--set", "etcd.endpoints={https://etcd:2379}"],
            "etcd.secret: name the Secret with ca.crt, tls.crt and tls.key",
            &["--set", "etcd.endpoints={https://etcd:2379}", "--set", "etcd.secret=etcd", "--set", "replicas=3"],
        ),
        (
            &["--set", "etcd.endpoints={http://etcd:2379}", "--set", "etcd.secret=etcd"],
            "https://",
            &["--set", "etcd.endpoints={https://etcd:2379}", "--set", "etcd.files.ca=/etcd/ca.pem"],
        ),
        (&["--set", "replicas=0"], "replicas is 0 and must be 1", &[]),
        (
            &["--set", "certificates.workloadApi.socket=agent.sock"],
            "certificates: certificates.secret and certificates.workloadApi are given, and exactly one of them must be",
            &["--set-json", "certificates={\"workloadApi\": {\"socket\": \"agent.sock\"}}"],
        ),
        (
            &["--set-json", "certificates={}"],
            "exactly one of certificates.secret, certificates.certManager and certificates.workloadApi",
            &["--set-json", "certificates={\"certManager\": {\"issuerRef\": {\"name\": \"mesh\"}}}"],
        ),
        (
            &NO_KEY,
            "keyEncryptionKey.existingSecret: name the Secret with the key-encryption key, 32 bytes of base64",
            &["--set", "keyEncryptionKey.existingSecret=mine"],
        ),
        (
            &["--set", "keyEncryptionKey.create=true"],
            "keyEncryptionKey: existingSecret and create are given, and exactly one of them must be",
            &["--set", "keyEncryptionKey.create=true,keyEncryptionKey.existingSecret="],
        ),
        (
            &["--set", "trustDomain=other.example"],
            "trust.bundles: name the Secret or ConfigMap with the bundle of other.example, the server's own trust domain",
            &["--set", "trustDomain=other.example,trust.bundles.other\\.example.secret=other"],
        ),
        (
            &["--set", "trust.bundles.prod\\.example.configMap=bundle"],
            "trust.bundles.prod.example: name exactly one of secret and configMap",
            &["--set-json", "trust.bundles={\"prod.example\": {\"configMap\": \"bundle\"}}"],
        ),
        (
            &["--set", "registrations.resources.a.audience=https://a.example"],
            "registrations.admin.secret: name the Secret with an admin's certificate",
            &["--set", "registrations.resources.a.audience=https://a.example,registrations.admin.secret=admin"],
        ),
        (
            &["--set", "config.store.memory=true"],
            "config.store.memory: the chart writes this key by itself; set instead: persistence",
            &["--set", "config.store.max_staleness=1m"],
        ),
        (
            &["--set", "config.keys.key_encryption_key=BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="],
            "config.keys.key_encryption_key: the chart writes this key by itself; set instead: keyEncryptionKey",
            &["--set", "config.keys.algorithm=EdDSA"],
        ),
        (
            &["--set", "config.log=null"],
            "config.log: the chart writes this key by itself; set instead: log",
            &["--set", "log.level=debug"],
        ),
        (
            &["--set", "config.forwarded.mtls=0.0.0.0:8445"],
            "config.forwarded: nothing would reach that listener",
            &["--set", "config.tls.client_auth=request"],
        ),
    ]);
}

#[test]
fn labels_and_annotations_that_the_chart_needs_are_its_own() {
    each_refused(&[
        (
            &["--set", "podLabels.app\\.kubernetes\\.io/name=mine"],
            "podLabels: app.kubernetes.io/name is one of the labels by which the chart's objects select their pods",
            &["--set", "podLabels.app\\.kubernetes\\.io/part-of=mine"],
        ),
        (&["--set", "podLabels.app\\.kubernetes\\.io/instance=mine"], "podLabels: app.kubernetes.io/instance", &[]),
        (&["--set", "podLabels.app\\.kubernetes\\.io/component=mine"], "podLabels: app.kubernetes.io/component", &[]),
        (
            &["--set", "podAnnotations.checksum/config=mine"],
            "podAnnotations: the chart writes checksum/config by itself",
            &["--set", "podAnnotations.checksum/mine=mine"],
        ),
        (
            &["--set", "podAnnotations.helm\\.sh/hook=test"],
            "podAnnotations: the chart writes helm.sh/hook by itself",
            &[],
        ),
    ]);
}

#[test]
fn a_service_for_peers_outside_of_the_cluster_wants_a_network_policy_that_admits_some() {
    const POLICY: &str = "networkPolicy.public=[{\"ipBlock\": {\"cidr\": \"192.0.2.0/24\"}}]";
    each_refused(&[
        (
            &["--set", "service.type=LoadBalancer"],
            "service.type is LoadBalancer, and the NetworkPolicy admits only pods",
            &["--set", "service.type=LoadBalancer", "--set-json", POLICY],
        ),
        (
            &["--set", "service.type=NodePort"],
            "service.type is NodePort, and the NetworkPolicy admits only pods",
            &["--set", "service.type=NodePort,networkPolicy.enabled=false"],
        ),
    ]);
}

#[test]
fn no_variable_goes_round_what_the_chart_checks() {
    const VALUE: &str = "extraEnv[0].value=x";
    each_refused(&[
        (
            &["--set", "extraEnv[0].name=LANYARD_TOKENS__VERDICT_TTL", "--set", VALUE],
            "extraEnv: LANYARD_TOKENS__VERDICT_TTL would go round what the chart checks and renders",
            &["--set", "extraEnv[0].name=OTEL_EXPORTER_OTLP_HEADERS", "--set", VALUE],
        ),
        (
            &["--set", "extraEnv[0].name=OTEL_BSP_MAX_QUEUE_SIZE"],
            "at '/extraEnv/0': 'oneOf' failed",
            &["--set", "extraEnv[0].name=OTEL_BSP_MAX_QUEUE_SIZE,extraEnv[0].valueFrom.configMapKeyRef.name=a"],
        ),
    ]);
}

#[test]
fn a_certificate_from_cert_manager_bears_no_address() {
    const FROM: [&str; 2] = ["--set-json", "certificates={\"certManager\": {\"issuerRef\": {\"name\": \"mesh\"}}}"];
    each_refused(&[
        (
            &[FROM[0], FROM[1], "--set", "issuer=https://192.0.2.1"],
            "issuer: 192.0.2.1 is an address",
            &[FROM[0], FROM[1], "--set", "issuer=https://192.example"],
        ),
        (
            &[FROM[0], FROM[1], "--set", "mtlsUrl=https://[2001:db8::1]:8443"],
            "mtlsUrl: 2001:db8::1 is an address",
            // Who brings a certificate has it bear what it has to.
            &["--set", "mtlsUrl=https://[2001:db8::1]:8443"],
        ),
        (
            &[FROM[0], FROM[1], "--set", "certificates.certManager.dnsNames[0]=192.0.2.1"],
            "certificates.certManager.dnsNames: 192.0.2.1 is an address",
            &[FROM[0], FROM[1], "--set", "certificates.certManager.dnsNames[0]=lanyard.example"],
        ),
    ]);
}

#[test]
fn a_wrong_value_is_refused_by_the_schema_with_its_name_and_what_it_may_be() {
    each_refused(&[
        (&["--set", "replica=1"], "at '': additional properties 'replica' not allowed", &["--set", "replicas=1"]),
        (
            &["--set", "persistence.enabled=false"],
            "at '/persistence': additional properties 'enabled' not allowed",
            &["--set", "persistence.size=2Gi"],
        ),
        (
            &["--set", "config.tokens.verdict=5s"],
            "at '/config/tokens': additional properties 'verdict' not allowed",
            &["--set", "config.tokens.verdict_ttl=5s"],
        ),
        (
            &["--set", "config.tls.drain_timeout=soon"],
            "at '/config/tls/drain_timeout': 'soon' does not match pattern",
            &["--set", "config.tls.drain_timeout=1m30s"],
        ),
        (
            &["--set", "trustDomain=spiffe://prod.example"],
            "at '/trustDomain': 'spiffe://prod.example' does not match pattern",
            &["--set", "trustDomain=prod.example"],
        ),
        (
            &["--set-json", r#"registrations.grants.shop={"name": "shop", "admins": ["ci"], "owners": ["shop"]}"#],
            "at '/registrations/grants/shop/admins/0': 'ci' does not match pattern",
            &[
                "--set-json",
                r#"registrations.grants.shop={"name": "shop", "admins": ["spiffe://a/ci"], "owners": ["shop"]}"#,
                "--set",
                "registrations.admin.secret=admin",
            ],
        ),
        (
            &["--set", "config.dual_control.changes[0].kind=role"],
            "at '/config/dual_control/changes/0/kind': value must be one of 'client'",
            &["--set", "config.dual_control.changes[0].kind=grant"],
        ),
        (&["--set", "trustDomain="], "at '/trustDomain': '' does not match pattern", &[]),
        (
            &["--set", "service.mtlsPort=84433"],
            "at '/service/mtlsPort': maximum: got 84,433, want 65,535",
            &["--set", "service.mtlsPort=443"],
        ),
        (&["--set", "service.publicPort=https"], "at '/service/publicPort': got string, want integer", &[]),
        (
            &["--set", "log.format=xml"],
            "at '/log/format': value must be one of 'text', 'json'",
            &["--set", "log.format=text"],
        ),
        (
            &["--set", "image.repository=null"],
            "at '/image/repository': got null, want string",
            &["--set", "image.repository=registry.example:5000/lanyard"],
        ),
        (
            &["--set", "issuer=http://lanyard.example"],
            "at '/issuer': 'http://lanyard.example' does not match pattern",
            &["--set", "issuer=https://lanyard.example"],
        ),
        (
            &["--set", "mtlsUrl=https://lanyard.example/path"],
            "at '/mtlsUrl': 'https://lanyard.example/path' does not match pattern",
            &["--set", "mtlsUrl=https://lanyard.example:8443"],
        ),
        (
            &["--set", "roles.admins[0].spiffe_id=prod.example/admin"],
            "at '/roles/admins/0/spiffe_id': 'prod.example/admin' does not match pattern",
            &["--set", "roles.admins[0].spiffe_id=spiffe://prod.example/admin"],
        ),
        (
            &["--set-json", "telemetry.otlp={\"sampleRatio\": 1}"],
            "at '/telemetry/otlp': missing property 'endpoint'",
            &["--set-json", "telemetry.otlp={\"sampleRatio\": 1, \"endpoint\": \"http://collector:4317\"}"],
        ),
        (
            &["--set-json", "telemetry.otlp={\"sampleRatio\": 1.5, \"endpoint\": \"http://collector:4317\"}"],
            "at '/telemetry/otlp/sampleRatio': maximum: got 1.5, want 1",
            &[],
        ),
        (
            &["--set", "persistence.accessMode=ReadWriteMany"],
            "at '/persistence/accessMode': value must be one of 'ReadWriteOnce', 'ReadWriteOncePod'",
            &["--set", "persistence.accessMode=ReadWriteOncePod"],
        ),
        (
            &["--set", "networkPolicy.ops=monitoring"],
            "at '/networkPolicy/ops': got string, want array",
            &["--set", "networkPolicy.ops[0].podSelector.matchLabels.app=prometheus"],
        ),
        (
            &["--set", "podDisruptionBudget.maxUnavailable=2"],
            "at '/podDisruptionBudget/maxUnavailable': value must be one of 0, 1",
            &["--set", "podDisruptionBudget.maxUnavailable=0"],
        ),
    ]);
}

/// The paths of all sections in the chart's own values: what somebody may leave with all its lines commented out.
fn sections(at: &str, values: &Value, found: &mut Vec<String>) {
    for (key, value) in values.as_object().into_iter().flatten() {
        let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        sections(&path, value, found);
        if value.is_object() || value.is_array() {
            found.push(path);
        }
    }
}

#[test]
fn a_section_with_nothing_in_it_is_taken_as_empty_or_refused_by_its_name() {
    let values: Value = yaml::document(&fs::read_to_string(in_crate("helm/lanyard/values.yaml")).unwrap()).unwrap();
    let mut found = Vec::new();
    sections("", &values, &mut found);
    assert!(found.len() > 30, "{found:?}");
    let mut refused = 0;
    for section in found {
        let (parent, key) = section
            .rsplit_once('.')
            .map_or((String::new(), section.as_str()), |(parent, key)| (format!("/{}", parent.replace('.', "/")), key));
        let Some(finished) = helm::template(&helm::example("everything"), &["--set", &format!("{section}=null")])
        else {
            return;
        };
        if finished.code != Some(0) {
            let complaint = format!("at '{parent}': missing property '{key}'");
            assert!(finished.stderr.contains(&complaint), "{section}: {finished:?}");
            refused += 1;
        }
    }
    assert!(refused > 0);
}

#[test]
fn an_image_is_never_called_latest() {
    each_refused(&[
        (&["--set", "image.tag=latest"], "image.tag is latest: name a version", &["--set", "image.tag=0.1.0"]),
        (
            &["--set", "image.repository=registry.example/lanyard:0.1.0"],
            "at '/image/repository': 'registry.example/lanyard:0.1.0' does not match pattern",
            &[],
        ),
    ]);
    let Some(rendered) = Rendered::of(&helm::example("minimal"), &[]) else { return };
    let image = &rendered.server()["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(image, &format!("registry.example/lanyard:{}", env!("CARGO_PKG_VERSION")));
}
