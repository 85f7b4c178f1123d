//! Tokens of another issuer that are exchanged for nothing. Beside each, what differs from it in that alone is exchanged.

use lanyard::authority::records::RegistryError;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::ExchangeRuleMetadata;
use lanyard::authority::registration::TxnRuleMetadata;
use lanyard::authority::resources::DelegatedMetadata;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::trust::SubjectKind;
use lanyard::authority::trust::SubjectTerms;
use serde_json::Value;
use serde_json::json;

use crate::exchange::gateway::Gateway;
use crate::exchange::gateway::IDP;
use crate::exchange::gateway::foreign_rule;
use crate::exchange::gateway::grant_types;
use crate::exchange::gateway::terms;
use crate::exchange::support::at;
use crate::exchange::support::client;
use crate::exchange::support::id;
use crate::exchange::support::resource;
use crate::exchange::support::rule;
use crate::support::NOW;
use crate::support::authority::ADMIN;
use crate::support::authority::ISSUER;
use crate::support::authority::ready;
use crate::support::jwt_svid::JwtKey;

/// A change of the claims.
type Change = fn(&mut Value);

// X26, TX3, TX23
#[test]
fn each_claim_is_needed_and_refused_where_it_is_wrong() {
    let gateway = Gateway::new();
    assert_eq!(gateway.refused(|_| {}), "");
    let faults: [Change; 27] = [
        |claims| claims["aud"] = json!(null),
        |claims| claims["aud"] = json!("https://kubernetes.default.svc"),
        |claims| claims["aud"] = json!([ISSUER, "https://kubernetes.default.svc"]),
        |claims| claims["aud"] = json!(["https://kubernetes.default.svc", ISSUER]),
        |claims| claims["aud"] = json!(format!("{ISSUER}/")),
        |claims| drop(claims.as_object_mut().unwrap().remove("exp")),
        |claims| drop(claims.as_object_mut().unwrap().remove("iat")),
        |claims| claims["exp"] = json!(NOW.0),
        |claims| claims["exp"] = json!(NOW.0 + 3601),
        |claims| claims["exp"] = json!("soon"),
        |claims| claims["nbf"] = json!(NOW.0 + 6),
        |claims| claims["iat"] = json!(NOW.0 + 6),
        |claims| claims["sub"] = json!(null),
        |claims| claims["sub"] = json!(""),
        |claims| claims["sub"] = json!(["alice"]),
        |claims| claims["sub"] = json!("alice in wonderland"),
        |claims| claims["sub"] = json!("alice\nx-lanyard-scope: all"),
        // An internal name is nobody else's to give, in any spelling.
        |claims| claims["sub"] = json!("spiffe://prod.example/ns/shop/sa/frontend"),
        |claims| claims["sub"] = json!("SPIFFE://prod.example/ns/shop/sa/frontend"),
        |claims| claims["scope"] = json!(null),
        |claims| claims["scope"] = json!(7),
        |claims| claims["scope"] = json!({ "shop.buy": true }),
        |claims| claims["scope"] = json!(["shop.buy", 7]),
        |claims| claims["scope"] = json!(["shop.view shop.buy"]),
        |claims| claims["scope"] = json!("shop.buy  shop.view"),
        |claims| claims["scope"] = json!("shop.buy\""),
        |claims| claims["jti"] = json!({ "cnf": 1 }),
    ];
    let last = faults.len() - 1;
    for (number, fault) in faults.iter().enumerate() {
        // A jti that is no text is none.
        let expected = if number == last { "" } else { "FOREIGN_INVALID" };
        assert_eq!(gateway.refused(fault), expected, "{number}");
    }
    let right: [Change; 7] = [
        |claims| claims["aud"] = json!([ISSUER]),
        |claims| claims["exp"] = json!(NOW.0 + 3600),
        |claims| claims["nbf"] = json!(NOW.0 + 5),
        |claims| claims["sub"] = json!("auth0|0123"),
        |claims| claims["scope"] = json!(["shop.buy", "openid"]),
        |claims| drop(claims.as_object_mut().unwrap().remove("jti")),
        |claims| claims["jti"] = json!("x".repeat(900)),
    ];
    for (number, right) in right.iter().enumerate() {
        assert_eq!(gateway.refused(right), "", "{number}");
    }
    // Its scopes are not known by any other claim, and unknown is none.
    let unknown: [Change; 4] = [
        |claims| drop(claims.as_object_mut().unwrap().remove("scope")),
        |claims| (claims["scope"], claims["scp"]) = (json!("openid"), json!("shop.buy")),
        |claims| claims["scope"] = json!("orders.read"),
        |claims| claims["scope"] = json!(""),
    ];
    for change in unknown {
        assert_eq!(gateway.refused(change), "INVALID_SCOPE");
    }
    let nested = |pointer: Option<&str>| SubjectTerms { scope_claim: pointer.map(ToOwned::to_owned), ..terms() };
    gateway.trust(nested(None));
    assert_eq!(gateway.refused(|_| {}), "INVALID_SCOPE");
    gateway.trust(nested(Some("/realm/ro~1les")));
    assert_eq!(gateway.refused(|_| {}), "INVALID_SCOPE");
    assert_eq!(gateway.refused(|claims| claims["realm"] = json!({ "ro/les": ["shop.buy"] })), "");
}

