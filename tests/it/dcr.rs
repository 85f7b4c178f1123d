//! Dynamic client registration and its management (RFC 7591, RFC 7592) over real TLS.

use axum::http::HeaderValue;
use axum::http::Method;
use axum::http::header::ALLOW;
use axum::http::header::AUTHORIZATION;
use axum::http::header::WWW_AUTHENTICATE;
use lanyard::authority::store::Store as _;
use lanyard::proto::Client;
use lanyard::store::sled::SledOptions;
use lanyard::store::sled::SledStore;
use serde_json::Value;
use serde_json::json;

use crate::support::ca::self_signed;
use crate::support::calls::opened;
use crate::support::door::knock;
use crate::support::http::Reply;
use crate::support::http::post;
use crate::support::http::raw;
use crate::support::leaf::Leaf;
use crate::support::server::ORDERS;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::spiffe_client;

const REGISTER: &str = "/oauth2/register";
const CHECKOUT: &str = "spiffe://prod.example/ns/shop/checkout";
const BILLING: &str = "https://billing.prod.example";
const JSON: &str = "application/json";

fn own_identity(setup: &mut Setup) {
    setup.registration = "own-identity".to_owned();
}

/// What an operator registers for all workloads of the shop.
fn ceiling() -> Client {
    Client {
        client_id: "shop".to_owned(),
        spiffe_id: "spiffe://prod.example/ns/shop/*".to_owned(),
        audience: vec![ORDERS.to_owned(), BILLING.to_owned()],
        access_token_ttl: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
        ..spiffe_client("")
    }
}

/// A server where workloads may register themselves, and one that may.
async fn with_ceiling() -> (TestServer, Leaf) {
    let server = TestServer::started(own_identity).await;
    server.register(ceiling()).await.unwrap();
    let leaf = server.svid("/ns/shop/checkout");
    (server, leaf)
}

/// The least that a workload must say to register itself, and more.
fn metadata(more: Value) -> Value {
    let mut metadata = json!({ "grant_types": ["client_credentials"], "token_endpoint_auth_method": "spiffe_x509" });
    metadata.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    metadata
}

async fn register(server: &TestServer, leaf: &Leaf, metadata: &Value) -> Reply {
    server.send(leaf, raw(Method::POST, REGISTER, JSON, metadata.to_string())).await
}

/// What was registered, and with which token it is opened.
async fn registered(server: &TestServer, leaf: &Leaf, more: Value) -> (Value, String) {
    let reply = register(server, leaf, &metadata(more)).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.assert_no_store();
    let answer = reply.json();
    let token = answer["registration_access_token"].as_str().unwrap().to_owned();
    (answer, token)
}

/// A request to a registration's own URL.
async fn manage(server: &TestServer, leaf: &Leaf, method: Method, client_id: &str, token: &str, body: &Value) -> Reply {
    let client_id = percent_encoding::utf8_percent_encode(client_id, percent_encoding::NON_ALPHANUMERIC);
    let mut request = raw(method, &format!("{REGISTER}?client_id={client_id}"), JSON, body.to_string());
    if !token.is_empty() {
        request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    }
    server.send(leaf, request).await
}

async fn read(server: &TestServer, leaf: &Leaf, client_id: &str, token: &str) -> Reply {
    manage(server, leaf, Method::GET, client_id, token, &Value::Null).await
}

async fn issued(server: &TestServer, leaf: &Leaf, client_id: &str) -> Reply {
    let form = [("grant_type", "client_credentials"), ("client_id", client_id)];
    server.post(leaf, "/oauth2/token", &form).await
}

fn assert_invalid_token(reply: &Reply, about: &str) {
    assert_eq!((reply.status, reply.body.as_str()), (401, ""), "{about}: {reply:?}");
    assert_eq!(reply.header(WWW_AUTHENTICATE), "Bearer realm=\"lanyard\", error=\"invalid_token\"", "{about}");
    reply.assert_no_store();
}

