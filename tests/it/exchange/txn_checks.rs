//! Transaction tokens at checks: minted where a route says so, verified where a resource takes them, and never in place of an
//! access token with its certificate.

use std::collections::BTreeMap;
use std::time::Duration;

use lanyard::authority::access::Requester;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::decision::Allowance;
use lanyard::authority::decision::AssertedTxn;
use lanyard::authority::decision::CheckAnswer;
use lanyard::authority::decision::CheckRequest;
use lanyard::authority::decision::LastAdmin;
use lanyard::authority::decision::RevokeRequest;
use lanyard::authority::policy::Policy;
use lanyard::authority::registration::TxnTokenPolicy;
use lanyard::authority::resources::Destination;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::resources::RouteMetadata;
use lanyard::authority::resources::RouteTxnMetadata;
use serde_json::Value;
use serde_json::json;

use crate::exchange::support::Shop;
use crate::exchange::support::at;
use crate::exchange::support::claims;
use crate::exchange::support::client;
use crate::exchange::support::id;
use crate::exchange::support::resource;
use crate::support::NOW;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::PROXY;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::check::url_encoded;
use crate::support::keys::TestKeys;
use crate::support::mint::part;

const CANCEL: &str = "/shops/{shop}/orders/{id}/cancel";

fn policy() -> TxnTokenPolicy {
    TxnTokenPolicy {
        trust_domain: "prod.example".to_owned(),
        ttl: Duration::from_mins(1),
        max_ttl: Duration::from_mins(5),
        max_replacements: 3,
        max_context: 4096,
    }
}

fn route(path: &str, txn: Option<RouteTxnMetadata>, txn_scope: &str) -> RouteMetadata {
    RouteMetadata { path: path.to_owned(), txn, txn_scope: txn_scope.to_owned(), ..RouteMetadata::default() }
}

fn cancelling() -> RouteTxnMetadata {
    let details = [("order", "{id}"), ("action", "cancel")];
    RouteTxnMetadata {
        scope: "order.cancel".to_owned(),
        details: details.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        context: vec!["req_ip".to_owned()],
    }
}

/// The edge mints on one of its routes.
fn edge() -> ResourceMetadata {
    let public = RouteMetadata { public: true, ..route("/healthz", None, "") };
    let routes = vec![route(CANCEL, Some(cancelling()), ""), route("/view", None, ""), public];
    ResourceMetadata { routes, ..resource("edge") }
}

/// The orders look at what comes.
fn orders(txn_token: &str) -> ResourceMetadata {
    let verifies = matches!(txn_token, "accept" | "require");
    let public = RouteMetadata { public: true, ..route("/healthz", None, "") };
    let mut routes = vec![route("/orders", None, ""), public];
    if verifies {
        routes.push(route("/cancel", None, "order.cancel"));
        routes.push(route("/pay", None, "order.pay"));
    }
    ResourceMetadata { routes, txn_token: Some(txn_token.to_owned()), ..resource("orders") }
}

fn shop() -> Shop {
    shop_with(TestAuthority::keys(), orders("require"))
}

fn shop_with(keys: TestKeys, orders: ResourceMetadata) -> Shop {
    shop_of(|_| {}, keys, orders)
}

fn shop_of(change: fn(&mut Policy), keys: TestKeys, orders: ResourceMetadata) -> Shop {
    let configured = |lanyard: &mut Policy| {
        lanyard.txn_tokens = Some(policy());
        change(lanyard);
    };
    let mut shop = Shop::empty(configured, keys);
    shop.protect(edge());
    shop.protect(orders);
    shop.register(client("frontend", "edge", Vec::new()));
    shop.register(client("checkout", "orders", Vec::new()));
    shop
}

/// A request of a workload with its own token.
struct Sent<'a> {
    to: &'a str,
    path: &'a str,
    bearer: &'a str,
    headers: &'a [(&'a str, &'a str)],
    address: &'a str,
}

impl<'a> Sent<'a> {
    fn new(to: &'a str, path: &'a str, bearer: &'a str) -> Self {
        Self { to, path, bearer, headers: &[], address: "192.0.2.7" }
    }
}

