//! A proxy on this machine asks for decisions, and calls nothing else.

use axum::body::Body;
use axum::http::Request;
use lanyard::authority::access::METHODS;
use lanyard::proto::Decision;
use lanyard::proto::DenyReason;
use lanyard::proto::IntrospectTokenRequest;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::token_service_client::TokenServiceClient;
use lanyard::proto::validate_binding_request::Evidence;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::binding_stream::BindingStream;
use crate::support::binding_stream::StreamOutcome;
use crate::support::calls::refusal;
use crate::support::calls::use_of;
use crate::support::check::Answer;
use crate::support::check::Asked;
use crate::support::check::answer;
use crate::support::check::orders;
use crate::support::http::get;
use crate::support::http::post;
use crate::support::local::channel;
use crate::support::local::listen_locally;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;

/// What may be called there, in order.
const OPEN: [&str; 5] = [
    "/envoy.service.auth.v3.Authorization/Check",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/lanyard.v1.BindingService/ValidateBinding",
    "/lanyard.v1.BindingService/ValidateBindings",
];

#[tokio::test]
async fn it_asks_for_decisions_by_check_and_by_validation_one_by_one_and_in_a_stream() {
    let server = TestServer::with_local_proxy().await;
    server.protect(orders()).await.unwrap();
    let (checkout, thief) = (server.workload("/checkout").await, server.workload("/thief").await);
    let token = server.token(&checkout).await;
    let mut checks = server.local_checks();
    let check = async |asked: Asked| answer(checks.clone().check(asked.message()).await.unwrap().get_ref());
    let through = check(Asked::with(&token, &checkout)).await;
    assert!(matches!(&through, Answer::Through { set, .. } if set["x-lanyard-binding"] == "exact"), "{through:?}");
    assert_eq!(check(Asked::with(&token, &thief)).await.reason(), "CERTIFICATE_MISMATCH");
    assert_eq!(check(Asked::anonymous()).await.reason(), "TOKEN_MISSING");
    let question = |leaf| ValidateBindingRequest { evidence: certificate_of(leaf), ..use_of(&token) };
    let mut bindings = server.local_bindings();
    let allowed = bindings.validate_binding(question(&checkout)).await.unwrap().into_inner();
    assert_eq!(allowed.decision(), Decision::Allow);
    let denied = bindings.validate_binding(question(&thief)).await.unwrap().into_inner();
    assert_eq!(denied.reason(), DenyReason::CertificateMismatch);
    let mut stream = BindingStream::open(bindings).await;
    assert_eq!(stream.ask(&question(&checkout)).await.unwrap(), StreamOutcome::Allowed);
    let stolen = StreamOutcome::Denied(DenyReason::CertificateMismatch);
    assert_eq!(stream.ask(&question(&thief)).await.unwrap(), stolen);
    let health = HealthClient::new(channel(&server.local_socket())).check(HealthCheckRequest::default()).await;
    assert_eq!(health.unwrap().into_inner().status(), ServingStatus::Serving);
    drop(checks.check(Asked::anonymous().message()).await.unwrap());
}

#[tokio::test]
async fn it_has_no_connection_of_its_own_to_go_by() {
    let server = TestServer::with_local_proxy().await;
    let token = server.token(&server.workload("/checkout").await).await;
    let mut bindings = server.local_bindings();
    for evidence in [None, Some(Evidence::OwnConnection(true))] {
        let question = ValidateBindingRequest { evidence: evidence.clone(), ..use_of(&token) };
        let denied = bindings.validate_binding(question).await.unwrap().into_inner();
        assert_eq!(denied.reason(), DenyReason::EvidenceMissing, "{evidence:?}");
    }
}

#[tokio::test]
async fn it_asks_about_the_resources_of_its_entry_alone() {
    let server = TestServer::started(|setup| listen_locally(setup, &format!("resources: ['{ORDERS}']"))).await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let question = |audience: &str| ValidateBindingRequest {
        evidence: certificate_of(&checkout),
        audience: audience.to_owned(),
        ..use_of(&token)
    };
    let mut bindings = server.local_bindings();
    // The only one of its resources needs no name.
    for audience in [ORDERS, ""] {
        let allowed = bindings.validate_binding(question(audience)).await.unwrap().into_inner();
        assert_eq!(allowed.decision(), Decision::Allow, "{audience}");
    }
    let foreign = refusal(bindings.validate_binding(question("https://b.example")).await);
    assert_eq!(foreign, (Code::PermissionDenied, "FOREIGN_RESOURCE".to_owned()));
}

#[tokio::test]
async fn every_other_method_is_refused_and_what_is_asked_there_is_not_answered() {
    let server = TestServer::with_local_proxy().await;
    let open: Vec<&str> = METHODS.iter().filter(|method| method.for_local_proxies).map(|method| method.name).collect();
    assert_eq!(open, OPEN);
    let mut http = server.local_http().await;
    for method in METHODS.iter().filter(|method| !OPEN.contains(&method.name)) {
        let request = if method.name.starts_with("/lanyard.v1.") || method.name.starts_with("/grpc.reflection.") {
            Request::post(method.name).header("content-type", "application/grpc").body(Body::from(vec![0; 5])).unwrap()
        } else if method.name.starts_with("/oauth2/") && !method.name.ends_with("jwks") {
            post(method.name, &[("token", "x")])
        } else {
            get(method.name)
        };
        let reply = http.send(request).await;
        let grpc = reply.headers.get("grpc-status").map(|status| status.to_str().unwrap().to_owned());
        let refused = grpc.as_deref() == Some("7") || (grpc.is_none() && matches!(reply.status, 401 | 403));
        assert!(refused, "{}: {reply:?}", method.name);
    }
    // A proxy with a certificate may introspect.
    let token = server.token(&server.workload("/checkout").await).await;
    let request = || IntrospectTokenRequest { token: token.clone(), ..Default::default() };
    let local = TokenServiceClient::new(channel(&server.local_socket())).introspect_token(request()).await;
    assert_eq!(refusal(local), (Code::PermissionDenied, "WRONG_ROLE".to_owned()));
    assert!(server.tokens(&server.svid("/proxy")).introspect_token(request()).await.unwrap().into_inner().active);
}
