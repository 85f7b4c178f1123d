//! Tokens are signed by keys that never leave the token, and a restart finds them again.

use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED;
use aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
use aws_lc_rs::signature::RsaPublicKeyComponents;
use aws_lc_rs::signature::UnparsedPublicKey;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::authority::keys::KEYS;
use lanyard::authority::store::Store as _;
use serde_json::Value;

use super::support::decision;
use super::support::is_allowed;
use super::support::issue;
use super::support::jwks;
use super::support::listed;
use super::support::setup;
use super::support::start;
use super::support::stop;
use crate::support::mint::kid_of;
use crate::support::softhsm::PIN;
use crate::support::softhsm::SoftHsm;
use crate::support::test_process::open;

/// The value of a boolean attribute in a dump of an object.
fn flag(object: &str, name: &str) -> Option<bool> {
    let (_, rest) = object.split_once(name)?;
    rest.lines().nth(2).map(|line| line.ends_with("TRUE"))
}

/// Whether an object is a private key.
fn is_private(object: &str) -> bool {
    object.contains("CKO_PRIVATE_KEY")
}

/// Verifies a token by the rules of the RFCs alone.
fn verify(token: &str, jwk: &Value) {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let member = |name: &str| decode(jwk[name].as_str().unwrap());
    let signature = decode(signature);
    let verified = if jwk["kty"] == "EC" {
        assert_eq!(signature.len(), 64, "r and s");
        let point = [vec![4], member("x"), member("y")].concat();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed.as_bytes(), &signature)
    } else {
        let key = RsaPublicKeyComponents { n: member("n"), e: member("e") };
        key.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature)
    };
    verified.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_in_the_token_never_leave_it_and_are_found_after_a_restart() {
    for algorithm in ["ES256", "RS256"] {
        let Some(hsm) = SoftHsm::new() else { return };
        let server = start(
            &hsm,
            setup(SoftHsm::keys(&hsm.module(), "").replacen('{', &format!("{{algorithm: {algorithm}, "), 1)),
        );
        let (leaf, token) = server.workload("/checkout").await;
        let [jwk] = &jwks(&server).await[..] else { panic!("there is one key") };
        assert_eq!((jwk["alg"].as_str(), jwk["kid"].as_str()), (Some(algorithm), Some(&*kid_of(&token))));
        verify(&token, jwk);
        is_allowed(decision(&server, &token, &leaf).await);
        assert_eq!(listed(&server).await[0].location, "hsm");

        // The halves have the kid in their labels.
        let objects = hsm.objects();
        let (private, public): (Vec<&String>, Vec<&String>) = objects.iter().partition(|object| is_private(object));
        assert_eq!((private.len(), public.len()), (1, 1), "{objects:#?}");
        assert_eq!(flag(private[0], "CKA_SENSITIVE"), Some(true), "{}", private[0]);
        assert_eq!(flag(private[0], "CKA_EXTRACTABLE"), Some(false));
        assert_eq!(flag(private[0], "CKA_NEVER_EXTRACTABLE"), Some(true));

        // The record has the public key alone, sealed.
        let (setup, log) = stop(server);
        assert!(!log.contains(PIN));
        let store = open(&setup.path("data")).unwrap();
        let [(place, record)] = &store.list(KEYS).await.unwrap().entries[..] else { panic!("there is one record") };
        let record: Value = serde_json::from_slice(&record.value).unwrap();
        assert_eq!(*place, format!("{KEYS}{}", kid_of(&token)));
        assert_eq!((&record["schema"], &record["location"]), (&Value::from(3), &Value::from("hsm")));
        drop(store);

        let server = start(&hsm, setup);
        is_allowed(decision(&server, &token, &leaf).await);
        assert_eq!(kid_of(&issue(&server, &leaf).await.unwrap()), kid_of(&token));
        assert_eq!(hsm.objects().len(), 2);
    }
}
