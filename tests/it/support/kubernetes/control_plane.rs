//! The processes of a control plane, their certificates and their ports.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::SystemClock;
use rcgen::DnType;
use serde_json::json;

use crate::support::ca::TestCa;
use crate::support::kubernetes::network::Network;
use crate::support::process::Process;
use crate::support::process::text;

/// Where the API server listens, in the network of the cluster.
pub const SERVER: &str = "https://127.0.0.1:6443";
const ETCD: &str = "http://127.0.0.1:2379";
const ETCD_PEERS: &str = "http://127.0.0.1:2380";

/// The folders of the commands, and the folder of one cluster.
pub struct Place<'a> {
    pub kubernetes: &'a Path,
    pub etcd: &'a Path,
    pub folder: &'a Path,
    pub network: &'a Network,
}

impl Place<'_> {
    fn file(&self, name: &str) -> String {
        text(&self.folder.join("pki").join(name)).to_owned()
    }

    /// Writes the certificates, each with its key, and a kubeconfig for each client.
    pub fn write_files(&self) {
        fs::create_dir_all(self.folder.join("pki")).unwrap();
        let ca = TestCa::at("kubernetes", SystemClock.now());
        let write = |name: &str, content: String| fs::write(self.file(name), content).unwrap();
        write("ca.pem", ca.pem());
        let server = ca.client_certificate().common_name("kube-apiserver").ip([127, 0, 0, 1].into());
        let client = |name: &str| ca.client_certificate().common_name(name);
        for (name, certificate) in [
            ("apiserver", server),
            ("admin", client("admin").attribute(DnType::OrganizationName, "system:masters")),
            ("controller-manager", client("system:kube-controller-manager")),
            ("scheduler", client("system:kube-scheduler")),
            ("service-accounts", client("service-accounts")),
        ] {
            let leaf = certificate.issue();
            write(&format!("{name}.pem"), leaf.chain_pem());
            write(&format!("{name}-key.pem"), leaf.key_pem());
        }
        for name in ["admin", "controller-manager", "scheduler"] {
            let user = json!({
                "client-certificate": self.file(&format!("{name}.pem")),
                "client-key": self.file(&format!("{name}-key.pem")),
            });
            let cluster = json!({"server": SERVER, "certificate-authority": self.file("ca.pem")});
            let config = json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "here",
                "clusters": [{"name": "here", "cluster": cluster}],
                "users": [{"name": name, "user": user}],
                "contexts": [{"name": "here", "context": {"cluster": "here", "user": name}}],
            });
            fs::write(self.kubeconfig(name), config.to_string()).unwrap();
        }
    }

    /// The kubeconfig of a client.
    pub fn kubeconfig(&self, client: &str) -> PathBuf {
        self.folder.join(format!("{client}.kubeconfig"))
    }

    fn component(&self, name: &str) -> Command {
        let folder = if name == "etcd" { self.etcd } else { self.kubernetes };
        self.network.command(&folder.join(name))
    }

    /// Starts etcd and the API server.
    pub fn start_server(&self) -> Vec<Process> {
        let mut etcd = self.component("etcd");
        etcd.arg("--data-dir").arg(self.folder.join("etcd")).args(["--unsafe-no-fsync", "--log-level", "warn"]);
        etcd.args(["--listen-client-urls", ETCD, "--advertise-client-urls", ETCD, "--listen-peer-urls", ETCD_PEERS]);
        let mut server = self.component("kube-apiserver");
        server.args(["--etcd-servers", ETCD, "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1"]);
        // Its own address is no endpoint, since it is a loopback address.
        server.args(["--endpoint-reconciler-type", "none", "--service-cluster-ip-range", "10.96.0.0/16"]);
        server.args(["--tls-cert-file", &self.file("apiserver.pem")]);
        server.args(["--tls-private-key-file", &self.file("apiserver-key.pem")]);
        server.args(["--client-ca-file", &self.file("ca.pem"), "--authorization-mode", "Node,RBAC"]);
        server.args(["--service-account-issuer", "https://kubernetes.default.svc"]);
        server.args(["--service-account-key-file", &self.file("service-accounts.pem")]);
        server.args(["--service-account-signing-key-file", &self.file("service-accounts-key.pem")]);
        server.args(["--kubelet-preferred-address-types", "InternalIP"]);
        vec![Process::start(&mut etcd), Process::start(&mut server)]
    }

    /// Starts the controllers and the scheduler, which end if the API server is not there.
    pub fn start_controllers(&self) -> Vec<Process> {
        let mut controllers = self.component("kube-controller-manager");
        controllers.arg("--kubeconfig").arg(self.kubeconfig("controller-manager"));
        controllers.args(["--leader-elect=false", "--secure-port=0", "--use-service-account-credentials"]);
        // The kubelet of the tests sends no heartbeats.
        controllers.args(["--node-monitor-grace-period=24h", "--root-ca-file", &self.file("ca.pem")]);
        controllers.args(["--service-account-private-key-file", &self.file("service-accounts-key.pem")]);
        let mut scheduler = self.component("kube-scheduler");
        scheduler.arg("--kubeconfig").arg(self.kubeconfig("scheduler"));
        scheduler.args(["--leader-elect=false", "--secure-port=0"]);
        vec![Process::start(&mut controllers), Process::start(&mut scheduler)]
    }
}
