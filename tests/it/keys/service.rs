//! `KeyService` of a real server: who may call it, and what it answers.

use std::sync::Arc;

use lanyard::proto::Decision;
use lanyard::proto::DenyReason;
use lanyard::proto::ListSigningKeysRequest;
use lanyard::proto::ResealKeysRequest;
use lanyard::proto::RevokeSigningKeyRequest;
use lanyard::proto::RotateSigningKeyRequest;
use lanyard::proto::SigningKey;
use lanyard::proto::SigningKeyState;
use lanyard::proto::key_service_client::KeyServiceClient;
use lanyard::store::memory::MemoryStore;
use tonic::Code;
use tonic::transport::Channel;

use super::support::PUBLICATION;
use super::support::SECOND;
use crate::support::calls::refusal;
use crate::support::door::within;
use crate::support::leaf::Leaf;
use crate::support::mint::kid_of;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;

fn keys(server: &TestServer, leaf: &Leaf) -> KeyServiceClient<Channel> {
    KeyServiceClient::new(server.channel(leaf))
}

async fn list(server: &TestServer) -> Vec<SigningKey> {
    let listed = keys(server, &server.svid("/admin")).list_signing_keys(ListSigningKeysRequest {}).await;
    listed.unwrap().into_inner().keys
}

fn revocation(kid: &str, reason: &str) -> RevokeSigningKeyRequest {
    RevokeSigningKeyRequest { kid: kid.to_owned(), reason: reason.to_owned() }
}

#[tokio::test]
async fn workloads_and_proxies_neither_see_nor_change_the_keys() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let kid = kid_of(&server.token(&checkout).await);
    for leaf in [&checkout, &server.svid("/proxy")] {
        let mut keys = keys(&server, leaf);
        let refused = [
            keys.list_signing_keys(ListSigningKeysRequest {}).await.map(drop),
            keys.rotate_signing_key(RotateSigningKeyRequest {}).await.map(drop),
            keys.revoke_signing_key(revocation(&kid, "for fun")).await.map(drop),
            keys.reseal_keys(ResealKeysRequest {}).await.map(drop),
        ];
        for outcome in refused {
            assert_eq!(refusal(outcome), (Code::PermissionDenied, "WRONG_ROLE".to_owned()));
        }
    }
    let listed = list(&server).await;
    assert_eq!((listed.len(), listed[0].state()), (1, SigningKeyState::Active));
    assert_eq!(listed[0].kid, kid);
}

#[tokio::test]
async fn an_admin_rotates_and_the_times_are_those_that_things_happen_at() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let first = kid_of(&server.token(&checkout).await);
    let mut admin = keys(&server, &server.svid("/admin"));
    server.advance(SECOND);
    let rotated = admin.rotate_signing_key(RotateSigningKeyRequest {}).await.unwrap().into_inner();
    let next = rotated.key.unwrap();
    assert!(!rotated.already_pending);
    assert_eq!((next.state(), next.algorithm.as_str()), (SigningKeyState::Next, "ES256"));
    let at = next.earliest_activate_time.unwrap().seconds - next.create_time.unwrap().seconds;
    assert_eq!(at, 600);
    let again = admin.rotate_signing_key(RotateSigningKeyRequest {}).await.unwrap().into_inner();
    assert!(again.already_pending);
    assert_eq!(again.key.unwrap().kid, next.kid);
    server.advance(PUBLICATION);
    server.server.authority().tend_signing_keys().await.unwrap();
    assert_eq!(kid_of(&server.token(&checkout).await), next.kid);
    let listed = list(&server).await;
    assert_eq!(listed.iter().map(|key| key.kid.as_str()).collect::<Vec<_>>(), [&first, &next.kid]);
    assert_eq!(listed[0].state(), SigningKeyState::Retired);
    assert_eq!(listed[0].delete_time.unwrap().seconds - listed[0].retire_time.unwrap().seconds, 65 * 60);
    assert_eq!(listed[1].activate_time, listed[0].retire_time);
}

