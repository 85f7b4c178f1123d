//! Replicas of `lanyard serve`, each with its own way to etcd.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use lanyard::proto::CreateClientRequest;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::RevokeTokenRequest;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::ValidateBindingResponse;
use lanyard::proto::admin_service_client::AdminServiceClient;
use lanyard::proto::binding_service_client::BindingServiceClient;
use lanyard::proto::registry_service_client::RegistryServiceClient;
use lanyard::proto::revoke_token_request::Target;
use lanyard::proto::token_service_client::TokenServiceClient;
use tonic::Code;
use tonic::Status;
use tonic::transport::Channel;

use crate::replicas::gate::Gate;
use crate::support::calls::use_of;
use crate::support::child::BINARY;
use crate::support::child::Serve;
use crate::support::child::real_time;
use crate::support::door::within;
use crate::support::etcd::Cluster;
use crate::support::etcd::Options;
use crate::support::leaf::Leaf;
use crate::support::process::Finished;
use crate::support::process::run;
use crate::support::process::shell;
use crate::support::revocation::of;
use crate::support::server::Setup;
use crate::support::server::TRUST_DOMAIN;
use crate::support::server::certificate_of;
use crate::support::server::channel;
use crate::support::server::spiffe_client;

/// The number of replicas, and of members of etcd.
pub const COUNT: usize = 3;

/// How old the snapshot of a replica may be.
pub const BOUND: Duration = Duration::from_secs(5);

/// The variable with the endpoints of etcd.
const ENDPOINTS: &str = "LANYARD_STORE__ETCD__ENDPOINTS";

/// Replicas over one etcd.
pub struct Fleet {
    pub cluster: Cluster,
    pub setup: Setup,
    gates: Vec<[Gate; COUNT]>,
    replicas: Vec<Option<Serve>>,
    /// The binary that replicas are started with.
    pub binary: PathBuf,
    /// The addresses of the replicas that run or last ran.
    addresses: Vec<std::net::SocketAddr>,
}

impl Fleet {
    /// Starts etcd and three replicas; `None` if etcd is to be skipped.
    pub async fn start(options: Options) -> Option<Self> {
        Self::start_with(options, |_| {}).await
    }

    /// The same with a change of the replicas' set-up.
    pub async fn start_with(options: Options, change: impl FnOnce(&mut Setup)) -> Option<Self> {
        Self::start_of(Path::new(BINARY), options, change).await
    }

    /// The same of another version's binary.
    pub async fn start_of(binary: &Path, options: Options, change: impl FnOnce(&mut Setup)) -> Option<Self> {
        let cluster = Cluster::start(options)?;
        let bound = BOUND.as_secs();
        let store = cluster.store_section("/lanyard/test", [0, 1, 2]);
        let store = format!("{}, max_staleness: {bound}s}}", store.strip_suffix('}').unwrap());
        let mut setup = Setup { store, ..real_time() };
        change(&mut setup);
        setup.write();
        let mut gates = Vec::new();
        for _ in 0..COUNT {
            let [one, two, three] = cluster.addresses();
            gates.push([Gate::to(one).await, Gate::to(two).await, Gate::to(three).await]);
        }
        let (replicas, binary) = ((0..COUNT).map(|_| None).collect(), binary.to_owned());
        let mut fleet = Self { cluster, setup, gates, replicas, binary, addresses: Vec::new() };
        for index in 0..COUNT {
            fleet.addresses.push(([127, 0, 0, 1], 0).into());
            fleet.start_replica(index);
        }
        Some(fleet)
    }

    /// Starts a replica. Its first endpoint is the member with its own number.
    pub fn start_replica(&mut self, index: usize) {
        let endpoints = self.endpoints(index);
        let serve = Serve::start_of(&self.binary, &[(ENDPOINTS, &endpoints)], &self.setup, 1024);
        self.addresses[index] = serve.mtls;
        self.replicas[index] = Some(serve);
    }

    /// Starts a replica that is expected to end by itself, and returns what it says.
    pub fn try_replica(&self, index: usize) -> Finished {
        let mut serve = Command::new(&self.binary);
        serve.args(["serve", "--config"]).arg(self.setup.path("lanyard.yaml")).env(ENDPOINTS, self.endpoints(index));
        run(&mut serve)
    }

    fn endpoints(&self, index: usize) -> String {
        let order = [index, (index + 1) % COUNT, (index + 2) % COUNT];
        let endpoints = order.map(|member| format!("https://{}", self.gates[index][member].address));
        format!("[{}]", endpoints.map(|endpoint| format!("'{endpoint}'")).join(", "))
    }

    /// The address of a replica that runs, or last ran.
    pub fn address(&self, index: usize) -> std::net::SocketAddr {
        self.addresses[index]
    }

