//! What `lanyard doctor` finds in what is registered of token exchange, each beside the nearest that is in order.

use std::fs;
use std::slice::from_ref;

use lanyard::authority::registration::CLIENTS;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::resources::RESOURCES;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;
use lanyard::store::sled::SledOptions;
use lanyard::store::sled::SledStore;

use crate::issuer_jwt::cluster::Cluster;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::doctor::DoctorFixture;
use crate::support::yaml;

const CHECKOUT: &str = "\
audience: https://checkout.example
scope: checkout.submit
receipts: {exchangers: ['spiffe://prod.example/shop/checkout']}
";

const ORDERS: &str = "\
audience: https://orders.example
scope: orders.read
delegated: {actors: ['spiffe://prod.example/shop/*']}
";

const ACTOR: &str = "\
client_id: spiffe://prod.example/shop/checkout
token_endpoint_auth_method: spiffe_x509
audience: ['https://orders.example']
grant_types: [client_credentials, 'urn:ietf:params:oauth:grant-type:token-exchange']
exchange:
  - subjects: ['spiffe://prod.example/web/*']
    presented_at: https://checkout.example
    audience: https://orders.example
    grants: [{needs: checkout.submit, gives: orders.read}]
";

/// A stopped server with exchange, and the proxies of its configuration.
fn fixture(proxies: &str) -> DoctorFixture {
    let fixture = DoctorFixture::new();
    fixture.add("exchange: {enabled: true}");
    fixture.add(&format!("roles: {{proxies: [{proxies}]}}"));
    fixture.served()
}

/// Puts these registrations into the store, and no others.
async fn write(fixture: &DoctorFixture, resources: &[String], clients: &[String]) {
    let store = SledStore::open(&fixture.path("volume/data"), SledOptions::default()).unwrap();
    for prefix in [CLIENTS, RESOURCES] {
        for (key, _) in store.list(prefix).await.unwrap().entries {
            store.delete(&key, Expected::Any).await.unwrap();
        }
    }
    let other = TestAuthority::new();
    let admin = other.authority.as_caller(&other.svid(ADMIN));
    ready(other.authority.enable_feature(&admin, "exchange")).unwrap();
    let mut keys = Vec::new();
    for text in resources {
        let metadata: ResourceMetadata = yaml::document(text).unwrap();
        keys.push(format!("{RESOURCES}{}", metadata.audience));
        other.protect(metadata);
    }
    for text in clients {
        let metadata: ClientMetadata = yaml::document(text).unwrap();
        keys.push(format!("{CLIENTS}{}", metadata.client_id));
        other.register(metadata);
    }
    for key in keys {
        let value = ready(other.store.get(&key)).unwrap().unwrap().value;
        store.put(&key, value.to_vec(), Expected::Any).await.unwrap();
    }
}

/// The codes that are found with these registrations.
async fn found(fixture: &DoctorFixture, resources: &[String], clients: &[String]) -> Vec<String> {
    write(fixture, resources, clients).await;
    let seen = fixture.seen();
    assert_eq!(seen.codes("error"), Vec::<&str>::new(), "{seen:#?}");
    let codes: Vec<String> = seen.codes("warning").into_iter().map(ToOwned::to_owned).collect();
    assert_eq!(seen.checks("ok").contains(&"exchange"), codes.is_empty(), "{seen:#?}");
    codes
}

fn with(text: &str, more: &str) -> String {
    format!("{text}{more}\n")
}

const PROXY: &str = "{spiffe_id: 'spiffe://prod.example/gateway', resources: ['*']}";

