//! Tokens of another issuer as subjects: what a gateway gets for a user's token, what it says, and what ends it.

use std::collections::BTreeMap;
use std::time::Duration;

use lanyard::authority::access::Requester;
use lanyard::authority::decision::Decision;
use lanyard::authority::decision::LastAdmin;
use lanyard::authority::decision::RevokeRequest;
use lanyard::authority::decision::TxnRequest;
use lanyard::authority::decision::TxnSubject;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::registration::ClientId;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::ExchangeRuleMetadata;
use lanyard::authority::registration::ScopeGrantMetadata;
use lanyard::authority::registration::TxnRuleMetadata;
use lanyard::authority::registration::TxnTokenPolicy;
use lanyard::authority::trust::Proves;
use serde_json::json;

use crate::exchange::gateway::ALICE;
use crate::exchange::gateway::Gateway;
use crate::exchange::gateway::IDP;
use crate::exchange::gateway::foreign_rule;
use crate::exchange::gateway::grant_types;
use crate::exchange::gateway::terms;
use crate::exchange::support::Shop;
use crate::exchange::support::at;
use crate::exchange::support::claims;
use crate::exchange::support::client;
use crate::exchange::support::id;
use crate::exchange::support::rule;
use crate::support::NOW;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::authority::self_signed_client;
use crate::support::ca::self_signed;
use crate::support::jwt_svid::JwtKey;
use crate::support::mint::part;
use crate::support::unreferenced::Unreferenced as _;

/// What ends a token.
type End = fn(&Gateway);

fn revoke(shop: &Shop, target: RevokeRequest) {
    let authority = &shop.fixture.authority;
    let admin = authority.as_caller(&shop.fixture.svid(ADMIN));
    let requester = Requester { client_id: None, roles: admin.roles.clone(), sender: admin.sender() };
    ready(authority.revoke(&admin, &requester, target, LastAdmin::Stays)).unwrap();
}

fn denied(gateway: &Gateway, token: &str) -> Option<DenyReason> {
    match gateway.shop.fixture.evaluate(token, gateway.shop.leaf("gateway")) {
        Decision::Allow(_) => None,
        Decision::Deny(reason) => Some(reason),
    }
}

// E9, X20, TX23
#[test]
fn a_gateway_acts_for_whom_another_issuer_speaks_for_with_its_own_certificate() {
    let gateway = Gateway::new();
    let issued = gateway.exchange(&gateway.token());
    let said = claims(&issued.access_token);
    assert_eq!(said["sub"], ALICE);
    assert_eq!((&said["client_id"], &said["act"]), (&json!(id("gateway")), &json!({ "sub": id("gateway") })));
    assert_eq!(
        (said["aud"].as_str(), said["scope"].as_str()),
        (Some(at("orders").as_str()), Some("orders.read orders.write"))
    );
    assert_eq!((&said["iat"], &said["exp"]), (&json!(NOW.0), &json!(NOW.0 + 60)));
    let leaf = gateway.shop.leaf("gateway");
    assert_eq!(said["cnf"], json!({ "x5t#S256": leaf.thumbprint().to_string() }));
    let from = json!([{
        "jti": "idp-token-1", "iat": NOW.0, "client_id": ALICE, "creation": "", "x5t": "", "iss": IDP,
    }]);
    assert_eq!(said["lanyard_from"], from);
    assert_eq!(denied(&gateway, &issued.access_token), None);
    // Nobody else's certificate: the token that came in was bound to none, and this one is.
    let other = gateway.shop.fixture.prod.svid(&id("gateway")).issue();
    assert!(matches!(gateway.shop.fixture.evaluate(&issued.access_token, &other), Decision::Deny(_)));
    // The same token as a JWT, where its typ is one.
    let header = json!({ "alg": "ES256", "kid": "idp-1" }).to_string();
    let jwt = gateway.key.sign(&header, &Gateway::claims().to_string());
    assert_eq!(gateway.why_not(&Gateway::jwt_request(&jwt)), "");
}

