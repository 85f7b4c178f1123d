//! What is wrong with a grant, and who may not use it.

use std::time::Duration;

use lanyard::authority::decision::ExchangeRefusal;
use lanyard::authority::decision::ExchangeRequest;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::TOKEN_EXCHANGE;
use serde_json::json;

use crate::exchange::partner::CHECKOUT;
use crate::exchange::partner::Change;
use crate::exchange::partner::Partnered;
use crate::exchange::partner::TOKEN_ENDPOINT;
use crate::exchange::partner::using;
use crate::exchange::partner::using_grant;
use crate::support::NOW;
use crate::support::authority::ISSUER;
use crate::support::jwt_svid::JwtKey;

// X27 and IC-11, IC-14, TX14: each fault of a grant, beside those that it differs from in that alone
#[test]
fn each_fault_of_a_grant_has_its_reason_and_the_client_hears_one_sentence() {
    let partnered = Partnered::new().registered();
    let (checkout, key) = (&partnered.checkout, JwtKey::new("partner-1"));
    let faults: [(&str, Change); 30] = [
        // Another authorization server's, and this server's own.
        ("GRANT_INVALID", |claims| claims["aud"] = json!("https://lanyard.other.example")),
        ("GRANT_INVALID", |claims| claims["aud"] = json!([ISSUER, "https://lanyard.other.example"])),
        ("GRANT_INVALID", |claims| claims["aud"] = json!(format!("{ISSUER}/"))),
        ("GRANT_INVALID", |claims| claims["aud"] = json!(null)),
        ("GRANT_INVALID", |claims| claims["iss"] = json!(ISSUER)),
        ("GRANT_INVALID", |claims| claims["iss"] = json!("https://lanyard.other.example")),
        ("GRANT_INVALID", |claims| claims["exp"] = json!(NOW.0)),
        ("GRANT_INVALID", |claims| claims["exp"] = json!(NOW.0 + 61)),
        ("GRANT_INVALID", |claims| claims["iat"] = json!(NOW.0 + 6)),
        ("GRANT_INVALID", |claims| drop(claims.as_object_mut().unwrap().remove("iat"))),
        ("GRANT_INVALID", |claims| drop(claims.as_object_mut().unwrap().remove("jti"))),
        ("GRANT_INVALID", |claims| drop(claims.as_object_mut().unwrap().remove("client_id"))),
        ("GRANT_INVALID", |claims| claims["jti"] = json!(7)),
        // Unbound, and bound to what nobody proves.
        ("GRANT_INVALID", |claims| drop(claims.as_object_mut().unwrap().remove("cnf"))),
        ("GRANT_INVALID", |claims| claims["cnf"] = json!({ "jkt": "x" })),
        ("GRANT_INVALID", |claims| claims["cnf"]["jkt"] = json!("x")),
        ("GRANT_BOUND_ELSEWHERE", |claims| claims["cnf"] = json!({ "x5t#S256": "A".repeat(43) })),
        ("GRANT_NOT_FOR_CLIENT", |claims| claims["client_id"] = json!("spiffe://staging.example/other")),
        // Names that are not its to give.
        ("GRANT_INVALID", |claims| claims["sub"] = json!("spiffe://prod.example/ns/shop/sa/frontend")),
        ("GRANT_INVALID", |claims| claims["sub"] = json!("SPIFFE://staging.example/web")),
        ("GRANT_INVALID", |claims| claims["sub"] = json!("a b")),
        ("GRANT_SUBJECT_NOT_ACCEPTED", |claims| claims["sub"] = json!("bob")),
        // Actors that the client is not one of, and malformed ones.
        ("GRANT_INVALID", |claims| claims["act"] = json!({ "sub": "spiffe://staging.example/other" })),
        ("GRANT_INVALID", |claims| claims["act"] = json!({ "sub": CHECKOUT, "iss": "https://x" })),
        ("GRANT_INVALID", |claims| claims["act"] = json!("x")),
        ("GRANT_INVALID", |claims| claims["may_act"] = json!({ "sub": CHECKOUT, "iss": ISSUER })),
        ("INVALID_SCOPE", |claims| claims["scope"] = json!("orders.write")),
        ("INVALID_SCOPE", |claims| drop(claims.as_object_mut().unwrap().remove("scope"))),
        ("GRANT_INVALID", |claims| claims["scope"] = json!(null)),
        ("GRANT_INVALID", |claims| claims["sub"] = json!(null)),
    ];
    for (number, (expected, fault)) in faults.into_iter().enumerate() {
        assert_eq!(partnered.refused(fault), expected, "{number}");
        let outcome = partnered.use_by(checkout, &using_grant(&partnered.grant_with(fault)));
        let told =
            if expected == "INVALID_SCOPE" { ExchangeRefusal::InvalidScope } else { ExchangeRefusal::InvalidGrant };
        assert_eq!(outcome.unwrap_err(), told, "{number}");
    }
    // Another key, another typ, and a header with a key in it.
    let header = |change: Change| {
        let mut header = json!({ "alg": "ES256", "kid": "partner-1", "typ": "authorization-grant+jwt" });
        change(&mut header);
        header.to_string()
    };
    let claims = partnered.claims().to_string();
    for (number, grant) in [
        key.sign(&header(|_| {}), &claims),
        partnered.key.sign(&header(|header| header["typ"] = json!("JWT")), &claims),
        partnered.key.sign(&header(|header| header["typ"] = json!("at+jwt")), &claims),
        partnered.key.sign(&header(|header| drop(header.as_object_mut().unwrap().remove("typ"))), &claims),
        partnered.key.sign(&header(|header| header["jku"] = json!("https://attacker.example")), &claims),
        partnered.key.sign(&header(|header| header["kid"] = json!("partner-2")), &claims),
        "garbage".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(partnered.reason(checkout, &using_grant(&grant)), "GRANT_INVALID", "{number}");
    }
    // Nothing of all that has used it up; the token endpoint is a name of this server too.
    assert_eq!(partnered.refused(|claims| claims["aud"] = json!(TOKEN_ENDPOINT)), "");
    let application = partnered.key.sign(
        &header(|header| header["typ"] = json!("application/authorization-grant+JWT")),
        &partnered.grant_claims("grant-2").to_string(),
    );
    assert_eq!(partnered.reason(checkout, &using_grant(&application)), "");
    // In its time: no leeway.
    partnered.fixture.clock.advance(Duration::from_secs(59));
    assert_eq!(partnered.refused(|claims| claims["jti"] = json!("grant-3")), "");
    partnered.fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(partnered.refused(|claims| claims["jti"] = json!("grant-4")), "GRANT_INVALID");
}

