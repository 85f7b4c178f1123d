//! Who is served at `POST /oauth2/token` over real TLS (RFC 6749 section 2.3, RFC 8705 section 2).

use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::header::AUTHORIZATION;
use axum::http::header::CONTENT_TYPE;
use axum::http::header::WWW_AUTHENTICATE;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lanyard::proto::Client;
use lanyard::proto::Decision;
use lanyard::proto::DenyReason;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use serde_json::Value;
use serde_json::json;

use crate::support::ca::self_signed;
use crate::support::calls::opened;
use crate::support::calls::pki_client;
use crate::support::calls::self_signed_client;
use crate::support::door::Outcome;
use crate::support::door::knock;
use crate::support::http::Http;
use crate::support::http::Reply;
use crate::support::http::get;
use crate::support::http::http1_only;
use crate::support::http::post;
use crate::support::leaf::Leaf;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::connect;
use crate::support::server::spiffe_client;
use crate::support::unreferenced::without_references;

const TOKEN: &str = "/oauth2/token";
const CHECKOUT: &str = "spiffe://prod.example/checkout";
const GOOD: [(&str, &str); 2] = [("grant_type", "client_credentials"), ("client_id", CHECKOUT)];

fn refused(code: &str) -> (u16, String) {
    (if code == "invalid_client" { 401 } else { 400 }, code.to_owned())
}

/// What comes of the good request with other parameters behind it.
async fn with(server: &TestServer, leaf: &Leaf, more: &[(&str, &str)]) -> Reply {
    server.post(leaf, TOKEN, &[&GOOD, more].concat()).await
}

async fn issued(server: &TestServer, leaf: &Leaf, client_id: &str) -> Reply {
    server.post(leaf, TOKEN, &[GOOD[0], ("client_id", client_id)]).await
}

fn claims(answer: &Value) -> Value {
    opened(answer["access_token"].as_str().unwrap()).1
}

#[tokio::test]
async fn a_request_that_tries_another_authentication_than_its_certificate_is_refused() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let bearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    for other in [("client_secret", "x"), ("client_assertion", "a.b.c"), ("client_assertion_type", bearer)] {
        assert_eq!(with(&server, &checkout, &[other]).await.error(), refused("invalid_request"), "{other:?}");
    }
    for (header, scheme) in [
        ("Basic eDp5", "Basic"),
        ("Bearer x", "Bearer"),
        ("bearer x", "Bearer"),
        ("basic", "Basic"),
        ("", "Basic"),
        ("Digest username=x", "Basic"),
        ("DPoP x", "DPoP"),
    ] {
        let sent = async |form: &[(&str, &str)]| {
            let mut request = post(TOKEN, form);
            request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static(header));
            server.send(&checkout, request).await
        };
        assert_eq!(sent(&GOOD).await.error(), refused("invalid_request"), "two methods: {header:?}");
        let alone = sent(&GOOD[..1]).await;
        assert_eq!(alone.error(), refused("invalid_client"), "{header:?}");
        // RFC 6749 section 5.2; RFC 9110 section 15.5.2
        assert_eq!(alone.header(WWW_AUTHENTICATE), format!("{scheme} realm=\"lanyard\""), "{header:?}");
    }
}

#[tokio::test]
async fn client_id_is_always_required_and_never_guessed_from_the_certificate() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    assert_eq!(server.post(&checkout, TOKEN, &GOOD[..1]).await.error(), refused("invalid_request"));
    let long = format!("{CHECKOUT}/{}", "a".repeat(2048));
    for malformed in
        ["spiffe://", "spiffe://prod.example/checkout/", "SPIFFE://prod.example/checkout", " ", "a b", "é", &long]
    {
        assert_eq!(issued(&server, &checkout, malformed).await.error(), refused("invalid_request"), "{malformed:?}");
    }
}

