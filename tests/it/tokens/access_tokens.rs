//! Access tokens: what is in those that are issued, and which header and which key make one.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::decision::Decision;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::keys::Signer as _;
use lanyard::authority::keys::SigningAlgorithm;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;
use serde_json::Value;
use serde_json::json;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::support::NOW;
use crate::support::authority::CHECKOUT;
use crate::support::authority::ISSUER;
use crate::support::authority::ORDERS;
use crate::support::authority::STOCK;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::authority::spiffe_client;
use crate::support::mint::Mint;
use crate::support::mint::part;

const ALGORITHMS: [SigningAlgorithm; 3] = [SigningAlgorithm::Es256, SigningAlgorithm::Rs256, SigningAlgorithm::EdDsa];

// RFC 9068 sections 2.1, 2.2 and 3; RFC 8705 section 3.1
#[test]
fn a_token_says_what_rfc_9068_and_rfc_8705_want_and_nothing_more() {
    let mint = Mint::new();
    let header = json!({"alg": "ES256", "kid": mint.kid(), "typ": "at+jwt"});
    assert_eq!(Value::Object(mint.header()), header);
    let mut claims = mint.claims();
    let jti = claims.remove("jti").unwrap();
    assert_eq!(URL_SAFE_NO_PAD.decode(jti.as_str().unwrap()).unwrap().len(), 16);
    let creation = mint.fixture.authority.client(CHECKOUT).unwrap().record.creation_id.clone();
    let expected = json!({
        "iss": ISSUER,
        "sub": CHECKOUT,
        "aud": ORDERS,
        "exp": NOW.0 + 300,
        "iat": NOW.0,
        "nbf": NOW.0 - 5,
        "client_id": CHECKOUT,
        "scope": "orders.read orders.write",
        "cnf": {"x5t#S256": mint.leaf.thumbprint().to_string()},
        "lanyard_creation": creation,
    });
    assert_eq!(Value::Object(claims), expected);
    assert_eq!(mint.evaluate(&mint.token), Ok(()));
}

// RFC 9068 sections 2.2.3 and 5
#[test]
fn several_audiences_are_a_list_without_repetition_and_no_scope_is_no_claim() {
    let mint = Mint::new();
    let mut metadata = spiffe_client(CHECKOUT);
    metadata.audience = vec![ORDERS.to_owned(), STOCK.to_owned(), ORDERS.to_owned()];
    metadata.scope = String::new();
    mint.fixture.update(metadata);
    let claims = part(&mint.fixture.token(&mint.fixture.peer(&mint.leaf)), 1);
    assert_eq!(claims["aud"], json!([ORDERS, STOCK]));
    assert!(!claims.contains_key("scope"));
}

#[test]
fn no_two_tokens_have_the_same_jti() {
    let mint = Mint::with(SigningAlgorithm::EdDsa);
    let peer = mint.fixture.peer(&mint.leaf);
    let jti = |_| part(&mint.fixture.token(&peer), 1)["jti"].as_str().unwrap().to_owned();
    assert_eq!((0..1_000).map(jti).collect::<HashSet<_>>().len(), 1_000);
}

// RFC 8705 section 6.3
#[test]
fn a_token_never_outlives_the_certificate_that_it_is_bound_to() {
    let mint = Mint::new();
    let fixture = &mint.fixture;
    let leaf = fixture.prod.svid(CHECKOUT).between(Timestamp(NOW.0 - 10), Timestamp(NOW.0 + 100)).issue();
    let issued = fixture.issue(&fixture.peer(&leaf), CHECKOUT).unwrap();
    assert_eq!(part(&issued.access_token, 1)["exp"], json!(NOW.0 + 100));
    assert_eq!(issued.expires_in, Duration::from_secs(100));
    fixture.clock.set(Timestamp(NOW.0 + 99));
    assert!(matches!(fixture.evaluate(&issued.access_token, &leaf), Decision::Allow(_)));
    fixture.clock.set(Timestamp(NOW.0 + 100));
    assert_eq!(fixture.evaluate(&issued.access_token, &leaf), Decision::Deny(DenyReason::TokenExpired));
}

