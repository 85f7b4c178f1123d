//! Support for tests of dynamic registration.

use axum::http::HeaderValue;
use axum::http::Method;
use axum::http::header::AUTHORIZATION;
use axum::http::header::WWW_AUTHENTICATE;
use lanyard::proto::Client;
use serde_json::Value;
use serde_json::json;

use crate::support::http::Reply;
use crate::support::http::raw;
use crate::support::leaf::Leaf;
use crate::support::server::ORDERS;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::spiffe_client;

pub const REGISTER: &str = "/oauth2/register";
pub const CHECKOUT: &str = "spiffe://prod.example/ns/shop/checkout";
pub const BILLING: &str = "https://billing.prod.example";
pub const JSON: &str = "application/json";

pub fn own_identity(setup: &mut Setup) {
    setup.registration = "own-identity".to_owned();
}

/// The registration of an operator for all workloads of the shop.
pub fn operator_limit() -> Client {
    Client {
        client_id: "shop".to_owned(),
        spiffe_id: "spiffe://prod.example/ns/shop/*".to_owned(),
        audience: vec![ORDERS.to_owned(), BILLING.to_owned()],
        access_token_ttl: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
        ..spiffe_client("")
    }
}

/// A server where workloads may register themselves, and the SVID of such a workload.
pub async fn with_operator_limit() -> (TestServer, Leaf) {
    let server = TestServer::started(own_identity).await;
    server.register(operator_limit()).await.unwrap();
    let leaf = server.svid("/ns/shop/checkout");
    (server, leaf)
}

/// The least metadata with which a workload can register itself, and more.
pub fn metadata(mut more: Value) -> Value {
    let members = more.as_object_mut().unwrap();
    members.entry("grant_types").or_insert_with(|| json!(["client_credentials"]));
    members.entry("token_endpoint_auth_method").or_insert_with(|| json!("spiffe_x509"));
    more
}

pub async fn register(server: &TestServer, leaf: &Leaf, metadata: &Value) -> Reply {
    server.send(leaf, raw(Method::POST, REGISTER, JSON, metadata.to_string())).await
}

/// The registered metadata, and the registration access token.
pub async fn registered(server: &TestServer, leaf: &Leaf, more: Value) -> (Value, String) {
    let reply = register(server, leaf, &metadata(more)).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.assert_no_store();
    let answer = reply.json();
    let token = answer["registration_access_token"].as_str().unwrap().to_owned();
    (answer, token)
}

/// A request to the URL of a registration (RFC 7592).
pub async fn manage(
    server: &TestServer,
    leaf: &Leaf,
    method: Method,
    client_id: &str,
    token: &str,
    body: &Value,
) -> Reply {
    let client_id = percent_encoding::utf8_percent_encode(client_id, percent_encoding::NON_ALPHANUMERIC);
    let mut request = raw(method, &format!("{REGISTER}?client_id={client_id}"), JSON, body.to_string());
    if !token.is_empty() {
        request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    }
    server.send(leaf, request).await
}

pub async fn read(server: &TestServer, leaf: &Leaf, client_id: &str, token: &str) -> Reply {
    manage(server, leaf, Method::GET, client_id, token, &Value::Null).await
}

pub async fn issued(server: &TestServer, leaf: &Leaf, client_id: &str) -> Reply {
    let form = [("grant_type", "client_credentials"), ("client_id", client_id)];
    server.post(leaf, "/oauth2/token", &form).await
}

pub fn assert_invalid_token(reply: &Reply, about: &str) {
    assert_eq!(reply.error(), (401, "invalid_token".to_owned()), "{about}: {reply:?}");
    assert_eq!(reply.header(WWW_AUTHENTICATE), "Bearer realm=\"lanyard\", error=\"invalid_token\"", "{about}");
    reply.assert_no_store();
}

pub const INVALID_METADATA: &str = "invalid_client_metadata";

pub fn invalid_metadata() -> (u16, String) {
    (400, INVALID_METADATA.to_owned())
}
