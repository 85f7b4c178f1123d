//! What registrations and the configuration may say about transaction tokens.

use std::time::Duration;

use lanyard::authority::records::RegistryError;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::ScopeGrantMetadata;
use lanyard::authority::registration::TOKEN_EXCHANGE;
use lanyard::authority::registration::TxnRuleMetadata;
use lanyard::config;

use crate::exchange::support::Shop;
use crate::exchange::support::at;
use crate::exchange::support::client;
use crate::exchange::support::id;
use crate::exchange::support::resource;
use crate::support::authority::ADMIN;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::server::Setup;

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn good() -> TxnRuleMetadata {
    TxnRuleMetadata {
        subjects: vec![id("frontend")],
        presented_at: Some(at("checkout")),
        grants: vec![ScopeGrantMetadata { needs: "checkout.write".to_owned(), gives: "trade.stocks".to_owned() }],
        ..TxnRuleMetadata::default()
    }
}

fn own() -> TxnRuleMetadata {
    TxnRuleMetadata {
        subjects: texts(&["self"]),
        scope: Some("nightly.settle".to_owned()),
        ..TxnRuleMetadata::default()
    }
}

fn with(base: TxnRuleMetadata, change: impl FnOnce(&mut TxnRuleMetadata)) -> Vec<TxnRuleMetadata> {
    let mut rule = base;
    change(&mut rule);
    vec![rule]
}

#[test]
fn each_wrong_value_of_a_rule_for_transaction_tokens_is_refused_by_the_fields_name() {
    let shop = Shop::empty(|_| {}, TestAuthority::keys());
    shop.protect(resource("checkout"));
    let exchanging = texts(&["client_credentials", TOKEN_EXCHANGE]);
    let registering = |txn: Vec<TxnRuleMetadata>| ClientMetadata {
        grant_types: exchanging.clone(),
        txn,
        ..client("edge", "orders", Vec::new())
    };
    let refused = |metadata: ClientMetadata| match ready(shop.fixture.authority.create_client(
        &shop.fixture.svid(ADMIN),
        metadata,
        true,
    )) {
        Ok(_) => String::new(),
        Err(RegistryError::Invalid(invalid)) => invalid.field.to_owned(),
        Err(other) => other.code().to_owned(),
    };
    let grant = |needs: &str, gives: &str| ScopeGrantMetadata { needs: needs.to_owned(), gives: gives.to_owned() };
    let wrong = [
        with(good(), |rule| rule.subjects.clear()),
        with(good(), |rule| rule.subjects = texts(&["*"])),
        with(good(), |rule| rule.subjects = vec![id("frontend"), "self".to_owned()]),
        with(good(), |rule| rule.presented_at = None),
        with(good(), |rule| rule.presented_at = Some("checkout".to_owned())),
        with(good(), |rule| rule.grants.clear()),
        with(good(), |rule| rule.grants = vec![grant("checkout.admin", "trade.stocks")]),
        with(good(), |rule| rule.grants = vec![grant("checkout.write", "*")]),
        with(good(), |rule| rule.scope = Some("trade.stocks".to_owned())),
        with(good(), |rule| rule.details = texts(&[""])),
        with(good(), |rule| rule.context = texts(&["a b"])),
        with(good(), |rule| rule.details = vec!["x".repeat(65)]),
        with(good(), |rule| rule.ttl = Some(Duration::ZERO)),
        with(good(), |rule| rule.ttl = Some(Duration::from_secs(301))),
        with(own(), |rule| rule.scope = None),
        with(own(), |rule| rule.scope = Some(String::new())),
        with(own(), |rule| rule.scope = Some("*".to_owned())),
        with(own(), |rule| rule.presented_at = Some(at("checkout"))),
        with(own(), |rule| rule.grants = good().grants),
        vec![good(), good()],
        vec![own(), own()],
        with(own(), |rule| rule.subjects = texts(&["self", "*"])),
        vec![own(), with(own(), |rule| rule.subjects.push(id("frontend"))).remove(0)],
    ];
    for (number, rules) in wrong.into_iter().enumerate() {
        assert_eq!(refused(registering(rules.clone())), "txn", "{number}: {rules:?}");
    }
    let right = [
        vec![good(), own()],
        // Whom the client may name.
        with(own(), |rule| rule.subjects = vec![id("frontend"), "self".to_owned()]),
        vec![own(), with(own(), |rule| rule.subjects = texts(&["spiffe://prod.example/*"])).remove(0)],
        vec![good(), with(good(), |rule| rule.subjects = texts(&["spiffe://prod.example/*"])).remove(0)],
        with(good(), |rule| (rule.details, rule.context) = (texts(&["action", "x-y.z"]), texts(&["req_ip"]))),
        with(good(), |rule| rule.details = vec!["x".repeat(64)]),
        with(good(), |rule| rule.ttl = Some(Duration::from_mins(5))),
        // What it gives is no resource's.
        with(good(), |rule| rule.grants = vec![grant("checkout.write", "anything.else")]),
    ];
    for (number, rules) in right.into_iter().enumerate() {
        assert_eq!(refused(registering(rules.clone())), "", "{number}: {rules:?}");
    }
    let without = ClientMetadata { grant_types: texts(&["client_credentials"]), ..registering(vec![good()]) };
    assert_eq!(refused(without), "txn");
}

