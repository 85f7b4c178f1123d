//! A server in a process of its own, whose log and traces the test reads.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::SocketAddr;
use std::str::FromStr as _;

use hyper::HeaderMap;
use lanyard::proto::CreateClientRequest;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::binding_service_client::BindingServiceClient;
use lanyard::proto::registry_service_client::RegistryServiceClient;
use lanyard::proto::token_service_client::TokenServiceClient;
use rustls::ClientConfig;
use serde_json::Value;
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;

use crate::support::child::real_time;
use crate::support::http::Http;
use crate::support::http::http1_only;
use crate::support::leaf::Leaf;
use crate::support::process::Process;
use crate::support::process::lanyard;
use crate::support::server::Setup;
use crate::support::server::channel;
use crate::support::server::connect;
use crate::support::server::spiffe_client;

/// A caller's trace.
pub const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// The calling span of that trace.
pub const SPAN: &str = "00f067aa0ba902b7";

/// `lanyard serve`; killed when dropped.
pub struct Observed {
    pub process: Process,
    /// What it printed up to its first line about serving.
    pub started: Vec<String>,
    pub setup: Setup,
    pub mtls: SocketAddr,
    pub public: SocketAddr,
    pub ops: SocketAddr,
}

impl Observed {
    /// With these additional lines in its configuration.
    pub fn start(lines: &str) -> Self {
        Self::start_on(real_time(), lines, &[])
    }

    /// On this set-up, with these environment variables. By default spans are exported soon.
    pub fn start_on(setup: Setup, lines: &str, environment: &[(&str, &str)]) -> Self {
        setup.write();
        let mut file = OpenOptions::new().append(true).open(setup.path("lanyard.yaml")).unwrap();
        file.write_all(lines.as_bytes()).unwrap();
        let mut command = lanyard();
        command.args(["serve", "--config"]).arg(setup.path("lanyard.yaml")).env("OTEL_BSP_SCHEDULE_DELAY", "20");
        command.envs(environment.iter().copied());
        let process = Process::start(&mut command);
        let started = process.until("serving");
        let line = started.last().unwrap().clone();
        let address = |name: &str| {
            let json = serde_json::from_str::<Value>(&line).ok();
            let text = json.map_or_else(
                || line.split_once(&format!("{name}=")).unwrap().1.split(' ').next().unwrap().to_owned(),
                |json| json[name].as_str().unwrap().to_owned(),
            );
            text.parse().unwrap()
        };
        Self { mtls: address("mtls"), public: address("public"), ops: address("ops"), process, started, setup }
    }

    pub fn svid(&self, path: &str) -> Leaf {
        self.setup.ca.svid(&format!("spiffe://prod.example{path}")).issue()
    }

    pub fn tls(&self, leaf: &Leaf) -> ClientConfig {
        self.setup.tls(leaf)
    }

    pub fn channel(&self, leaf: &Leaf) -> Channel {
        channel(self.mtls, self.tls(leaf))
    }

    pub fn tokens(&self, leaf: &Leaf) -> TokenServiceClient<Channel> {
        TokenServiceClient::new(self.channel(leaf))
    }

    pub fn bindings(&self, leaf: &Leaf) -> BindingServiceClient<Channel> {
        BindingServiceClient::new(self.channel(leaf))
    }

    pub fn registry(&self, leaf: &Leaf) -> RegistryServiceClient<Channel> {
        RegistryServiceClient::new(self.channel(leaf))
    }

    pub async fn http(&self, leaf: &Leaf) -> Http {
        Http::one(connect(self.mtls, http1_only(self.tls(leaf))).await.unwrap()).await
    }

    /// A registered workload, and its token.
    pub async fn workload(&self, path: &str) -> (Leaf, String) {
        let client = spiffe_client(&format!("spiffe://prod.example{path}"));
        let request = CreateClientRequest { client: Some(client), ..Default::default() };
        self.registry(&self.svid("/admin")).create_client(request).await.unwrap();
        let leaf = self.svid(path);
        let issued = self.tokens(&leaf).issue_token(IssueTokenRequest::default()).await.unwrap();
        (leaf, issued.into_inner().access_token)
    }

    /// What it logs before the line that contains `mark`.
    #[track_caller]
    pub fn lines_until(&self, mark: &str) -> Vec<String> {
        let mut lines = self.process.until(mark);
        lines.pop();
        lines
    }
}

/// A sampled `traceparent` of a trace whose identifier ends in this.
pub fn parent(trace: &str) -> String {
    format!("00-{}-{SPAN}-01", numbered(trace))
}

/// A trace identifier that ends in this.
pub fn numbered(end: &str) -> String {
    format!("{}{end}", &TRACE[..32 - end.len()])
}

/// A gRPC request with a `traceparent`.
pub fn within_trace<T>(message: T, parent: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("traceparent", MetadataValue::from_str(parent).unwrap());
    request
}

/// The same over HTTP.
pub fn with_parent<B>(mut request: hyper::Request<B>, parent: &str) -> hyper::Request<B> {
    let headers: &mut HeaderMap = request.headers_mut();
    headers.insert("traceparent", parent.parse().unwrap());
    request
}