const INVALID_METADATA: &str = "invalid_client_metadata";

fn invalid_metadata() -> (u16, String) {
    (400, INVALID_METADATA.to_owned())
}

// 7591-01, E2
#[tokio::test]
async fn who_may_register_is_for_the_policy_to_say() {
    let nobody = self_signed("nobody").issue();
    for (policy, admin, workload) in [("off", 404, 404), ("admins", 201, 403), ("own-identity", 201, 201)] {
        let server = TestServer::started(|setup| {
            setup.registration = policy.to_owned();
        })
        .await;
        server.register(ceiling()).await.unwrap();
        let named = metadata(json!({ "spiffe_id": "spiffe://prod.example/new", "audience": [ORDERS] }));
        assert_eq!(register(&server, &server.svid("/admin"), &named).await.status, admin, "{policy}");
        let leaf = server.svid("/ns/shop/checkout");
        assert_eq!(register(&server, &leaf, &metadata(json!({}))).await.status, workload, "{policy}");
        // One for whom no operator has registered anything, and a proxy, and one that proves no SPIFFE ID.
        for path in ["/ns/bank/checkout", "/proxy", "/ns/shop"] {
            let reply = register(&server, &server.svid(path), &metadata(json!({}))).await;
            assert_eq!(reply.status, if policy == "off" { 404 } else { 403 }, "{policy} {path}");
        }
        // Whoever shows no proven certificate at all does not come as far.
        assert!(!knock(server.addresses.mtls, server.tls(&nobody)).await.is_jwks());
    }
}

// 7591-02, 7591-07, 7591-09, 7592-01, 7592-05, T19
#[tokio::test]
async fn a_workload_registers_itself_under_its_own_name_with_all_that_its_operator_gave_it() {
    let (server, leaf) = with_ceiling().await;
    let ignored = json!({
        "client_id": "spiffe://prod.example/admin",
        "client_name": "Checkout",
        "client_secret": "chosen",
        "registration_access_token": "chosen",
        "client_id_issued_at": 1,
        "sub": "admin",
        "disabled": true,
        "owner": "me",
        "client_ca": "corp",
        "certificate_pem": "x",
        "software_statement": "a.b.c",
    });
    let (mut answer, token) = registered(&server, &leaf, ignored).await;
    assert_eq!(token.len(), 43, "256 bits");
    assert_ne!(token, "chosen");
    let members = answer.as_object_mut().unwrap();
    let uri = members.remove("registration_client_uri").unwrap();
    let encoded = percent_encoding::utf8_percent_encode(CHECKOUT, percent_encoding::NON_ALPHANUMERIC);
    assert!(uri.as_str().unwrap().ends_with(&format!("{REGISTER}?client_id={encoded}")), "{uri}");
    members.remove("registration_access_token");
    let expected = json!({
        "client_id": CHECKOUT,
        "client_id_issued_at": server.now().0,
        "spiffe_id": CHECKOUT,
        "token_endpoint_auth_method": "spiffe_x509",
        "grant_types": ["client_credentials"],
        "scope": "orders.read orders.write",
        "audience": [ORDERS, BILLING],
        "tls_client_certificate_bound_access_tokens": true,
        "access_token_ttl": "5m",
        "rotation": "strict",
    });
    assert_eq!(answer, expected);
    let claims = opened(issued(&server, &leaf, CHECKOUT).await.ok()["access_token"].as_str().unwrap()).1;
    assert_eq!((&claims["sub"], &claims["aud"]), (&json!(CHECKOUT), &json!([ORDERS, BILLING])));
    assert_eq!(claims["cnf"]["x5t#S256"], json!(leaf.thumbprint().to_string()));
    // Once.
    let again = register(&server, &leaf, &metadata(json!({}))).await;
    assert_eq!(again.error(), invalid_metadata());
}