// X26: kid, jku, keys; X19, TX15: the type that it is said to be selects its verifier
#[test]
fn only_a_key_of_the_named_issuer_and_the_type_that_it_is_said_to_be_count() {
    let gateway = Gateway::new();
    let signed = |key: &JwtKey, header: &Value, claims: &Value| key.sign(&header.to_string(), &claims.to_string());
    let (own, claims) = (gateway.header(), Gateway::claims());
    let other = JwtKey::new("idp-1");
    let header = |change: Change| {
        let mut header = gateway.header();
        change(&mut header);
        signed(&gateway.key, &header, &claims)
    };
    let as_access_token = |token: &str| gateway.why_not(&Gateway::request(token));
    let as_jwt = |token: &str| gateway.why_not(&Gateway::jwt_request(token));
    assert_eq!(as_access_token(&signed(&gateway.key, &own, &claims)), "");
    let faults: [String; 9] = [
        signed(&other, &own, &claims),
        header(|header| header["kid"] = json!("idp-2")),
        header(|header| drop(header.as_object_mut().unwrap().remove("kid"))),
        header(|header| header["kid"] = json!("../idp-1")),
        header(|header| header["jku"] = json!("https://attacker.example/jwks")),
        header(|header| header["jwk"] = json!({})),
        header(|header| header["crit"] = json!(["exp"])),
        header(|header| header["alg"] = json!("none")),
        header(|header| header["alg"] = json!("HS256")),
    ];
    for (number, token) in faults.iter().enumerate() {
        assert_eq!(as_access_token(token), "FOREIGN_INVALID", "{number}");
    }
    // Each typ, as an access token and as a JWT.
    for (typ, access_token, jwt) in [
        (Some("at+jwt"), "", "FOREIGN_INVALID"),
        (Some("application/at+JWT"), "", "FOREIGN_INVALID"),
        (Some("JWT"), "FOREIGN_INVALID", ""),
        (None, "FOREIGN_INVALID", ""),
        (Some("txntoken+jwt"), "FOREIGN_INVALID", "FOREIGN_INVALID"),
        (Some("client-authentication+jwt"), "FOREIGN_INVALID", "FOREIGN_INVALID"),
        (Some("authorization-grant+jwt"), "FOREIGN_INVALID", "FOREIGN_INVALID"),
        (Some("token-introspection+jwt"), "FOREIGN_INVALID", "FOREIGN_INVALID"),
    ] {
        let mut header = json!({ "alg": "ES256", "kid": "idp-1" });
        if let Some(typ) = typ {
            header["typ"] = json!(typ);
        }
        let token = signed(&gateway.key, &header, &claims);
        assert_eq!((as_access_token(&token).as_str(), as_jwt(&token).as_str()), (access_token, jwt), "{typ:?}");
    }
    // Another issuer's name by the right key, this server's own, and one that is not trusted.
    for issuer in [ISSUER, "https://idp.example/", "https://IDP.example", "https://other.example"] {
        let mut claims = Gateway::claims();
        claims["iss"] = json!(issuer);
        let token = signed(&gateway.key, &own, &claims);
        // As an access token it is then taken for one of this server, which it is not.
        assert_eq!(as_access_token(&token), "SUBJECT_INVALID", "{issuer}");
        let jwt = signed(&gateway.key, &json!({ "alg": "ES256", "kid": "idp-1" }), &claims);
        assert_eq!(as_jwt(&jwt), "FOREIGN_INVALID", "{issuer}");
    }
    let token = gateway.shop.token("gateway");
    assert_eq!(as_jwt(&token), "FOREIGN_INVALID");
    // What the entry says of types counts.
    let jwt = signed(&gateway.key, &json!({ "alg": "ES256", "kid": "idp-1", "typ": "JWT" }), &claims);
    gateway.trust(SubjectTerms { kinds: vec![SubjectKind::AccessToken], typ: Some("JWT".to_owned()), ..terms() });
    assert_eq!((as_access_token(&jwt).as_str(), as_jwt(&jwt).as_str()), ("", "FOREIGN_INVALID"));
    assert_eq!(as_access_token(&signed(&gateway.key, &own, &claims)), "FOREIGN_INVALID");
}

