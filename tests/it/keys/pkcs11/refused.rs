//! What keeps a server with a token from starting. No key is made elsewhere then, and a wrong PIN is tried once.

use std::fs;
use std::time::Duration;

use lanyard::proto::Decision;
use tonic::Code;

use super::support::command;
use super::support::decision;
use super::support::is_allowed;
use super::support::issue;
use super::support::issue_until;
use super::support::jwks;
use super::support::not_started;
use super::support::restart_with;
use super::support::revoke;
use super::support::setup;
use super::support::start;
use super::support::stop;
use crate::support::calls::refusal;
use crate::support::door::within;
use crate::support::http::post;
use crate::support::mint::kid_of;
use crate::support::server::SEAL;
use crate::support::server::Setup;
use crate::support::softhsm::PIN;
use crate::support::softhsm::SoftHsm;

const WRONG_PIN: &str = "wrong-80719";

fn changed(setup: Setup, from: &str, to: &str) -> Setup {
    assert!(setup.keys.contains(from), "{}", setup.keys);
    Setup { keys: setup.keys.replace(from, to), ..setup }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_pin_is_tried_once_and_no_start_after_that_tries_one_until_somebody_logs_in_elsewhere() {
    let Some(hsm) = SoftHsm::new() else { return };
    let mut setup = setup(SoftHsm::keys(&hsm.shim(), ""));
    setup = changed(setup, PIN, WRONG_PIN);
    let error = not_started(&hsm, &setup);
    assert!(error.contains("keys.pkcs11: the token refuses the PIN (C_Login: PinIncorrect)"), "{error}");
    assert!(!error.contains(WRONG_PIN), "{error}");
    assert_eq!(hsm.logins(), 1);
    let key = setup.path("other-key.pem");
    fs::write(&key, setup.ca.svid("spiffe://prod.example/other").issue().key_pem()).unwrap();
    let said = [
        ("none", "a wrong PIN was tried since the last login"),
        ("final_try", "would be locked by one more wrong PIN"),
    ];
    for (fault, expected) in said {
        hsm.fault(fault);
        for keys in [setup.keys.clone(), setup.keys.replace(WRONG_PIN, PIN)] {
            let setup = Setup { keys, ..self::setup(String::new()) };
            let error = not_started(&hsm, &setup);
            assert!(error.contains(expected), "{error}");
            let doctor = command(&hsm, &setup, &["doctor"]);
            assert!(doctor.stdout.contains("PKCS11_TOKEN_UNUSABLE") && doctor.stdout.contains(expected), "{doctor:?}");
            assert!(!doctor.stdout.contains(WRONG_PIN));
        }
    }
    assert_eq!(hsm.logins(), 1);
    hsm.no_fault("final_try");
    // Nothing was made meanwhile, and with the right PIN the server starts after a login elsewhere.
    assert_eq!(hsm.objects().len(), 0);
    hsm.import(&key, "0a");
    hsm.delete_objects();
    setup = changed(setup, WRONG_PIN, PIN);
    let server = start(&hsm, setup);
    server.workload("/checkout").await;
    assert_eq!(hsm.objects().len(), 2);
}

#[test]
fn each_thing_that_is_missing_is_named() {
    let Some(hsm) = SoftHsm::new() else { return };
    let module = hsm.module().display().to_string();
    let setup = || setup(SoftHsm::keys(&hsm.module(), ""));
    let files = setup();
    fs::write(files.path("text.so"), "no library").unwrap();
    let text = files.path("text.so").display().to_string();
    let cases = [
        (&*module, "/no/such/module.so", "keys.pkcs11.module: /no/such/module.so cannot be loaded"),
        (&module, &text, "text.so cannot be loaded"),
        ("token_label: lanyard", "token_label: other", "no token with the label \"other\"; it has \"lanyard\""),
        ("token_label: lanyard", "token_serial: '0'", "no token with the serial number \"0\""),
    ];
    for (from, to, expected) in cases {
        let setup = changed(setup(), from, to);
        let error = not_started(&hsm, &setup);
        assert!(error.contains(expected), "{error}");
        // The same without a start.
        let checked = command(&hsm, &setup, &["config", "check"]);
        assert!(checked.code == Some(1) && checked.stderr.contains(expected), "{checked:?}");
    }
    hsm.configure("slots.mechanisms = CKM_EC_KEY_PAIR_GEN,CKM_RSA_PKCS_KEY_PAIR_GEN");
    for (algorithm, mechanism) in [("ES256", "CKM_ECDSA"), ("RS256", "CKM_SHA256_RSA_PKCS")] {
        let setup = changed(setup(), "{key_enc", &format!("{{algorithm: {algorithm}, key_enc"));
        let error = not_started(&hsm, &setup);
        assert!(error.contains(&format!("the token has no {mechanism}, which {algorithm} needs")), "{error}");
    }
    hsm.configure("");
    hsm.add_token("lanyard");
    let error = not_started(&hsm, &setup());
    assert!(error.contains("2 tokens with the label \"lanyard\": name one by its token_serial"), "{error}");
    assert_eq!(hsm.objects().len(), 0);
}

#[test]
fn config_check_says_that_it_did_not_try_the_pin() {
    let Some(hsm) = SoftHsm::new() else { return };
    let setup = changed(setup(SoftHsm::keys(&hsm.shim(), "")), PIN, WRONG_PIN);
    let checked = command(&hsm, &setup, &["config", "check"]).ok();
    assert!(checked.contains("warning: keys.pkcs11: the PIN of the token was not tried"), "{checked}");
    assert_eq!(hsm.logins(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_token_a_server_starts_only_where_that_is_configured_and_issues_nothing_then() {
    let Some(hsm) = SoftHsm::new() else { return };
    let server = start(&hsm, setup(SoftHsm::keys(&hsm.module(), "")));
    let (leaf, token) = server.workload("/checkout").await;
    let (files, _) = stop(server);
    hsm.take_away();
    fs::create_dir(hsm.folder().join("tokens")).unwrap();
    let error = not_started(&hsm, &files);
    assert!(error.contains("the module has no token with the label \"lanyard\"; it has none"), "{error}");
    let checked = command(&hsm, &files, &["doctor"]);
    assert!(checked.stdout.contains("PKCS11_TOKEN_UNUSABLE"), "{checked:?}");

    let server = start(&hsm, Setup { keys: SoftHsm::keys(&hsm.module(), "start_without_token: true"), ..files });
    is_allowed(decision(&server, &token, &leaf).await);
    assert!(issue(&server, &leaf).await.is_err());
    // A token that is lost for good: its key is revoked, and the next one is made in the store.
    revoke(&server, &kid_of(&token)).await;
    let in_store = format!("{{key_encryption_key: {SEAL}}}");
    let server = restart_with(&hsm, server, in_store);
    let again = issue_until(&server, &leaf, |_| true).await;
    assert_ne!(kid_of(&again), kid_of(&token));
    is_allowed(decision(&server, &again, &leaf).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_signs_a_server_starts_without_its_token_and_issues_when_it_is_back() {
    let Some(hsm) = SoftHsm::new() else { return };
    let server = start(&hsm, setup(SoftHsm::keys(&hsm.shim(), "start_without_token: true")));
    let (leaf, token) = server.workload("/checkout").await;
    hsm.fault("removed");
    assert_eq!(revoke(&server, &kid_of(&token)).await.replaced_by, None);
    let (files, _) = stop(server);

    let keys = SoftHsm::keys(&hsm.shim(), "start_without_token: true");
    let strict = Setup { keys: keys.replace("start_without_token: true", ""), ..files };
    let error = not_started(&hsm, &strict);
    assert!(error.contains("the module has no token") && !error.contains("key-encryption"), "{error}");

    let server = start(&hsm, Setup { keys, ..strict });
    assert_eq!(decision(&server, &token, &leaf).await, Decision::Deny);
    let mut proxy = server.http(&server.svid("/proxy")).await;
    let introspected = proxy.send(post("/oauth2/introspect", &[("token", &token)])).await.ok();
    assert_eq!(introspected["active"], false);
    assert_eq!(jwks(&server).await.len(), 0);
    assert_eq!(server.ops("/readyz").await.body, "ok");
    assert_eq!(refusal(issue(&server, &leaf).await), (Code::Unavailable, "SIGNING_UNAVAILABLE".to_owned()));
    hsm.no_fault("removed");
    let again = issue_until(&server, &leaf, |_| true).await;
    assert_ne!(kid_of(&again), kid_of(&token));
    is_allowed(decision(&server, &again, &leaf).await);
    let (_, log) = stop(server);
    assert!(log.contains("the PKCS#11 token is back"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_fails_in_an_unknown_way_is_not_tried_again() {
    let Some(hsm) = SoftHsm::new() else { return };
    let server = start(&hsm, setup(SoftHsm::keys(&hsm.shim(), "")));
    let (leaf, _) = server.workload("/checkout").await;
    assert_eq!(hsm.logins(), 1);
    hsm.fault("failing_login");
    hsm.fault("removed");
    server.page_with("lanyard_signing_token_available", 0).await;
    hsm.no_fault("removed");
    // It is looked for every 5 seconds and at each request.
    within(async {
        while hsm.logins() == 1 {
            assert!(issue(&server, &leaf).await.is_err());
        }
    })
    .await;
    hsm.no_fault("failing_login");
    let failures = server.page().await.get("lanyard_signing_token_failures_total").unwrap();
    // Longer than the longest pause between two attempts.
    for _ in 0..8 {
        assert!(issue(&server, &leaf).await.is_err());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(hsm.logins(), 2);
    assert_eq!(server.page().await.get("lanyard_signing_token_failures_total"), Some(failures));
    let (files, log) = stop(server);
    assert!(log.contains("the login failed (C_Login: FunctionFailed), which may count as a wrong PIN"), "{log}");
    // At a start neither, even one that need not have the token.
    hsm.fault("failing_login");
    let keys = SoftHsm::keys(&hsm.shim(), "start_without_token: true");
    let error = not_started(&hsm, &Setup { keys, ..files });
    assert!(error.contains("the login failed (C_Login: FunctionFailed)"), "{error}");
}
