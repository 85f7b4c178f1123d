//! How each listener answers what it does not admit, does not know, or is asked in another protocol than the method's own.
//!
//! `refusals.txt` is the table: a line for each request, and below it how the requests were counted. What the last run got
//! is in `target/tmp/refusals.txt`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::Method;
use axum::http::Request;
use axum::http::header::ACCEPT;
use lanyard::authority::clock::Clock;
use lanyard::proto::envoy::service::auth::v3::CheckResponse;
use lanyard::proto::envoy::service::auth::v3::check_response::HttpResponse;
use prost::Message as _;
use tokio::net::TcpStream;
use tonic::Status;

use crate::support::http::FORM;
use crate::support::http::Http;
use crate::support::http::raw;
use crate::support::panicking_clock::PanickingClock;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::connect;
use crate::support::server::in_crate;
use crate::support::server::reason_of;
use crate::support::terminator::Kind;
use crate::support::terminator::client_cert;
use crate::support::terminator::listen;
use crate::support::terminator::with_headers;
use crate::support::unreferenced::without_references;
use crate::support::wire::http1;

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
const GET_JWKS: &str = "/lanyard.v1.KeyService/GetJwks";
const GRPC: &str = "application/grpc";
const SIGNED: &str = "application/token-introspection+jwt";

/// Methods of each protocol, and names beside the table.
const PATHS: [&str; 18] = [
    CHECK,
    "/envoy.service.auth.v3.Authorization/Check/",
    GET_JWKS,
    "/lanyard.v1.RegistryService/ListClients",
    "/lanyard.v1.TokenService/AnnounceRotation",
    "/lanyard.v1.RegistryService/DropClients",
    "/oauth2/token",
    "/oauth2/introspect",
    "/oauth2/register",
    "/oauth2/jwks",
    "/oauth2/authorize",
    "/oauth2/",
    "/.well-known/oauth-authorization-server",
    "/.well-known/oauth-authorization-server/tenant",
    "/.well-known/oauth-authorization-servers",
    "/spiffe/bundle",
    "/",
    "/nothing",
];

const CONTENT_TYPES: [&str; 4] = [GRPC, "application/grpc-web+proto", FORM, "application/json"];

/// An empty message of gRPC.
fn request(path: &str, content_type: &str) -> Request<Body> {
    raw(Method::POST, path, content_type, vec![0; 5])
}

/// All of an answer that does not vary from run to run.
async fn answer(http: &mut Http, request: Request<Body>) -> String {
    let (head, body) = http.exchange(request).await.unwrap().into_parts();
    let trailers = body.trailers().cloned().unwrap_or_default();
    let body = body.to_bytes();
    let mut text = head.status.as_u16().to_string();
    headers(&mut text, &head.headers);
    let is_message = head.headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(GRPC.as_bytes()));
    if let Some(message) = body.get(5..).filter(|_| is_message) {
        match CheckResponse::decode(message).ok().and_then(|check| check.http_response) {
            Some(HttpResponse::DeniedResponse(denied)) => {
                write!(text, " denied {} {}", denied.status.unwrap().code, denied.body).unwrap();
            }
            _ => text.push_str(" message"),
        }
    } else if !body.is_empty() {
        write!(text, " {}", std::str::from_utf8(&body).unwrap()).unwrap();
    }
    headers(&mut text, &trailers);
    without_references(&text)
}

fn headers(text: &mut String, headers: &HeaderMap) {
    let reported = headers.iter().filter(|(name, _)| !["date", "content-length"].contains(&name.as_str()));
    let reported: BTreeMap<&str, String> = reported
        .map(|(name, value)| match name.as_str() {
            "grpc-status-details-bin" => ("reason", reason_of(&Status::from_header_map(headers).unwrap())),
            name => (name, value.to_str().unwrap().to_owned()),
        })
        .collect();
    for (name, value) in reported {
        write!(text, " {name}={value:?}").unwrap();
    }
}

