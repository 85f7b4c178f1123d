//! What clients publish at their `jwks_uri` is fetched by one replica, and counts at all.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::SystemClock;
use lanyard::proto::Client;
use lanyard::proto::CreateClientRequest;
use lanyard::proto::GetClientRequest;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::UpdateClientRequest;
use lanyard::proto::token_service_client::TokenServiceClient;
use tonic::Status;

use crate::published_jwks::jwks_uri::publishing;
use crate::replicas::fleet::COUNT;
use crate::replicas::fleet::Fleet;
use crate::support::ca::TestCa;
use crate::support::ca::self_signed;
use crate::support::door::within;
use crate::support::etcd::Options;
use crate::support::leaf::Leaf;
use crate::support::publisher::Publisher;
use crate::support::server::TRUST_DOMAIN;

/// A self-signed certificate that is valid now.
fn own(name: &str) -> Leaf {
    let now = SystemClock.now();
    let hour = Duration::from_hours(1);
    self_signed(name).between(now.before(hour), now.after(hour)).issue()
}

impl Fleet {
    /// A token from a replica, on a connection of its own.
    async fn of_publisher(&self, index: usize, leaf: &Leaf) -> Result<(), Status> {
        let request = IssueTokenRequest { client_id: "billing".to_owned(), ..IssueTokenRequest::default() };
        TokenServiceClient::new(self.channel(index, leaf)).issue_token(request).await.map(drop)
    }

    /// Asks each replica until it accepts the certificate. Another leader may have to be elected first.
    async fn until_accepted_by_all(&self, leaf: &Leaf) {
        let asking = async {
            for index in 0..COUNT {
                while self.of_publisher(index, leaf).await.is_err() {
                    tokio::task::yield_now().await;
                }
            }
        };
        tokio::time::timeout(Duration::from_mins(1), asking).await.expect("it is never accepted");
    }

