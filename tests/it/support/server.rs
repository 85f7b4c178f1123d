//! A real server over real TLS, whose clock the test controls, and clients with certificates.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use lanyard::authority::clock::Clock;
use lanyard::authority::clock::ManualClock;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::store::Store;
use lanyard::config;
use lanyard::config::Listeners;
use lanyard::limits::Lateness;
use lanyard::proto::Client;
use lanyard::proto::CreateClientRequest;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::ValidateBindingResponse;
use lanyard::proto::binding_service_client::BindingServiceClient;
use lanyard::proto::registry_service_client::RegistryServiceClient;
use lanyard::proto::token_service_client::TokenServiceClient;
use lanyard::proto::validate_binding_request::Evidence;
use lanyard::server::Environment;
use lanyard::server::Server;
use lanyard::server::Sockets;
use lanyard::server::StartError;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Status;
use tonic::transport::Channel;
use tonic::transport::Endpoint;
use tonic_types::StatusExt as _;

use crate::support::NOW;
use crate::support::ca::TestCa;
use crate::support::door::within;
use crate::support::leaf::Leaf;

pub const TRUST_DOMAIN: &str = "prod.example";
pub const ISSUER: &str = "https://lanyard.prod.example";
pub const ORDERS: &str = "https://orders.prod.example";

/// A key-encryption key: 32 bytes of 7.
pub const SEAL: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

/// The set-up of a server; [`TestServer::start`] uses the defaults.
pub struct Setup {
    pub dir: TempDir,
    pub clock: Arc<ManualClock>,
    /// Signs the SVIDs of `prod.example`, and the server's certificate.
    pub ca: TestCa,
    /// Signs the SVIDs of `other.example`.
    pub other_ca: TestCa,
    /// The client CAs `corp` and `partner`.
    pub corp: TestCa,
    pub partner: TestCa,
    pub issuer: String,
    pub mtls_url: Option<String>,
    /// Which callers may register clients over HTTP.
    pub registration: String,
    /// The sections of the configuration that tests vary, in YAML.
    pub store: String,
    pub keys: String,
    pub tokens: String,
    pub exchange: String,
    pub roles: String,
    pub jwks_uri: String,
    pub federation: String,
    pub trusted_issuers: String,
    pub quotas: String,
    pub client_cas: String,
    /// More keys for the section `listeners`, each after a comma.
    pub listeners: String,
    /// The section `limits`.
    pub limits: String,
    /// How late the serving threads are. It is not measured, which would make tests depend on what else the machine does.
    pub lateness: Lateness,
    /// More lines for the section `tls`.
    pub tls: String,
    /// The section `forwarded`, if there is one.
    pub forwarded: Option<String>,
    /// The section `local`, if there is one.
    pub local: Option<String>,
    /// Whether the configuration names files of certificates, bundles and client CAs.
    pub files: bool,
    /// The section `workload_api`, if there is one.
    pub workload_api: Option<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
            clock: Arc::new(ManualClock::new(NOW)),
            ca: TestCa::new(TRUST_DOMAIN),
            other_ca: TestCa::new("other.example"),
            corp: TestCa::new("corp"),
            partner: TestCa::new("partner"),
            issuer: ISSUER.to_owned(),
            mtls_url: None,
            registration: "off".to_owned(),
            store: "{memory: true}".to_owned(),
            keys: format!("{{key_encryption_key: {SEAL}}}"),
            tokens: "{}".to_owned(),
            exchange: "{}".to_owned(),
            roles: "{admins: [{spiffe_id: spiffe://prod.example/admin}], proxies: [\
                {spiffe_id: spiffe://prod.example/proxy, resources: ['*']}, \
                {spiffe_id: spiffe://prod.example/orders-proxy, resources: ['https://orders.prod.example']}, \
                {spiffe_id: spiffe://other.example/proxy, resources: ['https://orders.prod.example', 'https://b.example']}], \
                auditors: [{spiffe_id: spiffe://prod.example/auditor}], \
                revokers: [{spiffe_id: spiffe://prod.example/revoker}], edges: [\
                {spiffe_id: spiffe://prod.example/edge, resources: ['*']}, \
                {spiffe_id: spiffe://prod.example/orders-edge, resources: ['https://orders.prod.example']}, \
                {spiffe_id: spiffe://prod.example/verifier, revocations_only: true}]}"
                .to_owned(),
            jwks_uri: "{}".to_owned(),
            federation: "[]".to_owned(),
            trusted_issuers: "[]".to_owned(),
            quotas: "{}".to_owned(),
            client_cas: "\n    corp: corp.pem\n    partner: partner.pem".to_owned(),
            listeners: String::new(),
            // Processes of their own measure it.
            limits: "{queue_delay: 1h}".to_owned(),
            lateness: Lateness::default(),
            tls: String::new(),
            forwarded: None,
            local: None,
            files: true,
            workload_api: None,
        }
    }
}

