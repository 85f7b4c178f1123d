//! A cluster that runs.

use std::ffi::OsStr;
use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::support::etcd;
use crate::support::image::Image;
use crate::support::kubernetes::build;
use crate::support::kubernetes::control_plane::Place;
use crate::support::kubernetes::control_plane::SERVER;
use crate::support::kubernetes::network::Network;
use crate::support::process::Finished;
use crate::support::process::Process;
use crate::support::process::run;
use crate::support::process::run_with;
use crate::support::process::text;
use crate::support::server::in_crate;
use crate::support::tools;

/// How long a control plane may take to start.
const START_LIMIT: Duration = Duration::from_mins(2);

/// The volumes that claims can be bound to.
const VOLUMES: usize = 16;

/// What differs between clusters.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is asked for by itself")]
pub struct Options {
    /// Whether cert-manager runs.
    pub cert_manager: bool,
    /// Whether the contents of volumes are renewed only when a pod starts: a `ConfigMap` may take two minutes in a real
    /// cluster.
    pub never_renewed: bool,
    /// Whether each pod has a network of its own, and Services lead to those that are ready: several replicas want the same
    /// port.
    pub apart: bool,
    /// Whether there is a CSI driver `csi.spiffe.io`: see [`Cluster::sockets`].
    pub spiffe_csi: bool,
}

/// A running cluster with one node, on which the image with the binary under test runs, whatever image a pod names. It ends
/// when it is dropped.
pub struct Cluster {
    kubernetes: PathBuf,
    // Dropped, and thus ended, before the files of its processes.
    processes: Vec<Process>,
    network: Network,
    image: Image,
    folder: TempDir,
}

impl Cluster {
    /// Starts one; `None` if kubernetes or helm are to be skipped.
    pub fn start(options: &Options) -> Option<Self> {
        let (kubernetes, etcd) = (build::kubernetes()?, etcd::program()?);
        let helm = tools::helm()?;
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let network = Network::create(folder.path());
        let image = Image::around(Path::new(env!("CARGO_BIN_EXE_lanyard")));
        let place = Place { kubernetes: &kubernetes, etcd: &etcd, folder: folder.path(), network: &network };
        place.write_files();
        let processes = place.start_server();
        fs::create_dir(folder.path().join("bin")).unwrap();
        for command in [&kubernetes.join("kubectl"), &helm] {
            symlink(command, folder.path().join("bin").join(command.file_name().unwrap())).unwrap();
        }
        let mut cluster = Self { kubernetes, processes, network, image, folder };
        cluster.await_server();
        let Self { kubernetes, network, folder, .. } = &cluster;
        let place = Place { kubernetes, etcd: &etcd, folder: folder.path(), network };
        let controllers = place.start_controllers();
        cluster.processes.extend(controllers);
        // The first one shows that the controllers run.
        cluster.kubectl(&["wait", "--for=create", "serviceaccount/default", "--timeout=60s"]).ok();
        cluster.create_volumes();
        let kubelet = cluster.start_kubelet(options);
        cluster.processes.push(kubelet);
        if options.cert_manager {
            let cert_manager = cluster.start_cert_manager();
            cluster.processes.push(cert_manager);
        }
        Some(cluster)
    }

    /// Asks the API server until it is ready.
    fn await_server(&mut self) {
        let began = Instant::now();
        while self.kubectl(&["get", "--raw=/readyz"]).code != Some(0) {
            let ended = self.processes.iter_mut().position(|process| !process.runs());
            if ended.is_some() || began.elapsed() > START_LIMIT {
                // Never printed: it fails with the process's output.
                self.processes[ended.unwrap_or(1)].until("\0");
            }
        }
    }

    /// Volumes as local ones are: folders that everyone may write to.
    fn create_volumes(&self) {
        self.apply(&json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {"name": "local", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer",
        }));
        let node = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": ["node"]});
        for number in 0..VOLUMES {
            let path = self.folder.path().join(format!("volumes/{number}"));
            fs::create_dir_all(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
            self.apply(&json!({
                "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": format!("volume-{number}")},
                "spec": {
                    "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "local",
                    "local": {"path": path},
                    "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [node]}]}},
                },
            }));
        }
    }

    fn start_kubelet(&self, options: &Options) -> Process {
        let mut kubelet = self.network.command(Path::new("python3"));
        kubelet.args(["-B", "-u"]).arg(in_crate("tests/it/support/kubernetes/kubelet.py")).args(["--server", SERVER]);
        kubelet.arg("--pki").arg(self.folder.path().join("pki")).arg("--image").arg(&self.image.root);
        kubelet.arg("--folder").arg(self.folder.path());
        if options.never_renewed {
            kubelet.args(["--renew", "86400"]);
        }
        if options.apart {
            kubelet.arg("--apart");
        }
        if options.spiffe_csi {
            kubelet.arg(format!("--csi=csi.spiffe.io={}", text(&self.folder.path().join("sockets"))));
        }
        let kubelet = Process::start(&mut kubelet);
        kubelet.until("the node is registered");
        kubelet
    }

    fn start_cert_manager(&self) -> Process {
        let folder = build::cert_manager().unwrap();
        self.kubectl(&["create", "namespace", "cert-manager"]).ok();
        self.kubectl(&["create", "--filename", text(&folder.join("definitions"))]).ok();
        self.kubectl(&["wait", "--for=condition=Established", "--all", "customresourcedefinitions", "--timeout=60s"])
            .ok();
        let mut command = self.network.command(&folder.join("cert-manager"));
        let process = Process::start(command.arg(self.folder.path().join("admin.kubeconfig")));
        process.until("controllers run");
        process
    }

    /// The folder in which a socket `NAMESPACE/SERVICE-ACCOUNT/spire-agent.sock` is what the CSI driver mounts.
    pub fn sockets(&self) -> PathBuf {
        self.folder.path().join("sockets")
    }

    /// A command with the cluster's kubeconfig, and its kubectl and helm on the path.
    pub fn command(&self, program: &Path) -> Command {
        let bin = self.folder.path().join("bin");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths([bin].into_iter().chain(std::env::split_paths(&path))).unwrap();
        let mut command = self.network.command(program);
        command.env("PATH", path).env("KUBECONFIG", self.folder.path().join("admin.kubeconfig"));
        // Independent of the settings of the user who runs the tests.
        command.env("HOME", self.folder.path()).env("HELM_PLUGINS", "/nowhere");
        command
    }

    /// `kubectl ARGUMENTS`.
    pub fn kubectl(&self, arguments: &[&str]) -> Finished {
        run(self.command(&self.kubernetes.join("kubectl")).args(arguments))
    }

    /// `helm ARGUMENTS`.
    pub fn helm<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Finished {
        run(self.command(&self.folder.path().join("bin/helm")).args(arguments))
    }

    /// Lines of a shell, in this folder.
    pub fn shell(&self, folder: &Path, lines: &str) -> Finished {
        run(self.command(Path::new("sh")).args(["-e", "-c", &format!("cd '{}'\n{lines}", text(folder))]))
    }

    /// Creates an object, or changes it.
    pub fn apply(&self, object: &Value) {
        let mut apply = self.command(&self.kubernetes.join("kubectl"));
        run_with(apply.args(["apply", "--filename", "-"]), &object.to_string()).ok();
    }

    /// One object, or several as a list; `arguments` are those of `kubectl get`.
    pub fn get(&self, arguments: &[&str]) -> Value {
        self.kubectl(&[&["get", "--output=json"], arguments].concat()).json(0)
    }
}
