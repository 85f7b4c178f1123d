//! One decision in several voices: introspection over HTTP and gRPC, and Envoy's check, say of each token what
//! `ValidateBinding` says.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::proto::Client;
use lanyard::proto::Decision;
use lanyard::proto::DenyReason;
use lanyard::proto::IntrospectTokenRequest;
use lanyard::proto::ProtectedResource;
use lanyard::proto::RevokeTokenRequest;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::binding_service_client::BindingServiceClient;
use lanyard::proto::revoke_token_request::Target;
use lanyard::proto::token_service_client::TokenServiceClient;
use lanyard::proto::validate_binding_request::Evidence;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use tonic::Code;
use tonic::transport::Channel;

use crate::support::authority::ready;
use crate::support::ca::self_signed;
use crate::support::calls::opened;
use crate::support::calls::pki_client;
use crate::support::calls::refusal;
use crate::support::calls::self_signed_client;
use crate::support::check;
use crate::support::check::Asked;
use crate::support::check::route;
use crate::support::edge::Edge;
use crate::support::http::Http;
use crate::support::http::post;
use crate::support::leaf::Leaf;
use crate::support::local::listen_locally;
use crate::support::server::ORDERS;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::spiffe_client;

const BILLING: &str = "https://billing.prod.example";
/// All that any token here is for.
const EVERY: &[&str] = &[ORDERS, BILLING, "https://x.example", "https://orders.prod.example/"];
const INTROSPECT: &str = "/oauth2/introspect";

/// One who may ask, what it calls itself, and for which audiences it is answered.
struct Asker {
    client_id: &'static str,
    audiences: &'static [&'static str],
    http: Http,
    tokens: TokenServiceClient<Channel>,
    /// Those of a proxy for the same audiences, where it is none itself.
    bindings: BindingServiceClient<Channel>,
    /// Those of a proxy on the server's machine.
    local: BindingServiceClient<Channel>,
}

impl Asker {
    async fn new(
        server: &TestServer,
        leaf: &Leaf,
        client_id: &'static str,
        proxy: &str,
        audiences: &'static [&'static str],
    ) -> Self {
        let bindings = server.bindings(&server.svid(proxy));
        let (tokens, local) = (server.tokens(leaf), server.local_bindings());
        Self { client_id, audiences, http: server.http(leaf).await, tokens, bindings, local }
    }

    /// Whether `ValidateBinding` allows the use at one of the audiences, and if not, why not at the first.
    async fn allows(&mut self, token: &str, evidence: Option<Evidence>) -> Result<(), DenyReason> {
        let mut reason = None;
        for audience in self.audiences {
            let (access_token, audience) = (token.to_owned(), (*audience).to_owned());
            let request = ValidateBindingRequest {
                access_token,
                evidence: evidence.clone(),
                audience,
                scope: String::new(),
                receipt: false,
            };
            let decision = self.bindings.validate_binding(request.clone()).await.unwrap().into_inner();
            let local = self.local.validate_binding(request).await.unwrap().into_inner();
            assert_eq!((local.decision, local.reason), (decision.decision, decision.reason), "{token}");
            match decision.decision() {
                Decision::Allow => return Ok(()),
                Decision::Deny => reason = reason.or(Some(decision.reason())),
                Decision::Unspecified => panic!("no decision"),
            }
        }
        Err(reason.unwrap())
    }

    /// The confirmation of the token, where introspection finds it active: the same by both voices.
    async fn confirmed(&mut self, token: &str) -> Option<String> {
        let form = [("token", token), ("client_id", self.client_id)];
        let answer = self.http.send(post(INTROSPECT, &form)).await.ok();
        let request = IntrospectTokenRequest {
            token: token.to_owned(),
            client_id: self.client_id.to_owned(),
            ..Default::default()
        };
        let grpc = self.tokens.introspect_token(request).await.unwrap().into_inner();
        assert_eq!(answer["active"], json!(grpc.active), "{token}");
        if !grpc.active {
            assert_eq!((answer, grpc.claims), (json!({ "active": false }), None));
            return None;
        }
        answer["cnf"]["x5t#S256"].as_str().map(ToOwned::to_owned)
    }
}