// keycloak#50963: a bound token that nobody proves is somebody else's
#[test]
fn a_bound_token_is_exchanged_over_a_connection_with_its_certificate_alone() {
    let gateway = Gateway::new();
    let own = gateway.shop.leaf("gateway").thumbprint().to_string();
    let other = gateway.shop.fixture.prod.svid(&id("gateway")).issue().thumbprint().to_string();
    let to = |cnf: Value| gateway.refused(|claims| claims["cnf"] = cnf);
    assert_eq!(to(json!({ "x5t#S256": own })), "");
    assert_eq!(to(json!({ "x5t#S256": other })), "SUBJECT_BOUND_ELSEWHERE");
    for unproven in [
        json!(null),
        json!({}),
        json!([]),
        json!(own),
        json!({ "jkt": own }),
        json!({ "jwk": {} }),
        json!({ "x5t#S256": own, "jkt": "a" }),
        json!({ "x5t#S256": null }),
        json!({ "x5t#S256": "short" }),
    ] {
        assert_eq!(to(unproven.clone()), "FOREIGN_INVALID", "{unproven}");
    }
}

// X12
#[test]
fn a_may_act_names_the_client_of_this_server_by_its_issuer_or_refuses() {
    let gateway = Gateway::new();
    let with = |may_act: Value| gateway.refused(|claims| claims["may_act"] = may_act);
    assert_eq!(with(json!({ "sub": id("gateway"), "iss": ISSUER })), "");
    for (may_act, expected) in [
        // Without iss it would let that issuer name any client of this server.
        (json!({ "sub": id("gateway") }), "NOT_MAY_ACT"),
        (json!({ "sub": id("gateway"), "iss": IDP }), "NOT_MAY_ACT"),
        (json!({ "sub": id("frontend"), "iss": ISSUER }), "NOT_MAY_ACT"),
        (json!({ "sub": "", "iss": ISSUER }), "NOT_MAY_ACT"),
        (json!(id("gateway")), "FOREIGN_INVALID"),
        (json!([{ "sub": id("gateway"), "iss": ISSUER }]), "FOREIGN_INVALID"),
        (json!([id("gateway"), ISSUER]), "FOREIGN_INVALID"),
        (json!(null), "FOREIGN_INVALID"),
        (json!({}), "FOREIGN_INVALID"),
        (json!({ "iss": ISSUER }), "FOREIGN_INVALID"),
        (json!({ "sub": [id("gateway")], "iss": ISSUER }), "FOREIGN_INVALID"),
        (json!({ "sub": id("gateway"), "iss": null }), "FOREIGN_INVALID"),
        (json!({ "sub": id("gateway"), "iss": ISSUER, "aud": "x" }), "FOREIGN_INVALID"),
    ] {
        assert_eq!(with(may_act.clone()), expected, "{may_act}");
    }
}

