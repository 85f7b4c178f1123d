//! Which JWTs are assertions of a trusted issuer. Beside each that is refused, the one that differs from it in that alone is taken.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::trust::InvalidIssuerJwt as Invalid;
use lanyard::authority::trust::IssuerJwt;
use lanyard::client::assertion::JWT_BEARER;
use lanyard::client::assertion::JWT_SPIFFE;
use lanyard::proto::IssueTokenRequest;
use serde_json::Value;
use serde_json::json;
use tonic::Code;

use crate::issuer_jwt::cluster::CLUSTER;
use crate::issuer_jwt::cluster::Cluster;
use crate::issuer_jwt::cluster::account;
use crate::issuer_jwt::cluster::asserting;
use crate::issuer_jwt::cluster::started;
use crate::issuer_jwt::cluster::trust;
use crate::support::NOW;
use crate::support::ca::self_signed;
use crate::support::calls::refusal;
use crate::support::jwt_svid::JwtKey;
use crate::support::jwt_svid::trust_jwks;
use crate::support::server::ISSUER;
use crate::support::server::TestServer;

const OTHER: &str = "https://oidc.other.example";
const API_SERVER: &str = "https://kubernetes.default.svc";

impl TestServer {
    fn prove(&self, assertion: &str, now: Timestamp) -> Result<IssuerJwt, Invalid> {
        self.server.authority().trust().prove_issuer_jwt(assertion, now)
    }
}

// 7523-01, 7523b-01, SA-01, SA-02, TX27, X26
#[tokio::test]
async fn each_claim_of_an_assertion_is_needed_and_refused_where_it_is_wrong() {
    type Change = fn(&mut Value);
    let (server, cluster) = started().await;
    assert!(server.prove(&cluster.token(), NOW).is_ok());
    let cases: [(Invalid, Change); 31] = [
        (Invalid::UnknownIssuer, |claims| claims["iss"] = json!(null)),
        (Invalid::UnknownIssuer, |claims| claims["iss"] = json!(format!("{CLUSTER}/"))),
        (Invalid::UnknownIssuer, |claims| claims["iss"] = json!(CLUSTER.to_uppercase())),
        (Invalid::UnknownIssuer, |claims| claims["iss"] = json!([CLUSTER])),
        (Invalid::UnknownIssuer, |claims| claims["iss"] = json!(ISSUER)),
        (Invalid::Audience, |claims| claims["aud"] = json!(null)),
        (Invalid::Audience, |claims| claims["aud"] = json!([])),
        // That of every pod by default, and one that is good at both.
        (Invalid::Audience, |claims| claims["aud"] = json!([API_SERVER])),
        (Invalid::Audience, |claims| claims["aud"] = json!([ISSUER, API_SERVER])),
        (Invalid::Audience, |claims| claims["aud"] = json!([API_SERVER, ISSUER])),
        (Invalid::Audience, |claims| claims["aud"] = json!([ISSUER, ISSUER])),
        (Invalid::Audience, |claims| claims["aud"] = json!(format!("{ISSUER}/"))),
        (Invalid::Audience, |claims| claims["aud"] = json!(format!("{ISSUER}/oauth2/token"))),
        (Invalid::Times, |claims| drop(claims.as_object_mut().unwrap().remove("exp"))),
        (Invalid::Times, |claims| drop(claims.as_object_mut().unwrap().remove("iat"))),
        (Invalid::Times, |claims| claims["exp"] = json!((NOW.0 + 600).to_string())),
        (Invalid::Times, |claims| claims["iat"] = json!(-1)),
        (Invalid::Times, |claims| claims["nbf"] = json!(0.5)),
        (Invalid::Expired, |claims| claims["exp"] = json!(NOW.0)),
        (Invalid::TooLong, |claims| claims["exp"] = json!(NOW.0 + 3601)),
        (Invalid::TooLong, |claims| claims["exp"] = json!(u64::MAX)),
        (Invalid::TooLong, |claims| claims["iat"] = json!(NOW.0 - 3001)),
        (Invalid::NotYetValid, |claims| claims["nbf"] = json!(NOW.0 + 6)),
        (Invalid::NotYetValid, |claims| claims["iat"] = json!(NOW.0 + 6)),
        (Invalid::Subject, |claims| claims["sub"] = json!(null)),
        (Invalid::Subject, |claims| claims["sub"] = json!("")),
        (Invalid::Subject, |claims| claims["sub"] = json!({ "sub": "a" })),
        // What only the trust domain may say.
        (Invalid::SpiffeId, |claims| claims["sub"] = json!("spiffe://prod.example/checkout")),
        (Invalid::SpiffeId, |claims| claims["sub"] = json!("SPIFFE://prod.example/checkout")),
        // A token that is bound to a key which nobody has shown.
        (Invalid::Bound, |claims| claims["cnf"] = json!({ "x5t#S256": "x" })),
        (Invalid::Bound, |claims| claims["cnf"] = json!(null)),
    ];
    for (why, change) in cases {
        let token = cluster.token_with(change);
        assert_eq!(server.prove(&token, NOW), Err(why), "{token}");
    }
    let right: [Change; 7] = [
        |claims| claims["aud"] = json!(ISSUER),
        |claims| claims["exp"] = json!(NOW.0 + 3600),
        |claims| claims["exp"] = json!(NOW.0 + 1),
        |claims| claims["iat"] = json!(NOW.0 - 3000),
        |claims| claims["iat"] = json!(NOW.0 + 5),
        |claims| claims["nbf"] = json!(NOW.0 + 5),
        |claims| drop(claims.as_object_mut().unwrap().remove("nbf")),
    ];
    for change in right {
        let token = cluster.token_with(change);
        assert!(server.prove(&token, NOW).is_ok(), "{token}");
    }
    let token = cluster.token();
    assert!(server.prove(&token, Timestamp(NOW.0 + 599)).is_ok());
    assert_eq!(server.prove(&token, Timestamp(NOW.0 + 600)), Err(Invalid::Expired));
}

