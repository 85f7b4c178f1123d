//! Edges as processes, behind three replicas over etcd: what is revoked is denied at each of them, and an edge that hears
//! nothing for longer than its bound decides nothing.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lanyard::proto::Decision;
use lanyard::proto::DenyReason;
use lanyard::proto::revoke_token_request::Target;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Code;
use tonic::Status;

use crate::replicas::fleet::BOUND;
use crate::replicas::fleet::COUNT;
use crate::replicas::fleet::Fleet;
use crate::replicas::fleet::Replica;
use crate::replicas::gate::Gate;
use crate::support::calls::opened;
use crate::support::child::Serve;
use crate::support::door::within;
use crate::support::edge::EDGE;
use crate::support::etcd::Options;
use crate::support::leaf::Leaf;
use crate::support::server::Setup;
use crate::support::server::channel;
use crate::support::server::reason_of;

/// The variable with the endpoints of the centre.
const ENDPOINTS: &str = "LANYARD_STORE__UPSTREAM__ENDPOINTS";

/// How often each edge is asked again after a denial.
const ASKED_AGAIN: usize = 50;

/// Running edges, each with its own way to each replica.
struct Edges {
    /// Whose files they read again.
    _setup: Setup,
    running: Vec<(Serve, [Gate; COUNT])>,
}

impl Edges {
    async fn start(fleet: &Fleet, count: usize) -> Self {
        let bound = BOUND.as_secs();
        let store = format!(
            "{{upstream: {{endpoints: ['https://localhost:1'], ca: ca.pem, certificate: edge.pem, key: edge-key.pem}}, \
             max_staleness: {bound}s}}"
        );
        let centre = &fleet.setup;
        let setup = Setup {
            clock: Arc::clone(&centre.clock),
            ca: centre.ca.clone(),
            other_ca: centre.other_ca.clone(),
            mtls_url: Some("https://lanyard.prod.example:8443".to_owned()),
            store,
            keys: "{}".to_owned(),
            ..Setup::default()
        };
        setup.write();
        let own = centre.ca.svid(EDGE).issue();
        fs::write(setup.path("edge.pem"), own.chain_pem()).unwrap();
        fs::write(setup.path("edge-key.pem"), own.key_pem()).unwrap();
        let mut running = Vec::new();
        for _ in 0..count {
            let gates =
                [Gate::to(fleet.address(0)).await, Gate::to(fleet.address(1)).await, Gate::to(fleet.address(2)).await];
            let endpoints = gates.each_ref().map(|gate| format!("'https://localhost:{}'", gate.address.port()));
            let endpoints = format!("[{}]", endpoints.join(", "));
            running.push((Serve::start_in(&[(ENDPOINTS, &endpoints)], &setup, 1024), gates));
        }
        Self { _setup: setup, running }
    }

    fn all(&self, fleet: &Fleet) -> Vec<Replica> {
        (0..self.running.len()).map(|index| self.at(fleet, index)).collect()
    }

    fn at(&self, fleet: &Fleet, index: usize) -> Replica {
        let at = |leaf: &Leaf| channel(self.running[index].0.mtls, fleet.setup.tls(leaf));
        Replica::new(at(&fleet.svid("/proxy")), at(&fleet.svid("/admin")))
    }

    /// Leads all of them to where a replica is now.
    fn lead_to(&self, replica: usize, address: SocketAddr) {
        self.running.iter().for_each(|(_, gates)| gates[replica].lead_to(address));
    }

    fn cut(&self, index: usize) {
        self.running[index].1.iter().for_each(Gate::cut);
    }

    fn mend(&self, index: usize) {
        self.running[index].1.iter().for_each(Gate::mend);
    }
}

fn token_of(token: &str) -> Target {
    Target::Jti(opened(token).1["jti"].as_str().unwrap().to_owned())
}

/// Asks one edge until it denies, and then again and again. Returns how long after the start that was.
async fn denied(mut edge: Replica, token: String, leaf: Arc<Leaf>, start: Instant) -> Duration {
    let mut since = None;
    let mut again = 0;
    while again < ASKED_AGAIN {
        let answer = edge.validate(&token, &leaf).await.unwrap();
        match (answer.decision(), since) {
            (Decision::Deny, _) => {
                assert_eq!(answer.reason(), DenyReason::TokenRevoked);
                since.get_or_insert_with(|| start.elapsed());
                again += 1;
            }
            (_, None) => tokio::task::yield_now().await,
            (_, Some(_)) => panic!("it is allowed again"),
        }
    }
    since.unwrap()
}

/// Revokes a token in each round, at another replica each time, while all edges are asked. Returns how long after the
/// revocation was acknowledged each edge denied, the shortest first.
async fn revoke_in_rounds(fleet: &Fleet, edges: &Edges, path: &str, rounds: usize) -> Vec<Duration> {
    let leaf = Arc::new(fleet.workload(0, path).await);
    let mut times = Vec::new();
    for round in 0..rounds {
        let token = fleet.token(round % COUNT, &leaf).await;
        let mut asked = JoinSet::new();
        let start = Instant::now();
        for mut edge in edges.all(fleet) {
            edge.until_allowed(&token, &leaf).await;
            asked.spawn(denied(edge, token.clone(), Arc::clone(&leaf), start));
        }
        fleet.at((round + 1) % COUNT).revoke(token_of(&token)).await.unwrap();
        let acknowledged = start.elapsed();
        while let Some(denied) = within(asked.join_next()).await {
            times.push(denied.unwrap().saturating_sub(acknowledged));
        }
    }
    times.sort();
    times
}

