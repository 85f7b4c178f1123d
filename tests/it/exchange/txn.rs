//! Transaction tokens: what they say, who gets one, what ends them, and what they are not taken for.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::authority::access::Requester;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::decision::Decision;
use lanyard::authority::decision::ExchangeRefusal;
use lanyard::authority::decision::ExchangeRequest;
use lanyard::authority::decision::LastAdmin;
use lanyard::authority::decision::PresentedEvidence;
use lanyard::authority::decision::RevokeRequest;
use lanyard::authority::decision::TxnRequest;
use lanyard::authority::decision::TxnSubject;
use lanyard::authority::decision::ValidateRequest;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::evidence::Evidence;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::ScopeGrantMetadata;
use lanyard::authority::registration::TOKEN_EXCHANGE;
use lanyard::authority::registration::TxnRuleMetadata;
use lanyard::authority::registration::TxnTokenPolicy;
use lanyard::authority::resources::ReceiptsMetadata;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::tokens::IssuedToken;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::exchange::support::Shop;
use crate::exchange::support::at;
use crate::exchange::support::claims;
use crate::exchange::support::client;
use crate::exchange::support::id;
use crate::exchange::support::resource;
use crate::exchange::support::rule;
use crate::support::NOW;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::mint::part;
use crate::support::unreferenced::Unreferenced as _;

/// A request that is no longer good.
type ChangedRequest = fn(&mut TxnRequest);

/// What ends a token.
type End = fn(&mut Shop, &str);

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(object) = value else { panic!("{value} is no object") };
    object
}

fn policy() -> TxnTokenPolicy {
    TxnTokenPolicy {
        trust_domain: "prod.example".to_owned(),
        ttl: Duration::from_mins(1),
        max_ttl: Duration::from_mins(5),
        max_replacements: 3,
        max_context: 4096,
    }
}

/// The rules of the edge: for who called it, and for itself.
fn rules() -> Vec<TxnRuleMetadata> {
    let grant = |needs: &str, gives: &str| ScopeGrantMetadata { needs: needs.to_owned(), gives: gives.to_owned() };
    vec![
        TxnRuleMetadata {
            subjects: texts(&["spiffe://prod.example/ns/shop/*"]),
            presented_at: Some(at("edge")),
            grants: vec![grant("edge.write", "trade.stocks trade.view"), grant("edge.read", "trade.view")],
            details: texts(&["action", "ticker"]),
            context: texts(&["req_ip"]),
            ttl: Some(Duration::from_secs(25)),
            ..TxnRuleMetadata::default()
        },
        TxnRuleMetadata {
            subjects: texts(&["self"]),
            scope: Some("nightly.settle nightly.report".to_owned()),
            details: texts(&["batch"]),
            ..TxnRuleMetadata::default()
        },
    ]
}

fn edge(txn: Vec<TxnRuleMetadata>) -> ClientMetadata {
    ClientMetadata {
        grant_types: texts(&["client_credentials", TOKEN_EXCHANGE]),
        txn,
        ..client("edge", "orders", Vec::new())
    }
}

/// A frontend that calls the edge, which asks for transaction tokens; a worker behind it may narrow them.
fn shop_with(txn_tokens: Option<TxnTokenPolicy>) -> Shop {
    let mut shop = Shop::empty(|policy| policy.txn_tokens = txn_tokens, TestAuthority::keys());
    let receipts = ReceiptsMetadata { exchangers: vec![id("edge")], ttl: None, once: None };
    shop.protect(ResourceMetadata { receipts: Some(receipts), ..resource("edge") });
    shop.protect(resource("orders"));
    shop.register(client("frontend", "edge", Vec::new()));
    shop.register(edge(rules()));
    shop.register(ClientMetadata { client_id: id("worker"), ..edge(Vec::new()) });
    ready(shop.fixture.authority.open_receipt_keys()).unwrap();
    shop
}

fn shop() -> Shop {
    shop_with(Some(policy()))
}

/// The receipt of a presentation at the resource of a name.
fn receipt_at(shop: &Shop, token: &str, holder: &str, name: &str) -> String {
    let authority = &shop.fixture.authority;
    let audience = at(name);
    let request = ValidateRequest {
        access_token: token,
        evidence: PresentedEvidence::Of(Evidence::from_der(shop.leaf(holder).certificate()).ok()),
        audience: Some(&audience),
        scope: "",
        receipt: true,
    };
    let validated = authority.validate_binding(&authority.as_asker(shop.fixture.proxy()), request).unwrap();
    validated.receipt.unwrap().as_str().to_owned()
}

