//! Registrations of a team's admin that lie beyond its grant by one member, each beside the nearest one that does not: in every
//! protocol in which they can be asked for, as new ones and as changes.

use axum::http::Method;
use lanyard::proto::Client;
use lanyard::proto::CreateClientRequest;
use lanyard::proto::Delegated;
use lanyard::proto::Delegates;
use lanyard::proto::DeleteClientRequest;
use lanyard::proto::DeleteProtectedResourceRequest;
use lanyard::proto::ExchangeRule;
use lanyard::proto::ForgetResourceRequest;
use lanyard::proto::ProtectedResource;
use lanyard::proto::Receipts;
use lanyard::proto::ScopeGrant;
use serde_json::Value;
use serde_json::json;

use super::support::SHOP_ADMIN;
use super::support::SHOP_CLIENT;
use super::support::beyond;
use super::support::by_shop;
use super::support::create;
use super::support::create_resource;
use super::support::shop_client;
use super::support::shop_resource;
use super::support::update;
use super::support::update_resource;
use super::support::with_grants;
use crate::support::ca::self_signed;
use crate::support::dcr::manage;
use crate::support::dcr::metadata;
use crate::support::dcr::register;
use crate::support::leaf::Leaf;
use crate::support::server::TestServer;

/// What is changed of a registration that lies within the grant.
type Change<T> = Box<dyn Fn(&mut T)>;

/// A registration beyond the grant, by this member, and the nearest one within it.
struct Attempt<T> {
    name: &'static str,
    member: &'static str,
    beyond: Change<T>,
    nearest: Change<T>,
}

fn attempt<T>(
    name: &'static str,
    member: &'static str,
    beyond: impl Fn(&mut T) + 'static,
    nearest: impl Fn(&mut T) + 'static,
) -> Attempt<T> {
    Attempt { name, member, beyond: Box::new(beyond), nearest: Box::new(nearest) }
}

