//! `spiffe_jwt`: a JWT-SVID as client assertion, over HTTP and gRPC (draft-ietf-oauth-spiffe-client-auth section 3.1,
//! RFC 7521 section 4.2).

use axum::http::HeaderValue;
use axum::http::header::AUTHORIZATION;
use axum::http::header::WWW_AUTHENTICATE;
use lanyard::authority::decision::JWT_SPIFFE;
use lanyard::proto::Client;
use lanyard::proto::Decision;
use lanyard::proto::DenyReason;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::token_service_client::TokenServiceClient;
use serde_json::Value;
use serde_json::json;
use tonic::Code;

use crate::support::NOW;
use crate::support::calls::opened;
use crate::support::calls::pki_client;
use crate::support::calls::refusal;
use crate::support::calls::spiffe_uri_client;
use crate::support::http::Http;
use crate::support::http::http1_only;
use crate::support::http::post;
use crate::support::jwt_svid::JwtKey;
use crate::support::jwt_svid::claims;
use crate::support::jwt_svid::trust_jwks;
use crate::support::leaf::Leaf;
use crate::support::server::ISSUER;
use crate::support::server::ORDERS;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::channel;
use crate::support::server::connect;
use crate::support::server::spiffe_client;

const TOKEN: &str = "/oauth2/token";
const CHECKOUT: &str = "spiffe://prod.example/checkout";

/// A server whose trust domain prod.example signs JWT-SVIDs with `key`, and the SVID of a client by `spiffe_jwt`.
struct Signing {
    server: TestServer,
    key: JwtKey,
    checkout: Leaf,
}

impl Signing {
    async fn new() -> Self {
        Self::with(|_| {}, jwt_client(CHECKOUT)).await
    }

    async fn with(change: impl FnOnce(&mut Setup), client: Client) -> Self {
        let server = TestServer::started(change).await;
        let key = JwtKey::new("one");
        trust_jwks(server.server.authority(), "prod.example", &[key.jwk()]);
        server.register(client).await.unwrap();
        let checkout = server.svid("/checkout");
        Self { server, key, checkout }
    }

    fn svid(&self, sub: &str) -> String {
        self.key.svid(sub, ISSUER)
    }

    /// What both voices say to the same request, which must be the same.
    async fn asked(&self, leaf: &Leaf, client_id: &str, kind: &str, assertion: &str) -> Result<Value, &'static str> {
        let request = IssueTokenRequest {
            client_id: client_id.to_owned(),
            client_assertion_type: kind.to_owned(),
            client_assertion: assertion.to_owned(),
            ..IssueTokenRequest::default()
        };
        let over_grpc = self.server.issue(leaf, request).await;
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", client_id),
            ("client_assertion_type", kind),
            ("client_assertion", assertion),
        ];
        let over_http = self.server.post(leaf, TOKEN, &form).await;
        if let Ok(issued) = &over_grpc {
            let answer = over_http.ok();
            let claims = opened(answer["access_token"].as_str().unwrap()).1;
            let other = opened(&issued.access_token).1;
            for name in ["sub", "client_id", "cnf", "aud", "exp", "scope"] {
                assert_eq!(claims[name], other[name], "{name}");
            }
            return Ok(claims);
        }
        let code = match refusal(over_grpc) {
            (Code::Unauthenticated, reason) if reason == "INVALID_CLIENT" => "invalid_client",
            (Code::InvalidArgument, reason) if reason == "INVALID_REQUEST" => "invalid_request",
            other => panic!("{other:?}"),
        };
        assert_eq!(over_http.error(), (if code == "invalid_client" { 401 } else { 400 }, code.to_owned()));
        Err(code)
    }

    async fn with_assertion(&self, leaf: &Leaf, assertion: &str) -> Result<Value, &'static str> {
        self.asked(leaf, "", JWT_SPIFFE, assertion).await
    }
}

/// A client by `spiffe_jwt` for one SPIFFE ID.
fn jwt_client(spiffe_id: &str) -> Client {
    Client { token_endpoint_auth_method: "spiffe_jwt".to_owned(), ..spiffe_client(spiffe_id) }
}

