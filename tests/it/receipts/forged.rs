//! Only what this server made is accepted: no other payload, no other tag, no other key, no other kind of text.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::authority::tokens::ReceiptError;
use serde_json::Value;
use serde_json::json;

use super::support::CHECKOUT;
use super::support::Shop;
use super::support::orders;
use super::support::receipts;
use crate::support::authority::ORDERS;

fn shop() -> Shop {
    Shop::new(orders(Some(receipts(&[CHECKOUT]))))
}

fn code(shop: &Shop, text: &str) -> &'static str {
    shop.read(text).map_or_else(|code| code, |_| "")
}

/// The receipt with another payload and the tag that it has.
fn with_payload(receipt: &str, change: impl FnOnce(&mut Value)) -> String {
    let parts: Vec<&str> = receipt.split('.').collect();
    let mut payload: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[2]).unwrap()).unwrap();
    change(&mut payload);
    let payload = URL_SAFE_NO_PAD.encode(payload.to_string());
    [parts[0], parts[1], &payload, parts[3]].join(".")
}

#[test]
fn a_receipt_with_one_member_changed_is_refused() {
    let shop = shop();
    let receipt = shop.receipt();
    assert_eq!(code(&shop, &receipt), "");
    let members: Vec<String> = {
        let payload = URL_SAFE_NO_PAD.decode(receipt.split('.').nth(2).unwrap()).unwrap();
        let payload: Value = serde_json::from_slice(&payload).unwrap();
        let nested = payload["token"].as_object().unwrap().keys().map(|name| format!("/token/{name}"));
        payload.as_object().unwrap().keys().map(|name| format!("/{name}")).chain(nested).collect()
    };
    assert!(members.len() > 18, "{members:?}");
    for member in members {
        let changed = with_payload(&receipt, |payload| {
            let value = payload.pointer_mut(&member).unwrap();
            *value = match &*value {
                Value::Bool(flag) => json!(!*flag),
                Value::Number(number) => json!(number.as_u64().unwrap() + 1),
                Value::String(text) => json!(format!("{text}x")),
                other @ (Value::Null | Value::Array(_) | Value::Object(_)) => json!([other]),
            };
        });
        assert_eq!(code(&shop, &changed), "RECEIPT_FORGED", "{member}");
    }
    // The receipt of the same token elsewhere, or of another token.
    let other = self::shop();
    assert_eq!(code(&shop, &other.receipt()), "RECEIPT_KEY_UNKNOWN");
}

#[test]
fn no_text_of_a_receipt_in_which_a_bit_is_flipped_is_accepted() {
    let shop = shop();
    let receipt = shop.receipt();
    let mut tried = 0;
    for at in 0..receipt.len() {
        for bit in 0..8 {
            let mut bytes = receipt.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            // What is no text is refused before.
            let Ok(text) = String::from_utf8(bytes) else { continue };
            tried += 1;
            assert_ne!(code(&shop, &text), "", "{at} {bit}");
        }
    }
    assert!(tried > 6000, "{tried}");
}

