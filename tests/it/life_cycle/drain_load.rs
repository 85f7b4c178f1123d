//! SIGTERM in the midst of all kinds of traffic: nothing fails for those who obey, and the others hold nothing up.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use axum::http::StatusCode;
use lanyard::proto::CreateClientRequest;
use lanyard::proto::binding_service_client::BindingServiceClient;
use lanyard::proto::registry_service_client::RegistryServiceClient;
use rustls::ClientConfig;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;
use tonic::Code;

use crate::support::binding_stream::BindingStream;
use crate::support::binding_stream::StreamOutcome;
use crate::support::calls::use_of;
use crate::support::child::Serve;
use crate::support::child::real_time;
use crate::support::door::within;
use crate::support::frames::DATA;
use crate::support::frames::END_HEADERS;
use crate::support::frames::END_STREAM;
use crate::support::frames::Frames;
use crate::support::frames::GOAWAY;
use crate::support::frames::HEADERS;
use crate::support::frames::RST_STREAM;
use crate::support::frames::WINDOW_UPDATE;
use crate::support::frames::call;
use crate::support::leaf::Leaf;
use crate::support::server::Setup;
use crate::support::server::channel;
use crate::support::server::connect;
use crate::support::server::reason_of;
use crate::support::server::spiffe_client;
use crate::support::wire::http1;

/// How many answers each client gets from the first server before that is stopped, and at least from the second.
const ENOUGH: usize = 20;

/// An empty message in gRPC's framing.
const EMPTY: [u8; 5] = [0; 5];

/// One of many clients: it starts on the first server, and moves to the second on the test's signal.
#[derive(Clone)]
struct Client {
    servers: [SocketAddr; 2],
    probes: SocketAddr,
    config: ClientConfig,
    /// Hears of each answer: from which server.
    answers: mpsc::UnboundedSender<usize>,
}

impl Client {
    fn answered_by(&self, server: usize) {
        self.answers.send(server).unwrap();
    }

    async fn connect(&self, server: usize, protocol: &str) -> TlsStream<TcpStream> {
        let mut config = self.config.clone();
        config.alpn_protocols = vec![protocol.into()];
        connect(self.servers[server], config).await.unwrap()
    }

    /// Keeps four calls open at a time, until it reads GOAWAY: then it opens no more. Each that it has opened must be answered.
    async fn calls(self, method: &'static str) {
        for server in 0..2 {
            let mut frames = Frames::open(self.connect(server, "h2").await).await;
            frames.send(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes()).await.unwrap();
            // The open calls, and whether a message has come for them.
            let mut open = BTreeMap::new();
            let (mut next, mut answered, mut leaves) = (1, 0, false);
            while !(leaves && open.is_empty()) {
                while !leaves && open.len() < 4 {
                    frames.send(HEADERS, END_HEADERS, next, &call(method)).await.unwrap();
                    frames.send(DATA, END_STREAM, next, &EMPTY).await.unwrap();
                    open.insert(next, false);
                    next += 2;
                }
                let frame = within(frames.next()).await;
                let frame = frame.unwrap_or_else(|| panic!("{method}: {open:?} of {server} were cut off"));
                match frame.kind {
                    GOAWAY => {
                        assert_eq!(frame.payload[4..8], [0; 4], "an error");
                        leaves = true;
                    }
                    RST_STREAM => panic!("{method}: {frame:?}"),
                    DATA if !frame.payload.is_empty() => drop(open.insert(frame.stream, true)),
                    HEADERS if frame.flags & END_STREAM != 0 => {
                        assert_eq!(open.remove(&frame.stream), Some(true), "{method}: no message");
                        self.answered_by(server);
                        answered += 1;
                        leaves |= server == 1 && answered >= ENOUGH;
                    }
                    _ => {}
                }
            }
        }
    }

    /// One request after the other over a connection that is kept alive, until an answer says that it is the last.
    async fn requests(self) {
        for server in 0..2 {
            let mut stream = self.connect(server, "http/1.1").await;
            for count in 1.. {
                let last = token(&mut stream).await;
                self.answered_by(server);
                if last || server == 1 && count >= ENOUGH {
                    break;
                }
            }
        }
    }

    /// Each request over a connection of its own, to the first server for as long as that is ready.
    async fn newcomers(self) {
        let mut answered = 0;
        while answered < ENOUGH {
            let server = usize::from(!is_ready(self.probes).await);
            token(&mut self.connect(server, "http/1.1").await).await;
            self.answered_by(server);
            answered += server;
        }
    }

