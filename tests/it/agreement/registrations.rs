//! A token never opens more than what is registered now: every protocol says the same before and after each change of a
//! registration, of the operator's limit, of a client CA, of a bundle or of a resource.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use lanyard::authority::trust::TrustBundles;
use lanyard::proto::Client;
use lanyard::proto::Decision;
use lanyard::proto::DenyReason;
use lanyard::proto::GetClientRequest;
use lanyard::proto::IntrospectTokenRequest;
use lanyard::proto::ProtectedResource;
use lanyard::proto::UpdateProtectedResourceRequest;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::validate_binding_request::Evidence;
use serde_json::Value;
use serde_json::json;

use crate::issuer_jwt::cluster::Cluster;
use crate::issuer_jwt::cluster::account;
use crate::issuer_jwt::cluster::asserting;
use crate::issuer_jwt::cluster::trust;
use crate::support::binding_stream::BindingStream;
use crate::support::binding_stream::StreamOutcome;
use crate::support::ca::self_signed;
use crate::support::calls::pki_client;
use crate::support::calls::self_signed_client;
use crate::support::calls::spiffe_uri_client;
use crate::support::check::Answer;
use crate::support::check::Asked;
use crate::support::check::orders;
use crate::support::dcr;
use crate::support::edge::Edge;
use crate::support::http::post;
use crate::support::leaf::Leaf;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::spiffe_client;

const BILLING: &str = "https://billing.prod.example";
const CHECKOUT: &str = "spiffe://prod.example/checkout";
const BOTH: &str = "orders.read orders.write";

/// What every protocol says of a use.
type Agreed = Result<(), DenyReason>;

/// A server with the orders resource and an edge of it, and the questions about it.
struct Fixture(TestServer, Edge);

impl Fixture {
    async fn new() -> Self {
        Self::of(TestServer::start().await).await
    }

    async fn of(server: TestServer) -> Self {
        server.protect(orders()).await.unwrap();
        let edge = Edge::start(&server, |_| {}).await;
        Self(server, edge)
    }

    /// Holds all protocols to one answer about a use of the token at the orders resource that needs this scope, here and at an
    /// edge.
    async fn agreed(&self, token: &str, leaf: &Leaf, scope: &str) -> Agreed {
        let answer = agreed_at(&self.0, token, leaf, scope).await;
        self.1.knows_what(&self.0).await;
        assert_eq!(agreed_at(&self.1.running, token, leaf, scope).await, answer, "at an edge");
        answer
    }

    async fn present(&self, client_id: &str) -> Client {
        let request = GetClientRequest { client_id: client_id.to_owned() };
        self.0.registry(&self.0.svid("/admin")).get_client(request).await.unwrap().into_inner()
    }

    /// Changes a registration a moment later, since a token of the same second counts as an earlier one.
    async fn change(&self, client_id: &str, change: impl FnOnce(Client) -> Client) {
        self.0.advance(Duration::from_secs(1));
        let present = self.present(client_id).await;
        self.0.update(change(present)).await.unwrap();
        self.0.advance(Duration::from_secs(1));
    }

    async fn token_as(&self, leaf: &Leaf, client_id: &str) -> String {
        self.0.issue_as(leaf, client_id).await.unwrap().access_token
    }

    /// Changes the configuration while the server serves.
    fn configure(&self, from: &str, to: &str) {
        for server in [&self.0, &self.1.running] {
            let path = server.setup.path("lanyard.yaml");
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(from), "{text}");
            fs::write(path, text.replace(from, to)).unwrap();
            server.server.reload();
        }
    }
}

