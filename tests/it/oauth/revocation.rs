//! Revocation over HTTP (RFC 7009) and gRPC: who may revoke what, and that every protocol applies it to the
//! very next request.

use std::time::Duration;

use lanyard::authority::clock::Timestamp;
use lanyard::proto::Client;
use lanyard::proto::DenyReason;
use lanyard::proto::IntrospectTokenRequest;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::RevokeTokenRequest;
use lanyard::proto::revoke_token_request::Target;
use serde_json::json;
use tonic::Code;
use tonic::Status;

use crate::support::ca::self_signed;
use crate::support::calls::opened;
use crate::support::calls::pki_client;
use crate::support::calls::refusal;
use crate::support::calls::self_signed_client;
use crate::support::door::knock;
use crate::support::http::post;
use crate::support::leaf::Leaf;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::spiffe_client;

const REVOKE: &str = "/oauth2/revoke";
const CHECKOUT: &str = "spiffe://prod.example/checkout";

/// Why every protocol refuses a token with the very certificate that it is bound to; `None` if they accept it.
async fn refused_for(server: &TestServer, leaf: &Leaf, token: &str) -> Option<DenyReason> {
    let reason = server.validate(token, certificate_of(leaf)).await.unwrap().reason();
    let reason = Some(reason).filter(|reason| *reason != DenyReason::Unspecified);
    let proxy = server.svid("/proxy");
    let over_http = server.post(&proxy, "/oauth2/introspect", &[("token", token)]).await.ok();
    assert_eq!(over_http["active"], json!(reason.is_none()), "{reason:?}");
    let request = IntrospectTokenRequest { token: token.to_owned(), client_id: String::new(), ..Default::default() };
    let over_grpc = server.tokens(&proxy).introspect_token(request).await.unwrap().into_inner();
    assert_eq!(over_grpc.active, reason.is_none(), "{reason:?}");
    reason
}

async fn revoke_by(server: &TestServer, leaf: &Leaf, request: RevokeTokenRequest) -> Result<(), Status> {
    server.tokens(leaf).revoke_token(request).await.map(drop)
}

/// Revokes as the admin.
async fn revoke(server: &TestServer, target: Target) {
    let request = RevokeTokenRequest { target: Some(target), ..RevokeTokenRequest::default() };
    revoke_by(server, &server.svid("/admin"), request).await.unwrap();
}

async fn lift(server: &TestServer, target: Target) {
    let request = RevokeTokenRequest { target: Some(target), lift: true, ..RevokeTokenRequest::default() };
    revoke_by(server, &server.svid("/admin"), request).await.unwrap();
}

fn client(client_id: &str) -> Target {
    Target::RevokedClientId(client_id.to_owned())
}

fn certificate(leaf: &Leaf) -> Target {
    Target::CertificateThumbprint(leaf.thumbprint().as_bytes().to_vec())
}

fn token_form(client_id: &str) -> [(&str, &str); 2] {
    [("grant_type", "client_credentials"), ("client_id", client_id)]
}

// RFC 7009 sections 2, 2.1 and 2.2
#[tokio::test]
async fn a_client_revokes_its_own_token_and_that_one_only() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let (token, other) = (server.token(&checkout).await, server.token(&checkout).await);
    let thief = server.workload("/thief").await;
    assert_eq!(refused_for(&server, &checkout, &token).await, None);
    // Another client's attempt is refused, and changes nothing.
    let refused = server.post(&thief, REVOKE, &[("token", &token)]).await;
    assert_eq!(refused.error(), (400, "unauthorized_client".to_owned()));
    assert_eq!(refused_for(&server, &checkout, &token).await, None);
    let reply = server.post(&checkout, REVOKE, &[("token", &token), ("client_id", CHECKOUT)]).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, ""));
    reply.assert_no_store();
    assert_eq!(refused_for(&server, &checkout, &token).await, Some(DenyReason::TokenRevoked));
    assert_eq!(refused_for(&server, &checkout, &other).await, None);
    // Again, which is no error.
    assert_eq!(server.post(&checkout, REVOKE, &[("token", &token)]).await.status, 200);
}