/// Asks for everything, and writes down the answers: content types that get the same one stand in one line.
async fn ask(table: &mut String, door: &str, http: &mut Http, more: &[(&'static str, String)]) {
    for path in PATHS {
        let mut answers: Vec<(String, Vec<&str>)> = Vec::new();
        for content_type in CONTENT_TYPES {
            let answer = answer(http, with_headers(request(path, content_type), more)).await;
            match answers.iter_mut().find(|(other, _)| *other == answer) {
                Some((_, same)) => same.push(content_type),
                None => answers.push((answer, vec![content_type])),
            }
        }
        for (answer, content_types) in answers {
            writeln!(table, "{door} {path} {} -> {answer}", content_types.join(", ")).unwrap();
        }
    }
    for content_type in [GRPC, FORM] {
        let mut signed = request("/oauth2/introspect", content_type);
        signed.headers_mut().insert(ACCEPT, SIGNED.parse().unwrap());
        let unreadable = raw(Method::POST, CHECK, content_type, vec![0xff; 5]);
        for (what, request) in [("signed introspection", signed), ("unreadable check", unreadable)] {
            let answer = answer(http, with_headers(request, more)).await;
            writeln!(table, "{door} {what} {content_type} -> {answer}").unwrap();
        }
    }
}

#[tokio::test]
async fn each_listener_answers_odd_requests_as_the_table_says() {
    let server = TestServer::started(|setup| {
        setup.tls = "  client_auth: request\n".to_owned();
        listen(setup, Kind::Tcp);
    })
    .await;
    let without = || {
        let mut config = server.tls_builder().with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    };
    let workload = server.svid("/checkout");
    let guest = server.setup.corp.client_certificate().dns("guest.corp.example").issue();
    let mut table = String::new();
    for (door, address, config) in [
        ("mtls", server.addresses.mtls, without()),
        ("mtls,guest", server.addresses.mtls, server.tls(&guest)),
        ("mtls,workload", server.addresses.mtls, server.tls(&workload)),
        ("mtls,proxy", server.addresses.mtls, server.tls(&server.svid("/proxy"))),
        ("public", server.addresses.public, without()),
    ] {
        let mut http = Http::two(connect(address, config).await.unwrap()).await;
        ask(&mut table, door, &mut http, &[]).await;
    }
    let mut forwarded = server.terminator(Kind::Tcp).http2().await;
    ask(&mut table, "forwarded", &mut forwarded, &[]).await;
    let header = [("client-cert", client_cert(&workload))];
    ask(&mut table, "forwarded,workload", &mut forwarded, &header).await;

    let page = http1(TcpStream::connect(server.addresses.ops).await.unwrap(), "GET /metrics").await.body;
    let counted = ["lanyard_calls_refused", "lanyard_request_duration_seconds_count", "lanyard_grants_refused"];
    let mut series: Vec<&str> = page
        .lines()
        .filter(|line| counted.iter().any(|name| line.starts_with(name)) && !line.ends_with(" 0"))
        .collect();
    series.sort_unstable();
    for line in series {
        writeln!(table, "{line}").unwrap();
    }
    let now = concat!(env!("CARGO_TARGET_TMPDIR"), "/refusals.txt");
    fs::write(now, &table).unwrap();
    let expected = fs::read_to_string(in_crate("tests/it/access/refusals.txt")).unwrap();
    for (now, expected) in table.lines().zip(expected.lines()) {
        assert_eq!(now, expected);
    }
    assert_eq!(table.lines().count(), expected.lines().count());
}

#[tokio::test]
async fn a_panic_is_answered_in_the_protocol_of_its_request() {
    let setup = Setup::default();
    setup.write();
    let clock = PanickingClock::new(&setup.clock);
    let server = setup.start_by(Arc::clone(&clock) as Arc<dyn Clock>).await.unwrap();
    let stream = connect(server.addresses.mtls, server.tls(&server.svid("/proxy"))).await.unwrap();
    let mut http = Http::two(stream).await;
    // When its answer has come, the handshake is over, which looks at the clock too.
    answer(&mut http, request("/nothing", FORM)).await;
    let denied = "200 content-type=\"application/grpc\" denied 503";
    let status = "grpc-message=\"the%20server%20failed%20at%20this%20request\" grpc-status=\"13\" reason=\"INTERNAL\"";
    let status = format!("200 content-type=\"application/grpc\" {status}");
    let plain = "500 content-type=\"text/plain; charset=utf-8\" internal error";
    for (path, content_type, expected) in [
        (CHECK, GRPC, denied),
        (CHECK, FORM, denied),
        (GET_JWKS, GRPC, &status),
        (GET_JWKS, FORM, plain),
        ("/oauth2/introspect", GRPC, &status),
        ("/oauth2/introspect", FORM, plain),
        ("/spiffe/bundle", GRPC, &status),
        ("/spiffe/bundle", FORM, plain),
    ] {
        clock.arm();
        let answer = answer(&mut http, request(path, content_type)).await;
        assert!(!clock.is_armed());
        let matches = if expected == denied { answer.starts_with(expected) } else { answer == expected };
        assert!(matches, "{path} {content_type}: {answer}");
    }
}