// section 3.1, RFC 8705 section 3
#[tokio::test]
async fn a_jwt_svid_over_its_own_connection_gets_a_token_bound_to_the_certificate() {
    let signing = Signing::new().await;
    let Signing { server, checkout, .. } = &signing;
    let request = IssueTokenRequest {
        client_assertion_type: JWT_SPIFFE.to_owned(),
        client_assertion: signing.svid(CHECKOUT),
        ..IssueTokenRequest::default()
    };
    let token = server.issue(checkout, request).await.unwrap().access_token;
    let claims = opened(&token).1;
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!(CHECKOUT), &json!(CHECKOUT)));
    assert_eq!(claims["cnf"], json!({ "x5t#S256": checkout.thumbprint().to_string() }));
    let own = server.validate(&token, certificate_of(checkout)).await.unwrap();
    assert_eq!(own.decision(), Decision::Allow);
    let sibling = server.validate(&token, certificate_of(&server.svid("/checkout"))).await.unwrap();
    assert_eq!(sibling.reason(), DenyReason::CertificateRenewed);
    for client_id in ["", CHECKOUT] {
        let claims = signing.asked(checkout, client_id, JWT_SPIFFE, &signing.svid(CHECKOUT)).await.unwrap();
        assert_eq!(claims["cnf"]["x5t#S256"], json!(checkout.thumbprint().to_string()));
    }
}

#[tokio::test]
async fn where_tokens_are_bound_an_assertion_needs_its_own_workloads_connection() {
    let signing = Signing::new().await;
    let server = &signing.server;
    server
        .register(Client { tls_client_auth_san_dns: "shop.corp.example".to_owned(), ..pki_client("shop") })
        .await
        .unwrap();
    let stolen = signing.svid(CHECKOUT);
    for (leaf, why) in [
        (server.workload("/thief").await, "a registered workload"),
        (server.svid("/checkout/sidecar"), "a workload below it"),
        (server.setup.other_ca.svid("spiffe://other.example/checkout").issue(), "the same path elsewhere"),
        (server.setup.corp.client_certificate().dns("shop.corp.example").issue(), "a certificate of a client CA"),
        (server.svid("/admin"), "an admin"),
    ] {
        assert_eq!(signing.with_assertion(&leaf, &stolen).await, Err("invalid_client"), "{why}");
    }
    // Another certificate of the same identity is as good as the first: the token is then bound to that one.
    let renewed = server.svid("/checkout");
    let claims = signing.with_assertion(&renewed, &stolen).await.unwrap();
    assert_eq!(claims["cnf"]["x5t#S256"], json!(renewed.thumbprint().to_string()));
}

#[tokio::test]
async fn an_unbound_token_over_another_connection_needs_server_and_registration_to_allow() {
    for (server_allows, client_allows) in [(false, false), (true, false), (true, true)] {
        let client =
            Client { tls_client_certificate_bound_access_tokens: Some(!client_allows), ..jwt_client(CHECKOUT) };
        let change = |setup: &mut Setup| setup.tokens = format!("{{unbound: {server_allows}}}");
        let signing = Signing::with(change, client).await;
        let other = signing.server.svid("/other");
        let over_other = signing.with_assertion(&other, &signing.svid(CHECKOUT)).await;
        if server_allows && client_allows {
            let claims = over_other.unwrap();
            assert_eq!((&claims["sub"], &claims["cnf"]), (&json!(CHECKOUT), &Value::Null));
        } else {
            assert_eq!(over_other, Err("invalid_client"), "{server_allows} {client_allows}");
        }
        let own = signing.with_assertion(&signing.checkout, &signing.svid(CHECKOUT)).await.unwrap();
        assert_eq!(own["cnf"].is_null(), server_allows && client_allows);
    }
}

// An assertion without any certificate is a bearer's, and gets nothing.
#[tokio::test]
async fn no_certificate_means_no_token_even_where_unbound_ones_are_allowed() {
    let client = Client { tls_client_certificate_bound_access_tokens: Some(false), ..jwt_client(CHECKOUT) };
    let change = |setup: &mut Setup| {
        setup.tls = "  client_auth: request\n".to_owned();
        setup.tokens = "{unbound: true}".to_owned();
    };
    let signing = Signing::with(change, client).await;
    let (server, good) = (&signing.server, signing.svid(CHECKOUT));
    let form =
        [("grant_type", "client_credentials"), ("client_assertion_type", JWT_SPIFFE), ("client_assertion", &good)];
    let nobody = http1_only(server.tls_builder().with_no_client_auth());
    let mut nobody = Http::one(connect(server.addresses.mtls, nobody).await.unwrap()).await;
    assert_eq!(nobody.send(post(TOKEN, &form)).await.error(), (401, "invalid_client".to_owned()));
    let mut nobody = server.tls_builder().with_no_client_auth();
    nobody.alpn_protocols = vec![b"h2".to_vec()];
    let request = IssueTokenRequest {
        client_assertion_type: JWT_SPIFFE.to_owned(),
        client_assertion: good.clone(),
        ..IssueTokenRequest::default()
    };
    let mut nobody = TokenServiceClient::new(channel(server.addresses.mtls, nobody));
    let refused = refusal(nobody.issue_token(request).await);
    assert_eq!(refused, (Code::Unauthenticated, "NO_CERTIFICATE".to_owned()));
    assert!(signing.with_assertion(&signing.checkout, &good).await.is_ok());
}

