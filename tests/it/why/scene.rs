//! A server with a resource, and the command line beside it.

use std::fs;
use std::sync::Arc;

use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::ManualClock;
use lanyard::authority::clock::SystemClock;
use lanyard::proto::ProtectedResource;
use tokio::task::spawn_blocking;

use crate::support::ca::TestCa;
use crate::support::check::orders;
use crate::support::dev::Files;
use crate::support::leaf::Leaf;
use crate::support::process::Finished;
use crate::support::server::TRUST_DOMAIN;
use crate::support::server::TestServer;

/// A server at the time of the machine, which its commands go by.
pub struct Scene {
    pub server: TestServer,
    pub files: Files,
}

impl Scene {
    /// With the orders resource, an admin and a proxy.
    pub async fn new() -> Self {
        Self::with(orders()).await
    }

    /// The same with another resource.
    pub async fn with(resource: ProtectedResource) -> Self {
        let now = SystemClock.now();
        let server = TestServer::started(|setup| {
            setup.clock = Arc::new(ManualClock::new(now));
            setup.ca = TestCa::at(TRUST_DOMAIN, now);
            setup.exchange = "{enabled: true}".to_owned();
        })
        .await;
        server.protect(resource).await.unwrap();
        let files = Files {
            dir: server.setup.dir.path().to_owned(),
            server: format!("https://localhost:{}", server.addresses.mtls.port()),
        };
        let scene = Self { server, files };
        scene.identity("admin", &scene.server.svid("/admin"));
        scene.identity("proxy", &scene.server.svid("/proxy"));
        scene
    }

    /// Writes the certificate and the key of a caller.
    pub fn identity(&self, name: &str, leaf: &Leaf) {
        fs::write(self.files.path(&format!("{name}.pem")), leaf.chain_pem()).unwrap();
        fs::write(self.files.path(&format!("{name}-key.pem")), leaf.key_pem()).unwrap();
    }

    /// Runs a command of the holder of a certificate.
    pub async fn run(&self, who: &str, arguments: &[&str]) -> Finished {
        let (files, who) = (self.files.clone(), who.to_owned());
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let run = move || files.run(&who, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        spawn_blocking(run).await.unwrap()
    }
}
