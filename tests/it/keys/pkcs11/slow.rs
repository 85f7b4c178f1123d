//! A token that takes long to make a key, or never does: keys are revoked without it, signatures go on, and no pair remains
//! that has no record.

use std::time::Duration;

use lanyard::proto::Decision;
use lanyard::proto::GetJwksRequest;
use lanyard::proto::RotateSigningKeyRequest;
use lanyard::proto::SigningKeyState;
use lanyard::proto::key_service_client::KeyServiceClient;
use tokio::time::timeout;
use tonic::Code;

use super::support::decision;
use super::support::issue;
use super::support::issue_until;
use super::support::listed;
use super::support::revoke;
use super::support::rotate;
use super::support::setup;
use super::support::start;
use super::support::stop;
use crate::support::calls::refusal;
use crate::support::door::within;
use crate::support::mint::kid_of;
use crate::support::observed::Observed;
use crate::support::softhsm::SoftHsm;

const AVAILABLE: &str = "lanyard_signing_token_available";

/// Waits until a pair is being made that was not before.
async fn making(server: &Observed, hsm: &SoftHsm, before: u64) {
    within(async {
        while hsm.pairs() == before {
            server.page().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_token_that_makes_no_other_one_is_revoked_at_once() {
    let Some(hsm) = SoftHsm::new() else { return };
    let server = start(&hsm, setup(SoftHsm::keys(&hsm.shim(), "")));
    let (leaf, token) = server.workload("/checkout").await;
    hsm.fault("slow_pairs");
    // The command line waits this long.
    let revoked = timeout(Duration::from_secs(30), revoke(&server, &kid_of(&token))).await.unwrap();
    assert_eq!(revoked.replaced_by, None);
    assert_eq!(decision(&server, &token, &leaf).await, Decision::Deny);
    assert_eq!(refusal(issue(&server, &leaf).await), (Code::Unavailable, "SIGNING_UNAVAILABLE".to_owned()));
    hsm.no_fault("slow_pairs");
    let again = issue_until(&server, &leaf, |_| true).await;
    assert_ne!(kid_of(&again), kid_of(&token));
    assert_eq!(decision(&server, &again, &leaf).await, Decision::Allow);
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_are_made_while_a_pair_is_where_there_is_another_session() {
    let Some(hsm) = SoftHsm::new() else { return };
    for sessions in [1, 2] {
        let server = start(&hsm, setup(SoftHsm::keys(&hsm.shim(), &format!("sessions: {sessions}"))));
        let (leaf, _) = server.workload("/checkout").await;
        hsm.fault("slow_pairs");
        let before = hsm.pairs();
        let (rotated, ()) = tokio::join!(rotate(&server), async {
            making(&server, &hsm, before).await;
            let issued = issue(&server, &leaf).await;
            if sessions == 1 {
                // The token is there, and others are before this one.
                assert_eq!(refusal(issued), (Code::ResourceExhausted, "TEMPORARILY_UNAVAILABLE".to_owned()));
                assert_eq!(server.page().await.get(AVAILABLE), Some(1));
            } else {
                issued.unwrap();
            }
            hsm.no_fault("slow_pairs");
        });
        rotated.unwrap();
        let (_, log) = stop(server);
        assert!(!log.contains("the PKCS#11 token is gone"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_whose_client_goes_away_leaves_no_pair_without_its_record() {
    let Some(hsm) = SoftHsm::new() else { return };
    let server = start(&hsm, setup(SoftHsm::keys(&hsm.shim(), "").replace("cache_time: 1s", "cache_time: 10m")));
    hsm.fault("slow_pairs");
    let before = hsm.pairs();
    let mut keys = KeyServiceClient::new(server.channel(&server.svid("/admin")));
    {
        let mut rotating = Box::pin(keys.rotate_signing_key(RotateSigningKeyRequest {}));
        tokio::select! {
            rotated = &mut rotating => panic!("no pair is made: {rotated:?}"),
            () = making(&server, &hsm, before) => {}
        }
    }
    // The request was ended: an answer on the same connection comes after that.
    keys.get_jwks(GetJwksRequest {}).await.unwrap();
    hsm.no_fault("slow_pairs");
    let next = within(async {
        loop {
            let listed = listed(&server).await;
            if let Some(next) = listed.into_iter().find(|key| key.state() == SigningKeyState::Next) {
                return next;
            }
            server.page().await;
        }
    })
    .await;
    assert_eq!(rotate(&server).await.unwrap(), next.kid);
    assert_eq!(hsm.objects().len(), 4);
}
