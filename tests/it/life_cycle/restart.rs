//! What a server on the embedded store finds again after a restart, and what keeps it from starting.

use std::fs;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;
use lanyard::proto::Client;
use lanyard::proto::Decision;
use lanyard::proto::DenyReason;
use lanyard::proto::GetClientRequest;
use lanyard::proto::GetJwksRequest;
use lanyard::proto::ProtectedResource;
use lanyard::proto::key_service_client::KeyServiceClient;
use lanyard::proto::validate_binding_request::Evidence;
use lanyard::server::StartError;
use lanyard::store::sled::OpenError;
use lanyard::store::sled::SledOptions;
use lanyard::store::sled::SledStore;
use serde_json::Value;

use crate::registry::resources;
use crate::registry::resources::Admin;
use crate::registry::resources::bare;
use crate::support::ca::self_signed;
use crate::support::calls::opened;
use crate::support::calls::self_signed_client;
use crate::support::server::SEAL;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::spiffe_client;

const CHECKOUT: &str = "spiffe://prod.example/checkout";

async fn started() -> TestServer {
    let setup = Setup { store: "{sled: {path: data}}".to_owned(), ..Setup::default() };
    setup.write();
    setup.start().await.unwrap()
}

/// Stops the server, and returns what it was started with.
async fn stopped(server: TestServer) -> Setup {
    let TestServer { server, setup, .. } = server;
    server.stop().await;
    setup
}

async fn restarted(server: TestServer) -> TestServer {
    stopped(server).await.start().await.unwrap()
}

async fn failure(setup: Setup) -> StartError {
    setup.start().await.err().expect("the server must not start")
}

async fn jwks(server: &TestServer) -> Value {
    let mut keys = KeyServiceClient::new(server.channel(&server.svid("/somebody")));
    serde_json::from_str(&keys.get_jwks(GetJwksRequest {}).await.unwrap().into_inner().jwks).unwrap()
}

