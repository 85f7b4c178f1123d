//! The tokens that are issued in exchange: what they say, to whom they are bound, and where they are good.

use std::collections::HashMap;

use lanyard::authority::access::Requester;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::decision::Decision;
use lanyard::authority::decision::ExchangeRequest;
use lanyard::authority::decision::Match;
use lanyard::authority::decision::PresentedEvidence;
use lanyard::authority::decision::ValidateRequest;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::evidence::Evidence;
use lanyard::authority::policy::Policy;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::ExchangeRuleMetadata;
use lanyard::authority::resources::ResourceMetadata;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

use crate::exchange::support::CHAIN;
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
use crate::support::keys::TestKeys;
use crate::support::keys::new_record;
use crate::support::keys::sealer;
use lanyard::authority::keys::Signer as _;
use lanyard::authority::keys::SigningAlgorithm;
use lanyard::signer::local::LocalSigner;

/// The whole chain, and the key that signs.
fn minting() -> (Shop, Arc<LocalSigner>) {
    let (record, pkcs8) = new_record(&sealer(1), SigningAlgorithm::Es256, NOW);
    let signer = Arc::new(LocalSigner::from_pkcs8(SigningAlgorithm::Es256, &pkcs8).unwrap());
    (Shop::with(|_: &mut Policy| {}, TestKeys::of(SigningAlgorithm::Es256, [record])), signer)
}

/// The token with changed claims and a right signature.
fn crafted(signer: &LocalSigner, token: &str, change: impl FnOnce(&mut Map<String, Value>)) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let mut claims = claims(token);
    change(&mut claims);
    let header = token.split('.').next().unwrap();
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(Value::Object(claims).to_string()));
    let signature = crate::support::authority::ready(signer.sign(message.as_bytes())).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn decide(shop: &Shop, token: &str, audience: &str, evidence: Evidence) -> Decision {
    let authority = &shop.fixture.authority;
    let request = ValidateRequest {
        access_token: token,
        evidence: PresentedEvidence::Of(Some(evidence)),
        audience: Some(audience),
        scope: "",
        receipt: false,
    };
    authority.validate_binding(&authority.as_asker(shop.fixture.proxy()), request).unwrap().decision
}

// RFC 8693 section 4.1; section 5 of the design: what a delegated token says, and nothing more
#[test]
fn a_token_says_for_whom_it_speaks_who_acts_and_what_it_comes_from() {
    let shop = Shop::new();
    let [first, second, third] = <[String; 3]>::try_from(shop.tokens()).unwrap();
    let parent = |token: &str| {
        let claims = claims(token);
        json!({
            "jti": claims["jti"], "iat": claims["iat"], "client_id": claims["client_id"],
            "creation": claims["lanyard_creation"], "x5t": claims["cnf"]["x5t#S256"],
        })
    };
    let mut said = claims(&third);
    assert!(said.remove("jti").unwrap().is_string());
    let creation = shop.fixture.authority.client(&id("orders")).unwrap().record.creation_id.clone();
    let expected = json!({
        "iss": claims(&first)["iss"],
        "sub": id("frontend"),
        "aud": at("stock"),
        "exp": NOW.0 + 120,
        "iat": NOW.0,
        "nbf": NOW.0 - 5,
        "client_id": id("orders"),
        "scope": "stock.read stock.write",
        "cnf": { "x5t#S256": shop.leaf("orders").thumbprint().to_string() },
        "lanyard_creation": creation,
        "act": { "sub": id("orders"), "act": { "sub": id("checkout") } },
        "lanyard_from": [parent(&first), parent(&second)],
    });
    assert_eq!(Value::Object(said), expected);
    // A token that is not exchanged speaks for its holder alone.
    for name in &CHAIN[..3] {
        let own = claims(&shop.token(name));
        assert_eq!((&own["sub"], own.get("act"), own.get("lanyard_from")), (&own["client_id"], None, None));
    }
}