// RFC 9068 section 2.1; RFC 8725 section 3.1
#[test]
fn each_algorithm_signs_verifies_and_is_published_without_its_private_part() {
    for algorithm in ALGORITHMS {
        let mint = Mint::with(algorithm);
        assert_eq!(mint.header()["alg"], json!(algorithm.name()));
        assert_eq!(mint.evaluate(&mint.token), Ok(()), "{algorithm:?}");
        let jwks: Value = serde_json::from_str(&mint.fixture.authority.keys().jwks()).unwrap();
        let jwk = jwks["keys"][0].as_object().unwrap();
        assert_eq!(
            (&jwk["kid"], &jwk["alg"], &jwk["use"]),
            (&json!(mint.kid()), &json!(algorithm.name()), &json!("sig"))
        );
        assert!(["d", "p", "q", "dp", "dq", "qi", "k"].iter().all(|private| !jwk.contains_key(*private)));
        for other in ALGORITHMS.iter().filter(|other| **other != algorithm) {
            mint.denied(&mint.with_header("alg", Some(json!(other.name()))), DenyReason::UnknownKey);
        }
    }
}

// RFC 9068 sections 2.1 and 4
#[test]
fn another_alg_than_the_keys_own_is_refused_whatever_it_would_verify() {
    let mint = Mint::new();
    for alg in ["none", "None", "nOnE", "NONE", "", "es256", "ES256 ", "ES384", "PS256", "HS256", "RS256", "EdDSA"] {
        let token = mint.with_header("alg", Some(json!(alg)));
        mint.denied(&token, DenyReason::UnknownKey);
        let unsigned = token.rsplit_once('.').unwrap().0;
        mint.denied(&format!("{unsigned}."), DenyReason::UnknownKey);
    }
    for alg in [None, Some(json!(null)), Some(json!(7)), Some(json!(["ES256"]))] {
        mint.denied(&mint.with_header("alg", alg), DenyReason::TokenMalformed);
    }
    // HMAC with what everybody knows: the public key, as DER, as PEM, as JWK.
    let der = mint.signer.public_key().to_vec();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&der));
    let jwks = mint.fixture.authority.keys().jwks();
    for secret in [der, pem.into_bytes(), jwks.into_bytes()] {
        let unsigned = mint.with_header("alg", Some(json!("HS256")));
        let message = unsigned.rsplit_once('.').unwrap().0;
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
        mint.denied(&format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag)), DenyReason::UnknownKey);
    }
}

// RFC 8725 section 3.10
#[test]
fn a_kid_is_the_exact_name_of_a_key_in_the_ring_and_nothing_else() {
    let mint = Mint::new();
    let kid = mint.kid();
    let unknown = [
        String::new(),
        "../../../../dev/null".to_owned(),
        "' OR '1'='1".to_owned(),
        format!("{kid}="),
        format!("{kid} "),
        format!(" {kid}"),
        kid[1..].to_owned(),
        kid.to_lowercase(),
        "0".to_owned(),
        "k".repeat(8_000),
    ];
    for unknown in unknown {
        mint.denied(&mint.with_header("kid", Some(json!(unknown))), DenyReason::UnknownKey);
    }
    mint.denied(&mint.with_header("kid", None), DenyReason::UnknownKey);
    for other in [json!(7), json!([kid]), json!({"kid": kid}), json!(format!("{kid}\0"))] {
        let reason = mint.evaluate(&mint.with_header("kid", Some(other))).unwrap_err();
        assert!(matches!(reason, DenyReason::TokenMalformed | DenyReason::UnknownKey));
    }
}

