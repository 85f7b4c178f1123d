//! A small mesh: a real Envoy between a client with a certificate and a service, and a real Lanyard that Envoy calls.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::ManualClock;
use lanyard::authority::clock::SystemClock;
use lanyard::proto::ProtectedResource;
use serde_json::Value;

use crate::support::ca::TestCa;
use crate::support::check::orders;
use crate::support::envoy::Envoy;
use crate::support::envoy::EnvoySetup;
use crate::support::http::Http;
use crate::support::http::Reply;
use crate::support::leaf::Leaf;
use crate::support::local::SOCKET;
use crate::support::server::ORDERS;
use crate::support::server::Setup;
use crate::support::server::TRUST_DOMAIN;
use crate::support::server::TestServer;
use crate::support::server::connect;
use crate::support::terminator::own_uid;
use crate::support::upstream::Upstream;

pub struct Mesh {
    pub server: TestServer,
    pub upstream: Upstream,
    pub envoy: Envoy,
    /// A registered workload, and its token.
    pub checkout: Leaf,
    pub token: String,
    /// Another registered workload.
    pub thief: Leaf,
}

/// The user that a proxy runs as, as in Istio.
const PROXY_USER: u32 = 1337;

/// As in other tests, with a limit of how long the store may not be followed.
const STORE: &str = "{memory: true, max_staleness: 30s}";

/// A server whose clock starts at the real time, which Envoy uses.
pub async fn server_at_real_time() -> TestServer {
    server_at_real_time_with(|_| {}).await
}

/// The same with changes to the set-up.
pub async fn server_at_real_time_with(change: impl FnOnce(&mut Setup)) -> TestServer {
    let now = SystemClock.now();
    let [ca, other_ca, corp, partner] =
        [TRUST_DOMAIN, "other.example", "corp", "partner"].map(|name| TestCa::at(name, now));
    let mut setup = Setup {
        clock: Arc::new(ManualClock::new(now)),
        ca,
        other_ca,
        corp,
        partner,
        store: STORE.to_owned(),
        exchange: "{enabled: true}\ntxn_tokens: {trust_domain: prod.example}".to_owned(),
        ..Setup::default()
    };
    change(&mut setup);
    setup.write();
    Box::pin(setup.start()).await.unwrap()
}

impl Mesh {
    /// Starts a mesh with changes to the shipped configuration of Envoy, and to the orders resource. `None` without
    /// Envoy.
    pub async fn start(
        changes: Vec<(&'static str, String)>,
        resource: impl FnOnce(&mut ProtectedResource),
    ) -> Option<Self> {
        Self::start_on(server_at_real_time().await, None, changes, resource).await
    }

    /// The same, where Envoy asks over a Unix socket. It runs as another user than the tests where they may change that;
    /// `named` is the user that Lanyard takes for a proxy.
    pub async fn start_local(named: impl FnOnce(u32) -> u32) -> Option<Self> {
        let mut user = 0;
        let server = server_at_real_time_with(|setup| {
            user = if own_uid(setup) == 0 { PROXY_USER } else { own_uid(setup) };
            let group = if own_uid(setup) == 0 { format!("group: {PROXY_USER}, ") } else { String::new() };
            let proxies = format!("[{{uid: {}, resources: ['{ORDERS}']}}]", named(user));
            setup.local = Some(format!("{{unix: {SOCKET}, {group}proxies: {proxies}}}"));
            // Its file has permissions of its own.
            fs::set_permissions(setup.dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        })
        .await;
        Self::start_on(server, Some(user), Vec::new(), |_| {}).await
    }

    async fn start_on(
        server: TestServer,
        local: Option<u32>,
        changes: Vec<(&'static str, String)>,
        resource: impl FnOnce(&mut ProtectedResource),
    ) -> Option<Self> {
        let mut protected = orders();
        resource(&mut protected);
        server.protect(protected).await.unwrap();
        let (checkout, thief) = (server.workload("/checkout").await, server.workload("/thief").await);
        let token = server.token(&checkout).await;
        let upstream = Upstream::start().await;
        let socket = server.local_socket();
        let setup = EnvoySetup {
            local: local.map(|user| (socket.as_path(), user)),
            svid: &proxy(&server, "/proxy"),
            bundle: &server.setup.ca.pem(),
            lanyard: server.addresses.mtls,
            upstream: upstream.address,
            changes,
        };
        let envoy = setup.start().await?;
        Some(Self { server, upstream, envoy, checkout, token, thief })
    }

    /// A connection to Envoy with a certificate.
    pub async fn open(&self, leaf: &Leaf, http2: bool) -> Http {
        let mut config = self.server.tls(leaf);
        config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let stream = connect(self.envoy.address, config).await.unwrap();
        if http2 { Http::two(stream).await } else { Http::one(stream).await }
    }

    /// One request on a connection of its own.
    pub async fn send(&self, leaf: &Leaf, request: Request<Body>) -> Reply {
        self.open(leaf, true).await.send(request).await
    }

    /// The legitimate use of the token.
    pub async fn legitimate(&self) -> Reply {
        self.send(&self.checkout, get("/orders/1", &self.token)).await
    }
}

/// A proxy's SVID, with the DNS name by which clients verify it.
pub fn proxy(server: &TestServer, path: &str) -> Leaf {
    server.setup.ca.svid(&format!("spiffe://{TRUST_DOMAIN}{path}")).dns("localhost").issue()
}

/// A request with a bearer token.
pub fn get(path: &str, token: &str) -> Request<Body> {
    with_header(Request::get(path).body(Body::empty()).unwrap(), "authorization", &format!("Bearer {token}"))
}

/// The same with one more header.
pub fn with_header(mut request: Request<Body>, name: &'static str, value: &str) -> Request<Body> {
    request.headers_mut().append(name, value.parse().unwrap());
    request
}

/// The values of a header as the service behind Envoy received them.
pub fn seen(reply: &Reply, name: &str) -> Vec<String> {
    let seen: Value = serde_json::from_str(&reply.body).unwrap_or_else(|error| panic!("{error}: {reply:?}"));
    let values = seen["headers"][name].as_array().cloned().unwrap_or_default();
    values.iter().map(|value| value.as_str().unwrap().to_owned()).collect()
}

/// The reason in the body of a denial.
pub fn reason(reply: &Reply) -> String {
    let body: Value = serde_json::from_str(&reply.body).unwrap_or_default();
    body["reason"].as_str().unwrap_or_default().to_owned()
}