/// By the value of one text.
fn by_text<T>(
    name: &'static str,
    member: &'static str,
    [beyond, nearest]: [&'static str; 2],
    set: impl Fn(&mut T, &str) + Clone + 'static,
) -> Attempt<T> {
    let again = set.clone();
    attempt(name, member, move |one| set(one, beyond), move |one| again(one, nearest))
}

fn identities() -> Vec<Attempt<Client>> {
    let ids = [
        ("another namespace", "spiffe://prod.example/ns/billing/sa/a", "spiffe://prod.example/ns/shop/sa/a"),
        ("another trust domain", "spiffe://other.example/ns/shop/sa/a", "spiffe://prod.example/ns/shop/sa/a"),
        (
            "a namespace of a longer name",
            "spiffe://prod.example/ns/shopping/sa/a",
            "spiffe://prod.example/ns/shop/sa/a",
        ),
        ("the namespace itself", "spiffe://prod.example/ns/shop", "spiffe://prod.example/ns/shop/a"),
        ("a pattern of all namespaces", "spiffe://prod.example/ns/*", "spiffe://prod.example/ns/shop/*"),
        ("a pattern of the trust domain", "spiffe://prod.example/*", "spiffe://prod.example/ns/shop/sa/*"),
        (
            "a pattern of its own admins",
            "spiffe://prod.example/ns/shop-admins/*",
            "spiffe://prod.example/ns/shop/admins/*",
        ),
        ("its own admin", "spiffe://prod.example/ns/shop-admins/ci", "spiffe://prod.example/ns/shop/ci"),
        ("the server's admin", "spiffe://prod.example/admin", "spiffe://prod.example/ns/shop/admin"),
    ];
    let set = |client: &mut Client, id: &str| id.clone_into(&mut client.spiffe_id);
    ids.into_iter().map(|(name, beyond, nearest)| by_text(name, "spiffe_id", [beyond, nearest], set)).collect()
}

fn methods() -> Vec<Attempt<Client>> {
    const METHOD: &str = "token_endpoint_auth_method";
    let nearest = |_: &mut Client| {};
    let pki = |client: &mut Client| {
        (client.token_endpoint_auth_method, client.spiffe_id) = ("tls_client_auth".to_owned(), String::new());
    };
    let certificate = self_signed("checkout").issue().pem();
    vec![
        attempt(
            "a method that is not granted",
            METHOD,
            |client: &mut Client| client.token_endpoint_auth_method = "spiffe_jwt".to_owned(),
            nearest,
        ),
        attempt(
            "a name that a client CA vouches for",
            METHOD,
            move |client| {
                pki(client);
                (client.tls_client_auth_san_dns, client.client_ca) = ("a.shop.internal".to_owned(), "corp".to_owned());
            },
            nearest,
        ),
        attempt(
            "a SPIFFE ID of its own as a name of a certificate",
            METHOD,
            move |client| {
                pki(client);
                client.tls_client_auth_san_uri = "spiffe://prod.example/ns/shop/sa/checkout".to_owned();
            },
            nearest,
        ),
        attempt(
            "the assertions of a trusted issuer",
            METHOD,
            |client: &mut Client| {
                (client.token_endpoint_auth_method, client.spiffe_id) = ("issuer_jwt".to_owned(), String::new());
                client.issuer = "https://kubernetes.default.svc".to_owned();
                client.subject = "system:serviceaccount:shop:checkout".to_owned();
            },
            nearest,
        ),
        attempt(
            "a certificate that signed itself",
            METHOD,
            move |client| {
                client.token_endpoint_auth_method = "self_signed_tls_client_auth".to_owned();
                client.spiffe_id.clear();
                client.certificate_pem.clone_from(&certificate);
            },
            nearest,
        ),
    ]
}

/// A rule for what is presented at the first of these, of one of the team's own clients.
fn exchange_rule(audience: &[String]) -> ExchangeRule {
    let grant = ScopeGrant { needs: "orders.read".to_owned(), gives: "orders.read".to_owned() };
    ExchangeRule {
        subjects: vec![SHOP_CLIENT.to_owned()],
        presented_at: audience[0].clone(),
        audience: audience[0].clone(),
        grants: vec![grant],
        ..ExchangeRule::default()
    }
}

fn terms() -> Vec<Attempt<Client>> {
    let audience = |client: &mut Client, text: &str| client.audience = vec![text.to_owned()];
    let scope = |client: &mut Client, text: &str| text.clone_into(&mut client.scope);
    let ttl = |seconds: i64| {
        move |client: &mut Client| {
            client.access_token_ttl = Some(prost_types::Duration { seconds, nanos: 0 });
        }
    };
    let own = "https://shop.internal/a";
    vec![
        by_text("another team's audience", "audience", ["https://billing.internal/a", own], audience),
        by_text("a host that begins like its own", "audience", ["https://shop.internal.evil/a", own], audience),
        by_text("another port", "audience", ["https://shop.internal:8443/a", own], audience),
        by_text("another scheme", "audience", ["http://shop.internal/a", own], audience),
        by_text("above its own", "audience", ["https://shop.internal", own], audience),
        by_text("up and out", "audience", ["https://shop.internal/../a", "https://shop.internal/b/a"], audience),
        by_text("up and out, encoded", "audience", ["https://shop.internal/%2e%2e/a", own], audience),
        by_text("below one that is exact", "audience", ["https://orders.prod.example/a", own], audience),
        attempt(
            "another audience beside its own",
            "audience",
            |client: &mut Client| client.audience.push("https://billing.internal/a".to_owned()),
            |client: &mut Client| client.audience.push("https://shop.internal/a".to_owned()),
        ),
        by_text("a scope that is not granted", "scope", ["orders.admin", "orders.write"], scope),
        by_text("a scope beside its own", "scope", ["orders.read orders.admin", "orders.read orders.write"], scope),
        by_text("a scope in other letters", "scope", ["Orders.read", "orders.read"], scope),
        attempt("a longer lifetime", "access_token_ttl", ttl(601), ttl(600)),
        attempt("the longest lifetime", "access_token_ttl", ttl(3600), ttl(60)),
        attempt(
            "the grant of token exchange",
            "exchange",
            |client: &mut Client| {
                let exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
                client.grant_types = vec!["client_credentials".to_owned(), exchange.to_owned()];
            },
            |client: &mut Client| client.grant_types = vec!["client_credentials".to_owned()],
        ),
        attempt(
            "a rule to act for its own callers",
            "exchange",
            |client: &mut Client| {
                let exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
                client.grant_types = vec!["client_credentials".to_owned(), exchange.to_owned()];
                client.exchange = vec![exchange_rule(&client.audience)];
            },
            |client: &mut Client| client.exchange.clear(),
        ),
        attempt(
            "who may act for it",
            "delegates",
            |client: &mut Client| client.delegates = Some(Delegates::default()),
            |client: &mut Client| client.delegates = None,
        ),
        attempt(
            "that one of its own may act for it",
            "delegates",
            |client: &mut Client| client.delegates = Some(Delegates { clients: vec![SHOP_CLIENT.to_owned()] }),
            |client: &mut Client| client.delegates = None,
        ),
        attempt(
            "tokens that are not bound",
            "tls_client_certificate_bound_access_tokens",
            |client: &mut Client| client.tls_client_certificate_bound_access_tokens = Some(false),
            |client: &mut Client| client.tls_client_certificate_bound_access_tokens = Some(true),
        ),
    ]
}

fn owners<T>(set: impl Fn(&mut T, &str) + Clone + 'static) -> Vec<Attempt<T>> {
    ["", "team-billing", "Team-Shop", "team-shop "]
        .map(|owner| by_text("an owner that is not granted", "owner", [owner, "team-shop"], set.clone()))
        .into()
}

fn resources() -> Vec<Attempt<ProtectedResource>> {
    let audience = |one: &mut ProtectedResource, text: &str| {
        text.clone_into(&mut one.audience);
        one.authorities.clear();
    };
    let scope = |one: &mut ProtectedResource, text: &str| text.clone_into(&mut one.scope);
    let authority = |one: &mut ProtectedResource, text: &str| one.authorities = vec![text.to_owned()];
    let principal =
        |text: &'static str| move |one: &mut ProtectedResource| one.destination_principals = vec![text.to_owned()];
    let staleness = |seconds: i64| {
        move |one: &mut ProtectedResource| {
            one.max_staleness = (seconds > 0).then_some(prost_types::Duration { seconds, nanos: 0 });
        }
    };
    let own = "https://shop.internal/a";
    vec![
        attempt(
            "tokens of others",
            "delegated",
            |one: &mut ProtectedResource| {
                let actors = vec!["spiffe://prod.example/ns/shop/sa/a".to_owned()];
                one.delegated = Some(Delegated { actors, ..Delegated::default() });
            },
            |one: &mut ProtectedResource| one.delegated = None,
        ),
        attempt(
            "who redeems the receipts of its callers",
            "receipts",
            |one: &mut ProtectedResource| {
                let exchangers = vec![SHOP_CLIENT.to_owned()];
                one.receipts = Some(Receipts { exchangers, ..Receipts::default() });
            },
            |one: &mut ProtectedResource| one.receipts = None,
        ),
        by_text("another team's resource", "audience", ["https://billing.internal/a", own], audience),
        by_text(
            "an audience that is granted to clients alone",
            "audience",
            ["https://orders.prod.example", own],
            audience,
        ),
        by_text("above its own", "audience", ["https://shop.internal", own], audience),
        by_text("another port", "audience", ["https://shop.internal:8443/a", own], audience),
        by_text("up and out", "audience", ["https://shop.internal/../a", own], audience),
        by_text("a scope that is not granted", "scope", ["orders.admin", "orders.write"], scope),
        by_text("another team's host", "authorities", ["a.billing.internal", "a.shop.internal"], authority),
        by_text("the domain of its hosts", "authorities", ["shop.internal", "b.shop.internal"], authority),
        by_text("a host that ends like its own", "authorities", ["eshop.internal", "e.shop.internal:1"], authority),
        by_text("its host at another port", "authorities", ["shop.example:9443", "shop.example:8443"], authority),
        by_text("its host at every port", "authorities", ["shop.example", "shop.example:8443"], authority),
        attempt(
            "another host beside its own",
            "authorities",
            |one: &mut ProtectedResource| one.authorities.push("a.billing.internal".to_owned()),
            |one: &mut ProtectedResource| one.authorities.push("a.shop.internal".to_owned()),
        ),
        attempt(
            "another team's workload",
            "destination_principals",
            principal("spiffe://prod.example/ns/billing/sa/a"),
            |_| {},
        ),
        // A workload that serves one resource has it whatever host is asked for.
        attempt("a workload of its own", "destination_principals", principal(SHOP_CLIENT), |_| {}),
        attempt("a bound of staleness", "max_staleness", staleness(60), staleness(0)),
    ]
}

fn of_clients() -> Vec<Attempt<Client>> {
    let owner = |client: &mut Client, text: &str| text.clone_into(&mut client.owner);
    identities().into_iter().chain(methods()).chain(terms()).chain(owners(owner)).collect()
}

fn of_resources() -> Vec<Attempt<ProtectedResource>> {
    let owner = |one: &mut ProtectedResource, text: &str| text.clone_into(&mut one.owner);
    resources().into_iter().chain(owners(owner)).collect()
}

/// The members of a client that a registrant may name over HTTP.
fn over_http(client: &Client) -> Value {
    let mut members = json!({
        "token_endpoint_auth_method": client.token_endpoint_auth_method,
        "scope": client.scope,
        "audience": client.audience,
        "tls_client_certificate_bound_access_tokens": client.tls_client_certificate_bound_access_tokens.unwrap_or(true),
    });
    let texts = [
        ("spiffe_id", client.spiffe_id.clone()),
        ("tls_client_auth_san_dns", client.tls_client_auth_san_dns.clone()),
        ("tls_client_auth_san_uri", client.tls_client_auth_san_uri.clone()),
        ("access_token_ttl", client.access_token_ttl.map(|ttl| format!("{}s", ttl.seconds)).unwrap_or_default()),
    ];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        members[name] = json!(text);
    }
    metadata(members)
}

