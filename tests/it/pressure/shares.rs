//! A caller that takes all of its share is refused, in the form of its protocol, and others are served meanwhile.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::http::header::CONNECTION;
use axum::http::header::RETRY_AFTER;
use http_body_util::BodyExt as _;
use http_body_util::StreamBody;
use hyper::body::Bytes;
use hyper::body::Frame;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::ListClientsRequest;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Code;
use tonic::Status;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use crate::support::binding_stream::BindingStream;
use crate::support::binding_stream::StreamOutcome;
use crate::support::calls::use_of;
use crate::support::check::Asked;
use crate::support::check::answer;
use crate::support::check::orders;
use crate::support::door::connect_h2;
use crate::support::door::within;
use crate::support::frames::Frames;
use crate::support::frames::GOAWAY;
use crate::support::http::FORM;
use crate::support::http::Http;
use crate::support::http::encoded;
use crate::support::http::get;
use crate::support::http::http1_only;
use crate::support::http::post;
use crate::support::leaf::Leaf;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::connect;
use crate::support::server::reason_of;

const GREEDY: &str = "/greedy";

/// A server on which `/greedy` has this share at its address.
async fn with_share(share: &str, more: &str) -> TestServer {
    let entry = format!("{{spiffe_id: 'spiffe://prod.example{GREEDY}', address: {share}}}");
    let server = TestServer::started(|setup| setup.limits = format!("{{callers: [{entry}]{more}}}")).await;
    server.protect(orders()).await.unwrap();
    server
}

/// More than any share of a test, so that at least one of as many is refused.
const MANY: usize = 50;

/// Checks that another workload, a proxy, an admin and a probe are served.
async fn assert_others_are_served(server: &TestServer, other: &Leaf) {
    let token = server.token(other).await;
    let valid = server.validate(&token, certificate_of(other)).await.unwrap();
    assert_eq!(valid.decision(), lanyard::proto::Decision::Allow);
    assert_eq!(server.check(Asked::with(&token, other)).await.http(), 200);
    let mut registry = server.registry(&server.svid("/admin"));
    assert!(registry.list_clients(ListClientsRequest::default()).await.is_ok());
    let probe = TcpStream::connect(server.addresses.ops).await.unwrap();
    assert_eq!(Http::one(probe).await.send(get("/readyz")).await.status, 200);
}

fn assert_share_exceeded(status: &Status, limit: &str) {
    assert_eq!((status.code(), reason_of(status)), (Code::ResourceExhausted, "SHARE_EXCEEDED".to_owned()));
    assert_eq!(status.get_details_error_info().unwrap().metadata["limit"], limit);
    assert!(status.get_details_retry_info().unwrap().retry_delay.unwrap() > Duration::ZERO);
}

#[tokio::test]
async fn a_caller_beyond_its_rate_is_refused_in_the_form_of_each_protocol_and_no_other_is() {
    let server = with_share("{requests_per_second: 1}", "").await;
    let (greedy, other) = (server.workload(GREEDY).await, server.workload("/other").await);
    let mut tokens = server.tokens(&greedy);
    let mut token = None;
    let refused = loop {
        match tokens.issue_token(IssueTokenRequest::default()).await {
            Ok(issued) => token = Some(issued.into_inner().access_token),
            Err(status) => break status,
        }
    };
    assert_share_exceeded(&refused, "requests_per_second");
    let token = token.expect("the first request is within the rate");

    let form = [("grant_type", "client_credentials"), ("client_id", "spiffe://prod.example/greedy")];
    let mut http = server.http(&greedy).await;
    let mut replies = Vec::new();
    for _ in 0..MANY {
        replies.push(http.send(post("/oauth2/token", &form)).await);
    }
    let refused = replies.iter().find(|reply| reply.status != 200).expect("one of them is refused");
    assert_eq!(refused.error(), (429, "temporarily_unavailable".to_owned()));
    assert!(refused.header(RETRY_AFTER).parse::<u64>().unwrap() > 0);

    assert_others_are_served(&server, &other).await;

    // A stream goes on: each message has an answer of its own.
    let mut opened = None;
    while opened.is_none() {
        let mut bindings = server.bindings(&greedy);
        let (questions, queue) = tokio::sync::mpsc::channel(1);
        let queue = tokio_stream::wrappers::ReceiverStream::new(queue);
        if let Ok(answers) = bindings.validate_bindings(queue).await {
            opened = Some(BindingStream { questions, answers: answers.into_inner() });
        }
    }
    let mut stream = opened.unwrap();
    let mut question = use_of(&token);
    question.evidence = Some(lanyard::proto::validate_binding_request::Evidence::OwnConnection(true));
    let mut outcomes = Vec::new();
    for _ in 0..MANY {
        outcomes.push(stream.ask(&question).await.unwrap());
    }
    let refused = StreamOutcome::Failed(Code::ResourceExhausted, "SHARE_EXCEEDED".to_owned());
    assert!(outcomes.contains(&refused), "{outcomes:?}");
    // Once its rate allows it again, the same stream has answers.
    within(async { while stream.ask(&question).await.unwrap() == refused {} }).await;
    let page = server.page().await;
    let count = page.get("lanyard_limit_refused_total{role=\"workload\",limit=\"requests_per_second\"}");
    assert!(count.unwrap() >= 3, "{count:?}");
    assert_eq!(page.get("lanyard_limit_refused_total{role=\"proxy\",limit=\"requests_per_second\"}"), Some(0));
}

