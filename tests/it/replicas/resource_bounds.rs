//! A replica that is cut off from etcd decides on about a resource that bears it, and about no other.

use lanyard::proto::CreateProtectedResourceRequest;
use lanyard::proto::Decision;
use lanyard::proto::ProtectedResource;
use lanyard::proto::ValidateBindingRequest;
use tonic::Code;

use crate::replicas::fleet::Fleet;
use crate::support::calls::refusal;
use crate::support::calls::use_of;
use crate::support::check::orders;
use crate::support::door::within;
use crate::support::etcd::Options;
use crate::support::server::certificate_of;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_cut_off_decides_on_about_a_resource_that_bears_it_and_about_no_other() {
    let Some(fleet) = Fleet::start(Options::default()).await else { return };
    let hour = prost_types::Duration { seconds: 3600, nanos: 0 };
    let resource = ProtectedResource { max_staleness: Some(hour), ..orders() };
    let request = CreateProtectedResourceRequest { resource: Some(resource), ..Default::default() };
    fleet.at(0).registry().create_protected_resource(request).await.unwrap();
    let checkout = fleet.workload(0, "/checkout").await;
    let token = fleet.token(2, &checkout).await;
    let mut cut_off = fleet.at(2);
    cut_off.until_allowed(&token, &checkout).await;
    while fleet.readiness(2) != "ok 200" {
        tokio::task::yield_now().await;
    }
    fleet.cut(2);
    // An audience that is registered nowhere has the default.
    let other = ValidateBindingRequest {
        evidence: certificate_of(&checkout),
        audience: "https://other.prod.example".to_owned(),
        ..use_of(&token)
    };
    within(async {
        loop {
            match cut_off.ask(other.clone()).await {
                Ok(answer) => assert_eq!(answer.decision(), Decision::Deny),
                Err(status) => {
                    let stale = (Code::Unavailable, "SNAPSHOT_STALE".to_owned());
                    break assert_eq!(refusal::<()>(Err(status)), stale);
                }
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(cut_off.validate(&token, &checkout).await.unwrap().decision(), Decision::Allow);
    fleet.token(2, &checkout).await;
    // The probes are updated each second.
    while fleet.readiness(2) != "degraded: store_stale 200" {
        tokio::task::yield_now().await;
    }
    fleet.mend(2);
    while fleet.readiness(2) != "ok 200" {
        tokio::task::yield_now().await;
    }
}
