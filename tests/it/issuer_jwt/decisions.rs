//! What a token of an `issuer_jwt` client is worth later on.

use std::fs;
use std::time::Duration;

use lanyard::proto::Client;
use lanyard::proto::Decision;
use lanyard::proto::DenyReason;
use lanyard::proto::RevokeTokenRequest;
use lanyard::proto::revoke_token_request::Target;
use lanyard::store::memory::MemoryStore;
use std::sync::Arc;

use crate::issuer_jwt::cluster::ACCOUNT;
use crate::issuer_jwt::cluster::Cluster;
use crate::issuer_jwt::cluster::UID;
use crate::issuer_jwt::cluster::account;
use crate::issuer_jwt::cluster::started;
use crate::issuer_jwt::cluster::trust;
use crate::support::ca::self_signed;
use crate::support::calls::refusal;
use crate::support::leaf::Leaf;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;

async fn outcome(server: &TestServer, token: &str, leaf: &Leaf) -> Result<(), DenyReason> {
    let answer = server.validate(token, certificate_of(leaf)).await.unwrap();
    if answer.decision() == Decision::Allow { Ok(()) } else { Err(answer.reason()) }
}

#[tokio::test]
async fn a_change_of_what_is_pinned_denies_the_tokens_and_a_change_of_terms_does_not() {
    let (server, cluster) = started().await;
    let client = server.register(account("checkout")).await.unwrap();
    let own = self_signed("own").issue();
    let token = server.assert(&own, &cluster.token()).await.unwrap().access_token;
    let wider = Client { access_token_ttl: None, owner: "shop".to_owned(), ..client };
    let client = server.update(wider).await.unwrap();
    assert_eq!(outcome(&server, &token, &own).await, Ok(()));
    server.advance(Duration::from_secs(1));
    server.update(Client { claims: [(UID.to_owned(), ACCOUNT.to_owned())].into(), ..client }).await.unwrap();
    assert_eq!(outcome(&server, &token, &own).await, Err(DenyReason::AuthenticationChanged));
    server.advance(Duration::from_secs(1));
    let token = server.assert(&own, &cluster.fresh("later")).await.unwrap().access_token;
    assert_eq!(outcome(&server, &token, &own).await, Ok(()));
}

#[tokio::test]
async fn a_revoked_client_or_certificate_denies_and_gets_nothing_new() {
    let (server, cluster) = started().await;
    server.register(account("checkout")).await.unwrap();
    let own = self_signed("own").issue();
    let token = server.assert(&own, &cluster.token()).await.unwrap().access_token;
    let mut admin = server.tokens(&server.svid("/admin"));
    let revoke = |target: Target, lift| RevokeTokenRequest { target: Some(target), lift, ..Default::default() };
    let client = Target::RevokedClientId("checkout".to_owned());
    admin.revoke_token(revoke(client.clone(), false)).await.unwrap();
    assert_eq!(outcome(&server, &token, &own).await, Err(DenyReason::ClientRevoked));
    assert_eq!(refusal(server.assert(&own, &cluster.token()).await).1, "INVALID_CLIENT");
    admin.revoke_token(revoke(client, true)).await.unwrap();
    assert_eq!(outcome(&server, &token, &own).await, Err(DenyReason::TokenRevoked));
    server.advance(Duration::from_secs(1));
    let token = server.assert(&own, &cluster.token()).await.unwrap().access_token;
    assert_eq!(outcome(&server, &token, &own).await, Ok(()));
    let certificate = Target::CertificateThumbprint(own.thumbprint().as_bytes().to_vec());
    admin.revoke_token(revoke(certificate, false)).await.unwrap();
    assert_eq!(outcome(&server, &token, &own).await, Err(DenyReason::CertificateRevoked));
    assert!(server.assert(&own, &cluster.token()).await.is_err());
}

// As the removal of a client CA or a bundle does.
#[tokio::test]
async fn an_issuer_that_is_no_longer_trusted_denies_the_tokens_of_its_clients_until_it_is_back() {
    let cluster = Cluster::new();
    let mut setup = Setup::default();
    trust(&mut setup, &[("prod", &cluster)]);
    setup.write();
    let store = Arc::new(MemoryStore::with_clock(Arc::clone(&setup.clock) as Arc<_>));
    let server = setup.start_on(Arc::clone(&store) as Arc<_>).await.unwrap();
    server.register(account("checkout")).await.unwrap();
    let own = self_signed("own").issue();
    let token = server.assert(&own, &cluster.token()).await.unwrap().access_token;
    let workload = server.workload("/other").await;
    let others = server.token(&workload).await;
    let restarted = async |server: TestServer, change: &dyn Fn(&mut Setup)| {
        let TestServer { server, mut setup, .. } = server;
        server.stop().await;
        change(&mut setup);
        setup.write();
        setup.start_on(Arc::clone(&store) as Arc<_>).await.unwrap()
    };
    let server = restarted(server, &|setup| setup.trusted_issuers = "[]".to_owned()).await;
    assert_eq!(outcome(&server, &token, &own).await, Err(DenyReason::IssuerUntrusted));
    assert_eq!(outcome(&server, &others, &workload).await, Ok(()));
    // Another issuer in its place is another one.
    let other = Cluster::named("https://oidc.other.example", "first");
    let server = restarted(server, &|setup| trust(setup, &[("prod", &other)])).await;
    assert_eq!(outcome(&server, &token, &own).await, Err(DenyReason::IssuerUntrusted));
    let server = restarted(server, &|setup| trust(setup, &[("prod", &cluster)])).await;
    assert_eq!(outcome(&server, &token, &own).await, Ok(()));
}

#[tokio::test]
async fn a_key_set_on_the_disk_is_read_again_and_a_broken_one_is_not_taken() {
    let (server, cluster) = started().await;
    server.register(account("checkout")).await.unwrap();
    let own = self_signed("own").issue();
    let token = server.assert(&own, &cluster.token()).await.unwrap().access_token;
    let file = server.setup.path("prod.json");
    for broken in ["", "{}", "[]", "{\"keys\":[]}", "{\"keys\":[{\"kty\":\"oct\",\"kid\":\"first\",\"k\":\"AA\"}]}"] {
        fs::write(&file, broken).unwrap();
        server.server.reload();
        server.assert(&own, &cluster.token()).await.unwrap();
    }
    let next = Cluster::named(cluster.issuer, "second");
    fs::write(&file, next.jwks()).unwrap();
    server.server.reload();
    assert_eq!(refusal(server.assert(&own, &cluster.token()).await).1, "INVALID_CLIENT");
    server.assert(&own, &next.token()).await.unwrap();
    // The key that proved it has gone, the issuer has not.
    assert_eq!(outcome(&server, &token, &own).await, Ok(()));
}
