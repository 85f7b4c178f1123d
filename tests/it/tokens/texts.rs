//! Nothing but the text of an issued token is taken for one: claims of other types, other spellings, cut and flipped texts.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::keys::SigningAlgorithm;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::support::NOW;
use crate::support::Xorshift;
use crate::support::authority::CHECKOUT;
use crate::support::authority::ISSUER;
use crate::support::authority::ORDERS;
use crate::support::der;
use crate::support::mint::Mint;

// RFC 9068 sections 2.2 and 4; RFC 7800 section 3.1
#[test]
fn a_claim_of_another_json_type_or_twice_or_missing_denies() {
    let mint = Mint::new();
    let texts = ["iss", "sub", "jti", "client_id", "lanyard_creation", "lanyard_spiffe_id", "scope"];
    let times = ["exp", "iat", "nbf"];
    for claim in texts {
        for json in ["null", "7", "1.5", "-1", "1e400", "true", "[]", "{}", "[\"a\"]"] {
            mint.denied(&mint.with_claim(claim, json), DenyReason::TokenMalformed);
        }
    }
    let in_time = (NOW.0 + 300).to_string();
    for claim in times {
        assert_eq!(
            mint.evaluate(&mint.with_claim(claim, if claim == "exp" { &in_time } else { "0" })),
            Ok(()),
            "{claim}"
        );
        for json in [
            "null",
            "\"1800000300\"",
            "1800000300.5",
            "1.8e9",
            "-1",
            "1e400",
            "18446744073709551616",
            "true",
            "[]",
            "{}",
        ] {
            mint.denied(&mint.with_claim(claim, json), DenyReason::TokenMalformed);
        }
    }
    for json in ["null", "7", "1e400", "true", "{}", "[7]", "[null]", "[[\"https://orders.shop.internal\"]]"] {
        mint.denied(&mint.with_claim("aud", json), DenyReason::TokenMalformed);
    }
    mint.denied(&mint.with_claim("aud", "[]"), DenyReason::WrongAudience);
    let thumbprint = mint.leaf.thumbprint();
    for json in ["null", "7", "true", "[]", &format!("[\"{thumbprint}\"]"), &format!("\"{thumbprint}\"")] {
        mint.denied(&mint.with_claim("cnf", json), DenyReason::TokenMalformed);
    }
    for json in
        ["{\"x5t#S256\":null}", "{\"x5t#S256\":7}", "{\"x5t#S256\":[]}", "{\"x5t#S256\":\"\",\"x5t#S256\":\"\"}"]
    {
        mint.denied(&mint.with_claim("cnf", json), DenyReason::TokenMalformed);
    }
    let unbound = ["{}", "{\"jkt\":\"a\"}", "{\"kid\":\"a\"}", "{\"x5t\":\"a\"}", "{\"x5t#S256\":\"\"}"];
    let padded = format!("{{\"x5t#S256\":\"{thumbprint}=\"}}");
    for json in unbound.iter().copied().chain([padded.as_str()]) {
        mint.denied(&mint.with_claim("cnf", json), DenyReason::NotBound);
    }
    assert_eq!(
        mint.evaluate(&mint.with_claim("cnf", &format!("{{\"x5t#S256\":\"{thumbprint}\",\"new\":[1]}}"))),
        Ok(())
    );
    for (claim, value) in mint.claims() {
        let twice = Value::Object(mint.claims()).to_string();
        mint.denied(&mint.with_payload(&format!("{{\"{claim}\":{value},{}", &twice[1..])), DenyReason::TokenMalformed);
        let mut without = mint.claims();
        without.remove(&claim);
        let reason = match claim.as_str() {
            "cnf" => DenyReason::NotBound,
            "scope" => DenyReason::InsufficientScope,
            _ => DenyReason::TokenMalformed,
        };
        mint.denied(&mint.with_payload(&Value::Object(without).to_string()), reason);
    }
}

#[test]
fn what_is_no_json_object_is_no_header_and_no_payload() {
    let mint = Mint::new();
    let (header, payload) = (Value::Object(mint.header()).to_string(), Value::Object(mint.claims()).to_string());
    let values = |text: &str| {
        let members: Map<String, Value> = serde_json::from_str(text).unwrap();
        Value::from(members.values().cloned().collect::<Vec<_>>()).to_string()
    };
    let in_order =
        json!([ISSUER, CHECKOUT, ORDERS, NOW.0 + 300, NOW.0, NOW.0, "jti", CHECKOUT, "", {}, "creation"]).to_string();
    let deep = format!("{{\"a\":{}", "[".repeat(5_000));
    for bad in ["", "null", "7", "\"text\"", "[]", "{", "{}x", "{}{}", &deep, &in_order, &values(&payload)] {
        mint.denied(&mint.sign(&header, bad), DenyReason::TokenMalformed);
    }
    let in_order = json!(["ES256", "at+jwt", mint.kid()]).to_string();
    for bad in ["", "null", "[]", "{", "{}", &deep, &in_order, &values(&header), &format!("{header},")] {
        mint.denied(&mint.sign(bad, &payload), DenyReason::TokenMalformed);
    }
    for member in ["alg", "kid", "typ"] {
        let twice = format!("{{\"{member}\":{},{}", mint.header()[member], &header[1..]);
        mint.denied(&mint.sign(&twice, &payload), DenyReason::TokenMalformed);
    }
}