/// The attempts whose members have no names over HTTP.
const ASKED_OTHERWISE: [&str; 2] = ["a certificate that signed itself", "the assertions of a trusted issuer"];

async fn delete(server: &TestServer, leaf: &Leaf, client_id: &str) {
    let request = DeleteClientRequest { client_id: client_id.to_owned(), ..DeleteClientRequest::default() };
    server.registry(leaf).delete_client(request).await.unwrap();
}

#[test]
fn there_are_more_than_forty_attempts() {
    assert!(of_clients().len() + of_resources().len() >= 50);
}

#[tokio::test]
async fn a_client_beyond_the_grant_is_refused_over_grpc_and_the_nearest_one_is_not() {
    let server = with_grants().await;
    let team = server.svid(SHOP_ADMIN);
    let admin = server.svid("/admin");
    for Attempt { name, member, beyond: exceed, nearest } in of_clients() {
        let [mut wanted, mut allowed] = [shop_client(), shop_client()];
        exceed(&mut wanted);
        nearest(&mut allowed);
        assert_eq!(beyond(create(&server, &team, wanted.clone()).await), by_shop(member), "{name}");
        let only_validated =
            CreateClientRequest { client: Some(wanted.clone()), validate_only: true, ..CreateClientRequest::default() };
        let validated = server.registry(&team).create_client(only_validated).await;
        assert_eq!(beyond(validated), by_shop(member), "{name}, validated");
        // An admin may do all of it, but for what no server accepts.
        let by_admin = create(&server, &admin, wanted.clone()).await;
        if by_admin.is_ok() {
            delete(&server, &admin, "checkout").await;
        }
        let created = create(&server, &team, allowed).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let changed = Client { etag: created.etag.clone(), ..wanted };
        assert_eq!(beyond(update(&server, &team, changed).await), by_shop(member), "{name}, as a change");
        delete(&server, &team, "checkout").await;
    }
}

