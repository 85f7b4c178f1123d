//! What holds for whatever the chart renders: the rights of every pod, who may reach what, what is secret, and when the server
//! is replaced.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;

use crate::support::helm;
use crate::support::helm::Rendered;
use crate::support::helm::list;
use crate::support::yaml;

/// All containers of a pod.
fn containers(pod: &Value) -> Vec<&Value> {
    let kinds = ["initContainers", "containers", "ephemeralContainers"];
    kinds.iter().flat_map(|kind| list(&pod["spec"][kind])).collect()
}

fn labels(pod: &Value) -> &Value {
    &pod["metadata"]["labels"]
}

/// Whether a selector's matchLabels are among these labels. An empty selector, which matches everything, is refused.
fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector.as_object().unwrap();
    !wanted.is_empty() && wanted.iter().all(|(name, value)| &labels[name] == value)
}

#[test]
fn every_pod_runs_without_rights() {
    let Some(all) = helm::all_rendered() else { return };
    let pods: Vec<(String, &Value)> = all.iter().flat_map(Rendered::pods).collect();
    assert!(pods.len() > 2 * all.len() - 3, "{}", pods.len());
    for (name, pod) in pods {
        let spec = &pod["spec"];
        let security = &spec["securityContext"];
        assert_eq!(security["runAsNonRoot"], true, "{name}");
        assert!(security["runAsUser"].as_u64().is_some_and(|user| user > 0), "{name}");
        assert!(security["runAsGroup"].as_u64().is_some_and(|group| group > 0), "{name}");
        assert_eq!(security["seccompProfile"], json!({"type": "RuntimeDefault"}), "{name}");
        assert_eq!(spec["automountServiceAccountToken"], false, "{name}");
        assert_eq!(spec["enableServiceLinks"], false, "{name}: LANYARD_… variables mean something to the binary");
        assert!(["hostNetwork", "hostPID", "hostIPC"].iter().all(|host| spec[host].is_null()), "{name}");
        for volume in list(&spec["volumes"]) {
            let text = volume.to_string();
            assert!(!text.contains("hostPath") && !text.contains("serviceAccountToken"), "{name}: {text}");
        }
        for container in containers(pod) {
            let security = &container["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}), "{name}");
            assert_eq!(security["privileged"], Value::Null, "{name}");
            // A container's setting takes precedence over its pod's.
            assert!(security["runAsNonRoot"] != false && security["runAsUser"].is_null(), "{name}");
            assert!(security["seccompProfile"].is_null(), "{name}");
            assert!(list(&container["ports"]).iter().all(|port| port["hostPort"].is_null()), "{name}");
            let image = container["image"].as_str().unwrap();
            let version = image.split('/').next_back().unwrap().split_once([':', '@']).unwrap().1;
            assert!(!version.is_empty() && version != "latest", "{name}: {image}");
        }
    }
}

#[test]
fn no_service_account_gets_a_token_or_a_right() {
    let Some(all) = helm::all_rendered() else { return };
    for rendered in &all {
        let mut accounts = 0;
        for account in rendered.all("ServiceAccount") {
            assert_eq!(account["automountServiceAccountToken"], false, "{}", rendered.name);
            accounts += 1;
        }
        assert!(accounts > 0, "{}", rendered.name);
        for (name, pod) in rendered.pods() {
            let account = pod["spec"]["serviceAccountName"].as_str().unwrap();
            let made = rendered.named("ServiceAccount", account).is_some();
            assert!(made, "{name}: nobody makes the service account {account}");
        }
        for kind in ["Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"] {
            assert_eq!(rendered.all(kind).count(), 0, "{}: {kind}", rendered.name);
        }
    }
}

#[test]
fn services_and_the_disruption_budget_select_the_server_and_nothing_else() {
    let Some(all) = helm::all_rendered() else { return };
    for rendered in &all {
        let server = labels(&rendered.server()["spec"]["template"]);
        let mut selectors: Vec<&Value> = rendered.all("Service").map(|service| &service["spec"]["selector"]).collect();
        let more = ["PodDisruptionBudget", "StatefulSet", "Deployment"].into_iter().flat_map(|kind| rendered.all(kind));
        selectors.extend(more.map(|object| &object["spec"]["selector"]["matchLabels"]));
        assert_eq!(selectors.len(), 4, "{}", rendered.name);
        for selector in selectors {
            let selected = rendered.pods().iter().filter(|(_, pod)| selects(selector, labels(pod))).count();
            assert!(selected == 1 && selects(selector, server), "{}: {selector}", rendered.name);
        }
        let monitors = rendered.all("ServiceMonitor").map(|monitor| &monitor["spec"]["selector"]["matchLabels"]);
        for selector in monitors {
            let monitored: Vec<&Value> =
                rendered.all("Service").filter(|service| selects(selector, &service["metadata"]["labels"])).collect();
            let [service] = monitored.as_slice() else { panic!("{}: {monitored:?}", rendered.name) };
            assert_eq!(service["spec"]["ports"][0]["targetPort"], "ops", "{}", rendered.name);
        }
    }
}

/// The rules of the policy that selects the server, by the names of the ports that they open.
fn rules<'a>(rendered: &'a Rendered, port: &str) -> Vec<&'a Value> {
    let server = labels(&rendered.server()["spec"]["template"]);
    let policies: Vec<&Value> = rendered.all("NetworkPolicy").collect();
    let [policy] = policies.as_slice() else { panic!("{}: {} policies", rendered.name, policies.len()) };
    assert!(selects(&policy["spec"]["podSelector"]["matchLabels"], server), "{}", rendered.name);
    assert!(list(&policy["spec"]["policyTypes"]).contains(&json!("Ingress")), "{}", rendered.name);
    for rule in list(&policy["spec"]["ingress"]) {
        // A rule without ports opens all, and one without peers admits every peer.
        assert!(!list(&rule["ports"]).is_empty() && !list(&rule["from"]).is_empty(), "{}: {rule}", rendered.name);
        assert!(
            list(&rule["ports"]).iter().all(|port| port["port"].is_string() && port["endPort"].is_null()),
            "{rule}"
        );
    }
    let opens = |rule: &&Value| list(&rule["ports"]).iter().any(|opened| opened["port"] == port);
    list(&policy["spec"]["ingress"]).iter().filter(opens).collect()
}