// X10
#[test]
fn nothing_in_a_request_adds_to_the_chain_or_takes_from_it() {
    let (shop, signer) = minting();
    let token = shop.token("frontend");
    let ask = |actor_token: Option<String>| {
        let request = ExchangeRequest {
            access_token: Some(token.clone()),
            actor_token,
            audience: vec![at("orders")],
            ..ExchangeRequest::default()
        };
        let reason = shop.reason(&shop.peer("checkout"), &request);
        let issued = shop.ask(&shop.peer("checkout"), &request).ok();
        (reason, issued.map(|issued| claims(&issued.access_token)["act"].clone()))
    };
    let chain = Some(json!({ "sub": id("checkout") }));
    assert_eq!(ask(None), (String::new(), chain.clone()));
    let own = shop.token("checkout");
    assert_eq!(ask(Some(own.clone())), (String::new(), chain.clone()));
    // The actor token's own chain is not spliced in.
    let delegated = shop.exchange("checkout", &token, "orders").unwrap().access_token;
    assert_eq!(ask(Some(delegated)), (String::new(), chain));
    let other = crafted(&signer, &own, |claims| claims["cnf"]["x5t#S256"] = json!("A".repeat(43)));
    let unbound = crafted(&signer, &own, |claims| drop(claims.remove("cnf")));
    let renamed = crafted(&signer, &own, |claims| claims["client_id"] = json!(id("orders")));
    for bad in [token.clone(), shop.token("orders"), other, unbound, renamed, "garbage".to_owned(), String::new()] {
        assert_eq!(ask(Some(bad)), ("ACTOR_TOKEN_NOT_OWN".to_owned(), None));
    }
    // A chain that is not one is none of ours, although it is signed by us.
    let delegated = shop.exchange("checkout", &token, "orders").unwrap().access_token;
    let splices: [fn(&mut Map<String, Value>); 5] = [
        |claims| drop(claims.remove("act")),
        |claims| drop(claims.remove("lanyard_from")),
        |claims| claims["act"] = json!({ "sub": id("checkout"), "act": { "sub": id("stock") } }),
        |claims| claims["act"] = json!({ "sub": id("stock") }),
        |claims| claims["act"] = json!([id("checkout")]),
    ];
    for splice in splices {
        let token = crafted(&signer, &delegated, splice);
        assert_eq!(shop.why_not("orders", &token, "stock"), "SUBJECT_INVALID");
    }
    assert_eq!(shop.why_not("orders", &crafted(&signer, &delegated, |_| {}), "stock"), "");
}

// X12
#[test]
fn a_subject_that_names_who_may_act_is_exchanged_by_that_client_and_no_other() {
    let (shop, signer) = minting();
    let token = shop.token("frontend");
    let issuer = claims(&token)["iss"].clone();
    let exchanged = |may_act: Value| {
        let token = crafted(&signer, &token, |claims| drop(claims.insert("may_act".to_owned(), may_act)));
        shop.why_not("checkout", &token, "orders")
    };
    assert_eq!(exchanged(json!({ "sub": id("checkout") })), "");
    assert_eq!(exchanged(json!({ "sub": id("checkout"), "iss": issuer })), "");
    assert_eq!(exchanged(json!({ "sub": id("orders") })), "NOT_MAY_ACT");
    assert_eq!(exchanged(json!({ "sub": id("checkout"), "iss": "https://other.example" })), "NOT_MAY_ACT");
    for malformed in [
        json!(null),
        json!(id("checkout")),
        json!([{ "sub": id("checkout") }]),
        json!({}),
        json!({ "sub": null }),
        json!({ "sub": [id("checkout")] }),
        json!({ "sub": id("checkout"), "iss": null }),
        json!({ "sub": id("checkout"), "email": "a@b" }),
    ] {
        assert_eq!(exchanged(malformed.clone()), "SUBJECT_INVALID", "{malformed}");
    }
}

// X14
#[test]
fn no_exchange_makes_anything_live_longer() {
    let mut shop = Shop::empty(|_| {}, TestAuthority::keys());
    let names: Vec<String> = (0..10).map(|number| format!("hop{number}")).collect();
    for name in &names {
        shop.protect(resource(name));
    }
    for (number, name) in names.iter().enumerate() {
        let calls = names.get(number + 1).unwrap_or(&names[0]);
        let ttl = Some(Duration::from_mins(5));
        let rules = ExchangeRuleMetadata { ttl, max_actors: Some(8), ..rule("spiffe://prod.example/*", name, calls) };
        shop.register(client(name, calls, if number == 0 { Vec::new() } else { vec![rules] }));
    }
    let mut token = shop.token("hop0");
    let mut ends = vec![claims(&token)["exp"].as_u64().unwrap()];
    for (number, pair) in names[1..].windows(2).enumerate() {
        shop.fixture.clock.set(Timestamp(NOW.0 + 20 * u64::try_from(number + 1).unwrap()));
        token = shop.exchange(&pair[0], &token, &pair[1]).unwrap().access_token;
        ends.push(claims(&token)["exp"].as_u64().unwrap());
    }
    assert_eq!((ends.len(), ends[0]), (9, NOW.0 + 300));
    assert!(ends.is_sorted_by(|earlier, later| earlier >= later), "{ends:?}");
    // Of a rule that is shorter than what is left, of the rest of the subject, and of the certificate the shortest counts.
    let shop = Shop::new();
    let subject = shop.token("frontend");
    let end = |now: u64| {
        shop.fixture.clock.set(Timestamp(NOW.0 + now));
        let issued = shop.exchange("checkout", &subject, "orders").ok()?;
        Some((claims(&issued.access_token)["exp"].as_u64().unwrap() - NOW.0, issued.expires_in.as_secs()))
    };
    assert_eq!(end(0), Some((120, 120)));
    assert_eq!(end(200), Some((300, 100)));
    assert_eq!(end(299), Some((300, 1)));
    assert_eq!(end(300), None);
}

