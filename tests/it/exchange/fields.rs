//! What registrations may say about token exchange.

use lanyard::authority::records::RegistryError;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::ExchangeRuleMetadata;
use lanyard::authority::registration::ScopeGrantMetadata;
use lanyard::authority::resources::DelegatedMetadata;
use lanyard::authority::resources::ResourceMetadata;
use std::time::Duration;

use crate::exchange::support::Shop;
use crate::exchange::support::at;
use crate::exchange::support::client;
use crate::exchange::support::id;
use crate::exchange::support::resource;
use crate::exchange::support::rule;
use crate::support::authority::ADMIN;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;

/// The field that a registration is refused by; empty where it is not.
fn refused(shop: &Shop, metadata: ClientMetadata) -> String {
    let created = ready(shop.fixture.authority.create_client(&shop.fixture.svid(ADMIN), metadata, true));
    match created {
        Ok(_) => String::new(),
        Err(RegistryError::Invalid(invalid)) => invalid.field.to_owned(),
        Err(other) => other.code().to_owned(),
    }
}

fn shop() -> Shop {
    let shop = Shop::empty(|_| {}, TestAuthority::keys());
    for name in ["checkout", "orders"] {
        shop.protect(resource(name));
    }
    shop
}

fn good() -> ExchangeRuleMetadata {
    rule(&id("frontend"), "checkout", "orders")
}

