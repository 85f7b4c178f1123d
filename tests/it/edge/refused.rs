//! What an edge does not do, by the access table: it says so, and who does.

use lanyard::authority::access::METHODS;
use lanyard::authority::access::Protocol;
use tonic::Code;
use tonic::Request;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

use crate::support::edge::Edge;
use crate::support::http::Http;
use crate::support::http::http1_only;
use crate::support::http::post;
use crate::support::leaf::Leaf;
use crate::support::server::TestServer;
use crate::support::server::connect;

const CENTRE: &str = "https://lanyard.prod.example:8443";

/// What an edge has. Everything else it refuses.
const AT_EDGES: [&str; 23] = [
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
    "/audit/jwks",
    "/envoy.service.auth.v3.Authorization/Check",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/lanyard.v1.BindingService/ValidateBinding",
    "/lanyard.v1.BindingService/ValidateBindings",
    "/lanyard.v1.DecisionService/FollowDecisions",
    "/lanyard.v1.ExplanationService/ExplainCheck",
    "/lanyard.v1.ExplanationService/ExplainRefusal",
    "/lanyard.v1.ExplanationService/ListRefusals",
    "/lanyard.v1.ExplanationService/ReportResource",
    "/lanyard.v1.KeyService/GetJwks",
    "/lanyard.v1.SnapshotService/WatchRevocations",
    "/lanyard.v1.SnapshotService/WatchSnapshot",
    "/lanyard.v1.TokenService/IntrospectToken",
    "/lanyard.v1.TokenService/WhoAmI",
    "/oauth2/introspect",
    "/oauth2/jwks",
    "/spiffe/bundle",
];

#[test]
fn the_table_names_what_edges_have() {
    let named: Vec<&str> = METHODS.iter().filter(|method| method.at_edges).map(|method| method.name).collect();
    assert_eq!(named, AT_EDGES);
}

/// The status of a call whose message is empty.
async fn call(edge: &Edge, centre: &TestServer, leaf: &Leaf, method: &'static str) -> Option<tonic::Status> {
    let mut grpc = Grpc::new(edge.channel(centre, leaf));
    grpc.ready().await.unwrap();
    let codec: ProstCodec<(), ()> = ProstCodec::default();
    grpc.unary(Request::new(()), method.parse().unwrap(), codec).await.err()
}

#[tokio::test]
async fn everything_else_is_refused_with_the_name_of_the_centre() {
    let centre = TestServer::start().await;
    let edge = Edge::start(&centre, |_| {}).await;
    let admin = centre.svid("/admin");
    for method in METHODS {
        let name = method.name;
        match method.protocol {
            Protocol::Grpc | Protocol::ExtAuthz => {
                let status = if method.takes_a_stream || name.ends_with("/Watch") || name.ends_with("FollowDecisions") {
                    // They would go on.
                    assert!(method.at_edges, "{name}");
                    continue;
                } else {
                    call(&edge, &centre, &admin, name).await
                };
                let info = status.as_ref().and_then(tonic_types::StatusExt::get_details_error_info);
                let is_refused = info.as_ref().is_some_and(|info| info.reason == "NOT_AT_AN_EDGE");
                assert_eq!(is_refused, !method.at_edges, "{name}: {status:?}");
                if is_refused {
                    assert_eq!(status.unwrap().code(), Code::FailedPrecondition, "{name}");
                    assert_eq!(info.unwrap().metadata["centre"], CENTRE, "{name}");
                }
            }
            Protocol::OAuth | Protocol::Http => {
                let tls = http1_only(centre.tls(&admin));
                let mut http = Http::one(connect(edge.running.addresses.mtls, tls).await.unwrap()).await;
                let reply = http.send(post(name, &[("grant_type", "client_credentials"), ("token", "a.b.c")])).await;
                assert_eq!(reply.status == 421, !method.at_edges, "{name}: {reply:?}");
                if reply.status == 421 {
                    assert_eq!(reply.error(), (421, "invalid_request".to_owned()), "{name}");
                    let description = reply.json()["error_description"].as_str().unwrap().to_owned();
                    assert!(description.ends_with(CENTRE), "{description}");
                }
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_there_at_an_edge_either() {
    let centre = TestServer::start().await;
    let edge = Edge::start(&centre, |_| {}).await;
    let status = call(&edge, &centre, &centre.svid("/admin"), "/lanyard.v1.TokenService/Nothing").await.unwrap();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_token_is_introspected_and_the_answer_is_not_signed() {
    let centre = TestServer::start().await;
    let checkout = centre.workload("/checkout").await;
    let token = centre.token(&checkout).await;
    let edge = Edge::start(&centre, |_| {}).await;
    let asked = |accept: &'static str| {
        let (tls, token) = (http1_only(centre.tls(&centre.svid("/proxy"))), token.clone());
        let address = edge.running.addresses.mtls;
        async move {
            let mut http = Http::one(connect(address, tls).await.unwrap()).await;
            let mut request = post("/oauth2/introspect", &[("token", &token)]);
            request.headers_mut().insert("accept", accept.parse().unwrap());
            http.send(request).await
        }
    };
    assert_eq!(asked("application/json").await.ok()["active"], true);
    let reply = asked("application/token-introspection+jwt").await;
    assert_eq!(reply.status, 421, "{reply:?}");
    assert!(reply.body.contains("no key that signs") && reply.body.contains(CENTRE), "{reply:?}");
}
