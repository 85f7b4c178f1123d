//! What an overloaded thread refuses, in which order and in which form. How late the threads are is set by the test.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::http::header::RETRY_AFTER;
use http_body_util::BodyExt as _;
use http_body_util::StreamBody;
use hyper::body::Bytes;
use hyper::body::Frame;
use lanyard::proto::GetJwksRequest;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::RevokeTokenRequest;
use lanyard::proto::key_service_client::KeyServiceClient;
use lanyard::proto::revoke_token_request::Target;
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
use crate::support::door::within;
use crate::support::http::FORM;
use crate::support::http::Http;
use crate::support::http::encoded;
use crate::support::http::get;
use crate::support::http::post;
use crate::support::leaf::Leaf;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::reason_of;

/// How long requests may wait.
const TARGET: Duration = Duration::from_millis(8);

/// Late for the method of each priority but the more urgent ones: at 1, 1.25, 1.5 and 3 times the target.
const FOR_THE_REST: Duration = Duration::from_millis(9);
const FOR_ISSUING: Duration = Duration::from_millis(11);
const FOR_DECISIONS: Duration = Duration::from_millis(13);
const FOR_ALL: Duration = Duration::from_millis(25);

async fn start() -> (TestServer, Leaf, String) {
    let server = TestServer::started(|setup| setup.limits = format!("{{queue_delay: {}ms}}", TARGET.as_millis())).await;
    server.protect(orders()).await.unwrap();
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    (server, checkout, token)
}

/// How many of so many calls are answered. The others are refused as overloaded, with when to try again.
async fn answered<F: Future<Output = Result<(), Status>>>(calls: usize, call: impl Fn() -> F) -> usize {
    let mut answered = 0;
    for _ in 0..calls {
        match call().await {
            Ok(()) => answered += 1,
            Err(status) => {
                assert_eq!((status.code(), reason_of(&status)), (Code::ResourceExhausted, "OVERLOADED".to_owned()));
                assert!(status.get_details_retry_info().unwrap().retry_delay.unwrap() > Duration::ZERO);
            }
        }
    }
    answered
}

/// One connection, and so one thread, for calls of each priority.
struct Calls(tonic::transport::Channel, String);

impl Calls {
    async fn vital(&self, calls: usize) -> usize {
        let call = || async {
            let request = HealthCheckRequest { service: String::new() };
            HealthClient::new(self.0.clone()).check(request).await.map(drop)
        };
        answered(calls, call).await
    }

    async fn decisions(&self, calls: usize) -> usize {
        let mut question = use_of(&self.1);
        question.evidence = Some(lanyard::proto::validate_binding_request::Evidence::OwnConnection(true));
        let call = || async {
            let mut bindings = lanyard::proto::binding_service_client::BindingServiceClient::new(self.0.clone());
            bindings.validate_binding(question.clone()).await.map(drop)
        };
        answered(calls, call).await
    }

    async fn issuing(&self, calls: usize) -> usize {
        let call = || async {
            let mut tokens = lanyard::proto::token_service_client::TokenServiceClient::new(self.0.clone());
            tokens.issue_token(IssueTokenRequest::default()).await.map(drop)
        };
        answered(calls, call).await
    }

    async fn rest(&self, calls: usize) -> usize {
        let call = || async { KeyServiceClient::new(self.0.clone()).get_jwks(GetJwksRequest {}).await.map(drop) };
        answered(calls, call).await
    }
}

#[tokio::test]
async fn the_later_a_thread_is_the_more_urgent_must_be_what_it_answers() {
    let (server, checkout, token) = start().await;
    // Of each priority so many have been answered that none has less than its tenth.
    for (late, expected) in [
        (TARGET, [10, 10, 10, 10]),
        (FOR_THE_REST, [10, 10, 10, 0]),
        (FOR_ISSUING, [10, 10, 0, 0]),
        (FOR_DECISIONS, [10, 0, 0, 0]),
        (FOR_ALL, [0, 0, 0, 0]),
    ] {
        let calls = Calls(server.channel(&checkout), token.clone());
        server.setup.lateness.set(Duration::ZERO);
        for count in [calls.vital(40).await, calls.decisions(40).await, calls.issuing(40).await, calls.rest(40).await] {
            assert_eq!(count, 40);
        }
        server.setup.lateness.set(late);
        let found = [calls.vital(10).await, calls.decisions(10).await, calls.issuing(10).await, calls.rest(10).await];
        assert_eq!(found, expected, "{late:?}");
    }
    server.setup.lateness.set(Duration::ZERO);
    let page = server.page().await;
    for (priority, count) in [("vital", 10), ("decision", 20), ("issuing", 30), ("rest", 40)] {
        let series = format!("lanyard_admission_refused_total{{priority=\"{priority}\"}}");
        assert_eq!(page.get(&series), Some(count), "{priority}");
    }
}

#[tokio::test]
async fn each_priority_keeps_a_tenth_of_what_is_answered_however_late_the_thread_is() {
    let (server, checkout, token) = start().await;
    let calls = Calls(server.channel(&checkout), token);
    server.setup.lateness.set(FOR_DECISIONS);
    assert_eq!(calls.vital(90).await, 90);
    let found = [calls.decisions(50).await, calls.issuing(50).await, calls.rest(50).await];
    for count in found {
        assert!((10..=15).contains(&count), "{found:?}");
    }
}

