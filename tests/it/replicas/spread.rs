//! How long it takes until a revocation counts at the other replicas. It is printed, and not asserted: times of this
//! machine mean little.

use lanyard::proto::CreateProtectedResourceRequest;
use lanyard::proto::DenyReason;
use lanyard::proto::revoke_token_request::Target;
use tokio::time::Duration;
use tokio::time::Instant;

use crate::replicas::fleet::COUNT;
use crate::replicas::fleet::Fleet;
use crate::support::check::orders;
use crate::support::envoy::EnvoySetup;
use crate::support::etcd::Options;
use crate::support::http::Http;
use crate::support::mesh::get;
use crate::support::server::connect;
use crate::support::upstream::Upstream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures 500 revocations"]
async fn long_a_revocation_counts_at_the_other_replicas_within_milliseconds() {
    let Some(fleet) = Fleet::start(Options::default()).await else { return };
    let holder = fleet.workload(0, "/checkout").await;
    let mut replicas: Vec<_> = (0..COUNT).map(|index| fleet.at(index)).collect();
    let mut times = Vec::new();
    for round in 0..500 {
        let token = fleet.token(round % COUNT, &holder).await;
        for replica in &mut replicas {
            replica.until_allowed(&token, &holder).await;
        }
        let here = round % COUNT;
        replicas[here].revoke(Target::Token(token.clone())).await.unwrap();
        let acknowledged = Instant::now();
        for other in (0..COUNT).filter(|other| *other != here) {
            replicas[other].until_denied(&token, &holder, DenyReason::TokenRevoked).await;
        }
        times.push(acknowledged.elapsed());
    }
    print("from the acknowledged revocation to the denial at both others", times);
}

/// The number of replicas behind Envoy, which asks them in turn.
const ASKED: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures 500 revocations"]
async fn long_a_revocation_counts_behind_envoy_with_two_replicas_within_milliseconds() {
    let Some(fleet) = Fleet::start(Options::default()).await else { return };
    let resource = CreateProtectedResourceRequest { resource: Some(orders()), ..Default::default() };
    fleet.at(0).registry().create_protected_resource(resource).await.unwrap();
    let upstream = Upstream::start().await;
    let (listener, other) = ("        # CHANGE: Lanyard's mTLS listener.\n", fleet.address(1));
    let other = format!("{{address: {}, port_value: {}}}", other.ip(), other.port());
    let other = format!("        - endpoint: {{address: {{socket_address: {other}}}}}\n{listener}");
    let envoy = EnvoySetup {
        local: None,
        svid: &fleet.setup.ca.svid("spiffe://prod.example/proxy").dns("localhost").issue(),
        bundle: &fleet.setup.ca.pem(),
        lanyard: fleet.address(0),
        upstream: upstream.address,
        changes: vec![(listener, other)],
    };
    let Some(envoy) = envoy.start().await else { return };
    let holder = fleet.workload(0, "/checkout").await;
    let mut client = Http::two(connect(envoy.address, fleet.setup.tls(&holder)).await.unwrap()).await;
    let mut replicas: Vec<_> = (0..ASKED).map(|index| fleet.at(index)).collect();
    let mut times = Vec::new();
    for round in 0..500 {
        let token = fleet.token(round % ASKED, &holder).await;
        for replica in &mut replicas {
            replica.until_allowed(&token, &holder).await;
        }
        for _ in 0..ASKED {
            assert_eq!(client.send(get("/orders/1", &token)).await.status, 200);
        }
        replicas[round % ASKED].revoke(Target::Token(token.clone())).await.unwrap();
        let acknowledged = Instant::now();
        // Each replica is asked twice before it counts as refused: a single refusal is that of the one that was told.
        let (mut refused, mut since) = (0, acknowledged);
        while refused < 2 * ASKED {
            match client.send(get("/orders/1", &token)).await.status {
                401 if refused == 0 => (refused, since) = (1, Instant::now()),
                401 => refused += 1,
                200 => refused = 0,
                other => panic!("{other}"),
            }
        }
        times.push(since - acknowledged);
    }
    print("from the acknowledged revocation until Envoy refuses each request", times);
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    println!("{what}: p50 {:?}, p99 {:?}", times[times.len() / 2], times[times.len() * 99 / 100]);
}
