//! Three workloads behind two real Envoys: the frontend calls the checkout, which calls the orders for it.

use axum::body::Body;
use axum::http::Request;
use lanyard::proto::Client;
use lanyard::proto::Delegated;
use lanyard::proto::ExchangeRule;
use lanyard::proto::ExchangeTokenRequest;
use lanyard::proto::ProtectedResource;
use lanyard::proto::Receipts;
use lanyard::proto::RevokeTokenRequest;
use lanyard::proto::ScopeGrant;
use lanyard::proto::exchange_token_request::Subject;
use lanyard::proto::revoke_token_request::Target;

use crate::exchange::support::claims;
use crate::support::check;
use crate::support::check::route;
use crate::support::envoy::Envoy;
use crate::support::envoy::EnvoySetup;
use crate::support::http::Http;
use crate::support::http::Reply;
use crate::support::leaf::Leaf;
use crate::support::mesh::get;
use crate::support::mesh::proxy;
use crate::support::mesh::reason;
use crate::support::mesh::seen;
use crate::support::mesh::server_at_real_time_with;
use crate::support::mesh::with_header;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;
use crate::support::server::connect;
use crate::support::server::reason_of;
use crate::support::server::spiffe_client;
use crate::support::upstream::Upstream;

const CHECKOUT: &str = "https://checkout.prod.example";
const FRONTEND_ID: &str = "spiffe://prod.example/frontend";
const CHECKOUT_ID: &str = "spiffe://prod.example/checkout";

/// An Envoy before the resource of this audience. `None` without Envoy.
async fn before(server: &TestServer, audience: &str, upstream: &Upstream) -> Option<Envoy> {
    let setup = EnvoySetup {
        local: None,
        svid: &proxy(server, "/proxy"),
        bundle: &server.setup.ca.pem(),
        lanyard: server.addresses.mtls,
        upstream: upstream.address,
        changes: vec![(
            "context_extensions: {resource: \"https://orders.prod.example\"}",
            format!("context_extensions: {{resource: \"{audience}\"}}"),
        )],
    };
    setup.start().await
}

async fn send(server: &TestServer, envoy: &Envoy, leaf: &Leaf, request: Request<Body>) -> Reply {
    let stream = connect(envoy.address, server.tls(leaf)).await.unwrap();
    Http::two(stream).await.send(request).await
}

async fn registered(server: &TestServer) {
    let delegated = Delegated { actors: vec![CHECKOUT_ID.to_owned()], max_actors: 1, ..Delegated::default() };
    let orders = ProtectedResource { delegated: Some(delegated), ..check::orders() };
    let receipts = Receipts { exchangers: vec![CHECKOUT_ID.to_owned()], ..Receipts::default() };
    let checkout = ProtectedResource {
        audience: CHECKOUT.to_owned(),
        scope: "checkout.submit".to_owned(),
        routes: vec![route(&["GET"], "/carts/{id}", "checkout.submit")],
        receipts: Some(receipts),
        remove_authorization: true,
        ..ProtectedResource::default()
    };
    server.protect(orders).await.unwrap();
    server.protect(checkout).await.unwrap();
    let frontend = Client {
        audience: vec![CHECKOUT.to_owned()],
        scope: "checkout.submit".to_owned(),
        ..spiffe_client(FRONTEND_ID)
    };
    server.register(frontend).await.unwrap();
    let rule = ExchangeRule {
        subjects: vec![FRONTEND_ID.to_owned()],
        presented_at: CHECKOUT.to_owned(),
        audience: ORDERS.to_owned(),
        grants: vec![ScopeGrant { needs: "checkout.submit".to_owned(), gives: "orders.read".to_owned() }],
        presentation: "independent".to_owned(),
        ..ExchangeRule::default()
    };
    let exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
    let checkout = Client {
        grant_types: vec!["client_credentials".to_owned(), exchange.to_owned()],
        exchange: vec![rule],
        // It may do nothing at the orders of its own.
        scope: String::new(),
        ..spiffe_client(CHECKOUT_ID)
    };
    server.register(checkout).await.unwrap();
}