    /// Questions over a stream, until that ends by saying so.
    async fn stream(self) {
        for server in 0..2 {
            let channel = channel(self.servers[server], self.config.clone());
            let mut stream = BindingStream::open(BindingServiceClient::new(channel)).await;
            for count in 1.. {
                match stream.ask(&use_of("")).await {
                    Ok(said) => {
                        assert_eq!(said, StreamOutcome::Failed(Code::InvalidArgument, "TOKEN_MISSING".to_owned()));
                        self.answered_by(server);
                    }
                    Err(status) => {
                        assert_eq!(server, 0, "{status}");
                        assert_eq!(reason_of(&status), "CONNECTION_OVER", "{status}");
                        break;
                    }
                }
                if server == 1 && count >= ENOUGH {
                    break;
                }
            }
        }
    }
}

/// Gets a token over HTTP/1.1, and says whether the answer is the last on its connection.
async fn token(stream: &mut TlsStream<TcpStream>) -> bool {
    let body = "grant_type=client_credentials&client_id=spiffe%3A%2F%2Fprod.example%2Fcheckout";
    let head = format!(
        "POST /oauth2/token HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    within(stream.write_all(head.as_bytes())).await.unwrap();
    let mut answer = Vec::new();
    let (head, length) = loop {
        assert_ne!(within(stream.read_buf(&mut answer)).await.unwrap(), 0, "it ended without an answer");
        let text = std::str::from_utf8(&answer).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            break (head.to_owned(), length.parse::<usize>().unwrap() - body.len());
        }
    };
    let mut rest = vec![0; length];
    within(stream.read_exact(&mut rest)).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    head.contains("\r\nconnection: close")
}

async fn is_ready(probes: SocketAddr) -> bool {
    let Ok(stream) = TcpStream::connect(probes).await else { return false };
    http1(stream, "GET /readyz").await.status == StatusCode::OK.as_u16()
}

#[tokio::test]
async fn sigterm_under_load_fails_no_client_that_obeys_and_cuts_off_others_at_the_limit() {
    let setup = Setup { tls: "  drain_delay: 1s\n  drain_timeout: 5s".to_owned(), ..real_time() };
    setup.write();
    let [first, second] = [Serve::start(&setup, 1024), Serve::start(&setup, 1024)];
    let svid = |path: &str| setup.ca.svid(&format!("spiffe://prod.example{path}")).issue();
    let (admin, checkout, proxy) = (svid("/admin"), svid("/checkout"), svid("/proxy"));
    for server in [&first, &second] {
        let mut registry = RegistryServiceClient::new(channel(server.mtls, setup.tls(&admin)));
        let client = Some(spiffe_client("spiffe://prod.example/checkout"));
        registry.create_client(CreateClientRequest { client, ..Default::default() }).await.unwrap();
    }
    let (servers, probes) = ([first.mtls, second.mtls], first.ops);
    let mut clients = JoinSet::new();
    let mut heard = Vec::new();
    let mut client = |leaf: &Leaf| {
        let (answers, answered) = mpsc::unbounded_channel();
        heard.push(answered);
        Client { servers, probes, config: setup.tls(leaf), answers }
    };
    for _ in 0..6 {
        clients.spawn(client(&checkout).calls("/lanyard.v1.TokenService/IssueToken"));
        clients.spawn(client(&proxy).calls("/envoy.service.auth.v3.Authorization/Check"));
        clients.spawn(client(&checkout).requests());
        clients.spawn(client(&checkout).newcomers());
        clients.spawn(client(&proxy).stream());
    }
    for answered in &mut heard {
        for _ in 0..ENOUGH {
            assert_eq!(within(answered.recv()).await, Some(0));
        }
    }
    // Opens a call, and never ends it, nor does it heed GOAWAY. A body has longer to arrive than the server to drain.
    let mut deaf = Frames::open(connect(first.mtls, setup.tls(&checkout)).await.unwrap()).await;
    deaf.send(HEADERS, END_HEADERS, 1, &call("/lanyard.v1.TokenService/IssueToken")).await.unwrap();
    first.signal("TERM");
    // A second one changes nothing.
    first.signal("TERM");
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let mut reported = false;
    while let Some(frame) = within(deaf.next()).await {
        reported |= frame.kind == GOAWAY;
    }
    assert!(reported);
    let ended = tokio::task::spawn_blocking(move || {
        first.line_with("cut off");
        first.finish()
    });
    assert!(ended.await.unwrap());
    second.signal("TERM");
    assert!(tokio::task::spawn_blocking(|| second.finish()).await.unwrap());
}

#[tokio::test]
async fn either_signal_ends_a_server_well() {
    let setup = Setup { tls: "  drain_delay: 0s\n  drain_timeout: 60m".to_owned(), ..real_time() };
    setup.write();
    for signal in ["TERM", "INT"] {
        let serve = Serve::start(&setup, 1024);
        serve.signal(signal);
        assert!(tokio::task::spawn_blocking(|| serve.finish()).await.unwrap());
    }
}