fn receipt(shop: &Shop) -> String {
    receipt_at(shop, &shop.token("frontend"), "frontend", "edge")
}

fn asking(subject: TxnSubject, receipt: Option<String>, scope: &str) -> TxnRequest {
    let audience = texts(&["prod.example"]);
    let exchange = ExchangeRequest { receipt, audience, scope: scope.to_owned(), ..ExchangeRequest::default() };
    TxnRequest { exchange, subject, ..TxnRequest::default() }
}

fn presenting(receipt: &str) -> TxnRequest {
    asking(TxnSubject::Presented, Some(receipt.to_owned()), "trade.stocks")
}

fn itself(name: &str) -> TxnRequest {
    asking(TxnSubject::Stated(object(json!({ "sub": id(name) }))), None, "nightly.settle")
}

fn replacing(token: &str, scope: &str) -> TxnRequest {
    asking(TxnSubject::Replaced(token.to_owned()), None, scope)
}

fn ask(shop: &Shop, name: &str, request: &TxnRequest) -> Result<IssuedToken, ExchangeRefusal> {
    let authority = &shop.fixture.authority;
    ready(authority.issue_txn_token(&authority.as_caller(&shop.peer(name)), request)).unreferenced()
}

fn issued(shop: &Shop, name: &str, request: &TxnRequest) -> String {
    ask(shop, name, request).unwrap().access_token
}

/// The exact reason of a refusal; empty where there is none.
fn reason(shop: &Shop, name: &str, request: &TxnRequest) -> String {
    shop.reason_of(|| drop(ask(shop, name, request)))
}

fn revoke(shop: &Shop, what: RevokeRequest) {
    let authority = &shop.fixture.authority;
    let admin = authority.as_caller(&shop.fixture.svid(ADMIN));
    let requester = Requester { client_id: None, roles: admin.roles.clone(), sender: admin.sender() };
    ready(authority.revoke(&admin, &requester, what, LastAdmin::Stays)).unwrap();
}

// TT-10, TT-11, TT-14, TT-15, TT-24, TT-29
#[test]
fn a_transaction_token_says_what_a_call_is_for_and_nothing_that_opens_more() {
    let shop = shop();
    let token = shop.token("frontend");
    let request = TxnRequest {
        details: object(json!({ "action": "BUY", "ticker": { "isin": ["US1", 2] } })),
        context: object(json!({ "req_ip": "192.0.2.7" })),
        ..presenting(&receipt_at(&shop, &token, "frontend", "edge"))
    };
    let answer = ask(&shop, "edge", &request).unwrap();
    assert_eq!((answer.expires_in, answer.scope.to_string()), (Duration::from_secs(25), "trade.stocks".to_owned()));
    assert_eq!(part(&answer.access_token, 0)["typ"], "txntoken+jwt");
    let mut said = claims(&answer.access_token);
    assert_eq!(said.remove("txn").unwrap().as_str().unwrap().len(), 22);
    let root = claims(&token);
    let expected = json!({
        "iss": root["iss"],
        "iat": NOW.0,
        "exp": NOW.0 + 25,
        "aud": "prod.example",
        "sub": id("frontend"),
        "scope": "trade.stocks",
        "req_wl": id("edge"),
        "tctx": { "action": "BUY", "ticker": { "isin": ["US1", 2] } },
        "rctx": { "req_ip": "192.0.2.7" },
        "lanyard_from": [{
            "jti": root["jti"], "iat": root["iat"], "client_id": root["client_id"],
            "creation": root["lanyard_creation"], "x5t": root["cnf"]["x5t#S256"],
        }],
    });
    assert_eq!(Value::Object(said), expected);
    let own = claims(&issued(&shop, "edge", &itself("edge")));
    assert_eq!((&own["sub"], &own["req_wl"], own.get("act")), (&json!(id("edge")), &json!(id("edge")), None));
    assert_eq!((&own["exp"], &own["scope"]), (&json!(NOW.0 + 60), &json!("nightly.settle")));
    // X10: what is not signed says who it is, and nothing else.
    let forged = json!({ "sub": id("edge"), "act": { "sub": id("worker") }, "scope": "trade.stocks", "exp": 1 });
    let forged = asking(TxnSubject::Stated(object(forged)), None, "nightly.settle");
    let forged = claims(&issued(&shop, "edge", &forged));
    assert_eq!((forged.get("act"), &forged["scope"], &forged["exp"]), (None, &own["scope"], &own["exp"]));
}

