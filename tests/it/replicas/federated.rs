//! The bundle of another trust domain is fetched by one replica, and proves its workloads at all.

use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::SystemClock;
use lanyard::proto::GetJwksRequest;
use lanyard::proto::key_service_client::KeyServiceClient;

use crate::replicas::fleet::COUNT;
use crate::replicas::fleet::Fleet;
use crate::support::bundle::PARTNER;
use crate::support::bundle::document;
use crate::support::ca::TestCa;
use crate::support::door::within;
use crate::support::etcd::Options;
use crate::support::publisher::Publisher;

impl Fleet {
    /// Whether a replica accepts a workload of the partner, on a connection of its own.
    async fn accepts(&self, index: usize, partner: &TestCa) -> bool {
        let shop = partner.svid(&format!("spiffe://{PARTNER}/shop")).issue();
        KeyServiceClient::new(self.channel(index, &shop)).get_jwks(GetJwksRequest {}).await.is_ok()
    }

    async fn until_all(&self, partner: &TestCa, accepted: bool) {
        within(async {
            for index in 0..COUNT {
                while self.accepts(index, partner).await != accepted {
                    tokio::task::yield_now().await;
                }
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_one_replica_fetched_proves_workloads_at_all_and_at_one_that_starts() {
    let now = SystemClock.now();
    let [partner, next] = [TestCa::at(PARTNER, now), TestCa::at(PARTNER, now)];
    let web = TestCa::at("web", now);
    let publisher = Publisher::showing(&web.server_certificate("localhost").issue()).await;
    let mut often: serde_json::Value = serde_json::from_slice(&document(&[&partner], 1)).unwrap();
    often["spiffe_refresh_hint"] = 1.into();
    publisher.answer(200, "", often.to_string().as_bytes());
    let fleet = Fleet::start_with(Options::default(), |setup| {
        std::fs::write(setup.path("web.pem"), web.pem()).unwrap();
        setup.federation = format!(
            "[{{trust_domain: {PARTNER}, bundle_endpoint: '{}', profile: https_web, ca: web.pem, max_age: 1h}}]",
            publisher.uri()
        );
    });
    let Some(mut fleet) = fleet.await else { return };
    fleet.until_all(&partner, true).await;

    // What it fetches next ends the old root at all. The new document is not to be fetched again for minutes.
    publisher.answer(200, "", &document(&[&next], 2));
    fleet.until_all(&next, true).await;
    fleet.until_all(&partner, false).await;
    let (leader, asked) = (fleet.leader().await, publisher.connections());

    // Replicas that start have it from the store, and do not ask an endpoint that was asked just now.
    publisher.answer(503, "", b"");
    for index in (0..COUNT).filter(|index| *index != leader) {
        fleet.stop_replica(index);
        fleet.start_replica(index);
        assert!(fleet.accepts(index, &next).await);
        assert!(!fleet.accepts(index, &partner).await);
    }
    fleet.assert_asked(&publisher, asked, leader).await;
}
