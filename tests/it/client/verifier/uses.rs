//! Which uses are accepted, by the token and the certificate.

use std::time::Duration;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::keys::SigningAlgorithm;
use lanyard::client::verifier::Refused;
use lanyard::client::verifier::Verifier;
use rustls_pki_types::CertificateDer;
use serde_json::Value;
use serde_json::json;

use super::issued::CHECKOUT;
use super::issued::Issued;
use crate::support::revocation_feed::RevocationFeed;
use crate::support::server::ORDERS;

async fn followed(issued: &Issued) -> (RevocationFeed, Verifier) {
    let feed = RevocationFeed::start(issued.listed()).await;
    let verifier = feed.verifier().await;
    (feed, verifier)
}

#[tokio::test]
async fn a_token_with_its_certificate_is_accepted_with_each_algorithm() {
    for algorithm in [SigningAlgorithm::Es256, SigningAlgorithm::Rs256, SigningAlgorithm::EdDsa] {
        let issued = Issued::with(algorithm);
        let (_feed, verifier) = followed(&issued).await;
        let accepted = issued.verify(&verifier, &issued.token()).unwrap();
        assert_eq!([&*accepted.client_id, &*accepted.subject, &*accepted.jti], [CHECKOUT, CHECKOUT, "j1"]);
        assert_eq!(accepted.scope, ["orders.read", "orders.write"]);
        assert_eq!(accepted.expires, SystemTime::UNIX_EPOCH + Duration::from_secs(issued.now.0 + 300));
        assert!(accepted.actors.is_empty() && !accepted.is_stale);
        let mut other = issued.token();
        let end = if other.ends_with("AA") { "BA" } else { "AA" };
        other.replace_range(other.len() - 2.., end);
        let refused = issued.verify(&verifier, &other).unwrap_err();
        assert!(matches!(refused, Refused::BadSignature | Refused::TokenMalformed), "{refused:?}");
    }
}

