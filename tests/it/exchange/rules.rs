//! Which exchanges the rules allow: exactly those that are registered, at both ends.

use lanyard::authority::decision::Decision;
use lanyard::authority::decision::ExchangeRefusal;
use lanyard::authority::decision::ExchangeRequest;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::ExchangeRuleMetadata;
use lanyard::authority::registration::ScopeGrantMetadata;
use lanyard::authority::resources::DelegatedMetadata;
use lanyard::authority::resources::ResourceMetadata;

use crate::exchange::support::CHAIN;
use crate::exchange::support::Shop;
use crate::exchange::support::at;
use crate::exchange::support::claims;
use crate::exchange::support::client;
use crate::exchange::support::id;
use crate::exchange::support::resource;
use crate::exchange::support::rule;
use crate::support::authority::TestAuthority;
use crate::support::authority::spiffe_client;

/// A request for one target with this scope.
fn request(access_token: &str, target: &str, scope: &str) -> ExchangeRequest {
    ExchangeRequest {
        access_token: Some(access_token.to_owned()),
        audience: vec![target.to_owned()],
        scope: scope.to_owned(),
        ..ExchangeRequest::default()
    }
}

fn granted(needs: &str, gives: &str) -> ScopeGrantMetadata {
    ScopeGrantMetadata { needs: needs.to_owned(), gives: gives.to_owned() }
}

/// The checkout with this rule in place of its own.
fn with_rule(shop: &Shop, changed: ExchangeRuleMetadata) {
    shop.fixture.update(client("checkout", "orders", vec![changed]));
}

// X1
#[test]
fn a_stolen_token_alone_is_exchanged_for_nothing_where_the_rule_asks_for_a_receipt() {
    let mut shop = Shop::empty(|_| {}, TestAuthority::keys());
    for name in CHAIN {
        shop.protect(resource(name));
    }
    let names: Vec<String> = (0..12).map(|number| format!("thief{number}")).collect();
    shop.register(client("frontend", "checkout", Vec::new()));
    for (number, name) in names.iter().enumerate() {
        let presentation = [None, Some("receipt"), Some("independent")][number % 3].map(ToOwned::to_owned);
        let rule = ExchangeRuleMetadata { presentation, ..rule("spiffe://prod.example/*", "checkout", "orders") };
        shop.register(client(name, "orders", vec![rule]));
    }
    let stolen = shop.token("frontend");
    for name in &names {
        assert_eq!(shop.why_not(name, &stolen, "orders"), "RECEIPT_MISSING", "{name}");
        assert_eq!(shop.exchange(name, &stolen, "orders").unwrap_err(), ExchangeRefusal::SubjectNotAccepted);
    }
    // The nearest that is allowed: a rule that takes the token alone.
    shop.register(client("trusting", "orders", vec![rule(&id("frontend"), "checkout", "orders")]));
    assert!(shop.exchange("trusting", &stolen, "orders").is_ok());
}

#[test]
fn the_most_specific_subject_selects_the_one_rule_and_rules_are_not_united() {
    let shop = Shop::new();
    let narrow = ExchangeRuleMetadata {
        subjects: vec![id("frontend")],
        grants: vec![granted("checkout.read", "orders.read")],
        ..rule("", "checkout", "orders")
    };
    let wide = rule("spiffe://prod.example/ns/*", "checkout", "orders");
    let token = shop.token("frontend");
    for rules in [[narrow.clone(), wide.clone()], [wide, narrow]] {
        shop.fixture.update(client("checkout", "orders", rules.to_vec()));
        assert_eq!(shop.exchange("checkout", &token, "orders").unwrap().scope.to_string(), "orders.read");
    }
}