// RFC 7009 section 2.1: a client that has no SPIFFE ID says who it is.
#[tokio::test]
async fn clients_of_each_method_revoke_their_own_tokens() {
    let server = TestServer::start().await;
    let own = self_signed("own").issue();
    server.register(self_signed_client("own", &own.pem())).await.unwrap();
    let shop = Client { tls_client_auth_san_dns: "shop.corp.example".to_owned(), ..pki_client("shop") };
    server.register(shop).await.unwrap();
    let shop = server.setup.corp.client_certificate().dns("shop.corp.example").issue();
    for (leaf, client_id) in [(&own, "own"), (&shop, "shop")] {
        let token = server.issue_as(leaf, client_id).await.unwrap().access_token;
        let nameless = server.post(leaf, REVOKE, &[("token", &token)]).await;
        assert_eq!(nameless.error(), (400, "invalid_request".to_owned()));
        let misnamed = server.post(leaf, REVOKE, &[("token", &token), ("client_id", "other")]).await;
        assert_eq!(misnamed.error(), (401, "invalid_client".to_owned()));
        assert_eq!(refused_for(&server, leaf, &token).await, None);
        assert_eq!(server.post(leaf, REVOKE, &[("token", &token), ("client_id", client_id)]).await.status, 200);
        assert_eq!(refused_for(&server, leaf, &token).await, Some(DenyReason::TokenRevoked));
    }
}

// RFC 7009 sections 2.1 and 2.2
#[tokio::test]
async fn garbage_and_expired_and_foreign_tokens_need_no_revoking_and_no_hint_matters() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let stranger = TestServer::start().await;
    let foreign = stranger.token(&stranger.workload("/checkout").await).await;
    let expired = server.token(&checkout).await;
    server.advance(Duration::from_mins(5));
    let token = server.token(&checkout).await;
    let cut = &token[..token.len() - 4];
    for hint in ["access_token", "refresh_token", "unknown", ""] {
        for token in ["garbage", "a.b.c", "\u{0}", &foreign, &expired, cut] {
            let form = [("token", token), ("token_type_hint", hint)];
            let reply = server.post(&checkout, REVOKE, &form).await;
            assert_eq!((reply.status, reply.body.as_str()), (200, ""), "{hint}");
        }
        let token = server.token(&checkout).await;
        let form = [("token", token.as_str()), ("token_type_hint", hint)];
        assert_eq!(server.post(&checkout, REVOKE, &form).await.status, 200);
        assert_eq!(refused_for(&server, &checkout, &token).await, Some(DenyReason::TokenRevoked), "{hint}");
    }
    assert_eq!(refused_for(&server, &checkout, &token).await, None, "cut short, it was no token");
    for form in [&[][..], &[("token", "")], &[("token", "x"), ("token", "x")]] {
        assert_eq!(server.post(&checkout, REVOKE, form).await.error(), (400, "invalid_request".to_owned()));
    }
    let unregistered = server.post(&server.svid("/unregistered"), REVOKE, &[("token", "garbage")]).await;
    assert_eq!(unregistered.error(), (401, "invalid_client".to_owned()));
}