fn with(change: impl FnOnce(&mut ExchangeRuleMetadata)) -> ClientMetadata {
    let mut rule = good();
    change(&mut rule);
    client("checkout", "orders", vec![rule])
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn each_wrong_value_of_a_rule_is_refused_by_the_fields_name() {
    let shop = shop();
    let grant =
        |needs: &str, gives: &str| vec![ScopeGrantMetadata { needs: needs.to_owned(), gives: gives.to_owned() }];
    let wrong = vec![
        with(|rule| rule.subjects.clear()),
        with(|rule| rule.subjects = texts(&["*"])),
        with(|rule| rule.subjects = texts(&["spiffe://*"])),
        with(|rule| rule.subjects = texts(&["spiffe://prod.example/*/sa/frontend"])),
        with(|rule| rule.subjects = vec![id("frontend"); 65]),
        with(|rule| rule.presented_at = "checkout".to_owned()),
        with(|rule| rule.presented_at.clear()),
        // The client could not call there for itself.
        with(|rule| rule.audience = at("checkout")),
        with(|rule| rule.audience = format!("{}/", at("orders"))),
        with(|rule| rule.grants.clear()),
        with(|rule| rule.grants = grant("", "orders.read")),
        with(|rule| rule.grants = grant("checkout.read", "")),
        with(|rule| rule.grants = grant("checkout.read", "*")),
        with(|rule| rule.grants = grant("*", "orders.read")),
        with(|rule| rule.grants = grant("checkout.read", "orders.read,orders.write")),
        // Scopes that the resources do not define.
        with(|rule| rule.grants = grant("checkout.read", "orders.admin")),
        with(|rule| rule.grants = grant("checkout.admin", "orders.read")),
        with(|rule| rule.presentation = Some("receipts".to_owned())),
        with(|rule| rule.least_evidence = Some("hash".to_owned())),
        with(|rule| rule.ttl = Some(Duration::ZERO)),
        with(|rule| rule.ttl = Some(Duration::from_secs(301))),
        with(|rule| rule.ttl = Some(Duration::from_millis(1500))),
        with(|rule| rule.max_actors = Some(0)),
        with(|rule| rule.max_actors = Some(9)),
        client("checkout", "orders", vec![good(); 2]),
        client("checkout", "orders", vec![good(), rule("spiffe://prod.example/*", "checkout", "orders"), good()]),
        client(
            "checkout",
            "orders",
            (0..65).map(|number| rule(&id(&number.to_string()), "checkout", "orders")).collect(),
        ),
        ClientMetadata { grant_types: Vec::new(), ..client("checkout", "orders", vec![good()]) },
    ];
    for (number, metadata) in wrong.into_iter().enumerate() {
        assert_eq!(refused(&shop, metadata.clone()), "exchange", "{number}: {:?}", metadata.exchange);
    }
    let right = [
        with(|_| {}),
        with(|rule| rule.subjects = texts(&["frontend", "spiffe://prod.example/*", "spiffe://other.example/ns/*"])),
        with(|rule| rule.presentation = Some("independent".to_owned())),
        with(|rule| rule.least_evidence = Some("certificate".to_owned())),
        with(|rule| rule.ttl = Some(Duration::from_mins(5))),
        with(|rule| rule.max_actors = Some(8)),
        // A resource that is not registered yet defines nothing.
        with(|rule| (rule.presented_at, rule.grants) = (at("new"), grant("new.read", "orders.read"))),
        client("checkout", "orders", vec![good(), rule("spiffe://prod.example/*", "checkout", "orders")]),
        client("checkout", "orders", vec![good(), rule(&id("frontend"), "orders", "orders")]),
    ];
    for (number, metadata) in right.into_iter().enumerate() {
        assert_eq!(refused(&shop, metadata.clone()), "", "{number}: {:?}", metadata.exchange);
    }
}

#[test]
fn grant_types_delegates_and_consent_are_refused_by_their_names() {
    let shop = shop();
    let exchange = lanyard::authority::registration::TOKEN_EXCHANGE;
    let granting = |grants: &[&str]| ClientMetadata { grant_types: texts(grants), ..client("a", "orders", Vec::new()) };
    for (grants, field) in [
        (&["client_credentials"][..], ""),
        (&["client_credentials", exchange], ""),
        (&[exchange, "client_credentials"], ""),
        (&[exchange], "grant_types"),
        (&[exchange, exchange], "grant_types"),
        (&["client_credentials", exchange, exchange], "grant_types"),
        (&["client_credentials", "token-exchange"], "grant_types"),
    ] {
        assert_eq!(refused(&shop, granting(grants)), field, "{grants:?}");
    }
    let delegating =
        |delegates: &[&str]| ClientMetadata { delegates: Some(texts(delegates)), ..client("a", "orders", Vec::new()) };
    for (delegates, field) in [(&[][..], ""), (&["a"], ""), (&["spiffe://prod.example/*"], ""), (&["*"], "delegates")] {
        assert_eq!(refused(&shop, delegating(delegates)), field, "{delegates:?}");
    }
    for (actors, max_actors, good) in [
        (&["a"][..], None, true),
        (&["spiffe://prod.example/*"], Some(8), true),
        (&[], None, false),
        (&["*"], None, false),
        (&["a"], Some(0), false),
        (&["a"], Some(9), false),
    ] {
        let delegated = Some(DelegatedMetadata { actors: texts(actors), max_actors, mode: None });
        let metadata = ResourceMetadata { delegated, ..resource("stock") };
        let created = ready(shop.fixture.authority.create_resource(&shop.fixture.svid(ADMIN), metadata, true));
        let field = created.map_err(|error| {
            if let RegistryError::Invalid(invalid) = error { invalid.field.to_owned() } else { error.code().to_owned() }
        });
        assert_eq!(field.map(drop), if good { Ok(()) } else { Err("delegated".to_owned()) }, "{actors:?}");
    }
}

// Earlier versions cannot read these records
#[test]
fn without_the_feature_nothing_is_said_about_exchange() {
    let fixture = TestAuthority::new();
    let admin = fixture.svid(ADMIN);
    let create = |metadata| ready(fixture.authority.create_client(&admin, metadata, true)).map(drop);
    let field = |metadata| match create(metadata) {
        Err(RegistryError::FeatureNotEnabled { field, feature, .. }) => Some((field, feature)),
        _ => None,
    };
    let plain = client("a", "orders", Vec::new());
    assert_eq!(create(plain.clone()), Ok(()));
    assert_eq!(field(client("a", "orders", vec![good()])), Some(("exchange", "exchange")));
    assert_eq!(field(ClientMetadata { delegates: Some(Vec::new()), ..plain }), Some(("delegates", "exchange")));
    let created = ready(fixture.authority.create_resource(&admin, resource("orders"), true));
    assert!(matches!(created, Err(RegistryError::FeatureNotEnabled { field: "delegated", .. })));
    let silent = ResourceMetadata { delegated: None, ..resource("orders") };
    assert!(ready(fixture.authority.create_resource(&admin, silent, true)).is_ok());
}
