//! One release of the chart in a namespace of a cluster, installed as its example says.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;

use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::SystemClock;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::support::ca::TestCa;
use crate::support::child::BINARY;
use crate::support::helm;
use crate::support::helm::RELEASE;
use crate::support::helm::list;
use crate::support::kubernetes::Cluster;
use crate::support::leaf::Leaf;
use crate::support::process::Finished;
use crate::support::process::run;
use crate::support::process::text;
use crate::support::server::in_crate;
use crate::support::yaml;

/// Kinds of which the chart, Helm or cert-manager make objects.
const KINDS: &str = "configmaps,jobs,networkpolicies,persistentvolumeclaims,poddisruptionbudgets,pods,secrets,\
    serviceaccounts,services,statefulsets";

/// A namespace with what an example needs, and the release in it.
pub struct Release<'a> {
    pub cluster: &'a Cluster,
    pub example: PathBuf,
    pub values: Value,
    pub namespace: String,
    /// The commands at the beginning of the example.
    commands: Vec<String>,
    /// The CA of the trust domain.
    pub ca: TestCa,
    /// The CA of an etcd of one's own.
    pub etcd_ca: TestCa,
    /// Where those commands run.
    pub folder: TempDir,
}

impl<'a> Release<'a> {
    /// A namespace with the policy `restricted`, in which the commands before `helm install` have run.
    pub fn prepare(cluster: &'a Cluster, name: &str) -> Self {
        let example = helm::example(name);
        let source = fs::read_to_string(&example).unwrap();
        let commands = commands(&source);
        let values = yaml::value(&source);
        let trust_domain = values["trustDomain"].as_str().unwrap();
        let namespace = if source.contains("--namespace lanyard ") { "lanyard" } else { "identity" }.to_owned();
        let ca = TestCa::at(trust_domain, SystemClock.now());
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let etcd_ca = TestCa::at("etcd", SystemClock.now());
        let release = Self { cluster, example, values, namespace, commands, ca, etcd_ca, folder };
        let enforced =
            ["enforce", "warn"].map(|what| (format!("pod-security.kubernetes.io/{what}"), json!("restricted")));
        let labels: serde_json::Map<String, Value> = enforced.into_iter().collect();
        let metadata = json!({"name": release.namespace, "labels": labels});
        cluster.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}));
        // What Kubernetes itself puts into each namespace.
        for own in ["configmap/kube-root-ca.crt", "serviceaccount/default"] {
            release.kubectl(&["wait", "--for=create", own, "--timeout=60s"]).ok();
        }
        release.write_files();
        for command in &release.commands {
            if !command.starts_with("helm ") && !command.starts_with("kubectl create namespace ") {
                cluster.shell(release.folder.path(), command).ok();
            }
        }
        release
    }

    /// The files that the commands name, and the chart.
    fn write_files(&self) {
        let write = |name: &str, content: String| fs::write(self.folder.path().join(name), content).unwrap();
        let pair = |name: &str, leaf: &Leaf| {
            write(&format!("{name}.pem"), leaf.chain_pem());
            write(&format!("{name}-key.pem"), leaf.key_pem());
        };
        pair("server", &self.server_certificate());
        pair("admin", &self.ca.svid(&self.identity("admin")).issue());
        pair("test", &self.ca.svid(&self.identity("test")).issue());
        pair("etcd-client", &self.etcd_ca.client_certificate().common_name("lanyard").issue());
        write("bundle.pem", self.ca.pem());
        write("etcd-ca.pem", self.etcd_ca.pem());
        for other in ["corp", "collector"] {
            write(&format!("{other}-ca.pem"), TestCa::at(other, SystemClock.now()).pem());
        }
        symlink(in_crate("helm"), self.folder.path().join("helm")).unwrap();
    }

    pub fn server_certificate(&self) -> Leaf {
        let host = format!("{RELEASE}.{}.svc", self.namespace);
        self.ca.svid(&self.identity("")).dns(&host).dns(&format!("{host}.cluster.local")).issue()
    }

    /// The SPIFFE ID of the server (an empty name), the admin or the test.
    pub fn identity(&self, part: &str) -> String {
        let configured = &self.values["registrations"][part]["spiffeId"];
        let account = if part.is_empty() { RELEASE.to_owned() } else { format!("{RELEASE}-{part}") };
        let trust_domain = self.values["trustDomain"].as_str().unwrap();
        let by_account = || format!("spiffe://{trust_domain}/ns/{}/sa/{account}", self.namespace);
        configured.as_str().map_or_else(by_account, ToOwned::to_owned)
    }

    /// Whether the values name, or the chart makes, a certificate for the Job.
    pub fn has_admin(&self) -> bool {
        self.values["certificates"]["secret"].is_null() || self.values["registrations"]["admin"]["secret"].is_string()
    }

    /// Whether there is a pod for `helm test`.
    pub fn has_test(&self) -> bool {
        self.values["certificates"]["secret"].is_null() || self.values["test"]["secret"].is_string()
    }

    /// The example's own command.
    pub fn install(&self) -> Finished {
        let mut install = self.commands.iter().filter(|command| command.contains(" helm/lanyard "));
        self.cluster.shell(self.folder.path(), install.next().unwrap())
    }

    /// `helm COMMAND lanyard CHART`, with the example's values and then these flags.
    pub fn helm(&self, command: &str, flags: &[&str]) -> Finished {
        let chart = in_crate("helm/lanyard");
        let always = [command, RELEASE, text(&chart), "--namespace", &self.namespace, "--values", text(&self.example)];
        self.cluster.helm([&always[..], flags].concat())
    }

    /// `helm upgrade`, which must succeed.
    #[track_caller]
    pub fn upgrade(&self, flags: &[&str]) -> String {
        self.helm("upgrade", &[&["--wait", "--timeout", "15m"], flags].concat()).ok()
    }

    /// Values in a file of this name, for `--values`.
    pub fn values_file(&self, name: &str, values: &Value) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, values.to_string()).unwrap();
        text(&path).to_owned()
    }

    /// `helm COMMAND lanyard FLAGS` without a chart, such as `rollback`, which must succeed.
    #[track_caller]
    pub fn release(&self, command: &str, flags: &[&str]) -> String {
        self.cluster.helm([&[command, RELEASE, "--namespace", &self.namespace], flags].concat()).ok()
    }

    /// `kubectl COMMAND` in the namespace.
    pub fn kubectl(&self, command: &[&str]) -> Finished {
        self.cluster.kubectl(&[command, &["--namespace", &self.namespace]].concat())
    }

    /// `kubectl get` in the namespace.
    #[track_caller]
    pub fn get(&self, what: &[&str]) -> Value {
        self.cluster.get(&[what, &["--namespace", &self.namespace]].concat())
    }

    /// The server's `StatefulSet` is ready; how often its specification has changed, and its pod.
    #[track_caller]
    pub fn server(&self) -> (u64, String) {
        let set = self.get(&["statefulset/lanyard"]);
        assert_eq!(set["status"]["readyReplicas"], 1, "{set}");
        let pod = self.get(&["pod/lanyard-0"]);
        (set["metadata"]["generation"].as_u64().unwrap(), pod["metadata"]["uid"].as_str().unwrap().to_owned())
    }

    /// What a command of the image prints in the place of the hook Job's, with its rights, and how it ends. The pod is
    /// deleted.
    #[track_caller]
    pub fn as_admin(&self, arguments: &[&str]) -> Finished {
        let hooks = self.cluster.helm(["get", "hooks", RELEASE, "--namespace", &self.namespace]).ok();
        let hooks: Vec<Value> = yaml::documents(&hooks);
        let job = hooks.into_iter().find(|hook| hook["kind"] == "Job").unwrap();
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "admin"}});
        pod["metadata"]["namespace"] = self.namespace.clone().into();
        pod["spec"] = job["spec"]["template"]["spec"].clone();
        let own = list(&pod["spec"]["containers"][0]["args"]).iter().filter_map(Value::as_str);
        let connection = own.filter(|argument| argument.starts_with("--workload-api"));
        let arguments: Vec<String> = arguments.iter().copied().chain(connection).map(ToOwned::to_owned).collect();
        pod["spec"]["containers"][0]["args"] = arguments.into();
        self.cluster.apply(&pod);
        let ended = "--for=jsonpath={.status.containerStatuses[0].state.terminated.exitCode}";
        self.kubectl(&["wait", ended, "pod/admin", "--timeout=60s"]).ok();
        let state = &self.get(&["pod/admin"])["status"]["containerStatuses"][0]["state"]["terminated"];
        let code = state["exitCode"].as_i64().map(|code| i32::try_from(code).unwrap());
        let stdout = self.kubectl(&["logs", "admin"]).ok();
        self.kubectl(&["delete", "pod/admin"]).ok();
        Finished { code, stdout, stderr: String::new() }
    }

    /// A command of a caller in the cluster, through the Service, with the certificate in the files of this name.
    pub fn call(&self, certificate: &str, arguments: &[&str]) -> Finished {
        let file = |name: &str| self.folder.path().join(name);
        let mut command = self.cluster.command(Path::new(BINARY));
        command.args(arguments).env("LANYARD_CONTEXTS", "/nonexistent/contexts.yaml");
        command.env("LANYARD_SERVER", format!("https://{RELEASE}.{}.svc.cluster.local:8443", self.namespace));
        command.env("LANYARD_CA", file("bundle.pem"));
        command.env("LANYARD_CERT", file(&format!("{certificate}.pem")));
        run(command.env("LANYARD_KEY", file(&format!("{certificate}-key.pem"))))
    }

    /// The names of all that is registered of a kind.
    pub fn registered(&self, kind: &str, key: &str) -> BTreeSet<String> {
        let found = self.as_admin(&[kind, "list", "-o", "json"]).json(0);
        list(&found).iter().map(|one| one[key].as_str().unwrap().to_owned()).collect()
    }

    /// The names of all objects in the namespace, as kubectl prints them.
    pub fn objects(&self) -> BTreeSet<String> {
        let found = self.kubectl(&["get", KINDS, "--output=name"]).ok();
        found.lines().map(ToOwned::to_owned).collect()
    }

    /// `helm uninstall`, until the pod is gone.
    pub fn uninstall(&self) {
        self.release("uninstall", &["--wait", "--timeout", "5m"]);
        self.kubectl(&["wait", "--for=delete", "pod/lanyard-0", "--timeout=60s"]).ok();
    }

    /// Deletes the namespace, and waits until it is gone. The claims go first: Kubernetes looks again only after some seconds
    /// whether a namespace is empty.
    pub fn delete_namespace(&self) {
        self.kubectl(&["delete", "persistentvolumeclaims,pods", "--all"]).ok();
        self.cluster.kubectl(&["delete", "namespace", &self.namespace, "--timeout=120s"]).ok();
    }
}

/// The commands in the comment at the beginning of an example, kubectl's and helm's, each with its here-document.
fn commands(source: &str) -> Vec<String> {
    let mut lines =
        source.lines().map_while(|line| line.strip_prefix('#')).map(|line| line.strip_prefix("   ").unwrap_or(""));
    let mut commands = Vec::new();
    while let Some(line) = lines.next() {
        if line.starts_with("kubectl ") || line.starts_with("helm ") {
            let mut command = vec![line];
            if line.contains(" <<END") {
                command.extend(lines.by_ref().take_while(|more| *more != "END"));
                command.push("END");
            }
            commands.push(command.join("\n"));
        }
    }
    commands
}

#[test]
fn the_commands_of_an_example_are_found_with_their_documents() {
    let source = "# First.\n#\n#   docker build .\n#   kubectl apply --filename - <<END\n#   {a: 1}\n#   END\n#   helm install lanyard\n# B: \nc: 1";
    assert_eq!(commands(source), ["kubectl apply --filename - <<END\n{a: 1}\nEND", "helm install lanyard"]);
}