#[test]
fn a_token_does_not_outlive_the_certificate_that_it_is_bound_to() {
    let shop = Shop::new();
    let leaf = shop.fixture.prod.svid(&id("checkout")).between(Timestamp(NOW.0 - 10), Timestamp(NOW.0 + 30)).issue();
    let request = ExchangeRequest {
        access_token: Some(shop.token("frontend")),
        audience: vec![at("orders")],
        ..ExchangeRequest::default()
    };
    let issued = shop.ask(&shop.fixture.peer(&leaf), &request).unwrap();
    assert_eq!((claims(&issued.access_token)["exp"].clone(), issued.expires_in.as_secs()), (json!(NOW.0 + 30), 30));
}

// X17
#[test]
fn a_delegated_token_is_good_with_its_holders_certificate_and_never_with_its_subjects() {
    for rotation in ["strict", "identity", "lineage"] {
        let mut shop = Shop::empty(|_| {}, TestAuthority::keys());
        shop.protect(resource("checkout"));
        shop.protect(ResourceMetadata { least_evidence: Some("spiffe_id".to_owned()), ..resource("orders") });
        let rotating = |metadata| ClientMetadata { rotation: Some(rotation.to_owned()), ..metadata };
        shop.register(rotating(client("frontend", "checkout", Vec::new())));
        shop.register(rotating(client("checkout", "orders", vec![rule(&id("frontend"), "checkout", "orders")])));
        let token = shop.exchange("checkout", &shop.token("frontend"), "orders").unwrap().access_token;
        let evidence = |name: &str| {
            let leaf = shop.leaf(name);
            [
                Evidence::from_der(leaf.certificate()).unwrap(),
                Evidence::from_thumbprint(leaf.thumbprint().as_bytes()).unwrap(),
                Evidence::from_spiffe_id(&id(name)).unwrap(),
            ]
        };
        for of_subject in evidence("frontend") {
            let shown = format!("{rotation}: {of_subject}");
            let Decision::Deny(reason) = decide(&shop, &token, &at("orders"), of_subject) else { panic!("{shown}") };
            let expected = [DenyReason::CertificateMismatch, DenyReason::RotationStrict];
            assert!(expected.contains(&reason), "{shown}: {reason}");
        }
        let [certificate, thumbprint, name] =
            evidence("checkout").map(|of_holder| decide(&shop, &token, &at("orders"), of_holder));
        for decision in [certificate, thumbprint] {
            assert!(matches!(decision, Decision::Allow(verdict) if verdict.matched == Match::Exact), "{decision:?}");
        }
        assert_eq!(matches!(name, Decision::Allow(_)), rotation == "identity", "{name:?}");
    }
}

// X18
#[test]
fn where_nobody_has_said_that_delegated_tokens_are_taken_they_are_denied() {
    let shop = Shop::new();
    let (own, delegated) =
        (shop.token("checkout"), shop.exchange("checkout", &shop.token("frontend"), "orders").unwrap());
    let certificate = || Evidence::from_der(shop.leaf("checkout").certificate()).unwrap();
    let at_orders = |token: &str| decide(&shop, token, &at("orders"), certificate());
    assert!(matches!(at_orders(&delegated.access_token), Decision::Allow(_)));
    shop.change(ResourceMetadata { delegated: None, ..resource("orders") });
    assert_eq!(at_orders(&delegated.access_token), Decision::Deny(DenyReason::DelegationNotAccepted));
    assert!(matches!(at_orders(&own), Decision::Allow(_)));
    // An audience that was never registered has said nothing.
    let authority = &shop.fixture.authority;
    crate::support::authority::ready(authority.delete_resource(&shop.fixture.svid(ADMIN), &at("orders"), None))
        .unwrap();
    crate::support::authority::ready(authority.forget_resource(&shop.fixture.svid(ADMIN), &at("orders"))).unwrap();
    assert_eq!(at_orders(&delegated.access_token), Decision::Deny(DenyReason::DelegationNotAccepted));
    assert!(matches!(at_orders(&own), Decision::Allow(_)));
}