fn check_by(shop: &Shop, name: &str, sent: &Sent<'_>) -> CheckAnswer {
    let audience = at(sent.to);
    let (authorization, certificate) = (format!("Bearer {}", sent.bearer), url_encoded(shop.leaf(name)));
    let mut headers = vec![("authorization", authorization.as_bytes())];
    headers.retain(|_| !sent.bearer.is_empty());
    headers.extend(sent.headers.iter().map(|(name, line)| (*name, line.as_bytes())));
    let request = CheckRequest {
        destination: Destination { named: Some(&audience), principal: "", authority: "" },
        method: "POST",
        path: sent.path,
        headers,
        certificate: &certificate,
        principal: "",
        address: sent.address,
    };
    let authority = &shop.fixture.authority;
    let proxy = authority.as_caller(shop.fixture.proxy());
    assert!(!authority.check_waits(&proxy.clone().into(), &request), "an ES256 key in memory signs at once");
    authority.check(&proxy.clone().into(), &request).unwrap()
}

fn allowed(shop: &Shop, name: &str, sent: &Sent<'_>) -> Allowance {
    match check_by(shop, name, sent) {
        CheckAnswer::Allow(allowance) => allowance,
        CheckAnswer::Deny(denial) => panic!("{denial:?}"),
    }
}

/// The code of the denial; empty where there is none.
fn reason(shop: &Shop, name: &str, sent: &Sent<'_>) -> &'static str {
    match check_by(shop, name, sent) {
        CheckAnswer::Allow(_) => "",
        CheckAnswer::Deny(denial) => denial.refusal.code(),
    }
}

fn txn_of(allowance: &Allowance) -> Option<&AssertedTxn> {
    allowance.asserted.as_ref().and_then(|asserted| asserted.txn.as_ref())
}

fn minted(shop: &Shop, token: &str) -> String {
    let allowance = allowed(shop, "frontend", &Sent::new("edge", "/shops/1/orders/17/cancel", token));
    txn_of(&allowance).unwrap().minted.clone().unwrap()
}

/// What comes of a request to the orders with this transaction token.
fn presented(shop: &Shop, txn: &str, path: &str) -> &'static str {
    let bearer = shop.token("checkout");
    reason(shop, "checkout", &Sent { headers: &[("txn-token", txn)], ..Sent::new("orders", path, &bearer) })
}

// E8, TT-11, TT-14, TT-24, TT-29
#[test]
fn a_check_mints_a_transaction_token_that_says_what_the_request_is_for() {
    let shop = shop();
    let token = shop.token("frontend");
    let sent = Sent::new("edge", "/shops/%C3%A9/orders/1%207/cancel?secret=1", &token);
    let first = allowed(&shop, "frontend", &sent);
    let asserted = txn_of(&first).unwrap();
    let text = asserted.minted.clone().unwrap();
    assert_eq!(part(&text, 0)["typ"], "txntoken+jwt");
    let mut said = claims(&text);
    let txn = said.remove("txn").unwrap();
    assert_eq!((txn.as_str(), &asserted.subject), (Some(asserted.txn.as_str()), &id("frontend")));
    let root = claims(&token);
    let expected = json!({
        "iss": root["iss"], "iat": NOW.0, "exp": NOW.0 + 60, "aud": "prod.example",
        "sub": id("frontend"), "scope": "order.cancel", "req_wl": PROXY,
        "tctx": { "order": "1 7", "action": "cancel" },
        "rctx": { "method": "POST", "route": CANCEL, "req_ip": "192.0.2.7" },
        "lanyard_from": [{
            "jti": root["jti"], "iat": root["iat"], "client_id": root["client_id"],
            "creation": root["lanyard_creation"], "x5t": root["cnf"]["x5t#S256"],
        }],
    });
    assert_eq!(Value::Object(said), expected);
    // Each request is a transaction of its own.
    let second = allowed(&shop, "frontend", &sent);
    assert_ne!(txn_of(&second).unwrap().txn, asserted.txn);
    // It ends with the token that was presented.
    let end = claims(&token)["exp"].as_u64().unwrap();
    shop.fixture.clock.set(Timestamp(end - 10));
    assert_eq!(claims(&minted(&shop, &token))["exp"], end);
    // X24, X32: nothing prints it.
    assert!(!format!("{first:?}").contains(&text));
}