#[tokio::test]
async fn a_revoked_key_is_refused_by_each_server_on_the_store_and_after_a_restart() {
    let store: Arc<MemoryStore> = Arc::default();
    let [one, other] = [Setup::default(), Setup::default()];
    one.write();
    other.write();
    let one = one.start_on(Arc::<MemoryStore>::clone(&store)).await.unwrap();
    let other = other.start_on(Arc::<MemoryStore>::clone(&store)).await.unwrap();
    let checkout = one.workload("/checkout").await;
    let token = one.token(&checkout).await;
    let mut admin = keys(&one, &one.svid("/admin"));
    for (kid, reason, code, name) in [
        (kid_of(&token).as_str(), "", Code::InvalidArgument, "INVALID_REQUEST"),
        ("x", "it leaked", Code::NotFound, "KEY_NOT_FOUND"),
    ] {
        let refused = admin.revoke_signing_key(revocation(kid, reason)).await;
        assert_eq!(refusal(refused), (code, name.to_owned()));
    }
    for server in [&one, &other] {
        server.advance(SECOND);
    }
    let revoked = admin.revoke_signing_key(revocation(&kid_of(&token), "it leaked")).await.unwrap().into_inner();
    let (key, signs) = (revoked.key.unwrap(), revoked.replaced_by.unwrap());
    assert_eq!((key.state(), key.revoke_reason.as_str()), (SigningKeyState::Revoked, "it leaked"));
    assert_eq!((key.revoked_by.as_str(), signs.state()), ("spiffe://prod.example/admin", SigningKeyState::Active));
    // Its own replica refuses at once; the other as soon as the store has told it.
    let answer = one.validate(&token, certificate_of(&checkout)).await.unwrap();
    assert_eq!((answer.decision(), answer.reason()), (Decision::Deny, DenyReason::UnknownKey));
    within(async {
        while other.validate(&token, certificate_of(&checkout)).await.unwrap().reason() != DenyReason::UnknownKey {}
    })
    .await;
    let new = other.token(&other.svid("/checkout")).await;
    assert_eq!(kid_of(&new), signs.kid);
    let TestServer { server, setup, .. } = one;
    server.stop().await;
    let one = setup.start_on(Arc::<MemoryStore>::clone(&store)).await.unwrap();
    assert_eq!(list(&one).await[0], key);
    let answer = one.validate(&token, certificate_of(&checkout)).await.unwrap();
    assert_eq!(answer.reason(), DenyReason::UnknownKey);
}

#[tokio::test]
async fn an_admin_seals_the_keys_under_another_key_encryption_key_while_the_server_serves() {
    let store = "{sled: {path: data}}";
    let server = TestServer::started(|setup| setup.store = store.to_owned()).await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let old = server.setup.keys.clone();
    let old = old.trim_start_matches("{key_encryption_key: ").trim_end_matches('}').to_owned();
    let new = "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=";
    let restarted = async |server: TestServer, keys: String| {
        let TestServer { server, mut setup, .. } = server;
        server.stop().await;
        setup.keys = keys;
        setup.write();
        setup
    };
    let both = format!("{{key_encryption_key: '{new}', previous: [{{key_encryption_key: '{old}'}}]}}");
    let server = restarted(server, both).await.start().await.unwrap();
    let mut admin = keys(&server, &server.svid("/admin"));
    for (resealed, already) in [(1, 0), (0, 1)] {
        let done = admin.reseal_keys(ResealKeysRequest {}).await.unwrap().into_inner();
        assert_eq!((done.resealed, done.already), (resealed, already));
        let answer = server.validate(&token, certificate_of(&checkout)).await.unwrap();
        assert_eq!(answer.decision(), Decision::Allow);
    }
    // Without the new key it does not start; without the old one it does.
    let setup = restarted(server, format!("{{key_encryption_key: '{old}'}}")).await;
    let data = setup.path("data").display().to_string();
    let error = setup.start().await.err().expect("it must not start");
    assert!(error.to_string().contains("key-encryption key is not the one"), "{error} {data}");
}
