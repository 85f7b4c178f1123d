//! A Workload API like an agent's, on a Unix socket, over the public protocol. The test sets its responses.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use hyper::Request;
use hyper::Response;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use lanyard::authority::clock::Timestamp;
use lanyard::server::StartError;
use rustls::pki_types::CertificateDer;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::WatchStream;
use tonic::Code;
use tonic::Status;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic_prost::ProstCodec;

use crate::support::ca::TestCa;
use crate::support::door::within;
use crate::support::leaf::Leaf;
use crate::support::server::Setup;
use crate::support::server::TestServer;

const X509_SVID: &str = "/SpiffeWorkloadAPI/FetchX509SVID";
const JWT_BUNDLES: &str = "/SpiffeWorkloadAPI/FetchJWTBundles";

/// `X509SVIDResponse` of workload.proto.
#[derive(Clone, PartialEq, prost::Message)]
pub struct X509Response {
    #[prost(message, repeated, tag = "1")]
    pub svids: Vec<X509Svid>,
    #[prost(map = "string, bytes", tag = "3")]
    pub federated_bundles: HashMap<String, Vec<u8>>,
}

/// `X509SVID`.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(clippy::struct_field_names, reason = "the names are the protocol's")]
pub struct X509Svid {
    #[prost(string, tag = "1")]
    pub spiffe_id: String,
    #[prost(bytes = "vec", tag = "2")]
    pub x509_svid: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub x509_svid_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub bundle: Vec<u8>,
}

/// `JWTBundlesResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct JwtResponse {
    #[prost(map = "string, bytes", tag = "1")]
    pub bundles: HashMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

/// A response: a message, an error that ends the stream, or nothing.
type StreamState<M> = Option<Result<M, Status>>;

/// The state of an agent, whether it runs or not.
pub struct Agent {
    socket: PathBuf,
    state: Arc<AgentState>,
    running: Option<JoinHandle<()>>,
}

struct AgentState {
    x509: watch::Sender<StreamState<X509Response>>,
    jwt: watch::Sender<StreamState<JwtResponse>>,
    /// The paths of all requests with the required metadata, and the number of requests without it.
    asked: watch::Sender<Vec<String>>,
    unmarked: watch::Sender<usize>,
    /// How many messages and errors were sent.
    sent: watch::Sender<usize>,
}

impl Agent {
    /// Starts an agent that sends nothing yet.
    pub fn start(socket: PathBuf) -> Self {
        let state = AgentState {
            x509: watch::Sender::new(None),
            jwt: watch::Sender::new(Some(Err(Status::unimplemented("no JWT-SVIDs here")))),
            asked: watch::Sender::default(),
            unmarked: watch::Sender::default(),
            sent: watch::Sender::default(),
        };
        let mut agent = Self { socket, state: Arc::new(state), running: None };
        agent.restart();
        agent
    }

    /// Its endpoint in the form of the configuration.
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Kills it: all connections end, and the socket is removed.
    pub async fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
            drop(running.await);
            fs::remove_file(&self.socket).unwrap();
        }
    }

    /// Runs it again.
    pub fn restart(&mut self) {
        let listener = UnixListener::bind(&self.socket).unwrap();
        self.running = Some(tokio::spawn(serve(listener, Arc::clone(&self.state))));
    }

    /// Sends this from now on, also on open streams.
    pub fn say(&self, context: &X509Response) {
        self.state.x509.send_replace(Some(Ok(context.clone())));
    }

    /// Sends this, and waits until it is sent. A later message follows it on the same stream.
    pub async fn send(&self, context: &X509Response) {
        let mut sent = self.state.sent.subscribe();
        self.say(context);
        within(sent.changed()).await.unwrap();
    }

    /// The same for JWT bundles as [`Agent::say`]: a JWK Set for each trust domain.
    pub fn say_jwt(&self, bundles: &[(&str, &str)]) {
        let bundle =
            |(trust_domain, jwks): &(&str, &str)| (format!("spiffe://{trust_domain}"), jwks.as_bytes().to_vec());
        self.state.jwt.send_replace(Some(Ok(JwtResponse { bundles: bundles.iter().map(bundle).collect() })));
    }

    /// Ends all streams, and each new one, with this error.
    pub fn fail(&self, status: &Status) {
        self.state.x509.send_replace(Some(Err(status.clone())));
        self.state.jwt.send_replace(Some(Err(status.clone())));
    }

    /// The same for the streams of X.509-SVIDs alone.
    pub fn fail_x509(&self, status: Status) {
        self.state.x509.send_replace(Some(Err(status)));
    }

    /// The same for the streams of JWT bundles alone.
    pub fn fail_jwt(&self) {
        self.state.jwt.send_replace(Some(Err(Status::unavailable("no JWT bundles now"))));
    }

    /// Withdraws the identity of the caller.
    pub fn deny(&self) {
        self.fail(&Status::new(Code::PermissionDenied, "no identity issued"));
    }

    /// Accepts streams, and sends nothing.
    pub fn fall_silent(&self) {
        self.state.x509.send_replace(None);
        self.state.jwt.send_replace(None);
    }

    /// Waits until there have been this many requests for X.509-SVIDs.
    pub async fn asked_for_svids(&self, times: usize) {
        self.asked(X509_SVID, times).await;
    }

    /// The same for JWT bundles.
    pub async fn asked_for_jwt_bundles(&self, times: usize) {
        self.asked(JWT_BUNDLES, times).await;
    }

    async fn asked(&self, path: &str, times: usize) {
        let mut asked = self.state.asked.subscribe();
        let enough = |paths: &Vec<String>| paths.iter().filter(|asked| *asked == path).count() >= times;
        within(asked.wait_for(enough)).await.unwrap();
    }

    /// The paths of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.state.asked.borrow().clone()
    }

    /// How many requests came without the metadata `workload.spiffe.io: true`.
    pub fn unmarked(&self) -> usize {
        *self.state.unmarked.borrow()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

async fn serve(listener: UnixListener, state: Arc<AgentState>) {
    // Dropping it at the end of this task closes every connection.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        let service = service_fn(move |request| answer(Arc::clone(&state), request));
        let connection = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move { drop(connection.await) });
    }
}