// What is not the caller's own token is the admin's to revoke.
#[tokio::test]
async fn anything_but_its_own_token_is_refused_to_a_client_and_to_a_proxy() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let jti = opened(&token).1["jti"].as_str().unwrap().to_owned();
    let targets =
        [Target::Jti(jti), client(CHECKOUT), certificate(&checkout), Target::IssuedToClientId(CHECKOUT.to_owned())];
    for (leaf, lift) in [(&checkout, false), (&checkout, true), (&server.svid("/proxy"), false)] {
        for target in &targets {
            let request = RevokeTokenRequest { target: Some(target.clone()), lift, ..RevokeTokenRequest::default() };
            let refused = refusal(revoke_by(&server, leaf, request).await);
            assert_eq!(refused, (Code::PermissionDenied, "NOT_YOURS".to_owned()), "{target:?}");
        }
    }
    let by_proxy = server.post(&server.svid("/proxy"), REVOKE, &[("token", &token)]).await;
    assert_eq!(by_proxy.error(), (400, "unauthorized_client".to_owned()));
    assert_eq!(refused_for(&server, &checkout, &token).await, None);
    let by_admin = server.post(&server.svid("/admin"), REVOKE, &[("token", &token)]).await;
    assert_eq!(by_admin.status, 200);
    assert_eq!(refused_for(&server, &checkout, &token).await, Some(DenyReason::TokenRevoked));
}

#[tokio::test]
async fn a_target_that_cannot_be_read_is_refused() {
    let server = TestServer::start().await;
    for target in [
        None,
        Some(Target::Jti(String::new())),
        Some(Target::Jti("a b".to_owned())),
        Some(Target::Jti("a".repeat(257))),
        Some(client("")),
        Some(client("spiffe://prod.example/checkout/")),
        Some(Target::CertificateThumbprint(vec![7; 31])),
        Some(Target::CertificateThumbprint(vec![7; 33])),
        Some(Target::IssuedToClientId("a b".to_owned())),
    ] {
        let request = RevokeTokenRequest { target: target.clone(), ..RevokeTokenRequest::default() };
        let refused = refusal(revoke_by(&server, &server.svid("/admin"), request).await);
        assert_eq!(refused, (Code::InvalidArgument, "INVALID_REQUEST".to_owned()), "{target:?}");
    }
    for target in [Target::Jti("a".to_owned()), Target::IssuedToClientId(CHECKOUT.to_owned())] {
        let request = RevokeTokenRequest { target: Some(target), lift: true, ..RevokeTokenRequest::default() };
        let refused = refusal(revoke_by(&server, &server.svid("/admin"), request).await);
        assert_eq!(refused, (Code::InvalidArgument, "NOT_LIFTABLE".to_owned()));
    }
}

#[tokio::test]
async fn a_token_is_revoked_by_its_jti_and_another_is_not() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let (token, other) = (server.token(&checkout).await, server.token(&checkout).await);
    let jti = opened(&token).1["jti"].as_str().unwrap().to_owned();
    revoke(&server, Target::Jti(jti)).await;
    assert_eq!(refused_for(&server, &checkout, &token).await, Some(DenyReason::TokenRevoked));
    assert_eq!(refused_for(&server, &checkout, &other).await, None);
}

#[tokio::test]
async fn a_revoked_client_is_refused_with_all_it_has_until_that_is_lifted() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let other = server.workload("/other").await;
    let (token, others) = (server.token(&checkout).await, server.token(&other).await);
    let mut open = server.http(&checkout).await;
    let mut tokens = server.tokens(&checkout);
    open.send(post("/oauth2/token", &token_form(CHECKOUT))).await.ok();
    tokens.issue_token(IssueTokenRequest::default()).await.unwrap();
    revoke(&server, client(CHECKOUT)).await;
    assert_eq!(refused_for(&server, &checkout, &token).await, Some(DenyReason::ClientRevoked));
    assert_eq!(refused_for(&server, &other, &others).await, None);
    // On the open connection, over gRPC, at the endpoints where clients authenticate, and in the handshake of a new one.
    let refused = (401, "invalid_client".to_owned());
    assert_eq!(open.send(post("/oauth2/token", &token_form(CHECKOUT))).await.error(), refused);
    assert!(!knock(server.addresses.mtls, server.tls(&checkout)).await.is_jwks());
    for path in ["/oauth2/introspect", REVOKE] {
        assert_eq!(open.send(post(path, &[("token", &token)])).await.error(), refused, "{path}");
    }
    let over_grpc = refusal(tokens.issue_token(IssueTokenRequest::default()).await);
    assert_eq!(over_grpc, (Code::Unauthenticated, "CERTIFICATE_NOT_PROVEN".to_owned()));
    // Deleting the client and registering it again revives nothing.
    server.delete(CHECKOUT).await;
    server.register(spiffe_client(CHECKOUT)).await.unwrap();
    assert_eq!(open.send(post("/oauth2/token", &token_form(CHECKOUT))).await.error(), refused);
    lift(&server, client(CHECKOUT)).await;
    open.send(post("/oauth2/token", &token_form(CHECKOUT))).await.ok();
    assert!(knock(server.addresses.mtls, server.tls(&checkout)).await.is_jwks());
    // A token of the second in which it was revoked may be one from before.
    server.advance(Duration::from_secs(1));
    let fresh = server.token(&checkout).await;
    assert_eq!(refused_for(&server, &checkout, &fresh).await, None);
    assert_eq!(refused_for(&server, &checkout, &token).await, Some(DenyReason::ClientRecreated));
}

