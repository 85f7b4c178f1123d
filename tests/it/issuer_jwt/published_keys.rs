//! The keys that an issuer publishes at its `jwks_uri`: rotation, outage, and what of them is stored.

use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;
use lanyard::proto::Decision;
use lanyard::proto::DenyReason;
use lanyard::store::memory::MemoryStore;
use serde_json::Value;
use serde_json::json;

use crate::issuer_jwt::cluster::CLUSTER;
use crate::issuer_jwt::cluster::Cluster;
use crate::issuer_jwt::cluster::account;
use crate::issuer_jwt::cluster::jwk;
use crate::support::NOW;
use crate::support::ca::self_signed;
use crate::support::calls::refusal;
use crate::support::door::within;
use crate::support::leaf::Leaf;
use crate::support::publisher::Publisher;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;

const RECORD: &str = "/fetched-bundles/issuer:prod";

struct World {
    server: TestServer,
    publisher: Publisher,
    store: Arc<MemoryStore>,
    cluster: Cluster,
    own: Leaf,
    asked: u32,
}

impl World {
    /// A server whose trusted issuer publishes its keys, with a registered client.
    async fn start() -> Self {
        let (mut setup, cluster) = (Setup::default(), Cluster::new());
        let publisher = Publisher::start(&setup.ca).await;
        publisher.answer(200, "", cluster.jwks().as_bytes());
        configure(&mut setup, &publisher, CLUSTER);
        setup.write();
        let store = Arc::new(MemoryStore::with_clock(Arc::clone(&setup.clock) as Arc<_>));
        let server = setup.start_on(Arc::clone(&store) as Arc<_>).await.unwrap();
        server.register(account("checkout")).await.unwrap();
        let own = self_signed("own").between(NOW, NOW.after(Duration::from_hours(24))).issue();
        let world = Self { server, publisher, store, cluster, own, asked: 0 };
        world.poll().await;
        world
    }

    async fn poll(&self) {
        self.server.server.poll_jwks_uris().await;
    }

    /// Whether an assertion of this cluster gets a token now.
    async fn takes(&mut self, cluster: &Cluster) -> bool {
        self.asked += 1;
        let (now, jti) = (self.server.now().0, self.asked.to_string());
        let assertion = cluster.token_with(|claims| {
            (claims["jti"], claims["iat"], claims["nbf"], claims["exp"]) =
                (json!(jti), json!(now), json!(now), json!(now + 600));
        });
        let answer = self.server.assert(&self.own, &assertion).await;
        if answer.is_err() {
            assert_eq!(refusal(answer).1, "INVALID_CLIENT");
            return false;
        }
        true
    }

    async fn takes_own(&mut self) -> bool {
        let cluster = Cluster { issuer: CLUSTER, key: std::mem::replace(&mut self.cluster.key, other_key()) };
        let taken = self.takes(&cluster).await;
        self.cluster = cluster;
        taken
    }

    async fn restarted(self, change: impl FnOnce(&mut Setup)) -> Self {
        let TestServer { server, mut setup, .. } = self.server;
        server.stop().await;
        change(&mut setup);
        setup.write();
        let server = setup.start_on(Arc::clone(&self.store) as Arc<_>).await.unwrap();
        Self { server, ..self }
    }

    async fn record(&self) -> Option<Value> {
        let stored = self.store.get(RECORD).await.unwrap()?;
        Some(serde_json::from_slice(&stored.value).unwrap())
    }
}

fn other_key() -> crate::support::jwt_svid::JwtKey {
    crate::support::jwt_svid::JwtKey::new("unused")
}

fn configure(setup: &mut Setup, publisher: &Publisher, issuer: &str) {
    setup.jwks_uri = format!(
        "{{allowed_hosts: ['{}'], ca: ca.pem, allow_private_addresses: true, poll: 1m, keep: 1h}}",
        publisher.host()
    );
    setup.trusted_issuers = format!("[{{name: prod, issuer: '{issuer}', jwks_uri: '{}'}}]", publisher.uri());
}

#[tokio::test]
async fn a_new_key_counts_with_the_next_fetch_and_a_withdrawn_one_no_more() {
    let mut world = World::start().await;
    assert!(world.takes_own().await);
    let next = Cluster::named(CLUSTER, "second");
    assert!(!world.takes(&next).await);
    let both = json!({ "keys": [jwk(&world.cluster.key), jwk(&next.key)] });
    world.publisher.answer(200, "", both.to_string().as_bytes());
    world.poll().await;
    assert!(world.takes(&next).await && world.takes_own().await);
    world.publisher.answer(200, "", next.jwks().as_bytes());
    world.poll().await;
    assert!(world.takes(&next).await && !world.takes_own().await);
    // Two keys of one name, a private key, and keys for something else are no keys.
    let twice = json!({ "keys": [jwk(&next.key), jwk(&Cluster::named(CLUSTER, "second").key)] });
    let mut private = jwk(&next.key);
    private["d"] = json!("AA");
    let mut encrypting = jwk(&next.key);
    encrypting["use"] = json!("enc");
    let mut svids = jwk(&next.key);
    svids["use"] = json!("jwt-svid");
    for keys in [twice, json!({ "keys": [private] }), json!({ "keys": [encrypting] }), json!({ "keys": [svids] })] {
        world.publisher.answer(200, "", keys.to_string().as_bytes());
        world.poll().await;
        assert!(!world.takes(&next).await, "{keys}");
    }
    world.publisher.answer(200, "", next.jwks().as_bytes());
    world.poll().await;
    assert!(world.takes(&next).await);
}