// X8
#[test]
fn a_target_is_one_registered_audience_byte_by_byte() {
    let shop = Shop::new();
    let token = shop.token("frontend");
    let peer = shop.peer("checkout");
    let good = at("orders");
    assert!(shop.ask(&peer, &request(&token, &good, "")).is_ok());
    let mut spellings: Vec<String> = vec![
        format!("{good}/"),
        format!("{good}//"),
        format!("{good}/orders"),
        format!("{good}?"),
        format!("{good}?a=b"),
        format!("{good}#"),
        format!("{good}:443"),
        format!("{good}."),
        format!(" {good}"),
        format!("{good} "),
        format!("{good}\n"),
        format!("{good}\0"),
        format!("{good},{good}"),
        format!("{good} {}", at("stock")),
        good.replace("https", "HTTPS"),
        good.replace("https", "http"),
        good.replace("orders", "Orders"),
        good.replace("orders", "%6frders"),
        good.replace("://", ":///"),
        good.replace("://", "://user@"),
        good.replace(".internal", ".INTERNAL"),
        good[..good.len() - 1].to_owned(),
        good[1..].to_owned(),
        "orders".to_owned(),
        "*".to_owned(),
        "https://*".to_owned(),
        String::new(),
    ];
    spellings.extend(["stock", "checkout", "frontend", "nobody"].map(at));
    for spelling in &spellings {
        assert_eq!(
            shop.ask(&peer, &request(&token, spelling, "")).unwrap_err(),
            ExchangeRefusal::InvalidTarget,
            "{spelling:?}"
        );
    }
    let several = |audience: Vec<String>| ExchangeRequest { audience, ..request(&token, "", "") };
    assert_eq!(shop.reason(&peer, &several(vec![good.clone(), at("stock")])), "SEVERAL_TARGETS");
    assert_eq!(shop.reason(&peer, &several(vec![good.clone(), good])), "SEVERAL_TARGETS");
    assert_eq!(shop.reason(&peer, &several(Vec::new())), "REQUEST_MALFORMED");
}

// X9
#[test]
fn scopes_are_those_that_the_rule_gives_for_what_was_presented_and_no_others() {
    let shop = Shop::new();
    let grants = vec![granted("checkout.read", "orders.read"), granted("checkout.read checkout.write", "orders.write")];
    with_rule(&shop, ExchangeRuleMetadata { grants, ..rule(&id("frontend"), "checkout", "orders") });
    let peer = shop.peer("checkout");
    let presented = |scope: &str| {
        let scope = scope.to_owned();
        shop.fixture.update(ClientMetadata { scope, ..client("frontend", "checkout", Vec::new()) });
        shop.token("frontend")
    };
    let asked = |token: &str, scope: &str| {
        shop.ask(&peer, &request(token, &at("orders"), scope)).map(|issued| issued.scope.to_string())
    };
    let (whole, less) = (presented("checkout.read checkout.write"), presented("checkout.read"));
    // A token never opens more than its registration permits now.
    assert_eq!(asked(&whole, ""), Ok("orders.read".to_owned()));
    let whole = presented("checkout.read checkout.write");
    let all = "orders.read orders.write";
    for (token, scope, expected) in [
        (&whole, "", Ok(all)),
        (&whole, all, Ok(all)),
        (&whole, "orders.write", Ok("orders.write")),
        (&less, "", Ok("orders.read")),
        (&less, "orders.write", Err(ExchangeRefusal::InvalidScope)),
        (&less, all, Err(ExchangeRefusal::InvalidScope)),
        // Neither the scope that was presented nor the client's own is carried over by its name.
        (&whole, "checkout.read", Err(ExchangeRefusal::InvalidScope)),
        (&whole, "orders.admin", Err(ExchangeRefusal::InvalidScope)),
        (&whole, "orders.read ", Err(ExchangeRefusal::InvalidScope)),
        (&whole, "*", Err(ExchangeRefusal::InvalidScope)),
    ] {
        assert_eq!(asked(token, scope), expected.map(ToOwned::to_owned), "{scope:?}");
    }
    let nothing = presented("");
    assert_eq!(asked(&nothing, ""), Err(ExchangeRefusal::InvalidScope));
    assert_eq!(asked(&nothing, "orders.read"), Err(ExchangeRefusal::InvalidScope));
}

