//! How long it takes until a revocation counts at the other replicas. It is printed, and not asserted: times of this
//! machine mean little.

use lanyard::proto::DenyReason;
use lanyard::proto::revoke_token_request::Target;
use tokio::time::Duration;
use tokio::time::Instant;

use crate::replicas::fleet::COUNT;
use crate::replicas::fleet::Fleet;
use crate::support::etcd::Options;

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
    times.sort_unstable();
    let (p50, p99): (Duration, Duration) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!("from the acknowledged revocation to the denial at both others: p50 {p50:?}, p99 {p99:?}");
}