// The name of a registration is not always what its tokens say.
#[tokio::test]
async fn a_client_is_revoked_by_the_name_that_it_is_registered_under_too() {
    let server = TestServer::start().await;
    let pattern = "spiffe://prod.example/ns/shop/*".to_owned();
    let named = Client { client_id: "shop".to_owned(), spiffe_id: pattern, ..spiffe_client("") };
    server.register(named).await.unwrap();
    let leaf = server.svid("/ns/shop/sa/checkout");
    let bystander = server.workload("/checkout").await;
    let (token, other) = (server.token(&leaf).await, server.token(&bystander).await);
    revoke(&server, Target::IssuedToClientId("shop".to_owned())).await;
    assert_eq!(refused_for(&server, &leaf, &token).await, Some(DenyReason::TokenRevoked));
    server.advance(Duration::from_secs(1));
    let token = server.token(&leaf).await;
    assert_eq!(refused_for(&server, &leaf, &token).await, None);
    revoke(&server, client("shop")).await;
    assert_eq!(refused_for(&server, &leaf, &token).await, Some(DenyReason::ClientRevoked));
    let issued = async |leaf| server.issue(leaf, IssueTokenRequest::default()).await;
    assert!(issued(&leaf).await.is_err());
    assert!(issued(&bystander).await.is_ok());
    assert_eq!(refused_for(&server, &bystander, &other).await, None);
    lift(&server, client("shop")).await;
    assert_eq!(refused_for(&server, &leaf, &token).await, Some(DenyReason::TokenRevoked));
    server.advance(Duration::from_secs(1));
    assert_eq!(refused_for(&server, &leaf, &server.token(&leaf).await).await, None);
}

#[tokio::test]
async fn a_revoked_certificate_and_its_tokens_are_refused_until_that_is_lifted() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let renewed = server.svid("/checkout");
    let (token, renewed_token) = (server.token(&checkout).await, server.token(&renewed).await);
    let mut open = server.http(&checkout).await;
    let mut tokens = server.tokens(&checkout);
    tokens.issue_token(IssueTokenRequest::default()).await.unwrap();
    open.send(post("/oauth2/token", &token_form(CHECKOUT))).await.ok();
    revoke(&server, certificate(&checkout)).await;
    assert_eq!(refused_for(&server, &checkout, &token).await, Some(DenyReason::CertificateRevoked));
    let refused = (401, "invalid_client".to_owned());
    assert_eq!(open.send(post("/oauth2/token", &token_form(CHECKOUT))).await.error(), refused);
    let over_grpc = refusal(tokens.issue_token(IssueTokenRequest::default()).await);
    assert_eq!(over_grpc, (Code::Unauthenticated, "CERTIFICATE_NOT_PROVEN".to_owned()));
    let knocked = knock(server.addresses.mtls, server.tls(&checkout)).await;
    assert!(!knocked.is_jwks(), "{knocked:?}");
    // The client with another certificate goes on.
    assert_eq!(refused_for(&server, &renewed, &renewed_token).await, None);
    assert!(knock(server.addresses.mtls, server.tls(&renewed)).await.is_jwks());
    lift(&server, certificate(&checkout)).await;
    open.send(post("/oauth2/token", &token_form(CHECKOUT))).await.ok();
    assert!(knock(server.addresses.mtls, server.tls(&checkout)).await.is_jwks());
    assert_eq!(refused_for(&server, &checkout, &token).await, None);
}