// X25, X26: kid, jku, jwk, alg
#[tokio::test]
async fn a_header_chooses_a_key_of_the_issuer_and_nothing_else() {
    let (server, cluster) = started().await;
    let own = JwtKey::new("first");
    let with = |key: &JwtKey, change: &dyn Fn(&mut Value)| {
        let mut header = cluster.header();
        change(&mut header);
        key.sign(&header.to_string(), &cluster.claims().to_string())
    };
    let put = |name: &'static str, value: Value| move |header: &mut Value| header[name] = value.clone();
    let jwks = json!({ "keys": [own.jwk()] });
    for (why, key, change) in [
        (Invalid::Header, &own, &put("jwk", own.jwk()) as &dyn Fn(&mut Value)),
        (Invalid::Header, &own, &put("jku", json!("https://attacker.example/jwks"))),
        (Invalid::Header, &own, &put("x5u", json!("https://attacker.example/x5u"))),
        (Invalid::Header, &own, &put("x5c", json!(["MII="]))),
        (Invalid::Header, &cluster.key, &put("jku", json!("https://attacker.example/jwks"))),
        (Invalid::Header, &cluster.key, &put("crit", json!(["exp"]))),
        (Invalid::Header, &cluster.key, &put("b64", json!(false))),
        (Invalid::Header, &cluster.key, &put("kid", json!(1))),
        (Invalid::Header, &cluster.key, &put("jwks", jwks)),
        (Invalid::UnknownKey, &cluster.key, &put("kid", json!(""))),
        (Invalid::UnknownKey, &cluster.key, &put("kid", json!("../first"))),
        (Invalid::UnknownKey, &cluster.key, &put("kid", json!("first' OR '1'='1"))),
        (Invalid::UnknownKey, &cluster.key, &|header| drop(header.as_object_mut().unwrap().remove("kid"))),
        // Of the right name, and not the issuer's.
        (Invalid::Signature, &own, &|_| {}),
        (Invalid::Algorithm, &cluster.key, &put("alg", json!("none"))),
        (Invalid::Algorithm, &cluster.key, &put("alg", json!("HS256"))),
        (Invalid::Algorithm, &cluster.key, &put("alg", json!("es256"))),
        (Invalid::Algorithm, &cluster.key, &put("alg", json!("EdDSA"))),
        (Invalid::Algorithm, &cluster.key, &|header| drop(header.as_object_mut().unwrap().remove("alg"))),
        (Invalid::UnknownKey, &cluster.key, &put("alg", json!("RS256"))),
        (Invalid::UnknownKey, &cluster.key, &put("alg", json!("ES384"))),
        // The kinds that have a name of their own.
        (Invalid::Type, &cluster.key, &put("typ", json!("at+jwt"))),
        (Invalid::Type, &cluster.key, &put("typ", json!("application/at+jwt"))),
        (Invalid::Type, &cluster.key, &put("typ", json!("txntoken+jwt"))),
        (Invalid::Type, &cluster.key, &put("typ", json!("token-introspection+jwt"))),
        (Invalid::Type, &cluster.key, &put("typ", json!("wit+jwt"))),
        (Invalid::Type, &cluster.key, &put("typ", json!("JOSE"))),
    ] {
        let token = with(key, change);
        assert_eq!(server.prove(&token, NOW), Err(why), "{token}");
    }
    for typ in ["JWT", "jwt", "client-authentication+jwt"] {
        let token = with(&cluster.key, &put("typ", json!(typ)));
        assert!(server.prove(&token, NOW).is_ok(), "{typ}");
    }
    for name in ["x5t", "x5t#S256"] {
        assert!(server.prove(&with(&cluster.key, &put(name, json!("x"))), NOW).is_ok(), "{name}");
    }
    // Unsigned, signed with the public key as a secret, cut and changed.
    let [header, payload] = [json!({ "alg": "none", "kid": "first" }), cluster.claims()];
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = format!("{}.{}.", encode(&header), encode(&payload));
    assert_eq!(server.prove(&unsigned, NOW), Err(Invalid::Algorithm));
    let message = format!("{}.{}", encode(&json!({ "alg": "HS256", "kid": "first" })), encode(&payload));
    let secret = hmac::Key::new(hmac::HMAC_SHA256, cluster.jwks().as_bytes());
    let tag = URL_SAFE_NO_PAD.encode(hmac::sign(&secret, message.as_bytes()));
    assert_eq!(server.prove(&format!("{message}.{tag}"), NOW), Err(Invalid::Algorithm));
    let token = cluster.token();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    assert_eq!(server.prove(&format!("{signed}."), NOW), Err(Invalid::Signature));
    assert_eq!(server.prove(signed, NOW), Err(Invalid::Malformed));
    let other = cluster.fresh("other");
    let swapped = format!("{}.{signature}", other.rsplit_once('.').unwrap().0);
    assert_eq!(server.prove(&swapped, NOW), Err(Invalid::Signature));
    for odd in ["", "..", "a.b.c", "e30.W10.x", &"a".repeat(100_000)] {
        assert_eq!(server.prove(odd, NOW), Err(Invalid::Malformed), "{odd:.20}");
    }
    let twice = cluster.claims().to_string().replacen('{', "{\"sub\":\"system:serviceaccount:kube-system:admin\",", 1);
    let twice = cluster.key.sign(&cluster.header().to_string(), &twice);
    assert_eq!(server.prove(&twice, NOW), Err(Invalid::Malformed));
}