#[test]
fn the_network_policy_keeps_everybody_from_the_ops_port_but_whom_the_values_name() {
    let Some(all) = helm::all_rendered() else { return };
    let mut named = 0;
    for rendered in &all {
        let values: Value = yaml::document(&std::fs::read_to_string(helm::example(&rendered.name)).unwrap()).unwrap();
        let peers: Vec<&Value> = rules(rendered, "ops").iter().flat_map(|rule| list(&rule["from"])).collect();
        let wanted: Vec<&Value> = list(&values["networkPolicy"]["ops"]).iter().collect();
        assert_eq!(peers, wanted, "{}", rendered.name);
        named += wanted.len();
        assert!(!rules(rendered, "mtls").is_empty(), "{}", rendered.name);
    }
    assert!(named > 0, "no example names anybody");
}

#[test]
fn the_network_policy_lets_the_job_and_the_test_through_to_the_mtls_port() {
    let Some(all) = helm::all_rendered() else { return };
    for rendered in &all {
        let rules = rules(rendered, "mtls");
        for (name, pod) in
            rendered.pods().iter().filter(|(name, _)| !name.contains("StatefulSet") && !name.contains("Deployment"))
        {
            let admits = |peer: &&Value| {
                peer["namespaceSelector"].is_null() && selects(&peer["podSelector"]["matchLabels"], labels(pod))
            };
            assert!(rules.iter().flat_map(|rule| list(&rule["from"])).any(|peer| admits(&peer)), "{name}");
        }
    }
}