async fn agreed_at(server: &TestServer, token: &str, leaf: &Leaf, scope: &str) -> Agreed {
    let request = |evidence: Option<Evidence>| ValidateBindingRequest {
        access_token: token.to_owned(),
        evidence,
        audience: ORDERS.to_owned(),
        scope: scope.to_owned(),
        receipt: false,
    };
    let proxy = server.svid("/proxy");
    let validated = server.ask(&proxy, request(certificate_of(leaf))).await.unwrap();
    let answer = match validated.decision() {
        Decision::Allow => Ok(()),
        Decision::Deny => Err(validated.reason()),
        Decision::Unspecified => panic!("no decision"),
    };
    let mut stream = BindingStream::open(server.bindings(&proxy)).await;
    let streamed = stream.ask(&request(certificate_of(leaf))).await.unwrap();
    assert_eq!(streamed, answer.map_or_else(StreamOutcome::Denied, |()| StreamOutcome::Allowed));
    let (method, path) = match scope {
        "orders.read" => ("GET", "/orders/1"),
        "orders.write" => ("POST", "/orders"),
        _ => ("GET", "/whoami"),
    };
    let checked = server.check(Asked::with(token, leaf).to(method, path)).await;
    let code = answer.err().map_or("", |reason| reason.as_str_name().trim_start_matches("DENY_REASON_"));
    assert_eq!(checked.reason(), code, "{checked:?}");
    let introspected = introspected(server, token).await;
    let active = introspected["active"] == true;
    let scopes = introspected["scope"].as_str().unwrap_or_default();
    let counts = active && scope.split(' ').all(|one| one.is_empty() || scopes.split(' ').any(|has| has == one));
    assert_eq!(counts, answer.is_ok(), "{introspected}");
    if let Answer::Through { set, .. } = &checked {
        assert_eq!(set.get("x-lanyard-scope").map_or("", String::as_str), scopes);
        let claims = validated.claims.as_ref().unwrap();
        let claimed = claims.fields.get("scope").and_then(|value| value.kind.clone());
        let claimed = claimed.map(|kind| format!("{kind:?}")).unwrap_or_default();
        assert!(claimed.contains(&format!("\"{scopes}\"")) || scopes.is_empty(), "{claimed}");
    }
    answer
}

/// Introspection by a proxy for the orders resource, over HTTP and gRPC.
async fn introspected(server: &TestServer, token: &str) -> Value {
    let proxy = server.svid("/orders-proxy");
    let http = server.send(&proxy, post("/oauth2/introspect", &[("token", token)])).await.ok();
    let request = IntrospectTokenRequest { token: token.to_owned(), ..IntrospectTokenRequest::default() };
    let grpc = server.tokens(&proxy).introspect_token(request).await.unwrap().into_inner();
    assert_eq!(http["active"], grpc.active);
    if let Some(claims) = grpc.claims {
        let scope = claims.fields.get("scope").and_then(|value| value.kind.clone());
        let scope = format!("{scope:?}");
        assert!(scope.contains(http["scope"].as_str().unwrap_or("None")), "{scope}: {http}");
    }
    http
}

#[tokio::test]
async fn a_scope_that_the_registration_loses_is_lost_to_its_tokens_until_it_is_back() {
    let fixture = Fixture::new().await;
    let leaf = fixture.0.workload("/checkout").await;
    let token = fixture.0.token(&leaf).await;
    assert_eq!(fixture.agreed(&token, &leaf, "orders.read").await, Ok(()));
    assert_eq!(fixture.agreed(&token, &leaf, "orders.write").await, Ok(()));
    fixture.change(CHECKOUT, |client| Client { scope: "orders.read".to_owned(), ..client }).await;
    assert_eq!(fixture.agreed(&token, &leaf, "orders.write").await, Err(DenyReason::InsufficientScope));
    assert_eq!(fixture.agreed(&token, &leaf, "orders.read").await, Ok(()));
    assert_eq!(introspected(&fixture.0, &token).await["scope"], "orders.read");
    // A scope that it never had is not given to a token by the registration.
    let wide = "orders.read orders.write orders.admin".to_owned();
    fixture.change(CHECKOUT, |client| Client { scope: wide, ..client }).await;
    assert_eq!(fixture.agreed(&token, &leaf, "orders.write").await, Ok(()));
    assert_eq!(introspected(&fixture.0, &token).await["scope"], BOTH);
}

#[tokio::test]
async fn an_audience_that_the_registration_loses_is_lost_to_its_tokens_and_no_other() {
    let fixture = Fixture::new().await;
    let both = vec![ORDERS.to_owned(), BILLING.to_owned()];
    let client = Client { audience: both.clone(), ..spiffe_client(CHECKOUT) };
    fixture.0.register(client).await.unwrap();
    let leaf = fixture.0.svid("/checkout");
    let token = fixture.0.token(&leaf).await;
    assert_eq!(fixture.agreed(&token, &leaf, "orders.read").await, Ok(()));
    assert_eq!(introspected(&fixture.0, &token).await["aud"], json!(both));
    fixture.change(CHECKOUT, |client| Client { audience: vec![BILLING.to_owned()], ..client }).await;
    assert_eq!(fixture.agreed(&token, &leaf, "orders.read").await, Err(DenyReason::WrongAudience));
    let elsewhere = ValidateBindingRequest {
        access_token: token.clone(),
        evidence: certificate_of(&leaf),
        audience: BILLING.to_owned(),
        scope: "orders.read".to_owned(),
        receipt: false,
    };
    let answer = fixture.0.ask(&fixture.0.svid("/proxy"), elsewhere).await.unwrap();
    assert_eq!(answer.decision(), Decision::Allow);
    // One who speaks for both resources is shown the one that is left.
    let form = [("token", token.as_str())];
    let shown = fixture.0.send(&fixture.0.svid("/admin"), post("/oauth2/introspect", &form)).await.ok();
    assert_eq!((&shown["active"], &shown["aud"]), (&json!(true), &json!(BILLING)));
    fixture.change(CHECKOUT, |client| Client { audience: both, ..client }).await;
    assert_eq!(fixture.agreed(&token, &leaf, "orders.read").await, Ok(()));
}