// X11: the actors of what was presented stay
#[test]
fn the_actors_of_what_was_presented_stay_in_a_transaction_token_and_in_its_replacement() {
    let mut shop = shop();
    shop.protect(resource("checkout"));
    shop.register(client("buyer", "checkout", Vec::new()));
    shop.register(client("checkout", "edge", vec![rule(&id("buyer"), "checkout", "edge")]));
    let delegated = shop.exchange("checkout", &shop.token("buyer"), "edge").unwrap().access_token;
    let text = receipt_at(&shop, &delegated, "checkout", "edge");
    let token = issued(&shop, "edge", &presenting(&text));
    let said = claims(&token);
    assert_eq!((&said["sub"], &said["act"]), (&json!(id("buyer")), &json!({ "sub": id("checkout") })));
    assert_eq!(said["lanyard_from"].as_array().unwrap().len(), 2);
    let replaced = claims(&issued(&shop, "worker", &replacing(&token, "trade.stocks")));
    assert_eq!((&replaced["act"], &replaced["lanyard_from"]), (&said["act"], &said["lanyard_from"]));
    // What came from a token that is revoked cannot be replaced, wherever in the chain it was.
    revoke(&shop, RevokeRequest::Token(delegated));
    assert_eq!(reason(&shop, "worker", &replacing(&token, "trade.stocks")), "SUBJECT_DENIED");
}