impl Setup {
    /// Writes the configuration, and the files that it names, into the directory.
    pub fn write(&self) {
        let server = self.ca.server_certificate("localhost").issue();
        let files = [
            ("ca.pem", self.ca.pem()),
            ("other.pem", self.other_ca.pem()),
            ("corp.pem", self.corp.pem()),
            ("partner.pem", self.partner.pem()),
            ("server.pem", server.chain_pem()),
            ("server-key.pem", server.key_pem()),
            ("lanyard.yaml", self.yaml()),
        ];
        for (name, contents) in files.into_iter().filter(|(name, _)| self.files || *name == "lanyard.yaml") {
            fs::write(self.dir.path().join(name), contents).unwrap();
        }
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn yaml(&self) -> String {
        let mut yaml = format!("issuer: {}\nregistration: '{}'\n", self.issuer, self.registration);
        if let Some(url) = &self.mtls_url {
            writeln!(yaml, "mtls_url: {url}").unwrap();
        }
        let any = "127.0.0.1:0";
        writeln!(yaml, "listeners: {{mtls: '{any}', public: '{any}', ops: '{any}'{}}}", self.listeners).unwrap();
        if self.files {
            writeln!(yaml, "tls:\n  certificate: server.pem\n  key: server-key.pem\n{}", self.tls).unwrap();
            yaml.push_str("trust:\n  trust_domain: prod.example\n  bundles:\n    prod.example: ca.pem\n    other.example: other.pem\n");
            writeln!(yaml, "  client_cas: {}", self.client_cas).unwrap();
        } else {
            yaml.push_str("trust: {trust_domain: prod.example}\n");
        }
        if let Some(forwarded) = &self.forwarded {
            writeln!(yaml, "forwarded: {forwarded}").unwrap();
        }
        if let Some(local) = &self.local {
            writeln!(yaml, "local: {local}").unwrap();
        }
        if let Some(section) = &self.workload_api {
            writeln!(yaml, "workload_api: {section}").unwrap();
        }
        let Self { store, keys, tokens, roles, jwks_uri, federation, trusted_issuers, .. } = self;
        writeln!(yaml, "store: {store}\nkeys: {keys}\ntokens: {tokens}\nroles: {roles}\njwks_uri: {jwks_uri}").unwrap();
        writeln!(yaml, "federation: {federation}\ntrusted_issuers: {trusted_issuers}").unwrap();
        writeln!(yaml, "limits: {}\nquotas: {}", self.limits, self.quotas).unwrap();
        writeln!(yaml, "exchange: {}", self.exchange).unwrap();
        yaml
    }

    /// Starts a server on the written files.
    pub async fn start(self) -> Result<TestServer, StartError> {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        // Large too, as is what it is made of.
        Box::pin(self.start_by(clock)).await
    }

    /// The same with another clock.
    pub async fn start_by(self, clock: Arc<dyn Clock>) -> Result<TestServer, StartError> {
        self.start_in(Environment { clock, ..Environment::default() }).await
    }

    /// The same on this store.
    pub async fn start_on(self, store: Arc<dyn Store>) -> Result<TestServer, StartError> {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        self.start_in(Environment { clock, store: Some(store), ..Environment::default() }).await
    }

    pub async fn start_in(self, environment: Environment) -> Result<TestServer, StartError> {
        // The future is large, and is part of every test that starts a server.
        Box::pin(async move {
            let config = config::load(&self.path("lanyard.yaml")).unwrap_or_else(|error| panic!("{error}"));
            let sockets = Sockets::bind(&config.listeners).await?;
            let environment = Environment { threads: 2, lateness: Some(self.lateness.clone()), ..environment };
            let server = Server::start(config, sockets, environment).await?;
            Ok(TestServer { addresses: server.addresses(), server, setup: self })
        })
        .await
    }

    /// A TLS client configuration with this certificate and HTTP/2.
    pub fn tls(&self, leaf: &Leaf) -> ClientConfig {
        self.tls_with(leaf.chain.clone(), leaf)
    }

    /// The same with another chain than the leaf's own.
    pub fn tls_with(&self, chain: Vec<rustls::pki_types::CertificateDer<'static>>, leaf: &Leaf) -> ClientConfig {
        let builder = self.tls_builder(rustls::DEFAULT_VERSIONS);
        let mut config = builder.with_client_auth_cert(chain, leaf.private_key()).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }

    /// A TLS client that trusts the server's CA and uses the server's clock.
    pub fn tls_builder(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let time = Arc::new(ServerTime(Arc::clone(&self.clock)));
        ClientConfig::builder_with_details(provider, time)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
    }
}

/// A running server.
pub struct TestServer {
    pub server: Server,
    pub addresses: Listeners,
    pub setup: Setup,
}

impl TestServer {
    pub async fn start() -> Self {
        Self::started(|_| {}).await
    }