#[tokio::test]
async fn rules_that_come_to_nothing_are_found_and_those_that_do_not_are_not() {
    let fixture = fixture(PROXY);
    let [checkout, orders, actor] = [CHECKOUT, ORDERS, ACTOR].map(ToOwned::to_owned);
    let good = [checkout.clone(), orders.clone()];
    assert_eq!(found(&fixture, &good, from_ref(&actor)).await, Vec::<String>::new());
    // The target is not registered, takes none, or none of this client.
    let [not_accepted, without] = ["EXCHANGE_NOT_ACCEPTED", "EXCHANGE_WITHOUT_RECEIPTS"];
    assert_eq!(found(&fixture, from_ref(&checkout), from_ref(&actor)).await, [not_accepted]);
    for orders in
        ["audience: https://orders.example\nscope: orders.read\n".to_owned(), ORDERS.replace("shop/*", "shop/other")]
    {
        assert_eq!(found(&fixture, &[checkout.clone(), orders], from_ref(&actor)).await, [not_accepted]);
    }
    // No receipts are left, or none for this client; where the rule asks for none, none are missing.
    let none = "audience: https://checkout.example\nscope: checkout.submit\n".to_owned();
    assert_eq!(found(&fixture, &[none.clone(), orders.clone()], from_ref(&actor)).await, [without]);
    assert_eq!(found(&fixture, from_ref(&orders), from_ref(&actor)).await, [without]);
    let others = CHECKOUT.replace("shop/checkout'", "web/*'");
    assert_eq!(found(&fixture, &[others, orders.clone()], from_ref(&actor)).await, [without]);
    let asks_for_none = with(ACTOR, "    presentation: none");
    assert_eq!(found(&fixture, &[none, orders.clone()], &[asks_for_none]).await, Vec::<String>::new());
    // The resource takes weaker evidence than the rule. A rule without the grant type is no rule.
    let weak = with(CHECKOUT, "least_evidence: spiffe_id");
    assert_eq!(found(&fixture, &[weak.clone(), orders.clone()], &[actor]).await, ["EXCHANGE_EVIDENCE_TOO_WEAK"]);
    let takes_it = with(ACTOR, "    least_evidence: spiffe_id");
    assert_eq!(found(&fixture, &[weak, orders], &[takes_it]).await, Vec::<String>::new());
}

#[tokio::test]
async fn exchangers_that_are_registered_nowhere_are_found_and_patterns_are_not() {
    let fixture = fixture(PROXY);
    let [orders, actor] = [ORDERS, ACTOR].map(ToOwned::to_owned);
    let two = CHECKOUT.replace("checkout']", "checkout', other]");
    let seen = found(&fixture, &[two.clone(), orders.clone()], from_ref(&actor)).await;
    assert_eq!(seen, ["EXCHANGER_NOT_REGISTERED"]);
    let other = "client_id: other\ntoken_endpoint_auth_method: tls_client_auth\ntls_client_auth_san_dns: other.example\nclient_ca: partner\n\
                 audience: ['https://orders.example']\n";
    assert_eq!(found(&fixture, &[two, orders.clone()], &[actor.clone(), other.to_owned()]).await, Vec::<String>::new());
    let pattern = CHECKOUT.replace("checkout']", "*']");
    assert_eq!(found(&fixture, &[pattern, orders], &[actor]).await, Vec::<String>::new());
}

#[tokio::test]
async fn identities_that_front_what_is_not_their_own_and_redeem_there_are_found() {
    let [checkout, orders, actor] = [CHECKOUT, ORDERS, ACTOR].map(ToOwned::to_owned);
    let independent = with(ACTOR, "    presentation: independent");
    let principal = with(CHECKOUT, "destination_principals: ['spiffe://prod.example/shop/checkout']");
    let own = "spiffe://prod.example/shop/checkout";
    let [both, dependent] = ["EXCHANGER_IS_PROXY", "EXCHANGE_NOT_INDEPENDENT"];
    // A sidecar that fronts everything; by a pattern; and overruled by a more specific entry.
    for (proxies, expected) in [
        (format!("{{spiffe_id: '{own}', resources: ['*']}}"), vec![both]),
        ("{spiffe_id: 'spiffe://prod.example/shop/*', resources: ['*']}".to_owned(), vec![both]),
        (format!("{{spiffe_id: '{own}', resources: ['https://checkout.example']}}"), vec![]),
        (format!("{{spiffe_id: '{own}', resources: ['https://orders.example']}}"), vec![]),
        (
            format!(
                "{{spiffe_id: 'spiffe://prod.example/shop/*', resources: ['*']}}, \
                 {{spiffe_id: '{own}', resources: ['https://orders.example']}}"
            ),
            vec![],
        ),
    ] {
        let fixture = fixture(&proxies);
        let resources = [checkout.clone(), orders.clone()];
        assert_eq!(found(&fixture, &resources, from_ref(&actor)).await, expected, "{proxies}");
    }
    // Its own resource's: a sidecar, whose receipts are not independent.
    let sidecar = fixture(&format!("{{spiffe_id: '{own}', resources: ['*']}}"));
    assert_eq!(found(&sidecar, &[principal.clone(), orders.clone()], &[actor]).await, Vec::<String>::new());
    assert_eq!(found(&sidecar, &[principal.clone(), orders.clone()], from_ref(&independent)).await, [dependent]);
    let gateway = fixture(PROXY);
    assert_eq!(found(&gateway, &[principal, orders], &[independent]).await, Vec::<String>::new());
}