#[test]
fn each_token_has_one_text() {
    let mint = Mint::new();
    let parts: Vec<&str> = mint.token.split('.').collect();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (number, text) in parts.iter().enumerate().filter(|(_, text)| text.len() % 4 != 0) {
        // The last symbol has spare bits: another symbol decodes to the same bytes.
        let last = alphabet.find(text.chars().last().unwrap()).unwrap();
        let twin = format!("{}{}", &text[..text.len() - 1], &alphabet[last + 1..last + 2]);
        let mut twins = parts.clone();
        twins[number] = &twin;
        mint.denied(&twins.join("."), DenyReason::TokenMalformed);
    }
    assert_ne!(parts[2].len() % 4, 0);
    let token = &mint.token;
    for bad in [
        format!("{token}="),
        format!("{token}=="),
        format!("{token}."),
        format!(".{token}"),
        format!("{token} "),
        format!(" {token}"),
        format!("{token}\n"),
        format!("{token}\0"),
        format!("Bearer {token}"),
        format!("{token},{token}"),
        token.replacen('.', "..", 1),
        token.replacen('.', "=.", 1),
        token.replace('.', ""),
        format!("{}.{}", parts[0], parts[1]),
        "..".to_owned(),
        ".".to_owned(),
        "é.é.é".to_owned(),
    ] {
        mint.denied(&bad, DenyReason::TokenMalformed);
    }
    mint.denied(&format!("{}.{}.", parts[0], parts[1]), DenyReason::BadSignature);
    mint.denied(&format!("{}..{}", parts[0], parts[2]), DenyReason::BadSignature);
    let standard = token.replace('-', "+").replace('_', "/");
    assert!(standard == *token || mint.evaluate(&standard) == Err(DenyReason::TokenMalformed));
}

#[test]
fn no_truncation_and_no_flipped_bit_is_allowed() {
    for algorithm in [SigningAlgorithm::Es256, SigningAlgorithm::Rs256, SigningAlgorithm::EdDsa] {
        let mint = Mint::with(algorithm);
        for length in 1..mint.token.len() {
            assert!(mint.evaluate(&mint.token[..length]).is_err(), "{length}");
            assert!(mint.evaluate(&mint.token[length..]).is_err(), "{length}");
        }
        let (message, signature) = mint.token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        for bit in 0..signature.len() * 8 {
            let mut flipped = signature.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            mint.denied(&format!("{message}.{}", URL_SAFE_NO_PAD.encode(flipped)), DenyReason::BadSignature);
        }
        let mut random = Xorshift::new(3);
        for _ in 0..500 {
            let mut bytes = message.as_bytes().to_vec();
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(7);
            let flipped = String::from_utf8(bytes).unwrap();
            assert!(mint.evaluate(&format!("{flipped}.{}", URL_SAFE_NO_PAD.encode(&signature))).is_err(), "{at}");
        }
    }
}

// RFC 8725 section 3.3
#[test]
fn a_signature_in_another_form_or_of_zeros_is_wrong() {
    let mint = Mint::new();
    let (message, signature) = mint.token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let as_der = der::sequence(&[
        der::element(2, &[&[0], &signature[..32]].concat()),
        der::element(2, &[&[0], &signature[32..]].concat()),
    ]);
    let (zero, ones) = (vec![0; 64], vec![0xff; 64]);
    for bad in
        [as_der, zero, ones, Vec::new(), vec![1], signature[..63].to_vec(), [signature.as_slice(), &[0]].concat()]
    {
        mint.denied(&format!("{message}.{}", URL_SAFE_NO_PAD.encode(bad)), DenyReason::BadSignature);
    }
}

// A wrong signature says nothing of the payload
#[test]
fn an_unverified_payload_is_never_looked_at() {
    let mint = Mint::new();
    let (header, signature) = (mint.token.split('.').next().unwrap(), mint.token.rsplit('.').next().unwrap());
    for payload in ["", "{", "{\"exp\":0}", "[]"] {
        let forged = format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(payload));
        mint.denied(&forged, DenyReason::BadSignature);
    }
}

#[test]
fn a_token_larger_than_any_that_is_issued_is_refused_unread() {
    let mint = Mint::new();
    let padded = |bytes: usize| mint.with_claim("more", &format!("\"{}\"", "a".repeat(bytes)));
    let spare = 16 * 1024 - mint.token.len();
    assert_eq!(mint.evaluate(&padded(spare * 3 / 4 - 20)), Ok(()));
    mint.denied(&padded(spare * 3 / 4 + 20), DenyReason::TokenMalformed);
    for large in [padded(1024 * 1024), "a".repeat(1024 * 1024), ".".repeat(1024 * 1024)] {
        mint.denied(&large, DenyReason::TokenMalformed);
    }
}