#[test]
fn the_holder_of_a_delegated_token_needs_no_scope_of_its_own_for_it() {
    let shop = Shop::new();
    let own = ClientMetadata {
        scope: String::new(),
        ..client("checkout", "orders", vec![rule(&id("frontend"), "checkout", "orders")])
    };
    shop.fixture.update(own);
    let token = shop.exchange("checkout", &shop.token("frontend"), "orders").unwrap().access_token;
    let decision = shop.fixture.evaluate(&token, shop.leaf("checkout"));
    assert!(matches!(decision, Decision::Allow(_)), "{decision:?}");
    // Its own token has none.
    assert!(!claims(&shop.token("checkout")).contains_key("scope"));
}

// X13
#[test]
fn nobody_acts_for_itself_or_twice_and_no_more_than_may() {
    let mut shop = Shop::new();
    let own = vec![rule("spiffe://prod.example/*", "checkout", "orders")];
    shop.register(ClientMetadata { audience: vec![at("checkout"), at("orders")], ..client("self", "orders", own) });
    assert_eq!(shop.why_not("self", &shop.token("self"), "orders"), "ACTOR_IS_SUBJECT");

    // A > B > C > B: the stock calls the checkout again.
    let tokens = shop.tokens();
    let back =
        vec![rule("spiffe://prod.example/*", "stock", "checkout"), rule("spiffe://prod.example/*", "stock", "orders")];
    shop.fixture.update(ClientMetadata {
        audience: vec![at("stock"), at("orders"), at("checkout")],
        ..client("checkout", "orders", back)
    });
    assert_eq!(shop.why_not("checkout", &tokens[2], "orders"), "ACTOR_IN_CHAIN");

    // One more than may act: of the rule, then of the target.
    shop.register(client("porter", "frontend", vec![rule("spiffe://prod.example/*", "stock", "frontend")]));
    let limited =
        |max_actors| ExchangeRuleMetadata { max_actors, ..rule("spiffe://prod.example/*", "stock", "frontend") };
    for (max_actors, reason) in [(Some(1), "TOO_MANY_ACTORS"), (Some(2), "TOO_MANY_ACTORS"), (Some(3), ""), (None, "")]
    {
        shop.fixture.update(client("porter", "frontend", vec![limited(max_actors)]));
        assert_eq!(shop.why_not("porter", &tokens[2], "frontend"), reason, "{max_actors:?}");
    }
    let takes = |max_actors| {
        let delegated = DelegatedMetadata { actors: vec![id("porter")], max_actors: Some(max_actors), mode: None };
        ResourceMetadata { delegated: Some(delegated), ..resource("frontend") }
    };
    shop.change(takes(2));
    assert_eq!(shop.why_not("porter", &tokens[2], "frontend"), "TARGET_NOT_ACCEPTING");
    shop.change(takes(3));
    assert_eq!(shop.why_not("porter", &tokens[2], "frontend"), "");
}

// X18
#[test]
fn a_target_that_takes_no_delegated_tokens_or_none_of_this_client_gets_none() {
    let shop = Shop::new();
    let token = shop.token("frontend");
    let delegated = |actors: &[&str]| DelegatedMetadata {
        actors: actors.iter().map(|actor| (*actor).to_owned()).collect(),
        max_actors: None,
        mode: None,
    };
    let (checkout, beside) = (id("checkout"), id("checkout-canary"));
    for (takes, reason) in [
        (None, "TARGET_NOT_ACCEPTING"),
        (Some(delegated(&[&beside])), "TARGET_NOT_ACCEPTING"),
        (Some(delegated(&["spiffe://prod.example/ns/shop/sa/checkout/*"])), "TARGET_NOT_ACCEPTING"),
        (Some(delegated(&[&checkout])), ""),
        (Some(delegated(&["spiffe://prod.example/ns/shop/*"])), ""),
    ] {
        shop.change(ResourceMetadata { delegated: takes.clone(), ..resource("orders") });
        assert_eq!(shop.why_not("checkout", &token, "orders"), reason, "{takes:?}");
    }
    let domains = |names: &[&str]| ResourceMetadata {
        trust_domains: names.iter().map(|name| (*name).to_owned()).collect(),
        ..resource("orders")
    };
    shop.change(domains(&["staging.example"]));
    assert_eq!(shop.why_not("checkout", &token, "orders"), "TARGET_NOT_ACCEPTING");
    shop.change(domains(&["prod.example"]));
    assert_eq!(shop.why_not("checkout", &token, "orders"), "");
}