#[tokio::test]
async fn what_was_issued_up_to_now_is_revoked_and_what_comes_after_is_not() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let other = server.workload("/other").await;
    let (before, others) = (server.token(&checkout).await, server.token(&other).await);
    server.advance(Duration::from_secs(1));
    let same_second = server.token(&checkout).await;
    revoke(&server, Target::IssuedToClientId(CHECKOUT.to_owned())).await;
    server.advance(Duration::from_secs(1));
    let after = server.token(&checkout).await;
    for revoked in [&before, &same_second] {
        assert_eq!(refused_for(&server, &checkout, revoked).await, Some(DenyReason::TokenRevoked));
    }
    assert_eq!(refused_for(&server, &checkout, &after).await, None);
    assert_eq!(refused_for(&server, &other, &others).await, None);
}

#[tokio::test]
async fn a_revocation_with_an_end_stands_until_that_moment_and_no_longer() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let Timestamp(now) = server.now();
    let until = Some(prost_types::Timestamp { seconds: i64::try_from(now + 10).unwrap(), nanos: 0 });
    let mut open = server.http(&checkout).await;
    let request = RevokeTokenRequest { target: Some(client(CHECKOUT)), until, ..RevokeTokenRequest::default() };
    revoke_by(&server, &server.svid("/admin"), request).await.unwrap();
    server.advance(Duration::from_secs(10));
    let refused = open.send(post("/oauth2/token", &token_form(CHECKOUT))).await;
    assert_eq!(refused.error(), (401, "invalid_client".to_owned()));
    server.advance(Duration::from_secs(1));
    open.send(post("/oauth2/token", &token_form(CHECKOUT))).await.ok();
}

#[tokio::test]
async fn a_restart_on_the_same_store_forgets_no_revocation() {
    let server = TestServer::started(|setup| setup.store = "{sled: {path: data}}".to_owned()).await;
    let leaves = [
        server.workload("/token").await,
        server.workload("/client").await,
        server.workload("/certificate").await,
        server.workload("/issued").await,
        server.workload("/untouched").await,
    ];
    let mut tokens = Vec::new();
    for leaf in &leaves {
        tokens.push(server.token(leaf).await);
    }
    assert_eq!(server.post(&leaves[0], REVOKE, &[("token", &tokens[0])]).await.status, 200);
    revoke(&server, client("spiffe://prod.example/client")).await;
    revoke(&server, certificate(&leaves[2])).await;
    revoke(&server, Target::IssuedToClientId("spiffe://prod.example/issued".to_owned())).await;
    let TestServer { server, setup, .. } = server;
    server.stop().await;
    let server = setup.start().await.unwrap();
    let expected = [
        Some(DenyReason::TokenRevoked),
        Some(DenyReason::ClientRevoked),
        Some(DenyReason::CertificateRevoked),
        Some(DenyReason::TokenRevoked),
        None,
    ];
    for ((leaf, token), expected) in leaves.iter().zip(&tokens).zip(expected) {
        assert_eq!(refused_for(&server, leaf, token).await, expected);
    }
    for (leaf, admitted) in leaves.iter().zip([true, false, false, true, true]) {
        assert_eq!(knock(server.addresses.mtls, server.tls(leaf)).await.is_jwks(), admitted);
    }
}
