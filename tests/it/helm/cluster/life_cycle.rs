//! Every example from its first installation to its end.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;

use serde_json::json;
use tokio::time::Instant;

use crate::helm::cluster::certificates::prepare_issuers;
use crate::helm::cluster::release::Release;
use crate::support::helm::RELEASE;
use crate::support::helm::examples;
use crate::support::kubernetes::Cluster;
use crate::support::kubernetes::Options;
use crate::support::process::text;
use crate::support::server::in_crate;

/// Installed with a SPIFFE CSI driver by `certificates`, and not to be installed, as it says itself, but admitted by
/// `admission`.
const ELSEWHERE: [&str; 3] = ["etcd", "everything", "spiffe-csi"];

/// A resource that no example has.
const SHOWN: &str = "https://shown.example";

#[test]
#[ignore = "long: builds Kubernetes once; .ci/run-long runs it"]
fn long_every_example_is_installed_upgraded_rolled_back_and_uninstalled() {
    let Some(cluster) = Cluster::start(&Options { cert_manager: true, ..Options::default() }) else { return };
    for definition in ["servicemonitors.yaml", "prometheusrules.yaml"] {
        cluster.kubectl(&["create", "--filename", text(&in_crate("tests/it/helm").join(definition))]).ok();
    }
    let mut lived = 0;
    for example in examples() {
        let name = example.file_stem().unwrap().to_str().unwrap();
        if !ELSEWHERE.contains(&name) {
            let release = Release::prepare(&cluster, name);
            prepare_issuers(&release);
            live(&release, name);
            release.delete_namespace();
            lived += 1;
        }
    }
    assert_eq!(lived, examples().len() - ELSEWHERE.len());
}

/// Prints how long a step took.
fn timed<T>(example: &str, step: &str, run: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let value = run();
    // Not println, whose output the test harness hides when the test succeeds.
    let _unseen =
        writeln!(std::io::stderr(), "{example:16} {step:10} {:5.1} s", began.elapsed().as_secs_f64()).is_err();
    value
}

pub fn live(release: &Release<'_>, name: &str) {
    let before = release.objects();
    let installed = timed(name, "install", || release.install());
    // The namespace warns of what `restricted` refuses: the pods of a StatefulSet or a Job are only refused later.
    assert!(!installed.stderr.contains("Warning"), "{name}: {installed:?}");
    installed.ok();
    let first = release.server();
    assert_eq!(first.0, 1, "{name}");
    if release.has_test() {
        let tested = timed(name, "test", || release.release("test", &["--logs"]));
        assert!(tested.contains("Phase:          Succeeded"), "{name}: {tested}");
        assert!(tested.contains("decision     ALLOW"), "{name}: {tested}");
    }
    timed(name, "upgrade", || release.upgrade(&[]));
    assert_eq!(release.server(), first, "{name}: the same values changed the server");

    if release.has_admin() {
        changed_and_rolled_back(release, name);
    } else {
        release.upgrade(&["--set", "config.tokens.verdict_ttl=3s"]);
        assert_ne!(release.server(), first, "{name}: another configuration, and the same pod");
        release.release("rollback", &["--wait", "--timeout", "15m"]);
        release.server();
    }

    timed(name, "uninstall", || release.uninstall());
    let left = |expected: &[&str]| {
        let found: BTreeSet<String> = release.objects().difference(&before).cloned().collect();
        assert_eq!(found, expected.iter().map(|&one| one.to_owned()).collect(), "{name}");
    };
    let mut kept = vec!["persistentvolumeclaim/data-lanyard-0"];
    if release.values["keyEncryptionKey"]["create"] == true {
        kept.push("secret/lanyard-key-encryption-key");
    }
    let mut also = kept.clone();
    if release.has_test() {
        also.push("pod/lanyard-test");
    }
    if release.values["certificates"]["certManager"].is_object() {
        also.extend([
            "secret/lanyard-certificate",
            "secret/lanyard-admin-certificate",
            "secret/lanyard-test-certificate",
        ]);
    }
    left(&also);
    let readme = fs::read_to_string(in_crate("helm/README.md")).unwrap();
    let deletions = readme.split("```").find(|block| block.contains("delete --ignore-not-found")).unwrap();
    let deletions = deletions
        .split_once('\n')
        .unwrap()
        .1
        .replace("--namespace identity", &format!("--namespace {}", release.namespace));
    release.cluster.shell(release.folder.path(), &deletions).ok();
    left(&kept);
}

/// An upgrade that adds a resource, one that changes it, and the way back.
fn changed_and_rolled_back(release: &Release<'_>, name: &str) {
    let mode = |mode: &str| {
        let route = json!({"methods": ["GET"], "path": "/shown", "scope": "shown.read"});
        let shown = json!({"audience": SHOWN, "scope": "shown.read", "routes": [route], "mode": mode});
        release.values_file("shown.yaml", &json!({"registrations": {"resources": {"shown": shown}}}))
    };
    let registered =
        || release.as_admin(&["resource", "get", SHOWN, "-o", "json"]).json(0)["mode"].as_str().unwrap().to_owned();
    let clients = release.registered("client", "client_id");
    let first = release.server();
    timed(name, "change", || release.upgrade(&["--values", &mode("report")]));
    assert_eq!(registered(), "report", "{name}");
    assert_eq!(release.server(), first, "{name}: what is registered is no reason for another pod");
    release.upgrade(&["--values", &mode("enforce")]);
    assert_eq!(registered(), "enforce", "{name}");
    timed(name, "rollback", || release.release("rollback", &["--wait", "--timeout", "15m"]));
    assert_eq!(registered(), "report", "{name}: rolled back, and the registration was not");
    assert_eq!(release.registered("client", "client_id"), clients, "{name}");
    let history = release.cluster.helm(["history", RELEASE, "--namespace", &release.namespace, "-o", "json"]).json(0);
    assert_eq!(history.as_array().unwrap().last().unwrap()["status"], "deployed", "{name}: {history}");
}