// X19
#[test]
fn only_an_access_token_of_this_server_is_taken_for_one() {
    let (shop, signer) = minting();
    let token = shop.token("frontend");
    let parts: Vec<&str> = token.split('.').collect();
    let with_type = |typ: &str| {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let mut header = crate::support::mint::part(&token, 0);
        header.insert("typ".to_owned(), json!(typ));
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(Value::Object(header).to_string()), parts[1]);
        let signature = crate::support::authority::ready(signer.sign(message.as_bytes())).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    assert_eq!(shop.why_not("checkout", &with_type("at+jwt"), "orders"), "");
    for typ in ["JWT", "txntoken+jwt", "token-introspection+jwt", "authorization-grant+jwt", "wit+jwt", "lr1", ""] {
        assert_eq!(shop.why_not("checkout", &with_type(typ), "orders"), "SUBJECT_INVALID", "{typ}");
    }
    let expired = crafted(&signer, &token, |claims| claims["exp"] = json!(NOW.0));
    assert_eq!(shop.why_not("checkout", &expired, "orders"), "SUBJECT_DENIED");
    let foreign = crafted(&signer, &token, |claims| claims["iss"] = json!("https://other.example"));
    assert_eq!(shop.why_not("checkout", &foreign, "orders"), "SUBJECT_DENIED");
    assert_eq!(shop.why_not("checkout", &"a".repeat(17_000), "orders"), "SUBJECT_INVALID");
}

// X20
#[test]
fn what_is_not_bound_is_not_exchanged_and_what_is_issued_is_bound_to_the_connection() {
    let (record, pkcs8) = new_record(&sealer(1), SigningAlgorithm::Es256, NOW);
    let signer = LocalSigner::from_pkcs8(SigningAlgorithm::Es256, &pkcs8).unwrap();
    let keys = TestKeys::of(SigningAlgorithm::Es256, [record]);
    // Also where unbound tokens are issued otherwise.
    let shop = Shop::with(|policy| policy.unbound_tokens = true, keys);
    let unbound = |name: &str, calls: &str, rules| ClientMetadata {
        tls_client_certificate_bound_access_tokens: Some(false),
        ..client(name, calls, rules)
    };
    let token = shop.token("frontend");
    let bare = crafted(&signer, &token, |claims| drop(claims.remove("cnf")));
    assert_eq!(shop.why_not("checkout", &bare, "orders"), "SUBJECT_DENIED");
    shop.fixture.update(unbound("checkout", "orders", vec![rule(&id("frontend"), "checkout", "orders")]));
    assert!(!claims(&shop.token("checkout")).contains_key("cnf"));
    let other = shop.fixture.prod.svid(&id("checkout")).issue();
    for leaf in [shop.leaf("checkout"), &other] {
        let request = ExchangeRequest {
            access_token: Some(token.clone()),
            audience: vec![at("orders")],
            ..ExchangeRequest::default()
        };
        let issued = shop.ask(&shop.fixture.peer(leaf), &request).unwrap();
        assert_eq!(claims(&issued.access_token)["cnf"], json!({ "x5t#S256": leaf.thumbprint().to_string() }));
    }
}

// X11: introspection keeps the actors, and tells nobody of the tokens that it comes from
#[test]
fn introspection_says_who_acts_and_keeps_the_rest_private() {
    let shop = Shop::new();
    let tokens = shop.tokens();
    let authority = &shop.fixture.authority;
    let admin = authority.as_caller(&shop.fixture.svid(ADMIN));
    let requester = Requester { client_id: None, roles: admin.roles.clone(), sender: admin.sender() };
    let told = authority.introspect(&admin.view, &requester, &tokens[2]).unwrap().unwrap();
    let told: HashMap<String, Value> = serde_json::from_value(serde_json::to_value(&*told).unwrap()).unwrap();
    let said = claims(&tokens[2]);
    assert_eq!((&told["act"], &told["sub"], &told["client_id"]), (&said["act"], &said["sub"], &said["client_id"]));
    assert!(!told.contains_key("lanyard_from"));
}