// 7591-09, T19
#[tokio::test]
async fn a_workload_registers_nobody_but_itself_and_never_more_than_it_was_given() {
    let (server, leaf) = with_ceiling().await;
    for beyond in [
        json!({ "spiffe_id": "spiffe://prod.example/ns/shop/other" }),
        json!({ "spiffe_id": "spiffe://prod.example/ns/shop/*" }),
        json!({ "spiffe_id": "spiffe://prod.example/admin" }),
        json!({ "scope": "orders.admin" }),
        json!({ "scope": "orders.read orders.admin" }),
        json!({ "audience": [ORDERS, "https://other.prod.example"] }),
        json!({ "access_token_ttl": "11m" }),
        json!({ "tls_client_certificate_bound_access_tokens": false }),
        json!({ "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_san_uri": CHECKOUT }),
        json!({ "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_san_dns": "shop.corp.example" }),
        json!({ "token_endpoint_auth_method": "self_signed_tls_client_auth", "jwks": { "keys": [] } }),
        json!({ "tls_client_auth_subject_dn": "CN=x" }),
        json!({ "jwks": { "keys": [] } }),
        json!({ "jwks_uri": "https://attacker.example/jwks" }),
        json!({ "spiffe_bundle_endpoint": "https://attacker.example", "scope": "orders.admin" }),
    ] {
        let reply = register(&server, &leaf, &metadata(beyond.clone())).await;
        assert_eq!(reply.error(), invalid_metadata(), "{beyond}");
    }
    let within = json!({ "scope": "orders.read", "audience": [BILLING], "access_token_ttl": "10m" });
    let (answer, _) = registered(&server, &leaf, within).await;
    assert_eq!((&answer["scope"], &answer["audience"]), (&json!("orders.read"), &json!([BILLING])));
    let token = issued(&server, &leaf, CHECKOUT).await.ok();
    assert_eq!((&token["scope"], &token["expires_in"]), (&json!("orders.read"), &json!(600)));
}

// 7591-03, 7591-04, 7591-05, 7591-06, T20, T25
#[tokio::test]
async fn metadata_whose_defaults_or_values_are_not_served_are_refused_by_their_code() {
    let server = TestServer::started(own_identity).await;
    let admin = server.svid("/admin");
    let secret = json!({ "grant_types": ["client_credentials"], "audience": [ORDERS] });
    let pki = |more: Value| {
        let mut metadata = metadata(json!({ "token_endpoint_auth_method": "tls_client_auth", "audience": [ORDERS] }));
        metadata.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        metadata
    };
    let uri = "https://client.example/jwks";
    for bad in [
        json!({}),
        json!({ "token_endpoint_auth_method": "spiffe_x509", "spiffe_id": CHECKOUT }),
        json!({ "token_endpoint_auth_method": "spiffe_x509", "spiffe_id": CHECKOUT, "grant_types": [] }),
        secret,
        metadata(json!({ "grant_types": ["authorization_code"], "spiffe_id": CHECKOUT })),
        metadata(json!({ "grant_types": ["client_credentials", "refresh_token"], "spiffe_id": CHECKOUT })),
        metadata(json!({ "response_types": ["code"], "spiffe_id": CHECKOUT })),
        metadata(json!({ "token_endpoint_auth_method": "none", "spiffe_id": CHECKOUT })),
        metadata(json!({ "token_endpoint_auth_method": "private_key_jwt", "spiffe_id": CHECKOUT })),
        metadata(json!({ "spiffe_id": 7 })),
        metadata(json!({ "scope": ["orders.read"], "spiffe_id": CHECKOUT })),
        metadata(json!({ "scope": "a\"b", "spiffe_id": CHECKOUT })),
        pki(json!({})),
        pki(json!({ "tls_client_auth_san_dns": "a.example", "tls_client_auth_san_email": "a@b.example" })),
        metadata(
            json!({ "token_endpoint_auth_method": "self_signed_tls_client_auth", "jwks": { "keys": [] }, "jwks_uri": uri }),
        ),
        metadata(json!({ "token_endpoint_auth_method": "self_signed_tls_client_auth", "jwks": "x" })),
    ] {
        assert_eq!(register(&server, &admin, &bad).await.error(), invalid_metadata(), "{bad}");
    }
    let good = register(&server, &admin, &pki(json!({ "tls_client_auth_san_dns": "a.example" }))).await;
    assert_eq!(good.status, 201, "{good:?}");
    // T19: a name that is nobody's choice.
    assert_eq!(good.json()["client_id"].as_str().unwrap().len(), 22);
}