/// A server with tokens whose signing key is at hand.
struct TokenFixture {
    server: TestServer,
    edge: Edge,
    askers: Vec<Asker>,
    /// The first of them, at an edge.
    at_edge: Vec<Asker>,
    leaf: Leaf,
    token: String,
    others: Vec<Leaf>,
}

impl TokenFixture {
    async fn new() -> Self {
        let server = TestServer::started(|setup| {
            setup.tokens = "{unbound: true}".to_owned();
            listen_locally(setup, "resources: ['*']");
        })
        .await;
        let orders = Client { tls_client_auth_san_dns: "orders.corp.example".to_owned(), ..pki_client(ORDERS) };
        server.register(orders).await.unwrap();
        let orders = server.setup.corp.client_certificate().dns("orders.corp.example").issue();
        server.protect(ProtectedResource { routes: vec![route(&[], "/**", "")], ..check::orders() }).await.unwrap();
        let askers = vec![
            Asker::new(&server, &server.svid("/orders-proxy"), "", "/orders-proxy", &[ORDERS]).await,
            Asker::new(&server, &server.svid("/proxy"), "", "/proxy", EVERY).await,
            Asker::new(&server, &server.svid("/admin"), "", "/proxy", EVERY).await,
            Asker::new(&server, &orders, ORDERS, "/orders-proxy", &[ORDERS]).await,
        ];
        let at_edge = |setup: &mut Setup| {
            setup.tokens = "{unbound: true}".to_owned();
            listen_locally(setup, "resources: ['*']");
        };
        let edge = Edge::start(&server, at_edge).await;
        let at_edge = vec![
            Asker::new(&edge.running, &server.svid("/orders-proxy"), "", "/orders-proxy", &[ORDERS]).await,
            Asker::new(&edge.running, &server.svid("/proxy"), "", "/proxy", EVERY).await,
        ];
        let leaf = server.workload("/good").await;
        let token = server.token(&leaf).await;
        let others = vec![server.workload("/thief").await, server.svid("/good"), self_signed("thief").issue()];
        Self { server, edge, askers, at_edge, leaf, token, others }
    }

    /// Holds all voices to one answer about a token that is bound to `leaf`, and tells what it is at the orders resource.
    async fn evaluate(&mut self, name: &str, token: &str, leaf: &Leaf) -> Option<DenyReason> {
        let mut first = None;
        self.edge.knows_what(&self.server).await;
        let mut at_edge = self.at_edge.iter_mut();
        for asker in &mut self.askers {
            let confirmed = asker.confirmed(token).await;
            let own = asker.allows(token, certificate_of(leaf)).await;
            assert_eq!(confirmed.is_some(), own.is_ok(), "{name}: {own:?}");
            if let Some(at_edge) = at_edge.next() {
                assert_eq!(at_edge.confirmed(token).await, confirmed, "{name}, at an edge");
                assert_eq!(at_edge.allows(token, certificate_of(leaf)).await, own, "{name}, at an edge");
            }
            if first.is_some() {
                continue;
            }
            first = Some(own);
            for other in self.others.iter().chain([leaf]) {
                checked(&self.server, name, token, other).await;
                let by_hand = confirmed.as_deref() == Some(other.thumbprint().to_string().as_str());
                let whole = asker.allows(token, certificate_of(other)).await;
                assert_eq!(whole.is_ok(), by_hand, "{name}: {whole:?}");
                let thumbprint = Evidence::CertificateThumbprint(other.thumbprint().as_bytes().to_vec());
                let hash = asker.allows(token, Some(thumbprint)).await;
                assert_eq!(hash.is_ok(), by_hand, "{name}: {hash:?}");
            }
        }
        first.unwrap().err()
    }

    fn sign(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let keys = self.server.server.authority().keys();
        format!(
            "{message}.{}",
            URL_SAFE_NO_PAD.encode(ready(keys.active().unwrap().signer().sign(message.as_bytes())).unwrap())
        )
    }

    /// The good token with members of its header and its claims set, or, where null, left out.
    fn crafted(&self, header: &Value, claims: &Value) -> String {
        let (good_header, good_claims) = opened(&self.token);
        self.sign(&changed(good_header, header), &changed(good_claims, claims))
    }
}

