//! Two servers of two trust domains that are federated with each other: a call goes on from the one into the other.

use std::fs;

use lanyard::proto::Client;
use lanyard::proto::CreateClientRequest;
use lanyard::proto::CreateProtectedResourceRequest;
use lanyard::proto::Decision;
use lanyard::proto::Delegated;
use lanyard::proto::DenyReason;
use lanyard::proto::ExchangeTokenRequest;
use lanyard::proto::IntrospectTokenRequest;
use lanyard::proto::ProtectedResource;
use lanyard::proto::Receipts;
use lanyard::proto::TokenType;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::exchange_token_request::Subject;
use serde_json::Value;
use serde_json::json;
use tonic::Code;

use crate::exchange::support::claims;
use crate::support::calls::refusal;
use crate::support::check;
use crate::support::check::Answer;
use crate::support::check::Asked;
use crate::support::check::route;
use crate::support::http::Reply;
use crate::support::http::get;
use crate::support::http::post;
use crate::support::leaf::Leaf;
use crate::support::server::ISSUER;
use crate::support::server::ORDERS;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::spiffe_client;

const PARTNER: &str = "https://lanyard.other.example";
const CHECKOUT_AT: &str = "https://checkout.prod.example";
const FRONTEND: &str = "spiffe://prod.example/frontend";
const CHECKOUT: &str = "spiffe://prod.example/checkout";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const RECEIPT: &str = "urn:lanyard:params:oauth:token-type:presentation-receipt";
const TOKEN: &str = "/oauth2/token";

/// The server of prod.example, where the frontend calls the checkout, and that of other.example, where the orders are.
struct Domains {
    home: TestServer,
    partner: TestServer,
    frontend: Leaf,
    checkout: Leaf,
}

impl Domains {
    async fn new() -> Self {
        let home = TestServer::started(|setup| {
            setup.exchange = format!(
                "{{enabled: true}}\nchaining: {{to: [{{issuer: '{PARTNER}', clients: ['{CHECKOUT}'], \
                 subjects: ['spiffe://prod.example/*'], presented_at: ['{CHECKOUT_AT}'], \
                 grants: [{{needs: checkout.submit, gives: partner.order}}, {{needs: orders.read, gives: partner.look}}]}}]}}"
            );
        })
        .await;
        let partner = Self::partner(&home).await;
        let receipts = Receipts { exchangers: vec![CHECKOUT.to_owned()], ..Receipts::default() };
        let resource = ProtectedResource {
            audience: CHECKOUT_AT.to_owned(),
            scope: "checkout.submit".to_owned(),
            receipts: Some(receipts),
            ..ProtectedResource::default()
        };
        home.protect(resource).await.unwrap();
        let frontend = Client {
            audience: vec![CHECKOUT_AT.to_owned()],
            scope: "checkout.submit".to_owned(),
            ..spiffe_client(FRONTEND)
        };
        home.register(frontend).await.unwrap();
        let grant_types = ["client_credentials", EXCHANGE, JWT_BEARER].map(ToOwned::to_owned).to_vec();
        home.register(Client { grant_types, ..spiffe_client(CHECKOUT) }).await.unwrap();
        let (frontend, checkout) = (home.svid("/frontend"), home.svid("/checkout"));
        Self { home, partner, frontend, checkout }
    }

