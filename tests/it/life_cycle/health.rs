//! What any caller may request: health, reflection, probes, public keys.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use lanyard::authority::access::METHODS;
use lanyard::authority::clock::Timestamp;
use lanyard::proto::GetJwksRequest;
use lanyard::proto::key_service_client::KeyServiceClient;
use prost::Message as _;
use prost_types::FileDescriptorProto;
use prost_types::FileDescriptorSet;
use serde_json::Value;
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1;
use tonic_reflection::pb::v1alpha;

use crate::support::NOW;
use crate::support::door::within;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::connect;
use crate::support::wire::Answer;
use crate::support::wire::http1;

fn about(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

/// The services of this project's own protos.
fn services() -> BTreeSet<String> {
    let files = FileDescriptorSet::decode(lanyard::proto::FILE_DESCRIPTOR_SET).unwrap().file;
    let names = |file: &FileDescriptorProto| {
        let package = file.package().to_owned();
        file.service.iter().map(move |service| format!("{package}.{}", service.name())).collect::<Vec<_>>()
    };
    files.iter().flat_map(names).collect()
}

/// A peer that a client CA vouches for, and that holds no role.
fn health(server: &TestServer) -> HealthClient<Channel> {
    HealthClient::new(server.channel(&server.setup.corp.client_certificate().dns("probe.corp.example").issue()))
}

#[tokio::test]
async fn a_check_knows_the_server_and_each_of_its_services_and_no_other() {
    let server = TestServer::start().await;
    let mut health = health(&server);
    for service in services().iter().map(String::as_str).chain([""]) {
        let answer = health.check(about(service)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    for unknown in ["lanyard.v1", "lanyard.v1.tokenservice", "lanyard.v1.TokenService/IssueToken", "*", "x"] {
        let error = health.check(about(unknown)).await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{unknown:?}");
    }
}

#[tokio::test]
async fn a_watch_is_answered_at_once_and_then_stays_open() {
    let server = TestServer::start().await;
    let mut health = health(&server);
    for (service, status) in [
        ("", ServingStatus::Serving),
        ("lanyard.v1.TokenService", ServingStatus::Serving),
        ("nobody", ServingStatus::ServiceUnknown),
    ] {
        let mut watch = health.watch(about(service)).await.unwrap().into_inner();
        assert_eq!(watch.message().await.unwrap().unwrap().status(), status, "{service:?}");
        // Had the stream ended, its end would have come before the answer to a later question.
        tokio::select! {
            biased;
            more = watch.message() => panic!("{service:?}: {more:?}"),
            answer = health.check(about("")) => drop(answer.unwrap()),
        }
    }
}

#[tokio::test]
async fn a_watch_tells_that_the_server_drains() {
    let server = TestServer::start().await;
    let mut health = health(&server);
    let mut whole = health.watch(about("")).await.unwrap().into_inner();
    let mut one = health.watch(about("lanyard.v1.BindingService")).await.unwrap().into_inner();
    let mut reported = async |status| {
        for watch in [&mut whole, &mut one] {
            assert_eq!(watch.message().await.unwrap().unwrap().status(), status);
        }
    };
    reported(ServingStatus::Serving).await;
    let stopped = tokio::spawn(server.server.stop());
    reported(ServingStatus::NotServing).await;
    stopped.await.unwrap();
    for watch in [&mut whole, &mut one] {
        assert_eq!(watch.message().await.unwrap_err().code(), Code::Unavailable);
    }
}

#[tokio::test]
async fn a_drained_server_takes_no_more_connections() {
    let TestServer { server, addresses, .. } = TestServer::start().await;
    server.stop().await;
    for address in [addresses.mtls, addresses.public, addresses.ops] {
        assert!(TcpStream::connect(address).await.is_err());
    }
}

#[tokio::test]
async fn reflection_answers_in_both_versions_with_every_service() {
    let server = TestServer::start().await;
    let channel = server.channel(&server.svid("/somebody"));
    let mut expected = services();
    expected.insert("grpc.health.v1.Health".to_owned());

    let ask = v1::server_reflection_request::MessageRequest::ListServices(String::new());
    let symbol = "lanyard.v1.TokenService".to_owned();
    let file = v1::server_reflection_request::MessageRequest::FileContainingSymbol(symbol.clone());
    let requests =
        [ask, file].map(|request| v1::ServerReflectionRequest { host: String::new(), message_request: Some(request) });
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let mut answers = client.server_reflection_info(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let first = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let v1::server_reflection_response::MessageResponse::ListServicesResponse(list) = first else {
        panic!("{first:?}")
    };
    let names: BTreeSet<String> = list.service.into_iter().map(|service| service.name).collect();
    assert!(names.is_superset(&expected), "{names:?}");
    let second = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let v1::server_reflection_response::MessageResponse::FileDescriptorResponse(found) = second else {
        panic!("{second:?}")
    };
    let described = FileDescriptorProto::decode(found.file_descriptor_proto[0].as_slice()).unwrap();
    assert_eq!(described.service[0].name(), "TokenService");

    // The same in the older version.
    let ask = v1alpha::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let only = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let v1alpha::server_reflection_response::MessageResponse::ListServicesResponse(list) = only else {
        panic!("{only:?}")
    };
    let names: BTreeSet<String> = list.service.into_iter().map(|service| service.name).collect();
    assert!(names.is_superset(&expected), "{names:?}");
}

async fn on_public(server: &TestServer, request: &str) -> Answer {
    let config = server.tls_builder().with_no_client_auth();
    http1(connect(server.addresses.public, config).await.unwrap(), request).await
}

async fn on_ops(server: &TestServer, request: &str) -> Answer {
    http1(TcpStream::connect(server.addresses.ops).await.unwrap(), request).await
}

#[tokio::test]
async fn the_public_listener_serves_the_keys_and_nothing_else() {
    let server = TestServer::start().await;
    let answer = on_public(&server, "GET /oauth2/jwks").await;
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("\r\ncontent-type: application/jwk-set+json"), "{}", answer.head);
    let mut tokens = KeyServiceClient::new(server.channel(&server.svid("/somebody")));
    assert_eq!(answer.body, tokens.get_jwks(GetJwksRequest {}).await.unwrap().into_inner().jwks);
    assert_eq!(on_public(&server, "POST /oauth2/jwks").await.status, 405);
    assert_eq!(on_public(&server, "DELETE /oauth2/jwks").await.status, 405);
    for target in ["/", "/livez", "/readyz", "/metrics", "/oauth2/jwks/", "//oauth2/jwks", "/oauth2/token", "/keys"] {
        assert_eq!(on_public(&server, &format!("GET {target}")).await.status, 404, "{target}");
    }
    for method in METHODS.iter().map(|method| method.name).filter(|method| {
        !["/oauth2/", "/.well-known/", "/audit/", "/spiffe/"].iter().any(|http| method.starts_with(http))
    }) {
        assert_eq!(on_public(&server, &format!("POST {method}")).await.status, 404, "{method}");
    }
}

#[tokio::test]
async fn the_ops_listener_serves_the_probes_and_nothing_else() {
    let server = TestServer::start().await;
    for target in ["/livez", "/readyz"] {
        let answer = on_ops(&server, &format!("GET {target}")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"), "{target}");
        assert_eq!(on_ops(&server, &format!("POST {target}")).await.status, 405, "{target}");
        // As `curl -I` and some load balancers probe.
        let head = on_ops(&server, &format!("HEAD {target}")).await;
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{target}");
    }
    for target in ["/", "/oauth2/jwks", "/livez/", "/shutdown", "/quitquitquit", "/debug/pprof"] {
        assert_eq!(on_ops(&server, &format!("GET {target}")).await.status, 404, "{target}");
    }
}

#[tokio::test]
async fn a_server_whose_certificate_has_expired_is_not_ready_until_there_is_another() {
    let setup = Setup::default();
    setup.write();
    let put = |setup: &Setup, end: Timestamp| {
        let leaf = setup.ca.server_certificate("localhost").between(NOW, end).issue();
        fs::write(setup.path("server.pem"), leaf.chain_pem()).unwrap();
        fs::write(setup.path("server-key.pem"), leaf.key_pem()).unwrap();
    };
    let end = NOW.after(Duration::from_mins(1));
    put(&setup, end);
    let server = setup.start().await.unwrap();
    let mut readiness = server.server.readiness();
    assert_eq!(*readiness.borrow(), Ok(()));
    server.setup.clock.set(Timestamp(end.0 + 1));
    within(readiness.wait_for(|readiness| *readiness == Err("server_certificate_expired"))).await.unwrap();
    let answer = on_ops(&server, "GET /readyz").await;
    assert_eq!((answer.status, answer.body.as_str()), (503, "server_certificate_expired"));
    assert_eq!(on_ops(&server, "GET /livez").await.status, 200);
    put(&server.setup, NOW.after(Duration::from_mins(3)));
    server.server.reload();
    within(readiness.wait_for(Result::is_ok)).await.unwrap();
}

#[tokio::test]
async fn a_server_that_may_decide_nothing_any_more_is_not_ready() {
    let server = TestServer::started(|setup| setup.store = "{memory: true, max_staleness: 60s}".to_owned()).await;
    let mut readiness = server.server.readiness();
    server.server.authority().mark_disconnected();
    server.advance(Duration::from_secs(61));
    within(readiness.wait_for(|readiness| *readiness == Err("store_stale"))).await.unwrap();
    server.server.authority().mark_synced();
    within(readiness.wait_for(Result::is_ok)).await.unwrap();
}

#[tokio::test]
async fn published_keys_have_public_members_only() {
    for (algorithm, members) in [
        ("ES256", &["alg", "crv", "kid", "kty", "use", "x", "y"][..]),
        ("RS256", &["alg", "e", "kid", "kty", "n", "use"]),
        ("EdDSA", &["alg", "crv", "kid", "kty", "use", "x"]),
    ] {
        let mut setup = Setup::default();
        setup.keys = setup.keys.replace('{', &format!("{{algorithm: {algorithm}, "));
        setup.write();
        let server = setup.start().await.unwrap();
        let jwks: Value = serde_json::from_str(&on_public(&server, "GET /oauth2/jwks").await.body).unwrap();
        assert_eq!(jwks.as_object().unwrap().len(), 1, "{jwks}");
        let key = jwks["keys"][0].as_object().unwrap();
        assert_eq!(key.keys().map(String::as_str).collect::<BTreeSet<_>>(), members.iter().copied().collect());
        assert_eq!((&key["alg"], &key["use"]), (&Value::from(algorithm), &Value::from("sig")));
    }
}
