//! What one replica was told counts at all, and what happens to one that is cut off.

use lanyard::proto::Decision;
use lanyard::proto::DenyReason;
use lanyard::proto::revoke_token_request::Target;
use tonic::Code;

use crate::replicas::fleet::COUNT;
use crate::replicas::fleet::Fleet;
use crate::support::calls::refusal;
use crate::support::door::within;
use crate::support::etcd::Options;
use crate::support::revocation::certificate;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_replica_is_told_counts_at_all_and_one_that_is_cut_off_stops_deciding() {
    let Some(fleet) = Fleet::start(Options::default()).await else { return };
    let checkout = fleet.workload(0, "/checkout").await;
    let token = fleet.token(1, &checkout).await;
    let mut replicas: Vec<_> = (0..COUNT).map(|index| fleet.at(index)).collect();
    for replica in &mut replicas {
        replica.until_allowed(&token, &checkout).await;
    }
    // Nearly the same must not change: the token of another workload.
    let billing = fleet.workload(2, "/billing").await;
    let other = fleet.token(0, &billing).await;
    replicas[1].revoke(certificate(&checkout)).await.unwrap();
    for replica in &mut replicas {
        replica.until_denied(&token, &checkout, DenyReason::CertificateRevoked).await;
        replica.until_allowed(&other, &billing).await;
    }

    // Decisions do not wait for etcd: none of its members answers meanwhile.
    let holder = fleet.workload(0, "/fresh").await;
    let fresh = fleet.token(0, &holder).await;
    for member in 0..COUNT {
        fleet.cluster.freeze(member);
    }
    for _ in 0..200 {
        assert_eq!(replicas[0].validate(&fresh, &holder).await.unwrap().decision(), Decision::Allow);
    }
    for member in 0..COUNT {
        fleet.cluster.thaw(member);
    }
    within(async { while replicas[0].revoke(Target::RevokedClientId("nobody".to_owned())).await.is_err() {} }).await;

    while fleet.readiness(2) != "ok 200" {
        tokio::task::yield_now().await;
    }
    fleet.cut(2);
    // The others do not notice.
    replicas[0].revoke(certificate(&billing)).await.unwrap();
    replicas[1].until_denied(&other, &billing, DenyReason::CertificateRevoked).await;
    // The one that is cut off decides by what it knows, for no longer than the bound, then not at all.
    let outcome = within(async {
        loop {
            match replicas[2].validate(&other, &billing).await {
                Ok(answer) => assert_eq!(answer.decision(), Decision::Allow),
                Err(status) => break refusal::<()>(Err(status)),
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(outcome, (Code::Unavailable, "SNAPSHOT_STALE".to_owned()));
    // The probes are updated each second.
    while fleet.readiness(2) != "store_stale 503" {
        tokio::task::yield_now().await;
    }
    let refused = replicas[2].revoke(Target::RevokedClientId("any".to_owned())).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert_eq!(replicas[0].validate(&other, &billing).await.unwrap().reason(), DenyReason::CertificateRevoked);

    fleet.mend(2);
    within(async {
        loop {
            match replicas[2].validate(&other, &billing).await {
                Ok(answer) => break assert_eq!(answer.reason(), DenyReason::CertificateRevoked),
                Err(status) => assert_eq!(status.code(), Code::Unavailable),
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_role_in_etcd_is_enough() {
    let Some(fleet) = Fleet::start(Options { roles: true, ..Options::default() }).await else { return };
    let checkout = fleet.workload(0, "/checkout").await;
    let token = fleet.token(1, &checkout).await;
    let mut other = fleet.at(2);
    other.until_allowed(&token, &checkout).await;
    fleet.at(0).revoke(certificate(&checkout)).await.unwrap();
    other.until_denied(&token, &checkout, DenyReason::CertificateRevoked).await;
}