// 7591-01
#[tokio::test]
async fn the_body_is_a_json_object_and_says_that_it_is_one() {
    let (server, leaf) = with_ceiling().await;
    let good = metadata(json!({}));
    for (kind, body) in [
        ("text/plain", good.to_string()),
        ("application/x-www-form-urlencoded", good.to_string()),
        (JSON, "[]".to_owned()),
        (JSON, "{".to_owned()),
        (JSON, String::new()),
        (JSON, "null".to_owned()),
    ] {
        let reply = server.send(&leaf, raw(Method::POST, REGISTER, kind, body.clone())).await;
        assert_eq!(reply.error(), (400, "invalid_request".to_owned()), "{kind} {body}");
    }
    let large = metadata(json!({ "x": "a".repeat(64 * 1024) }));
    assert_eq!(register(&server, &leaf, &large).await.status, 413);
    // RFC 7592 section 2.2: a member that is null counts as left out.
    let nulls = json!({ "scope": null, "audience": null, "jwks": null, "response_types": null, "spiffe_id": null });
    let reply = server
        .send(&leaf, raw(Method::POST, REGISTER, "application/json; charset=utf-8", metadata(nulls).to_string()))
        .await;
    assert_eq!(reply.status, 201, "{reply:?}");
}

// 7591-09: what an operator takes back is gone for what a workload registered for itself, too.
#[tokio::test]
async fn a_ceiling_that_is_lowered_or_deleted_later_holds_for_what_is_registered_already() {
    let (server, leaf) = with_ceiling().await;
    let (_, token) = registered(&server, &leaf, json!({ "scope": "orders.read orders.write" })).await;
    issued(&server, &leaf, CHECKOUT).await.ok();
    let registry = async || {
        let request = lanyard::proto::GetClientRequest { client_id: "shop".to_owned() };
        server.registry(&server.svid("/admin")).get_client(request).await.unwrap().into_inner()
    };
    let narrowed = Client { scope: "orders.read".to_owned(), ..registry().await };
    server.update(narrowed).await.unwrap();
    assert_eq!(issued(&server, &leaf, CHECKOUT).await.error(), (400, "invalid_scope".to_owned()));
    let wider = metadata(json!({ "client_id": CHECKOUT, "scope": "orders.read orders.write" }));
    let reply = manage(&server, &leaf, Method::PUT, CHECKOUT, &token, &wider).await;
    assert_eq!(reply.error(), invalid_metadata());
    let within = metadata(json!({ "client_id": CHECKOUT, "scope": "orders.read" }));
    assert_eq!(manage(&server, &leaf, Method::PUT, CHECKOUT, &token, &within).await.status, 200);
    issued(&server, &leaf, CHECKOUT).await.ok();
    let elsewhere = Client { audience: vec![BILLING.to_owned()], ..registry().await };
    server.update(elsewhere).await.unwrap();
    assert_eq!(issued(&server, &leaf, CHECKOUT).await.error(), (400, "invalid_target".to_owned()));
    server.update(Client { disabled: true, ..registry().await }).await.unwrap();
    assert_eq!(issued(&server, &leaf, CHECKOUT).await.error(), (401, "invalid_client".to_owned()));
    server.delete("shop").await;
    assert_eq!(issued(&server, &leaf, CHECKOUT).await.error(), (401, "invalid_client".to_owned()));
    let reply = manage(&server, &leaf, Method::PUT, CHECKOUT, &token, &within).await;
    assert_eq!(reply.error(), (403, "access_denied".to_owned()));
    let reply = register(&server, &server.svid("/ns/shop/late"), &metadata(json!({}))).await;
    assert_eq!(reply.error(), (403, "access_denied".to_owned()));
}