// X22: whatever the client sent, in any spelling, the service gets what was minted and nothing else
#[test]
fn a_clients_own_transaction_token_is_taken_out_where_the_check_mints_one() {
    let shop = shop();
    let token = shop.token("frontend");
    for name in ["txn-token", "Txn-Token", "txn_token", "TXN_TOKEN", "Txn_token"] {
        let headers = [(name, "a.b.c"), ("x-lanyard-txn", "forged"), ("X_Lanyard_Txn_Subject", "forged")];
        let path = "/shops/1/orders/17/cancel";
        let allowance = allowed(&shop, "frontend", &Sent { headers: &headers, ..Sent::new("edge", path, &token) });
        let asserted = txn_of(&allowance).unwrap();
        assert!(asserted.minted.as_ref().is_some_and(|text| text != "a.b.c"));
        assert!(allowance.remove.contains(&"txn_token".to_owned()), "{name}: {:?}", allowance.remove);
        // What is set replaces every other of its name, and is not removed.
        for kept in ["txn-token", "x-lanyard-txn", "x-lanyard-txn-subject"] {
            assert!(!allowance.remove.contains(&kept.to_owned()), "{name}: {:?}", allowance.remove);
        }
        assert!(allowance.remove.contains(&"X_Lanyard_Txn_Subject".to_owned()));
        // On another route of a resource that ignores them it passes, with no assertion.
        let other = allowed(&shop, "frontend", &Sent { headers: &headers, ..Sent::new("edge", "/view", &token) });
        assert_eq!(txn_of(&other), None);
        assert!(!other.remove.contains(&"txn-token".to_owned()) && !other.remove.contains(&"txn_token".to_owned()));
        assert!(other.remove.contains(&"x-lanyard-txn".to_owned()), "{:?}", other.remove);
    }
}

#[test]
fn a_resource_says_whether_a_transaction_token_is_passed_on_taken_out_or_verified() {
    for (txn_token, removed, removed_where_public) in
        [("ignore", false, false), ("strip", true, true), ("accept", false, true), ("require", false, true)]
    {
        let shop = shop_with(TestAuthority::keys(), orders(txn_token));
        let own = minted(&shop, &shop.token("frontend"));
        let bearer = shop.token("checkout");
        let headers = [("txn-token", own.as_str())];
        for (path, expected) in [("/orders", removed), ("/healthz", removed_where_public)] {
            let sent = Sent { headers: &headers, ..Sent::new("orders", path, &bearer) };
            let allowance = allowed(&shop, "checkout", &sent);
            for name in ["txn-token", "txn_token"] {
                assert_eq!(allowance.remove.contains(&name.to_owned()), expected, "{txn_token} {path} {name}");
            }
            let asserted = txn_of(&allowance).map(|txn| (json!(txn.txn), json!(txn.subject), txn.minted.clone()));
            let verified = path == "/orders" && matches!(txn_token, "accept" | "require");
            let expected: Option<(Value, Value, _)> =
                verified.then(|| (claims(&own)["txn"].clone(), json!(id("frontend")), None));
            assert_eq!(asserted, expected, "{txn_token} {path}");
        }
        // One of another server.
        let foreign = if matches!(txn_token, "accept" | "require") { "TXN_TOKEN_INVALID" } else { "" };
        let other = Sent { headers: &[("txn-token", "e30.e30.AAAA")], ..Sent::new("orders", "/orders", &bearer) };
        assert_eq!(reason(&shop, "checkout", &other), foreign, "{txn_token}");
    }
}