    /// The other server: it has the bundle of prod.example, the keys of its server, and the orders.
    async fn partner(home: &TestServer) -> TestServer {
        let mut setup = Setup { issuer: PARTNER.to_owned(), ..Setup::default() };
        setup.roles = "{admins: [{spiffe_id: spiffe://other.example/admin}], \
                       proxies: [{spiffe_id: spiffe://other.example/proxy, resources: ['*']}]}"
            .to_owned();
        setup.exchange = format!(
            "{{enabled: true}}\nchaining: {{from: [{{name: home, issuer: '{ISSUER}', jwks: home.json, \
             trust_domain: prod.example, clients: ['{CHECKOUT}', 'spiffe://prod.example/other'], \
             subjects: ['spiffe://prod.example/*'], audience: ['{ORDERS}'], \
             grants: [{{needs: partner.order, gives: 'orders.read orders.write'}}, {{needs: partner.look, gives: orders.read}}]}}]}}"
        );
        setup.write();
        fs::write(setup.path("ca.pem"), home.setup.ca.pem()).unwrap();
        fs::write(setup.path("home.json"), home.server.authority().keys().jwks()).unwrap();
        let yaml = fs::read_to_string(setup.path("lanyard.yaml")).unwrap();
        let own = yaml.replace("trust_domain: prod.example\n  bundles", "trust_domain: other.example\n  bundles");
        assert_ne!(yaml, own);
        fs::write(setup.path("lanyard.yaml"), own).unwrap();
        let partner = Box::pin(setup.start()).await.unwrap();
        let admin = partner.setup.other_ca.svid("spiffe://other.example/admin").issue();
        let delegated = Delegated { actors: vec![CHECKOUT.to_owned()], max_actors: 0, mode: String::new() };
        let orders =
            ProtectedResource { delegated: Some(delegated), routes: vec![route(&[], "/**", "")], ..check::orders() };
        let request = CreateProtectedResourceRequest { resource: Some(orders), ..Default::default() };
        partner.registry(&admin).create_protected_resource(request).await.unwrap();
        for name in [CHECKOUT, "spiffe://prod.example/other"] {
            let grant_types = ["client_credentials", JWT_BEARER].map(ToOwned::to_owned).to_vec();
            let client = Client { grant_types, scope: "orders.read".to_owned(), ..spiffe_client(name) };
            let request = CreateClientRequest { client: Some(client), ..Default::default() };
            partner.registry(&admin).create_client(request).await.unwrap();
        }
        partner
    }

    fn proxy(&self) -> Leaf {
        self.partner.setup.other_ca.svid("spiffe://other.example/proxy").issue()
    }

    /// The receipt of a presentation of the frontend's token at the checkout.
    async fn receipt(&self) -> String {
        let request = ValidateBindingRequest {
            access_token: self.home.token(&self.frontend).await,
            evidence: certificate_of(&self.frontend),
            audience: CHECKOUT_AT.to_owned(),
            scope: String::new(),
            receipt: true,
        };
        let validated = self.home.bindings(&self.home.svid("/proxy")).validate_binding(request).await.unwrap();
        validated.into_inner().receipt
    }

    /// What the checkout gets at home for going to the partner, over HTTP.
    async fn grant(&self) -> Value {
        let receipt = self.receipt().await;
        let form = [
            ("grant_type", EXCHANGE),
            ("client_id", CHECKOUT),
            ("subject_token", &receipt),
            ("subject_token_type", RECEIPT),
            ("requested_token_type", JWT),
            ("audience", PARTNER),
        ];
        self.home.send(&self.checkout, post(TOKEN, &form)).await.ok()
    }

    /// What a server says to a grant.
    async fn redeem(server: &TestServer, leaf: &Leaf, client_id: &str, grant: &str) -> Reply {
        let form = [("grant_type", JWT_BEARER), ("client_id", client_id), ("assertion", grant), ("resource", ORDERS)];
        server.send(leaf, post(TOKEN, &form)).await
    }
}

fn text(answer: &Value) -> String {
    answer["access_token"].as_str().unwrap().to_owned()
}

