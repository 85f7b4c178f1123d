//! A workload whose certificate is in files that another process replaces, with a server on the real time.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::SystemClock;
use lanyard::client::files::ConnectionFiles;
use lanyard::client::renewal::Renewal;
use lanyard::client::renewal::TokenSettings;
use lanyard::client::supply::Credentials;
use lanyard::proto::Client;
use lanyard::proto::Decision;
use lanyard::proto::DenyReason;
use lanyard::proto::Match;
use tempfile::TempDir;

use crate::support::child::real_time;
use crate::support::leaf::Leaf;
use crate::support::process::free_ports;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::spiffe_client;

pub const CHECKOUT: &str = "spiffe://prod.example/checkout";

/// The files of one workload, and the address of its server.
pub struct Workload {
    pub dir: TempDir,
    pub server: String,
}

impl Workload {
    /// A server with this workload registered, and the workload with its first certificate.
    pub async fn start(rotation: &str, ttl: Duration) -> (TestServer, Self, Leaf) {
        let (setup, workload) = Self::prepared();
        let server = serve(setup).await;
        let first = workload.registered(&server, rotation, ttl).await;
        (server, workload, first)
    }

    /// The same before the server is started. Its port is fixed, so that the server can be restarted.
    pub fn prepared() -> (Setup, Self) {
        let setup = Setup { store: "{sled: {path: data}}".to_owned(), ..real_time() };
        setup.write();
        let [port] = free_ports();
        let yaml = fs::read_to_string(setup.path("lanyard.yaml")).unwrap();
        let own = yaml.replacen("mtls: '127.0.0.1:0'", &format!("mtls: '127.0.0.1:{port}'"), 1);
        assert_ne!(own, yaml);
        fs::write(setup.path("lanyard.yaml"), own).unwrap();
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("ca.pem"), setup.ca.pem()).unwrap();
        (setup, Self { dir, server: format!("https://localhost:{port}") })
    }

    /// The files of a workload beside a server that is running.
    pub fn beside(server: &TestServer) -> Self {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("ca.pem"), server.setup.ca.pem()).unwrap();
        Self { dir, server: format!("https://localhost:{}", server.addresses.mtls.port()) }
    }

    /// Registers the workload, and gives it its first certificate.
    pub async fn registered(&self, server: &TestServer, rotation: &str, ttl: Duration) -> Leaf {
        let seconds = i64::try_from(ttl.as_secs()).unwrap();
        let client = Client {
            rotation: rotation.to_owned(),
            access_token_ttl: Some(prost_types::Duration { seconds, nanos: 0 }),
            ..spiffe_client(CHECKOUT)
        };
        server.register(client).await.unwrap();
        let first = svid(server);
        self.hold(&first);
        first
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Replaces certificate and key, one after the other.
    pub fn hold(&self, leaf: &Leaf) {
        replace(&self.path("svid-key.pem"), &leaf.key_pem());
        replace(&self.path("svid.pem"), &leaf.chain_pem());
    }

    pub fn settings(&self) -> TokenSettings {
        let (ca, cert, key) = (self.path("ca.pem"), self.path("svid.pem"), self.path("svid-key.pem"));
        let credentials = Credentials::Files(ConnectionFiles { ca, cert, key });
        TokenSettings {
            server: self.server.parse().unwrap(),
            credentials,
            request: lanyard::proto::IssueTokenRequest::default(),
            assertion: None,
        }
    }

    pub fn renewal(&self) -> Renewal {
        Renewal::new(self.settings()).unwrap()
    }
}

/// Starts a server on the real time.
pub async fn serve(setup: Setup) -> TestServer {
    setup.start_by(Arc::new(SystemClock)).await.unwrap()
}

/// Stops a server, and returns a set-up with which it can be started again.
pub async fn stopped(server: TestServer) -> Setup {
    let TestServer { server, setup, .. } = server;
    server.stop().await;
    setup
}

/// Another certificate of the workload.
pub fn svid(server: &TestServer) -> Leaf {
    let now = SystemClock.now();
    let since = lanyard::authority::clock::Timestamp(now.0 - 5);
    server.setup.ca.svid(CHECKOUT).between(since, now.after(Duration::from_hours(1))).issue()
}

/// The decision for a proxy that presents this certificate with a token.
pub async fn verdict(server: &TestServer, token: &str, leaf: &Leaf) -> Result<Match, DenyReason> {
    let response = server.validate(token, certificate_of(leaf)).await.unwrap();
    match response.decision() {
        Decision::Allow => Ok(response.r#match()),
        Decision::Deny | Decision::Unspecified => Err(response.reason()),
    }
}

/// Replaces a file atomically, as programs that renew certificates do.
fn replace(path: &Path, text: &str) {
    let whole = path.with_extension("new");
    fs::write(&whole, text).unwrap();
    fs::rename(whole, path).unwrap();
}