async fn read(server: &TestServer, client_id: &str) -> Client {
    let request = GetClientRequest { client_id: client_id.to_owned() };
    server.registry(&server.svid("/admin")).get_client(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn registrations_keys_and_tokens_outlive_a_restart() {
    let server = started().await;
    let ci = self_signed("ci").issue();
    let registered = [
        server.register(spiffe_client(CHECKOUT)).await.unwrap(),
        server.register(self_signed_client("ci", &ci.pem())).await.unwrap(),
    ];
    let checkout = server.svid("/checkout");
    let (token, keys) = (server.token(&checkout).await, jwks(&server).await);
    let server = restarted(server).await;
    for client in registered {
        assert_eq!(read(&server, &client.client_id).await, client);
    }
    assert_eq!(jwks(&server).await, keys);
    let answer = server.validate(&token, certificate_of(&checkout)).await.unwrap();
    assert_eq!(answer.decision(), Decision::Allow);
    let stolen = server.validate(&token, certificate_of(&ci)).await.unwrap();
    assert_eq!(stolen.reason(), DenyReason::CertificateMismatch);
    server.issue_as(&ci, "ci").await.unwrap();
}

#[tokio::test]
async fn protected_resources_outlive_a_restart_with_their_etags_and_what_they_demand() {
    let server = started().await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let mut admin = Admin::of(&server);
    let kept = admin.create(resources::orders()).await.unwrap();
    let kept = admin.update(ProtectedResource { owner: "a".to_owned(), ..kept }, &[]).await.unwrap();
    admin.create(bare("urn:deleted")).await.unwrap();
    admin.delete("urn:deleted", "").await.unwrap();
    let server = restarted(server).await;
    let mut admin = Admin::of(&server);
    assert_eq!(admin.read(&kept.audience).await.unwrap(), kept);
    assert_eq!(admin.read("urn:deleted").await.unwrap_err().code(), tonic::Code::NotFound);
    let thumbprint = Some(Evidence::CertificateThumbprint(checkout.thumbprint().as_bytes().to_vec()));
    let weak = server.validate(&token, thumbprint).await.unwrap();
    assert_eq!(weak.reason(), DenyReason::EvidenceTooWeak);
    let whole = server.validate(&token, certificate_of(&checkout)).await.unwrap();
    assert_eq!(whole.decision(), Decision::Allow);
    let next = admin.update(ProtectedResource { owner: "b".to_owned(), ..kept.clone() }, &[]).await.unwrap();
    assert_ne!(next.etag, kept.etag);
    assert_eq!(admin.update(kept, &[]).await.unwrap_err().code(), tonic::Code::Aborted);
}

#[tokio::test]
async fn an_etag_from_before_a_restart_still_names_the_state() {
    let server = started().await;
    let first = server.register(spiffe_client(CHECKOUT)).await.unwrap();
    let present = server.update(Client { owner: "a".to_owned(), ..first.clone() }).await.unwrap();
    let server = restarted(server).await;
    assert_eq!(server.update(first).await.unwrap_err().code(), tonic::Code::Aborted);
    let next = server.update(Client { owner: "b".to_owned(), ..present.clone() }).await.unwrap();
    assert_ne!(next.etag, present.etag);
}

#[tokio::test]
async fn what_was_refused_before_a_restart_is_refused_after_it() {
    let server = started().await;
    let mut tokens = Vec::new();
    for path in ["/deleted", "/recreated", "/disabled"] {
        let leaf = server.workload(path).await;
        tokens.push((server.token(&leaf).await, leaf));
    }
    server.delete("spiffe://prod.example/deleted").await;
    server.delete("spiffe://prod.example/recreated").await;
    server.workload("/recreated").await;
    let disabled = read(&server, "spiffe://prod.example/disabled").await;
    server.update(Client { disabled: true, ..disabled }).await.unwrap();
    let server = restarted(server).await;
    let reasons = [DenyReason::ClientUnknown, DenyReason::ClientRecreated, DenyReason::ClientDisabled];
    for ((token, leaf), reason) in tokens.iter().zip(reasons) {
        assert_eq!(server.validate(token, certificate_of(leaf)).await.unwrap().reason(), reason);
    }
}

#[tokio::test]
async fn a_store_in_memory_keeps_nothing() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let (token, keys) = (server.token(&checkout).await, jwks(&server).await);
    let server = restarted(server).await;
    assert_ne!(jwks(&server).await, keys);
    let answer = server.validate(&token, certificate_of(&checkout)).await.unwrap();
    assert_eq!(answer.reason(), DenyReason::UnknownKey);
}

#[tokio::test]
async fn another_algorithm_adds_a_key_which_signs_later_and_the_old_ones_go_on_verifying() {
    let mut server = started().await;
    let checkout = server.workload("/checkout").await;
    let mut algorithm = "ES256";
    for next in ["EdDSA", "ES256"] {
        let before = server.token(&checkout).await;
        let mut setup = stopped(server).await;
        setup.keys = format!("{{algorithm: {next}, key_encryption_key: {SEAL}}}");
        setup.write();
        server = setup.start().await.unwrap();
        // The server's own task may be about it at the same time.
        while server.server.authority().keys().next_key().is_none() {
            server.server.authority().tend_signing_keys().await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(server.server.authority().keys().next_key().unwrap().algorithm().name(), next);
        let token = server.token(&checkout).await;
        assert_eq!(opened(&token).0["alg"], Value::from(algorithm));
        server.advance(Duration::from_mins(10) - Duration::from_secs(1));
        server.server.authority().tend_signing_keys().await.unwrap();
        let last = server.token(&checkout).await;
        assert_eq!(opened(&last).0["alg"], Value::from(algorithm));
        server.advance(Duration::from_secs(1));
        server.server.authority().tend_signing_keys().await.unwrap();
        let new = server.token(&checkout).await;
        assert_eq!(opened(&new).0["alg"], Value::from(next));
        for token in [&last, &new] {
            let answer = server.validate(token, certificate_of(&checkout)).await.unwrap();
            assert_eq!(answer.decision(), Decision::Allow, "{next}");
        }
        let answer = server.validate(&before, certificate_of(&checkout)).await.unwrap();
        assert_eq!(answer.reason(), DenyReason::TokenExpired, "its key is still there");
        algorithm = next;
    }
}

#[tokio::test]
async fn a_wrong_key_encryption_key_starts_nothing_and_changes_nothing() {
    let server = started().await;
    let checkout = server.workload("/checkout").await;
    let (token, keys) = (server.token(&checkout).await, jwks(&server).await);
    let setup = stopped(server).await;
    // A second configuration on the same data, with another key and another algorithm, which would want a new key.
    for algorithm in ["ES256", "EdDSA"] {
        let wrong = Setup {
            store: format!("{{sled: {{path: '{}'}}}}", setup.path("data").display()),
            keys: format!("{{algorithm: {algorithm}, key_encryption_key: {}}}", STANDARD.encode([8; 32])),
            ..Setup::default()
        };
        wrong.write();
        let error = failure(wrong).await;
        assert!(matches!(error, StartError::Keys(_)), "{error}");
        assert!(error.to_string().contains("key-encryption key is not the one"), "{error}");
    }
    let server = setup.start().await.unwrap();
    assert_eq!(jwks(&server).await, keys);
    let answer = server.validate(&token, certificate_of(&checkout)).await.unwrap();
    assert_eq!(answer.decision(), Decision::Allow);
}

#[tokio::test]
async fn a_second_server_on_the_same_store_does_not_start_and_the_first_goes_on() {
    let server = started().await;
    let checkout = server.workload("/checkout").await;
    let data = server.setup.path("data");
    let second = Setup { store: format!("{{sled: {{path: '{}'}}}}", data.display()), ..Setup::default() };
    second.write();
    let error = failure(second).await;
    assert!(matches!(error, StartError::Store(OpenError::InUse { .. })), "{error}");
    server.token(&checkout).await;
    server.workload("/another").await;
}

#[tokio::test]
async fn a_record_that_cannot_be_read_keeps_the_server_from_starting() {
    let server = started().await;
    server.workload("/checkout").await;
    let setup = stopped(server).await;
    for (key, value) in [
        ("/clients/x", r#"{"schema":1}"#),
        ("/clients/x", "garbage"),
        ("/keys/x", r#"{"schema":1}"#),
        ("/keys/x", "garbage"),
        ("/resources/urn:x", r#"{"schema":1}"#),
        ("/resources/urn:x", "garbage"),
    ] {
        let store = SledStore::open(&setup.path("data"), SledOptions::default()).unwrap();
        store.put(key, value.into(), Expected::Absent).await.unwrap();
        drop(store);
        let again =
            Setup { store: format!("{{sled: {{path: '{}'}}}}", setup.path("data").display()), ..Setup::default() };
        again.write();
        let error = failure(again).await;
        assert!(matches!(error, StartError::Registrations(_) | StartError::Keys(_)), "{error}");
        assert!(error.to_string().contains(key), "{error}");
        let store = SledStore::open(&setup.path("data"), SledOptions::default()).unwrap();
        store.delete(key, Expected::Any).await.unwrap();
    }
    setup.start().await.unwrap();
}

#[tokio::test]
async fn a_signing_key_that_was_put_in_anothers_place_keeps_the_server_from_starting() {
    let server = started().await;
    let kid = jwks(&server).await["keys"][0]["kid"].as_str().unwrap().to_owned();
    let setup = stopped(server).await;
    let store = SledStore::open(&setup.path("data"), SledOptions::default()).unwrap();
    let record = store.get(&format!("/keys/{kid}")).await.unwrap().unwrap().value;
    store.put("/keys/elsewhere", record.to_vec(), Expected::Absent).await.unwrap();
    drop(store);
    let error = failure(setup).await;
    assert!(error.to_string().contains("/keys/elsewhere"), "{error}");
}

#[tokio::test]
async fn a_directory_that_is_something_elses_is_not_taken_for_a_store() {
    let setup = Setup { store: "{sled: {path: data}}".to_owned(), ..Setup::default() };
    setup.write();
    fs::create_dir(setup.path("data")).unwrap();
    fs::write(setup.path("data").join("notes.txt"), "mine").unwrap();
    let error = failure(setup).await;
    assert!(matches!(error, StartError::Store(OpenError::Foreign { .. })), "{error}");
}