// 7592-01, 7592-02, T15
#[tokio::test]
async fn a_registration_is_opened_by_its_token_in_the_hands_of_its_registrant_and_else_not() {
    let (server, leaf) = with_ceiling().await;
    let (answer, token) = registered(&server, &leaf, json!({})).await;
    let other = server.svid("/ns/shop/other");
    let (_, others) = registered(&server, &other, json!({})).await;
    let reply = read(&server, &leaf, CHECKOUT, &token).await;
    assert_eq!(reply.ok(), answer);
    let renewed = server.svid("/ns/shop/checkout");
    assert_eq!(read(&server, &renewed, CHECKOUT, &token).await.status, 200, "the identity counts, not the certificate");
    let put = metadata(json!({ "client_id": CHECKOUT }));
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        for (about, leaf, client_id, token) in [
            ("another's hands", &other, CHECKOUT, token.as_str()),
            ("an admin's hands", &server.svid("/admin"), CHECKOUT, &token),
            ("another's token", &leaf, CHECKOUT, &others),
            ("cut", &leaf, CHECKOUT, &token[..42]),
            ("longer", &leaf, CHECKOUT, &format!("{token}A")),
            ("another client", &leaf, "spiffe://prod.example/ns/shop/other", &token),
            ("the operator's client", &leaf, "shop", &token),
            ("an unknown client", &leaf, "spiffe://prod.example/unknown", &token),
            ("no client", &leaf, "", &token),
        ] {
            assert_invalid_token(&manage(&server, leaf, method.clone(), client_id, token, &put).await, about);
        }
        let without = manage(&server, &leaf, method, CHECKOUT, "", &put).await;
        assert_eq!((without.status, without.header(WWW_AUTHENTICATE)), (401, "Bearer realm=\"lanyard\""));
    }
    for method in [Method::PATCH, Method::OPTIONS] {
        let reply = manage(&server, &leaf, method, CHECKOUT, &token, &put).await;
        assert_eq!(reply.status, 405);
        assert!(reply.header(ALLOW).contains("DELETE"), "{reply:?}");
    }
    let mut nameless = raw(Method::GET, REGISTER, JSON, "");
    nameless.headers_mut().insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    assert_invalid_token(&server.send(&leaf, nameless).await, "no client_id");
    assert_eq!(read(&server, &leaf, CHECKOUT, &token).await.status, 200);
}

// 7592-03, T16
#[tokio::test]
async fn a_put_replaces_all_and_names_the_client_and_none_of_the_servers_own_members() {
    let (server, leaf) = with_ceiling().await;
    let first = json!({ "scope": "orders.read", "audience": [BILLING], "access_token_ttl": "1m" });
    let (_, token) = registered(&server, &leaf, first).await;
    let put = async |body: &Value| manage(&server, &leaf, Method::PUT, CHECKOUT, &token, body).await;
    for bad in [
        json!({}),
        json!({ "client_id": "spiffe://prod.example/ns/shop/other" }),
        json!({ "client_id": 7 }),
        json!({ "client_id": CHECKOUT, "registration_access_token": token }),
        json!({ "client_id": CHECKOUT, "registration_client_uri": "https://x" }),
        json!({ "client_id": CHECKOUT, "client_secret_expires_at": 0 }),
        json!({ "client_id": CHECKOUT, "client_id_issued_at": 1 }),
        json!({ "client_id": CHECKOUT, "client_secret": "x" }),
    ] {
        assert_eq!(put(&metadata(bad.clone())).await.error(), (400, "invalid_request".to_owned()), "{bad}");
    }
    for bad in [
        json!({ "scope": "orders.admin" }),
        json!({ "spiffe_id": "spiffe://prod.example/ns/shop/other" }),
        json!({ "access_token_ttl": "11m" }),
    ] {
        let mut body = metadata(json!({ "client_id": CHECKOUT }));
        body.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
        assert_eq!(put(&body).await.error(), invalid_metadata(), "{bad}");
    }
    let answer = put(&metadata(json!({ "client_id": CHECKOUT }))).await.ok();
    assert_eq!(answer["scope"], json!("orders.read orders.write"), "left out, it is the operator's again");
    assert_eq!(answer["registration_access_token"], json!(token));
    assert_eq!(issued(&server, &leaf, CHECKOUT).await.ok()["expires_in"], json!(300));
}