// Earlier versions cannot read these records
#[test]
fn without_the_feature_no_rule_for_transaction_tokens_is_stored() {
    let fixture = TestAuthority::new();
    let metadata = ClientMetadata {
        grant_types: texts(&["client_credentials", TOKEN_EXCHANGE]),
        txn: vec![own()],
        ..client("edge", "orders", Vec::new())
    };
    let created = ready(fixture.authority.create_client(&fixture.svid(ADMIN), metadata, true));
    assert!(matches!(created, Err(RegistryError::FeatureNotEnabled { field: "txn", feature: "exchange", .. })));
}

#[test]
fn each_value_of_txn_tokens_that_cannot_stand_is_refused_by_its_key() {
    let load = |section: &str| {
        let setup = Setup { exchange: format!("{{enabled: true}}{section}"), ..Setup::default() };
        setup.write();
        config::load(&setup.path("lanyard.yaml"))
    };
    let with = |values: &str| load(&format!("\ntxn_tokens: {{trust_domain: prod.example{values}}}"));
    assert_eq!(load("").unwrap().policy.txn_tokens, None);
    let policy = with("").unwrap().policy.txn_tokens.unwrap();
    assert_eq!((policy.trust_domain.as_str(), policy.max_replacements, policy.max_context), ("prod.example", 3, 4096));
    assert_eq!((policy.ttl, policy.max_ttl), (Duration::from_mins(1), Duration::from_mins(5)));
    let policy = with(", max_ttl: 30s, max_replacements: 0").unwrap().policy.txn_tokens.unwrap();
    assert_eq!((policy.ttl, policy.max_replacements), (Duration::from_secs(30), 0));
    for (values, key) in [
        (", ttl: 301s", "txn_tokens.ttl"),
        (", ttl: 1500ms", "txn_tokens.ttl"),
        (", ttl: 31s, max_ttl: 30s", "txn_tokens.ttl"),
        (", max_ttl: 301s", "txn_tokens.max_ttl"),
        (", max_replacements: 9", "txn_tokens.max_replacements"),
        (", max_context: 4097", "txn_tokens.max_context"),
        (", max_context: 0", "max_context"),
        (", audience: prod.example", "audience"),
    ] {
        let said = with(values).map(drop).unwrap_err().to_string();
        assert!(said.contains(key), "{values}: {said}");
    }
    for domain in ["spiffe://prod.example", "Prod.example", "''"] {
        let said = load(&format!("\ntxn_tokens: {{trust_domain: {domain}}}")).map(drop).unwrap_err().to_string();
        assert!(said.contains("txn_tokens.trust_domain"), "{domain}: {said}");
    }
}