#[tokio::test]
async fn a_change_of_authentication_denies_what_was_issued_before_and_nothing_after() {
    let fixture = Fixture::new().await;
    let (corp, partner) = (&fixture.0.setup.corp, &fixture.0.setup.partner);
    let shop = corp.client_certificate().dns("shop.corp.example").dns("shop-2.corp.example").issue();
    let theirs = partner.client_certificate().dns("shop.corp.example").issue();
    let pattern = |id: &str| Client { client_id: "pattern".to_owned(), spiffe_id: id.to_owned(), ..spiffe_client("") };
    let own = self_signed("own").issue();
    let next = self_signed("next").issue();
    let dns = Client { tls_client_auth_san_dns: "shop.corp.example".to_owned(), ..pki_client("shop") };
    let of_partner = Client { client_ca: "partner".to_owned(), ..dns.clone() };
    let other_name = Client { tls_client_auth_san_dns: "shop-2.corp.example".to_owned(), ..dns.clone() };
    let svid = fixture.0.svid("/ns/checkout");
    let certificates = self_signed_client("shop", &own.pem());
    let replaced = self_signed_client("shop", &next.pem());
    let narrower = pattern("spiffe://prod.example/ns/checkout");
    for (what, before, holder, after, successor) in [
        ("the subject", dns.clone(), &shop, other_name, &shop),
        ("the client CA", dns.clone(), &shop, of_partner, &theirs),
        ("the method", dns, &shop, certificates.clone(), &own),
        ("the certificate", certificates, &own, replaced, &next),
        ("the pattern", pattern("spiffe://prod.example/ns/*"), &svid, narrower, &svid),
    ] {
        let id = before.client_id.clone();
        let named = if id == "pattern" { "" } else { id.as_str() };
        fixture.0.register(before).await.unwrap();
        let token = fixture.token_as(holder, named).await;
        assert_eq!(fixture.agreed(&token, holder, "orders.read").await, Ok(()), "{what}");
        // Whatever else changes keeps the token.
        fixture.change(&id, |client| Client { owner: "team-shop".to_owned(), ..client }).await;
        assert_eq!(fixture.agreed(&token, holder, "orders.read").await, Ok(()), "{what}");
        fixture.change(&id, |present| Client { etag: present.etag, ..after }).await;
        assert_eq!(
            fixture.agreed(&token, holder, "orders.read").await,
            Err(DenyReason::AuthenticationChanged),
            "{what}"
        );
        let token = fixture.token_as(successor, named).await;
        assert_eq!(fixture.agreed(&token, successor, "orders.read").await, Ok(()), "{what}");
        fixture.0.delete(&id).await;
    }
}

#[tokio::test]
async fn the_same_spiffe_id_under_another_method_keeps_its_tokens() {
    let fixture = Fixture::new().await;
    let leaf = fixture.0.workload("/checkout").await;
    let token = fixture.0.token(&leaf).await;
    let by_jwt = Client { token_endpoint_auth_method: "spiffe_jwt".to_owned(), ..spiffe_client(CHECKOUT) };
    for client in [by_jwt, spiffe_uri_client(CHECKOUT, CHECKOUT), spiffe_client(CHECKOUT)] {
        let method = client.token_endpoint_auth_method.clone();
        fixture.change(CHECKOUT, |present| Client { etag: present.etag, ..client }).await;
        assert_eq!(fixture.agreed(&token, &leaf, "orders.read").await, Ok(()), "{method}");
    }
}