// 7592-04, 7592-05
#[tokio::test]
async fn a_deleted_registration_takes_its_tokens_of_both_kinds_with_it() {
    let (server, leaf) = with_ceiling().await;
    let (_, token) = registered(&server, &leaf, json!({})).await;
    let access = issued(&server, &leaf, CHECKOUT).await.ok()["access_token"].as_str().unwrap().to_owned();
    let deleted = manage(&server, &leaf, Method::DELETE, CHECKOUT, &token, &Value::Null).await;
    assert_eq!((deleted.status, deleted.body.as_str()), (204, ""));
    deleted.assert_no_store();
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let reply = manage(&server, &leaf, method, CHECKOUT, &token, &metadata(json!({ "client_id": CHECKOUT }))).await;
        assert_invalid_token(&reply, "deleted");
    }
    let judged = server.validate(&access, certificate_of(&leaf)).await.unwrap();
    assert_ne!(judged.decision(), lanyard::proto::Decision::Allow);
    // Registered again, it has another token, and neither old one lives again.
    let (_, new) = registered(&server, &leaf, json!({})).await;
    assert_ne!(new, token);
    assert_invalid_token(&read(&server, &leaf, CHECKOUT, &token).await, "recreated");
    let judged = server.validate(&access, certificate_of(&leaf)).await.unwrap();
    assert_ne!(judged.decision(), lanyard::proto::Decision::Allow);
}

// What an operator has switched off, its registrant does not switch on again.
#[tokio::test]
async fn a_registrant_neither_enables_a_client_that_an_operator_disabled_nor_deletes_it_to_start_anew() {
    let (server, leaf) = with_ceiling().await;
    let (_, token) = registered(&server, &leaf, json!({})).await;
    let request = lanyard::proto::GetClientRequest { client_id: CHECKOUT.to_owned() };
    let client = server.registry(&server.svid("/admin")).get_client(request).await.unwrap().into_inner();
    server.update(Client { disabled: true, owner: "team-shop".to_owned(), ..client }).await.unwrap();
    let refused = (401, "invalid_client".to_owned());
    assert_eq!(issued(&server, &leaf, CHECKOUT).await.error(), refused);
    let put = metadata(json!({ "client_id": CHECKOUT, "scope": "orders.read" }));
    let answer = manage(&server, &leaf, Method::PUT, CHECKOUT, &token, &put).await.ok();
    assert_eq!((&answer["disabled"], &answer["owner"]), (&json!(true), &json!("team-shop")));
    assert_eq!(issued(&server, &leaf, CHECKOUT).await.error(), refused);
    let deleted = manage(&server, &leaf, Method::DELETE, CHECKOUT, &token, &Value::Null).await;
    assert_eq!(deleted.error(), (403, "access_denied".to_owned()));
    assert_eq!(issued(&server, &leaf, CHECKOUT).await.error(), refused);
}

