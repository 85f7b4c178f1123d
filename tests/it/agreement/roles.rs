//! Before and after a proxy loses its role, and once it has it again, all protocols say the same: `ValidateBinding` and its
//! stream, Envoy's check, and introspection over HTTP and gRPC.

use std::fs;

use lanyard::proto::IntrospectTokenRequest;
use lanyard::proto::ProtectedResource;
use lanyard::proto::ValidateBindingRequest;

use crate::support::binding_stream::BindingStream;
use crate::support::binding_stream::StreamOutcome;
use crate::support::calls::use_of;
use crate::support::check;
use crate::support::check::Asked;
use crate::support::check::route;
use crate::support::leaf::Leaf;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;

/// Which of the protocols tell the proxy that the use of a token is allowed.
async fn allowing(
    server: &TestServer,
    stream: &mut BindingStream,
    proxy: &Leaf,
    (token, leaf): (&str, &Leaf),
) -> [bool; 5] {
    let question = ValidateBindingRequest { evidence: certificate_of(leaf), ..use_of(token) };
    let asked = server.ask(proxy, question.clone()).await;
    let checked = server.check_as(proxy, Asked::with(token, leaf).to("GET", "/any")).await;
    let over_http = server.post(proxy, "/oauth2/introspect", &[("token", token)]).await;
    let request = IntrospectTokenRequest { token: token.to_owned(), ..IntrospectTokenRequest::default() };
    let over_grpc = server.tokens(proxy).introspect_token(request).await;
    [
        asked.is_ok_and(|answer| answer.decision() == lanyard::proto::Decision::Allow),
        matches!(stream.ask(&question).await, Ok(StreamOutcome::Allowed)),
        checked.reason().is_empty(),
        over_http.body.contains("\"active\":true"),
        over_grpc.is_ok_and(|answer| answer.into_inner().active),
    ]
}

#[tokio::test]
async fn all_protocols_agree_before_and_after_a_proxy_loses_its_role_and_has_it_again() {
    let server = TestServer::start().await;
    server.protect(ProtectedResource { routes: vec![route(&[], "/**", "")], ..check::orders() }).await.unwrap();
    let (proxy, checkout) = (server.svid("/proxy"), server.workload("/checkout").await);
    let token = server.token(&checkout).await;
    let mut stream = BindingStream::open(server.bindings(&proxy)).await;
    let file = server.setup.path("lanyard.yaml");
    let with_role = fs::read_to_string(&file).unwrap();
    let without = with_role.replace("spiffe://prod.example/proxy", "spiffe://prod.example/another-proxy");
    assert_ne!(with_role, without);
    for (text, allows) in [(&with_role, true), (&without, false), (&with_role, true)] {
        fs::write(&file, text).unwrap();
        server.server.reload();
        let answers = allowing(&server, &mut stream, &proxy, (&token, &checkout)).await;
        assert_eq!(answers, [allows; 5]);
    }
}