/// The checksum in the server's pod, and the configuration.
fn configuration(flags: &[&str]) -> Option<(String, String)> {
    let rendered = Rendered::of(&helm::example("minimal"), flags)?;
    let server = rendered.server();
    let checksum = server["spec"]["template"]["metadata"]["annotations"]["checksum/config"].as_str().unwrap();
    let config = rendered.named("ConfigMap", server["metadata"]["name"].as_str().unwrap()).unwrap();
    Some((checksum.to_owned(), config["data"]["lanyard.yaml"].as_str().unwrap().to_owned()))
}

#[test]
fn a_changed_configuration_replaces_the_server_except_for_roles_and_log_level() {
    let Some((checksum, config)) = configuration(&[]) else { return };
    assert_eq!(configuration(&[]).unwrap(), (checksum.clone(), config.clone()));
    for change in ["log.level=debug", "roles.admins[0].spiffe_id=spiffe://prod.example/admin"] {
        let (same, changed) = configuration(&["--set", change]).unwrap();
        assert_ne!(changed, config, "{change}");
        assert_eq!(same, checksum, "{change}");
    }
    let mut seen = vec![checksum];
    for change in [
        "log.format=text",
        "issuer=https://lanyard.example",
        "listenAddress=::",
        "config.tokens.verdict_ttl=3s",
        "trust.bundles.other\\.example.secret=other",
    ] {
        let (other, changed) = configuration(&["--set", change]).unwrap();
        assert_ne!(changed, config, "{change}");
        assert!(!seen.contains(&other), "{change}");
        seen.push(other);
    }
}

#[test]
fn variables_of_the_values_are_in_the_servers_container_and_in_no_other() {
    let variables = json!([
        {"name": "OTEL_BSP_MAX_QUEUE_SIZE", "value": "4096"},
        {"name": "OTEL_EXPORTER_OTLP_HEADERS", "valueFrom": {"secretKeyRef": {"name": "collector", "key": "headers"}}},
    ]);
    let flags = ["--set-json", &format!("extraEnv={variables}")];
    let Some(rendered) = Rendered::of(&helm::example("secret"), &flags) else { return };
    assert_eq!(rendered.server()["spec"]["template"]["spec"]["containers"][0]["env"], variables);
    assert_eq!(rendered.text.matches("OTEL_EXPORTER_OTLP_HEADERS").count(), 1);
    assert_eq!(rendered.pods().len(), 3);
}

#[test]
fn the_job_and_the_test_try_again_until_their_time_is_up() {
    let Some(rendered) = Rendered::of(&helm::example("secret"), &[]) else { return };
    let job = &rendered.all("Job").next().unwrap()["spec"];
    assert!(job["backoffLimit"].as_u64().unwrap() > 5 && job["activeDeadlineSeconds"] == 600, "{job}");
    let test = &rendered.all("Pod").next().unwrap()["spec"];
    assert!(test["restartPolicy"] == "OnFailure" && test["activeDeadlineSeconds"] == 120, "{test}");
}

#[test]
fn the_claim_says_what_the_api_server_would_write_into_it() {
    let Some(all) = helm::all_rendered() else { return };
    for rendered in all.iter().filter(|rendered| rendered.server()["kind"] == "StatefulSet") {
        let claims = list(&rendered.server()["spec"]["volumeClaimTemplates"]);
        let [claim] = claims else { panic!("{}: {} claims", rendered.name, claims.len()) };
        assert_eq!(claim["apiVersion"], "v1", "{}", rendered.name);
        assert_eq!(claim["kind"], "PersistentVolumeClaim", "{}", rendered.name);
    }
}

