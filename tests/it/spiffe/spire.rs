//! A real SPIRE server and agent: Lanyard starts from the agent's socket, and a workload that SPIRE knows gets a token.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use lanyard::proto::CreateClientRequest;
use lanyard::proto::Decision;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::registry_service_client::RegistryServiceClient;
use lanyard::proto::token_service_client::TokenServiceClient;
use lanyard::proto::validate_binding_request::Evidence;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

use crate::support::calls::use_of;
use crate::support::child::Serve;
use crate::support::child::real_time;
use crate::support::process::Process;
use crate::support::process::free_ports;
use crate::support::process::run;
use crate::support::process::text;
use crate::support::server::Setup;
use crate::support::server::channel;
use crate::support::server::spiffe_client;
use crate::support::tools;
use crate::support::workload_api::LANYARD;

const CHECKOUT: &str = "spiffe://prod.example/checkout";
const NODE: &str = "spiffe://prod.example/node";

/// A server and an agent of SPIRE; killed when dropped.
struct Spire {
    commands: PathBuf,
    folder: PathBuf,
    server: Process,
    agent: Option<Process>,
}

impl Spire {
    /// Only the server runs yet: an agent knows at once what is registered before it starts.
    fn start(commands: PathBuf, folder: PathBuf) -> Self {
        let [port] = free_ports();
        let at = |name: &str| text(&folder.join(name)).to_owned();
        let config = format!(
            r#"server {{
                bind_address = "127.0.0.1"
                bind_port = "{port}"
                socket_path = "{}"
                trust_domain = "prod.example"
                data_dir = "{}"
            }}
            plugins {{
                DataStore "sql" {{ plugin_data {{ database_type = "sqlite3", connection_string = "{}" }} }}
                NodeAttestor "join_token" {{ plugin_data {{}} }}
                KeyManager "memory" {{ plugin_data {{}} }}
            }}"#,
            at("server.sock"),
            at("server"),
            at("datastore.sqlite3"),
        );
        fs::write(folder.join("server.conf"), config).unwrap();
        let mut command = Command::new(commands.join("spire-server"));
        let server = Process::start(command.args(["run", "-config", &at("server.conf")]));
        server.until("Starting Server APIs");
        let spire = Self { commands, folder, server, agent: None };
        // Both APIs are announced; each verb says itself whether its own is there.
        fs::write(spire.folder.join("root.pem"), spire.server(&["bundle", "show"])).unwrap();
        fs::write(spire.folder.join("port"), port.to_string()).unwrap();
        spire
    }

    fn server(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(self.commands.join("spire-server"));
        run(command.args(arguments).arg("-socketPath").arg(self.folder.join("server.sock"))).ok()
    }

    /// Whoever runs as this user from this file is this workload.
    fn register(&self, spiffe_id: &str, program: &Path) {
        let user = fs::metadata("/proc/self").unwrap().uid();
        let selectors = [format!("unix:uid:{user}"), format!("unix:path:{}", text(program))];
        let [user, program] = [&selectors[0], &selectors[1]];
        let entry = ["entry", "create", "-parentID", NODE, "-spiffeID", spiffe_id, "-dns", "localhost"];
        self.server(&[&entry[..], &["-selector", user, "-selector", program]].concat());
    }

    fn start_agent(&mut self) {
        let said = self.server(&["token", "generate", "-spiffeID", NODE]);
        let token = said.lines().find_map(|line| line.strip_prefix("Token: ")).unwrap();
        let at = |name: &str| text(&self.folder.join(name)).to_owned();
        let config = format!(
            r#"agent {{
                server_address = "127.0.0.1"
                server_port = "{}"
                socket_path = "{}"
                trust_domain = "prod.example"
                trust_bundle_path = "{}"
                data_dir = "{}"
                join_token = "{token}"
            }}
            plugins {{
                NodeAttestor "join_token" {{ plugin_data {{}} }}
                KeyManager "memory" {{ plugin_data {{}} }}
                WorkloadAttestor "unix" {{ plugin_data {{ discover_workload_path = true }} }}
            }}"#,
            fs::read_to_string(self.folder.join("port")).unwrap(),
            at("agent.sock"),
            at("root.pem"),
            at("agent"),
        );
        fs::write(self.folder.join("agent.conf"), config).unwrap();
        let mut command = Command::new(self.commands.join("spire-agent"));
        let agent = Process::start(command.args(["run", "-config", &at("agent.conf")]));
        agent.until("Starting Workload and SDS APIs");
        self.agent = Some(agent);
    }

    /// What the agent gives the program `spire-agent` when it asks as a workload: its TLS, and its certificate.
    fn fetch(&self) -> (ClientConfig, CertificateDer<'static>) {
        let mut command = Command::new(self.commands.join("spire-agent"));
        let fetch = command.args(["api", "fetch", "x509", "-socketPath"]).arg(self.folder.join("agent.sock"));
        run(fetch.arg("-write").arg(&self.folder)).ok();
        let read = |name: &str| fs::read(self.folder.join(name)).unwrap();
        let certificates = |pem: &[u8]| CertificateDer::pem_slice_iter(pem).map(Result::unwrap).collect::<Vec<_>>();
        let mut roots = RootCertStore::empty();
        for root in certificates(&read("bundle.0.pem")) {
            roots.add(root).unwrap();
        }
        let chain = certificates(&read("svid.0.pem"));
        let key = PrivateKeyDer::from_pem_slice(&read("svid.0.key")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let leaf = chain[0].clone();
        let mut config = builder.with_root_certificates(roots).with_client_auth_cert(chain, key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        (config, leaf)
    }
}

#[tokio::test]
#[ignore = "long: builds SPIRE once; .ci/run-long runs it"]
async fn a_server_on_a_real_spire_agent_issues_a_token_for_as_long_as_it_may() {
    let Some(commands) = tools::spire() else { return };
    let setup = real_time();
    let socket = setup.path("agent.sock");
    let roles =
        format!("{{admins: [{{spiffe_id: '{CHECKOUT}'}}], proxies: [{{spiffe_id: '{CHECKOUT}', resources: ['*']}}]}}");
    let section = format!("{{endpoint_socket: 'unix://{}', start_timeout: 1m}}", text(&socket));
    let setup = Setup { files: false, workload_api: Some(section), roles, ..setup };
    setup.write();
    let mut spire = Spire::start(commands, setup.dir.path().to_owned());
    spire.register(LANYARD, Path::new(env!("CARGO_BIN_EXE_lanyard")));
    spire.register(CHECKOUT, &spire.commands.join("spire-agent"));
    spire.start_agent();
    let serve = Serve::start(&setup, 1024);
    let (config, leaf) = spire.fetch();

    let mut registry = RegistryServiceClient::new(channel(serve.mtls, config.clone()));
    let request = CreateClientRequest { client: Some(spiffe_client(CHECKOUT)), ..Default::default() };
    registry.create_client(request).await.unwrap();
    let mut tokens = TokenServiceClient::new(channel(serve.mtls, config.clone()));
    let token = tokens.issue_token(IssueTokenRequest::default()).await.unwrap().into_inner().access_token;
    let mut bindings = lanyard::proto::binding_service_client::BindingServiceClient::new(channel(serve.mtls, config));
    let thief = setup.ca.svid(CHECKOUT).issue();
    for (certificate, decision) in [(&leaf, Decision::Allow), (thief.certificate(), Decision::Deny)] {
        let evidence = Some(Evidence::Certificate(certificate.to_vec()));
        let question = lanyard::proto::ValidateBindingRequest { evidence, ..use_of(&token) };
        let answer = bindings.validate_binding(question).await.unwrap().into_inner();
        assert_eq!(answer.decision(), decision, "{answer:?}");
    }
    assert!(spire.server.runs() && spire.agent.as_mut().is_some_and(Process::runs));
}
