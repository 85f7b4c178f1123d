//! JWT-SVIDs: what proves a workload, and the nearest things that do not.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::trust::Bundle;
use lanyard::authority::trust::InvalidJwtSvid;
use lanyard::authority::trust::JwtAuthorities;
use lanyard::authority::trust::TrustBundles;
use serde_json::Value;
use serde_json::json;
use spiffe::TrustDomain;

use crate::support::NOW;
use crate::support::Xorshift;
use crate::support::authority::CHECKOUT;
use crate::support::authority::ISSUER;
use crate::support::jwt_svid::GOOD_FOR;
use crate::support::jwt_svid::JwtKey;
use crate::support::jwt_svid::claims;
use crate::support::mint::Mint;

const STAGING: &str = "spiffe://staging.example/ns/shop/sa/checkout";

/// Two trust domains, each with these keys.
fn bundles(prod: &[Value], staging: &[Value]) -> TrustBundles {
    let bundle = |jwks| Bundle { jwt: JwtAuthorities::new(jwks), ..Bundle::default() };
    let trust_domains = [("prod.example", bundle(prod)), ("staging.example", bundle(staging))]
        .map(|(name, bundle)| (TrustDomain::new(name).unwrap(), bundle));
    TrustBundles { trust_domains: trust_domains.into(), ..TrustBundles::default() }
}

fn prove(trust: &TrustBundles, token: &str) -> Result<String, InvalidJwtSvid> {
    trust.prove_jwt_svid(token, ISSUER, NOW).map(|svid| svid.spiffe_id().to_string())
}

fn one() -> (JwtKey, TrustBundles) {
    let key = JwtKey::new("one");
    let trust = bundles(&[key.jwk()], &[]);
    (key, trust)
}

fn with_header(key: &JwtKey, header: &str) -> String {
    key.sign(header, &claims(CHECKOUT, ISSUER).to_string())
}

/// The good claims with one set to this JSON text, whatever it is, or left out.
fn with_claim(key: &JwtKey, name: &str, json: Option<&str>) -> String {
    let mut claims = claims(CHECKOUT, ISSUER);
    claims.as_object_mut().unwrap().remove(name);
    let others = claims.to_string();
    let payload = json.map_or(others.clone(), |json| format!("{{\"{name}\":{json},{}", &others[1..]));
    key.sign(&key.header().to_string(), &payload)
}

// JWT-SVID sections 2 and 5.1
#[test]
fn each_of_the_nine_algorithms_proves_with_a_key_of_its_kind_and_with_no_other() {
    let names = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"];
    let keys = names.map(|name| JwtKey::of(name, name));
    let trust = bundles(&keys.each_ref().map(JwtKey::jwk), &[]);
    for key in &keys {
        assert_eq!(prove(&trust, &key.svid(CHECKOUT, ISSUER)).as_deref(), Ok(CHECKOUT), "{}", key.algorithm);
        for other in names.iter().filter(|name| **name != key.algorithm) {
            let header = json!({ "alg": other, "kid": key.kid }).to_string();
            let refused = prove(&trust, &with_header(key, &header)).unwrap_err();
            let same_kind = key.algorithm.starts_with(['R', 'P']) && other.starts_with(['R', 'P']);
            let expected = if same_kind { InvalidJwtSvid::Signature } else { InvalidJwtSvid::UnknownKey };
            assert_eq!(refused, expected, "{} as {other}", key.algorithm);
        }
    }
}

// JWT-SVID sections 2 and 5.1
#[test]
fn an_algorithm_that_jwt_svids_do_not_have_proves_nobody() {
    let ed = JwtKey::of("ed", "EdDSA");
    let rsa = JwtKey::of("rsa", "RS256");
    let trust = bundles(&[ed.jwk(), rsa.jwk()], &[]);
    assert_eq!(prove(&trust, &ed.svid(CHECKOUT, ISSUER)), Err(InvalidJwtSvid::Algorithm));
    let payload = URL_SAFE_NO_PAD.encode(claims(CHECKOUT, ISSUER).to_string());
    for name in ["none", "None", "nOnE", "NONE", "HS256", "HS384", "es256", "rs256", "ES256K", "RS1", "", "RS256 "] {
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": name, "kid": "rsa" }).to_string());
        // Unsigned, and signed with what everybody knows of the key.
        let jwk = rsa.jwk();
        let known = [jwk.to_string(), jwk["n"].as_str().unwrap().to_owned(), String::new()];
        for secret in known {
            let message = format!("{header}.{payload}");
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), message.as_bytes());
            for signature in [String::new(), URL_SAFE_NO_PAD.encode(tag)] {
                let token = format!("{message}.{signature}");
                assert_eq!(prove(&trust, &token), Err(InvalidJwtSvid::Algorithm), "{name:?}");
            }
        }
    }
    assert_eq!(prove(&trust, &rsa.svid(CHECKOUT, ISSUER)).as_deref(), Ok(CHECKOUT));
}

