//! Metadata that cannot stand is refused over gRPC by the name of the field.

use lanyard::authority::keys::PublicJwk;
use lanyard::proto::Client;
use serde_json::Value;
use serde_json::json;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::ca::self_signed;
use crate::support::calls::pki_client;
use crate::support::calls::self_signed_client;
use crate::support::calls::spiffe_uri_client;
use crate::support::server::TestServer;
use crate::support::server::spiffe_client;

const CHECKOUT: &str = "spiffe://prod.example/checkout";

fn checkout() -> Client {
    spiffe_client(CHECKOUT)
}

fn by_dns() -> Client {
    Client { tls_client_auth_san_dns: "billing.corp.example".to_owned(), ..pki_client("billing") }
}

/// Asks for each registration, and expects the refusal to name the field.
async fn assert_refused_by_field(cases: Vec<(&str, Client)>) {
    let server = TestServer::start().await;
    let mut registry = server.registry(&server.svid("/admin"));
    for (field, client) in cases {
        let request = lanyard::proto::CreateClientRequest { client: Some(client.clone()), ..Default::default() };
        let error = registry.create_client(request).await.expect_err(&format!("{field}: {client:?}"));
        let info = error.get_details_error_info().unwrap();
        assert_eq!((error.code(), info.domain.as_str()), (Code::InvalidArgument, "lanyard"), "{client:?}");
        assert_eq!(info.metadata.get("field").map(String::as_str), Some(field), "{error:?} {client:?}");
        let expected = if info.reason == "INVALID_REQUEST" { "INVALID_REQUEST" } else { "INVALID_CLIENT_METADATA" };
        assert_eq!(info.reason, expected);
        assert!(error.message().starts_with(&format!("{field}: ")), "{}", error.message());
    }
}

