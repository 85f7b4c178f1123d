//! A revoked peer holds no role anywhere: in the handshake, and with the next request of what is open.

use lanyard::proto::AssignedRole;
use lanyard::proto::Client;
use lanyard::proto::IntrospectTokenRequest;
use lanyard::proto::ListClientsRequest;
use lanyard::proto::RevokeTokenRequest;
use lanyard::proto::revoke_token_request::Target;
use tonic::Code;
use tonic::Status;

use crate::support::binding_stream::BindingStream;
use crate::support::binding_stream::StreamOutcome;
use crate::support::ca::self_signed;
use crate::support::calls::pki_client;
use crate::support::calls::refusal;
use crate::support::calls::self_signed_client;
use crate::support::calls::use_of;
use crate::support::check;
use crate::support::check::Answer;
use crate::support::check::Asked;
use crate::support::door::knock;
use crate::support::http::post;
use crate::support::leaf::Leaf;
use crate::support::revocation::certificate;
use crate::support::revocation::client;
use crate::support::revocation::identities;
use crate::support::revocation::of;
use crate::support::revocation::trust_domain;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::reason_of;
use crate::support::server::spiffe_client;

const PROXY: &str = "spiffe://prod.example/proxy";
const ADMIN: &str = "spiffe://prod.example/admin";
const CHECKOUT: &str = "spiffe://prod.example/checkout";

async fn is_admitted(server: &TestServer, leaf: &Leaf) -> bool {
    knock(server.addresses.mtls, server.tls(leaf)).await.is_jwks()
}

fn is_refused<T: std::fmt::Debug>(outcome: Result<T, Status>) {
    let status = outcome.unwrap_err();
    assert_eq!(status.message(), "the identity that the certificate proves has been revoked");
    assert_eq!((status.code(), reason_of(&status).as_str()), (Code::Unauthenticated, "CERTIFICATE_NOT_PROVEN"));
}

/// Two admins.
fn two_admins(setup: &mut Setup) {
    setup.roles = setup.roles.replace("}], proxies", "}, {spiffe_id: spiffe://prod.example/admin2}], proxies");
}

#[tokio::test]
async fn a_revoked_proxy_is_refused_in_what_is_open_and_in_the_handshake_and_another_is_not() {
    for target in [client(PROXY), identities("spiffe://prod.example/proxy/*"), trust_domain("other.example")] {
        let server = TestServer::start().await;
        server.protect(check::orders()).await.unwrap();
        let checkout = server.workload("/checkout").await;
        let token = server.token(&checkout).await;
        let question = lanyard::proto::ValidateBindingRequest { evidence: certificate_of(&checkout), ..use_of(&token) };
        // Of the three targets only the first is this proxy.
        let (proxy, other) = (server.svid("/proxy"), server.svid("/orders-proxy"));
        let (mut bindings, mut checks) = (server.bindings(&proxy), server.checks(&proxy));
        let mut stream = BindingStream::open(server.bindings(&proxy)).await;
        let mut others = BindingStream::open(server.bindings(&other)).await;
        bindings.validate_binding(question.clone()).await.unwrap();
        checks.check(Asked::with(&token, &checkout).message()).await.unwrap();
        assert_eq!(stream.ask(&question).await.unwrap(), StreamOutcome::Allowed);
        assert_eq!(others.ask(&question).await.unwrap(), StreamOutcome::Allowed);
        let is_it = target == client(PROXY);
        server.revoke(target.clone()).await;
        if is_it {
            is_refused(bindings.validate_binding(question.clone()).await);
            is_refused(stream.ask(&question).await);
            // An error is what failure_mode_allow lets through.
            let checked = checks.check(Asked::with(&token, &checkout).message()).await.unwrap().into_inner();
            assert!(matches!(check::answer(&checked), Answer::Denied { .. }), "{checked:?}");
        } else {
            bindings.validate_binding(question.clone()).await.unwrap();
            assert_eq!(stream.ask(&question).await.unwrap(), StreamOutcome::Allowed);
        }
        assert_eq!(is_admitted(&server, &proxy).await, !is_it, "{target:?}");
        assert_eq!(others.ask(&question).await.unwrap(), StreamOutcome::Allowed);
        server.lift(target).await;
        bindings.validate_binding(question).await.unwrap();
        assert!(is_admitted(&server, &proxy).await);
    }
}

#[tokio::test]
async fn a_revoked_admin_is_refused_everywhere_and_cannot_lift_its_own_revocation() {
    let server = TestServer::started(two_admins).await;
    let (admin, other) = (server.svid("/admin"), server.svid("/admin2"));
    let (mut tokens, mut registry) = (server.tokens(&admin), server.registry(&admin));
    registry.list_clients(ListClientsRequest::default()).await.unwrap();
    let mut http = server.http(&admin).await;
    http.send(post("/oauth2/introspect", &[("token", "x")])).await.ok();
    tokens.revoke_token(of(client("spiffe://prod.example/somebody"))).await.unwrap();
    server.revoke_as(&other, of(client(ADMIN))).await.unwrap();
    let lift = RevokeTokenRequest { lift: true, ..of(client(ADMIN)) };
    is_refused(tokens.revoke_token(lift.clone()).await);
    is_refused(tokens.revoke_token(of(client("spiffe://prod.example/admin2"))).await);
    is_refused(registry.list_clients(ListClientsRequest::default()).await);
    let introspect = IntrospectTokenRequest { token: "x".to_owned(), ..IntrospectTokenRequest::default() };
    is_refused(tokens.introspect_token(introspect).await);
    let refused = http.send(post("/oauth2/introspect", &[("token", "x")])).await;
    assert_eq!(refused.error(), (401, "invalid_client".to_owned()));
    // Nor by another certificate of the same name.
    assert!(!is_admitted(&server, &server.svid("/admin")).await);
    server.revoke_as(&other, lift).await.unwrap();
    tokens.revoke_token(of(client("spiffe://prod.example/somebody"))).await.unwrap();
}