// draft-ietf-oauth-identity-chaining section 2
#[tokio::test]
async fn a_call_goes_on_in_another_trust_domain_and_its_resource_sees_for_whom() {
    let domains = Domains::new().await;
    let answer = domains.grant().await;
    assert_eq!((&answer["token_type"], &answer["issued_token_type"]), (&json!("N_A"), &json!(JWT)));
    assert_eq!((&answer["expires_in"], &answer["scope"]), (&json!(60), &json!("partner.order")));
    assert_eq!((answer.get("refresh_token"), &answer["cnf"]), (None, &claims(&text(&answer))["cnf"]));
    let Domains { home, partner, checkout, .. } = &domains;
    let answer = Domains::redeem(partner, checkout, CHECKOUT, &text(&answer)).await.ok();
    assert_eq!((&answer["token_type"], answer.get("issued_token_type")), (&json!("Bearer"), None));
    assert_eq!(answer["scope"], "orders.read orders.write");
    let token = text(&answer);
    let said = claims(&token);
    assert_eq!((&said["iss"], &said["sub"], &said["client_id"]), (&json!(PARTNER), &json!(FRONTEND), &json!(CHECKOUT)));
    assert_eq!((&said["act"], &said["cnf"]), (&json!({ "sub": CHECKOUT }), &answer["cnf"]));
    // At the orders of the other trust domain.
    let proxy = domains.proxy();
    let asked = || Asked::with(&token, checkout).to("POST", "/orders");
    let Answer::Through { set, .. } = partner.check_as(&proxy, asked()).await else { panic!("denied") };
    assert_eq!((set["x-lanyard-subject"].as_str(), set["x-lanyard-actor"].as_str()), (FRONTEND, CHECKOUT));
    let validated = |leaf: &Leaf| {
        let request = ValidateBindingRequest {
            access_token: token.clone(),
            evidence: certificate_of(leaf),
            audience: ORDERS.to_owned(),
            scope: "orders.write".to_owned(),
            receipt: false,
        };
        let mut bindings = partner.bindings(&proxy);
        async move { bindings.validate_binding(request).await.unwrap().into_inner() }
    };
    assert_eq!(validated(checkout).await.decision(), Decision::Allow);
    let other = home.svid("/checkout");
    assert_eq!(validated(&other).await.reason(), DenyReason::CertificateRenewed);
    let introspected = partner.send(&proxy, post("/oauth2/introspect", &[("token", &token)])).await.ok();
    assert_eq!((&introspected["active"], &introspected["sub"]), (&json!(true), &json!(FRONTEND)));
    let request = IntrospectTokenRequest { token: token.clone(), ..Default::default() };
    assert!(partner.tokens(&proxy).introspect_token(request).await.unwrap().into_inner().active);
    // At home it is nobody's token.
    let at_home = home.validate(&token, certificate_of(checkout)).await.unwrap();
    assert_eq!(at_home.decision(), Decision::Deny);
    // What each server says of itself.
    let metadata = async |server: &TestServer, leaf: &Leaf| {
        server.send(leaf, get("/.well-known/oauth-authorization-server")).await.json()
    };
    let (of_home, of_partner) = (metadata(home, checkout).await, metadata(partner, checkout).await);
    assert_eq!(of_home["identity_chaining_requested_token_types_supported"], json!([JWT]));
    assert_eq!(of_home["grant_types_supported"], json!(["client_credentials", EXCHANGE]));
    assert_eq!(of_partner.get("identity_chaining_requested_token_types_supported"), None);
    assert_eq!(of_partner["grant_types_supported"], json!(["client_credentials", EXCHANGE, JWT_BEARER]));
}