async fn answer(state: Arc<AgentState>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    if request.headers().get("workload.spiffe.io").is_none_or(|value| value != "true") {
        state.unmarked.send_modify(|count| *count += 1);
        return Ok(Status::invalid_argument("security header missing from request").into_http());
    }
    state.asked.send_modify(|paths| paths.push(path.clone()));
    Ok(match path.as_str() {
        X509_SVID => stream(request, state.x509.subscribe(), state.sent.clone()).await,
        JWT_BUNDLES => stream(request, state.jwt.subscribe(), state.sent.clone()).await,
        _ => Status::unimplemented(path).into_http(),
    })
}

async fn stream<M>(
    request: Request<Incoming>,
    state: watch::Receiver<StreamState<M>>,
    sent: watch::Sender<usize>,
) -> Response<Body>
where
    M: prost::Message + Clone + Default + 'static,
{
    let service = tower::service_fn(move |_: tonic::Request<Nothing>| {
        let sent = sent.clone();
        let count = move |_: &Result<M, Status>| sent.send_modify(|count| *count += 1);
        let messages = WatchStream::new(state.clone()).filter_map(move |state| state.inspect(&count));
        async move { Ok::<_, Status>(tonic::Response::new(messages)) }
    });
    Grpc::new(ProstCodec::<M, Nothing>::default()).server_streaming(service, request).await
}

/// An SVID, the roots of its own trust domain, and those of others, as concatenated DER.
pub fn context(svid: &Leaf, spiffe_id: &str, own: &[&TestCa], federated: &[(&str, &[&TestCa])]) -> X509Response {
    let svid = X509Svid {
        spiffe_id: spiffe_id.to_owned(),
        x509_svid: svid.chain.iter().flat_map(|one| one.to_vec()).collect(),
        x509_svid_key: svid.key.clone(),
        bundle: ders(own),
    };
    let federated: BTreeMap<_, _> = federated.iter().copied().collect();
    let bundle = |(trust_domain, roots): (&str, &[&TestCa])| (format!("spiffe://{trust_domain}"), ders(roots));
    X509Response { svids: vec![svid], federated_bundles: federated.into_iter().map(bundle).collect() }
}

fn ders(roots: &[&TestCa]) -> Vec<u8> {
    roots.iter().flat_map(|root| root.der().to_vec()).collect()
}

/// The SPIFFE ID of the server under test.
pub const LANYARD: &str = "spiffe://prod.example/lanyard";

/// An SVID for the server under test, with the host name that the tests use, valid at any time.
pub fn server_svid(ca: &TestCa) -> Leaf {
    ca.svid(LANYARD).dns("localhost").between(Timestamp(0), Timestamp(4_000_000_000)).issue()
}

/// An agent, and a set-up for a server that has everything from it. The agent sends the roots of `prod.example` and
/// `other.example`.
pub fn meshed() -> (Agent, Setup) {
    let setup = Setup::default();
    let agent = Agent::start(setup.path("agent.sock"));
    agent.say(&first_response(&setup));
    let section = format!("{{endpoint_socket: '{}'}}", agent.endpoint());
    (agent, Setup { files: false, workload_api: Some(section), ..setup })
}

/// The first response of the agent in [`meshed`], with a new SVID each time.
pub fn first_response(setup: &Setup) -> X509Response {
    context(&server_svid(&setup.ca), LANYARD, &[&setup.ca], &[("other.example", &[&setup.other_ca])])
}

/// Starts a server on this set-up.
pub async fn started(setup: Setup) -> Result<TestServer, StartError> {
    setup.write();
    within(Box::pin(setup.start())).await
}

/// A server that has everything from its agent.
pub async fn mesh() -> (Agent, TestServer) {
    let (agent, setup) = meshed();
    (agent, started(setup).await.unwrap())
}

impl TestServer {
    /// Makes the agent send something, and waits until the server has applied it.
    pub async fn apply_update(&self, say: impl FnOnce()) {
        let mut updates = self.server.trust_updates();
        updates.mark_unchanged();
        say();
        within(updates.changed()).await.unwrap();
    }

    /// Waits until the probes report this.
    pub async fn wait_for_readiness(&self, expected: Result<(), &'static str>) {
        within(self.server.readiness().wait_for(|now| *now == expected)).await.unwrap();
    }
}

/// The certificate that the server presents to a new client.
pub async fn presented(server: &TestServer, newcomer: &Leaf) -> std::io::Result<CertificateDer<'static>> {
    let stream = crate::support::server::connect(server.addresses.mtls, server.tls(newcomer)).await?;
    Ok(stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned())
}

/// The response of `/readyz`.
pub async fn readyz(server: &TestServer) -> (u16, String) {
    let stream = tokio::net::TcpStream::connect(server.addresses.ops).await.unwrap();
    let answer = crate::support::wire::http1(stream, "GET /readyz").await;
    (answer.status, answer.body)
}
