//! Grants for the authorization server of another trust domain: who gets one, for whom, and what it says.

use std::time::Duration;

use lanyard::authority::decision::ExchangeRefusal;
use lanyard::authority::decision::ExchangeRequest;
use lanyard::authority::decision::JwtGrantRequest;
use lanyard::authority::decision::PresentedEvidence;
use lanyard::authority::decision::ValidateRequest;
use lanyard::authority::evidence::Evidence;
use lanyard::authority::registration::ChainingTarget;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::ClientPattern;
use lanyard::authority::registration::ScopeGrant;
use lanyard::authority::registration::TOKEN_EXCHANGE;
use lanyard::authority::registration::ToldActors;
use lanyard::authority::resources::ReceiptsMetadata;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::scope::Scope;
use lanyard::authority::tokens::IssuedToken;
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
use crate::support::authority::ISSUER;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::mint::part;
use crate::support::unreferenced::Unreferenced as _;

const PARTNER: &str = "https://lanyard.partner.example";

/// A request that is no longer the same.
type ChangedRequest = fn(&mut JwtGrantRequest);

/// A change of the configuration.
type Change = fn(&mut ChainingTarget);

fn pattern(text: &str) -> ClientPattern {
    ClientPattern::parse(text).unwrap()
}

fn target() -> ChainingTarget {
    let grant = |needs: &str, gives: &str| ScopeGrant {
        needs: Scope::parse(needs).unwrap(),
        gives: Scope::parse(gives).unwrap(),
    };
    ChainingTarget {
        issuer: PARTNER.to_owned(),
        clients: vec![pattern(&id("checkout"))],
        subjects: vec![pattern("spiffe://prod.example/ns/shop/*")],
        presented_at: vec![at("checkout")],
        grants: vec![
            grant("checkout.write", "partner.order partner.look"),
            grant("checkout.read", "partner.look"),
            grant("orders.read", "partner.self"),
        ],
        ttl: Duration::from_mins(1),
        told: ToldActors::Last,
        typ: "authorization-grant+jwt".to_owned(),
    }
}

/// A frontend that calls the checkout, which goes to the partner for it; and an edge before the checkout.
fn shop_with(targets: Vec<ChainingTarget>, once: &str) -> Shop {
    let mut shop = Shop::empty(|policy| policy.chaining = targets, TestAuthority::keys());
    let receipts = |names: &[&str]| {
        let exchangers = names.iter().map(|name| id(name)).collect();
        Some(ReceiptsMetadata { exchangers, ttl: None, once: Some(once.to_owned()) })
    };
    shop.protect(ResourceMetadata { receipts: receipts(&["checkout", "other"]), ..resource("checkout") });
    shop.protect(ResourceMetadata { receipts: receipts(&["checkout"]), ..resource("orders") });
    shop.register(client("frontend", "checkout", Vec::new()));
    for name in ["checkout", "other"] {
        let grant_types = ["client_credentials", TOKEN_EXCHANGE].map(ToOwned::to_owned).to_vec();
        shop.register(ClientMetadata { grant_types, ..client(name, "orders", Vec::new()) });
    }
    ready(shop.fixture.authority.open_receipt_keys()).unwrap();
    shop
}

fn shop() -> Shop {
    shop_with(vec![target()], "effect")
}

fn receipt_at(shop: &Shop, holder: &str, token: &str, name: &str) -> String {
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
    receipt_at(shop, "frontend", &shop.token("frontend"), "checkout")
}

fn asking(receipt: &str) -> JwtGrantRequest {
    let exchange = ExchangeRequest {
        receipt: Some(receipt.to_owned()),
        audience: vec![PARTNER.to_owned()],
        ..ExchangeRequest::default()
    };
    JwtGrantRequest { exchange, itself: None }
}

fn itself(name: &str) -> JwtGrantRequest {
    let exchange = ExchangeRequest { audience: vec![PARTNER.to_owned()], ..ExchangeRequest::default() };
    JwtGrantRequest { exchange, itself: json!({ "sub": id(name), "scope": "ignored" }).as_object().cloned() }
}

fn ask(shop: &Shop, name: &str, request: &JwtGrantRequest) -> Result<IssuedToken, ExchangeRefusal> {
    let authority = &shop.fixture.authority;
    ready(authority.issue_jwt_grant(&authority.as_caller(&shop.peer(name)), request)).unreferenced()
}

fn reason(shop: &Shop, name: &str, request: &JwtGrantRequest) -> String {
    shop.reason_of(|| drop(ask(shop, name, request)))
}

