//! Where the certificates of the pods come from: cert-manager, the Workload API, and Secrets that are the user's own.

use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;

use serde_json::Value;
use serde_json::json;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::helm::cluster::life_cycle;
use crate::helm::cluster::release::Release;
use crate::support::kubernetes::Cluster;
use crate::support::kubernetes::Options;
use crate::support::process::text;
use crate::support::workload_api::Agent;
use crate::support::workload_api::context;

/// The issuer that an example names, with the CA of its trust domain, and the bundle where the example says that somebody
/// else writes it. The issuer of trial.yaml is made by its own commands.
pub fn prepare_issuers(release: &Release<'_>) {
    let reference = &release.values["certificates"]["certManager"]["issuerRef"];
    if reference.is_null() || reference["name"] == "trial-ca" {
        return;
    }
    let name = reference["name"].as_str().unwrap();
    let cluster_wide = reference["kind"] == "ClusterIssuer";
    let at = if cluster_wide { "cert-manager" } else { &release.namespace };
    let data = json!({"tls.crt": release.ca.pem(), "tls.key": release.ca.issuer().key().serialize_pem()});
    let metadata = json!({"name": format!("{name}-ca"), "namespace": at});
    release.cluster.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}));
    let spec = json!({"ca": {"secretName": format!("{name}-ca")}});
    let metadata = if cluster_wide { json!({"name": name}) } else { json!({"name": name, "namespace": at}) };
    let issuer =
        json!({"apiVersion": "cert-manager.io/v1", "kind": reference["kind"], "metadata": metadata, "spec": spec});
    release.cluster.apply(&issuer);
    let bundle = &release.values["trust"]["bundles"][release.values["trustDomain"].as_str().unwrap()];
    let metadata = json!({"name": bundle["configMap"], "namespace": release.namespace});
    let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {}});
    map["data"][bundle["key"].as_str().unwrap()] = release.ca.pem().into();
    release.cluster.apply(&map);
}

/// A Secret, without what the API server changes in it.
fn secret(release: &Release<'_>, name: &str) -> Value {
    let found = release.get(&["secret", name]);
    json!({"data": found["data"], "type": found["type"], "annotations": found["metadata"]["annotations"]})
}

#[test]
#[ignore = "long: builds Kubernetes once; .ci/run-long runs it"]
fn long_a_secret_of_the_user_is_never_overwritten_by_cert_manager() {
    let Some(cluster) = Cluster::start(&Options { cert_manager: true, ..Options::default() }) else { return };
    let release = Release::prepare(&cluster, "cert-manager");
    prepare_issuers(&release);
    // The names that the chart's Certificates had before, and that the other examples have for the user's own Secrets.
    let file = |name: &str| text(&release.folder.path().join(name)).to_owned();
    let create = |name: &str| {
        let (certificate, key) =
            (format!("--cert={}", file("server.pem")), format!("--key={}", file("server-key.pem")));
        release.kubectl(&["create", "secret", "tls", name, &certificate, &key]).ok();
    };
    for name in ["lanyard-tls", "lanyard-admin-tls", "lanyard-test-tls", "lanyard-admin-certificate"] {
        create(name);
    }
    let own = ["lanyard-tls", "lanyard-admin-tls", "lanyard-test-tls"].map(|name| (name, secret(&release, name)));
    let blocking = secret(&release, "lanyard-admin-certificate");

    let refused = release.install();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("the Secret lanyard-admin-certificate in identity"), "{refused:?}");
    assert_eq!(secret(&release, "lanyard-admin-certificate"), blocking);
    assert!(!release.objects().contains("statefulset.apps/lanyard"), "something was installed");

    // Out of the way, it installs; and an upgrade finds Secrets that cert-manager has written.
    release.kubectl(&["delete", "secret/lanyard-admin-certificate"]).ok();
    release.install().ok();
    let issued = secret(&release, "lanyard-admin-certificate");
    assert_eq!(issued["annotations"]["cert-manager.io/certificate-name"], "lanyard-admin");
    release.upgrade(&[]);
    assert_eq!(secret(&release, "lanyard-admin-certificate"), issued);
    release.uninstall();
    for (name, before) in own {
        assert_eq!(secret(&release, name), before, "{name}");
    }
}

#[test]
#[ignore = "long: builds Kubernetes once; .ci/run-long runs it"]
fn long_the_example_for_the_csi_driver_lives_on_a_stand_in_for_spire() {
    let Some(cluster) = Cluster::start(&Options { spiffe_csi: true, ..Options::default() }) else { return };
    let release = Release::prepare(&cluster, "spiffe-csi");
    // No CSI driver runs here, nor SPIRE: a folder with the socket of an agent for each service account stands in.
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    // It ends when the other end of the channel is dropped.
    let (_runs, ended) = oneshot::channel::<()>();
    thread::spawn(move || runtime.block_on(ended));
    let _inside = handle.enter();
    let mut agents = Vec::new();
    for (account, part) in [("lanyard", ""), ("lanyard-admin", "admin"), ("lanyard-test", "test")] {
        let folder = cluster.sockets().join(&release.namespace).join(account);
        fs::create_dir_all(&folder).unwrap();
        let id = release.identity(part);
        let certificate = if part.is_empty() { release.server_certificate() } else { release.ca.svid(&id).issue() };
        let socket = folder.join("spire-agent.sock");
        let agent = Agent::start(socket.clone());
        // SPIRE's agent lets every user connect.
        fs::set_permissions(socket, Permissions::from_mode(0o777)).unwrap();
        agent.say(&context(&certificate, &id, &[&release.ca], &[]));
        agents.push(agent);
    }
    life_cycle::live(&release, "spiffe-csi");
}