#[test]
fn a_text_of_another_form_is_refused_before_anything_of_it_is_read() {
    let shop = shop();
    let receipt = shop.receipt();
    let parts: Vec<&str> = receipt.split('.').collect();
    let [head, id, payload, tag] = parts.try_into().unwrap();
    let empty_tag = format!("{head}.{id}.{payload}.");
    for (text, expected) in [
        (String::new(), "RECEIPT_MALFORMED"),
        (format!("{receipt}."), "RECEIPT_MALFORMED"),
        (format!("{receipt}="), "RECEIPT_MALFORMED"),
        (format!(" {receipt}"), "RECEIPT_MALFORMED"),
        (format!("{receipt}\n"), "RECEIPT_MALFORMED"),
        (receipt.replacen("lr1.", "lr2.", 1), "RECEIPT_MALFORMED"),
        (receipt.replacen("lr1.", "LR1.", 1), "RECEIPT_MALFORMED"),
        (format!("{head}.{id}.{payload}"), "RECEIPT_MALFORMED"),
        (format!("{head}..{payload}.{tag}"), "RECEIPT_KEY_UNKNOWN"),
        (format!("{head}.{}.{payload}.{tag}", id.to_lowercase() + "x"), "RECEIPT_KEY_UNKNOWN"),
        (empty_tag, "RECEIPT_FORGED"),
        (format!("{head}.{id}.{payload}.{}", &tag[..tag.len() - 3]), "RECEIPT_FORGED"),
        (format!("{head}.{id}..{tag}"), "RECEIPT_FORGED"),
        ("x".repeat(5000), "RECEIPT_MALFORMED"),
        // A token is no receipt.
        (shop.token.clone(), "RECEIPT_MALFORMED"),
    ] {
        assert_eq!(code(&shop, &text), expected, "{text:.80}");
    }
    // And a receipt is no token.
    let fixture = &shop.fixture;
    assert!(matches!(
        fixture.evaluate(&receipt, &shop.frontend),
        lanyard::authority::decision::Decision::Deny(lanyard::authority::deny_reason::DenyReason::TokenMalformed)
    ));
}

#[test]
fn a_payload_that_this_version_does_not_know_whole_is_refused_though_its_tag_verifies() {
    use lanyard::authority::clock::Timestamp;
    use lanyard::authority::keys::ReceiptKey;
    use lanyard::authority::keys::ReceiptKeys;
    use lanyard::authority::store::Revision;
    use lanyard::authority::tokens::verify_receipt;

    let (key, mut keys) = (ReceiptKey::new("k", Timestamp(0), &[7; 32]), ReceiptKeys::default());
    keys.insert(key, Revision(1));
    let hmac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &[7; 32]);
    let signed = |payload: &str| {
        let text = format!("lr1.k.{}", URL_SAFE_NO_PAD.encode(payload));
        let tag = URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&hmac, text.as_bytes()));
        verify_receipt(&keys, &format!("{text}.{tag}"), Timestamp(10)).map(drop).map_err(ReceiptError::code)
    };
    let token = json!({
        "jti": "t", "iat": 1, "exp": 99, "kid": "s", "sub": "a", "client_id": "a", "creation": "c", "x5t#S256": "A",
    });
    let good = json!({
        "jti": "r", "iat": 10, "exp": 40, "ath": "h", "token": token, "at": ORDERS, "by": "p", "independent": true,
        "grade": "certificate", "match": "exact",
    });
    assert_eq!(signed(&good.to_string()), Ok(()));
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut payload = good.clone();
        change(&mut payload);
        signed(&payload.to_string())
    };
    for (why, outcome) in [
        ("unknown", changed(&|payload| payload["more"] = json!(1))),
        ("unknown within", changed(&|payload| payload["token"]["more"] = json!(1))),
        ("null", changed(&|payload| payload["for"] = Value::Null)),
        ("null route", changed(&|payload| payload["route"] = Value::Null)),
        ("array", changed(&|payload| payload["route"] = json!(["GET", "/"]))),
        ("grade", changed(&|payload| payload["grade"] = json!("none"))),
        ("missing", changed(&|payload| drop(payload.as_object_mut().unwrap().remove("ath")))),
        ("twice", signed(&good.to_string().replacen("{\"", "{\"jti\":\"x\",\"", 1))),
        ("no object", signed("[]")),
        ("trailing", signed(&format!("{good}x"))),
    ] {
        assert_eq!(outcome, Err("RECEIPT_MALFORMED"), "{why}");
    }
    assert_eq!(changed(&|payload| payload["exp"] = json!(10)), Err("RECEIPT_EXPIRED"));
    assert_eq!(changed(&|payload| payload["exp"] = json!(11)), Ok(()));
    assert_eq!(changed(&|payload| payload["iat"] = json!(15)), Ok(()), "the clock of another replica is ahead");
    assert_eq!(changed(&|payload| payload["iat"] = json!(16)), Err("RECEIPT_NOT_YET_VALID"));
}
