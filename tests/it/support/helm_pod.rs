//! Pods of the chart, run on this machine: a folder holds the contents of their volumes, with real certificates, and
//! the commands of their containers run with the rendered arguments and environment. Only paths and addresses differ.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::SystemClock;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::support::ca::TestCa;
use crate::support::cert_manager;
use crate::support::helm::Rendered;
use crate::support::helm::list;
use crate::support::leaf::Leaf;
use crate::support::process::free_ports;
use crate::support::process::text;
use crate::support::server::SEAL;
use crate::support::workload_api::Agent;
use crate::support::workload_api::context;
use crate::support::yaml;

/// The path of the binary in the image.
const BINARY: &str = "/usr/local/bin/lanyard";

/// A substitute for the cluster of a release.
pub struct Site {
    pub rendered: Rendered,
    values: Value,
    /// The rendered configuration.
    pub config: Value,
    /// The CA of the release's own trust domain.
    ca: TestCa,
    /// The Secrets with certificates that are not the chart's own, by name.
    leaves: RefCell<BTreeMap<String, Leaf>>,
    /// The ports of the server's container, by name: the rendered one, and the one on this machine.
    ports: BTreeMap<String, (u64, u16)>,
    agents: RefCell<Vec<Agent>>,
    /// The runtime of the agents. It ends when the other end of the channel is dropped.
    runtime: Handle,
    _runs: oneshot::Sender<()>,
    dir: TempDir,
}

impl Site {
    /// A cluster for these values; `None` if helm is to be skipped.
    pub fn of(path: &Path, flags: &[&str]) -> Option<Self> {
        let rendered = Rendered::of(path, flags)?;
        let values = yaml::value(&fs::read_to_string(path).unwrap());
        let config = rendered.named("ConfigMap", rendered.server()["metadata"]["name"].as_str().unwrap()).unwrap();
        let config = yaml::value(config["data"]["lanyard.yaml"].as_str().unwrap());
        let ca = TestCa::at(config["trust"]["trust_domain"].as_str().unwrap(), SystemClock.now());
        let container = &rendered.server()["spec"]["template"]["spec"]["containers"][0];
        let free: [u16; 3] = free_ports();
        let ports = list(&container["ports"]).iter().zip(free).map(|(port, free)| {
            (port["name"].as_str().unwrap().to_owned(), (port["containerPort"].as_u64().unwrap(), free))
        });
        let ports = ports.collect();
        let (leaves, agents) = (RefCell::default(), RefCell::default());
        let (runs, ended) = oneshot::channel::<()>();
        let runs_on = Builder::new_current_thread().enable_all().build().unwrap();
        let runtime = runs_on.handle().clone();
        thread::spawn(move || runs_on.block_on(ended));
        Some(Self {
            rendered,
            values,
            config,
            ca,
            leaves,
            ports,
            agents,
            runtime,
            _runs: runs,
            dir: TempDir::new().unwrap(),
        })
    }

    /// The port on this machine for a port of the server.
    pub fn port(&self, name: &str) -> u16 {
        self.ports[name].1
    }