// X27
#[tokio::test]
async fn a_grant_is_good_at_its_server_for_its_client_over_its_certificate_and_once() {
    let domains = Domains::new().await;
    let Domains { home, partner, checkout, frontend } = &domains;
    let grant = text(&domains.grant().await);
    let invalid_grant = (400, "invalid_grant".to_owned());
    // At the server that made it, which takes no grants at all.
    assert_eq!(
        Domains::redeem(home, checkout, CHECKOUT, &grant).await.error(),
        (400, "unsupported_grant_type".to_owned())
    );
    // Over another certificate of the same client, by another client, by one that pretends, and by one that is none.
    let (again, other) = (home.svid("/checkout"), home.svid("/other"));
    assert_eq!(Domains::redeem(partner, &again, CHECKOUT, &grant).await.error(), invalid_grant);
    assert_eq!(Domains::redeem(partner, &other, "spiffe://prod.example/other", &grant).await.error(), invalid_grant);
    assert_eq!(Domains::redeem(partner, &other, CHECKOUT, &grant).await.error(), (401, "invalid_client".to_owned()));
    assert_eq!(Domains::redeem(partner, frontend, FRONTEND, &grant).await.error(), (401, "invalid_client".to_owned()));
    // What is no grant: an access token, a receipt, and the grant's beginning.
    let token = home.token(checkout).await;
    let receipt = domains.receipt().await;
    let mut answers = std::collections::BTreeSet::new();
    for wrong in [token.as_str(), receipt.as_str(), &grant[..grant.len() - 4], "garbage"] {
        let reply = Domains::redeem(partner, checkout, CHECKOUT, wrong).await;
        assert_eq!(reply.error(), invalid_grant, "{wrong}");
        let reference = reply.json()["reference"].as_str().unwrap().to_owned();
        answers.insert(reply.body.replace(&reference, ""));
    }
    // Once, and the second time is no other answer.
    Domains::redeem(partner, checkout, CHECKOUT, &grant).await.ok();
    let reply = Domains::redeem(partner, checkout, CHECKOUT, &grant).await;
    assert_eq!(reply.error(), invalid_grant);
    let reference = reply.json()["reference"].as_str().unwrap().to_owned();
    answers.insert(reply.body.replace(&reference, ""));
    assert_eq!(answers.len(), 1, "{answers:?}");
    // And not after its time.
    let late = text(&domains.grant().await);
    partner.advance(std::time::Duration::from_mins(1));
    partner.is_fresh_again().await;
    assert_eq!(Domains::redeem(partner, checkout, CHECKOUT, &late).await.error(), invalid_grant);
}