// TT-32, TT-33, X22
#[test]
fn where_one_is_needed_exactly_one_that_counts_opens_the_route() {
    let shop = shop();
    let token = shop.token("frontend");
    let txn = minted(&shop, &token);
    let (bearer, own) = (shop.token("checkout"), txn.as_str());
    let with = |headers: &[(&str, &str)], path: &str| {
        reason(&shop, "checkout", &Sent { headers, ..Sent::new("orders", path, &bearer) })
    };
    assert_eq!(with(&[("txn-token", own)], "/orders"), "");
    assert_eq!(with(&[("Txn-Token", own)], "/orders"), "");
    assert_eq!(with(&[("txn-token", own)], "/cancel"), "");
    assert_eq!(with(&[("txn-token", own)], "/pay"), "TXN_SCOPE_MISSING");
    assert_eq!(with(&[], "/orders"), "TXN_TOKEN_MISSING");
    let [twice, with_scheme, with_space] = [format!("{txn},{txn}"), format!("Bearer {txn}"), format!(" {txn}")];
    for headers in [
        &[("txn_token", own)][..],
        &[("txn-token", own), ("txn-token", own)],
        &[("txn-token", own), ("TXN_TOKEN", own)],
        &[("txn-token", twice.as_str())],
        &[("txn-token", with_scheme.as_str())],
        &[("txn-token", with_space.as_str())],
        &[("txn-token", "")],
    ] {
        assert_eq!(with(headers, "/orders"), "TXN_TOKEN_MALFORMED", "{headers:?}");
    }
    let mut broken = txn.clone();
    broken.replace_range(txn.len() - 6..txn.len() - 5, if txn.as_bytes()[txn.len() - 6] == b'A' { "B" } else { "A" });
    let payload = txn.replace(txn.split('.').nth(1).unwrap(), token.split('.').nth(1).unwrap());
    for bad in [broken.as_str(), &payload, &token, "e30.e30.AAAA", "x", txn.rsplit_once('.').unwrap().0] {
        assert_eq!(with(&[("txn-token", bad)], "/orders"), "TXN_TOKEN_INVALID", "{bad}");
    }
    // Remembered or not, its time and what it comes from are looked at anew.
    shop.fixture.clock.set(Timestamp(NOW.0 + 59));
    assert_eq!(with(&[("txn-token", own)], "/orders"), "");
    shop.fixture.clock.set(Timestamp(NOW.0 + 60));
    assert_eq!(with(&[("txn-token", own)], "/orders"), "TXN_TOKEN_EXPIRED");
}

// TT-12, TT-33: not outside of its trust domain, nor of another issuer that has the same keys
#[test]
fn a_transaction_token_counts_in_its_trust_domain_and_of_its_issuer_alone() {
    let keys = TestAuthority::keys();
    let shop = shop_with(keys.clone(), orders("require"));
    assert_eq!(presented(&shop, &minted(&shop, &shop.token("frontend")), "/orders"), "");
    let changes: [fn(&mut Policy); 2] = [
        |lanyard| lanyard.txn_tokens.as_mut().unwrap().trust_domain = "other.example".to_owned(),
        |lanyard| lanyard.issuer = "https://lanyard.other.example".to_owned(),
    ];
    for change in changes {
        let other = shop_of(change, keys.clone(), orders("require"));
        let foreign = minted(&other, &other.token("frontend"));
        assert_eq!(presented(&other, &foreign, "/orders"), "");
        assert_eq!(presented(&shop, &foreign, "/orders"), "TXN_TOKEN_FOREIGN");
    }
}

#[test]
fn what_ends_the_presented_token_ends_the_transaction() {
    let shop = shop();
    let token = shop.token("frontend");
    let (txn, other) = (minted(&shop, &token), minted(&shop, &shop.token("frontend")));
    assert_eq!((presented(&shop, &txn, "/orders"), presented(&shop, &other, "/orders")), ("", ""));
    let authority = &shop.fixture.authority;
    let admin = authority.as_caller(&shop.fixture.svid(ADMIN));
    let requester = Requester { client_id: None, roles: admin.roles.clone(), sender: admin.sender() };
    ready(authority.revoke(&admin, &requester, RevokeRequest::Token(token), LastAdmin::Stays)).unwrap();
    assert_eq!(presented(&shop, &txn, "/orders"), "TXN_TOKEN_REVOKED");
    assert_eq!(presented(&shop, &other, "/orders"), "");
}