#[test]
fn who_has_no_rule_for_the_issuer_gets_nothing_and_the_target_must_agree() {
    let mut gateway = Gateway::new();
    let token = gateway.token();
    gateway.shop.register(client("other", "orders", vec![rule("spiffe://prod.example/*", "orders", "orders")]));
    gateway.shop.register(client("nobody", "orders", Vec::new()));
    let by = |name: &str, gateway: &Gateway| gateway.shop.reason(&gateway.shop.peer(name), &Gateway::request(&token));
    assert_eq!(by("gateway", &gateway), "");
    assert_eq!((by("other", &gateway).as_str(), by("nobody", &gateway).as_str()), ("NO_RULE", "UNAUTHORIZED_CLIENT"));
    for (rules, expected) in [
        (vec![foreign_rule(&["alice"], "orders")], ""),
        (vec![foreign_rule(&["bob"], "orders")], "NO_RULE"),
        (vec![foreign_rule(&["Alice", "alice "], "orders")], "refused"),
        (
            vec![ExchangeRuleMetadata { issuer: Some("https://idp".to_owned()), ..foreign_rule(&["*"], "orders") }],
            "NO_RULE",
        ),
    ] {
        let changed = client("gateway", "orders", rules.clone());
        if expected == "refused" {
            let authority = &gateway.shop.fixture.authority;
            let admin = gateway.shop.fixture.svid(ADMIN);
            assert!(
                ready(authority.create_client(&admin, ClientMetadata { client_id: id("new"), ..changed }, true))
                    .is_err()
            );
        } else {
            gateway.shop.fixture.update(changed);
            assert_eq!(by("gateway", &gateway), expected, "{rules:?}");
        }
    }
    // The more specific rule counts, and no other.
    let narrow = ExchangeRuleMetadata { max_actors: Some(1), ..foreign_rule(&["alice"], "orders") };
    gateway.shop.fixture.update(client("gateway", "orders", vec![foreign_rule(&["*"], "orders"), narrow]));
    let acted = |claims: &mut Value| claims["act"] = json!({ "sub": "app" });
    assert_eq!(gateway.refused(acted), "TOO_MANY_ACTORS");
    assert_eq!(
        gateway.refused(|claims| {
            acted(claims);
            claims["sub"] = json!("bob");
        }),
        ""
    );
    // The target: it takes no delegated tokens, none of the gateway, or only those of a trust domain.
    let actors = |who: &str| Some(DelegatedMetadata { actors: vec![who.to_owned()], max_actors: Some(8), mode: None });
    for (changed, expected) in [
        (ResourceMetadata { delegated: None, ..resource("orders") }, "TARGET_NOT_ACCEPTING"),
        (ResourceMetadata { delegated: actors(&id("other")), ..resource("orders") }, "TARGET_NOT_ACCEPTING"),
        (ResourceMetadata { delegated: actors(&id("gateway")), ..resource("orders") }, ""),
        (
            ResourceMetadata { trust_domains: vec!["prod.example".to_owned()], ..resource("orders") },
            "TARGET_NOT_ACCEPTING",
        ),
    ] {
        gateway.shop.change(changed);
        assert_eq!(by("gateway", &gateway), expected);
    }
    let elsewhere =
        lanyard::authority::decision::ExchangeRequest { audience: vec![at("stock")], ..Gateway::request(&token) };
    assert_eq!(gateway.why_not(&elsewhere), "TARGET_NOT_IN_RULES");
    // A receipt is of no such token.
    let receipt = lanyard::authority::decision::ExchangeRequest {
        receipt: Some("lr1.a.b.c".to_owned()),
        ..Gateway::request(&token)
    };
    assert_eq!(gateway.why_not(&receipt), "RECEIPT_INVALID");
}

