//! Transaction tokens for whom the client names: itself or another one, in an object or in a JWT that it signs with the key of its
//! certificate.

use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
use aws_lc_rs::signature::EcdsaKeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::decision::ExchangeRequest;
use lanyard::authority::decision::TxnRequest;
use lanyard::authority::decision::TxnSubject;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::TOKEN_EXCHANGE;
use lanyard::authority::registration::TxnRuleMetadata;
use lanyard::authority::registration::TxnTokenPolicy;
use serde_json::Value;
use serde_json::json;

use crate::exchange::support::Shop;
use crate::exchange::support::claims;
use crate::exchange::support::client;
use crate::exchange::support::id;
use crate::exchange::support::resource;
use crate::support::NOW;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::leaf::Leaf;

fn policy() -> TxnTokenPolicy {
    TxnTokenPolicy {
        trust_domain: "prod.example".to_owned(),
        ttl: Duration::from_mins(1),
        max_ttl: Duration::from_mins(5),
        max_replacements: 3,
        max_context: 4096,
    }
}

fn worker(subjects: &[&str]) -> ClientMetadata {
    let rule = TxnRuleMetadata {
        subjects: subjects.iter().map(|subject| (*subject).to_owned()).collect(),
        scope: Some("nightly.settle".to_owned()),
        ..TxnRuleMetadata::default()
    };
    ClientMetadata {
        grant_types: ["client_credentials", TOKEN_EXCHANGE].map(ToOwned::to_owned).to_vec(),
        txn: vec![rule],
        ..client("worker", "orders", Vec::new())
    }
}

fn shop(subjects: &[&str]) -> Shop {
    let mut shop = Shop::empty(|lanyard| lanyard.txn_tokens = Some(policy()), TestAuthority::keys());
    shop.protect(resource("orders"));
    shop.register(client("frontend", "orders", Vec::new()));
    shop.register(client("other", "orders", Vec::new()));
    shop.register(worker(subjects));
    ready(shop.fixture.authority.open_receipt_keys()).unwrap();
    shop
}

fn asking(subject: TxnSubject) -> TxnRequest {
    let (audience, scope) = (vec!["prod.example".to_owned()], "nightly.settle".to_owned());
    TxnRequest {
        exchange: ExchangeRequest { audience, scope, ..ExchangeRequest::default() },
        subject,
        ..TxnRequest::default()
    }
}

fn naming(subject: &str) -> TxnRequest {
    let Value::Object(json) = json!({ "sub": subject }) else { unreachable!() };
    asking(TxnSubject::Stated(json))
}