// X21
#[test]
fn a_transaction_token_never_stands_in_for_the_access_token_or_its_certificate() {
    let shop = shop();
    let txn = minted(&shop, &shop.token("frontend"));
    let bearer = shop.token("checkout");
    let headers = [("txn-token", txn.as_str())];
    let sent = |bearer| Sent { headers: &headers, ..Sent::new("orders", "/orders", bearer) };
    assert_eq!(reason(&shop, "checkout", &sent(&bearer)), "");
    assert_eq!(reason(&shop, "checkout", &sent("")), "TOKEN_MISSING");
    assert_eq!(reason(&shop, "checkout", &sent(&txn)), "TOKEN_TYPE");
    // With the certificate of another workload, of which the token is good.
    assert_eq!(reason(&shop, "frontend", &sent(&bearer)), "CERTIFICATE_MISMATCH");
    // Nor is it minted for who may not call.
    let cancel = "/shops/1/orders/17/cancel";
    assert_eq!(reason(&shop, "checkout", &Sent::new("edge", cancel, &bearer)), "WRONG_AUDIENCE");
    assert_eq!(reason(&shop, "checkout", &Sent::new("edge", cancel, &shop.token("frontend"))), "CERTIFICATE_MISMATCH");
    let public = allowed(&shop, "frontend", &Sent::new("edge", "/healthz", ""));
    assert!(public.asserted.is_none());
}

// TT-35
#[test]
fn a_resource_may_take_each_transaction_once() {
    let once = |txn_once| ResourceMetadata { txn_once, ..orders("accept") };
    for txn_once in [true, false] {
        let shop = shop_with(TestAuthority::keys(), once(txn_once));
        let again = if txn_once { "TXN_TOKEN_SEEN" } else { "" };
        let txn = minted(&shop, &shop.token("frontend"));
        // What is denied has not been seen.
        assert_eq!(presented(&shop, &txn, "/pay"), "TXN_SCOPE_MISSING");
        assert_eq!([presented(&shop, &txn, "/orders"), presented(&shop, &txn, "/orders")], ["", again]);
        assert_eq!(presented(&shop, &txn, "/cancel"), again, "it is the resource that takes it once");
        assert_eq!(presented(&shop, &minted(&shop, &shop.token("frontend")), "/orders"), "");
        // Without one nothing is counted.
        let bearer = shop.token("checkout");
        let none = || reason(&shop, "checkout", &Sent::new("orders", "/orders", &bearer));
        assert_eq!([none(), none()], [""; 2]);
        assert_eq!(reason(&shop, "checkout", &Sent::new("orders", "/cancel", &bearer)), "TXN_TOKEN_MISSING");
    }
}

// X24, X30 and the failures of section 13
#[test]
fn where_none_can_be_minted_the_request_is_denied_or_let_through_with_nothing() {
    let path = "/shops/1/orders/17/cancel";
    for mode in ["enforce", "report"] {
        let shop = shop();
        shop.change(ResourceMetadata { mode: Some(mode.to_owned()), ..edge() });
        let token = shop.token("frontend");
        let long = format!("/shops/1/orders/{}/cancel", "x".repeat(257));
        let secret = format!("/shops/1/orders/{}/cancel", token.split_once('.').unwrap().0);
        let headers = [("txn-token", "a.b.c")];
        let sent = |path, address| Sent { headers: &headers, address, ..Sent::new("edge", path, &token) };
        for (sent, expected, status) in [
            (sent(path, ""), "TXN_TOKEN_NOT_MINTED", 503),
            (sent(path, "/run/envoy.sock"), "TXN_TOKEN_NOT_MINTED", 503),
            (sent(&long, "192.0.2.7"), "TXN_CONTEXT_REFUSED", 400),
            (sent(&secret, "192.0.2.7"), "TXN_CONTEXT_REFUSED", 400),
            (sent(path, "::ffff:192.0.2.7"), "", 200),
        ] {
            match check_by(&shop, "frontend", &sent) {
                CheckAnswer::Deny(denial) => {
                    assert_eq!((denial.refusal.code(), mode), (expected, "enforce"));
                    assert_ne!(status, 200);
                }
                CheckAnswer::Allow(allowance) if expected.is_empty() => {
                    let text = txn_of(&allowance).unwrap().minted.clone().unwrap();
                    assert_eq!(claims(&text)["rctx"]["req_ip"], "192.0.2.7");
                }
                CheckAnswer::Allow(allowance) => {
                    assert_eq!(mode, "report", "{expected}");
                    assert_eq!(allowance.let_through.map(|(refusal, _)| refusal.code()), Some(expected));
                    assert!(allowance.asserted.is_none(), "{expected}");
                    for name in ["txn-token", "txn_token", "x-lanyard-txn"] {
                        assert!(allowance.remove.contains(&name.to_owned()), "{expected}: {:?}", allowance.remove);
                    }
                }
            }
        }
    }
}