// 7592-05: nothing that is stored opens a registration; a restart changes nothing, but the policy may.
#[tokio::test]
async fn only_the_hash_of_the_token_is_stored_and_another_policy_closes_what_it_opened() {
    let server = TestServer::started(|setup| {
        own_identity(setup);
        setup.store = "{sled: {path: data}}".to_owned();
    })
    .await;
    server.register(ceiling()).await.unwrap();
    let leaf = server.svid("/ns/shop/checkout");
    let (_, token) = registered(&server, &leaf, json!({})).await;
    let TestServer { server, mut setup, .. } = server;
    server.stop().await;
    let store = SledStore::open(&setup.path("data"), SledOptions::default()).unwrap();
    let records = store.list("/").await.unwrap().entries;
    assert!(
        records.iter().any(|(key, record)| key.ends_with(CHECKOUT) && contains(&record.value, b"access_token_hash"))
    );
    assert!(records.iter().all(|(_, record)| !contains(&record.value, token.as_bytes())));
    drop(store);
    for file in
        std::fs::read_dir(setup.path("data")).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
    {
        assert!(!contains(&std::fs::read(&file).unwrap(), token.as_bytes()), "{file:?}");
    }
    setup.registration = "admins".to_owned();
    setup.write();
    let server = setup.start().await.unwrap();
    assert_eq!(read(&server, &leaf, CHECKOUT, &token).await.status, 200);
    let put = metadata(json!({ "client_id": CHECKOUT, "scope": "orders.read" }));
    let refused = manage(&server, &leaf, Method::PUT, CHECKOUT, &token, &put).await;
    assert_eq!(refused.error(), (403, "access_denied".to_owned()));
}

// An admin's registrations are not its own once it is an admin no longer.
#[tokio::test]
async fn what_an_admin_registered_is_closed_to_it_when_it_loses_the_role() {
    let server = TestServer::started(|setup| {
        own_identity(setup);
        setup.store = "{sled: {path: data}}".to_owned();
    })
    .await;
    let admin = server.svid("/admin");
    let new = "spiffe://prod.example/new";
    let (_, token) = registered(&server, &admin, json!({ "spiffe_id": new, "audience": [ORDERS] })).await;
    assert_eq!(read(&server, &admin, new, &token).await.status, 200);
    let TestServer { server, mut setup, .. } = server;
    server.stop().await;
    setup.roles = setup.roles.replace("spiffe://prod.example/admin", "spiffe://prod.example/other-admin");
    setup.write();
    let server = setup.start().await.unwrap();
    let put = metadata(json!({ "client_id": new, "spiffe_id": new, "audience": [BILLING] }));
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        assert_invalid_token(&manage(&server, &admin, method, new, &token, &put).await, "no admin any more");
    }
}

fn contains(bytes: &[u8], sought: &[u8]) -> bool {
    bytes.windows(sought.len()).any(|window| window == sought)
}

// 7591-09, 8705-13: an admin registers for others, and what is registered works.
#[tokio::test]
async fn an_admin_registers_clients_of_each_method_and_whoever_has_the_certificate_gets_tokens() {
    let server = TestServer::started(|setup| setup.registration = "admins".to_owned()).await;
    let admin = server.svid("/admin");
    let spiffe = json!({ "spiffe_id": "spiffe://prod.example/new", "audience": [ORDERS] });
    let (answer, token) = registered(&server, &admin, spiffe.clone()).await;
    assert_eq!(answer["client_id"], json!("spiffe://prod.example/new"));
    issued(&server, &server.svid("/new"), "spiffe://prod.example/new").await.ok();
    let taken = register(&server, &admin, &metadata(spiffe)).await;
    assert_eq!(taken.error(), invalid_metadata());
    let pki = json!({ "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_san_dns": "shop.corp.example", "audience": [ORDERS] });
    let (answer, _) = registered(&server, &admin, pki).await;
    let shop = server.setup.corp.client_certificate().dns("shop.corp.example").issue();
    issued(&server, &shop, answer["client_id"].as_str().unwrap()).await.ok();
    // The workload itself is not the registrant.
    assert_invalid_token(
        &read(&server, &server.svid("/new"), "spiffe://prod.example/new", &token).await,
        "not the registrant",
    );
    assert_eq!(server.send(&admin, post(REGISTER, &[])).await.error(), (400, "invalid_request".to_owned()));
}