// IC-03, IC-04, IC-05, IC-15, IC-16
#[test]
fn a_grant_says_for_whom_to_whom_and_by_whom_and_is_bound_and_short() {
    let shop = shop();
    let issued = ask(&shop, "checkout", &asking(&receipt(&shop))).unwrap();
    assert_eq!(part(&issued.access_token, 0)["typ"], "authorization-grant+jwt");
    let mut said = claims(&issued.access_token);
    let jti = said.remove("jti").unwrap();
    assert!(jti.as_str().unwrap().len() > 20);
    let expected = json!({
        "iss": ISSUER, "aud": PARTNER, "sub": id("frontend"), "client_id": id("checkout"), "iat": NOW.0, "exp": NOW.0 + 60,
        "scope": "partner.order partner.look", "act": { "sub": id("checkout") },
        "cnf": { "x5t#S256": shop.leaf("checkout").thumbprint().to_string() },
    });
    assert_eq!(serde_json::Value::Object(said), expected);
    assert_eq!(issued.expires_in.as_secs(), 60);
    // For the client itself, with what it may ask for here.
    let said = claims(&ask(&shop, "checkout", &itself("checkout")).unwrap().access_token);
    assert_eq!((&said["sub"], said.get("act"), &said["scope"]), (&json!(id("checkout")), None, &json!("partner.self")));
    // A grant is no token of this server, nor a receipt or a subject.
    let grant = issued.access_token;
    let as_subject = ExchangeRequest {
        access_token: Some(grant.clone()),
        audience: vec![at("orders")],
        ..ExchangeRequest::default()
    };
    assert_eq!(shop.reason(&shop.peer("checkout"), &as_subject), "SUBJECT_INVALID");
    let own = ExchangeRequest { jwt: Some(grant), ..ExchangeRequest::default() };
    let authority = &shop.fixture.authority;
    let back = ready(authority.redeem_jwt_grant(&authority.as_caller(&shop.peer("checkout")), &own)).unreferenced();
    assert_eq!(back.unwrap_err(), ExchangeRefusal::UnauthorizedClient);
}

// X6, X14: single effect, and nothing that lives longer
#[test]
fn the_same_receipt_makes_the_same_grant_that_never_outlives_what_it_comes_from() {
    let shop = shop();
    let text = receipt(&shop);
    let first = claims(&ask(&shop, "checkout", &asking(&text)).unwrap().access_token);
    shop.fixture.clock.advance(Duration::from_secs(20));
    assert_eq!(claims(&ask(&shop, "checkout", &asking(&text)).unwrap().access_token), first);
    let mut narrow = asking(&text);
    narrow.exchange.scope = "partner.look".to_owned();
    assert_ne!(claims(&ask(&shop, "checkout", &narrow).unwrap().access_token)["jti"], first["jti"]);
    shop.fixture.clock.advance(Duration::from_secs(10));
    assert_eq!(reason(&shop, "checkout", &asking(&text)), "RECEIPT_INVALID");
    let token = shop.token("frontend");
    shop.fixture.clock.advance(Duration::from_secs(280));
    let late = claims(
        &ask(&shop, "checkout", &asking(&receipt_at(&shop, "frontend", &token, "checkout"))).unwrap().access_token,
    );
    assert_eq!(late["exp"], claims(&token)["exp"]);
    // Where the resource says once, a receipt makes one grant.
    let shop = shop_with(vec![target()], "strict");
    let text = receipt(&shop);
    assert_eq!(reason(&shop, "checkout", &asking(&text)), "");
    assert_eq!(reason(&shop, "checkout", &asking(&text)), "RECEIPT_SPENT");
}

