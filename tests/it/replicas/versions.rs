//! The version before records of resources got their second schema, beside the present one: upgraded and downgraded one
//! replica after the other, until a feature is enabled.

use std::path::Path;

use lanyard::proto::CreateProtectedResourceRequest;
use lanyard::proto::EnableFeatureRequest;
use lanyard::proto::ListFeaturesRequest;
use lanyard::proto::ProtectedResource;
use tonic::Code;

use crate::replicas::fleet::COUNT;
use crate::replicas::fleet::Replica;
use crate::replicas::rolling::Rolling;
use crate::support::calls::refusal;
use crate::support::check::route;
use crate::support::child::BINARY;
use crate::support::door::within;
use crate::support::previous;

const FEATURE: &str = "resource-max-staleness";

fn bounded(audience: &str) -> CreateProtectedResourceRequest {
    let resource = ProtectedResource {
        audience: audience.to_owned(),
        routes: vec![route(&[], "/**", "")],
        max_staleness: Some(prost_types::Duration { seconds: 30, nanos: 0 }),
        ..ProtectedResource::default()
    };
    CreateProtectedResourceRequest { resource: Some(resource), ..Default::default() }
}

async fn register(replica: &Replica, audience: &str) -> Result<(), (Code, String)> {
    let registered = replica.registry().create_protected_resource(bounded(audience)).await;
    registered.map(drop).map_err(|status| refusal::<()>(Err(status)))
}

async fn enable(replica: &Replica) -> Result<bool, (Code, String)> {
    let enabled = replica.features().enable_feature(EnableFeatureRequest { name: FEATURE.to_owned() }).await;
    enabled.map(|enabled| enabled.into_inner().already_enabled).map_err(|status| refusal::<()>(Err(status)))
}

fn precondition(code: &str) -> (Code, String) {
    (Code::FailedPrecondition, code.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "builds the version before, and replaces nine replicas"]
async fn long_no_request_fails_while_versions_go_forward_and_back() {
    let Some(old) = previous::binary() else { return };
    let (old, new) = (old.as_path(), Path::new(BINARY));
    let Some(mut rolling) = Rolling::start(old).await else { return };

    for (step, binary) in [("upgraded", new), ("downgraded", old), ("upgraded again", new)] {
        for index in 0..COUNT {
            rolling.replace(index, binary).await;
            if step == "upgraded again" && index + 1 < COUNT {
                // The last of the older version still runs: nothing that it cannot read is written, whoever asks.
                let newer = rolling.fleet.at(index);
                assert_eq!(enable(&newer).await, Err(precondition("REPLICA_TOO_OLD")));
                assert_eq!(register(&newer, "urn:refused").await, Err(precondition("FEATURE_NOT_ENABLED")));
            }
        }
        println!("all replicas are {step}");
    }
    // The heartbeats of the last one that ended are withdrawn, or expire.
    let replica = rolling.fleet.at(0);
    assert_eq!(register(&replica, "urn:refused").await, Err(precondition("FEATURE_NOT_ENABLED")));
    let listed = replica.features().list_features(ListFeaturesRequest {}).await.unwrap().into_inner().features;
    assert!(listed.iter().any(|feature| feature.name == FEATURE && !feature.enabled), "{listed:?}");
    within(async {
        while let Err(refused) = enable(&replica).await {
            assert_eq!(refused, precondition("REPLICA_TOO_OLD"));
            tokio::task::yield_now().await;
        }
    })
    .await;
    for index in 0..COUNT {
        let replica = rolling.fleet.at(index);
        let audience = format!("urn:bounded:{index}");
        // The others hear of it by their watch.
        within(async {
            while let Err(refused) = register(&replica, &audience).await {
                assert_eq!(refused, precondition("FEATURE_NOT_ENABLED"));
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    rolling.more().await;
    let (mut fleet, passed) = rolling.finish().await;
    println!("{passed} requests through Envoy while {COUNT} replicas were replaced three times, none failed");

    // From now on the older version does not start: it names the record, and changes nothing.
    fleet.stop_replica(0);
    old.clone_into(&mut fleet.binary);
    let ended = tokio::task::block_in_place(|| fleet.try_replica(0));
    assert_ne!(ended.code, Some(0), "{ended:?}");
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains("/resources/urn:bounded:") && said.contains("schema 2"), "{said}");
}