fn exchanging(subject: Subject) -> ExchangeTokenRequest {
    ExchangeTokenRequest {
        subject: Some(subject),
        audience: vec![ORDERS.to_owned()],
        ..ExchangeTokenRequest::default()
    }
}

#[tokio::test]
async fn behind_two_envoys_the_last_service_sees_for_whom_it_is_asked_and_who_asks() {
    let server = server_at_real_time_with(|setup| setup.exchange = "{enabled: true}".to_owned()).await;
    registered(&server).await;
    let (checkout_service, orders_service) = (Upstream::start().await, Upstream::start().await);
    let Some(first) = before(&server, CHECKOUT, &checkout_service).await else { return };
    let Some(second) = before(&server, ORDERS, &orders_service).await else { return };
    let (frontend, checkout) = (server.svid("/frontend"), server.svid("/checkout"));
    let token = server.token(&frontend).await;

    // The frontend calls the checkout, whose service gets the receipt, and not the token.
    let request = with_header(get("/carts/1", &token), "x-lanyard-actor", "spiffe://prod.example/forged");
    let reply = send(&server, &first, &frontend, request).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(seen(&reply, "x-lanyard-subject"), [FRONTEND_ID]);
    assert_eq!((seen(&reply, "authorization"), seen(&reply, "x-lanyard-actor")), (Vec::new(), Vec::new()));
    let [receipt] = <[String; 1]>::try_from(seen(&reply, "x-lanyard-receipt")).unwrap();

    // The checkout exchanges it, and calls the orders for the frontend; twice, and it is one token.
    let mut tokens = server.tokens(&checkout);
    let exchanged = tokens.exchange_token(exchanging(Subject::Receipt(receipt.clone()))).await.unwrap().into_inner();
    let again = tokens.exchange_token(exchanging(Subject::Receipt(receipt.clone()))).await.unwrap().into_inner();
    let (delegated, repeated) = (claims(&exchanged.access_token), claims(&again.access_token));
    assert_eq!(delegated, repeated);
    let reply = send(&server, &second, &checkout, get("/orders/1", &exchanged.access_token)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    for (header, value) in
        [("x-lanyard-subject", FRONTEND_ID), ("x-lanyard-client-id", CHECKOUT_ID), ("x-lanyard-actor", CHECKOUT_ID)]
    {
        assert_eq!(seen(&reply, header), [value], "{header}");
    }
    // With its own token it may do nothing there.
    let own = server.token(&checkout).await;
    assert_eq!(reason(&send(&server, &second, &checkout, get("/orders/1", &own)).await), "INSUFFICIENT_SCOPE");
    // And the frontend's certificate opens nothing with it.
    let stolen = send(&server, &second, &frontend, get("/orders/1", &exchanged.access_token)).await;
    assert_eq!(reason(&stolen), "CERTIFICATE_MISMATCH");

    // X1: the frontend's token from a log is exchanged for nothing; nor is the receipt by anybody else.
    let refused = |status: tonic::Status| reason_of(&status);
    let status = tokens.exchange_token(exchanging(Subject::AccessToken(token.clone()))).await.unwrap_err();
    assert_eq!(refused(status), "SUBJECT_NOT_ACCEPTED");
    let mut of_frontend = server.tokens(&frontend);
    let status = of_frontend.exchange_token(exchanging(Subject::Receipt(receipt.clone()))).await.unwrap_err();
    assert_eq!(refused(status), "UNAUTHORIZED_CLIENT");

    // The frontend's token is revoked: the next request with the checkout's is denied, and the receipt is worth nothing.
    let revoke = RevokeTokenRequest { target: Some(Target::Token(token)), ..Default::default() };
    of_frontend.revoke_token(revoke).await.unwrap();
    let reply = send(&server, &second, &checkout, get("/orders/1", &exchanged.access_token)).await;
    assert_eq!((reply.status, reason(&reply).as_str()), (401, "DELEGATION_BROKEN"));
    let status = tokens.exchange_token(exchanging(Subject::Receipt(receipt))).await.unwrap_err();
    assert_eq!(refused(status), "SUBJECT_NOT_ACCEPTED");
}