// IC-01, IC-06: deny by default
#[test]
fn who_may_go_where_for_whom_is_what_the_configuration_says() {
    let changes: [(&str, &str, Change); 8] = [
        ("", "partner.self", |_| {}),
        ("TARGET_NOT_IN_RULES", "TARGET_NOT_IN_RULES", |target| target.clients = vec![pattern("other")]),
        ("NO_RULE", "NO_RULE", |target| target.subjects = vec![pattern("spiffe://prod.example/ns/web/*")]),
        ("NO_RULE", "", |target| target.presented_at = vec![at("orders")]),
        ("NO_RULE", "", |target| target.presented_at = Vec::new()),
        ("INVALID_SCOPE", "INVALID_SCOPE", |target| target.grants.clear()),
        ("INVALID_SCOPE", "", |target| drop(target.grants.drain(..2))),
        ("TARGET_NOT_IN_RULES", "TARGET_NOT_IN_RULES", |target| target.issuer.push('/')),
    ];
    for (number, (of_receipt, of_itself, change)) in changes.into_iter().enumerate() {
        let mut partner = target();
        change(&mut partner);
        let shop = shop_with(vec![partner], "effect");
        assert_eq!(reason(&shop, "checkout", &asking(&receipt(&shop))), of_receipt, "{number}");
        let expected = of_itself.strip_prefix("partner.self").unwrap_or(of_itself);
        assert_eq!(reason(&shop, "checkout", &itself("checkout")), expected, "{number}");
    }
    let shop = shop();
    let text = receipt(&shop);
    // Others, though the receipt is for them.
    assert_eq!(reason(&shop, "other", &asking(&text)), "TARGET_NOT_IN_RULES");
    assert_eq!(reason(&shop, "frontend", &asking(&text)), "UNAUTHORIZED_CLIENT");
    assert_eq!(reason(&shop, "checkout", &itself("frontend")), "NO_RULE");
    // A stolen token does not cross the border: there is no grant without a receipt.
    let token = shop.token("frontend");
    let stolen = |receipt: Option<&str>, access_token: Option<&str>| {
        let mut request = asking("");
        request.exchange.receipt = receipt.map(ToOwned::to_owned);
        request.exchange.access_token = access_token.map(ToOwned::to_owned);
        request
    };
    assert_eq!(reason(&shop, "checkout", &stolen(None, Some(&token))), "RECEIPT_MISSING");
    assert_eq!(reason(&shop, "checkout", &stolen(None, None)), "REQUEST_MALFORMED");
    let beside = receipt_at(&shop, "frontend", &token, "checkout");
    assert_eq!(reason(&shop, "checkout", &stolen(Some(&beside), Some(&token))), "");
    let cases: [(ChangedRequest, &str); 7] = [
        (|request| request.exchange.audience = vec![PARTNER.to_owned(), at("orders")], "SEVERAL_TARGETS"),
        (|request| request.exchange.audience.clear(), "REQUEST_MALFORMED"),
        (|request| request.exchange.audience = vec![at("orders")], "TARGET_NOT_IN_RULES"),
        (|request| request.exchange.audience = vec![ISSUER.to_owned()], "TARGET_NOT_IN_RULES"),
        (|request| request.exchange.scope = "partner.look".to_owned(), ""),
        (|request| request.exchange.scope = "partner.admin".to_owned(), "INVALID_SCOPE"),
        (|request| request.exchange.scope = "checkout.write".to_owned(), "INVALID_SCOPE"),
    ];
    for (change, expected) in cases {
        let mut request = asking(&text);
        change(&mut request);
        assert_eq!(reason(&shop, "checkout", &request), expected, "{request:?}");
    }
    // The subject's registration forbids it, as any exchange.
    shop.fixture.update(ClientMetadata { delegates: Some(Vec::new()), ..client("frontend", "checkout", Vec::new()) });
    assert_eq!(reason(&shop, "checkout", &asking(&receipt(&shop))), "VETOED");
    let none = shop_with(Vec::new(), "effect");
    assert_eq!(ask(&none, "checkout", &itself("checkout")).unwrap_err(), ExchangeRefusal::ChainingNotEnabled);
    assert_eq!(reason(&none, "checkout", &itself("checkout")), "CHAINING_NOT_ENABLED");
}

#[test]
fn a_grant_tells_of_the_actors_that_it_may() {
    for (told, expected) in [
        (ToldActors::All, json!({ "sub": id("checkout"), "act": { "sub": id("edge") } })),
        (ToldActors::Last, json!({ "sub": id("checkout") })),
        (ToldActors::None, json!(null)),
    ] {
        let mut shop = shop_with(vec![ChainingTarget { told, ..target() }], "effect");
        shop.protect(resource("edge"));
        shop.register(client("edge", "checkout", vec![rule(&id("caller"), "edge", "checkout")]));
        shop.register(client("caller", "edge", Vec::new()));
        let delegated = shop.exchange("edge", &shop.token("caller"), "checkout").unwrap().access_token;
        let text = receipt_at(&shop, "edge", &delegated, "checkout");
        let said = claims(&ask(&shop, "checkout", &asking(&text)).unwrap().access_token);
        assert_eq!(
            (&said["sub"], said.get("act").unwrap_or(&json!(null))),
            (&json!(id("caller")), &expected),
            "{told:?}"
        );
        // What it comes from stays here.
        assert_eq!(said.get("lanyard_from"), None);
    }
}