#[tokio::test]
async fn a_peer_is_revoked_by_the_name_of_its_registration_whatever_proves_it() {
    let (own, other) = (self_signed("own").issue(), self_signed("other").issue());
    let server = TestServer::started(|setup| {
        let proxies =
            [&own, &other].map(|leaf| format!("{{certificate_thumbprint: '{}', resources: ['*']}}", leaf.thumbprint()));
        setup.roles = format!("{{admins: [{{spiffe_id: {ADMIN}}}], proxies: [{}]}}", proxies.join(", "));
    })
    .await;
    server.register(self_signed_client("own", &own.pem())).await.unwrap();
    let shop = Client {
        tls_client_auth_san_dns: "shop.corp.example".to_owned(),
        client_ca: "corp".to_owned(),
        ..pki_client("shop")
    };
    server.register(shop).await.unwrap();
    let pattern = "spiffe://prod.example/ns/shop/*".to_owned();
    server.register(Client { client_id: "all".to_owned(), spiffe_id: pattern, ..spiffe_client("") }).await.unwrap();
    let dns = |ca: &crate::support::ca::TestCa| ca.client_certificate().dns("shop.corp.example").issue();
    let shop = dns(&server.setup.corp);
    let cases = [
        ("own", &own, &other),
        // The same name from a CA that does not vouch for the client.
        ("shop", &shop, &dns(&server.setup.partner)),
        ("all", &server.svid("/ns/shop/a"), &server.svid("/ns/shopping/a")),
        // An exact registration below a revoked pattern applies instead of it, as everywhere.
        ("all", &server.svid("/ns/shop/b"), &server.workload("/ns/shop/own").await),
    ];
    for (name, leaf, nearest) in cases {
        assert!(is_admitted(&server, leaf).await, "{name}");
        server.revoke(client(name)).await;
        assert!(!is_admitted(&server, leaf).await, "{name}");
        assert!(is_admitted(&server, nearest).await, "{name}");
        server.lift(client(name)).await;
        assert!(is_admitted(&server, leaf).await, "{name}");
    }
}

#[tokio::test]
async fn all_holders_of_a_role_are_revoked_at_once_and_nobody_else() {
    let server = TestServer::start().await;
    server.protect(check::orders()).await.unwrap();
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let mut bindings = server.bindings(&server.svid("/proxy"));
    bindings.validate_binding(use_of(&token)).await.unwrap();
    let proxies = Target::Role(AssignedRole::Proxy.into());
    server.revoke(proxies.clone()).await;
    is_refused(bindings.validate_binding(use_of(&token)).await);
    for path in ["/proxy", "/orders-proxy"] {
        assert!(!is_admitted(&server, &server.svid(path)).await, "{path}");
    }
    let other_domain = server.setup.other_ca.svid("spiffe://other.example/proxy").issue();
    assert!(!is_admitted(&server, &other_domain).await);
    for leaf in [&checkout, &server.svid("/admin"), &server.svid("/proxy2")] {
        assert!(is_admitted(&server, leaf).await);
    }
    // By its own connection the workload's token is still its own.
    server.bindings(&checkout).validate_binding(use_of(&token)).await.unwrap();
    server.lift(proxies).await;
    bindings.validate_binding(use_of(&token)).await.unwrap();
}

// A peer behind a terminator is as revoked as one with a connection of its own: see `forwarded::peers`.
#[tokio::test]
async fn a_revoked_certificate_holds_no_role_but_a_new_one_of_its_name_does() {
    let server = TestServer::start().await;
    let (first, renewed) = (server.svid("/proxy"), server.svid("/proxy"));
    let mut bindings = server.bindings(&first);
    let outcome = bindings.validate_binding(use_of("x")).await.unwrap().into_inner();
    assert_eq!(outcome.reason(), lanyard::proto::DenyReason::TokenMalformed);
    server.revoke(certificate(&first)).await;
    let refused = refusal(bindings.validate_binding(use_of("x")).await);
    assert_eq!(refused, (Code::Unauthenticated, "CERTIFICATE_NOT_PROVEN".to_owned()));
    server.bindings(&renewed).validate_binding(use_of("x")).await.unwrap();
}

#[tokio::test]
async fn a_revoked_client_gets_no_token_by_another_certificate_of_its_name() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    server.token(&checkout).await;
    server.revoke(client(CHECKOUT)).await;
    assert!(!is_admitted(&server, &server.svid("/checkout")).await);
    server.token(&server.workload("/checkout2").await).await;
}