// TX4, X14
#[test]
fn it_lives_for_a_minute_unless_the_rule_says_otherwise_and_never_longer_than_what_it_comes_from() {
    for (ttl, exp, expected) in [
        (None, 600, 60),
        (None, 30, 30),
        (Some(Duration::from_mins(5)), 600, 300),
        (Some(Duration::from_mins(5)), 200, 200),
        (Some(Duration::from_secs(10)), 600, 10),
    ] {
        let gateway = Gateway::with(vec![ExchangeRuleMetadata { ttl, ..foreign_rule(&["*"], "orders") }]);
        let issued = gateway.exchange(&gateway.token_with(|claims| claims["exp"] = json!(NOW.0 + exp)));
        assert_eq!(claims(&issued.access_token)["exp"], json!(NOW.0 + expected), "{ttl:?} {exp}");
        assert_eq!(issued.expires_in.as_secs(), expected);
    }
    let gateway = Gateway::new();
    let token = gateway.token();
    gateway.shop.fixture.clock.advance(Duration::from_secs(599));
    assert_eq!(gateway.why_not(&Gateway::request(&token)), "");
    gateway.shop.fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(gateway.why_not(&Gateway::request(&token)), "FOREIGN_INVALID");
}

// The cascade, as far as it is known: what is revoked at the issuer is not.
#[test]
fn what_ends_the_users_token_here_ends_what_came_from_it() {
    let alice = || ClientId::parse(ALICE).unwrap();
    let ends: [(&str, End, bool); 8] = [
        ("nothing", |_| {}, false),
        ("the jti", |gateway| revoke(&gateway.shop, RevokeRequest::TokenId("idp-token-1".to_owned())), true),
        ("another jti", |gateway| revoke(&gateway.shop, RevokeRequest::TokenId("idp-token-2".to_owned())), false),
        (
            "the user",
            |gateway| revoke(&gateway.shop, RevokeRequest::Client(ClientId::parse(ALICE).unwrap(), None)),
            true,
        ),
        (
            "what came for the user",
            |gateway| {
                revoke(&gateway.shop, RevokeRequest::IssuedTo(ClientId::parse(ALICE).unwrap()));
            },
            true,
        ),
        (
            "another user",
            |gateway| {
                revoke(&gateway.shop, RevokeRequest::Client(ClientId::parse("https://idp.example#bob").unwrap(), None));
            },
            false,
        ),
        ("the issuer", |gateway| gateway.replace_issuers(BTreeMap::new()), true),
        ("the issuer, for this", |gateway| gateway.trust_for(Proves::Clients), true),
    ];
    assert!(alice().spiffe_id().is_none());
    for (what, end, ended) in ends {
        let gateway = Gateway::new();
        let token = gateway.token();
        let issued = gateway.exchange(&token).access_token;
        assert_eq!(denied(&gateway, &issued), None);
        end(&gateway);
        assert_eq!(denied(&gateway, &issued), ended.then_some(DenyReason::DelegationBroken), "{what}");
        assert_eq!(gateway.why_not(&Gateway::request(&token)).is_empty(), !ended, "{what}");
    }
    // And those of the gateway, as any.
    let gateway = Gateway::new();
    let issued = gateway.exchange(&gateway.token()).access_token;
    revoke(&gateway.shop, RevokeRequest::Client(ClientId::parse(&id("gateway")).unwrap(), None));
    assert_eq!(denied(&gateway, &issued), Some(DenyReason::ClientRevoked));
}