#[tokio::test]
async fn registrations_of_exchange_are_found_where_it_is_off() {
    let fixture = DoctorFixture::new().served();
    let [checkout, orders, actor] = [CHECKOUT, ORDERS, ACTOR].map(ToOwned::to_owned);
    assert_eq!(found(&fixture, &[checkout, orders], &[actor]).await, ["EXCHANGE_NOT_ENABLED"]);
    let plain = "audience: https://orders.example\nscope: orders.read\n".to_owned();
    let client = "client_id: spiffe://prod.example/shop/checkout\ntoken_endpoint_auth_method: spiffe_x509\n\
                  audience: ['https://orders.example']\n";
    assert_eq!(found(&fixture, &[plain], &[client.to_owned()]).await, Vec::<String>::new());
}

#[tokio::test]
async fn rules_about_subjects_that_no_trusted_issuer_speaks_for_are_found() {
    let issuers = |exchange: &str| {
        let fixture = DoctorFixture::new();
        fs::write(fixture.path("idp.json"), Cluster::named("https://idp.example", "idp-1").jwks()).unwrap();
        fixture.add("exchange: {enabled: true}");
        let entry = format!("{{name: idp, issuer: 'https://idp.example', jwks: idp.json{exchange}}}");
        fixture.add(&format!("trusted_issuers: [{entry}]"));
        fixture.served()
    };
    let by_issuer = |issuer: &str| {
        let of = format!("issuer: '{issuer}'");
        let rule = ACTOR
            .replace("presented_at: https://checkout.example", &of)
            .replace("'spiffe://prod.example/web/*'", "alice");
        let txn = format!("txn: [{{{of}, subjects: [alice], grants: [{{needs: shop.buy, gives: order.place}}]}}]");
        [rule.clone(), with(&ACTOR[..ACTOR.find("exchange:").unwrap()], &txn)]
    };
    let orders = [ORDERS.to_owned()];
    for (exchange, issuer, expected) in [
        (", exchange: {scope_claim: /scope}", "https://idp.example", None),
        (", exchange: {scope_claim: /scope}", "https://other.example", Some("EXCHANGE_ISSUER_NOT_TRUSTED")),
        (", exchange: {}", "https://idp.example", Some("EXCHANGE_ISSUER_NOT_TRUSTED")),
        ("", "https://idp.example", Some("EXCHANGE_ISSUER_NOT_TRUSTED")),
    ] {
        let fixture = issuers(exchange);
        for client in by_issuer(issuer) {
            let seen = found(&fixture, &orders, from_ref(&client)).await;
            assert_eq!(seen, Vec::from_iter(expected), "{exchange} {client}");
        }
    }
}

#[tokio::test]
async fn entries_of_chaining_without_their_clients_and_resources_are_found() {
    let fixture = DoctorFixture::new();
    fs::write(fixture.path("partner.json"), Cluster::named("https://partner.example", "partner-1").jwks()).unwrap();
    fixture.add("exchange: {enabled: true}");
    let common = "clients: ['spiffe://prod.example/shop/checkout'], grants: [{needs: a, gives: b}]";
    fixture.add(&format!(
        "chaining: {{to: [{{issuer: 'https://to.example', subjects: ['spiffe://prod.example/web/*'], \
         presented_at: ['https://checkout.example'], {common}}}], from: [{{name: partner, issuer: 'https://partner.example', \
         jwks: partner.json, subjects: ['https://partner.example#alice'], audience: ['https://orders.example'], {common}}}]}}"
    ));
    let fixture = fixture.served();
    let client = |grants: &str| {
        let grants = format!("client_credentials, {grants}");
        ACTOR[..ACTOR.find("exchange:").unwrap()]
            .replace("client_credentials, 'urn:ietf:params:oauth:grant-type:token-exchange'", &grants)
    };
    let [exchange, bearer] =
        ["token-exchange", "jwt-bearer"].map(|name| format!("'urn:ietf:params:oauth:grant-type:{name}'"));
    let both = client(&format!("{exchange}, {bearer}"));
    let [checkout, orders] = [CHECKOUT, ORDERS].map(ToOwned::to_owned);
    let good = [checkout.clone(), orders.clone()];
    assert_eq!(found(&fixture, &good, from_ref(&both)).await, Vec::<String>::new());
    for lacking in [client(&exchange), client(&bearer)] {
        assert_eq!(found(&fixture, &good, &[lacking]).await, ["CHAINING_NOT_REGISTERED"]);
    }
    let closed = "audience: https://orders.example\nscope: orders.read\n".to_owned();
    let none = "audience: https://checkout.example\nscope: checkout.submit\n".to_owned();
    for resources in [[checkout, closed], [none, orders]] {
        assert_eq!(found(&fixture, &resources, from_ref(&both)).await, ["CHAINING_NOT_ACCEPTED"]);
    }
}