// TT-26, TT-27, TT-30, E5: deny by default
#[test]
fn who_gets_a_transaction_token_and_for_what_is_what_a_rule_says() {
    let mut shop = shop();
    let text = receipt(&shop);
    let good = presenting(&text);
    let with = |change: fn(&mut TxnRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    let narrower: fn(&mut TxnRequest) = |request| request.exchange.scope = "trade.view trade.stocks".to_owned();
    assert_eq!(reason(&shop, "edge", &good), "");
    assert_eq!(ask(&shop, "edge", &with(narrower)).unwrap().scope.to_string(), "trade.stocks trade.view");
    let cases: [(ChangedRequest, &str); 11] = [
        (|request| request.exchange.scope.clear(), "REQUEST_MALFORMED"),
        (|request| request.exchange.scope = "edge.write".to_owned(), "INVALID_SCOPE"),
        (|request| request.exchange.scope = "trade.stocks nightly.settle".to_owned(), "INVALID_SCOPE"),
        (|request| request.exchange.scope = "trade.stocks  trade.view".to_owned(), "INVALID_SCOPE"),
        (|request| request.exchange.audience.clear(), "REQUEST_MALFORMED"),
        (|request| request.exchange.audience = texts(&["other.example"]), "NOT_THE_TRUST_DOMAIN"),
        (|request| request.exchange.audience = texts(&["Prod.example"]), "NOT_THE_TRUST_DOMAIN"),
        (|request| request.exchange.audience = vec![at("orders")], "NOT_THE_TRUST_DOMAIN"),
        (|request| request.exchange.audience.push(at("orders")), "SEVERAL_TARGETS"),
        (|request| request.exchange.actor_token = Some("x".to_owned()), "REQUEST_MALFORMED"),
        (|request| request.exchange.receipt = None, "REQUEST_MALFORMED"),
    ];
    for (number, (change, expected)) in cases.into_iter().enumerate() {
        assert_eq!(reason(&shop, "edge", &with(change)), expected, "{number}");
    }
    // X1: the token itself is worth nothing, and beside its receipt it adds nothing.
    let token = shop.token("frontend");
    let mut alone = presenting("");
    (alone.exchange.receipt, alone.exchange.access_token) = (None, Some(token.clone()));
    assert_eq!(reason(&shop, "edge", &alone), "RECEIPT_MISSING");
    let beside = receipt_at(&shop, &token, "frontend", "edge");
    alone.exchange.receipt = Some(beside);
    assert_eq!(reason(&shop, "edge", &alone), "");
    // Of another client it is for nobody, nor of one without the grant.
    assert_eq!(reason(&shop, "worker", &good), "NOT_FOR_CLIENT");
    assert_eq!(reason(&shop, "frontend", &good), "UNAUTHORIZED_CLIENT");
    // For itself: by a rule of its own, and for nobody else.
    assert_eq!(reason(&shop, "edge", &itself("edge")), "");
    assert_eq!(reason(&shop, "edge", &itself("frontend")), "NO_RULE");
    assert_eq!(reason(&shop, "worker", &itself("worker")), "NO_RULE");
    let own = |scope: &str| asking(TxnSubject::Stated(object(json!({ "sub": id("edge") }))), None, scope);
    assert_eq!(reason(&shop, "edge", &own("trade.stocks")), "INVALID_SCOPE");
    for bad in [json!({}), json!({ "sub": null }), json!({ "sub": [id("edge")] })] {
        let request = asking(TxnSubject::Stated(object(bad)), None, "nightly.settle");
        assert_eq!(reason(&shop, "edge", &request), "REQUEST_MALFORMED");
    }
    // Without a rule for the subject, or with the subject's veto.
    let mut others = rules();
    others[0].subjects = texts(&["spiffe://prod.example/ns/other/*"]);
    shop.fixture.update(edge(others));
    assert_eq!(reason(&shop, "edge", &good), "NO_RULE");
    shop.fixture.update(edge(rules()));
    shop.fixture.update(ClientMetadata { delegates: Some(Vec::new()), ..client("frontend", "edge", Vec::new()) });
    assert_eq!(reason(&shop, "edge", &good), "VETOED");
    shop.fixture.update(client("frontend", "edge", Vec::new()));
    assert_eq!(reason(&shop, "edge", &good), "");
    // Where none are issued.
    let none = shop_with(None);
    assert_eq!(reason(&none, "edge", &presenting(&receipt(&none))), "TXN_TOKENS_NOT_ENABLED");
    assert_eq!(ask(&none, "edge", &itself("edge")).unwrap_err(), ExchangeRefusal::TxnTokensNotEnabled);
    shop.register(client("late", "edge", Vec::new()));
}

// E3, and TT-35: the same transaction is the same token, another one is another
#[test]
fn a_receipt_makes_one_transaction_of_the_same_parameters() {
    let shop = shop();
    let text = receipt(&shop);
    let txn = |name: &str, request: &TxnRequest| claims(&issued(&shop, name, request))["txn"].clone();
    let first = claims(&issued(&shop, "edge", &presenting(&text)));
    shop.fixture.clock.set(Timestamp(NOW.0 + 20));
    assert_eq!(claims(&issued(&shop, "edge", &presenting(&text))), first);
    let other = TxnRequest { details: object(json!({ "action": "SELL" })), ..presenting(&text) };
    assert_ne!(txn("edge", &other), first["txn"]);
    assert_eq!(txn("edge", &other), txn("edge", &other));
    assert_ne!(txn("edge", &presenting(&receipt(&shop))), first["txn"]);
    assert_ne!(txn("edge", &itself("edge")), txn("edge", &itself("edge")));
    // X14: not beyond the ttl after the presentation.
    shop.fixture.clock.set(Timestamp(NOW.0 + 25));
    assert_eq!(reason(&shop, "edge", &presenting(&text)), "LIFETIME_OVER");
}

// X23, TT-37 to TT-40
#[test]
fn a_replacement_keeps_the_transaction_and_only_narrows_it() {
    let shop = shop();
    let whole = TxnRequest {
        details: object(json!({ "action": "BUY", "ticker": "ACME" })),
        context: object(json!({ "req_ip": "192.0.2.7" })),
        ..asking(TxnSubject::Presented, Some(receipt(&shop)), "trade.stocks trade.view")
    };
    let first = issued(&shop, "edge", &whole);
    let had = claims(&first);
    shop.fixture.clock.set(Timestamp(NOW.0 + 5));
    let second = issued(&shop, "worker", &replacing(&first, "trade.view"));
    let said = claims(&second);
    for kept in ["iss", "aud", "txn", "sub", "tctx", "rctx", "lanyard_from", "exp"] {
        assert_eq!(said[kept], had[kept], "{kept}");
    }
    assert_eq!((&said["iat"], &said["scope"]), (&json!(NOW.0 + 5), &json!("trade.view")));
    assert_eq!((&said["req_wl"], &said["lanyard_call_chain"]), (&json!(id("worker")), &json!([id("edge")])));
    // Nothing more comes of it.
    let with = |token: &str, scope: &str, details: Value, context: Value| TxnRequest {
        details: object(details),
        context: object(context),
        ..replacing(token, scope)
    };
    for (request, expected) in [
        (with(&second, "trade.view", json!({ "action": "BUY" }), json!({ "req_ip": "192.0.2.7" })), ""),
        (with(&second, "trade.view", json!({ "action": "SELL" }), json!({})), "CONTEXT_REFUSED"),
        (with(&second, "trade.view", json!({ "action": null }), json!({})), "CONTEXT_REFUSED"),
        (with(&second, "trade.view", json!({ "amount": 1 }), json!({})), "CONTEXT_REFUSED"),
        (with(&second, "trade.view", json!({}), json!({ "req_ip": "192.0.2.8" })), "CONTEXT_REFUSED"),
        (with(&second, "trade.stocks", json!({}), json!({})), "INVALID_SCOPE"),
        (with(&second, "trade.stocks trade.view", json!({}), json!({})), "INVALID_SCOPE"),
        (with(&second, "", json!({}), json!({})), "REQUEST_MALFORMED"),
    ] {
        assert_eq!(reason(&shop, "worker", &request), expected, "{:?} {:?}", request.details, request.exchange.scope);
    }
    let mut elsewhere = replacing(&second, "trade.view");
    elsewhere.exchange.audience = texts(&["other.example"]);
    assert_eq!(reason(&shop, "worker", &elsewhere), "NOT_THE_TRUST_DOMAIN");
    // Three times, each by its client, and no fourth time.
    let third = issued(&shop, "edge", &replacing(&second, "trade.view"));
    let fourth = issued(&shop, "worker", &replacing(&third, "trade.view"));
    assert_eq!(claims(&fourth)["lanyard_call_chain"], json!([id("edge"), id("worker"), id("edge")]));
    assert_eq!(reason(&shop, "edge", &replacing(&fourth, "trade.view")), "REPLACED_TOO_OFTEN");
    // A client without the grant replaces none, and none is replaced once it is over.
    assert_eq!(reason(&shop, "frontend", &replacing(&first, "trade.view")), "UNAUTHORIZED_CLIENT");
    shop.fixture.clock.set(Timestamp(NOW.0 + 24));
    assert_eq!(reason(&shop, "worker", &replacing(&first, "trade.view")), "");
    shop.fixture.clock.set(Timestamp(NOW.0 + 25));
    assert_eq!(reason(&shop, "worker", &replacing(&first, "trade.view")), "SUBJECT_DENIED");
}

// X15, X16: what ends the root ends its replacement
#[test]
fn what_ends_the_root_of_a_transaction_ends_its_replacement_and_no_other() {
    let ends: [(&str, End); 5] = [
        ("the token is revoked", |shop, token| revoke(shop, RevokeRequest::Token(token.to_owned()))),
        ("its client is disabled", |shop, _| {
            let disabled = ClientMetadata { disabled: true, ..client("frontend", "edge", Vec::new()) };
            shop.fixture.update(disabled);
        }),
        ("its client is deleted", |shop, _| shop.fixture.delete(&id("frontend"))),
        ("its client is registered anew", |shop, _| {
            shop.fixture.delete(&id("frontend"));
            shop.register(client("frontend", "edge", Vec::new()));
        }),
        ("its certificate is revoked", |shop, _| {
            let certificate = shop.leaf("frontend").thumbprint();
            revoke(shop, RevokeRequest::Certificate(certificate, None));
        }),
    ];
    for (what, end) in ends {
        let mut shop = shop();
        let token = shop.token("frontend");
        let first = issued(&shop, "edge", &presenting(&receipt_at(&shop, &token, "frontend", "edge")));
        let second = issued(&shop, "worker", &replacing(&first, "trade.stocks"));
        let own = issued(&shop, "edge", &itself("edge"));
        end(&mut shop, &token);
        for broken in [&first, &second] {
            assert_eq!(reason(&shop, "worker", &replacing(broken, "trade.stocks")), "SUBJECT_DENIED", "{what}");
        }
        assert_eq!(reason(&shop, "worker", &replacing(&own, "nightly.settle")), "", "{what}");
    }
    // One of a client's own ends with the client.
    let shop = shop();
    let own = issued(&shop, "edge", &itself("edge"));
    assert_eq!(reason(&shop, "worker", &replacing(&own, "nightly.settle")), "");
    shop.fixture.update(ClientMetadata { disabled: true, ..edge(rules()) });
    assert_eq!(reason(&shop, "worker", &replacing(&own, "nightly.settle")), "SUBJECT_DENIED");
}

// X24
#[test]
fn only_listed_members_without_a_token_in_them_get_into_a_transaction_token() {
    let shop = shop();
    let text = receipt(&shop);
    let token = shop.token("frontend");
    let with = |details: Value, context: Value| TxnRequest {
        details: object(details),
        context: object(context),
        ..presenting(&text)
    };
    for (details, context, expected) in [
        (json!({ "action": "BUY" }), json!({ "req_ip": "192.0.2.7" }), ""),
        (json!({ "action": "BUY", "amount": 1 }), json!({}), "CONTEXT_REFUSED"),
        (json!({ "req_ip": "192.0.2.7" }), json!({}), "CONTEXT_REFUSED"),
        (json!({}), json!({ "action": "BUY" }), "CONTEXT_REFUSED"),
        (json!({ "action": token }), json!({}), "CONTEXT_REFUSED"),
        (json!({ "action": { "deep": [format!("Bearer {token}")] } }), json!({}), "CONTEXT_REFUSED"),
        (json!({}), json!({ "req_ip": text }), "CONTEXT_REFUSED"),
        (json!({ "action": "-----BEGIN PRIVATE KEY-----" }), json!({}), "CONTEXT_REFUSED"),
        (json!({ "action": "x".repeat(513) }), json!({}), "CONTEXT_REFUSED"),
        (json!({ "action": [[[[]]]] }), json!({}), "CONTEXT_REFUSED"),
    ] {
        assert_eq!(reason(&shop, "edge", &with(details.clone(), context.clone())), expected, "{details} {context}");
    }
    // A short token is one too.
    let short = format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#));
    assert_eq!(reason(&shop, "edge", &with(json!({ "action": short }), json!({}))), "CONTEXT_REFUSED");
    let request = with(json!({ "action": "canary-of-details" }), json!({ "req_ip": "canary-of-context" }));
    let printed = format!("{request:?} {:?}", ask(&shop, "edge", &request).unwrap());
    assert!(!printed.contains("canary") && !printed.contains("lr1."), "{printed}");
}

// X19, X21, TT-34, TT-41: each kind in each slot, and only the diagonal is taken
#[test]
fn a_transaction_token_is_taken_for_nothing_else_and_nothing_else_for_it() {
    let mut shop = shop();
    shop.fixture.update(ClientMetadata { exchange: vec![rule(&id("frontend"), "edge", "orders")], ..edge(rules()) });
    shop.register(client("late", "edge", Vec::new()));
    let token = shop.token("frontend");
    let text = receipt_at(&shop, &token, "frontend", "edge");
    let txn = issued(&shop, "edge", &presenting(&text));
    let authority = &shop.fixture.authority;
    let proxy = authority.as_caller(shop.fixture.proxy());
    let answer = json!({ "active": true });
    let introspected = ready(authority.sign_introspection(&proxy.view, &id("edge"), &answer)).unwrap();
    let kinds = [("access token", &token), ("receipt", &text), ("txn token", &txn), ("introspection", &introspected)];
    for (kind, text) in kinds {
        // As an access token: the decision, introspection, and an exchange.
        let audience = at("edge");
        let request = ValidateRequest {
            access_token: text,
            evidence: PresentedEvidence::Of(Evidence::from_der(shop.leaf("frontend").certificate()).ok()),
            audience: Some(&audience),
            scope: "",
            receipt: false,
        };
        let decision = authority.validate_binding(&proxy.clone().into(), request).unwrap().decision;
        assert_eq!(matches!(decision, Decision::Allow(_)), kind == "access token", "{kind}");
        if kind == "txn token" {
            assert_eq!(decision, Decision::Deny(DenyReason::TokenType));
        }
        let requester = Requester { client_id: None, roles: proxy.roles.clone(), sender: proxy.sender() };
        let active = authority.introspect(&proxy.view, &requester, text).unwrap();
        assert_eq!(active.is_some(), kind == "access token", "{kind}");
        let exchanged = |access_token: Option<String>, receipt: Option<String>| {
            let audience = vec![at("orders")];
            let request = ExchangeRequest { access_token, receipt, audience, ..ExchangeRequest::default() };
            shop.reason(&shop.peer("edge"), &request)
        };
        let as_token = exchanged(Some(text.clone()), None);
        assert_eq!(as_token.is_empty(), kind == "access token", "{kind}: {as_token}");
        // As a receipt, of both kinds of exchange.
        let as_receipt = exchanged(None, Some(text.clone()));
        assert_eq!(as_receipt.is_empty(), kind == "receipt", "{kind}: {as_receipt}");
        let as_receipt = reason(&shop, "edge", &presenting(text));
        assert_eq!(as_receipt.is_empty(), kind == "receipt", "{kind}: {as_receipt}");
        // As a transaction token.
        let as_txn = reason(&shop, "worker", &replacing(text, "trade.stocks"));
        assert_eq!(as_txn.is_empty(), kind == "txn token", "{kind}: {as_txn}");
    }
}
