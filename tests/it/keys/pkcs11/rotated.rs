//! Rotation makes keys in the token, also from keys in the store and back; a revoked key is deleted in the token.

use lanyard::proto::Decision;
use tonic::Code;

use super::support::decision;
use super::support::is_allowed;
use super::support::issue_by_another;
use super::support::issue_until;
use super::support::listed;
use super::support::not_started;
use super::support::restart_with;
use super::support::revoke;
use super::support::rotate;
use super::support::setup;
use super::support::start;
use super::support::stop;
use crate::support::calls::refusal;
use crate::support::mint::kid_of;
use crate::support::observed::Observed;
use crate::support::server::SEAL;
use crate::support::server::Setup;
use crate::support::softhsm::SoftHsm;

/// Where the key with this `kid` is.
async fn location(server: &Observed, kid: &str) -> String {
    listed(server).await.into_iter().find(|key| key.kid == kid).unwrap().location
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_makes_the_next_key_in_the_token() {
    let Some(hsm) = SoftHsm::new() else { return };
    let server = start(&hsm, setup(SoftHsm::keys(&hsm.module(), "sessions: 1")));
    let (leaf, first) = server.workload("/checkout").await;
    let next = rotate(&server).await.unwrap();
    assert_eq!(hsm.objects().len(), 4);
    let second = issue_by_another(&server, &leaf, &kid_of(&first)).await;
    assert_eq!(kid_of(&second), next);
    for token in [&first, &second] {
        is_allowed(decision(&server, token, &leaf).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_move_from_the_store_to_the_token_and_back_by_rotation() {
    let Some(hsm) = SoftHsm::new() else { return };
    let in_store = format!("{{key_encryption_key: {SEAL}, verifier_cache_time: 1s}}");
    let server = start(&hsm, setup(in_store.clone()));
    let (leaf, first) = server.workload("/checkout").await;
    assert_eq!(location(&server, &kid_of(&first)).await, "store");

    let server = restart_with(&hsm, server, SoftHsm::keys(&hsm.module(), ""));
    let second = issue_by_another(&server, &leaf, &kid_of(&first)).await;
    assert_eq!(location(&server, &kid_of(&second)).await, "hsm");
    is_allowed(decision(&server, &first, &leaf).await);

    // A key in the token signs, so that the token cannot be left out yet.
    let (files, _) = stop(server);
    let without = Setup { keys: in_store.clone(), ..files };
    let error = not_started(&hsm, &without);
    assert!(error.contains(&kid_of(&second)) && error.contains("keys.pkcs11 is not configured"), "{error}");

    let server = start(&hsm, Setup { keys: SoftHsm::keys(&hsm.module(), "new_keys: false"), ..without });
    let third = issue_by_another(&server, &leaf, &kid_of(&second)).await;
    assert_eq!(location(&server, &kid_of(&third)).await, "store");

    // Now it can: what its key signed is verified with the record.
    let server = restart_with(&hsm, server, in_store);
    for token in [&first, &second, &third] {
        is_allowed(decision(&server, token, &leaf).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_deleted_in_the_token_and_one_of_a_token_that_is_gone_can_be_revoked() {
    let Some(hsm) = SoftHsm::new() else { return };
    let server = start(&hsm, setup(SoftHsm::keys(&hsm.module(), "")));
    let (leaf, first) = server.workload("/checkout").await;
    let replaced_by = revoke(&server, &kid_of(&first)).await.replaced_by.unwrap().kid;
    assert_eq!(decision(&server, &first, &leaf).await, Decision::Deny);
    let second = issue_until(&server, &leaf, |_| true).await;
    assert_eq!(kid_of(&second), replaced_by);
    // Those of the new key.
    assert_eq!(hsm.objects().len(), 2);

    hsm.take_away();
    assert_eq!(refusal(rotate(&server).await), (Code::Unavailable, "KEY_NOT_MADE".to_owned()));
    is_allowed(decision(&server, &second, &leaf).await);
    let revoked = revoke(&server, &kid_of(&second)).await;
    assert_eq!(revoked.replaced_by, None);
    assert_eq!(decision(&server, &second, &leaf).await, Decision::Deny);
    hsm.bring_back();
    let third = issue_until(&server, &leaf, |_| true).await;
    assert!(![kid_of(&first), kid_of(&second)].contains(&kid_of(&third)));
    is_allowed(decision(&server, &third, &leaf).await);
}