    /// Waits until etcd has something else of what the client publishes than at this revision, and until all replicas know it:
    /// they also know of a client that is registered after it. Returns its revision.
    async fn until_stored_after(&self, revision: u64) -> u64 {
        let key = STANDARD.encode("/lanyard/test:/published-jwks/billing");
        let found = || {
            let found = self.cluster.gateway(0, "kv/range", &format!("{{\"key\": \"{key}\"}}")).unwrap();
            found["kvs"][0]["mod_revision"].as_str().map_or(0, |revision| revision.parse().unwrap())
        };
        within(async {
            while found() <= revision {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let client_id = format!("spiffe://{TRUST_DOMAIN}/after/{revision}");
        self.at(0).register(&client_id).await.unwrap();
        for index in 0..COUNT {
            let named = || GetClientRequest { client_id: client_id.clone() };
            within(async { while self.at(index).registry().get_client(named()).await.is_err() {} }).await;
        }
        found()
    }

    /// The replica that leads.
    pub async fn leader(&self) -> usize {
        let leads = |index: &usize| self.metric(*index, "lanyard_leader") == "1";
        within(async {
            loop {
                match (0..COUNT).find(leads) {
                    Some(index) => return index,
                    None => tokio::task::yield_now().await,
                }
            }
        })
        .await
    }

    /// Asserts that an endpoint has been asked this often, or once more if this replica no longer leads: its lease may have
    /// been renewed late, and the next leader asks at once.
    pub async fn assert_asked(&self, publisher: &Publisher, times: usize, leader: usize) {
        let asked = publisher.connections();
        assert!(asked == times || (asked == times + 1 && self.leader().await != leader), "{asked} instead of {times}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_replica_fetches_for_all_and_another_when_it_is_gone() {
    let ca = TestCa::at(TRUST_DOMAIN, SystemClock.now());
    let publisher = Publisher::start(&ca).await;
    let section =
        format!("{{allowed_hosts: ['{}'], ca: ca.pem, allow_private_addresses: true, poll: 9m}}", publisher.host());
    let fleet = Fleet::start_with(Options::default(), |setup| {
        setup.jwks_uri = section;
        setup.ca = ca;
    });
    let Some(mut fleet) = fleet.await else { return };
    let [first, second] = ["first", "second"].map(own);
    publisher.publish(&[&first]);
    let leader = fleet.leader().await;
    let (other, third) = ((leader + 1) % COUNT, (leader + 2) % COUNT);
    // The change is made at a replica that does not lead.
    let request = CreateClientRequest { client: Some(publishing(&publisher.uri())), ..Default::default() };
    fleet.at(other).registry().create_client(request).await.unwrap();
    fleet.until_accepted_by_all(&first).await;
    fleet.assert_asked(&publisher, 1, leader).await;
    assert!(fleet.of_publisher(third, &second).await.is_err());

    // A replica that starts has it, and asks nobody.
    publisher.answer(503, "", b"");
    fleet.stop_replica(third);
    fleet.start_replica(third);
    fleet.until_accepted_by_all(&first).await;
    fleet.assert_asked(&publisher, 1, leader).await;

    // Another leader fetches what was added, and a change that is made after it.
    publisher.publish(&[&second]);
    fleet.kill_replica(leader);
    fleet.start_replica(leader);
    fleet.until_accepted_by_all(&second).await;
    assert!(fleet.of_publisher(leader, &first).await.is_err());
    publisher.answer(503, "", b"");
    let named = GetClientRequest { client_id: "billing".to_owned() };
    let etag = fleet.at(other).registry().get_client(named).await.unwrap().into_inner().etag;
    let moved = Client { etag, ..publishing(&(publisher.uri() + "?moved")) };
    let request = UpdateClientRequest { client: Some(moved), ..UpdateClientRequest::default() };
    fleet.at(other).registry().update_client(request).await.unwrap();
    for index in 0..COUNT {
        within(async { while fleet.of_publisher(index, &second).await.is_ok() {} }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_does_not_lead_finds_an_unknown_certificate_itself_and_for_all() {
    let ca = TestCa::at(TRUST_DOMAIN, SystemClock.now());
    let publisher = Publisher::start(&ca).await;
    let keys = format!("allowed_hosts: ['{}'], ca: ca.pem, allow_private_addresses: true", publisher.host());
    let fleet = Fleet::start_with(Options::default(), |setup| {
        setup.jwks_uri = format!("{{{keys}, poll: 9m, discovery: on_demand}}");
        setup.store = setup.store.replace("max_staleness: 5s", "max_staleness: 5m");
        setup.ca = ca;
    });
    let Some(mut fleet) = fleet.await else { return };
    let [first, second, third, stranger] = ["first", "second", "third", "stranger"].map(own);
    let leader = fleet.leader().await;
    let (one, two) = ((leader + 1) % COUNT, (leader + 2) % COUNT);
    let request = CreateClientRequest { client: Some(publishing(&publisher.uri())), ..Default::default() };
    fleet.at(leader).registry().create_client(request).await.unwrap();
    // The leader fetches for all, and the document has no certificate yet.
    let empty = fleet.until_stored_after(0).await;

    // The replica that is asked looks itself, once, and the others need not.
    let before = publisher.connections();
    publisher.publish(&[&first]);
    fleet.of_publisher(one, &first).await.unwrap();
    assert!(fleet.of_publisher(one, &stranger).await.is_err());
    let found = fleet.until_stored_after(empty).await;
    for index in [leader, two] {
        fleet.of_publisher(index, &first).await.unwrap();
    }
    fleet.assert_asked(&publisher, before + 1, leader).await;

    // What is no longer published is refused at all, also by those who did not look.
    publisher.publish(&[&second]);
    fleet.of_publisher(two, &second).await.unwrap();
    fleet.until_stored_after(found).await;
    for index in 0..COUNT {
        fleet.of_publisher(index, &second).await.unwrap();
        assert!(fleet.of_publisher(index, &first).await.is_err(), "{index}");
    }

    // What is found counts where it was found, also while etcd does not answer.
    fleet.stop_replica(one);
    fleet.start_replica(one);
    publisher.publish(&[&second, &third]);
    (0..COUNT).for_each(|member| fleet.cluster.freeze(member));
    fleet.of_publisher(one, &third).await.unwrap();
    assert!(fleet.of_publisher(one, &stranger).await.is_err());
    (0..COUNT).for_each(|member| fleet.cluster.thaw(member));
}