#[tokio::test]
async fn a_client_beyond_the_grant_is_refused_over_http_and_the_nearest_one_is_not() {
    let server = with_grants().await;
    let team = server.svid(SHOP_ADMIN);
    // What is about an owner, an exchange or an issuer cannot be asked for over HTTP, nor a certificate as PEM.
    let is_asked = |one: &Attempt<Client>| !["owner", "exchange", "delegates"].contains(&one.member);
    let offered = of_clients().into_iter().filter(|one| is_asked(one) && !ASKED_OTHERWISE.contains(&one.name));
    for Attempt { name, member, beyond: exceed, nearest } in offered {
        let [mut wanted, mut allowed] = [shop_client(), shop_client()];
        exceed(&mut wanted);
        nearest(&mut allowed);
        let refused = register(&server, &team, &over_http(&wanted)).await;
        let is_named = |body: &Value| {
            let text = body["error_description"].as_str().unwrap();
            body["error"] == "access_denied" && text.contains("NOT_GRANTED") && text.contains(member)
        };
        assert!(refused.status == 403 && is_named(&refused.json()), "{name}: {refused:?}");
        let created = register(&server, &team, &over_http(&allowed)).await;
        assert_eq!(created.status, 201, "{name}: {created:?}");
        let answer = created.json();
        assert_eq!(answer["owner"], "team-shop");
        let [client_id, token] =
            ["client_id", "registration_access_token"].map(|member| answer[member].as_str().unwrap().to_owned());
        let mut changed = over_http(&wanted);
        changed["client_id"] = json!(client_id);
        let replaced = manage(&server, &team, Method::PUT, &client_id, &token, &changed).await;
        // Where the `client_id` is the SPIFFE ID, no other can be asked for.
        let names_another = matches!(member, "spiffe_id" | "token_endpoint_auth_method");
        let is_refused = replaced.status == 403 && is_named(&replaced.json());
        assert!(is_refused || replaced.status == 400 && names_another, "{name}, as a change: {replaced:?}");
        let deleted = manage(&server, &team, Method::DELETE, &client_id, &token, &json!({})).await;
        assert_eq!(deleted.status, 204, "{name}: {deleted:?}");
    }
}

#[tokio::test]
async fn a_resource_beyond_the_grant_is_refused_and_the_nearest_one_is_not() {
    let server = with_grants().await;
    let (team, admin) = (server.svid(SHOP_ADMIN), server.svid("/admin"));
    for Attempt { name, member, beyond: exceed, nearest } in of_resources() {
        let [mut wanted, mut allowed] = [shop_resource(), shop_resource()];
        exceed(&mut wanted);
        nearest(&mut allowed);
        assert_eq!(beyond(create_resource(&server, &team, wanted.clone()).await), by_shop(member), "{name}");
        let created = create_resource(&server, &team, allowed).await;
        let created = created.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        if member != "audience" {
            let changed = ProtectedResource { etag: created.etag.clone(), ..wanted };
            assert_eq!(beyond(update_resource(&server, &team, changed).await), by_shop(member), "{name}, as a change");
        }
        let audience = created.audience;
        let request =
            DeleteProtectedResourceRequest { audience: audience.clone(), ..DeleteProtectedResourceRequest::default() };
        server.registry(&team).delete_protected_resource(request).await.unwrap();
        server.registry(&admin).forget_resource(ForgetResourceRequest { audience }).await.unwrap();
    }
}