#[tokio::test]
async fn a_refused_request_costs_no_signature_and_no_look_at_its_token() {
    let (server, checkout, _) = start().await;
    let calls = Calls(server.channel(&checkout), "a token of which no signature was verified".to_owned());
    for _ in 0..2 {
        assert_eq!(calls.decisions(20).await, 20);
    }
    let looks = async || {
        let page = server.page().await;
        let count = |name: &str| page.get(&format!("lanyard_cache_{name}_total{{cache=\"tokens\"}}")).unwrap();
        let issued = page.get("lanyard_tokens_issued_total").unwrap();
        (count("hits") + count("misses"), issued)
    };
    assert_eq!(calls.issuing(20).await, 20);
    let before = looks().await;
    server.setup.lateness.set(FOR_ALL);
    assert_eq!((calls.decisions(20).await, calls.issuing(20).await), (0, 0));
    server.setup.lateness.set(Duration::ZERO);
    assert_eq!(looks().await, before);
    assert_eq!(calls.decisions(1).await, 1);
    assert_eq!(looks().await.0, before.0 + 1);
}

#[tokio::test]
async fn overload_is_refused_in_the_form_of_each_protocol() {
    let (server, checkout, token) = start().await;
    let (mut http, mut checks) = (server.http(&checkout).await, server.checks(&server.svid("/proxy")));
    let mut public = {
        let config = crate::support::http::http1_only(server.tls_builder().with_no_client_auth());
        Http::one(crate::support::server::connect(server.addresses.public, config).await.unwrap()).await
    };
    assert_eq!(answer(&checks.check(Asked::with(&token, &checkout).message()).await.unwrap().into_inner()).http(), 200);
    server.setup.lateness.set(FOR_ALL);
    let form = [("grant_type", "client_credentials"), ("client_id", "spiffe://prod.example/checkout")];
    // What a thread has answered of the other priorities leaves each a tenth of it.
    let (mut tokens, mut keys, mut denied) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..30 {
        tokens.push(http.send(post("/oauth2/token", &form)).await);
        keys.push(public.send(get("/oauth2/jwks")).await);
        let response = checks.check(Asked::with(&token, &checkout).message()).await.unwrap().into_inner();
        denied.push(answer(&response));
    }
    let refused = tokens.iter().find(|reply| reply.status != 200).unwrap();
    assert_eq!(refused.error(), (503, "temporarily_unavailable".to_owned()));
    assert_eq!(refused.header(RETRY_AFTER), "1");
    let refused = keys.iter().find(|reply| reply.status != 200).unwrap();
    assert_eq!((refused.status, refused.header(RETRY_AFTER)), (503, "1"));
    let refused = denied.iter().find(|answer| answer.http() != 200).unwrap();
    assert_eq!((refused.http(), refused.reason()), (503, "OVERLOADED"));
    // Nothing in the server has failed, and probes have a listener of their own.
    server.setup.lateness.set(Duration::ZERO);
    let page = server.page().await;
    assert!(page.0.iter().all(|(name, value)| !name.contains("outcome=\"error\"") || *value == 0.0));
}

#[tokio::test]
async fn what_is_under_way_is_finished_and_a_stream_outlives_the_overload() {
    let (server, checkout, token) = start().await;
    let mut stream = BindingStream::open(server.bindings(&server.svid("/proxy"))).await;
    let mut question = use_of(&token);
    question.evidence = certificate_of(&checkout);
    assert_eq!(stream.ask(&question).await.unwrap(), StreamOutcome::Allowed);
    let (sender, chunks) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(1);
    let form = encoded(&[("grant_type", "client_credentials"), ("client_id", "spiffe://prod.example/checkout")]);
    sender.try_send(Ok(Frame::data(Bytes::from(form)))).unwrap();
    let body = StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(chunks)).boxed();
    let request = Request::post("/oauth2/token").header("content-type", FORM).body(Body::new(body)).unwrap();
    let mut http = server.http(&checkout).await;
    let unfinished = tokio::spawn(async move { http.send(request).await });
    let bytes = "lanyard_limit_used{role=\"workload\",limit=\"buffered_bytes\"}";
    server.page_where(|page| page.get(bytes).unwrap() > 0).await;

    server.setup.lateness.set(FOR_ALL);
    let refused = StreamOutcome::Failed(Code::ResourceExhausted, "OVERLOADED".to_owned());
    within(async { while stream.ask(&question).await.unwrap() != refused {} }).await;
    drop(sender);
    assert_eq!(within(unfinished).await.unwrap().status, 200);
    server.setup.lateness.set(Duration::ZERO);
    assert_eq!(stream.ask(&question).await.unwrap(), StreamOutcome::Allowed);
}

#[tokio::test]
async fn admins_and_revokers_revoke_when_a_workload_cannot() {
    let (server, checkout, token) = start().await;
    let mut own = server.tokens(&checkout);
    let [mut admins, mut revokers] = ["/admin", "/revoker"].map(|path| server.tokens(&server.svid(path)));
    let revoke = || RevokeTokenRequest { target: Some(Target::Token(token.clone())), ..RevokeTokenRequest::default() };
    server.setup.lateness.set(FOR_DECISIONS);
    let mut refused = 0;
    for _ in 0..30 {
        admins.revoke_token(revoke()).await.unwrap();
        revokers.revoke_token(revoke()).await.unwrap();
        refused += usize::from(own.revoke_token(revoke()).await.is_err());
    }
    assert!(refused > 0);
}