#[tokio::test]
async fn a_client_id_of_another_certificate_is_invalid_client_always_in_the_same_words() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    server.workload("/other").await;
    let disabled = Client { disabled: true, ..spiffe_client("spiffe://prod.example/disabled") };
    server.register(disabled).await.unwrap();
    let named = Client {
        client_id: "named".to_owned(),
        spiffe_id: "spiffe://prod.example/named".to_owned(),
        ..spiffe_client("")
    };
    server.register(named).await.unwrap();
    let own = self_signed("own").issue();
    server.register(self_signed_client("own", &own.pem())).await.unwrap();
    let dns = Client { tls_client_auth_san_dns: "shop.corp.example".to_owned(), ..pki_client("shop") };
    server.register(dns).await.unwrap();
    let shop = server.setup.corp.client_certificate().dns("shop.corp.example").issue();
    let clients = [
        (&checkout, CHECKOUT),
        (&own, "own"),
        (&shop, "shop"),
        (&server.svid("/disabled"), "spiffe://prod.example/disabled"),
        (&server.svid("/named"), "named"),
        (&server.svid("/named"), "spiffe://prod.example/other"),
    ];
    let mut bodies = Vec::new();
    for (leaf, own) in clients {
        for client_id in
            [CHECKOUT, "own", "shop", "unknown", "spiffe://prod.example/unknown", "spiffe://prod.example/other", own]
        {
            let reply = issued(&server, leaf, client_id).await;
            if client_id == own && [CHECKOUT, "own", "shop"].contains(&own) {
                assert_eq!(claims(&reply.ok())["client_id"], json!(own));
            } else {
                assert_eq!(reply.error(), refused("invalid_client"), "{own} as {client_id}");
                bodies.push(without_references(&reply.body));
            }
        }
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    // Nobody's certificate, though a CA vouches for it.
    let stranger = server.setup.corp.client_certificate().dns("stranger.corp.example").issue();
    assert_eq!(issued(&server, &stranger, "shop").await.error(), refused("invalid_client"));
}

#[tokio::test]
async fn no_header_says_anything_about_who_calls() {
    let server = TestServer::start().await;
    let victim = server.workload("/checkout").await;
    let thief = server.workload("/thief").await;
    let der = STANDARD.encode(victim.certificate());
    let pem = utf8_percent_encode(&victim.pem(), NON_ALPHANUMERIC).to_string();
    let hex = xfcc_hash(&victim);
    let xfcc = format!("By=spiffe://prod.example/x;Hash={hex};Cert=\"{pem}\";URI={CHECKOUT}");
    let values = [xfcc, format!(":{der}:"), pem, der, hex, CHECKOUT.to_owned()];
    let names = "x-forwarded-client-cert X-Forwarded-Client-Cert forwarded-client-cert client-cert Client-Cert \
        client-cert-chain x-client-cert x-client-certificate x-ssl-cert x-ssl-client-cert ssl-client-cert ssl_client_cert \
        x-ssl-client-s-dn x-ssl-client-verify x-ssl-client-san ssl-client-verify ssl-client-subject-dn x-tls-client-cert \
        x-amzn-mtls-clientcert x-amzn-mtls-clientcert-leaf x-amzn-mtls-clientcert-subject x-arr-clientcert x-azure-clientcert \
        x-client-cert-chain x-client-cert-sha256 x-client-cert-fingerprint x-client-cert-hash x-client-cert-uri-sans \
        cf-client-cert-sha256 cf-client-cert-der-base64 x-goog-client-cert x-forwarded-tls-client-cert \
        x-forwarded-tls-client-cert-info x-forwarded-ssl-client-cert x-spiffe-id x-svid spiffe-id x-peer-certificate \
        x-mtls-clientcert x-client-id x-client-dn x-remote-user remote-user x-forwarded-user tls-client-certificate";
    let names: Vec<&str> = names.split_whitespace().collect();
    assert!(names.len() >= 40);
    let mut http = server.http(&thief).await;
    let every = names.iter().flat_map(|name| values.iter().map(move |value| (*name, value)));
    let all_at_once: Vec<_> = names.iter().map(|name| (*name, &values[5])).collect();
    for headers in every.map(|one| vec![one]).chain([all_at_once]) {
        for (client_id, is_own) in [(CHECKOUT, false), ("spiffe://prod.example/thief", true)] {
            let mut request = post(TOKEN, &[GOOD[0], ("client_id", client_id)]);
            for (name, value) in &headers {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                request.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
            }
            let reply = http.send(request).await;
            if is_own {
                assert_eq!(claims(&reply.ok())["cnf"]["x5t#S256"], json!(thief.thumbprint().to_string()));
            } else {
                assert_eq!(reply.error(), refused("invalid_client"), "{headers:?}");
            }
        }
    }
}