    /// Starts a server with changes to the default set-up.
    pub async fn started(change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::default();
        change(&mut setup);
        setup.write();
        Box::pin(setup.start()).await.unwrap()
    }

    /// An SVID of `prod.example`, such as `svid("/checkout")`.
    pub fn svid(&self, path: &str) -> Leaf {
        self.setup.ca.svid(&format!("spiffe://{TRUST_DOMAIN}{path}")).issue()
    }

    pub fn now(&self) -> Timestamp {
        self.setup.clock.now()
    }

    /// Moves the clock of the server and of its clients' TLS.
    pub fn advance(&self, span: Duration) {
        self.setup.clock.advance(span);
    }

    /// Waits until the store's watch has reported progress since the clock was moved: a long step makes the snapshot
    /// stale.
    pub async fn is_fresh_again(&self) {
        within(async {
            while self.server.authority().freshness().is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// A TLS client that trusts the server's CA, presents this certificate, and uses the server's clock.
    pub fn tls(&self, leaf: &Leaf) -> ClientConfig {
        self.setup.tls(leaf)
    }

    /// The same with another chain than the leaf's own.
    pub fn tls_with(&self, chain: Vec<rustls::pki_types::CertificateDer<'static>>, leaf: &Leaf) -> ClientConfig {
        self.setup.tls_with(chain, leaf)
    }

    pub fn tls_builder(&self) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        self.setup.tls_builder(rustls::DEFAULT_VERSIONS)
    }

    /// A gRPC channel as the holder of a certificate. It connects lazily: a refusal shows at the first call.
    pub fn channel(&self, leaf: &Leaf) -> Channel {
        channel(self.addresses.mtls, self.tls(leaf))
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

    /// Registers a client as the admin.
    pub async fn register(&self, client: Client) -> Result<Client, Status> {
        let request = CreateClientRequest { client: Some(client), ..Default::default() };
        self.registry(&self.svid("/admin")).create_client(request).await.map(tonic::Response::into_inner)
    }

    /// Registers the workload `spiffe://prod.example<path>` for the orders resource, and returns its SVID.
    pub async fn workload(&self, path: &str) -> Leaf {
        self.register(spiffe_client(&format!("spiffe://{TRUST_DOMAIN}{path}"))).await.unwrap();
        self.svid(path)
    }

    /// A token with everything that is registered for the holder.
    pub async fn token(&self, leaf: &Leaf) -> String {
        self.tokens(leaf).issue_token(IssueTokenRequest::default()).await.unwrap().into_inner().access_token
    }

    /// Checks a use as a proxy that fronts all resources.
    pub async fn validate(&self, token: &str, evidence: Option<Evidence>) -> Result<ValidateBindingResponse, Status> {
        let request = ValidateBindingRequest {
            access_token: token.to_owned(),
            evidence,
            audience: ORDERS.to_owned(),
            scope: String::new(),
            receipt: false,
        };
        self.bindings(&self.svid("/proxy")).validate_binding(request).await.map(tonic::Response::into_inner)
    }
}

/// A client by `spiffe_x509`.
pub fn spiffe_client(spiffe_id: &str) -> Client {
    Client {
        client_id: spiffe_id.to_owned(),
        token_endpoint_auth_method: "spiffe_x509".to_owned(),
        scope: "orders.read orders.write".to_owned(),
        audience: vec![ORDERS.to_owned()],
        ..Client::default()
    }
}

/// The whole certificate as evidence.
#[expect(clippy::unnecessary_wraps, reason = "requests take an Option")]
pub fn certificate_of(leaf: &Leaf) -> Option<Evidence> {
    Some(Evidence::Certificate(leaf.certificate().to_vec()))
}

/// The reason of a status's `ErrorInfo`.
pub fn reason_of(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// A TLS connection after the client's side of the handshake.
pub async fn connect(address: SocketAddr, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    // Otherwise a request's second segment waits for the acknowledgement of the first, which is delayed by 40 ms.
    stream.set_nodelay(true)?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

pub fn channel(address: SocketAddr, config: ClientConfig) -> Channel {
    let connect = tower::service_fn(move |_: tonic::transport::Uri| {
        let config = config.clone();
        async move { connect(address, config).await.map(TokioIo::new) }
    });
    Endpoint::from_static("https://localhost").connect_with_connector_lazy(connect)
}

/// A file of the crate, independent of the working directory.
pub fn in_crate(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[derive(Debug)]
struct ServerTime(Arc<ManualClock>);

impl TimeProvider for ServerTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.now().0)))
    }
}