#[test]
fn the_pod_is_given_longer_to_end_than_the_server_takes_to_drain() {
    let drains = [
        ("20s", &[][..]),
        ("90s", &["--set", "config.tls.drain_timeout=1m30s"]),
        ("1h", &["--set", "config.tls.drain_timeout=1h"]),
        ("25s", &["--set", "config.tls.drain_delay=5s"]),
    ];
    for (drain, flags) in drains {
        let Some(rendered) = Rendered::of(&helm::example("minimal"), flags) else { return };
        let grace = rendered.server()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
        let drain = humantime::parse_duration(drain).unwrap();
        assert!(Duration::from_secs(grace) >= drain + Duration::from_secs(5), "{drain:?}: {grace}");
        assert!(Duration::from_secs(grace) <= drain + Duration::from_mins(1), "{drain:?}: {grace}");
    }
}

#[test]
fn a_key_encryption_key_that_the_chart_makes_is_kept_and_stands_in_its_secret_only() {
    let flags = ["--set", "keyEncryptionKey.create=true,keyEncryptionKey.existingSecret="];
    let mut keys = Vec::new();
    for _ in 0..2 {
        let Some(rendered) = Rendered::of(&helm::example("minimal"), &flags) else { return };
        let secrets: Vec<&Value> = rendered.all("Secret").collect();
        let [secret] = secrets.as_slice() else { panic!("{} Secrets", secrets.len()) };
        assert_eq!(secret["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
        assert_eq!(secret["immutable"], true);
        let volumes = list(&rendered.server()["spec"]["template"]["spec"]["volumes"]);
        assert!(volumes.iter().any(|volume| volume["secret"]["secretName"] == secret["metadata"]["name"]));
        let data = secret["data"]["key-encryption-key"].as_str().unwrap();
        let key = String::from_utf8(STANDARD.decode(data).unwrap()).unwrap();
        assert_eq!(STANDARD.decode(&key).unwrap().len(), 32);
        assert_eq!((rendered.text.matches(data).count(), rendered.text.matches(&key).count()), (1, 0));
        keys.push(key);
    }
    assert_ne!(keys[0], keys[1], "somebody else could know it");
}

#[test]
fn nothing_secret_is_in_a_manifest_but_a_secret() {
    let Some(all) = helm::all_rendered() else { return };
    for rendered in &all {
        let values: Value = yaml::document(&std::fs::read_to_string(helm::example(&rendered.name)).unwrap()).unwrap();
        let makes_one = values["keyEncryptionKey"]["create"] == true;
        assert_eq!(rendered.all("Secret").count(), usize::from(makes_one), "{}", rendered.name);
        for object in rendered.objects.iter().filter(|object| object["kind"] != "Secret") {
            let text = object.to_string();
            assert!(!text.contains("PRIVATE KEY"), "{}: {text}", rendered.name);
            assert!(
                !text.contains("key_encryption_key:") && !text.contains("KEY_ENCRYPTION_KEY\",\"value\""),
                "{text}"
            );
        }
        for (name, pod) in rendered.pods() {
            for source in list(&pod["spec"]["volumes"]).iter().filter(|volume| volume["secret"].is_object()) {
                let mode = source["secret"]["defaultMode"].as_u64().unwrap();
                assert_eq!(mode & 0o007, 0, "{name}: a Secret that everybody in the pod may read: {source}");
            }
        }
    }
}

#[test]
fn what_is_registered_comes_in_one_order_whatever_the_values_call_it() {
    let flags = |names: [&str; 2]| {
        let one = |name: &str, id: &str| format!("\"{name}\": {{\"audience\": \"https://{id}.example\"}}");
        format!("registrations.resources={{{}, {}}}", one(names[0], "a"), one(names[1], "b"))
    };
    let mut maps = BTreeMap::new();
    for names in [["x", "y"], ["y", "x"]] {
        let flags = ["--set-json", &flags(names), "--set", "registrations.admin.secret=admin"];
        let Some(rendered) = Rendered::of(&helm::example("minimal"), &flags) else { return };
        let map = rendered.all("ConfigMap").find(|map| map["data"]["resources.yaml"].is_string()).unwrap();
        maps.insert(map["data"].to_string(), names);
    }
    assert_eq!(maps.len(), 1, "{maps:?}");
}