    pub fn replica(&self, index: usize) -> &Serve {
        self.replicas[index].as_ref().unwrap()
    }

    /// Kills a replica at once.
    pub fn kill_replica(&mut self, index: usize) {
        self.replicas[index] = None;
    }

    /// Stops a replica as Kubernetes does, and waits for its end.
    pub fn stop_replica(&mut self, index: usize) {
        let serve = self.replicas[index].take().unwrap();
        serve.signal("TERM");
        assert!(serve.finish());
    }

    /// Cuts a replica off from all of etcd.
    pub fn cut(&self, index: usize) {
        self.gates[index].iter().for_each(Gate::cut);
    }

    /// Mends what was cut.
    pub fn mend(&self, index: usize) {
        self.gates[index].iter().for_each(Gate::mend);
    }

    pub fn svid(&self, path: &str) -> Leaf {
        self.setup.ca.svid(&format!("spiffe://{TRUST_DOMAIN}{path}")).issue()
    }

    /// A channel to a replica. It connects lazily, and only to the process that runs now.
    pub fn channel(&self, index: usize, leaf: &Leaf) -> Channel {
        channel(self.addresses[index], self.setup.tls(leaf))
    }

    pub fn at(&self, index: usize) -> Replica {
        let proxy = self.channel(index, &self.svid("/proxy"));
        Replica::new(proxy, self.channel(index, &self.svid("/admin")))
    }

    /// Registers a workload at a replica, and returns its certificate.
    pub async fn workload(&self, index: usize, path: &str) -> Leaf {
        self.at(index).register(&format!("spiffe://{TRUST_DOMAIN}{path}")).await.unwrap();
        self.svid(path)
    }

    /// A token from a replica, as soon as that knows the workload.
    pub async fn token(&self, index: usize, leaf: &Leaf) -> String {
        let mut tokens = TokenServiceClient::new(self.channel(index, leaf));
        within(async {
            loop {
                match tokens.issue_token(IssueTokenRequest::default()).await {
                    Ok(issued) => return issued.into_inner().access_token,
                    Err(status) => assert_eq!(status.code(), Code::Unauthenticated, "{status:?}"),
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    /// The status and the body of `/readyz`.
    pub fn readiness(&self, index: usize) -> String {
        let line = format!("curl -s -m 5 -w ' %{{http_code}}' http://{}/readyz", self.replica(index).ops);
        run(&mut shell(&line)).stdout
    }

    /// The value of a metric.
    pub fn metric(&self, index: usize, name: &str) -> String {
        let page = run(&mut shell(&format!("curl -s -m 5 http://{}/metrics", self.replica(index).ops))).stdout;
        let found = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {name} in {page}")).to_owned()
    }
}

/// Clients of one replica: a proxy, and the admin.
#[derive(Clone)]
pub struct Replica {
    bindings: BindingServiceClient<Channel>,
    admin: Channel,
}

impl Replica {
    pub fn new(proxy: Channel, admin: Channel) -> Self {
        Self { bindings: BindingServiceClient::new(proxy), admin }
    }

    pub async fn validate(&mut self, token: &str, leaf: &Leaf) -> Result<ValidateBindingResponse, Status> {
        self.ask(ValidateBindingRequest { evidence: certificate_of(leaf), ..use_of(token) }).await
    }

    pub async fn ask(&mut self, request: ValidateBindingRequest) -> Result<ValidateBindingResponse, Status> {
        self.bindings.validate_binding(request).await.map(tonic::Response::into_inner)
    }

    pub async fn revoke(&self, target: Target) -> Result<(), Status> {
        self.send(of(target)).await
    }

    async fn send(&self, request: RevokeTokenRequest) -> Result<(), Status> {
        TokenServiceClient::new(self.admin.clone()).revoke_token(request).await.map(drop)
    }

    pub async fn register(&self, spiffe_id: &str) -> Result<(), Status> {
        let request = CreateClientRequest { client: Some(spiffe_client(spiffe_id)), ..Default::default() };
        self.registry().create_client(request).await.map(drop)
    }

    pub fn features(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.admin.clone())
    }

    pub fn registry(&self) -> RegistryServiceClient<Channel> {
        RegistryServiceClient::new(self.admin.clone())
    }

    /// Asks until the token is allowed: a replica may not know its client yet.
    pub async fn until_allowed(&mut self, token: &str, leaf: &Leaf) {
        within(async {
            while self.validate(token, leaf).await.unwrap().decision() != lanyard::proto::Decision::Allow {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Asks until the answer is a denial with this reason.
    pub async fn until_denied(&mut self, token: &str, leaf: &Leaf, reason: lanyard::proto::DenyReason) {
        within(async {
            while self.validate(token, leaf).await.unwrap().reason() != reason {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}