// RFC 8725 section 3.10: keys in a token, or pointers to keys, are never looked at
#[test]
fn a_key_that_a_token_brings_along_is_never_used() {
    let mint = Mint::new();
    let thief = Mint::new();
    let jwks: Value = serde_json::from_str(&thief.fixture.authority.keys().jwks()).unwrap();
    let presented = [
        ("jwk", jwks["keys"][0].clone()),
        ("jku", json!("https://thief.example/jwks")),
        ("x5u", json!("https://thief.example/certificate")),
        ("x5c", json!([STANDARD.encode(thief.leaf.certificate())])),
    ];
    for (name, value) in presented {
        assert_eq!(mint.evaluate(&mint.with_header(name, Some(value.clone()))), Ok(()), "{name} is passed over");
        let mut header = mint.header();
        header.insert(name.to_owned(), value);
        let payload = Value::Object(mint.claims()).to_string();
        mint.denied(&thief.sign(&Value::Object(header.clone()).to_string(), &payload), DenyReason::BadSignature);
        header.insert("kid".to_owned(), json!(thief.kid()));
        mint.denied(&thief.sign(&Value::Object(header).to_string(), &payload), DenyReason::UnknownKey);
    }
}

// RFC 7515 sections 4 and 4.1.11
#[test]
fn crit_is_refused_in_every_form() {
    let mint = Mint::new();
    for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!(null), json!("exp"), json!({})] {
        mint.denied(&mint.with_header("crit", Some(crit)), DenyReason::TokenMalformed);
    }
}

// RFC 9068 sections 2.1 and 4; RFC 7515 section 4.1.9; RFC 8725 section 3.12
#[test]
fn only_the_access_token_type_is_accepted_in_any_case_with_or_without_application() {
    let mint = Mint::new();
    for good in ["at+jwt", "at+JWT", "AT+JWT", "application/at+jwt", "Application/AT+jwt"] {
        assert_eq!(mint.evaluate(&mint.with_header("typ", Some(json!(good)))), Ok(()), "{good}");
    }
    for bad in [
        "",
        "JWT",
        "JOSE",
        "jwt",
        "at+jwt ",
        "at +jwt",
        "at+jwt;v=1",
        "application/jwt",
        "text/at+jwt",
        "application/application/at+jwt",
        "/at+jwt",
        "wit+jwt",
        "txntoken+jwt",
        "token-introspection+jwt",
        "at+\u{212a}jwt",
    ] {
        mint.denied(&mint.with_header("typ", Some(json!(bad))), DenyReason::TokenType);
    }
    mint.denied(&mint.with_header("typ", None), DenyReason::TokenType);
    mint.denied(&mint.with_header("typ", Some(json!(["at+jwt"]))), DenyReason::TokenMalformed);
}

// RFC 8725 section 3.8; RFC 9068 section 4
#[test]
fn a_token_of_another_issuer_or_of_another_servers_key_is_refused() {
    let mint = Mint::new();
    let other = Mint::new();
    mint.denied(&other.token, DenyReason::UnknownKey);
    for iss in ["", "https://other.example", &format!("{ISSUER}/"), &ISSUER[..ISSUER.len() - 1], &ISSUER.to_uppercase()]
    {
        mint.denied(&mint.with_claim("iss", &json!(iss).to_string()), DenyReason::WrongIssuer);
    }
}

// What a key that has left the ring signed is refused, and what a retired one signed is not
#[test]
fn a_retired_key_verifies_and_a_removed_one_does_not() {
    let (first, second) = (TestAuthority::keys(), TestAuthority::keys());
    let fixture = TestAuthority::with(|_| {}, first);
    fixture.register(spiffe_client(CHECKOUT));
    let leaf = fixture.prod.svid(CHECKOUT).issue();
    let token = fixture.token(&fixture.peer(&leaf));
    let kid = |fixture: &TestAuthority| fixture.authority.keys().active().unwrap().key_id().to_string();
    let evaluated = || {
        let later = TestAuthority::on(Arc::clone(&fixture.store), |_| {}, second.clone());
        ready(later.authority.load()).unwrap();
        assert_ne!(kid(&later), kid(&fixture));
        later.evaluate(&token, &leaf)
    };
    assert!(matches!(evaluated(), Decision::Allow(_)));
    let removed = format!("/keys/{}", kid(&fixture));
    ready(fixture.store.delete(&removed, Expected::Any)).unwrap();
    assert_eq!(evaluated(), Decision::Deny(DenyReason::UnknownKey));
}