#[test]
fn each_wrong_value_of_a_rule_for_an_issuer_is_refused_by_the_fields_name() {
    let gateway = Gateway::new();
    let refused = |metadata: ClientMetadata| {
        let fixture = &gateway.shop.fixture;
        match ready(fixture.authority.create_client(&fixture.svid(ADMIN), metadata, true)) {
            Ok(_) => String::new(),
            Err(RegistryError::Invalid(invalid)) => invalid.field.to_owned(),
            Err(other) => other.code().to_owned(),
        }
    };
    let with = |change: &dyn Fn(&mut ExchangeRuleMetadata)| {
        let mut rule = foreign_rule(&["*"], "orders");
        change(&mut rule);
        client("new", "orders", vec![rule])
    };
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let several = |rules: Vec<ExchangeRuleMetadata>| client("new", "orders", rules);
    assert_eq!(refused(with(&|_| {})), "");
    assert_eq!(refused(several(vec![foreign_rule(&["*"], "orders"), foreign_rule(&["a", "b"], "orders")])), "");
    assert_eq!(refused(with(&|rule| rule.presented_at = at("orders"))), "exchange", "scopes that it does not define");
    for wrong in [
        with(&|rule| rule.issuer = Some(String::new())),
        with(&|rule| rule.issuer = Some("https://idp.example#".to_owned())),
        with(&|rule| rule.issuer = Some("spiffe://prod.example/idp".to_owned())),
        with(&|rule| rule.issuer = Some("https://*.example".to_owned())),
        with(&|rule| rule.issuer = None),
        with(&|rule| rule.subjects = texts(&["a*"])),
        with(&|rule| rule.subjects = texts(&["*", "alice"])),
        with(&|rule| rule.subjects = texts(&["repo:example/*:environment:prod"])),
        with(&|rule| rule.subjects.clear()),
        with(&|rule| rule.presentation = Some("receipt".to_owned())),
        with(&|rule| rule.least_evidence = Some("thumbprint".to_owned())),
        several(vec![foreign_rule(&["a", "b"], "orders"), foreign_rule(&["b"], "orders")]),
        several(vec![foreign_rule(&["*"], "orders"), foreign_rule(&["*"], "orders")]),
    ] {
        assert_eq!(refused(wrong.clone()), "exchange", "{:?}", wrong.exchange);
    }
    let txn = |change: &dyn Fn(&mut TxnRuleMetadata)| {
        let ExchangeRuleMetadata { subjects, issuer, grants, .. } = foreign_rule(&["*"], "orders");
        let mut rule = TxnRuleMetadata { subjects, issuer, grants, ..TxnRuleMetadata::default() };
        change(&mut rule);
        ClientMetadata { grant_types: grant_types(), txn: vec![rule], ..client("new", "orders", Vec::new()) }
    };
    assert_eq!(refused(txn(&|_| {})), "");
    for wrong in [
        txn(&|rule| rule.issuer = None),
        txn(&|rule| rule.presented_at = Some(at("orders"))),
        txn(&|rule| rule.scope = Some("order.place".to_owned())),
        txn(&|rule| rule.grants.clear()),
        txn(&|rule| rule.subjects = texts(&["a*"])),
        txn(&|rule| rule.subjects.clear()),
    ] {
        assert_eq!(refused(wrong.clone()), "txn", "{:?}", wrong.txn);
    }
}