#[tokio::test]
async fn a_check_beyond_the_proxys_rate_is_denied_and_is_no_error() {
    let entry = "{spiffe_id: 'spiffe://prod.example/orders-proxy', address: {requests_per_second: 1}}";
    let server = TestServer::started(|setup| setup.limits = format!("{{callers: [{entry}]}}")).await;
    server.protect(orders()).await.unwrap();
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let mut checks = server.checks(&server.svid("/orders-proxy"));
    let mut answers = Vec::new();
    for _ in 0..MANY {
        let response = checks.check(Asked::with(&token, &checkout).message()).await.unwrap().into_inner();
        answers.push((answer(&response), response));
    }
    assert_eq!(answers[0].0.http(), 200);
    let (refused, response) = answers.iter().find(|(answer, _)| answer.http() != 200).expect("one of them is refused");
    assert_eq!((refused.http(), refused.reason()), (503, "OVERLOADED"));
    let printed = format!("{response:?}");
    assert!(printed.contains("retry-after"), "{printed}");
    assert_others_are_served(&server, &checkout).await;
}

#[tokio::test]
async fn requests_under_way_are_counted_until_their_answers_end() {
    let server = with_share("{requests: 3}", "").await;
    let (greedy, other) = (server.workload(GREEDY).await, server.workload("/other").await);
    let mut health = HealthClient::new(server.channel(&greedy));
    let watch = HealthCheckRequest { service: String::new() };
    let mut watches = Vec::new();
    for _ in 0..3 {
        watches.push(health.watch(watch.clone()).await.unwrap());
    }
    assert_share_exceeded(&health.check(watch.clone()).await.unwrap_err(), "requests");
    assert_others_are_served(&server, &other).await;
    drop(watches.pop());
    within(async { while health.check(watch.clone()).await.is_err() {} }).await;
    drop(watches);
    let of = |limit: &str| format!("lanyard_limit_used{{role=\"workload\",limit=\"{limit}\"}}");
    server.page_where(|page| page.get(&of("requests")) == Some(0)).await;
    assert!(server.page().await.get(&of("connections")).unwrap() >= 1);
}

/// A connection over HTTP/1.1 from an address of the loopback network.
async fn from_address(server: &TestServer, leaf: &Leaf, last: u8) -> TlsStream<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 1, last], 0).into()).unwrap();
    let stream = socket.connect(server.addresses.mtls).await.unwrap();
    let connector = TlsConnector::from(std::sync::Arc::new(http1_only(server.tls(leaf))));
    connector.connect("localhost".try_into().unwrap(), stream).await.unwrap()
}

/// Whether a connection serves a request, or refuses it for its caller's share and ends.
async fn is_served(stream: TlsStream<TcpStream>) -> Option<Http> {
    let mut http = Http::one(stream).await;
    let reply = http.send(get("/oauth2/jwks")).await;
    if reply.status == 200 {
        return Some(http);
    }
    assert_eq!((reply.status, reply.header(CONNECTION)), (429, "close"));
    None
}

#[tokio::test]
async fn a_connection_beyond_the_share_is_ended_with_goaway_or_with_an_answer() {
    let server = with_share("{connections: 2}", ", idle_after: 1h").await;
    let (greedy, other) = (server.workload(GREEDY).await, server.workload("/other").await);
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(
            is_served(connect(server.addresses.mtls, http1_only(server.tls(&greedy))).await.unwrap()).await.unwrap(),
        );
    }
    assert!(is_served(connect(server.addresses.mtls, http1_only(server.tls(&greedy))).await.unwrap()).await.is_none());
    let mut frames = Frames::open(connect_h2(&server, &greedy).await).await;
    assert!(within(frames.next_of(GOAWAY)).await.is_some());
    assert_others_are_served(&server, &other).await;
    // At another address the same identity has a share of its own.
    assert!(is_served(from_address(&server, &greedy, 9).await).await.is_some());
    for mut http in held {
        assert_eq!(http.send(get("/oauth2/jwks")).await.status, 200);
    }
}

