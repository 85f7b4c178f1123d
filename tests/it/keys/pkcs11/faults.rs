//! A token that goes away, hangs or signs wrongly keeps tokens from being issued, and nothing else. It comes back without a
//! restart.

use std::path::Path;

use lanyard::proto::Decision;
use tonic::Code;

use super::support::decision;
use super::support::is_allowed;
use super::support::issue;
use super::support::issue_until;
use super::support::jwks;
use super::support::setup;
use super::support::start;
use super::support::stop;
use crate::support::calls::refusal;
use crate::support::http::post;
use crate::support::leaf::Leaf;
use crate::support::mint::kid_of;
use crate::support::observed::Observed;
use crate::support::softhsm::PIN;
use crate::support::softhsm::SoftHsm;

const AVAILABLE: &str = "lanyard_signing_token_available";

/// Checks that no token is issued, and that all else goes on.
async fn only_issuing_is_unavailable(server: &Observed, token: &str, leaf: &Leaf) {
    let unavailable = (Code::Unavailable, "SIGNING_UNAVAILABLE".to_owned());
    assert_eq!(refusal(issue(server, leaf).await), unavailable);
    let form = [("grant_type", "client_credentials"), ("client_id", "spiffe://prod.example/checkout")];
    let reply = server.http(leaf).await.send(post("/oauth2/token", &form)).await;
    assert_eq!(reply.error(), (503, "temporarily_unavailable".to_owned()));
    is_allowed(decision(server, token, leaf).await);
    let mut proxy = server.http(&server.svid("/proxy")).await;
    let introspected = proxy.send(post("/oauth2/introspect", &[("token", token)])).await.ok();
    assert_eq!(introspected["active"], true);
    assert_eq!(jwks(server).await[0]["kid"], kid_of(token).as_str());
    assert_eq!(server.ops("/readyz").await.body, "ok");
}

/// Takes a token away by one action, and brings it back by the other.
async fn gone_and_back(hsm: &SoftHsm, module: &Path, gone: impl Fn(), back: impl Fn()) {
    let server = start(hsm, setup(SoftHsm::keys(module, "")));
    let (leaf, token) = server.workload("/checkout").await;
    assert_eq!(server.page().await.get(AVAILABLE), Some(1));
    for times in 1..=2 {
        gone();
        only_issuing_is_unavailable(&server, &token, &leaf).await;
        let page = server.page_with(AVAILABLE, 0).await;
        assert!(page.get("lanyard_signing_token_failures_total").unwrap() >= times);
        assert!(page.get("lanyard_grants_refused_total{error=\"temporarily_unavailable\"}").unwrap() >= times);
        only_issuing_is_unavailable(&server, &token, &leaf).await;
        back();
        let again = issue_until(&server, &leaf, |_| true).await;
        assert_eq!(kid_of(&again), kid_of(&token));
        is_allowed(decision(&server, &again, &leaf).await);
        server.page_with(AVAILABLE, 1).await;
    }
    let (_, log) = stop(server);
    assert_eq!(log.matches("the PKCS#11 token is gone").count(), 2, "{log}");
    assert_eq!(log.matches("the PKCS#11 token is back").count(), 2, "{log}");
    assert!(!log.contains(PIN), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_whose_files_are_gone_is_found_again() {
    let Some(hsm) = SoftHsm::new() else { return };
    gone_and_back(&hsm, &hsm.module(), || hsm.take_away(), || hsm.bring_back()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_pulled_out_is_found_again() {
    let Some(hsm) = SoftHsm::new() else { return };
    gone_and_back(&hsm, &hsm.shim(), || hsm.fault("removed"), || hsm.no_fault("removed")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_request_the_token_is_missed_and_found_again() {
    let Some(hsm) = SoftHsm::new() else { return };
    let server = start(&hsm, setup(SoftHsm::keys(&hsm.shim(), "")));
    hsm.fault("removed");
    server.page_with(AVAILABLE, 0).await;
    hsm.no_fault("removed");
    server.page_with(AVAILABLE, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_lost_again_at_once_shows_as_lost() {
    let Some(hsm) = SoftHsm::new() else { return };
    let server = start(&hsm, setup(SoftHsm::keys(&hsm.shim(), "")));
    let (leaf, token) = server.workload("/checkout").await;
    hsm.fault("lost_once");
    assert_eq!(kid_of(&issue(&server, &leaf).await.unwrap()), kid_of(&token));
    assert_eq!(server.page().await.get(AVAILABLE), Some(1));
    // Sessions are not opened again so soon.
    hsm.fault("removed");
    assert!(issue(&server, &leaf).await.is_err());
    assert_eq!(server.page().await.get(AVAILABLE), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_that_does_not_verify_is_not_used() {
    let Some(hsm) = SoftHsm::new() else { return };
    let server = start(&hsm, setup(SoftHsm::keys(&hsm.shim(), "")));
    let (leaf, token) = server.workload("/checkout").await;
    hsm.fault("corrupt");
    only_issuing_is_unavailable(&server, &token, &leaf).await;
    hsm.no_fault("corrupt");
    issue(&server, &leaf).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_hangs_keeps_neither_checks_nor_the_end_of_the_server_waiting() {
    let Some(hsm) = SoftHsm::new() else { return };
    let server = start(&hsm, setup(SoftHsm::keys(&hsm.shim(), "sessions: 1")));
    let (leaf, token) = server.workload("/checkout").await;
    hsm.fault("hang");
    let hanging = issue(&server, &leaf);
    let checks = async {
        for _ in 0..100 {
            is_allowed(decision(&server, &token, &leaf).await);
        }
    };
    let (hanging, ()) = tokio::join!(hanging, checks);
    assert_eq!(refusal(hanging), (Code::Unavailable, "SIGNING_UNAVAILABLE".to_owned()));
    hsm.no_fault("hang");
    let again = issue_until(&server, &leaf, |_| true).await;
    assert_eq!(decision(&server, &again, &leaf).await, Decision::Allow);
    hsm.fault("hang");
    assert!(issue(&server, &leaf).await.is_err());
    stop(server);
}