#[tokio::test]
async fn a_self_signed_certificate_that_stays_registered_keeps_its_tokens() {
    let fixture = Fixture::new().await;
    let [old, new] = ["old", "new"].map(|name| self_signed(name).issue());
    fixture.0.register(self_signed_client("own", &old.pem())).await.unwrap();
    let token = fixture.token_as(&old, "own").await;
    let certificates =
        |pem: String| move |present: Client| Client { etag: present.etag, ..self_signed_client("own", &pem) };
    fixture.change("own", certificates(old.pem() + &new.pem())).await;
    let next = fixture.token_as(&new, "own").await;
    assert_eq!(fixture.agreed(&token, &old, "orders.read").await, Ok(()));
    fixture.change("own", certificates(new.pem())).await;
    assert_eq!(fixture.agreed(&token, &old, "orders.read").await, Err(DenyReason::AuthenticationChanged));
    assert_eq!(fixture.agreed(&next, &new, "orders.read").await, Ok(()));
}

#[tokio::test]
async fn a_client_ca_that_is_removed_denies_its_clients_and_no_others() {
    let fixture = Fixture::new().await;
    let client = |name: &str, client_ca: &str| Client {
        tls_client_auth_san_dns: format!("{name}.example"),
        client_ca: client_ca.to_owned(),
        ..pki_client(name)
    };
    fixture.0.register(client("ours", "corp")).await.unwrap();
    fixture.0.register(client("theirs", "partner")).await.unwrap();
    let ours = fixture.0.setup.corp.client_certificate().dns("ours.example").issue();
    let theirs = fixture.0.setup.partner.client_certificate().dns("theirs.example").issue();
    let tokens = [fixture.token_as(&ours, "ours").await, fixture.token_as(&theirs, "theirs").await];
    let (corp, partner) = ("    corp: corp.pem\n", "    partner: partner.pem\n");
    let both = [corp, partner].concat();
    let removed = Err(DenyReason::ClientCaRemoved);
    for (from, to, expected) in [
        (both.as_str(), corp, [Ok(()), removed]),
        (corp, partner, [removed, Ok(())]),
        (partner, both.as_str(), [Ok(()), Ok(())]),
    ] {
        fixture.configure(from, to);
        assert_eq!(fixture.agreed(&tokens[0], &ours, "orders.read").await, expected[0], "{to}");
        assert_eq!(fixture.agreed(&tokens[1], &theirs, "orders.read").await, expected[1], "{to}");
    }
}

#[tokio::test]
async fn a_trust_domain_without_a_bundle_denies_its_workloads_and_no_others() {
    let fixture = Fixture::new().await;
    let leaf = fixture.0.workload("/checkout").await;
    let id = "spiffe://other.example/checkout";
    let theirs = fixture.0.setup.other_ca.svid(id).issue();
    for method in ["spiffe_x509", "tls_client_auth"] {
        let client = if method == "spiffe_x509" { spiffe_client(id) } else { spiffe_uri_client(id, id) };
        fixture.0.register(client).await.unwrap();
        let tokens = [fixture.token_as(&leaf, CHECKOUT).await, fixture.token_as(&theirs, id).await];
        assert_eq!(fixture.agreed(&tokens[1], &theirs, "orders.read").await, Ok(()), "{method}");
        fixture.configure("    other.example: other.pem\n", "");
        assert_eq!(fixture.agreed(&tokens[1], &theirs, "orders.read").await, Err(DenyReason::TrustDomainUntrusted));
        assert_eq!(fixture.agreed(&tokens[0], &leaf, "orders.read").await, Ok(()), "{method}");
        fixture.configure("    prod.example: ca.pem\n", "    prod.example: ca.pem\n    other.example: other.pem\n");
        assert_eq!(fixture.agreed(&tokens[1], &theirs, "orders.read").await, Ok(()), "{method}");
        fixture.0.delete(id).await;
    }
}