fn refused(answer: Result<impl std::fmt::Debug, Status>) -> (Code, String) {
    let status = answer.unwrap_err();
    (status.code(), reason_of(&status))
}

/// Cuts edges off, and holds them to the bound: what is revoked meanwhile may be allowed for as long, and no longer; then nothing
/// is decided, until the way is open again.
async fn cut_off(fleet: &Fleet, edges: &Edges, cut: &[usize]) {
    let leaf = fleet.workload(0, &format!("/cut/{}", cut.len())).await;
    let (revoked, kept) = (fleet.token(0, &leaf).await, fleet.token(0, &leaf).await);
    for mut edge in edges.all(fleet) {
        edge.until_allowed(&revoked, &leaf).await;
        edge.until_allowed(&kept, &leaf).await;
    }
    for index in cut {
        edges.cut(*index);
    }
    fleet.at(1).revoke(token_of(&revoked)).await.unwrap();
    // Those that hear of it deny it meanwhile.
    for index in (0..edges.running.len()).filter(|index| !cut.contains(index)) {
        edges.at(fleet, index).until_denied(&revoked, &leaf, DenyReason::TokenRevoked).await;
    }
    // The last beat that came back was sent before the cut.
    tokio::time::sleep(BOUND + Duration::from_millis(1500)).await;
    for index in cut {
        let mut edge = edges.at(fleet, *index);
        for token in [&revoked, &kept] {
            let answer = refused(edge.validate(token, &leaf).await);
            assert_eq!(answer, (Code::Unavailable, "SNAPSHOT_STALE".to_owned()), "edge {index}");
        }
    }
    for index in cut {
        edges.mend(*index);
    }
    for index in cut {
        let mut edge = edges.at(fleet, *index);
        within(async {
            while !matches!(edge.validate(&kept, &leaf).await, Ok(answer) if answer.decision() == Decision::Allow) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        // The first decision that it makes again knows the revocation.
        assert_eq!(edge.validate(&revoked, &leaf).await.unwrap().reason(), DenyReason::TokenRevoked);
    }
}

/// Replaces the replicas one after another, as an upgrade does, while each edge is asked.
async fn replace_replicas(fleet: &mut Fleet, edges: &Edges) {
    let leaf = Arc::new(fleet.workload(0, "/replaced").await);
    let (kept, revoked) = (fleet.token(0, &leaf).await, fleet.token(0, &leaf).await);
    fleet.at(0).revoke(token_of(&revoked)).await.unwrap();
    let mut asked = JoinSet::new();
    let (over, is_over) = tokio::sync::watch::channel(false);
    for mut edge in edges.all(fleet) {
        edge.until_allowed(&kept, &leaf).await;
        edge.until_denied(&revoked, &leaf, DenyReason::TokenRevoked).await;
        let (kept, revoked, leaf, is_over) = (kept.clone(), revoked.clone(), Arc::clone(&leaf), is_over.clone());
        asked.spawn(async move {
            let mut count = 0_usize;
            while !*is_over.borrow() {
                assert_eq!(edge.validate(&kept, &leaf).await.unwrap().decision(), Decision::Allow);
                assert_eq!(edge.validate(&revoked, &leaf).await.unwrap().reason(), DenyReason::TokenRevoked);
                count += 1;
            }
            count
        });
    }
    for index in 0..COUNT {
        fleet.stop_replica(index);
        // Its edges go on at the others.
        let token = fleet.token((index + 1) % COUNT, &leaf).await;
        for mut edge in edges.all(fleet) {
            edge.until_allowed(&token, &leaf).await;
        }
        fleet.start_replica(index);
        edges.lead_to(index, fleet.address(index));
    }
    over.send_replace(true);
    while let Some(count) = within(asked.join_next()).await {
        assert!(count.unwrap() > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_at_any_replica_is_denied_at_each_edge_and_stays_so() {
    let Some(fleet) = Fleet::start(Options::default()).await else { return };
    let edges = Edges::start(&fleet, 3).await;
    assert_eq!(revoke_in_rounds(&fleet, &edges, "/checkout", 3).await.len(), 9);
    cut_off(&fleet, &edges, &[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: .ci/run-long"]
async fn long_of_20_edges_none_decides_wrongly_while_replicas_and_ways_come_and_go() {
    let Some(mut fleet) = Fleet::start(Options::default()).await else { return };
    let edges = Edges::start(&fleet, 20).await;
    let times = revoke_in_rounds(&fleet, &edges, "/checkout", 30).await;
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    println!("revocation to denial at 20 edges, {} of them: p50 {:?}, p99 {:?}", times.len(), at(50), at(99));
    cut_off(&fleet, &edges, &[3]).await;
    replace_replicas(&mut fleet, &edges).await;
    cut_off(&fleet, &edges, &(0..20).collect::<Vec<_>>()).await;
    revoke_in_rounds(&fleet, &edges, "/again", 3).await;
}