    /// The pod that runs the server, with an empty store.
    pub fn server(&self) -> Pod<'_> {
        let server = self.rendered.server();
        self.pod("server", &server["spec"]["template"]["spec"], &server["spec"]["volumeClaimTemplates"])
    }

    /// The pod of the Job that registers clients.
    pub fn registrations(&self) -> Option<Pod<'_>> {
        let job = self.rendered.all("Job").next()?;
        Some(self.pod("admin", &job["spec"]["template"]["spec"], &Value::Null))
    }

    /// The pod of `helm test`.
    pub fn test(&self) -> Option<Pod<'_>> {
        Some(self.pod("test", &self.rendered.all("Pod").next()?["spec"], &Value::Null))
    }

    /// Builds a pod. `part` is also the name of its identity in the values.
    fn pod<'a>(&'a self, part: &'static str, spec: &'a Value, claims: &Value) -> Pod<'a> {
        let pod = Pod { site: self, spec, root: self.dir.path().join(part) };
        let volumes = self.dir.path().join(format!("{part}-volumes"));
        let folder = |volume: &Value| volumes.join(volume["name"].as_str().unwrap());
        for volume in list(&spec["volumes"]) {
            fs::create_dir_all(folder(volume)).unwrap();
            self.fill(&pod, part, volume, &folder(volume));
        }
        for claim in list(claims) {
            fs::create_dir_all(folder(&claim["metadata"])).unwrap();
        }
        for path in pod.mounts() {
            let (volume, target) = (volumes.join(path.1), pod.path(path.0));
            assert!(volume.is_dir(), "{}: no volume for {}", self.rendered.name, path.0);
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            if !target.exists() {
                symlink(&volume, &target).unwrap();
            }
            assert_eq!(fs::read_link(&target).unwrap(), volume, "two volumes, or one within another: {}", path.0);
        }
        pod
    }

    fn fill(&self, pod: &Pod<'_>, part: &str, volume: &Value, folder: &Path) {
        let one = std::slice::from_ref(volume);
        let sources = volume.get("projected").map_or(one, |projected| list(&projected["sources"]));
        for source in sources {
            if let Some(map) = source.get("configMap") {
                self.put(pod, part, "ConfigMap", map["name"].as_str().unwrap(), &map["items"], folder);
            } else if let Some(secret) = source.get("secret") {
                let name = secret.get("secretName").or(secret.get("name")).unwrap();
                self.put(pod, part, "Secret", name.as_str().unwrap(), &secret["items"], folder);
            } else if source.get("csi").is_some_and(|csi| csi["driver"] == "csi.spiffe.io") {
                self.run_agent(part, pod, &folder.join("spire-agent.sock"));
            } else {
                assert!(source.get("emptyDir").is_some(), "{}: {source}", self.rendered.name);
            }
        }
    }

    /// Writes the contents of a `ConfigMap` or Secret, of the chart's own or from elsewhere.
    fn put(&self, pod: &Pod<'_>, part: &str, kind: &str, name: &str, items: &Value, folder: &Path) {
        let own = self.rendered.named(kind, name);
        let mut wanted: Vec<(&str, &str)> =
            list(items).iter().map(|item| (item["key"].as_str().unwrap(), item["path"].as_str().unwrap())).collect();
        if items.is_null() {
            let keys = own.map_or_else(
                || vec!["ca.crt"],
                |own| own["data"].as_object().unwrap().keys().map(String::as_str).collect(),
            );
            wanted = keys.into_iter().map(|key| (key, key)).collect();
        }
        for (key, path) in wanted {
            let contents =
                match own.map(|own| own["data"][key].as_str().unwrap_or_else(|| panic!("{name} has no {key}"))) {
                    Some(data) if kind == "Secret" => String::from_utf8(STANDARD.decode(data).unwrap()).unwrap(),
                    Some(data) => pod.mapped(&self.listening(data)),
                    None => {
                        let known = cert_manager::SECRET_KEYS.contains(&key);
                        assert!(known || self.requested(name).is_none(), "cert-manager writes no {key} into {name}");
                        self.external_file(pod, part, name, path)
                    }
                };
            fs::create_dir_all(folder.join(path).parent().unwrap()).unwrap();
            fs::write(folder.join(path), contents).unwrap();
        }
    }

    /// The content of a file whose `ConfigMap` or Secret is not the chart's.
    fn external_file(&self, pod: &Pod<'_>, part: &str, name: &str, path: &str) -> String {
        let own_bundle = format!("{}.pem", self.config["trust"]["trust_domain"].as_str().unwrap());
        match path {
            "tls.crt" | "tls.key" => {
                let mut leaves = self.leaves.borrow_mut();
                let leaf = leaves.entry(name.to_owned()).or_insert_with(|| self.certificate(pod, part, name));
                if path == "tls.crt" { leaf.chain_pem() } else { leaf.key_pem() }
            }
            "key-encryption-key" => SEAL.to_owned(),
            path if path == "ca.pem" || path == own_bundle => self.ca.pem(),
            _ => TestCa::at(name, SystemClock.now()).pem(),
        }
    }

    /// The Certificate for this Secret, if there is one.
    fn requested(&self, secret: &str) -> Option<&Value> {
        self.rendered.all("Certificate").find(|certificate| certificate["spec"]["secretName"] == secret)
    }

    /// A certificate as cert-manager makes it where there is a Certificate for this Secret, or else as the examples
    /// require.
    fn certificate(&self, pod: &Pod<'_>, part: &str, secret: &str) -> Leaf {
        let requested = self.requested(secret);
        let certificate = requested.map_or_else(
            || {
                assert!(self.values["certificates"]["secret"].is_object(), "no source makes the Secret {secret}");
                self.ca.svid(&self.identity(part, pod))
            },
            |requested| cert_manager::issue(&self.ca, &requested["spec"]),
        );
        if part == "server" { certificate.dns("localhost").issue() } else { certificate.issue() }
    }

    /// The SPIFFE ID in the values, or else the one of the service account.
    pub fn identity(&self, part: &str, pod: &Pod<'_>) -> String {
        let configured = [&self.values["registrations"][part]["spiffeId"], &self.values[part]["spiffeId"]];
        let account = pod.spec["serviceAccountName"].as_str().unwrap();
        let trust_domain = self.config["trust"]["trust_domain"].as_str().unwrap();
        let by_account = || format!("spiffe://{trust_domain}/ns/{}/sa/{account}", self.rendered.namespace);
        configured.iter().find_map(|configured| configured.as_str()).map_or_else(by_account, ToOwned::to_owned)
    }

    /// Runs an agent that identifies this pod by its service account.
    fn run_agent(&self, part: &str, pod: &Pod<'_>, socket: &Path) {
        let id = self.identity(part, pod);
        let svid = self.ca.svid(&id);
        let svid = if part == "server" { svid.dns("localhost") } else { svid };
        let _inside = self.runtime.enter();
        let agent = Agent::start(socket.to_owned());
        agent.say(&context(&svid.issue(), &id, &[&self.ca], &[]));
        self.agents.borrow_mut().push(agent);
    }

    /// The configuration with addresses of this machine. The ports in it must be those of the container.
    fn listening(&self, data: &str) -> String {
        let Ok(Value::Object(config)) = yaml::document::<Value>(data) else { return data.to_owned() };
        let mut data = data.to_owned();
        let listeners = config.get("listeners").and_then(Value::as_object).into_iter().flatten();
        for (name, address) in listeners.filter(|(name, _)| *name != "proxy_protocol_from") {
            let (address, (rendered, here)) = (address.as_str().unwrap(), self.ports[name]);
            assert_eq!(address.rsplit_once(':').unwrap().1, rendered.to_string(), "{}: {name}", self.rendered.name);
            data = data.replace(address, &format!("127.0.0.1:{here}"));
        }
        data
    }

    /// The address on this machine for one in the cluster: a Service of the chart, whose name must be in the
    /// certificate.
    fn address(&self, url: &str) -> Option<String> {
        let (host, port) = url.strip_prefix("https://")?.rsplit_once(':')?;
        let (service, rest) = host.split_once('.')?;
        let service = self.rendered.named("Service", service)?;
        assert!(rest.starts_with(&format!("{}.svc", self.rendered.namespace)), "{url}");
        let port: u16 = port.parse().unwrap();
        let port = list(&service["spec"]["ports"]).iter().find(|one| one["port"] == port);
        let port = port.unwrap_or_else(|| panic!("{}: no port of the Service for {url}", self.rendered.name));
        for server in self.rendered.all("Certificate").filter(|one| one["spec"]["dnsNames"].is_array()) {
            assert!(list(&server["spec"]["dnsNames"]).contains(&Value::from(host)), "{host} is not in the certificate");
        }
        Some(format!("https://localhost:{}", self.port(port["targetPort"].as_str().unwrap())))
    }
}

