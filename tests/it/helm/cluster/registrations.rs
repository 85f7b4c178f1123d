//! The hook Job: what is registered after an installation or an upgrade, and how long one takes that cannot succeed.

use serde_json::Value;
use serde_json::json;

use crate::helm::cluster::release::Release;
use crate::support::helm::list;
use crate::support::kubernetes::Cluster;
use crate::support::kubernetes::Options;

fn client(name: &str, lifetime: &str) -> Value {
    json!({
        "client_id": format!("spiffe://prod.example/{name}"), "token_endpoint_auth_method": "spiffe_x509",
        "scope": "read", "audience": ["https://orders.prod.example"], "access_token_ttl": lifetime,
    })
}

/// Values with these clients.
fn clients(release: &Release<'_>, file: &str, clients: &[Value]) -> String {
    let named = clients.iter().enumerate().map(|(number, client)| (format!("c{number}"), client.clone()));
    let named: serde_json::Map<String, Value> = named.collect();
    release.values_file(file, &json!({"registrations": {"clients": named}}))
}

/// The exit codes of the Job's pods.
fn exit_codes(release: &Release<'_>) -> Vec<i64> {
    let pods = release.get(&["pods", "--selector=batch.kubernetes.io/job-name=lanyard-registrations"]);
    let code = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"].as_i64();
    list(&pods["items"]).iter().filter_map(code).collect()
}

/// The reason of the Job's failure.
fn failure(release: &Release<'_>) -> Value {
    let job = release.get(&["job/lanyard-registrations"]);
    let failed = list(&job["status"]["conditions"]).iter().find(|condition| condition["type"] == "Failed");
    failed.unwrap_or_else(|| panic!("{job}"))["reason"].clone()
}

#[test]
#[ignore = "long: builds Kubernetes once; .ci/run-long runs it"]
fn long_a_refused_document_ends_the_job_at_once_and_registers_nothing() {
    let Some(cluster) = Cluster::start(&Options::default()) else { return };
    let release = Release::prepare(&cluster, "secret");
    release.install().ok();
    let before = release.registered("client", "client_id");
    let good = clients(&release, "good.yaml", &[client("good", "5m")]);
    // The schema accepts this lifetime, and the server does not.
    let bad = clients(&release, "bad.yaml", &[client("good", "5m"), client("bad", "2h")]);

    for atomic in [&["--atomic"][..], &[]] {
        let refused = release.helm("upgrade", &[&["--values", &bad, "--wait", "--timeout", "15m"], atomic].concat());
        assert_eq!(refused.code, Some(1), "{refused:?}");
        // Helm prints what the Job's pod has logged, and not only that a deadline has passed.
        let said = format!("{}{}", refused.stdout, refused.stderr);
        assert!(said.contains("nothing was written") && said.contains("access_token_ttl"), "{said}");
        assert!(!said.contains("DeadlineExceeded"), "{said}");
        // There was one attempt; Helm has deleted the Job of a release that it rolled back.
        if atomic.is_empty() {
            assert_eq!((failure(&release), exit_codes(&release)), ("PodFailurePolicy".into(), vec![4]));
        }
        assert_eq!(release.registered("client", "client_id"), before, "{atomic:?}");
    }

    // Without the refused document it is registered, over the failed release.
    release.upgrade(&["--values", &good, "--atomic"]);
    let mut after = before;
    after.insert("spiffe://prod.example/good".to_owned());
    assert_eq!(release.registered("client", "client_id"), after);

    // What another attempt might change is tried again until the limit: here the certificate is no admin's.
    let certificate = release.ca.svid("spiffe://prod.example/nobody").issue();
    let metadata = json!({"name": "nobody-tls", "namespace": release.namespace});
    let data = json!({"tls.crt": certificate.chain_pem(), "tls.key": certificate.key_pem()});
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}));
    let nobody = ["--set", "registrations.admin.secret=nobody-tls", "--set", "registrations.timeoutSeconds=30"];
    let refused = release.helm("upgrade", &[&nobody[..], &["--wait", "--timeout", "15m"]].concat());
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(refused.code == Some(1) && said.contains("WRONG_ROLE"), "{said}");
    assert_eq!(failure(&release), "DeadlineExceeded");
    let codes = exit_codes(&release);
    assert!(codes.len() > 1 && codes.iter().all(|code| *code == 1), "{codes:?}");
    release.upgrade(&["--values", &good]);
}

#[test]
#[ignore = "long: builds Kubernetes once; .ci/run-long runs it"]
fn long_four_thousand_clients_are_registered_by_one_upgrade() {
    let Some(cluster) = Cluster::start(&Options::default()) else { return };
    let release = Release::prepare(&cluster, "secret");
    release.install().ok();
    let many: Vec<Value> = (0..4000).map(|number| client(&format!("ns/shop/sa/client-{number}"), "5m")).collect();
    release.upgrade(&["--values", &clients(&release, "many.yaml", &many)]);
    let names = release.registered("client", "client_id");
    assert_eq!(names.len(), 4001, "and that of the test");
    let maps = release.objects().into_iter().filter(|name| name.starts_with("configmap/lanyard-registrations"));
    assert!(maps.count() > 1);
}

#[test]
#[ignore = "long: builds Kubernetes once; .ci/run-long runs it"]
fn long_the_first_admin_of_an_upgrade_registers_at_once() {
    // The contents of a volume never change while a pod runs here, so that only another pod can know a new role.
    let Some(cluster) = Cluster::start(&Options { never_renewed: true, ..Options::default() }) else { return };
    let release = Release::prepare(&cluster, "secret");
    let none = ["--set", "registrations.admin.secret=,test.secret="];
    release.helm("install", &[&none[..], &["--wait", "--timeout", "15m"]].concat()).ok();
    let first = release.server();
    assert!(!release.objects().contains("serviceaccount/lanyard-admin"));

    release.upgrade(&[]);
    let second = release.server();
    assert_ne!(second, first, "the pod does not know the role of the Job");
    assert_eq!(release.registered("client", "client_id").len(), 1, "that of the test");
    let events = release.get(&["events", "--field-selector=involvedObject.kind=Job"]);
    let failed = list(&events["items"]).iter().any(|event| event["reason"] == "BackoffLimitExceeded");
    assert!(
        !failed && list(&events["items"]).iter().filter(|event| event["reason"] == "SuccessfulCreate").count() == 1,
        "{events}"
    );

    // Another role is no reason for another pod.
    release.upgrade(&["--set", "roles.admins[0].spiffe_id=spiffe://prod.example/another"]);
    assert_eq!(release.server(), second);
}
