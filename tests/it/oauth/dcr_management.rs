//! The management of dynamic registrations (RFC 7592) over real TLS.

use axum::http::HeaderValue;
use axum::http::Method;
use axum::http::header::ALLOW;
use axum::http::header::AUTHORIZATION;
use axum::http::header::WWW_AUTHENTICATE;
use lanyard::authority::store::Batch;
use lanyard::authority::store::Change;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store as _;
use lanyard::proto::Client;
use lanyard::store::sled::SledOptions;
use lanyard::store::sled::SledStore;
use serde_json::Value;
use serde_json::json;

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
use crate::support::http::raw;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;

#[tokio::test]
async fn a_registration_is_opened_only_by_its_token_from_its_registrant() {
    let (server, leaf) = with_operator_limit().await;
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
        assert_eq!(without.error(), (401, "invalid_token".to_owned()));
        assert_eq!(without.header(WWW_AUTHENTICATE), "Bearer realm=\"lanyard\"");
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

#[tokio::test]
async fn a_put_replaces_all_and_names_the_client_and_none_of_the_servers_own_members() {
    let (server, leaf) = with_operator_limit().await;
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

#[tokio::test]
async fn a_deleted_registration_takes_its_tokens_of_both_kinds_with_it() {
    let (server, leaf) = with_operator_limit().await;
    let (_, token) = registered(&server, &leaf, json!({})).await;
    let access = issued(&server, &leaf, CHECKOUT).await.ok()["access_token"].as_str().unwrap().to_owned();
    let deleted = manage(&server, &leaf, Method::DELETE, CHECKOUT, &token, &Value::Null).await;
    assert_eq!((deleted.status, deleted.body.as_str()), (204, ""));
    deleted.assert_no_store();
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let reply = manage(&server, &leaf, method, CHECKOUT, &token, &metadata(json!({ "client_id": CHECKOUT }))).await;
        assert_invalid_token(&reply, "deleted");
    }
    let evaluated = server.validate(&access, certificate_of(&leaf)).await.unwrap();
    assert_ne!(evaluated.decision(), lanyard::proto::Decision::Allow);
    // Registered again, it has another token, and neither old one lives again.
    let (_, new) = registered(&server, &leaf, json!({})).await;
    assert_ne!(new, token);
    assert_invalid_token(&read(&server, &leaf, CHECKOUT, &token).await, "recreated");
    let evaluated = server.validate(&access, certificate_of(&leaf)).await.unwrap();
    assert_ne!(evaluated.decision(), lanyard::proto::Decision::Allow);
}

#[tokio::test]
async fn a_registrant_neither_enables_nor_deletes_a_client_that_an_operator_disabled() {
    let (server, leaf) = with_operator_limit().await;
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

#[tokio::test]
async fn only_the_hash_of_the_token_is_stored_and_another_policy_closes_what_it_opened() {
    let server = TestServer::started(|setup| {
        own_identity(setup);
        setup.store = "{sled: {path: data}}".to_owned();
    })
    .await;
    server.register(operator_limit()).await.unwrap();
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

// RFC 7591 section 2: metadata that restricts a client is never dropped silently.
#[tokio::test]
async fn what_only_an_operator_sets_is_refused_unless_a_put_sends_it_back_unchanged() {
    let (server, leaf) = with_operator_limit().await;
    for (field, value) in [
        ("client_ca", json!("corp")),
        ("disabled", json!(true)),
        ("disabled", json!(false)),
        ("exchange", json!([])),
        ("delegates", json!([])),
        ("txn", json!([])),
    ] {
        let refused = register(&server, &leaf, &metadata(json!({ field: value }))).await;
        assert_eq!(refused.error(), invalid_metadata(), "{field}");
        assert!(refused.body.contains(field), "{refused:?}");
    }
    let (_, token) = registered(&server, &leaf, json!({ "client_ca": null, "owner": "me" })).await;
    let put = async |more: Value| {
        let mut body = metadata(json!({ "client_id": CHECKOUT }));
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        manage(&server, &leaf, Method::PUT, CHECKOUT, &token, &body).await
    };
    for (field, value) in [("client_ca", json!("corp")), ("disabled", json!(true))] {
        assert_eq!(put(json!({ field: value })).await.error(), invalid_metadata(), "{field}");
    }
    // RFC 7592 section 2.2: a client sends back what it has read.
    let request = lanyard::proto::GetClientRequest { client_id: CHECKOUT.to_owned() };
    let client = server.registry(&server.svid("/admin")).get_client(request).await.unwrap().into_inner();
    server.update(Client { disabled: true, ..client }).await.unwrap();
    assert_eq!(read(&server, &leaf, CHECKOUT, &token).await.json()["disabled"], json!(true));
    assert_eq!(put(json!({ "disabled": true })).await.status, 200);
    assert_eq!(put(json!({ "disabled": false })).await.error(), invalid_metadata());
    assert_eq!(put(json!({})).await.json()["disabled"], json!(true));
}

fn contains(bytes: &[u8], sought: &[u8]) -> bool {
    bytes.windows(sought.len()).any(|window| window == sought)
}

#[tokio::test]
async fn a_registrant_neither_reads_replaces_nor_deletes_a_client_whose_record_cannot_be_read() {
    let (server, leaf) = with_operator_limit().await;
    let (_, token) = registered(&server, &leaf, json!({})).await;
    let client = server.server.authority().client(CHECKOUT).unwrap();
    let unreadable = Change { key: format!("/clients/{CHECKOUT}"), value: Some(b"{".as_slice().into()) };
    let revision = Revision(client.revision.0 + 1);
    server.server.authority().apply(&Batch { revision, changes: vec![unreadable] });
    let put = metadata(json!({ "client_id": CHECKOUT }));
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let refused = manage(&server, &leaf, method.clone(), CHECKOUT, &token, &put).await;
        assert_eq!(refused.error(), (403, "access_denied".to_owned()), "{method}");
        // Only the registrant learns as much.
        assert_invalid_token(&manage(&server, &leaf, method, CHECKOUT, &token[..42], &put).await, "cut");
    }
    let anew = register(&server, &leaf, &metadata(json!({}))).await;
    assert_eq!(anew.error(), invalid_metadata());
    assert_eq!(issued(&server, &leaf, CHECKOUT).await.error(), (401, "invalid_client".to_owned()));
    // An admin sees it as it counts, disabled.
    let request = lanyard::proto::GetClientRequest { client_id: CHECKOUT.to_owned() };
    let client = server.registry(&server.svid("/admin")).get_client(request).await.unwrap().into_inner();
    assert!(client.disabled);
}
