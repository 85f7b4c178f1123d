//! The examples in `deploy/`: the manifests are valid for Kubernetes, Lanyard accepts its own part, and requests as
//! these meshes describe them are decided as the examples say.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use lanyard::authority::decision::CheckRefusalCode;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::config;
use lanyard::proto::Client;
use lanyard::proto::EvidenceFrom;
use lanyard::proto::ProtectedResource;
use lanyard::proto::Route;
use serde_json::Value;
use serde_json::json;
use strum::VariantArray as _;
use tempfile::TempDir;

use crate::support::check::Asked;
use crate::support::check::hex;
use crate::support::check::url_encoded;
use crate::support::dev::Dev;
use crate::support::leaf::Leaf;
use crate::support::process::text;
use crate::support::server::SEAL;
use crate::support::server::TestServer;
use crate::support::server::in_crate;
use crate::support::yaml;

/// The folders with a mesh each.
const MESHES: [&str; 4] = ["envoy", "istio", "envoy-gateway", "consul"];

pub fn file(name: &str) -> PathBuf {
    in_crate("deploy").join(name)
}

pub fn read(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn documents(name: &str) -> Vec<Value> {
    yaml::documents(&read(name))
}

/// Every value under this key, at any depth.
fn under(key: &str, value: &Value, found: &mut Vec<Value>) {
    match value {
        Value::Object(mapping) => {
            found.extend(mapping.get(key).cloned());
            mapping.values().for_each(|inner| under(key, inner, found));
        }
        Value::Array(sequence) => sequence.iter().for_each(|inner| under(key, inner, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn all_under(key: &str, name: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for document in documents(name) {
        under(key, &document, &mut found);
    }
    found
}

fn texts(values: &[Value]) -> BTreeSet<String> {
    values.iter().map(|value| value.as_str().unwrap().to_owned()).collect()
}

#[test]
fn nothing_passes_any_of_the_meshes_without_an_answer() {
    for (name, fail_open, status) in [
        ("istio/mesh-config.yaml", "failOpen", "statusOnError"),
        ("envoy-gateway/checks.yaml", "failOpen", "statusOnError"),
    ] {
        assert_eq!(all_under(fail_open, name), [Value::Bool(false)], "{name}");
        let [status] = &all_under(status, name)[..] else { panic!("{name} has one status") };
        assert!(status == &Value::from("503") || status == &Value::from(503), "{name}: {status:?}");
        // Both default to far longer than a client waits.
        assert_eq!(
            all_under("timeout", name),
            [Value::from(if name.starts_with("istio") { "0.25s" } else { "250ms" })]
        );
    }
    let provider = &all_under("extensionProviders", "istio/mesh-config.yaml")[0][0]["name"];
    for name in ["istio/checks.yaml", "istio/ingress-gateway.yaml", "istio/waypoint.yaml"] {
        for provided in all_under("provider", name) {
            assert_eq!(&provided["name"], provider, "{name}");
        }
        // A rule that matches less than everything would let the rest through unasked.
        assert_eq!(all_under("rules", name).len(), all_under("provider", name).len(), "{name}");
        for rules in all_under("rules", name) {
            assert_eq!(rules, json!([{}]), "{name}");
        }
    }
}

#[test]
fn the_command_line_applies_each_mesh_s_resources_and_clients() {
    for mesh in MESHES {
        let Dev { files, .. } = &Dev::start();
        for kind in ["resource", "client"] {
            let path = file(&format!("{mesh}/{kind}s.yaml"));
            let count = documents(&format!("{mesh}/{kind}s.yaml")).len();
            let reported = files.run("admin", &[kind, "apply", "-f", text(&path), "-o", "json"]).json(0);
            assert_eq!(reported.as_array().unwrap().len(), count, "{reported}");
            assert!(reported.as_array().unwrap().iter().all(|entry| entry["result"] == "created"), "{reported}");
        }
    }
}

#[test]
fn each_mesh_s_configuration_loads_and_its_proxies_front_every_resource() {
    for mesh in MESHES.into_iter().chain(["linkerd"]) {
        let name = format!("{mesh}/lanyard.yaml");
        // All but the secret, which the file has elsewhere.
        let folder = TempDir::new().unwrap();
        let (path, secret) = (folder.path().join("lanyard.yaml"), folder.path().join("kek"));
        fs::write(&path, read(&name).replace("/etc/lanyard/kek", text(&secret))).unwrap();
        fs::write(&secret, SEAL).unwrap();
        config::load(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let fronted: Vec<Value> = all_under("proxies", &name)[0]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|proxy| proxy["resources"].as_array().unwrap().clone())
            .collect();
        let resources = texts(&all_under("audience", &format!("{mesh}/resources.yaml")));
        assert_eq!(texts(&fronted), resources, "{name}");
        let wanted = all_under("audience", &format!("{mesh}/clients.yaml"));
        let wanted: Vec<Value> = wanted.iter().flat_map(|list| list.as_array().unwrap().clone()).collect();
        assert!(texts(&wanted).is_subset(&resources), "{name}");
        // The roll-out begins with looking.
        let modes = all_under("mode", &format!("{mesh}/resources.yaml"));
        assert!(modes.len() == resources.len() && modes.iter().all(|mode| mode == "report"), "{name}: {modes:?}");
    }
    let named = all_under("contextExtensions", "envoy-gateway/checks.yaml");
    assert_eq!(named[0][0]["name"], Value::from("resource"));
    assert_eq!(named[0][0]["value"], all_under("audience", "envoy-gateway/resources.yaml")[0]);
}

/// A resource as it is written, enforced.
fn protected(written: ResourceMetadata) -> ProtectedResource {
    let route = |route: lanyard::authority::resources::RouteMetadata| Route {
        methods: route.methods,
        path: route.path,
        scope: route.scope,
        public: route.public,
        ..Route::default()
    };
    ProtectedResource {
        audience: written.audience,
        scope: written.scope,
        routes: written.routes.into_iter().map(route).collect(),
        least_evidence: written.least_evidence.unwrap_or_default(),
        evidence_from: written.evidence_from.map(|from| EvidenceFrom { via: from.via, header: from.header }),
        trust_domains: written.trust_domains,
        destination_principals: written.destination_principals,
        authorities: written.authorities,
        ..ProtectedResource::default()
    }
}

/// A file, in the trust domain of the tests.
fn moved(name: &str) -> String {
    let read = read(name);
    read.replace("spiffe://cluster.local/", "spiffe://prod.example/").replace("[cluster.local]", "[prod.example]")
}

/// The word `header` as the registry's field of the same name.
fn with_evidence_source(resources: &str) -> String {
    resources.replace("evidence_from: header", "evidence_from: {header: true}")
}

/// The resources in a text, as the registry takes them.
pub fn protected_from(text: &str) -> Vec<ProtectedResource> {
    yaml::documents::<ResourceMetadata>(text).into_iter().map(protected).collect()
}

/// A server with a mesh's resources and roles, in the trust domain of the tests.
async fn server(mesh: &str) -> TestServer {
    let roles = yaml::value(&moved(&format!("{mesh}/lanyard.yaml")));
    let proxies = serde_json::to_string(&roles["roles"]["proxies"]).unwrap();
    let server = TestServer::started(|setup| {
        setup.roles = format!("{{admins: [{{spiffe_id: spiffe://prod.example/admin}}], proxies: {proxies}}}");
    })
    .await;
    for document in
        yaml::documents::<ResourceMetadata>(&with_evidence_source(&moved(&format!("{mesh}/resources.yaml"))))
    {
        server.protect(protected(document)).await.unwrap();
    }
    server
}

/// A workload that may have tokens for an audience.
async fn workload(server: &TestServer, audience: &str, scope: &str) -> (Leaf, String) {
    let id = "spiffe://prod.example/ns/shop/sa/checkout";
    let (scope, audience) = (scope.to_owned(), vec![audience.to_owned()]);
    let token_endpoint_auth_method = "spiffe_x509".to_owned();
    let client_id = id.to_owned();
    let client = Client { client_id, token_endpoint_auth_method, scope, audience, ..Client::default() };
    server.register(client).await.unwrap();
    let leaf = server.svid("/ns/shop/sa/checkout");
    let token = server.token(&leaf).await;
    (leaf, token)
}

/// A check as the sidecar of a workload asks it: nothing names the resource, and there is no `source.certificate`.
fn from_sidecar(workload: &str, token: &str, header: &str) -> Asked {
    let mut asked = Asked::anonymous().unnamed().header("authorization", &format!("Bearer {token}"));
    workload.clone_into(&mut asked.attributes.destination.as_mut().unwrap().principal);
    asked.header("x-forwarded-client-cert", header)
}

/// What Envoy writes of a caller.
fn element(by: &str, leaf: &Leaf, whole: bool, uri: &str) -> String {
    let certificate = if whole { format!("Cert=\"{}\";", url_encoded(leaf)) } else { String::new() };
    format!("By={by};Hash={};{certificate}Subject=\"\";URI={uri}", hex(leaf))
}

const CHECKOUT: &str = "spiffe://prod.example/ns/shop/sa/checkout";

#[tokio::test]
async fn a_default_istio_sidecar_forwards_the_thumbprint_and_only_its_element_counts() {
    let server = server("istio").await;
    let orders = "spiffe://prod.example/ns/shop/sa/orders";
    let sidecar = server.svid("/ns/shop/sa/orders");
    let (leaf, token) = workload(&server, "https://orders.shop.internal", "orders.read").await;
    let thief = server.svid("/ns/shop/sa/checkout");
    let ask = async |header: &str| {
        let asked = from_sidecar(orders, &token, header).principal(CHECKOUT).to("GET", "/orders/1");
        server.check_as(&sidecar, asked).await.reason().to_owned()
    };
    let own = element(orders, &leaf, false, CHECKOUT);
    assert_eq!(ask(&own).await, "");
    // What a client sends precedes it (APPEND_FORWARD).
    let edge = "spiffe://prod.example/ns/mesh/sa/edge";
    assert_eq!(ask(&format!("{},{own}", element(edge, &thief, false, CHECKOUT))).await, "");
    let stolen = element(orders, &thief, false, CHECKOUT);
    assert_eq!(ask(&format!("{},{stolen}", element(edge, &leaf, false, CHECKOUT))).await, "CERTIFICATE_RENEWED");
    assert_eq!(ask(&format!("{own},{stolen}")).await, "EVIDENCE_MALFORMED");
    assert_eq!(ask(&own.replace("sa/orders", "sa/payments")).await, "EVIDENCE_TOO_WEAK", "another's element");
}

#[tokio::test]
async fn only_a_sidecar_with_the_annotation_forwards_the_whole_certificate() {
    let server = server("istio").await;
    let payments = "spiffe://prod.example/ns/shop/sa/payments";
    let sidecar = server.svid("/ns/shop/sa/payments");
    let (leaf, token) = workload(&server, "https://payments.shop.internal", "payments.write").await;
    let thief = server.svid("/ns/shop/sa/checkout");
    for (seen, whole, reason) in
        [(&leaf, true, ""), (&thief, true, "CERTIFICATE_RENEWED"), (&leaf, false, "EVIDENCE_TOO_WEAK")]
    {
        let header = element(payments, seen, whole, CHECKOUT);
        let asked = from_sidecar(payments, &token, &header).principal(CHECKOUT).to("POST", "/payments");
        assert_eq!(server.check_as(&sidecar, asked).await.reason(), reason, "{whole}");
    }
}

#[tokio::test]
async fn behind_the_ingress_gateway_the_evidence_is_what_the_gateway_saw() {
    let server = server("istio").await;
    let (storefront, gateway) = (
        "spiffe://prod.example/ns/shop/sa/storefront",
        "spiffe://prod.example/ns/istio-ingress/sa/istio-ingressgateway",
    );
    let sidecar = server.svid("/ns/shop/sa/storefront");
    let gateway_leaf = server.svid("/ns/istio-ingress/sa/istio-ingressgateway");
    let (leaf, token) = workload(&server, "https://storefront.shop.example", "storefront.browse").await;
    let ask = async |header: String, peer: &str| {
        let asked = from_sidecar(storefront, &token, &header).principal(peer).to("GET", "/shelf/1");
        server.check_as(&sidecar, asked).await.reason().to_owned()
    };
    let last = element(storefront, &gateway_leaf, false, gateway);
    let first = element(gateway, &leaf, true, CHECKOUT);
    assert_eq!(ask(format!("{first},{last}"), gateway).await, "");
    // A gateway whose own certificate lacks the URI name has no identity.
    let unnamed = first.replace(&format!("By={gateway};"), "");
    assert_eq!(ask(format!("{unnamed},{last}"), gateway).await, "EVIDENCE_MISSING");
    // With SANITIZE_SET at the sidecar, what the gateway saw is lost.
    assert_eq!(ask(last, gateway).await, "EVIDENCE_MISSING");
    // A client that bypasses the gateway writes what the gateway would have written.
    let direct = element(storefront, &leaf, true, CHECKOUT);
    assert_eq!(ask(format!("{first},{direct}"), CHECKOUT).await, "EVIDENCE_MISSING");
}

#[tokio::test]
async fn a_waypoint_s_header_is_evidence_only_where_the_resource_says_so() {
    let server = server("istio").await;
    let waypoint = server.svid("/ns/shop/sa/waypoint");
    let header = |id: &str| format!("By=spiffe://prod.example/ns/shop/sa/waypoint;URI={id}");
    // For a resource of sidecars, it is the text of anybody: a waypoint reports no peer.
    let (_, token) = workload(&server, "https://orders.shop.internal", "orders.read").await;
    let asked = from_sidecar("spiffe://prod.example/ns/shop/sa/orders", &token, &header(CHECKOUT));
    let asked = asked.to("GET", "/orders/1");
    assert_eq!(server.check_as(&waypoint, asked.clone()).await.reason(), "EVIDENCE_MISSING");
    assert_eq!(server.check_as(&waypoint, asked.principal(CHECKOUT)).await.reason(), "EVIDENCE_TOO_WEAK");

    let search = "spiffe://prod.example/ns/shop/sa/search";
    let clients: Vec<Value> = yaml::documents(&moved("istio/clients.yaml"));
    let written = clients.iter().find(|client| client["client_id"] == search).unwrap();
    let field = |name: &str| written[name].as_str().unwrap().to_owned();
    let client = Client {
        client_id: field("client_id"),
        token_endpoint_auth_method: field("token_endpoint_auth_method"),
        scope: field("scope"),
        audience: vec!["https://catalog.shop.internal".to_owned()],
        rotation: field("rotation"),
        ..Client::default()
    };
    server.register(client).await.unwrap();
    let token = server.token(&server.svid("/ns/shop/sa/search")).await;
    for (id, reason) in [(search, ""), (CHECKOUT, "CERTIFICATE_MISMATCH")] {
        let mut asked = from_sidecar("", &token, &header(id)).to("GET", "/items/1");
        "catalog.shop.svc.cluster.local".clone_into(&mut asked.http().host);
        assert_eq!(server.check_as(&waypoint, asked).await.reason(), reason, "{id}");
    }
}

#[tokio::test]
async fn envoy_gateway_names_the_resource_and_forwards_the_certificate_under_its_id() {
    let server = server("envoy-gateway").await;
    let (gateway, audience) = ("spiffe://prod.example/ns/shop/gateway", "https://orders.shop.example");
    let proxy = server.svid("/ns/shop/gateway");
    let (leaf, token) = workload(&server, audience, "orders.read").await;
    let ask = async |header: String, resource: &str| {
        let asked =
            from_sidecar(gateway, &token, &header).principal(CHECKOUT).resource(resource).to("GET", "/orders/1");
        server.check_as(&proxy, asked).await.reason().to_owned()
    };
    let reported = element(gateway, &leaf, true, CHECKOUT);
    assert_eq!(ask(reported.clone(), audience).await, "");
    assert_eq!(ask(reported.clone(), "https://payments.shop.example").await, "RESOURCE_UNKNOWN");
    assert_eq!(
        ask(element(gateway, &proxy, true, gateway), audience).await,
        "EVIDENCE_MALFORMED",
        "not the principal's"
    );
    // A certificate for callers without the gateway's SPIFFE ID.
    let web = reported.replace(&format!("By={gateway};"), "");
    assert_eq!(ask(web, audience).await, "EVIDENCE_TOO_WEAK");
}

#[test]
fn the_operators_page_tells_what_to_do_about_every_reason() {
    let page = read("OPERATORS.md");
    let denied = DenyReason::VARIANTS.iter().map(|reason| reason.code());
    let refused = CheckRefusalCode::VARIANTS.iter().filter(|code| **code != CheckRefusalCode::Denied);
    let mut count = 0;
    for code in denied.chain(refused.map(Into::into)) {
        count += 1;
        let reported = |word: &str| word == code;
        let rows = page.lines().filter(|line| line.starts_with('|'));
        assert!(rows.flat_map(|row| row.split([' ', ',', '|'])).any(reported), "{code}");
    }
    assert_eq!(count, 56);
}