#[tokio::test]
async fn with_optional_certificates_a_connection_without_one_reaches_what_is_public() {
    let server = TestServer::started(|setup| {
        setup.tls = "  client_auth: request\n".to_owned();
        setup.registration = "own-identity".to_owned();
    })
    .await;
    let checkout = server.workload("/checkout").await;
    let config = http1_only(server.tls_builder().with_no_client_auth());
    let mut nobody = Http::one(connect(server.addresses.mtls, config).await.unwrap()).await;
    for path in ["/oauth2/jwks", "/.well-known/oauth-authorization-server"] {
        assert_eq!(nobody.send(get(path)).await.status, 200, "{path}");
    }
    for path in [TOKEN, "/oauth2/introspect", "/oauth2/revoke", "/oauth2/register"] {
        assert_eq!(nobody.send(post(path, &GOOD)).await.error(), refused("invalid_client"), "{path}");
    }
    issued(&server, &checkout, CHECKOUT).await.ok();
    // One that is shown must still be proven.
    let strange = crate::support::ca::TestCa::new("prod.example").svid(CHECKOUT).issue();
    assert!(matches!(knock(server.addresses.mtls, server.tls(&strange)).await, Outcome::Alert(_)));
}

#[tokio::test]
async fn where_certificates_are_required_the_handshake_ends_without_one() {
    let server = TestServer::start().await;
    let outcome = knock(server.addresses.mtls, server.tls_builder().with_no_client_auth()).await;
    assert!(matches!(outcome, Outcome::Alert(_)), "{outcome:?}");
}

#[tokio::test]
async fn an_unbound_token_needs_both_the_servers_and_the_registrations_leave() {
    for (global, registered, bound) in [
        ("{unbound: true}", Some(false), false),
        ("{unbound: true}", Some(true), true),
        ("{unbound: true}", None, true),
        ("{}", Some(true), true),
        ("{}", None, true),
    ] {
        let server = TestServer::started(|setup| setup.tokens = global.to_owned()).await;
        let client = Client { tls_client_certificate_bound_access_tokens: registered, ..spiffe_client(CHECKOUT) };
        server.register(client).await.unwrap();
        let checkout = server.svid("/checkout");
        let answer = issued(&server, &checkout, CHECKOUT).await.ok();
        assert_eq!(claims(&answer).get("cnf").is_some(), bound, "{global} {registered:?}");
        let token = answer["access_token"].as_str().unwrap();
        let evaluated = server.validate(token, certificate_of(&checkout)).await.unwrap();
        assert_eq!(evaluated.decision() == Decision::Allow, bound);
        assert_eq!(evaluated.reason(), if bound { DenyReason::Unspecified } else { DenyReason::NotBound });
        let seen = server.post(&server.svid("/proxy"), "/oauth2/introspect", &[("token", token)]).await.ok();
        assert_eq!(seen["active"], json!(bound));
    }
}

#[tokio::test]
async fn an_open_connection_gets_no_token_once_its_client_is_disabled_or_expired() {
    let server = TestServer::start().await;
    let registered = server.register(spiffe_client(CHECKOUT)).await.unwrap();
    let checkout = server.svid("/checkout");
    let mut http = server.http(&checkout).await;
    http.send(post(TOKEN, &GOOD)).await.ok();
    let disabled = server.update(Client { disabled: true, ..registered }).await.unwrap();
    assert_eq!(http.send(post(TOKEN, &GOOD)).await.error(), refused("invalid_client"));
    server.update(Client { disabled: false, ..disabled }).await.unwrap();
    http.send(post(TOKEN, &GOOD)).await.ok();
    server.advance(std::time::Duration::from_secs(3601));
    let reply = http.send(post(TOKEN, &GOOD)).await;
    assert_eq!(reply.error(), refused("invalid_client"));
    assert_eq!(reply.header(CONTENT_TYPE), "application/json");
}

/// As a proxy writes it: lower hex.
fn xfcc_hash(leaf: &Leaf) -> String {
    hex::encode(leaf.thumbprint().as_bytes())
}