#[tokio::test]
async fn an_idle_connection_of_the_caller_goes_before_its_next_one_is_refused() {
    let server = with_share("{connections: 2}", ", idle_after: 0s").await;
    let greedy = server.workload(GREEDY).await;
    let open = || connect(server.addresses.mtls, http1_only(server.tls(&greedy)));
    let request = b"GET /oauth2/jwks HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut first = open().await.unwrap();
    first.write_all(request).await.unwrap();
    assert_eq!(within(first.read_u8()).await.unwrap(), b'H');
    let second = is_served(open().await.unwrap()).await.unwrap();
    let third = is_served(open().await.unwrap()).await;
    assert!(third.is_some());
    // The first one was idle for longest. It ends in order.
    within(first.read_to_end(&mut Vec::new())).await.unwrap();
    let Http::One(mut second) = second else { panic!("HTTP/1.1") };
    assert!(within(second.ready()).await.is_ok());
}

#[tokio::test]
async fn workloads_that_hold_all_places_but_a_tenth_leave_it_to_proxies_and_admins() {
    let server = TestServer::started(|setup| {
        setup.tls = "  max_connections: 20".to_owned();
        setup.limits = "{idle_after: 1h}".to_owned();
    });
    let server = server.await;
    let open = async |path: &str| {
        is_served(connect(server.addresses.mtls, http1_only(server.tls(&server.svid(path)))).await.unwrap()).await
    };
    let mut held = Vec::new();
    for number in 0..18 {
        held.push(open(&format!("/workload-{number}")).await.expect("a place is free"));
    }
    assert!(open("/late").await.is_none());
    held.push(open("/proxy").await.expect("a place is kept for proxies"));
    assert!(open("/late").await.is_none());
    held.push(open("/admin").await.expect("a place is kept for admins"));
}

#[tokio::test]
async fn fifty_replicas_of_one_identity_are_served_and_the_next_one_has_no_place_in_its_share() {
    let entry = "{spiffe_id: 'spiffe://prod.example/gateway', address: {connections: 1}, identity: {connections: 50}}";
    let server = TestServer::started(|setup| setup.limits = format!("{{idle_after: 1h, callers: [{entry}]}}")).await;
    let gateway = server.svid("/gateway");
    let mut held = Vec::new();
    for replica in 1..=50 {
        held.push(is_served(from_address(&server, &gateway, replica).await).await.expect("each has its share"));
    }
    assert!(is_served(from_address(&server, &gateway, 1).await).await.is_none());
    assert!(is_served(from_address(&server, &gateway, 51).await).await.is_none());
    assert!(is_served(from_address(&server, &server.svid("/other"), 51).await).await.is_some());
}

/// A form whose body is not complete until the sender says so.
fn unfinished(bytes: usize) -> (Request<Body>, tokio::sync::mpsc::Sender<Result<Frame<Bytes>, std::io::Error>>) {
    let (sender, chunks) = tokio::sync::mpsc::channel(4);
    let form = encoded(&[("grant_type", "client_credentials"), ("client_id", "spiffe://prod.example/greedy")]);
    let filler = format!("{form}&filler={}", "x".repeat(bytes));
    sender.try_send(Ok(Frame::data(Bytes::from(filler)))).unwrap();
    let body = StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(chunks)).boxed();
    let request = Request::post("/oauth2/token").header("content-type", FORM);
    (request.body(Body::new(body)).unwrap(), sender)
}

#[tokio::test]
async fn unfinished_requests_hold_no_more_bytes_than_the_share() {
    let server = with_share("{buffered_bytes: 100000}", "").await;
    let (greedy, other) = (server.workload(GREEDY).await, server.workload("/other").await);
    let (request, first) = unfinished(60_000);
    let mut http = server.http(&greedy).await;
    let answered = tokio::spawn(async move { http.send(request).await });
    let bytes = "lanyard_limit_used{role=\"workload\",limit=\"buffered_bytes\"}";
    server.page_where(|page| page.get(bytes).unwrap() > 60_000).await;
    let (request, _second) = unfinished(60_000);
    let refused = server.send(&greedy, request).await;
    assert_eq!(refused.error(), (429, "temporarily_unavailable".to_owned()));
    let large = IssueTokenRequest { scope: "x".repeat(50_000), ..IssueTokenRequest::default() };
    assert_share_exceeded(&server.issue(&greedy, large.clone()).await.unwrap_err(), "buffered_bytes");
    assert_others_are_served(&server, &other).await;
    // What is under way is finished, and its bytes are free again.
    drop(first);
    assert_eq!(within(answered).await.unwrap().status, 200);
    server.page_where(|page| page.get(bytes) == Some(0)).await;
    assert_eq!(server.issue(&greedy, large).await.unwrap_err().code(), Code::InvalidArgument);
}
