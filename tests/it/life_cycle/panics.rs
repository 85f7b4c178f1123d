//! A panic ends only its own request, with an error in the caller's protocol.

use std::fs;
use std::sync::Arc;

use lanyard::authority::clock::Clock;
use lanyard::authority::clock::Timestamp;
use lanyard::proto::GetJwksRequest;
use lanyard::proto::binding_service_client::BindingServiceClient;
use lanyard::proto::envoy::service::auth::v3::CheckRequest;
use lanyard::proto::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use lanyard::proto::envoy::service::auth::v3::check_response::HttpResponse;
use lanyard::proto::key_service_client::KeyServiceClient;
use tokio::net::TcpStream;
use tonic::Code;

use crate::support::binding_stream::BindingStream;
use crate::support::binding_stream::StreamOutcome;
use crate::support::ca::TestCa;
use crate::support::calls::use_of;
use crate::support::door::within;
use crate::support::http::get;
use crate::support::panicking_clock::PanickingClock;
use crate::support::panicking_clock::WORDS;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::reason_of;
use crate::support::wire::http1;

async fn start() -> (TestServer, Arc<PanickingClock>) {
    let setup = Setup::default();
    setup.write();
    let clock = PanickingClock::new(&setup.clock);
    (setup.start_by(Arc::clone(&clock) as Arc<dyn Clock>).await.unwrap(), clock)
}

async fn panics(server: &TestServer) -> u64 {
    let page = http1(TcpStream::connect(server.addresses.ops).await.unwrap(), "GET /metrics").await.body;
    let line = page.lines().find_map(|line| line.strip_prefix("lanyard_panics_total "));
    line.unwrap().parse().unwrap()
}

fn token_missing() -> StreamOutcome {
    StreamOutcome::Failed(Code::InvalidArgument, "TOKEN_MISSING".to_owned())
}

#[tokio::test]
async fn a_call_that_panics_fails_with_a_fixed_text_and_its_connection_goes_on() {
    let (server, clock) = start().await;
    let channel = server.channel(&server.svid("/proxy"));
    let mut keys = KeyServiceClient::new(channel.clone());
    // This stream is on the same connection, and outlives what breaks beside it.
    let mut beside = BindingStream::open(BindingServiceClient::new(channel)).await;
    assert_eq!(beside.ask(&use_of("")).await.unwrap(), token_missing());
    for count in 1..=3 {
        clock.arm();
        let status = keys.get_jwks(GetJwksRequest {}).await.unwrap_err();
        assert_eq!((status.code(), reason_of(&status).as_str()), (Code::Internal, "INTERNAL"));
        assert!(!status.message().contains(WORDS), "{status}");
        assert!(!clock.is_armed());
        keys.get_jwks(GetJwksRequest {}).await.unwrap();
        assert_eq!(beside.ask(&use_of("")).await.unwrap(), token_missing());
        assert_eq!(panics(&server).await, count);
    }
}

#[tokio::test]
async fn a_stream_that_panics_ends_alone() {
    let (server, clock) = start().await;
    let channel = server.channel(&server.svid("/proxy"));
    let mut broken = BindingStream::open(BindingServiceClient::new(channel.clone())).await;
    let mut other = BindingStream::open(BindingServiceClient::new(channel)).await;
    for stream in [&mut broken, &mut other] {
        assert_eq!(stream.ask(&use_of("")).await.unwrap(), token_missing());
    }
    clock.arm();
    let status = broken.ask(&use_of("")).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).as_str()), (Code::Internal, "INTERNAL"));
    assert!(!status.message().contains(WORDS), "{status}");
    assert_eq!(other.ask(&use_of("")).await.unwrap(), token_missing());
    assert_eq!(panics(&server).await, 1);
}

#[tokio::test]
async fn over_http_it_is_a_500_with_a_fixed_text() {
    let (server, clock) = start().await;
    let mut http = server.http(&server.svid("/checkout")).await;
    assert_eq!(http.send(get("/oauth2/jwks")).await.status, 200);
    clock.arm();
    let reply = http.send(get("/oauth2/jwks")).await;
    assert_eq!((reply.status, reply.body.as_str()), (500, "internal error"));
    assert_eq!(http.send(get("/oauth2/jwks")).await.status, 200, "over the same connection");
    assert_eq!(panics(&server).await, 1);
}

#[tokio::test]
async fn a_check_that_panics_is_denied() {
    let (server, clock) = start().await;
    let mut checks = AuthorizationClient::new(server.channel(&server.svid("/proxy")));
    checks.check(CheckRequest::default()).await.unwrap();
    clock.arm();
    let answer = checks.check(CheckRequest::default()).await.unwrap().into_inner();
    let Some(HttpResponse::DeniedResponse(denied)) = answer.http_response else { panic!("{answer:?}") };
    assert_eq!(denied.status.unwrap().code, 503);
    assert!(!clock.is_armed());
    assert_eq!(panics(&server).await, 1);
}

#[tokio::test]
async fn what_runs_beside_the_requests_starts_anew_after_a_panic_and_is_counted() {
    let (server, clock) = start().await;
    let (mut readiness, mut updates) = (server.server.readiness(), server.server.trust_updates());
    updates.mark_unchanged();
    clock.break_background(true);
    // The one who reads files takes in the new bundle, and breaks when it dates it.
    let next = TestCa::new("prod.example");
    fs::write(server.setup.path("ca.pem"), server.setup.ca.pem() + &next.pem()).unwrap();
    within(updates.changed()).await.unwrap();
    // So do the probes, each time that they look.
    within(async { while panics(&server).await < 3 {} }).await;
    clock.break_background(false);
    fs::write(server.setup.path("ca.pem"), next.pem()).unwrap();
    within(updates.changed()).await.unwrap();
    // Beyond the end of the server's certificate.
    server.setup.clock.set(Timestamp(8_000_000_001));
    within(readiness.wait_for(|readiness| *readiness == Err("server_certificate_expired"))).await.unwrap();
}
