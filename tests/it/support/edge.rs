//! An edge beside a centre, both in this process.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use lanyard::proto::Decision;
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
            mtls_url: Some("https://lanyard.prod.example:8443".to_owned()),
            store: format!(
                "{{upstream: {{endpoints: ['https://localhost:{port}'], ca: ca.pem, certificate: edge.pem, key: edge-key.pem}}}}"
            ),
            keys: "{}".to_owned(),
            ..Setup::default()
        };
        change(&mut setup);
        setup.write();
        // Of the same trust domains as the centre.
        let ca = &centre.setup.ca;
        let (server, own) = (ca.server_certificate("localhost").issue(), ca.svid(EDGE).issue());
        let files = [
            ("ca.pem", ca.pem()),
            ("other.pem", centre.setup.other_ca.pem()),
            ("server.pem", server.chain_pem()),
            ("server-key.pem", server.key_pem()),
            ("edge.pem", own.chain_pem()),
            ("edge-key.pem", own.key_pem()),
        ];
        for (name, contents) in files {
            fs::write(setup.path(name), contents).unwrap();
        }
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
