//! How requests are measured: each once, under its method and the outcome that its caller saw.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use lanyard::authority::clock::Clock;
use lanyard::authority::observe::BOUNDS;
use lanyard::authority::observe::Durations;
use lanyard::proto::GetJwksRequest;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::ListClientsRequest;
use lanyard::proto::ProtectedResource;
use lanyard::proto::binding_service_client::BindingServiceClient;
use lanyard::proto::envoy::service::auth::v3::CheckRequest;
use lanyard::proto::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use lanyard::proto::key_service_client::KeyServiceClient;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::binding_stream::BindingStream;
use crate::support::calls::use_of;
use crate::support::check::Asked;
use crate::support::check::orders;
use crate::support::door::knock;
use crate::support::http::Http;
use crate::support::http::get;
use crate::support::http::raw;
use crate::support::page::Page;
use crate::support::panicking_clock::PanickingClock;
use crate::support::server::ORDERS;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::connect;
use crate::support::server::reason_of;

const WATCH: &str = "grpc.health.v1.Health/Watch";
const VALIDATE_BINDINGS: &str = "lanyard.v1.BindingService/ValidateBindings";

async fn fragile() -> (TestServer, Arc<PanickingClock>) {
    let setup = Setup::default();
    setup.write();
    let clock = PanickingClock::new(&setup.clock);
    (setup.start_by(Arc::clone(&clock) as Arc<dyn Clock>).await.unwrap(), clock)
}

#[tokio::test]
async fn a_grpc_call_counts_by_its_status() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let before = server.page().await;
    let token = server.token(&checkout).await;
    server.token(&checkout).await;
    server.issue(&server.svid("/thief"), IssueTokenRequest::default()).await.unwrap_err();
    server.registry(&checkout).list_clients(ListClientsRequest::default()).await.unwrap_err();
    // A denial is an answer, and no decision a refusal.
    server.validate(&token, certificate_of(&server.svid("/thief"))).await.unwrap();
    server.validate("", certificate_of(&checkout)).await.unwrap_err();
    let expected = [
        "lanyard.v1.BindingService/ValidateBinding ok 1",
        "lanyard.v1.BindingService/ValidateBinding refused 1",
        "lanyard.v1.RegistryService/ListClients refused 1",
        "lanyard.v1.TokenService/IssueToken ok 2",
        "lanyard.v1.TokenService/IssueToken refused 1",
    ];
    assert_eq!(server.page().await.requests_since(&before), expected);
}

#[tokio::test]
async fn an_http_request_counts_by_its_code_and_under_other_where_there_is_no_such_path() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let before = server.page().await;
    let grant = [("grant_type", "client_credentials"), ("client_id", "spiffe://prod.example/checkout")];
    assert_eq!(server.post(&checkout, "/oauth2/token", &grant).await.status, 200);
    assert_eq!(server.post(&checkout, "/oauth2/token", &[("grant_type", "password")]).await.status, 400);
    assert_eq!(server.send(&checkout, get("/oauth2/token")).await.status, 405);
    assert_eq!(server.send(&checkout, get("/oauth2/jwks")).await.status, 200);
    assert_eq!(server.send(&checkout, get("/nothing/here")).await.status, 404);
    let call = raw(Method::POST, "/no.such/Method", "application/grpc", Body::empty());
    assert_eq!(server.send(&checkout, call).await.header("grpc-status"), "12");
    // The public listener counts too, the ops listener does not.
    let public = server.tls_builder().with_no_client_auth();
    assert!(knock(server.addresses.public, public.clone()).await.is_jwks());
    let mut anybody = Http::two(connect(server.addresses.public, h2(public)).await.unwrap()).await;
    assert_eq!(anybody.send(get("/.well-known/oauth-authorization-server")).await.status, 200);
    assert_eq!(anybody.send(get("/oauth2/token")).await.status, 404);
    let expected = [
        "/.well-known/oauth-authorization-server ok 1",
        "/oauth2/jwks ok 2",
        "/oauth2/token ok 1",
        "/oauth2/token refused 3",
        "other refused 2",
    ];
    assert_eq!(server.page().await.requests_since(&before), expected);
}

fn h2(mut config: rustls::ClientConfig) -> rustls::ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