#[tokio::test]
async fn each_fault_of_a_form_about_another_domain_has_its_error() {
    let domains = Domains::new().await;
    let Domains { home, partner, checkout, .. } = &domains;
    let receipt = domains.receipt().await;
    let send = async |server: &TestServer, good: &[(&str, &str)], changed: &[(&str, &str)]| {
        let kept = good.iter().copied().filter(|(name, _)| changed.iter().all(|(other, _)| other != name));
        let form: Vec<(&str, &str)> = kept.chain(changed.iter().copied()).collect();
        server.send(checkout, post(TOKEN, &form)).await
    };
    let out = [
        ("grant_type", EXCHANGE),
        ("client_id", CHECKOUT),
        ("subject_token", receipt.as_str()),
        ("subject_token_type", RECEIPT),
        ("requested_token_type", JWT),
        ("resource", PARTNER),
    ];
    let of_itself: &[(&str, &str)] = &[
        ("subject_token", r#"{"sub":"spiffe://prod.example/checkout"}"#),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:unsigned_json"),
    ];
    send(home, &out, &[]).await.ok();
    assert_eq!(send(home, &out, of_itself).await.ok()["scope"], "partner.look");
    for (changed, error) in [
        (&[("resource", ORDERS)] as &[(&str, &str)], "invalid_target"),
        (&[("resource", "https://lanyard.other.example/")], "invalid_target"),
        (&[("resource", PARTNER), ("audience", ORDERS)], "invalid_target"),
        (&[("resource", "")], "invalid_request"),
        (&[("scope", "orders.read")], "invalid_scope"),
        (&[("subject_token", "garbage")], "invalid_request"),
        (&[("subject_token_type", JWT)], "invalid_request"),
        (
            &[("subject_token", "{}"), ("subject_token_type", "urn:ietf:params:oauth:token-type:unsigned_json")],
            "invalid_request",
        ),
        (&[("request_details", "{}")], "invalid_request"),
        (&[("actor_token_type", JWT)], "invalid_request"),
        (&[("authorization_details", "[]")], "invalid_authorization_details"),
    ] {
        assert_eq!(send(home, &out, changed).await.error(), (400, error.to_owned()), "{changed:?}");
    }
    // Where there is no other server, a grant is a type that is not issued.
    assert_eq!(send(partner, &out, &[]).await.error().1, "invalid_request");
    let grant = text(&domains.grant().await);
    let good = [("grant_type", JWT_BEARER), ("client_id", CHECKOUT), ("assertion", grant.as_str())];
    for (changed, error) in [
        (&[("assertion", "")] as &[(&str, &str)], "invalid_request"),
        (&[("assertion", grant.as_str()), ("assertion", grant.as_str())], "invalid_request"),
        (&[("client_id", "")], "invalid_request"),
        (&[("resource", CHECKOUT_AT)], "invalid_target"),
        (&[("scope", "orders.admin")], "invalid_scope"),
        (&[("authorization_details", "[]")], "invalid_authorization_details"),
    ] {
        assert_eq!(send(partner, &good, changed).await.error(), (400, error.to_owned()), "{changed:?}");
    }
    assert_eq!(send(partner, &good, &[("scope", "orders.read")]).await.ok()["scope"], "orders.read");
}

// The same over gRPC.
#[tokio::test]
async fn grpc_makes_and_takes_grants_as_http_does() {
    let domains = Domains::new().await;
    let Domains { home, partner, checkout, .. } = &domains;
    let over_http = text(&domains.grant().await);
    let asking = |subject: Subject| ExchangeTokenRequest {
        subject: Some(subject),
        requested: TokenType::JwtGrant.into(),
        audience: vec![PARTNER.to_owned()],
        ..ExchangeTokenRequest::default()
    };
    let request = asking(Subject::Receipt(domains.receipt().await));
    let made = home.tokens(checkout).exchange_token(request).await.unwrap().into_inner();
    assert_eq!((made.issued(), made.bound_to), (TokenType::JwtGrant, checkout.thumbprint().as_bytes().to_vec()));
    let said = |token: &str| {
        let mut said = claims(token);
        said.remove("jti").unwrap();
        said
    };
    assert_eq!(said(&made.access_token), said(&over_http));
    let sub = prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(CHECKOUT.to_owned())) };
    let json = prost_types::Struct { fields: [("sub".to_owned(), sub)].into() };
    let own = home.tokens(checkout).exchange_token(asking(Subject::UnsignedJson(json))).await.unwrap().into_inner();
    assert_eq!((own.scope.as_str(), claims(&own.access_token)["sub"].as_str()), ("partner.look", Some(CHECKOUT)));
    let using = |grant: &str| ExchangeTokenRequest {
        subject: Some(Subject::JwtGrant(grant.to_owned())),
        audience: vec![ORDERS.to_owned()],
        ..ExchangeTokenRequest::default()
    };
    let mut tokens = partner.tokens(checkout);
    let issued = tokens.exchange_token(using(&made.access_token)).await.unwrap().into_inner();
    assert_eq!(issued.issued(), TokenType::AccessToken);
    let over_http = text(&Domains::redeem(partner, checkout, CHECKOUT, &over_http).await.ok());
    let without_ids = |token: &str| {
        let mut said = said(token);
        said["lanyard_from"][0]["jti"] = json!("");
        said
    };
    assert_eq!(without_ids(&issued.access_token), without_ids(&over_http));
    // Each refusal by its code.
    let codes = |refused: (Code, String)| (refused.0, refused.1);
    let again = codes(refusal(tokens.exchange_token(using(&made.access_token)).await));
    assert_eq!((again.0, again.1.as_str()), (Code::InvalidArgument, "INVALID_GRANT"));
    let request = ExchangeTokenRequest { requested: TokenType::TxnToken.into(), ..using("x") };
    let refused = codes(refusal(tokens.exchange_token(request).await));
    assert_eq!((refused.0, refused.1.as_str()), (Code::InvalidArgument, "INVALID_REQUEST"));
    let refused = codes(refusal(tokens.exchange_token(asking(Subject::Receipt("x".to_owned()))).await));
    assert_eq!((refused.0, refused.1.as_str()), (Code::FailedPrecondition, "CHAINING_NOT_ENABLED"));
}