/// Holds Envoy's check at the orders resource to what `ValidateBinding` says there.
async fn checked(server: &TestServer, name: &str, token: &str, leaf: &Leaf) {
    let validated = server.validate(token, certificate_of(leaf)).await.unwrap();
    let checked = server.check(Asked::with(token, leaf).to("GET", "/any")).await;
    let denied = validated.decision() == Decision::Deny;
    assert_eq!(checked.http() != 200, denied, "{name}: {checked:?}");
    // A value that is not shaped like a token is refused before it is evaluated.
    if denied && checked.reason() != "AUTHORIZATION_MALFORMED" {
        let reason = validated.reason().as_str_name();
        assert_eq!(Some(checked.reason()), reason.strip_prefix("DENY_REASON_"), "{name}");
    }
}

fn changed(mut object: Value, changes: &Value) -> String {
    let members: &mut Map<String, Value> = object.as_object_mut().unwrap();
    members.extend(changes.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
    object.to_string()
}

#[tokio::test]
async fn all_protocols_agree_about_tokens_with_one_fault_and_the_nearest_without() {
    let mut fixture = TokenFixture::new().await;
    let now = fixture.server.now().0;
    let thief = fixture.others[0].thumbprint().to_string();
    let plain = json!({});
    let cases = [
        ("good", plain.clone(), plain.clone(), None),
        ("on the last second", plain.clone(), json!({ "exp": now + 1 }), None),
        ("expired now", plain.clone(), json!({ "exp": now }), Some(DenyReason::TokenExpired)),
        ("expired long ago", plain.clone(), json!({ "exp": 1 }), Some(DenyReason::TokenExpired)),
        ("nearly valid", plain.clone(), json!({ "nbf": now + 5 }), None),
        ("not yet valid", plain.clone(), json!({ "nbf": now + 6 }), Some(DenyReason::TokenNotYetValid)),
        ("another issuer", plain.clone(), json!({ "iss": "https://other.example" }), Some(DenyReason::WrongIssuer)),
        (
            "the issuer with a slash",
            plain.clone(),
            json!({ "iss": "https://lanyard.prod.example/" }),
            Some(DenyReason::WrongIssuer),
        ),
        ("two audiences", plain.clone(), json!({ "aud": [BILLING, ORDERS] }), None),
        ("another audience", plain.clone(), json!({ "aud": "https://x.example" }), Some(DenyReason::WrongAudience)),
        (
            "the audience with a slash",
            plain.clone(),
            json!({ "aud": format!("{ORDERS}/") }),
            Some(DenyReason::WrongAudience),
        ),
        ("unbound", plain.clone(), json!({ "cnf": null }), Some(DenyReason::NotBound)),
        ("bound to nothing", plain.clone(), json!({ "cnf": {} }), Some(DenyReason::NotBound)),
        ("bound to a key", plain.clone(), json!({ "cnf": { "jkt": thief } }), Some(DenyReason::NotBound)),
        (
            "an unknown client",
            plain.clone(),
            json!({ "client_id": "spiffe://prod.example/nobody" }),
            Some(DenyReason::ClientUnknown),
        ),
        (
            "another client",
            plain.clone(),
            json!({ "client_id": "spiffe://prod.example/thief" }),
            Some(DenyReason::ClientRecreated),
        ),
        ("another creation", plain.clone(), json!({ "lanyard_creation": "AAAA" }), Some(DenyReason::ClientRecreated)),
        ("no scope", plain.clone(), json!({ "scope": null }), None),
        ("a malformed scope", plain.clone(), json!({ "scope": "a  b" }), Some(DenyReason::TokenMalformed)),
        ("no jti", plain.clone(), json!({ "jti": null }), Some(DenyReason::TokenMalformed)),
        ("no sub", plain.clone(), json!({ "sub": null }), Some(DenyReason::TokenMalformed)),
        ("no exp", plain.clone(), json!({ "exp": null }), Some(DenyReason::TokenMalformed)),
        ("exp in text", plain.clone(), json!({ "exp": "2000000000" }), Some(DenyReason::TokenMalformed)),
        ("aud a number", plain.clone(), json!({ "aud": 7 }), Some(DenyReason::TokenMalformed)),
        ("typ in another case", json!({ "typ": "AT+JWT" }), plain.clone(), None),
        ("typ in full", json!({ "typ": "application/at+jwt" }), plain.clone(), None),
        ("typ JWT", json!({ "typ": "JWT" }), plain.clone(), Some(DenyReason::TokenType)),
        (
            "typ of an introspection",
            json!({ "typ": "token-introspection+jwt" }),
            plain.clone(),
            Some(DenyReason::TokenType),
        ),
        ("no typ", json!({ "typ": null }), plain.clone(), Some(DenyReason::TokenType)),
        ("another kid", json!({ "kid": "x" }), plain.clone(), Some(DenyReason::UnknownKey)),
        ("another algorithm", json!({ "alg": "RS256" }), plain.clone(), Some(DenyReason::UnknownKey)),
    ];
    for (name, header, claims, expected) in cases {
        let token = fixture.crafted(&header, &claims);
        let leaf = fixture.leaf.clone();
        assert_eq!(fixture.evaluate(name, &token, &leaf).await, expected, "{name}");
    }
}

#[tokio::test]
async fn all_protocols_agree_about_texts_that_are_not_our_tokens() {
    let mut fixture = TokenFixture::new().await;
    let foreign = TestServer::start().await;
    let foreign = foreign.token(&foreign.workload("/good").await).await;
    let (message, signature) = fixture.token.rsplit_once('.').unwrap();
    let (header, claims) = opened(&fixture.token);
    let flipped = if signature.starts_with('A') { 'B' } else { 'A' };
    let texts = [
        ("garbage", "garbage".to_owned()),
        ("two dots", "a.b.c".to_owned()),
        ("no signature", format!("{message}.")),
        ("alg none", fixture.crafted(&json!({ "alg": "none" }), &json!({}))),
        ("HMAC", fixture.crafted(&json!({ "alg": "HS256" }), &json!({}))),
        ("a critical header", fixture.crafted(&json!({ "crit": ["x"], "x": 1 }), &json!({}))),
        ("an altered signature", format!("{message}.{flipped}{}", &signature[1..])),
        ("another's signature", format!("{message}.{}", foreign.rsplit_once('.').unwrap().1)),
        ("another server's", foreign.clone()),
        ("cut", fixture.token[..fixture.token.len() - 1].to_owned()),
        ("a fourth part", format!("{}.x", fixture.token)),
        ("padded", format!("{}=", fixture.token)),
        ("a space behind", format!("{} ", fixture.token)),
        ("the scheme in front", format!("Bearer {}", fixture.token)),
        ("claims that are no object", fixture.sign(&header.to_string(), "[]")),
        ("claims that are no JSON", fixture.sign(&header.to_string(), "{")),
        ("a header that is no object", fixture.sign("7", &claims.to_string())),
        ("larger than any", fixture.crafted(&json!({}), &json!({ "x": "a".repeat(20_000) }))),
    ];
    let leaf = fixture.leaf.clone();
    for (name, text) in texts {
        assert!(fixture.evaluate(name, &text, &leaf).await.is_some(), "{name}");
    }
    let token = fixture.token.clone();
    assert_eq!(fixture.evaluate("good", &token, &leaf).await, None);
}

#[tokio::test]
async fn all_protocols_agree_about_tokens_whose_client_or_certificate_has_changed_since() {
    let mut fixture = TokenFixture::new().await;
    let mut expected = Vec::new();
    for (name, reason) in [
        ("untouched", None),
        ("updated", None),
        ("deleted", Some(DenyReason::ClientUnknown)),
        ("disabled", Some(DenyReason::ClientDisabled)),
        ("recreated", Some(DenyReason::ClientRecreated)),
        ("client-revoked", Some(DenyReason::ClientRevoked)),
        ("certificate-revoked", Some(DenyReason::CertificateRevoked)),
        ("token-revoked", Some(DenyReason::TokenRevoked)),
        ("issued-revoked", Some(DenyReason::TokenRevoked)),
        // What was issued before a client was revoked stays refused.
        ("revoked-and-lifted", Some(DenyReason::TokenRevoked)),
    ] {
        let server = &fixture.server;
        let id = format!("spiffe://prod.example/{name}");
        let registered = server.register(spiffe_client(&id)).await.unwrap();
        let leaf = server.svid(&format!("/{name}"));
        let token = server.token(&leaf).await;
        let thumbprint = leaf.thumbprint().as_bytes().to_vec();
        let mut targets = Vec::new();
        match name {
            "updated" => drop(server.update(Client { scope: "orders.read".to_owned(), ..registered }).await.unwrap()),
            "disabled" => drop(server.update(Client { disabled: true, ..registered }).await.unwrap()),
            "deleted" => server.delete(&id).await,
            "recreated" => {
                server.delete(&id).await;
                server.register(spiffe_client(&id)).await.unwrap();
            }
            "client-revoked" => targets.push((Target::RevokedClientId(id), false)),
            "certificate-revoked" => targets.push((Target::CertificateThumbprint(thumbprint), false)),
            "token-revoked" => targets.push((Target::Token(token.clone()), false)),
            "issued-revoked" => targets.push((Target::IssuedToClientId(id), false)),
            "revoked-and-lifted" => {
                targets.extend([false, true].map(|lift| (Target::RevokedClientId(id.clone()), lift)));
            }
            _ => {}
        }
        for (target, lift) in targets {
            let request = RevokeTokenRequest { target: Some(target), lift, ..RevokeTokenRequest::default() };
            server.tokens(&server.svid("/admin")).revoke_token(request).await.unwrap();
        }
        expected.push((name, token, leaf, reason));
    }
    for (name, token, leaf, reason) in &expected {
        assert_eq!(fixture.evaluate(name, token, leaf).await, *reason, "{name}");
    }
    // And all of them together once they have expired.
    fixture.server.advance(std::time::Duration::from_mins(5));
    for (name, token, leaf, _) in &expected {
        assert_eq!(fixture.evaluate(name, token, leaf).await, Some(DenyReason::TokenExpired), "{name}");
    }
}

#[tokio::test]
async fn all_protocols_agree_about_tokens_of_clients_of_each_kind() {
    let mut fixture = TokenFixture::new().await;
    let server = &fixture.server;
    let own = self_signed("own").issue();
    server.register(self_signed_client("own", &own.pem())).await.unwrap();
    let shop = Client { tls_client_auth_san_dns: "shop.corp.example".to_owned(), ..pki_client("shop") };
    server.register(shop).await.unwrap();
    let pattern = Client {
        client_id: "pattern".to_owned(),
        spiffe_id: "spiffe://prod.example/ns/*".to_owned(),
        ..spiffe_client("")
    };
    server.register(pattern).await.unwrap();
    let billing = Client { audience: vec![BILLING.to_owned()], ..spiffe_client("spiffe://prod.example/billing") };
    server.register(billing).await.unwrap();
    let unbound = Client {
        tls_client_certificate_bound_access_tokens: Some(false),
        ..spiffe_client("spiffe://prod.example/unbound")
    };
    server.register(unbound).await.unwrap();
    let shop = server.setup.corp.client_certificate().dns("shop.corp.example").issue();
    let cases = [
        ("self-signed", own, "own", None),
        ("a PKI's", shop, "shop", None),
        ("a pattern's", server.svid("/ns/shop"), "", None),
        // Allowed at another resource, for those who speak for it.
        ("for another resource", server.svid("/billing"), "", Some(DenyReason::WrongAudience)),
        ("unbound", server.svid("/unbound"), "", Some(DenyReason::NotBound)),
    ];
    let mut tokens = Vec::new();
    for (_, leaf, client_id, _) in &cases {
        tokens.push(server.issue_as(leaf, client_id).await.unwrap().access_token);
    }
    for ((name, leaf, _, expected), token) in cases.iter().zip(tokens) {
        assert_eq!(fixture.evaluate(name, &token, leaf).await, *expected, "{name}");
    }
}

#[tokio::test]
async fn no_protocol_decides_about_no_token() {
    let mut fixture = TokenFixture::new().await;
    let asker = &mut fixture.askers[0];
    assert_eq!(asker.http.send(post(INTROSPECT, &[("token", "")])).await.error(), (400, "invalid_request".to_owned()));
    let introspected = refusal(asker.tokens.introspect_token(IntrospectTokenRequest::default()).await);
    assert_eq!(introspected.0, Code::InvalidArgument);
    let request = ValidateBindingRequest { audience: ORDERS.to_owned(), ..ValidateBindingRequest::default() };
    assert_eq!(refusal(asker.bindings.validate_binding(request).await).0, Code::InvalidArgument);
}