#[test]
fn the_subject_may_forbid_that_others_act_for_it() {
    let shop = Shop::new();
    let token = shop.token("frontend");
    for (delegates, reason) in [
        (Some(vec![]), "VETOED"),
        (Some(vec![id("orders")]), "VETOED"),
        (Some(vec![id("checkout")]), ""),
        (Some(vec!["spiffe://prod.example/ns/shop/*".to_owned()]), ""),
        (None, ""),
    ] {
        shop.fixture
            .update(ClientMetadata { delegates: delegates.clone(), ..client("frontend", "checkout", Vec::new()) });
        assert_eq!(shop.why_not("checkout", &token, "orders"), reason, "{delegates:?}");
    }
    // It counts along the whole chain.
    let second = shop.exchange("checkout", &token, "orders").unwrap().access_token;
    shop.fixture
        .update(ClientMetadata { delegates: Some(vec![id("checkout")]), ..client("frontend", "checkout", Vec::new()) });
    assert_eq!(shop.why_not("orders", &second, "stock"), "VETOED");
}

#[test]
fn a_client_that_is_not_registered_for_the_grant_exchanges_nothing() {
    let shop = Shop::new();
    let token = shop.token("frontend");
    assert_eq!(shop.exchange("frontend", &token, "checkout").unwrap_err(), ExchangeRefusal::UnauthorizedClient);
    shop.fixture.update(spiffe_client(&id("checkout")));
    assert_eq!(shop.exchange("checkout", &token, "orders").unwrap_err(), ExchangeRefusal::UnauthorizedClient);
    let nobody = shop.fixture.svid(&id("nobody"));
    let refused = shop.ask(&nobody, &request(&token, &at("orders"), "")).unwrap_err();
    assert!(matches!(refused, ExchangeRefusal::NotGranted(_)), "{refused:?}");
}

// X30
#[test]
fn report_lets_only_the_lack_of_a_receipt_through() {
    let shop = Shop::new();
    let token = shop.token("frontend");
    let reporting = |subject: &str| ExchangeRuleMetadata {
        presentation: Some("report".to_owned()),
        ..rule(subject, "checkout", "orders")
    };
    let frontend = |delegates| ClientMetadata { delegates, ..client("frontend", "checkout", Vec::new()) };
    for mode in ["enforce", "report"] {
        let in_mode = |name| ResourceMetadata { mode: Some(mode.to_owned()), ..resource(name) };
        for name in ["checkout", "orders"] {
            shop.change(in_mode(name));
        }
        with_rule(&shop, reporting(&id("frontend")));
        assert_eq!(shop.why_not("checkout", &token, "orders"), "");
        let peer = shop.peer("checkout");
        assert_eq!(shop.reason(&peer, &request(&token, &at("orders"), "orders.admin")), "INVALID_SCOPE");
        with_rule(&shop, reporting(&id("orders")));
        assert_eq!(shop.why_not("checkout", &token, "orders"), "NO_RULE");
        with_rule(&shop, reporting(&id("frontend")));
        shop.fixture.update(frontend(Some(Vec::new())));
        assert_eq!(shop.why_not("checkout", &token, "orders"), "VETOED");
        shop.fixture.update(ClientMetadata { disabled: true, ..frontend(None) });
        assert_eq!(shop.why_not("checkout", &token, "orders"), "SUBJECT_DENIED");
        shop.fixture.update(frontend(None));
        shop.change(ResourceMetadata { delegated: None, ..in_mode("orders") });
        assert_eq!(shop.why_not("checkout", &token, "orders"), "TARGET_NOT_ACCEPTING");
    }
}

// X31
#[test]
fn with_exchange_switched_off_nothing_is_exchanged() {
    let shop = Shop::with(|policy| policy.exchange.enabled = false, TestAuthority::keys());
    let token = shop.token("frontend");
    assert_eq!(shop.exchange("checkout", &token, "orders").unwrap_err(), ExchangeRefusal::NotEnabled);
    assert_eq!(shop.why_not("checkout", &token, "orders"), "NOT_ENABLED");
}