/// The exact reason of a refusal, or the `sub` of the token.
fn outcome(shop: &Shop, request: &TxnRequest) -> String {
    let mut sub = String::new();
    let authority = &shop.fixture.authority;
    let reason = shop.reason_of(|| {
        let issued = ready(authority.issue_txn_token(&authority.as_caller(&shop.peer("worker")), request));
        if let Ok(issued) = issued {
            claims(&issued.access_token)["sub"].as_str().unwrap().clone_into(&mut sub);
        }
    });
    if reason.is_empty() { sub } else { reason }
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn signed(leaf: &Leaf, header: &Value, payload: &Value) -> String {
    let message = format!("{}.{}", encoded(header), encoded(payload));
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &leaf.key).unwrap();
    let signature = key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn another_subject_is_named_only_where_a_rule_lists_it_and_its_registration_lets_the_client() {
    let below = "spiffe://prod.example/ns/shop/*";
    for (subjects, named, expected) in [
        (&["self"][..], "worker", "worker"),
        (&["self"], "frontend", "NO_RULE"),
        (&[&*id("frontend")], "frontend", "frontend"),
        (&[&*id("frontend")], "other", "NO_RULE"),
        (&[&*id("frontend")], "worker", "NO_RULE"),
        // A pattern is not about the client itself.
        (&[below], "frontend", "frontend"),
        (&[below], "worker", "NO_RULE"),
        (&[below, "self"], "worker", "worker"),
        (&[below], "unregistered", "VETOED"),
    ] {
        let shop = shop(subjects);
        let expected = if expected.starts_with(char::is_lowercase) { id(expected) } else { expected.to_owned() };
        assert_eq!(outcome(&shop, &naming(&id(named))), expected, "{subjects:?} {named}");
    }
    let shop = shop(&[below]);
    assert_eq!(outcome(&shop, &naming(&id("frontend"))), id("frontend"));
    shop.fixture.update(ClientMetadata { delegates: Some(Vec::new()), ..client("frontend", "orders", Vec::new()) });
    assert_eq!(outcome(&shop, &naming(&id("frontend"))), "VETOED");
    shop.fixture
        .update(ClientMetadata { delegates: Some(vec![id("worker")]), ..client("frontend", "orders", Vec::new()) });
    assert_eq!(outcome(&shop, &naming(&id("frontend"))), id("frontend"));
    assert_eq!(outcome(&shop, &naming("")), "NO_RULE");
}

// X25, TT-19
#[test]
fn a_self_signed_subject_is_signed_with_the_key_of_the_connection_by_and_for_who_it_says() {
    let shop = shop(&["self", &id("frontend")]);
    let issuer = shop.fixture.authority.policy().issuer.clone();
    let header = json!({ "alg": "ES256", "typ": "JWT" });
    let payload = json!({ "iss": id("worker"), "sub": id("frontend"), "aud": issuer, "iat": NOW.0, "exp": NOW.0 + 20 });
    let own = shop.leaf("worker");
    let ask = |text: String| outcome(&shop, &asking(TxnSubject::SelfSigned(text)));
    let with = |name: &str, value: Value| {
        let mut changed = payload.clone();
        changed[name] = value;
        ask(signed(own, &header, &changed))
    };
    assert_eq!(ask(signed(own, &header, &payload)), id("frontend"));
    assert_eq!(ask(signed(own, &json!({ "alg": "ES256" }), &payload)), id("frontend"));
    assert_eq!(with("sub", json!(id("worker"))), id("worker"));
    assert_eq!(with("aud", json!([issuer])), id("frontend"));
    assert_eq!(with("iat", json!(NOW.0 + 30)), id("frontend"));
    assert_eq!(with("sub", json!(id("other"))), "NO_RULE");
    for (name, value) in [
        ("iss", json!(id("frontend"))),
        ("iss", json!("")),
        ("aud", json!("https://other.example")),
        ("aud", json!([issuer, "https://other.example"])),
        ("aud", json!([])),
        ("exp", json!(NOW.0)),
        ("exp", json!("soon")),
        ("iat", json!(NOW.0 + 31)),
        ("iat", json!(NOW.0 - 301)),
        ("iat", Value::Null),
        ("sub", Value::Null),
    ] {
        assert_eq!(with(name, value.clone()), "SUBJECT_INVALID", "{name} {value}");
    }
    // Another key, of a certificate of the same workload too.
    let sibling = shop.fixture.prod.svid(&id("worker")).issue();
    for leaf in [shop.leaf("frontend"), &sibling] {
        assert_eq!(ask(signed(leaf, &header, &payload)), "SUBJECT_INVALID");
    }
    for header in [
        json!({ "alg": "none" }),
        json!({ "alg": "ES384" }),
        json!({ "alg": "RS256" }),
        json!({ "alg": "es256" }),
        json!({ "alg": "ES256", "typ": "at+jwt" }),
        json!({ "alg": "ES256", "typ": "txntoken+jwt" }),
        json!({ "alg": "ES256", "crit": ["exp"] }),
    ] {
        assert_eq!(ask(signed(own, &header, &payload)), "SUBJECT_INVALID", "{header}");
    }
    // HS256 with the public key, and no signature at all.
    let message = format!("{}.{}", encoded(&json!({ "alg": "HS256", "typ": "JWT" })), encoded(&payload));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, own.certificate()), message.as_bytes());
    assert_eq!(ask(format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))), "SUBJECT_INVALID");
    assert_eq!(ask(format!("{}.{}.", encoded(&json!({ "alg": "none" })), encoded(&payload))), "SUBJECT_INVALID");
    // X19: what is signed by others is none.
    assert_eq!(ask(shop.token("worker")), "SUBJECT_INVALID");
    // It ends no later than what it was asked for with.
    let text = signed(own, &header, &payload);
    let authority = &shop.fixture.authority;
    let request = asking(TxnSubject::SelfSigned(text.clone()));
    assert!(!format!("{request:?}").contains(&text));
    let made = ready(authority.issue_txn_token(&authority.as_caller(&shop.peer("worker")), &request)).unwrap();
    assert_eq!(claims(&made.access_token)["exp"], NOW.0 + 20);
    shop.fixture.clock.set(Timestamp(NOW.0 + 20));
    assert_eq!(ask(text), "SUBJECT_INVALID");
}