#[tokio::test]
async fn a_client_id_is_visible_ascii_and_names_no_identity_that_it_does_not_prove() {
    let named = |client_id: &str| Client { client_id: client_id.to_owned(), ..by_dns() };
    assert_refused_by_field(vec![
        ("client_id", named("")),
        ("client_id", named("two words")),
        ("client_id", named("zürich")),
        ("client_id", named("a\nb")),
        ("client_id", named("a\"b")),
        ("client_id", named(&"a".repeat(2049))),
        ("client_id", named(CHECKOUT)),
        ("client_id", named("SPIFFE://prod.example/checkout")),
        ("client_id", named("spiffe://prod.example")),
        ("client_id", Client { spiffe_id: "spiffe://prod.example/other".to_owned(), ..checkout() }),
        ("client_id", Client { spiffe_id: "spiffe://prod.example/*".to_owned(), ..checkout() }),
        (
            "client_id",
            Client { client_id: CHECKOUT.to_owned(), ..self_signed_client("", &self_signed("x").issue().pem()) },
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_spiffe_id_is_well_formed_and_a_star_stands_only_for_whole_segments_at_the_end() {
    let with =
        |spiffe_id: &str| Client { client_id: "checkout".to_owned(), spiffe_id: spiffe_id.to_owned(), ..checkout() };
    let malformed = [
        "",
        "*",
        "spiffe://prod.example",
        "spiffe://prod.example/",
        "spiffe://prod.example/a/",
        "spiffe://prod.example/a*",
        "spiffe://prod.example/*/a",
        "spiffe://prod.example/a/*/*",
        "spiffe://*/a",
        "spiffe://*/*",
        "spiffe:///*",
        "spiffe://PROD.example/a",
        "spiffe://prod.example/a/../b",
        "spiffe://prod.example/a b",
        "https://prod.example/a",
    ];
    assert_refused_by_field(malformed.map(|text| ("spiffe_id", with(text))).into()).await;
}

#[tokio::test]
async fn a_method_comes_with_its_own_fields_and_no_others() {
    let pem = self_signed("ci").issue().pem();
    let ci = || self_signed_client("ci", &pem);
    let method = |method: &str, client: Client| Client { token_endpoint_auth_method: method.to_owned(), ..client };
    let subject = || "CN=billing".to_owned();
    assert_refused_by_field(vec![
        ("token_endpoint_auth_method", method("", checkout())),
        ("token_endpoint_auth_method", method("none", checkout())),
        ("token_endpoint_auth_method", method("client_secret_basic", checkout())),
        ("token_endpoint_auth_method", method("SPIFFE_X509", checkout())),
        ("tls_client_auth_subject_dn", pki_client("billing")),
        ("tls_client_auth_san_dns", Client { tls_client_auth_subject_dn: subject(), ..by_dns() }),
        ("tls_client_auth_san_email", Client { tls_client_auth_san_email: "a@b.example".to_owned(), ..by_dns() }),
        ("tls_client_auth_subject_dn", Client { tls_client_auth_subject_dn: subject(), ..checkout() }),
        ("client_ca", Client { client_ca: "corp".to_owned(), ..checkout() }),
        ("client_ca", Client { client_ca: "corp".to_owned(), ..ci() }),
        ("client_ca", Client { client_ca: "nobody".to_owned(), ..by_dns() }),
        ("client_ca", Client { client_ca: "Corp".to_owned(), ..by_dns() }),
        ("spiffe_id", Client { spiffe_id: CHECKOUT.to_owned(), ..by_dns() }),
        ("spiffe_id", Client { spiffe_id: CHECKOUT.to_owned(), ..ci() }),
        ("jwks", Client { jwks: "{\"keys\":[]}".to_owned(), ..by_dns() }),
        ("certificate_pem", Client { certificate_pem: pem.clone(), ..checkout() }),
        ("jwks", Client { certificate_pem: String::new(), ..ci() }),
        ("certificate_pem", Client { jwks: "{\"keys\":[]}".to_owned(), ..ci() }),
    ])
    .await;
}

#[tokio::test]
async fn a_subject_is_a_name_of_its_own_kind() {
    let dn = |text: &str| Client { tls_client_auth_subject_dn: text.to_owned(), ..pki_client("x") };
    let dns = |text: &str| Client { tls_client_auth_san_dns: text.to_owned(), ..pki_client("x") };
    let uri = |text: &str| Client { tls_client_auth_san_uri: text.to_owned(), ..pki_client("x") };
    let ip = |text: &str| Client { tls_client_auth_san_ip: text.to_owned(), ..pki_client("x") };
    let email = |text: &str| Client { tls_client_auth_san_email: text.to_owned(), ..pki_client("x") };
    let cases = [
        ("tls_client_auth_subject_dn", vec![dn("billing"), dn("/O=Corp/CN=billing"), dn("CN=a,,O=b"), dn("CN")]),
        ("tls_client_auth_san_dns", vec![dns("*.corp.example"), dns("a..b"), dns("a b"), dns("ä.example"), dns(".")]),
        ("tls_client_auth_san_uri", vec![uri("corp.example"), uri("/billing"), uri("https://a b")]),
        ("tls_client_auth_san_ip", vec![ip("10.0.0"), ip("10.0.0.0/8"), ip("010.0.0.1"), ip("fe80::1%eth0")]),
        ("tls_client_auth_san_email", vec![email("billing"), email("@corp.example"), email("a@"), email("a@*.b")]),
    ];
    let cases = cases.into_iter().flat_map(|(field, clients)| clients.into_iter().map(move |client| (field, client)));
    assert_refused_by_field(cases.collect()).await;
}

#[tokio::test]
async fn a_jwks_has_certificates_that_match_the_keys_beside_them_and_nothing_private() {
    let leaf = self_signed("ci").issue();
    let other = self_signed("ci").issue();
    let svid = crate::support::ca::TestCa::new("prod.example").svid(CHECKOUT).issue();
    let encoded = |leaf: &crate::support::leaf::Leaf| {
        let pem = leaf.pem();
        let lines: Vec<&str> = pem.lines().filter(|line| !line.starts_with('-')).collect();
        lines.concat()
    };
    let jwk = |leaf: &crate::support::leaf::Leaf, x5c: Value| {
        let mut jwk = PublicJwk::from_spki(&leaf.spki).unwrap().to_json();
        jwk.insert("x5c".to_owned(), x5c);
        Value::Object(jwk)
    };
    let set = |jwks: String| Client { jwks, ..self_signed_client("ci", "") };
    let of = |jwk: Value| set(json!({ "keys": [jwk] }).to_string());
    let mut private = jwk(&leaf, json!([encoded(&leaf)]));
    private["d"] = json!("AAAA");
    // RFC 7517 section 4.3
    let mut encrypting = jwk(&leaf, json!([encoded(&leaf)]));
    encrypting["key_ops"] = json!(["encrypt"]);
    let good = jwk(&leaf, json!([encoded(&leaf)]));
    assert_refused_by_field(vec![
        ("jwks", set("{".to_owned())),
        ("jwks", set("[]".to_owned())),
        ("jwks", set("{\"keys\":{}}".to_owned())),
        ("jwks", set("{\"keys\":[]}".to_owned())),
        ("jwks", of(Value::Object(PublicJwk::from_spki(&leaf.spki).unwrap().to_json()))),
        ("jwks", of(jwk(&leaf, json!([encoded(&other)])))),
        ("jwks", of(jwk(&leaf, json!(encoded(&leaf))))),
        ("jwks", of(jwk(&leaf, json!([])))),
        ("jwks", of(jwk(&leaf, json!([format!(" {}", encoded(&leaf))])))),
        ("jwks", of(jwk(&svid, json!([encoded(&svid)])))),
        ("jwks", of(private)),
        ("jwks", of(encrypting)),
        ("jwks", set(json!({ "keys": vec![good; 17] }).to_string())),
        ("certificate_pem", self_signed_client("ci", "garbage")),
        ("certificate_pem", self_signed_client("ci", &leaf.key_pem())),
        ("certificate_pem", self_signed_client("ci", &(leaf.pem() + &leaf.key_pem()))),
    ])
    .await;
}

#[tokio::test]
async fn grants_scopes_audiences_lifetimes_and_rotation_are_within_what_is_served() {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let audience = |audience: &[&str]| Client { audience: texts(audience), ..checkout() };
    let grants = |grants: &[&str]| Client { grant_types: texts(grants), ..checkout() };
    let scope = |scope: &str| Client { scope: scope.to_owned(), ..checkout() };
    let rotation = |rotation: &str| Client { rotation: rotation.to_owned(), ..checkout() };
    let ttl =
        |seconds, nanos| Client { access_token_ttl: Some(prost_types::Duration { seconds, nanos }), ..checkout() };
    let unbound = Client { tls_client_certificate_bound_access_tokens: Some(false), ..checkout() };
    assert_refused_by_field(vec![
        ("audience", audience(&[])),
        ("audience", audience(&[""])),
        ("audience", audience(&["orders"])),
        ("audience", audience(&["https://orders.prod.example/#fragment"])),
        ("audience", audience(&["*"])),
        ("audience", audience(&["https://a.example"; 129])),
        ("grant_types", grants(&["authorization_code"])),
        ("grant_types", grants(&["client_credentials", "refresh_token"])),
        ("scope", scope("orders.read  orders.write")),
        ("scope", scope("orders.\"read\"")),
        ("access_token_ttl", ttl(0, 0)),
        ("access_token_ttl", ttl(-1, 0)),
        ("access_token_ttl", ttl(3601, 0)),
        ("access_token_ttl", ttl(1, 500_000_000)),
        ("access_token_ttl", ttl(i64::MAX, 0)),
        ("rotation", rotation("loose")),
        ("rotation", rotation("Identity")),
        ("rotation", rotation("STRICT")),
        ("tls_client_certificate_bound_access_tokens", unbound),
    ])
    .await;
}

#[tokio::test]
async fn the_nearest_metadata_that_can_stand_is_taken() {
    let server = TestServer::start().await;
    let ttl = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let ci = self_signed("ci").issue();
    let named = |client_id: &str| Client { client_id: client_id.to_owned(), ..by_dns() };
    for client in [
        Client { access_token_ttl: ttl(1), ..checkout() },
        Client { access_token_ttl: ttl(3600), ..spiffe_client("spiffe://prod.example/longest") },
        Client { rotation: "strict".to_owned(), ..spiffe_client("spiffe://prod.example/strict") },
        Client { scope: String::new(), ..spiffe_client("spiffe://prod.example/no-scope") },
        Client { client_id: "all".to_owned(), spiffe_id: "spiffe://prod.example/*".to_owned(), ..checkout() },
        Client { client_ca: "corp".to_owned(), ..named("of-corp") },
        named(&"a".repeat(2048)),
        named("!#[]~"),
        spiffe_uri_client("spiffe://prod.example/x", "spiffe://prod.example/x"),
        self_signed_client("ci", &(ci.pem() + &self_signed("ci").issue().pem())),
    ] {
        server.register(client).await.unwrap();
    }
}
