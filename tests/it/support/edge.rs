//! An edge beside a centre, both in this process.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lanyard::proto::Decision;
use lanyard::proto::ProtectedResource;
use lanyard::proto::ValidateBindingResponse;
use lanyard::proto::binding_service_client::BindingServiceClient;
use tonic::Status;
use tonic::transport::Channel;

use crate::support::calls::use_of;
use crate::support::door::within;
use crate::support::leaf::Leaf;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::channel;

/// The SPIFFE ID of the edge, as `roles.edges` names it.
pub const EDGE: &str = "spiffe://prod.example/edge";

/// A running edge.
pub struct Edge {
    pub running: TestServer,
}

impl Edge {
    /// Starts an edge of a centre whose clock it has too, with a change of its set-up.
    pub async fn start(centre: &TestServer, change: impl FnOnce(&mut Setup)) -> Self {
        let port = centre.addresses.mtls.port();
        let mut setup = Setup {
            clock: Arc::clone(&centre.setup.clock),
            ca: centre.setup.ca.clone(),
            other_ca: centre.setup.other_ca.clone(),
            corp: centre.setup.corp.clone(),
            partner: centre.setup.partner.clone(),
            trusted_issuers: centre.setup.trusted_issuers.clone(),
            mtls_url: Some("https://lanyard.prod.example:8443".to_owned()),
            store: format!(
                "{{upstream: {{endpoints: ['https://localhost:{port}'], ca: ca.pem, certificate: edge.pem, key: edge-key.pem}}}}"
            ),
            keys: "{}".to_owned(),
            ..Setup::default()
        };
        change(&mut setup);
        setup.write();
        // What the configuration of the centre names besides.
        for file in fs::read_dir(centre.setup.dir.path()).unwrap().map(Result::unwrap) {
            let own = setup.path(file.file_name().to_str().unwrap());
            if file.file_type().unwrap().is_file() && !own.exists() {
                fs::copy(file.path(), own).unwrap();
            }
        }
        let own = centre.setup.ca.svid(EDGE).issue();
        fs::write(setup.path("edge.pem"), own.chain_pem()).unwrap();
        fs::write(setup.path("edge-key.pem"), own.key_pem()).unwrap();
        Self { running: Box::pin(setup.start()).await.unwrap() }
    }

    /// A channel to it as the holder of a certificate of the centre's CA.
    pub fn channel(&self, centre: &TestServer, leaf: &Leaf) -> Channel {
        channel(self.running.addresses.mtls, centre.tls(leaf))
    }

    /// Validates a use of a token with its holder's certificate, as a proxy that fronts all resources.
    pub async fn validate(
        &self,
        centre: &TestServer,
        token: &str,
        holder: &Leaf,
    ) -> Result<ValidateBindingResponse, Status> {
        let mut bindings = BindingServiceClient::new(self.channel(centre, &centre.svid("/proxy")));
        let mut request = use_of(token);
        request.evidence = certificate_of(holder);
        bindings.validate_binding(request).await.map(tonic::Response::into_inner)
    }

    /// Waits until it knows everything that the centre knows now, and knows that it does.
    pub async fn knows_what(&self, centre: &TestServer) {
        static MARKS: AtomicUsize = AtomicUsize::new(0);
        let mark = format!("mark-{}", MARKS.fetch_add(1, Ordering::Relaxed));
        let mark = ProtectedResource { audience: format!("https://{mark}.example"), ..ProtectedResource::default() };
        let audience = mark.audience.clone();
        centre.protect(mark).await.unwrap();
        let snapshot = || self.running.server.authority().view().snapshot;
        within(async {
            while snapshot().resources.named(&audience).is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        self.running.is_fresh_again().await;
    }

    /// Waits until it decides so about a use.
    pub async fn decides(
        &self,
        centre: &TestServer,
        token: &str,
        holder: &Leaf,
        is_so: impl Fn(&ValidateBindingResponse) -> bool,
    ) {
        within(async {
            while !is_so(&self.validate(centre, token, holder).await.unwrap()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

/// Whether a use is allowed.
pub fn is_allowed(answer: &ValidateBindingResponse) -> bool {
    answer.decision() == Decision::Allow
}
