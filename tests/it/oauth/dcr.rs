//! Dynamic client registration (RFC 7591) over real TLS.

use axum::http::Method;
use lanyard::proto::Client;
use serde_json::Value;
use serde_json::json;

use crate::support::ca::self_signed;
use crate::support::calls::opened;
use crate::support::dcr::BILLING;
use crate::support::dcr::CHECKOUT;
use crate::support::dcr::JSON;
use crate::support::dcr::REGISTER;
use crate::support::dcr::assert_invalid_token;
use crate::support::dcr::invalid_metadata;
use crate::support::dcr::issued;
use crate::support::dcr::manage;
use crate::support::dcr::metadata;
use crate::support::dcr::operator_limit;
use crate::support::dcr::own_identity;
use crate::support::dcr::read;
use crate::support::dcr::register;
use crate::support::dcr::registered;
use crate::support::dcr::with_operator_limit;
use crate::support::door::knock;
use crate::support::http::post;
use crate::support::http::raw;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;

// RFC 7591 section 3
#[tokio::test]
async fn who_may_register_is_for_the_policy_to_say() {
    let nobody = self_signed("nobody").issue();
    for (policy, admin, workload) in [("off", 404, 404), ("admins", 201, 403), ("own-identity", 201, 201)] {
        let server = TestServer::started(|setup| {
            setup.registration = policy.to_owned();
        })
        .await;
        server.register(operator_limit()).await.unwrap();
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

// RFC 7591 sections 2, 3.2.1 and 5; RFC 7592 sections 2.1 and 3; RFC 9068 section 5
#[tokio::test]
async fn a_workload_registers_itself_under_its_own_name_with_its_operators_limits() {
    let (server, leaf) = with_operator_limit().await;
    let ignored = json!({
        "client_id": "spiffe://prod.example/admin",
        "client_name": "Checkout",
        "client_secret": "chosen",
        "registration_access_token": "chosen",
        "client_id_issued_at": 1,
        "sub": "admin",
        "owner": "me",
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
        "response_types": [],
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

// RFC 7591 section 5; RFC 9068 section 5
#[tokio::test]
async fn a_workload_registers_nobody_but_itself_and_never_more_than_it_was_given() {
    let (server, leaf) = with_operator_limit().await;
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

// RFC 7591 sections 2, 2.1 and 3.2.2; RFC 8705 section 2.1.2
#[tokio::test]
async fn metadata_whose_defaults_or_values_are_not_served_are_refused_by_their_code() {
    let server = TestServer::started(|setup| {
        own_identity(setup);
        setup.client_cas = "{corp: corp.pem}".to_owned();
    })
    .await;
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
    // RFC 9068 section 5: the server generates the identifier, and the client has no influence on it.
    assert_eq!(good.json()["client_id"].as_str().unwrap().len(), 22);
}

// RFC 7591 section 2
#[tokio::test]
async fn an_admin_registers_a_jwks_uri_on_a_listed_host_and_on_no_other() {
    let server = TestServer::started(|setup| {
        own_identity(setup);
        setup.jwks_uri = "{allowed_hosts: [keys.example]}".to_owned();
    })
    .await;
    let (admin, method) = (server.svid("/admin"), "self_signed_tls_client_auth");
    let at = |uri| json!({ "token_endpoint_auth_method": method, "audience": [ORDERS], "jwks_uri": uri });
    let (answer, _) = registered(&server, &admin, at("https://keys.example/jwks")).await;
    assert_eq!(answer["jwks_uri"], "https://keys.example/jwks");
    for uri in ["https://elsewhere.example/jwks", "http://keys.example/jwks", "https://127.0.0.1/jwks"] {
        assert_eq!(register(&server, &admin, &metadata(at(uri))).await.error(), invalid_metadata(), "{uri}");
    }
}

// RFC 7591 section 3
#[tokio::test]
async fn the_body_is_a_json_object_and_says_that_it_is_one() {
    let (server, leaf) = with_operator_limit().await;
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

// RFC 7591 section 5: what an operator takes back is gone for what a workload registered for itself, too.
#[tokio::test]
async fn a_ceiling_that_is_lowered_or_deleted_later_holds_for_what_is_registered_already() {
    let (server, leaf) = with_operator_limit().await;
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

// RFC 7591 section 5; RFC 8705 section 2.2: an admin registers for others, and what is registered works.
#[tokio::test]
async fn an_admin_registers_clients_of_each_method_whose_certificates_get_tokens() {
    let server = TestServer::started(|setup| {
        setup.registration = "admins".to_owned();
        setup.client_cas = "{corp: corp.pem}".to_owned();
    })
    .await;
    let admin = server.svid("/admin");
    let spiffe = json!({ "spiffe_id": "spiffe://prod.example/new", "audience": [ORDERS] });
    let (answer, token) = registered(&server, &admin, spiffe.clone()).await;
    assert_eq!(answer["client_id"], json!("spiffe://prod.example/new"));
    issued(&server, &server.svid("/new"), "spiffe://prod.example/new").await.ok();
    let again = register(&server, &admin, &metadata(spiffe)).await;
    assert_eq!(again.error(), invalid_metadata());
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