// X27: by another client, over another certificate
#[test]
fn a_grant_is_worth_nothing_to_anybody_else_and_over_no_other_certificate() {
    let partnered = Partnered::new().registered();
    let grant = using_grant(&partnered.grant_with(|_| {}));
    let svid = |id: &str| partnered.fixture.staging.svid(id).issue();
    let (again, other) = (svid(CHECKOUT), svid("spiffe://staging.example/other"));
    assert_eq!(partnered.reason(&again, &grant), "GRANT_BOUND_ELSEWHERE");
    assert_eq!(partnered.reason(&other, &grant), "GRANT_NOT_FOR_CLIENT");
    // One that names a client which may use none of this issuer.
    let third = svid("spiffe://staging.example/third");
    let theirs = partnered.grant_with(|claims| {
        claims["client_id"] = json!("spiffe://staging.example/third");
        claims["act"] = json!({ "sub": "spiffe://staging.example/third" });
        claims["cnf"] = json!({ "x5t#S256": third.thumbprint().to_string() });
    });
    assert_eq!(partnered.reason(&third, &using_grant(&theirs)), "GRANT_NOT_FOR_CLIENT");
    // Who pretends to be the client, and a client that is not registered for the grant type.
    let pretending = ExchangeRequest { client_id: Some(CHECKOUT.to_owned()), ..grant.clone() };
    assert_eq!(partnered.reason(&other, &pretending), "NOT_GRANTED");
    partnered.fixture.update(ClientMetadata { grant_types: vec!["client_credentials".to_owned()], ..using(CHECKOUT) });
    assert_eq!(partnered.reason(&partnered.checkout, &grant), "UNAUTHORIZED_CLIENT");
    let exchanging = vec!["client_credentials".to_owned(), TOKEN_EXCHANGE.to_owned()];
    partnered.fixture.update(ClientMetadata { grant_types: exchanging, ..using(CHECKOUT) });
    assert_eq!(partnered.reason(&partnered.checkout, &grant), "UNAUTHORIZED_CLIENT");
    partnered.fixture.update(using(CHECKOUT));
    assert_eq!(partnered.reason(&partnered.checkout, &grant), "");
}