#[tokio::test]
async fn a_check_counts_by_its_decision() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    server.protect(orders()).await.unwrap();
    let token = server.token(&checkout).await;
    let before = server.page().await;
    assert_eq!(server.check(Asked::with(&token, &checkout)).await.http(), 200);
    assert_eq!(server.check(Asked::with(&token, &server.svid("/thief"))).await.http(), 401);
    assert_eq!(server.check(Asked::anonymous().to("GET", "/unknown")).await.http(), 403);
    // One that may not ask, and one that asks what cannot be read.
    assert_eq!(server.check_as(&checkout, Asked::with(&token, &checkout)).await.reason(), "NOT_A_PROXY");
    server.checks(&server.svid("/proxy")).check(CheckRequest::default()).await.unwrap();
    let method = "envoy.service.auth.v3.Authorization/Check";
    assert_eq!(server.page().await.requests_since(&before), [format!("{method} ok 1"), format!("{method} refused 4")]);
}

#[tokio::test]
async fn a_denial_that_report_mode_lets_through_counts_as_allowed() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    server.protect(ProtectedResource { mode: "report".to_owned(), ..orders() }).await.unwrap();
    let token = server.token(&checkout).await;
    let before = server.page().await;
    assert_eq!(server.check(Asked::with(&token, &server.svid("/thief"))).await.http(), 200);
    let after = server.page().await;
    assert_eq!(after.requests_since(&before), ["envoy.service.auth.v3.Authorization/Check ok 1"]);
    let grown: Vec<_> = after.grown_since(&before).into_iter().map(|(name, _)| name).collect();
    let at = format!("resource=\"{}\",", orders().audience);
    for (name, at) in [("lanyard_report_mode_denials_total", at.as_str()), ("lanyard_downgrades_refused_total", "")] {
        let name = format!("{name}{{{at}reason=\"CERTIFICATE_MISMATCH\"}}");
        assert!(grown.contains(&name), "{name}: {grown:?}");
    }
}

#[tokio::test]
async fn report_mode_denials_are_counted_by_resource_from_its_first_moment_in_report_mode_to_its_last() {
    let server = TestServer::start().await;
    let others = "https://billing.prod.example";
    let report = |audience: &str, mode: &str| ProtectedResource {
        audience: audience.to_owned(),
        mode: mode.to_owned(),
        authorities: Vec::new(),
        destination_principals: Vec::new(),
        ..orders()
    };
    let series = |page: &Page, audience: &str| {
        let of_it = format!("lanyard_report_mode_denials_total{{resource=\"{audience}\",");
        page.names().into_iter().filter(|name| name.starts_with(&of_it)).count()
    };
    let count = |page: &Page, audience: &str, reason: &str| {
        page.get(&format!("lanyard_report_mode_denials_total{{resource=\"{audience}\",reason=\"{reason}\"}}"))
    };
    server.protect(report(ORDERS, "report")).await.unwrap();
    server.protect(report(others, "enforce")).await.unwrap();
    let before = server.page().await;
    // Each reason has a series before its first denial, and an enforced resource has none.
    assert!(series(&before, ORDERS) > 30, "{}", series(&before, ORDERS));
    assert_eq!((series(&before, others), count(&before, ORDERS, "TOKEN_MISSING")), (0, Some(0)));
    for _ in 0..3 {
        assert_eq!(server.check(Asked::anonymous().resource(ORDERS)).await.http(), 200);
    }
    assert_eq!(server.check(Asked::anonymous().resource(others)).await.http(), 401);
    let after = server.page().await;
    assert_eq!(count(&after, ORDERS, "TOKEN_MISSING"), Some(3));
    assert_eq!((series(&after, ORDERS), series(&after, others)), (series(&before, ORDERS), 0));
    let last_day = |page: &Page, audience: &str, outcome: &str| {
        page.get(&format!("lanyard_resource_requests_last_day{{resource=\"{audience}\",outcome=\"{outcome}\"}}"))
    };
    assert_eq!((last_day(&before, ORDERS, "let_through"), last_day(&before, others, "denied")), (Some(0), None));
    assert_eq!((last_day(&after, ORDERS, "let_through"), last_day(&after, others, "denied")), (Some(3), Some(1)));
    assert_eq!((last_day(&after, ORDERS, "allowed"), last_day(&after, others, "let_through")), (Some(0), Some(0)));
    let request = lanyard::proto::DeleteProtectedResourceRequest { audience: ORDERS.to_owned(), ..Default::default() };
    server.registry(&server.svid("/admin")).delete_protected_resource(request).await.unwrap();
    let page = server.page().await;
    assert_eq!((series(&page, ORDERS), last_day(&page, ORDERS, "let_through")), (0, None));
}