#[tokio::test]
async fn a_header_that_is_not_that_of_an_access_token_of_the_server_is_refused() {
    let issued = Issued::new();
    let (_feed, verifier) = followed(&issued).await;
    for (changes, expected) in [
        (json!({ "typ": "application/AT+JWT" }), None),
        (json!({ "typ": "JWT" }), Some(Refused::TokenType)),
        (json!({ "typ": null }), Some(Refused::TokenType)),
        (json!({ "typ": "txntoken+jwt" }), Some(Refused::TokenType)),
        (json!({ "alg": "none" }), Some(Refused::UnknownKey)),
        (json!({ "alg": "HS256" }), Some(Refused::UnknownKey)),
        (json!({ "alg": "RS256" }), Some(Refused::UnknownKey)),
        (json!({ "alg": "es256" }), Some(Refused::UnknownKey)),
        (json!({ "alg": null }), Some(Refused::TokenMalformed)),
        (json!({ "kid": "k2" }), Some(Refused::UnknownKey)),
        (json!({ "kid": null }), Some(Refused::UnknownKey)),
        (json!({ "crit": [] }), Some(Refused::TokenMalformed)),
        (json!({ "jwk": { "kty": "EC" }, "jku": "https://evil.example" }), None),
    ] {
        let refused = issued.verify(&verifier, &issued.with_header(&changes)).err();
        assert_eq!(refused, expected, "{changes}");
    }
    let token = issued.token();
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let unsigned = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt","kid":"k1"}"#);
    let other = Issued::new().token();
    for (text, expected) in [
        (format!("{unsigned}.{claims}."), Refused::UnknownKey),
        (format!("{header}.{claims}."), Refused::BadSignature),
        (format!("{header}.{claims}"), Refused::TokenMalformed),
        (format!("{header}.{claims}.{signature}.{signature}"), Refused::TokenMalformed),
        (format!("{token}="), Refused::TokenMalformed),
        (format!(" {token}"), Refused::TokenMalformed),
        (format!("{header}.{claims}.{}", "A".repeat(16 * 1024)), Refused::TokenMalformed),
        (String::new(), Refused::TokenMalformed),
        (other, Refused::BadSignature),
        (issued.sign_texts(r#"["ES256","at+jwt","k1"]"#, &issued.claims().to_string()), Refused::TokenMalformed),
    ] {
        assert_eq!(issued.verify(&verifier, &text).err(), Some(expected), "{text}");
    }
}

#[tokio::test]
async fn each_claim_decides() {
    let issued = Issued::new();
    let (_feed, verifier) = followed(&issued).await;
    let now = issued.now.0;
    let thumbprint = issued.leaf.thumbprint().to_string();
    let another = issued.ca.svid("spiffe://prod.example/other").issue().thumbprint().to_string();
    for (changes, expected) in [
        (json!({ "iss": "https://lanyard.prod.example/" }), Some(Refused::WrongIssuer)),
        (json!({ "exp": now }), Some(Refused::TokenExpired)),
        (json!({ "exp": now.to_string() }), Some(Refused::TokenMalformed)),
        (json!({ "exp": null }), Some(Refused::TokenMalformed)),
        (json!({ "nbf": now + 60 }), Some(Refused::TokenNotYetValid)),
        (json!({ "iat": now + 60 }), Some(Refused::TokenNotYetValid)),
        (json!({ "iat": now + 3 }), None),
        (json!({ "aud": [ORDERS, "https://b.example"] }), None),
        (json!({ "aud": "https://b.example" }), Some(Refused::WrongAudience)),
        (json!({ "aud": [] }), Some(Refused::WrongAudience)),
        (json!({ "aud": null }), Some(Refused::TokenMalformed)),
        (json!({ "scope": "orders.write" }), Some(Refused::InsufficientScope)),
        (json!({ "scope": null }), Some(Refused::InsufficientScope)),
        (json!({ "scope": "orders.read  orders.write" }), Some(Refused::TokenMalformed)),
        (json!({ "scope": ["orders.read"] }), Some(Refused::TokenMalformed)),
        (json!({ "cnf": null }), Some(Refused::NotBound)),
        (json!({ "cnf": {} }), Some(Refused::NotBound)),
        (json!({ "cnf": { "jkt": thumbprint } }), Some(Refused::NotBound)),
        (json!({ "cnf": { "x5t#S256": thumbprint, "jkt": "x" } }), Some(Refused::UnknownConfirmation)),
        (json!({ "cnf": [thumbprint] }), Some(Refused::TokenMalformed)),
        (json!({ "cnf": { "x5t#S256": another } }), Some(Refused::CertificateRenewed)),
        (
            json!({ "cnf": { "x5t#S256": another }, "lanyard_spiffe_id": "spiffe://prod.example/other" }),
            Some(Refused::CertificateMismatch),
        ),
        (json!({ "cnf": { "x5t#S256": thumbprint.to_lowercase() } }), Some(Refused::CertificateRenewed)),
        (json!({ "client_id": "spiffe://PROD.example/x" }), Some(Refused::TokenMalformed)),
        (json!({ "jti": null }), Some(Refused::TokenMalformed)),
    ] {
        let refused = issued.verify(&verifier, &issued.with_claims(&changes)).err();
        assert_eq!(refused, expected, "{changes}");
    }
    let array = issued.sign_texts(&issued.header().to_string(), "[]");
    assert_eq!(issued.verify(&verifier, &array), Err(Refused::TokenMalformed));
}

#[tokio::test]
async fn the_certificate_is_the_one_that_the_token_is_bound_to_and_valid_now() {
    let issued = Issued::new();
    let (_feed, verifier) = followed(&issued).await;
    let now = issued.now.0;
    let svid = |id: &str, from: u64, to: u64| issued.ca.svid(id).between(Timestamp(from), Timestamp(to)).issue();
    let old = svid(CHECKOUT, now - 100, now - 10);
    let early = svid(CHECKOUT, now + 100, now + 200);
    for (leaf, expected) in [
        (&svid(CHECKOUT, now - 10, now + 100), Refused::CertificateRenewed),
        (&svid("spiffe://prod.example/other", now - 10, now + 100), Refused::CertificateMismatch),
        (&old, Refused::CertificateExpired),
        (&early, Refused::CertificateNotYetValid),
    ] {
        let refused = verifier.verify(&issued.token(), leaf.certificate(), ORDERS, "");
        assert_eq!(refused, Err(expected));
    }
    // Its own certificate, but over.
    let bound = issued.with_claims(&json!({ "cnf": { "x5t#S256": old.thumbprint().to_string() } }));
    assert_eq!(verifier.verify(&bound, old.certificate(), ORDERS, ""), Err(Refused::CertificateExpired));
    for der in [Vec::new(), vec![0x30, 0], [issued.leaf.certificate(), &[0][..]].concat()] {
        let refused = verifier.verify(&issued.token(), &CertificateDer::from(der), ORDERS, "");
        assert_eq!(refused, Err(Refused::EvidenceMalformed));
    }
}

#[tokio::test]
async fn the_audience_and_all_scopes_are_those_that_are_asked_for() {
    let issued = Issued::new();
    let (_feed, verifier) = followed(&issued).await;
    for (audience, scope, expected) in [
        (ORDERS, "", None),
        (ORDERS, "orders.write orders.read", None),
        (ORDERS, "orders.read orders.admin", Some(Refused::InsufficientScope)),
        (ORDERS, "Orders.read", Some(Refused::InsufficientScope)),
        ("https://orders.prod.example/", "", Some(Refused::WrongAudience)),
        ("", "", Some(Refused::WrongAudience)),
    ] {
        let refused = verifier.verify(&issued.token(), issued.leaf.certificate(), audience, scope).err();
        assert_eq!(refused, expected, "{audience} {scope}");
    }
}

#[tokio::test]
async fn a_delegated_token_is_accepted_only_where_that_is_said() {
    let issued = Issued::new();
    let (feed, strict) = followed(&issued).await;
    let mut settings = feed.settings();
    settings.accept_delegated = true;
    let accepting = Verifier::follow(settings).unwrap();
    crate::support::door::within(accepting.ready()).await;
    let from =
        json!([{ "jti": "j0", "iat": issued.now.0, "client_id": "web", "creation": "c0", "x5t": "A".repeat(43) }]);
    let delegated = json!({ "sub": "web", "act": { "sub": CHECKOUT }, "lanyard_from": from });
    let token = issued.with_claims(&delegated);
    assert_eq!(issued.verify(&strict, &token), Err(Refused::DelegationNotAccepted));
    let accepted = issued.verify(&accepting, &token).unwrap();
    assert_eq!((&*accepted.subject, &*accepted.client_id), ("web", CHECKOUT));
    assert_eq!(accepted.actors, [CHECKOUT]);
    for (name, value) in [
        ("lanyard_from", Value::Null),
        ("act", Value::Null),
        ("act", json!({ "sub": "web" })),
        ("act", json!({ "sub": CHECKOUT, "act": { "sub": "web" } })),
        ("act", json!({ "sub": CHECKOUT, "more": 1 })),
        ("act", json!([CHECKOUT])),
    ] {
        let mut claims = delegated.clone();
        claims[name] = value;
        let token = issued.with_claims(&claims);
        assert_eq!(issued.verify(&accepting, &token), Err(Refused::TokenMalformed), "{claims}");
    }
}