#[tokio::test]
async fn an_issuer_that_is_no_longer_trusted_denies_its_clients_and_no_others() {
    let issuer = Cluster::new();
    let fixture = Fixture::of(TestServer::started(|setup| trust(setup, &[("prod", &issuer)])).await).await;
    fixture.0.register(account("account")).await.unwrap();
    let own = self_signed("own").issue();
    let leaf = fixture.0.workload("/checkout").await;
    let token = fixture.0.issue(&own, asserting("account", &issuer.token())).await.unwrap().access_token;
    let others = fixture.token_as(&leaf, CHECKOUT).await;
    assert_eq!(fixture.agreed(&token, &own, "orders.read").await, Ok(()));
    let replace = |trust: &TrustBundles| {
        for server in [&fixture.0, &fixture.1.running] {
            server.server.authority().replace_trust(trust.clone());
        }
    };
    let before = fixture.0.server.authority().trust().as_ref().clone();
    replace(&TrustBundles { issuers: BTreeMap::new(), ..before.clone() });
    assert_eq!(fixture.agreed(&token, &own, "orders.read").await, Err(DenyReason::IssuerUntrusted));
    assert_eq!(fixture.agreed(&others, &leaf, "orders.read").await, Ok(()));
    replace(&before);
    assert_eq!(fixture.agreed(&token, &own, "orders.read").await, Ok(()));
}

// RFC 7591 section 5
#[tokio::test]
async fn a_client_that_registered_itself_has_no_more_than_the_operators_limit_leaves_it() {
    let (server, leaf) = dcr::with_operator_limit().await;
    let fixture = Fixture::of(server).await;
    dcr::registered(&fixture.0, &leaf, json!({})).await;
    let token = fixture.0.token(&leaf).await;
    assert_eq!(fixture.agreed(&token, &leaf, "orders.write").await, Ok(()));
    fixture.change("shop", |limit| Client { scope: "orders.read".to_owned(), ..limit }).await;
    assert_eq!(fixture.agreed(&token, &leaf, "orders.write").await, Err(DenyReason::InsufficientScope));
    assert_eq!(fixture.agreed(&token, &leaf, "orders.read").await, Ok(()));
    fixture.change("shop", |limit| Client { audience: vec![BILLING.to_owned()], ..limit }).await;
    assert_eq!(fixture.agreed(&token, &leaf, "orders.read").await, Err(DenyReason::WrongAudience));
    fixture.0.delete("shop").await;
    assert_eq!(fixture.agreed(&token, &leaf, "orders.read").await, Err(DenyReason::ClientDisabled));
    let refused = dcr::issued(&fixture.0, &leaf, dcr::CHECKOUT).await;
    assert_eq!(refused.error(), (401, "invalid_client".to_owned()));
    fixture.0.register(dcr::operator_limit()).await.unwrap();
    assert_eq!(fixture.agreed(&token, &leaf, "orders.write").await, Ok(()));
    // A client that an operator registered needs no limit.
    let alone = fixture.0.workload("/alone").await;
    assert_eq!(fixture.agreed(&fixture.0.token(&alone).await, &alone, "orders.write").await, Ok(()));
}

// RFC 9068 section 2.2.3
#[tokio::test]
async fn at_a_resource_that_defines_scopes_no_other_scope_of_a_token_counts() {
    let fixture = Fixture::new().await;
    let leaf = fixture.0.workload("/checkout").await;
    let token = fixture.0.token(&leaf).await;
    let define = async |scope: &str, route_scope: &str| {
        let mut registry = fixture.0.registry(&fixture.0.svid("/admin"));
        let request = lanyard::proto::GetProtectedResourceRequest { audience: ORDERS.to_owned() };
        let present = registry.get_protected_resource(request).await.unwrap().into_inner();
        let mut resource = ProtectedResource { etag: present.etag, scope: scope.to_owned(), ..orders() };
        for route in &mut resource.routes {
            if !route_scope.contains(route.scope.as_str()) {
                route.scope = String::new();
            }
        }
        let request = UpdateProtectedResourceRequest { resource: Some(resource), ..Default::default() };
        registry.update_protected_resource(request).await.unwrap();
    };
    let asked = async |scope: &str| {
        let request = ValidateBindingRequest {
            access_token: token.clone(),
            evidence: certificate_of(&leaf),
            audience: ORDERS.to_owned(),
            scope: scope.to_owned(),
            receipt: false,
        };
        let answer = fixture.0.ask(&fixture.0.svid("/proxy"), request).await.unwrap();
        (answer.decision() == Decision::Allow, introspected(&fixture.0, &token).await["scope"].clone())
    };
    assert_eq!(asked("orders.write").await, (true, json!(BOTH)));
    define("orders.read", "orders.read").await;
    assert_eq!(asked("orders.write").await, (false, json!("orders.read")));
    assert_eq!(asked("orders.read").await, (true, json!("orders.read")));
    // One that defines none leaves it to the token.
    define("", "").await;
    assert_eq!(asked("orders.write").await, (true, json!(BOTH)));
}