#[tokio::test]
async fn an_outage_changes_nothing_until_the_keys_are_too_old_and_then_nothing_is_accepted() {
    let mut world = World::start().await;
    assert!(world.takes_own().await);
    let answers: [(u16, &[u8]); 4] = [(500, b""), (200, b"not JSON"), (200, b"[]"), (200, b"{}")];
    for (status, body) in answers {
        world.publisher.answer(status, "", body);
        world.poll().await;
        assert!(world.takes_own().await, "{status}");
    }
    world.server.advance(Duration::from_secs(3599));
    world.server.is_fresh_again().await;
    assert!(world.takes_own().await);
    let token = world.server.assert(&world.own, &later(&world)).await.unwrap().access_token;
    let outcome = async |world: &World| {
        let answer = world.server.validate(&token, certificate_of(&world.own)).await.unwrap();
        (answer.decision(), answer.reason())
    };
    assert_eq!(outcome(&world).await.0, Decision::Allow);
    world.server.advance(Duration::from_secs(1));
    assert!(!world.takes_own().await);
    assert_eq!(outcome(&world).await, (Decision::Deny, DenyReason::IssuerUntrusted));
    world.publisher.answer(200, "", world.cluster.jwks().as_bytes());
    world.poll().await;
    assert!(world.takes_own().await);
    assert_eq!(outcome(&world).await.0, Decision::Allow);
}

/// An assertion that is good now.
fn later(world: &World) -> String {
    let now = world.server.now().0;
    world.cluster.token_with(|claims| {
        (claims["jti"], claims["iat"], claims["nbf"], claims["exp"]) =
            (json!("later"), json!(now), json!(now), json!(now + 600));
    })
}

#[tokio::test]
async fn a_restart_begins_with_what_was_fetched_for_that_issuer_and_url_alone() {
    let mut world = World::start().await;
    assert!(world.takes_own().await);
    let record = world.record().await.unwrap();
    assert_eq!((&record["schema"], &record["bundle_endpoint"]), (&json!(1), &json!(world.publisher.uri())));
    world.publisher.answer(500, "", b"");
    let mut world = world.restarted(|_| {}).await;
    assert!(world.takes_own().await);
    let uri = world.publisher.uri();
    let elsewhere =
        move |setup: &mut Setup| setup.trusted_issuers = setup.trusted_issuers.replace(&uri, &(uri.clone() + "?b"));
    let mut world = world.restarted(elsewhere).await;
    assert!(!world.takes_own().await);
    let uri = world.publisher.uri();
    let back =
        move |setup: &mut Setup| setup.trusted_issuers = setup.trusted_issuers.replace(&(uri.clone() + "?b"), &uri);
    let mut world = world.restarted(back).await;
    assert!(world.takes_own().await);
    // Who can write to the store alone proves nothing.
    let mut forged = record.clone();
    forged["document"] = serde_json::from_str(&Cluster::named(CLUSTER, "forged").jwks()).unwrap();
    let revision = world.store.get(RECORD).await.unwrap().unwrap().revision;
    let expected = Expected::At(revision);
    world.store.put(RECORD, forged.to_string().into_bytes(), expected).await.unwrap();
    let mut world = world.restarted(|_| {}).await;
    assert!(!world.takes_own().await);
    world.publisher.answer(200, "", world.cluster.jwks().as_bytes());
    world.poll().await;
    assert!(world.takes_own().await);
}

#[tokio::test]
async fn the_keys_are_fetched_from_allowed_hosts_alone() {
    let mut world = World::start().await;
    let other = Publisher::start(&world.server.setup.ca).await;
    let next = Cluster::named(CLUSTER, "second");
    other.answer(200, "", next.jwks().as_bytes());
    world.publisher.redirect(&other.uri());
    world.poll().await;
    assert_eq!(other.connections(), 0);
    assert!(!world.takes(&next).await && world.takes_own().await);
}

// What a later version says of the issuer may be that a key is withdrawn.
#[tokio::test]
async fn a_record_of_a_newer_schema_suspends_the_issuer_also_for_a_fetch_under_way() {
    let mut world = World::start().await;
    assert!(world.takes_own().await);
    world.publisher.asked().await;
    let answer = world.publisher.hold_once(world.cluster.jwks().as_bytes());
    let suspending = async {
        world.publisher.asked().await;
        let newer = json!({ "schema": 99 }).to_string().into_bytes();
        world.store.put(RECORD, newer, Expected::Any).await.unwrap();
        within(async {
            while !world.server.server.authority().is_bundle_suspended("issuer:prod") {
                tokio::task::yield_now().await;
            }
        })
        .await;
        answer.notify_one();
    };
    tokio::join!(world.poll(), suspending);
    assert!(!world.takes_own().await);
    let asked = world.publisher.connections();
    world.poll().await;
    assert!(!world.takes_own().await && world.publisher.connections() == asked);
    world.store.delete(RECORD, Expected::Any).await.unwrap();
    within(async {
        while world.server.server.authority().is_bundle_suspended("issuer:prod") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    world.poll().await;
    assert!(world.takes_own().await);
}