// X10, X11: the history that the issuer tells is kept, with its issuer, and no more than may act
#[test]
fn who_acted_before_at_the_issuer_is_kept_below_with_its_issuer() {
    let gateway = Gateway::new();
    let told = json!({ "sub": "app", "client_id": "ignored", "act": { "sub": "bot", "iss": "https://other.example" } });
    let token = gateway.token_with(|claims| claims["act"] = told.clone());
    let kept = json!({ "sub": "app", "iss": IDP, "act": { "sub": "bot", "iss": "https://other.example" } });
    let issued = gateway.exchange(&token).access_token;
    assert_eq!(claims(&issued)["act"], json!({ "sub": id("gateway"), "act": kept }));
    assert_eq!(denied(&gateway, &issued), None);
    // The rule lets four act, and the gateway is one of them.
    for (earlier, expected) in [(3, ""), (4, "TOO_MANY_ACTORS"), (9, "FOREIGN_INVALID")] {
        let chain = (0..earlier).fold(json!(null), |act, number| {
            let mut actor = json!({ "sub": format!("app-{number}") });
            if !act.is_null() {
                actor["act"] = act;
            }
            actor
        });
        assert_eq!(gateway.refused(|claims| claims["act"] = chain), expected, "{earlier}");
    }
    for malformed in [
        json!(null),
        json!("app"),
        json!([]),
        json!({}),
        json!({ "sub": 1 }),
        json!({ "sub": "" }),
        json!({ "sub": "a b" }),
        json!({ "sub": "app", "iss": null }),
        json!({ "sub": "app", "act": null }),
        json!({ "sub": "app", "act": "bot" }),
        json!({ "iss": IDP }),
    ] {
        assert_eq!(gateway.refused(|claims| claims["act"] = malformed.clone()), "FOREIGN_INVALID", "{malformed}");
    }
}

// The token of the gateway is one as any: the next service exchanges it by a rule of its own.
#[test]
fn the_next_service_acts_for_the_user_by_a_rule_that_names_the_issuer() {
    let mut gateway = Gateway::new();
    let told = json!({ "sub": "app" });
    let token = gateway.token_with(|claims| claims["act"] = told);
    let first = gateway.exchange(&token).access_token;
    let onward = |subjects: &[&str]| ExchangeRuleMetadata {
        subjects: subjects.iter().map(|subject| (*subject).to_owned()).collect(),
        issuer: Some(IDP.to_owned()),
        ..rule("", "orders", "stock")
    };
    gateway.shop.register(client("orders", "stock", vec![onward(&["alice"])]));
    let second = gateway.shop.exchange("orders", &first, "stock").unwrap().access_token;
    let said = claims(&second);
    let chain = json!({ "sub": id("orders"), "act": { "sub": id("gateway"), "act": { "sub": "app", "iss": IDP } } });
    assert_eq!((&said["sub"], &said["act"]), (&json!(ALICE), &chain));
    assert_eq!(said["lanyard_from"].as_array().unwrap().len(), 2);
    for (subjects, expected) in [
        (vec![onward(&["*"])], ""),
        (vec![onward(&["bob"])], "NO_RULE"),
        // The name itself, as any other.
        (vec![rule(ALICE, "orders", "stock")], ""),
        (vec![rule("spiffe://prod.example/*", "orders", "stock")], "NO_RULE"),
        (vec![ExchangeRuleMetadata { issuer: Some("https://idp".to_owned()), ..onward(&["*"]) }], "NO_RULE"),
        (vec![foreign_rule(&["*"], "stock")], "NO_RULE"),
    ] {
        gateway.shop.fixture.update(client("orders", "stock", subjects.clone()));
        assert_eq!(gateway.shop.why_not("orders", &first, "stock"), expected, "{subjects:?}");
    }
    gateway.shop.fixture.update(client("orders", "stock", vec![onward(&["*"])]));
    // A name of this server's own that looks like the user's is not one.
    let leaf = self_signed("mallory").issue();
    gateway.shop.fixture.register(self_signed_client(ALICE, &leaf.chain_pem()));
    let mallory = gateway.shop.fixture.peer(&leaf);
    let own = gateway.shop.fixture.issue(&mallory, ALICE).unwrap().access_token;
    assert_eq!(claims(&own)["sub"], ALICE);
    assert_eq!(gateway.shop.why_not("orders", &own, "stock"), "NO_RULE");
}