/// One pod, with its volumes filled.
pub struct Pod<'a> {
    site: &'a Site,
    pub spec: &'a Value,
    root: PathBuf,
}

impl<'a> Pod<'a> {
    pub fn init_containers(&self) -> &'a [Value] {
        list(&self.spec["initContainers"])
    }

    pub fn containers(&self) -> &'a [Value] {
        list(&self.spec["containers"])
    }
}

impl Pod<'_> {
    /// The mount paths in its containers and their volumes.
    fn mounts(&self) -> impl Iterator<Item = (&str, &str)> {
        let mounts = self.init_containers().iter().chain(self.containers());
        mounts.flat_map(|container| list(&container["volumeMounts"])).map(|mount| {
            assert!(mount["subPath"].is_null(), "files under a subPath are not updated");
            (mount["mountPath"].as_str().unwrap(), mount["name"].as_str().unwrap())
        })
    }

    /// The path on this machine for a path in its containers.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A text with the paths of this machine.
    fn mapped(&self, text: &str) -> String {
        let mut mapped = text.to_owned();
        let mut paths: Vec<&str> = self.mounts().map(|(path, _)| path).collect();
        paths.sort_unstable();
        paths.dedup();
        for path in paths {
            let whole = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric() || "-_.".contains(next));
            let mut parts = mapped.split(path);
            let mut result = parts.next().unwrap().to_owned();
            for rest in parts {
                if whole(rest) {
                    result.push_str(self::text(&self.root));
                }
                result.push_str(path);
                result.push_str(rest);
            }
            mapped = result;
        }
        mapped
    }

    /// The command of a container, with only the rendered environment.
    pub fn command(&self, container: &Value) -> Command {
        self.other_command(container, list(&container["args"]).iter().map(|argument| argument.as_str().unwrap()))
    }

    /// The image's binary with other arguments, in the place of a container.
    pub fn other_command<'a>(&self, container: &Value, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        assert_eq!(container["command"], serde_json::json!([BINARY]), "there is nothing else in the image");
        let mut command = Command::new(env!("CARGO_BIN_EXE_lanyard"));
        command.env_clear().current_dir(&self.root).args(arguments.into_iter().map(|argument| self.mapped(argument)));
        for variable in list(&container["env"]) {
            let (name, value) = (variable["name"].as_str().unwrap(), variable["value"].as_str().unwrap());
            command.env(name, self.site.address(value).unwrap_or_else(|| self.mapped(value)));
        }
        assert!(container["envFrom"].is_null());
        command
    }
}

/// The flags with which the commands of a container connect to the Workload API, if they do.
pub fn connection_flags(container: &Value) -> Vec<&str> {
    let arguments = list(&container["args"]).iter().map(|argument| argument.as_str().unwrap());
    arguments.filter(|argument| argument.starts_with("--workload-api")).collect()
}