// `txn_token: require` under `mode: report`: what is missing is said, and nothing else changes
#[test]
fn in_mode_report_a_missing_transaction_token_is_said_and_what_came_is_passed_on() {
    let shop =
        shop_with(TestAuthority::keys(), ResourceMetadata { mode: Some("report".to_owned()), ..orders("require") });
    let bearer = shop.token("checkout");
    let good = minted(&shop, &shop.token("frontend"));
    for (headers, expected) in [
        (&[][..], Some("TXN_TOKEN_MISSING")),
        (&[("txn-token", "e30.e30.AAAA")], Some("TXN_TOKEN_INVALID")),
        (&[("txn-token", good.as_str())], None),
    ] {
        let allowance = allowed(&shop, "checkout", &Sent { headers, ..Sent::new("orders", "/orders", &bearer) });
        assert_eq!(allowance.let_through.map(|(refusal, _)| refusal.code()), expected);
        assert_eq!(txn_of(&allowance).is_some(), expected.is_none());
        assert!(!allowance.remove.contains(&"txn-token".to_owned()), "{expected:?}");
        assert_eq!(allowance.remove.contains(&"x-lanyard-txn".to_owned()), expected.is_some());
    }
}

#[test]
fn what_contradicts_itself_or_the_configuration_is_not_registered() {
    let shop = shop();
    let problem = |shop: &Shop, metadata: ResourceMetadata| {
        let metadata = ResourceMetadata { audience: at("late"), ..metadata };
        let created = ready(shop.fixture.authority.create_resource(&shop.fixture.svid(ADMIN), metadata, true));
        created.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let with = |route: RouteMetadata, txn_token: &str| ResourceMetadata {
        routes: vec![route],
        txn_token: Some(txn_token.to_owned()),
        ..resource("late")
    };
    let plain = || route("/orders", None, "");
    for (good, bad, says) in [
        (with(plain(), "strip"), with(plain(), "Strip"), "none of ignore, strip, accept and require"),
        (
            with(route("/a", None, "x.y"), "accept"),
            with(route("/a", None, "x.y"), "ignore"),
            "txn_scope goes only with",
        ),
        (
            with(route("/a", Some(RouteTxnMetadata { details: BTreeMap::new(), ..cancelling() }), ""), "require"),
            with(route("/a", Some(RouteTxnMetadata { details: BTreeMap::new(), ..cancelling() }), "x.y"), "require"),
            "leave one of the two out",
        ),
        (
            with(RouteMetadata { public: true, ..plain() }, "accept"),
            with(RouteMetadata { public: true, ..route("/a", None, "x.y") }, "accept"),
            "a public route has no transaction",
        ),
        (
            with(route(CANCEL, Some(cancelling()), ""), "strip"),
            with(route("/orders", Some(cancelling()), ""), "strip"),
            "one variable of the path",
        ),
        (
            ResourceMetadata { txn_once: true, ..with(plain(), "accept") },
            ResourceMetadata { txn_once: true, ..with(plain(), "strip") },
            "txn_once",
        ),
    ] {
        assert_eq!(problem(&shop, good), "");
        let problem = problem(&shop, bad);
        assert!(problem.contains(says), "{problem}");
    }
    // A server that issues none.
    let none = Shop::empty(|_| {}, TestAuthority::keys());
    for bad in [with(plain(), "accept"), with(plain(), "require"), with(route(CANCEL, Some(cancelling()), ""), "strip")]
    {
        let problem = problem(&none, bad);
        assert!(problem.contains("`txn_tokens` in the server's configuration"), "{problem}");
    }
    assert_eq!(problem(&none, with(plain(), "strip")), "");
}