// JWT-SVID sections 2, 2.3, 3 and 5.1; RFC 8725 section 3.12
#[test]
fn the_header_has_three_members_at_most_and_none_of_them_brings_a_key() {
    let (key, trust) = one();
    for good in [
        r#"{"alg":"ES256"}"#,
        r#"{"alg":"ES256","kid":"one"}"#,
        r#"{"typ":"JOSE","alg":"ES256"}"#,
        r#"{"kid":"one","typ":"JWT","alg":"ES256"}"#,
    ] {
        assert_eq!(prove(&trust, &with_header(&key, good)).as_deref(), Ok(CHECKOUT), "{good}");
    }
    let stranger = JwtKey::new("one");
    let jwk = stranger.jwk();
    let presented = [
        ("jwk", jwk.clone()),
        ("jku", json!("https://attacker.example/jwks")),
        ("x5u", json!("https://attacker.example/x5u")),
        ("x5c", json!(["AAAA"])),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("cty", json!("JWT")),
        ("zip", json!("DEF")),
        ("x5t#S256", json!("AAAA")),
    ];
    for (name, value) in presented {
        for signer in [&key, &stranger] {
            let mut header = signer.header();
            header[name] = value.clone();
            let refused = prove(&trust, &with_header(signer, &header.to_string()));
            assert_eq!(refused, Err(InvalidJwtSvid::Header), "{header}");
        }
    }
    for (header, why) in [
        (r#"{"alg":"ES256","typ":"wit+jwt"}"#, InvalidJwtSvid::Type),
        (r#"{"alg":"ES256","typ":"at+jwt"}"#, InvalidJwtSvid::Type),
        (r#"{"alg":"ES256","typ":"jwt"}"#, InvalidJwtSvid::Type),
        (r#"{"alg":"ES256","typ":""}"#, InvalidJwtSvid::Type),
        (r#"{"alg":"ES256","typ":null}"#, InvalidJwtSvid::Header),
        (r#"{"alg":"ES256","kid":null}"#, InvalidJwtSvid::Header),
        (r#"{"alg":"ES256","kid":1}"#, InvalidJwtSvid::Header),
        (r#"{"alg":["ES256"],"kid":"one"}"#, InvalidJwtSvid::Header),
        (r#"{"kid":"one"}"#, InvalidJwtSvid::Algorithm),
        (r#"{"alg":"ES256","alg":"ES256"}"#, InvalidJwtSvid::Malformed),
        (r#"{"alg":"ES256","kid":"one","kid":"two"}"#, InvalidJwtSvid::Malformed),
        (r#"["ES256","one","JWT"]"#, InvalidJwtSvid::Malformed),
        (r#"{"alg":"ES256"} x"#, InvalidJwtSvid::Malformed),
        ("", InvalidJwtSvid::Malformed),
        (r#"{"alg":"ES256","kid":""}"#, InvalidJwtSvid::UnknownKey),
        (r#"{"alg":"ES256","kid":"One"}"#, InvalidJwtSvid::UnknownKey),
        (r#"{"alg":"ES256","kid":"../one"}"#, InvalidJwtSvid::UnknownKey),
        (r#"{"alg":"ES256","kid":"one\u0000"}"#, InvalidJwtSvid::UnknownKey),
    ] {
        assert_eq!(prove(&trust, &with_header(&key, header)), Err(why), "{header}");
    }
}

// JWT-SVID section 6.2; X509-SVID section 6.1; SPIFFE Federation sections 4.2 and 5.1
#[test]
fn only_the_keys_of_the_subjects_own_trust_domain_that_are_for_jwt_svids_prove_it() {
    let [prod, staging] = ["same", "same"].map(JwtKey::new);
    let trust = bundles(&[prod.jwk()], &[staging.jwk()]);
    assert_eq!(prove(&trust, &prod.svid(CHECKOUT, ISSUER)).as_deref(), Ok(CHECKOUT));
    assert_eq!(prove(&trust, &staging.svid(STAGING, ISSUER)).as_deref(), Ok(STAGING));
    for kid in [true, false] {
        let header = if kid { r#"{"alg":"ES256","kid":"same"}"# } else { r#"{"alg":"ES256"}"# };
        let crossed = [(&prod, STAGING), (&staging, CHECKOUT)];
        for (key, sub) in crossed {
            let token = key.sign(header, &claims(sub, ISSUER).to_string());
            assert_eq!(prove(&trust, &token), Err(InvalidJwtSvid::Signature), "{sub}");
        }
    }
    let unknown = prod.svid("spiffe://unknown.example/a", ISSUER);
    assert_eq!(prove(&trust, &unknown), Err(InvalidJwtSvid::UnknownTrustDomain));
    let jwk = |member: &str, value: Option<Value>| {
        let mut jwk = prod.jwk();
        match value {
            Some(value) => jwk[member] = value,
            None => drop(jwk.as_object_mut().unwrap().remove(member)),
        }
        jwk
    };
    let bare = with_header(&prod, r#"{"alg":"ES256"}"#);
    let unfit = [
        jwk("use", Some(json!("wit-svid"))),
        jwk("use", Some(json!("x509-svid"))),
        jwk("use", Some(json!("sig"))),
        jwk("use", Some(json!(null))),
        jwk("kid", None),
        jwk("alg", Some(json!("ES384"))),
        jwk("kty", Some(json!("RSA"))),
        jwk("crv", Some(json!("P-384"))),
        jwk("x", Some(json!("AA"))),
        jwk("x", Some(json!(7))),
        jwk("y", None),
    ];
    for unfit in unfit {
        let trust = bundles(std::slice::from_ref(&unfit), &[]);
        for token in [&prod.svid(CHECKOUT, ISSUER), &bare] {
            assert_eq!(prove(&trust, token), Err(InvalidJwtSvid::UnknownKey), "{unfit}");
        }
    }
    // As the Workload API gives it.
    let trust = bundles(&[jwk("use", None)], &[]);
    assert_eq!(prove(&trust, &bare).as_deref(), Ok(CHECKOUT));
}

#[test]
fn an_svid_without_a_kid_is_tried_with_a_bounded_number_of_keys_that_fit() {
    let rsa = JwtKey::of("0", "RS256");
    let keys: Vec<JwtKey> = (0..17).map(|number| JwtKey::new(&format!("key-{number:02}"))).collect();
    let jwks: Vec<Value> = std::iter::once(&rsa).chain(&keys).map(JwtKey::jwk).collect();
    let trust = bundles(&jwks, &[]);
    let bare = |key: &JwtKey| prove(&trust, &with_header(key, &json!({ "alg": key.algorithm }).to_string()));
    for key in keys.iter().take(16).chain([&rsa]) {
        assert_eq!(bare(key).as_deref(), Ok(CHECKOUT), "{}", key.kid);
    }
    assert_eq!(bare(&keys[16]), Err(InvalidJwtSvid::Signature));
    assert_eq!(prove(&trust, &keys[16].svid(CHECKOUT, ISSUER)).as_deref(), Ok(CHECKOUT), "by its kid");
}

#[test]
fn an_rsa_key_below_2048_bits_proves_nobody() {
    let key = JwtKey::of("rsa", "RS256");
    let mut short = key.jwk();
    let modulus = URL_SAFE_NO_PAD.decode(short["n"].as_str().unwrap()).unwrap();
    short["n"] = json!(URL_SAFE_NO_PAD.encode(&modulus[..128]));
    let refused = prove(&bundles(&[short], &[]), &key.svid(CHECKOUT, ISSUER));
    assert_eq!(refused, Err(InvalidJwtSvid::Signature));
}

// SPIFFE Trust Domain and Bundle section 4.1.3, and a bundle that its source no longer confirms
#[test]
fn a_bundle_counts_until_it_is_stale_and_an_empty_one_never() {
    let (key, mut trust) = one();
    let token = key.svid(CHECKOUT, ISSUER);
    let name = TrustDomain::new("prod.example").unwrap();
    for (good_until, expected) in
        [(NOW, Ok(CHECKOUT.to_owned())), (Timestamp(NOW.0 - 1), Err(InvalidJwtSvid::StaleBundle))]
    {
        trust.trust_domains.get_mut(&name).unwrap().good_until = Some(good_until);
        assert_eq!(prove(&trust, &token), expected);
    }
    assert_eq!(prove(&bundles(&[], &[]), &token), Err(InvalidJwtSvid::UnknownKey));
    assert_eq!(prove(&TrustBundles::default(), &token), Err(InvalidJwtSvid::UnknownTrustDomain));
}

// JWT-SVID sections 2.3 and 3; draft-ietf-oauth-spiffe-client-auth section 3.1
#[test]
fn every_claim_that_counts_is_there_once_and_of_its_type() {
    let (key, trust) = one();
    let issuer = &format!("\"{ISSUER}\"");
    let text = |value: &str| Value::from(value).to_string();
    let junk = ["null", "true", "\"1\"", "1.5", "-1", "1e30", "[]", "{}", "\"\""];
    let bad = |name: &'static str, values: &[String], why: InvalidJwtSvid| {
        for value in values {
            assert_eq!(prove(&trust, &with_claim(&key, name, Some(value))), Err(why), "{name} {value}");
        }
    };
    let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
    for (name, why) in
        [("sub", InvalidJwtSvid::Subject), ("aud", InvalidJwtSvid::Audience), ("exp", InvalidJwtSvid::Times)]
    {
        bad(name, &owned(&junk), why);
        assert_eq!(prove(&trust, &with_claim(&key, name, None)), Err(why), "{name}");
    }
    bad("nbf", &owned(&junk), InvalidJwtSvid::Times);
    let subjects = [
        "spiffe://prod.example",
        "spiffe://prod.example/",
        "SPIFFE://prod.example/a",
        "spiffe://Prod.example/a",
        "https://prod.example/a",
        "checkout",
        "spiffe://prod.example/a/../b",
        "spiffe://prod.example/a?x",
        "spiffe:///a",
    ];
    bad("sub", &subjects.map(text), InvalidJwtSvid::Subject);
    let array = |values: &[&str]| json!(values).to_string();
    let audiences = [
        text(&format!("{ISSUER}/")),
        text(&ISSUER.to_uppercase()),
        text(&ISSUER[..ISSUER.len() - 1]),
        text(&format!("{ISSUER} ")),
        text(&format!("{ISSUER}/oauth2/token")),
        array(&[ISSUER, "https://other.example"]),
        array(&[ISSUER, ISSUER]),
        format!("[[{issuer}]]"),
        format!("{{\"0\":{issuer}}}"),
    ];
    bad("aud", &audiences, InvalidJwtSvid::Audience);
    assert_eq!(prove(&trust, &with_claim(&key, "aud", Some(&array(&[ISSUER])))).as_deref(), Ok(CHECKOUT));
    bad("exp", &owned(&["1e400"]), InvalidJwtSvid::Malformed);
    for name in ["sub", "aud", "exp", "iat"] {
        let good = claims(CHECKOUT, ISSUER);
        let twice = format!("{{\"{name}\":{},{}", good[name], &good.to_string()[1..]);
        let token = key.sign(&key.header().to_string(), &twice);
        assert_eq!(prove(&trust, &token), Err(InvalidJwtSvid::Malformed), "{name} twice");
    }
    for ignored in ["iss", "jti", "iat", "anything"] {
        for value in ["\"https://attacker.example\"", "7", "null"] {
            let token = with_claim(&key, ignored, Some(value));
            assert_eq!(prove(&trust, &token).as_deref(), Ok(CHECKOUT), "{ignored} {value}");
        }
    }
}

// JWT-SVID sections 2.3 and 3
#[test]
fn it_is_good_from_nbf_until_the_last_second_before_exp_without_leeway() {
    let (key, trust) = one();
    let now = NOW.0;
    for (name, value, expected) in [
        ("exp", now + 1, Ok(())),
        ("exp", now, Err(InvalidJwtSvid::Expired)),
        ("exp", now - 1, Err(InvalidJwtSvid::Expired)),
        ("exp", 0, Err(InvalidJwtSvid::Expired)),
        ("exp", u64::MAX, Ok(())),
        ("nbf", now, Ok(())),
        ("nbf", now + 1, Err(InvalidJwtSvid::NotYetValid)),
        ("iat", now + 1000, Ok(())),
    ] {
        let token = with_claim(&key, name, Some(&value.to_string()));
        assert_eq!(prove(&trust, &token).map(drop), expected, "{name} {value}");
    }
    let token = key.svid(CHECKOUT, ISSUER);
    assert!(trust.prove_jwt_svid(&token, ISSUER, Timestamp(now + GOOD_FOR - 1)).is_ok());
    let late = trust.prove_jwt_svid(&token, ISSUER, Timestamp(now + GOOD_FOR));
    assert_eq!(late, Err(InvalidJwtSvid::Expired));
}

// JWT-SVID sections 2 and 5.1
#[test]
fn every_truncation_and_every_flipped_bit_proves_nobody() {
    let (key, trust) = one();
    let token = key.svid(CHECKOUT, ISSUER);
    assert!(prove(&trust, &token).is_ok());
    for end in 0..token.len() {
        assert!(prove(&trust, &token[..end]).is_err(), "{end}");
    }
    for at in 0..token.len() {
        for bit in 0..7 {
            let mut bytes = token.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let text = String::from_utf8(bytes).unwrap();
            assert!(prove(&trust, &text).is_err(), "{at} {bit}: {text}");
        }
    }
    let mut chance = Xorshift::new(7);
    for _ in 0..1000 {
        let noise: String =
            (0..chance.below(200)).map(|_| *chance.pick(&['.', 'e', 'A', '_', '=', '{', 'é'])).collect();
        assert!(prove(&trust, &noise).is_err(), "{noise}");
    }
}

#[test]
fn only_the_compact_form_is_read_and_only_up_to_its_bounds() {
    let (key, trust) = one();
    let token = key.svid(CHECKOUT, ISSUER);
    let parts: Vec<&str> = token.split('.').collect();
    let json = json!({ "payload": parts[1], "protected": parts[0], "signature": parts[2] }).to_string();
    let zeros = URL_SAFE_NO_PAD.encode([0; 64]);
    for (text, why) in [
        (json, InvalidJwtSvid::Malformed),
        (format!("{token}."), InvalidJwtSvid::Malformed),
        (format!(".{token}"), InvalidJwtSvid::Malformed),
        (format!("{token}.{token}"), InvalidJwtSvid::Malformed),
        (format!("{token}="), InvalidJwtSvid::Malformed),
        (format!(" {token}"), InvalidJwtSvid::Malformed),
        (format!("{token}\n"), InvalidJwtSvid::Malformed),
        (format!("{}.{}.{zeros}", parts[0], parts[1]), InvalidJwtSvid::Signature),
        (format!("{}.{}.", parts[0], parts[1]), InvalidJwtSvid::Signature),
    ] {
        assert_eq!(prove(&trust, &text), Err(why), "{text}");
    }
    let padded = |spaces: usize| with_claim(&key, "pad", Some(&Value::from(" ".repeat(spaces)).to_string()));
    assert!(prove(&trust, &padded(11_000)).is_ok());
    let large = padded(12_500);
    assert!(large.len() > 16 * 1024);
    assert_eq!(prove(&trust, &large), Err(InvalidJwtSvid::Malformed));
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    assert_eq!(prove(&trust, &with_claim(&key, "deep", Some(&deep))), Err(InvalidJwtSvid::Malformed));
}

// RFC 8725 section 3.12: even under one key neither passes for the other.
#[test]
fn an_access_token_is_no_jwt_svid_and_a_jwt_svid_no_access_token() {
    let mint = Mint::new();
    let jwks: Value = serde_json::from_str(&mint.fixture.authority.keys().jwks()).unwrap();
    let mut jwk = jwks["keys"][0].clone();
    jwk["use"] = json!("jwt-svid");
    let trust = bundles(&[jwk], &[]);
    assert_eq!(prove(&trust, &mint.token), Err(InvalidJwtSvid::Type));
    let header = json!({ "alg": "ES256", "kid": mint.kid(), "typ": "JWT" }).to_string();
    let svid = mint.sign(&header, &claims(CHECKOUT, ISSUER).to_string());
    assert_eq!(prove(&trust, &svid).as_deref(), Ok(CHECKOUT));
    mint.denied(&svid, lanyard::authority::deny_reason::DenyReason::TokenType);
}
