//! The volume: who can read the store's files on the node, and what a release finds again in it.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;

use serde_json::json;

use crate::helm::cluster::release::Release;
use crate::support::kubernetes::Cluster;
use crate::support::kubernetes::Options;

/// All files and folders below a folder, with their modes.
fn modes(folder: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = Vec::new();
    for entry in folder.read_dir().unwrap().map(Result::unwrap) {
        let metadata = entry.metadata().unwrap();
        found.push((entry.path(), metadata.mode() & 0o7777));
        if metadata.is_dir() {
            found.extend(modes(&entry.path()));
        }
    }
    found
}

/// The folder on the node that the claim is bound to.
fn volume(release: &Release<'_>) -> PathBuf {
    let claim = release.get(&["persistentvolumeclaim/data-lanyard-0"]);
    let volume = release.cluster.get(&["persistentvolume", claim["spec"]["volumeName"].as_str().unwrap()]);
    PathBuf::from(volume["spec"]["local"]["path"].as_str().unwrap())
}

#[test]
#[ignore = "long: builds Kubernetes once; .ci/run-long runs it"]
fn long_the_stores_files_are_private_on_a_volume_that_belongs_to_the_pods_group() {
    let Some(cluster) = Cluster::start(&Options::default()) else { return };
    let release = Release::prepare(&cluster, "secret");
    let private = |when: &str| {
        let folder = volume(&release);
        let own = folder.metadata().unwrap();
        // The volume's own folder is the group's, as the kubelet leaves it.
        assert_eq!((own.gid(), own.mode() & 0o2070), (65532, 0o2070), "{when}");
        let found = modes(&folder);
        assert!(found.iter().any(|(path, _)| path.ends_with("db")), "{when}: {found:?}");
        for (path, mode) in found {
            assert_eq!(mode & 0o077, 0, "{when}: {} has the mode {mode:o}", path.display());
        }
    };
    release.install().ok();
    private("after the installation");
    let registered = release.registered("client", "client_id");
    assert_eq!(registered.len(), 1);

    // Another pod opens it.
    release.kubectl(&["delete", "pod/lanyard-0"]).ok();
    release.kubectl(&["rollout", "status", "statefulset/lanyard", "--timeout=60s"]).ok();
    private("after another start");

    // Another release finds it again.
    release.uninstall();
    release.install().ok();
    private("after another installation");
    assert_eq!(release.registered("client", "client_id"), registered);
}

#[test]
#[ignore = "long: builds Kubernetes once; .ci/run-long runs it"]
fn long_an_upgrade_repairs_a_server_that_cannot_start() {
    let Some(cluster) = Cluster::start(&Options::default()) else { return };
    let release = Release::prepare(&cluster, "secret");
    release.install().ok();
    let registered = release.registered("client", "client_id");
    let metadata = json!({"name": "another-key", "namespace": release.namespace});
    let data = json!({"key-encryption-key": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="});
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}));
    let another = ["--set", "keyEncryptionKey.existingSecret=another-key", "--wait", "--timeout", "20s"];
    let failed = release.helm("upgrade", &another);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    let pod = release.get(&["pod/lanyard-0"]);
    assert_eq!(pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 1, "{pod}");
    let log = release.kubectl(&["logs", "lanyard-0"]).ok();
    assert!(log.contains("key-encryption key"), "{log}");
    release.upgrade(&[]);
    assert_eq!(release.registered("client", "client_id"), registered);
}