// RFC 7521 section 4.2, 4.2.1
#[tokio::test]
async fn assertion_and_type_go_together_and_the_type_is_the_one() {
    let signing = Signing::new().await;
    let (checkout, good) = (&signing.checkout, &signing.svid(CHECKOUT));
    for (kind, assertion, code) in [
        ("", good.as_str(), "invalid_request"),
        (JWT_SPIFFE, "", "invalid_request"),
        ("urn:ietf:params:oauth:client-assertion-type:jwt-bearer", good, "invalid_client"),
        ("urn:ietf:params:oauth:client-assertion-type:saml2-bearer", good, "invalid_client"),
        // The draft's own examples misspell it so.
        ("urn:ietf:params:oauth:client-assertion-type=jwt-spiffe", good, "invalid_client"),
        ("urn:ietf:params:oauth:client-assertion-type:JWT-SPIFFE", good, "invalid_client"),
        ("jwt-spiffe", good, "invalid_client"),
    ] {
        assert_eq!(signing.asked(checkout, "", kind, assertion).await, Err(code), "{kind}");
    }
    assert!(signing.asked(checkout, "", JWT_SPIFFE, good).await.is_ok());
}

// RFC 7521 section 4.2
#[tokio::test]
async fn a_client_id_beside_an_assertion_names_the_same_client() {
    let signing = Signing::new().await;
    let server = &signing.server;
    server.register(jwt_client("spiffe://prod.example/other")).await.unwrap();
    let named = Client { client_id: "named".to_owned(), spiffe_id: CHECKOUT.to_owned(), ..jwt_client("") };
    assert!(server.register(named).await.is_err(), "the SPIFFE ID is taken");
    let good = signing.svid(CHECKOUT);
    for (client_id, code) in [
        ("spiffe://prod.example/other", "invalid_client"),
        ("spiffe://prod.example/unregistered", "invalid_client"),
        ("named", "invalid_client"),
        ("spiffe://prod.example/checkout/", "invalid_request"),
        ("SPIFFE://prod.example/checkout", "invalid_request"),
    ] {
        assert_eq!(signing.asked(&signing.checkout, client_id, JWT_SPIFFE, &good).await, Err(code), "{client_id}");
    }
    assert!(signing.asked(&signing.checkout, CHECKOUT, JWT_SPIFFE, &good).await.is_ok());
}

// RFC 7521 section 4.2.1
#[tokio::test]
async fn a_second_authentication_beside_an_assertion_is_invalid_client() {
    let signing = Signing::new().await;
    let (server, checkout) = (&signing.server, &signing.checkout);
    let good = signing.svid(CHECKOUT);
    let form =
        [("grant_type", "client_credentials"), ("client_assertion_type", JWT_SPIFFE), ("client_assertion", &good)];
    let refused = (401, "invalid_client".to_owned());
    let secret = [&form[..], &[("client_secret", "x")]].concat();
    assert_eq!(server.post(checkout, TOKEN, &secret).await.error(), refused);
    let twice = [&form[..], &[("client_assertion", &good)]].concat();
    assert_eq!(server.post(checkout, TOKEN, &twice).await.error(), (400, "invalid_request".to_owned()));
    let mut request = post(TOKEN, &form);
    request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Basic eDp5"));
    let reply = server.send(checkout, request).await;
    assert_eq!(reply.error(), refused);
    assert!(reply.header(WWW_AUTHENTICATE).starts_with("Basic "));
    server.post(checkout, TOKEN, &form).await.ok();
}

#[tokio::test]
async fn each_client_authenticates_by_its_registered_method_and_by_no_other() {
    let signing = Signing::new().await;
    let server = &signing.server;
    let by_x509 = server.workload("/by-x509").await;
    let by_uri = "spiffe://prod.example/by-uri";
    server.register(spiffe_uri_client(by_uri, by_uri)).await.unwrap();
    // By the certificate alone, where an assertion is wanted.
    for client_id in ["", CHECKOUT] {
        let request = IssueTokenRequest { client_id: client_id.to_owned(), ..IssueTokenRequest::default() };
        let refused = refusal(server.issue(&signing.checkout, request).await);
        assert_eq!(refused, (Code::Unauthenticated, "INVALID_CLIENT".to_owned()));
    }
    let form = [("grant_type", "client_credentials"), ("client_id", CHECKOUT)];
    let reply = server.post(&signing.checkout, TOKEN, &form).await;
    assert_eq!(reply.error(), (401, "invalid_client".to_owned()));
    // By an assertion, where the certificate is wanted.
    for (leaf, id) in [(by_x509, "spiffe://prod.example/by-x509"), (server.svid("/by-uri"), by_uri)] {
        assert_eq!(signing.with_assertion(&leaf, &signing.svid(id)).await, Err("invalid_client"), "{id}");
        server.issue_as(&leaf, id).await.unwrap();
    }
    let unregistered = signing.svid("spiffe://prod.example/unregistered");
    let refused = signing.with_assertion(&server.svid("/unregistered"), &unregistered).await;
    assert_eq!(refused, Err("invalid_client"));
}