// X26: the right key of another issuer
#[tokio::test]
async fn the_key_of_one_issuer_proves_nothing_for_another() {
    let (cluster, other) = (Cluster::new(), Cluster::named(OTHER, "first"));
    let server = TestServer::started(|setup| trust(setup, &[("prod", &cluster), ("other", &other)])).await;
    server.register(account("checkout")).await.unwrap();
    let own = self_signed("own").issue();
    let invalid = (Code::Unauthenticated, "INVALID_CLIENT".to_owned());
    // Each says who it is: one is the wrong issuer's name, the other the wrong issuer's key.
    assert!(server.prove(&other.token(), NOW).is_ok());
    assert_eq!(refusal(server.assert(&own, &other.token()).await), invalid);
    let posing = other.token_with(|claims| claims["iss"] = json!(CLUSTER));
    assert_eq!(server.prove(&posing, NOW), Err(Invalid::Signature));
    assert_eq!(refusal(server.assert(&own, &posing).await), invalid);
    server.assert(&own, &cluster.token()).await.unwrap();
}

// TX15, X19: each kind in its own slot alone
#[tokio::test]
async fn each_kind_of_jwt_is_accepted_under_its_own_type_alone() {
    let (server, cluster) = started().await;
    server.register(account("checkout")).await.unwrap();
    let svids = JwtKey::new("svids");
    trust_jwks(server.server.authority(), "prod.example", &[svids.jwk()]);
    let own = self_signed("own").issue();
    let access_token = server.assert(&own, &cluster.token()).await.unwrap().access_token;
    let svid = svids.svid("spiffe://prod.example/checkout", ISSUER);
    let invalid = (Code::Unauthenticated, "INVALID_CLIENT".to_owned());
    for assertion in [&access_token, &svid] {
        assert_eq!(refusal(server.assert(&own, assertion).await), invalid, "{assertion}");
    }
    assert_eq!(server.prove(&access_token, NOW), Err(Invalid::Type));
    assert_eq!(server.prove(&svid, NOW), Err(Invalid::UnknownIssuer));
    let in_the_other_slot = |kind: &str| IssueTokenRequest {
        client_assertion_type: kind.to_owned(),
        ..asserting("checkout", &cluster.token())
    };
    for kind in [JWT_SPIFFE, "urn:ietf:params:oauth:client-assertion-type:saml2-bearer", "jwt-bearer"] {
        assert_eq!(refusal(server.issue(&own, in_the_other_slot(kind)).await), invalid, "{kind}");
    }
    server.issue(&own, in_the_other_slot(JWT_BEARER)).await.unwrap();
    // Nor is it an access token.
    let denied = server.validate(&cluster.token(), crate::support::server::certificate_of(&own)).await.unwrap();
    assert_eq!(denied.decision(), lanyard::proto::Decision::Deny);
}