#[tokio::test]
async fn a_request_that_panics_is_an_error_in_every_protocol() {
    let (server, clock) = fragile().await;
    let channel = server.channel(&server.svid("/proxy"));
    let mut keys = KeyServiceClient::new(channel.clone());
    let mut checks = AuthorizationClient::new(channel.clone());
    let mut http = server.http(&server.svid("/checkout")).await;
    let mut stream = BindingStream::open(BindingServiceClient::new(channel)).await;
    stream.ask(&use_of("")).await.unwrap();
    keys.get_jwks(GetJwksRequest {}).await.unwrap();
    http.send(get("/oauth2/jwks")).await;
    let before = server.page().await;
    clock.arm();
    assert_eq!(keys.get_jwks(GetJwksRequest {}).await.unwrap_err().code(), Code::Internal);
    clock.arm();
    assert_eq!(http.send(get("/oauth2/jwks")).await.status, 500);
    clock.arm();
    checks.check(CheckRequest::default()).await.unwrap();
    clock.arm();
    assert_eq!(stream.ask(&use_of("")).await.unwrap_err().code(), Code::Internal);
    let expected = [
        "/oauth2/jwks error 1",
        "envoy.service.auth.v3.Authorization/Check error 1",
        "lanyard.v1.BindingService/ValidateBindings error 1",
        "lanyard.v1.KeyService/GetJwks error 1",
    ];
    assert_eq!(server.page().await.requests_since(&before), expected);
}

#[tokio::test]
async fn a_stream_counts_once_at_its_end() {
    let server = TestServer::start().await;
    let proxy = server.svid("/proxy");
    let mut stream = BindingStream::open(server.bindings(&proxy)).await;
    for _ in 0..3 {
        stream.ask(&use_of("")).await.unwrap();
    }
    assert_eq!(server.page().await.requests(VALIDATE_BINDINGS), [0, 0, 0]);
    let BindingStream { questions, mut answers } = stream;
    drop(questions);
    assert!(answers.message().await.unwrap().is_none());
    assert_eq!(server.page().await.requests(VALIDATE_BINDINGS), [1, 0, 0]);
    // Its status is in the trailers: the certificate has ended meanwhile.
    let last = server.now().after(Duration::from_secs(10));
    let brief = server.setup.ca.svid("spiffe://prod.example/proxy").between(server.now(), last).issue();
    let mut stream = BindingStream::open(server.bindings(&brief)).await;
    stream.ask(&use_of("")).await.unwrap();
    server.advance(Duration::from_secs(11));
    assert_eq!(stream.ask(&use_of("")).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(server.page().await.requests(VALIDATE_BINDINGS), [1, 1, 0]);
}

#[tokio::test]
async fn a_caller_that_goes_away_before_the_end_counts_as_refused() {
    let server = TestServer::start().await;
    let mut health = HealthClient::new(server.channel(&server.svid("/probe")));
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    drop((watch, health));
    let page = server.page_where(|page| page.requests(WATCH) != [0; 3]).await;
    assert_eq!(page.requests(WATCH), [0, 1, 0]);
}

#[tokio::test]
async fn a_stream_that_ends_with_its_connection_is_no_error() {
    let server = TestServer::started(|setup| setup.tls = "  connection_max_age: 300ms".to_owned()).await;
    let mut health = HealthClient::new(server.channel(&server.svid("/probe")));
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    let status = watch.message().await.unwrap_err();
    assert_eq!(reason_of(&status), "CONNECTION_OVER");
    assert_eq!(server.page().await.requests(WATCH), [1, 0, 0]);
}

#[test]
fn a_duration_counts_in_the_first_bucket_that_it_does_not_pass() {
    let durations = Durations::default();
    let spans = [0, 100_000, 100_001, 250_000, 9_999_999_999, 10_000_000_000, 10_000_000_001, 3_600_000_000_000];
    for nanoseconds in spans {
        durations.add(Duration::from_nanos(nanoseconds));
    }
    let read = durations.read();
    let last = BOUNDS.len() - 1;
    assert_eq!((read.counts[0], read.counts[1], read.counts[last], read.overflow), (2, 2, 2, 2));
    assert_eq!((read.count(), read.sum), (8, Duration::from_nanos(spans.iter().sum())));
    assert!(BOUNDS.is_sorted());
}

#[tokio::test]
async fn each_cache_counts_what_it_finds_and_what_it_does_not() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let before = server.page().await;
    for _ in 0..3 {
        server.validate(&token, certificate_of(&checkout)).await.unwrap();
    }
    server.validate("a.b.c", certificate_of(&checkout)).await.unwrap();
    // Too long to be looked for.
    server.validate(&"x".repeat(20_000), certificate_of(&checkout)).await.unwrap();
    let grown = server.page().await.grown_since(&before);
    let grown: Vec<_> = grown.into_iter().filter(|(name, _)| name.starts_with("lanyard_cache")).collect();
    let series = |count: &str| format!("lanyard_cache_{count}_total{{cache=\"tokens\"}}");
    assert_eq!(grown, [(series("hits"), 2.0), (series("misses"), 2.0)]);
}