// Way 1 for transaction tokens
#[test]
fn a_transaction_token_speaks_for_the_user_by_a_rule_that_names_the_issuer() {
    let policy = TxnTokenPolicy {
        trust_domain: "prod.example".to_owned(),
        ttl: Duration::from_mins(1),
        max_ttl: Duration::from_mins(5),
        max_replacements: 3,
        max_context: 4096,
    };
    let shop = Shop::empty(|to| to.txn_tokens = Some(policy), TestAuthority::keys());
    let mut gateway = Gateway { shop, key: JwtKey::new("idp-1") };
    gateway.trust(terms());
    let by = |subject: &str| TxnRuleMetadata {
        subjects: vec![subject.to_owned()],
        issuer: Some(IDP.to_owned()),
        grants: vec![ScopeGrantMetadata { needs: "shop.buy".to_owned(), gives: "order.place".to_owned() }],
        details: vec!["order".to_owned()],
        ttl: Some(Duration::from_secs(20)),
        ..TxnRuleMetadata::default()
    };
    let with = |rules: Vec<TxnRuleMetadata>| ClientMetadata {
        grant_types: grant_types(),
        txn: rules,
        ..client("gateway", "orders", Vec::new())
    };
    gateway.shop.register(with(vec![by("*")]));
    gateway.shop.register(ClientMetadata { client_id: id("worker"), ..with(Vec::new()) });
    let asking = |subject: TxnSubject, token: &str, scope: &str| {
        let mut exchange = Gateway::request(token);
        (exchange.audience, exchange.scope) = (vec!["prod.example".to_owned()], scope.to_owned());
        let details = json!({ "order": "17" }).as_object().unwrap().clone();
        TxnRequest { exchange, subject, details, ..TxnRequest::default() }
    };
    let ask = |gateway: &Gateway, name: &str, request: &TxnRequest| {
        let authority = &gateway.shop.fixture.authority;
        ready(authority.issue_txn_token(&authority.as_caller(&gateway.shop.peer(name)), request)).unreferenced()
    };
    let reason = |gateway: &Gateway, name: &str, request: &TxnRequest| {
        gateway.shop.reason_of(|| drop(ask(gateway, name, request)))
    };
    let token = gateway.token_with(|claims| claims["act"] = json!({ "sub": "app" }));
    let request = asking(TxnSubject::Presented, &token, "order.place");
    let issued = ask(&gateway, "gateway", &request).unwrap().access_token;
    let said = part(&issued, 1);
    assert_eq!((&said["sub"], &said["req_wl"]), (&json!(ALICE), &json!(id("gateway"))));
    assert_eq!((&said["act"], &said["tctx"]), (&json!({ "sub": "app", "iss": IDP }), &json!({ "order": "17" })));
    assert_eq!(said["exp"], json!(NOW.0 + 20));
    assert_eq!(reason(&gateway, "gateway", &asking(TxnSubject::Presented, &token, "order.cancel")), "INVALID_SCOPE");
    // By whoever has no such rule: not at all.
    assert_eq!(reason(&gateway, "worker", &request), "NO_RULE");
    for (rule, expected) in [(by("alice"), ""), (by("bob"), "NO_RULE")] {
        gateway.shop.fixture.update(with(vec![rule]));
        assert_eq!(reason(&gateway, "gateway", &request), expected);
    }
    // Its replacement ends with what it came from.
    let replacing = || asking(TxnSubject::Replaced(issued.clone()), "", "order.place");
    let replacing = || TxnRequest {
        exchange: lanyard::authority::decision::ExchangeRequest { access_token: None, ..replacing().exchange },
        ..replacing()
    };
    assert_eq!(reason(&gateway, "worker", &replacing()), "");
    revoke(&gateway.shop, RevokeRequest::TokenId("idp-token-1".to_owned()));
    assert_eq!(reason(&gateway, "worker", &replacing()), "SUBJECT_DENIED");
    assert_eq!(reason(&gateway, "gateway", &request), "SUBJECT_DENIED");
}
