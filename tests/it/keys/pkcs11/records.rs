//! A record of a key in a token cannot be made to name another key, in the store or in the token.

use std::fs;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::authority::keys::KeyEncryptionKey;
use lanyard::authority::keys::KeyLocation;
use lanyard::authority::keys::KeyRecord;
use lanyard::authority::keys::KeyRecordError;
use lanyard::authority::keys::PublicJwk;
use lanyard::authority::keys::SealError;
use lanyard::authority::keys::SigningAlgorithm;
use serde_json::Value;
use serde_json::json;

use super::support::not_started;
use super::support::setup;
use super::support::start;
use super::support::stop;
use crate::support::NOW;
use crate::support::keys::sealer;
use crate::support::mint::kid_of;
use crate::support::softhsm::SoftHsm;

fn seal(byte: u8) -> KeyEncryptionKey {
    KeyEncryptionKey::parse(&STANDARD.encode([byte; 32])).unwrap()
}

/// The public key of a new pair, SPKI, and its `kid`.
fn public_key() -> (Vec<u8>, String) {
    let pair = aws_lc_rs::signature::EcdsaKeyPair::generate(&aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING);
    let spki = pair.unwrap().public_key().as_der().unwrap().as_ref().to_vec();
    let kid = PublicJwk::from_spki(&spki).unwrap().thumbprint();
    (spki, kid)
}

#[test]
fn a_reference_that_was_changed_or_moved_or_is_sealed_by_others_does_not_open() {
    let ((mine, kid), (foreign, other_kid)) = (public_key(), public_key());
    let record = |key: u8, kid: &str, public: &[u8]| {
        KeyRecord::seal_reference(&seal(key), kid, SigningAlgorithm::Es256, NOW, public).unwrap()
    };
    let bytes = |record: &KeyRecord| record.to_bytes().unwrap();
    let good = record(1, &kid, &mine);
    let sealer = sealer(1);
    let opened = sealer.open(&good.store_key(), &bytes(&good)).unwrap();
    assert_eq!((opened.key_id().as_str(), opened.location()), (&*kid, KeyLocation::Hsm));

    let does_not_open = Err(KeyRecordError::Seal(SealError::WrongKey));
    let outcome = |place: &str, bytes: &[u8]| sealer.open(place, bytes).map(drop);
    // Sealed with a key of somebody who can write to the store.
    let forged = record(2, &kid, &foreign);
    assert_eq!(outcome(&forged.store_key(), &bytes(&forged)), does_not_open);
    // Another public key under the same kid.
    let forged = record(1, &kid, &foreign);
    assert_eq!(outcome(&forged.store_key(), &bytes(&forged)), Err(KeyRecordError::Misplaced));
    let value: Value = serde_json::from_slice(&bytes(&good)).unwrap();
    let other: Value = serde_json::from_slice(&bytes(&record(1, &other_kid, &foreign))).unwrap();
    // What another record has sealed.
    let mut changed = value.clone();
    changed["sealed"] = other["sealed"].clone();
    assert_eq!(outcome(&good.store_key(), changed.to_string().as_bytes()), does_not_open);
    // In another place.
    assert_eq!(outcome(&format!("/keys/{other_kid}"), &bytes(&good)), Err(KeyRecordError::Misplaced));
    // A public key that is to be read as a private one.
    let mut changed = value.clone();
    changed["schema"] = json!(1);
    changed.as_object_mut().unwrap().remove("location");
    assert_eq!(outcome(&good.store_key(), changed.to_string().as_bytes()), does_not_open);
    // For another algorithm than that of the key.
    let mut changed = value.clone();
    changed["algorithm"] = json!("RS256");
    assert!(outcome(&good.store_key(), changed.to_string().as_bytes()).is_err());
    let unreadable = Err(KeyRecordError::Seal(SealError::Unreadable));
    for (schema, location) in [(2, json!("hsm")), (3, json!("store")), (3, Value::Null), (4, json!("hsm"))] {
        let mut changed = value.clone();
        (changed["schema"], changed["location"]) = (json!(schema), location);
        assert_eq!(outcome(&good.store_key(), changed.to_string().as_bytes()), unreadable, "{changed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_does_not_start_where_the_token_has_no_such_key_or_another_in_its_place() {
    let Some(hsm) = SoftHsm::new() else { return };
    let server = start(&hsm, setup(SoftHsm::keys(&hsm.module(), "")));
    let (_, token) = server.workload("/checkout").await;
    let (files, _) = stop(server);
    let kid = kid_of(&token);
    hsm.delete_objects();
    let error = not_started(&hsm, &files);
    assert!(error.contains(&format!("/keys/{kid}: the hardware security module does not hold")), "{error}");

    let key = files.path("other-key.pem");
    fs::write(&key, files.ca.svid("spiffe://prod.example/other").issue().key_pem()).unwrap();
    let id = hex::encode(URL_SAFE_NO_PAD.decode(&kid).unwrap());
    hsm.import(&key, &id);
    let error = not_started(&hsm, &files);
    assert!(error.contains(&format!("/keys/{kid}: the hardware security module has another key")), "{error}");
}