// draft-ietf-oauth-spiffe-client-auth section 5.1
#[tokio::test]
async fn a_pattern_covers_whole_segments_below_it_and_each_subject_gets_its_own_name() {
    let pattern = Client {
        client_id: "shop".to_owned(),
        spiffe_id: "spiffe://prod.example/ns/shop/*".to_owned(),
        ..jwt_client("")
    };
    let signing = Signing::with(|_| {}, pattern).await;
    for path in ["/ns/shop/checkout", "/ns/shop/sa/checkout"] {
        let (leaf, id) = (signing.server.svid(path), format!("spiffe://prod.example{path}"));
        let claims = signing.with_assertion(&leaf, &signing.svid(&id)).await.unwrap();
        assert_eq!((&claims["sub"], &claims["client_id"]), (&json!(id), &json!(id)));
    }
    for path in ["/ns/shop", "/ns/shopping", "/ns/Shop/checkout", "/ns/shopping/checkout"] {
        let (leaf, id) = (signing.server.svid(path), format!("spiffe://prod.example{path}"));
        assert_eq!(signing.with_assertion(&leaf, &signing.svid(&id)).await, Err("invalid_client"), "{path}");
    }
}

// draft-ietf-oauth-spiffe-client-auth section 3.1 steps 2 to 4
#[tokio::test]
async fn an_assertion_that_proves_nobody_is_invalid_client_in_the_same_words() {
    let signing = Signing::new().await;
    let Signing { server, key, checkout } = &signing;
    let stranger = JwtKey::new("one");
    trust_jwks(server.server.authority(), "other.example", &[stranger.jwk()]);
    let of = |claim: &str, value: Value| {
        let mut claims = claims(CHECKOUT, ISSUER);
        claims[claim] = value;
        key.sign(&key.header().to_string(), &claims.to_string())
    };
    let mut words = Vec::new();
    for assertion in [
        stranger.svid(CHECKOUT, ISSUER),
        of("exp", json!(NOW.0)),
        of("exp", json!((NOW.0 + 300).to_string())),
        of("nbf", json!(NOW.0 + 1)),
        of("aud", json!("https://lanyard.prod.example/oauth2/token")),
        of("aud", json!([ISSUER, ORDERS])),
        of("sub", json!("checkout")),
        of("sub", json!("spiffe://unknown.example/checkout")),
        "a.b.c".to_owned(),
        "x".repeat(20_000),
    ] {
        assert_eq!(signing.with_assertion(checkout, &assertion).await, Err("invalid_client"), "{assertion}");
        let form = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", JWT_SPIFFE),
            ("client_assertion", &assertion),
        ];
        words.push(server.post(checkout, TOKEN, &form).await.json()["error_description"].clone());
    }
    words.dedup();
    assert_eq!(words.len(), 1, "{words:?}");
    assert!(signing.with_assertion(checkout, &of("aud", json!([ISSUER]))).await.is_ok());
    assert!(signing.with_assertion(checkout, &of("iss", json!("https://spire.prod.example"))).await.is_ok());
}

#[tokio::test]
async fn keys_that_leave_the_bundle_prove_nobody_from_then_on() {
    let signing = Signing::new().await;
    let (authority, good) = (signing.server.server.authority(), signing.svid(CHECKOUT));
    assert!(signing.with_assertion(&signing.checkout, &good).await.is_ok());
    let next = JwtKey::new("two");
    trust_jwks(authority, "prod.example", &[next.jwk()]);
    assert_eq!(signing.with_assertion(&signing.checkout, &good).await, Err("invalid_client"));
    assert!(signing.with_assertion(&signing.checkout, &next.svid(CHECKOUT, ISSUER)).await.is_ok());
    trust_jwks(authority, "prod.example", &[]);
    assert_eq!(signing.with_assertion(&signing.checkout, &next.svid(CHECKOUT, ISSUER)).await, Err("invalid_client"));
}
