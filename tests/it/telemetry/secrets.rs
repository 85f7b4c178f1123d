//! Secrets are planted wherever a caller or an operator puts some, and looked for in all that comes out of a server and of the
//! command line at its most talkative: the log, traces, metrics, errors.

use std::fs;

use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::Method;
use axum::http::header::AUTHORIZATION;
use axum::http::header::COOKIE;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::authority::decision::JWT_SPIFFE;
use lanyard::proto::AskedIdentity;
use lanyard::proto::Client;
use lanyard::proto::CreateClientRequest;
use lanyard::proto::CreateProtectedResourceRequest;
use lanyard::proto::ExplainCheckRequest;
use lanyard::proto::IntrospectTokenRequest;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::ProtectedResource;
use lanyard::proto::Receipts;
use lanyard::proto::RevokeTokenRequest;
use lanyard::proto::RouteTxn;
use lanyard::proto::TxnRule;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use lanyard::proto::explanation_service_client::ExplanationServiceClient;
use lanyard::proto::revoke_token_request::Target;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpStream;
use tonic::Request;
use tonic::Status;

use crate::support::binding_stream::BindingStream;
use crate::support::calls::use_of;
use crate::support::check::Answer;
use crate::support::check::Asked;
use crate::support::check::answer;
use crate::support::check::orders;
use crate::support::child::real_time;
use crate::support::collector::Collector;
use crate::support::dcr::CHECKOUT;
use crate::support::dcr::JSON;
use crate::support::dcr::REGISTER;
use crate::support::dcr::metadata;
use crate::support::dcr::operator_limit;
use crate::support::http::Http;
use crate::support::http::Reply;
use crate::support::http::get;
use crate::support::http::post;
use crate::support::http::raw;
use crate::support::leaf::Leaf;
use crate::support::observed::Observed;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::run_with;
use crate::support::process::text;
use crate::support::server::ORDERS;
use crate::support::server::certificate_of;
use crate::support::server::spiffe_client;
use crate::support::test_process::Chance;

const TOKEN: &str = "/oauth2/token";

/// A question about a request of an order.
fn explained_check() -> ExplainCheckRequest {
    let [method, path, resource] = ["GET", "/orders/1", ORDERS].map(str::to_owned);
    ExplainCheckRequest { method, path, resource, ..ExplainCheckRequest::default() }
}

/// The planted secrets, and the texts that are searched for them: responses, metrics, traces, logs and command output.
struct Secrets {
    chance: Chance,
    /// By what it is, with the texts in which it would be found.
    planted: Vec<(&'static str, Vec<String>)>,
    heard: Vec<(&'static str, String)>,
}

impl Secrets {
    /// A new secret that occurs nowhere else.
    fn made(&mut self, what: &'static str) -> String {
        let secret = format!("planted{:08x}{:08x}", self.chance.below(1 << 31), self.chance.below(1 << 31));
        self.plant(what, &secret);
        secret
    }

    fn plant(&mut self, what: &'static str, secret: &str) {
        let hex = hex::encode(secret);
        let written = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
        let octets = format!("{:?}", secret.as_bytes());
        let octets = octets.trim_matches(['[', ']']).to_owned();
        let forms = [secret.to_owned(), STANDARD.encode(secret), URL_SAFE_NO_PAD.encode(secret), hex, written, octets];
        self.planted.push((what, forms.into()));
    }

    /// A token may be found by what it says, and by its signature.
    fn plant_token(&mut self, what: &'static str, token: &str) {
        self.plant(what, token);
        let parts = token.split('.').skip(1).map(str::to_owned);
        self.planted.last_mut().unwrap().1.extend(parts);
    }

    /// What was answered to somebody who has no right to more.
    fn hear<T>(&mut self, answer: &Result<T, Status>) {
        if let Err(status) = answer {
            self.heard.push(("a status", format!("{status:?} {}", String::from_utf8_lossy(status.details()))));
        }
    }

    fn read(&mut self, reply: &Reply) {
        if reply.status >= 400 {
            self.heard.push(("an HTTP answer", format!("{:?}", (&reply.headers, &reply.body))));
        }
    }

    /// Which secrets were found, and where.
    fn found(&self) -> Vec<(&'static str, &'static str, String)> {
        let mut found = Vec::new();
        for (what, forms) in &self.planted {
            for (place, text) in &self.heard {
                if let Some(at) = forms.iter().find_map(|form| text.find(form)) {
                    let start = text[..at].rfind('\n').map_or(0, |before| before + 1);
                    let line: String = text[start..].chars().take(400).collect();
                    found.push((*what, *place, line));
                }
            }
        }
        found
    }
}

#[tokio::test]
async fn of_200_secrets_none_is_in_the_log_the_traces_the_metrics_or_any_error() {
    let mut secrets = Secrets { chance: Chance::seeded(Chance::new_seed()), planted: Vec::new(), heard: Vec::new() };
    let collector = Collector::start();
    let mut setup = real_time();
    "own-identity".clone_into(&mut setup.registration);
    let seal = STANDARD.encode(format!("{:>32}", secrets.chance.below(1 << 31)));
    secrets.plant("a key-encryption key", &seal);
    "{enabled: true}\ntxn_tokens: {trust_domain: prod.example}".clone_into(&mut setup.exchange);
    setup.keys = format!("{{key_encryption_key: '{seal}'}}");
    let lines = format!("{}log: {{level: trace, format: json}}\n", collector.section(""));
    let server = Observed::start_on(setup, &lines, &[]);
    let key = fs::read_to_string(server.setup.path("server-key.pem")).unwrap();
    secrets.plant("a private key", key.lines().nth(1).unwrap());

    let own = server.svid("/ns/shop/checkout");
    let admin = server.svid("/admin");
    let shop = CreateClientRequest { client: Some(operator_limit()), ..Default::default() };
    server.registry(&admin).create_client(shop).await.unwrap();
    let receipts = Some(Receipts { exchangers: vec![CHECKOUT.to_owned()], ..Receipts::default() });
    let mut orders = ProtectedResource { receipts, txn_token: "accept".to_owned(), ..orders() };
    let details = [("order".to_owned(), "{id}".to_owned())].into();
    orders.routes[0].txn = Some(RouteTxn { scope: "order.read".to_owned(), details, ..RouteTxn::default() });
    let resource = CreateProtectedResourceRequest { resource: Some(orders), ..Default::default() };
    server.registry(&admin).create_protected_resource(resource).await.unwrap();

    good_tokens_are_used(&server, &own, &mut secrets).await;
    bad_tokens_are_used(&server, &own, &mut secrets).await;
    credentials_that_we_do_not_take_are_sent(&server, &own, &mut secrets).await;
    clients_register_themselves(&server, &own, &mut secrets).await;
    transactions_are_asked_for(&server, &mut secrets).await;
    commands_are_given_secrets(&server, &own, &mut secrets);

    let mut ops = Http::one(TcpStream::connect(server.ops).await.unwrap()).await;
    let page = ops.send(get("/metrics")).await;
    assert!(page.body.contains("lanyard_tokens_issued_total"), "{page:?}");
    secrets.heard.push(("the metrics", page.body));
    collector.until(|| (collector.spans().len() > 300).then_some(())).await;
    let started = server.started.join("\n");
    let (code, log) = server.process.end_by("TERM");
    assert_eq!(code, Some(0), "{log}");
    secrets.heard.push(("the traces", format!("{:?}", collector.spans())));
    secrets.heard.push(("the log", format!("{started}\n{log}")));

    let found = secrets.found();
    assert!(found.is_empty(), "{found:#?}");
    assert!(secrets.planted.len() >= 200, "{} were planted", secrets.planted.len());
    // There is something to be found in, and what is there is found.
    for (place, expected) in
        [("the log", "token issued"), ("the log", "check allowed"), ("the traces", "lanyard.client_id")]
    {
        let said = secrets.heard.iter().any(|(heard, text)| *heard == place && text.contains(expected));
        assert!(said, "nothing of {expected} in {place}");
    }
    secrets.planted = vec![("a name, which is none", vec![CHECKOUT.to_owned()])];
    assert!(secrets.found().iter().any(|(_, place, _)| *place == "the log"));
}

/// Tokens that are issued, and used over every protocol, correctly and incorrectly.
async fn good_tokens_are_used(server: &Observed, own: &Leaf, secrets: &mut Secrets) {
    let (proxy, thief) = (server.svid("/proxy"), server.svid("/ns/shop/thief"));
    let mut tokens = server.tokens(own);
    let mut bindings = server.bindings(&proxy);
    let mut checks = AuthorizationClient::new(server.channel(&proxy));
    let mut http = server.http(own).await;
    let mut stream = BindingStream::open(server.bindings(&proxy)).await;
    for round in 0..40 {
        let token = if round % 2 == 0 {
            tokens.issue_token(IssueTokenRequest::default()).await.unwrap().into_inner().access_token
        } else {
            let form = [("grant_type", "client_credentials"), ("client_id", CHECKOUT), ("resource", ORDERS)];
            http.send(post(TOKEN, &form)).await.ok()["access_token"].as_str().unwrap().to_owned()
        };
        secrets.plant_token("a token", &token);
        for leaf in [own, &thief] {
            let asked = ValidateBindingRequest { evidence: certificate_of(leaf), ..use_of(&token) };
            stream.ask(&asked).await.unwrap();
            let evaluated = bindings.validate_binding(asked).await;
            assert!(evaluated.is_ok(), "{evaluated:?}");
            let checked = checks.check(Asked::with(&token, leaf).message()).await.unwrap().into_inner();
            if let Answer::Through { set, .. } = answer(&checked) {
                // It comes back as a client might send it, and as what it is not.
                let receipt = &set["x-lanyard-receipt"];
                // The name of its key is in the log.
                secrets.plant("a receipt", receipt);
                let parts = receipt.split('.').skip(2).map(str::to_owned);
                secrets.planted.last_mut().unwrap().1.extend(parts);
                let sent = Asked::with(&token, &thief).header("x-lanyard-receipt", receipt);
                checks.check(sent.message()).await.unwrap();
                // What was minted is verified, and refused where it is not alone.
                let minted = &set["txn-token"];
                secrets.plant_token("a minted transaction token", minted);
                for line in [minted.clone(), format!("{minted}, {minted}"), format!("{minted}x")] {
                    let sent = Asked::with(&token, leaf).to("GET", "/whoami").header("txn-token", &line);
                    checks.check(sent.message()).await.unwrap();
                }
                secrets.hear(&bindings.validate_binding(use_of(receipt)).await);
            }
        }
        let asked = IntrospectTokenRequest { token: token.clone(), ..IntrospectTokenRequest::default() };
        server.tokens(&proxy).introspect_token(asked).await.unwrap();
        secrets.read(&http.send(post("/oauth2/introspect", &[("token", &token), ("client_id", CHECKOUT)])).await);
        let target = Some(Target::Token(token.clone()));
        let revoked = server.tokens(&thief).revoke_token(RevokeTokenRequest { target, ..Default::default() }).await;
        secrets.hear(&revoked);
        secrets.read(&http.send(post("/oauth2/revoke", &[("token", &token), ("client_id", CHECKOUT)])).await);
    }
}

/// What is no token, in each place where one could stand.
async fn bad_tokens_are_used(server: &Observed, own: &Leaf, secrets: &mut Secrets) {
    let proxy = server.svid("/proxy");
    let mut checks = AuthorizationClient::new(server.channel(&proxy));
    let mut http = server.http(own).await;
    for _ in 0..10 {
        let token = secrets.made("a bad token");
        secrets.hear(&server.bindings(&proxy).validate_binding(use_of(&token)).await);
        let access_token = secrets.made("a bad token, explained");
        let identity = AskedIdentity { certificates: vec![own.certificate().to_vec()], ..Default::default() };
        let asked = ExplainCheckRequest { identity: Some(identity), access_token, ..explained_check() };
        secrets.hear(&ExplanationServiceClient::new(server.channel(own)).explain_check(asked).await);
        let token = secrets.made("a bad token, introspected");
        let asked = IntrospectTokenRequest { token, ..IntrospectTokenRequest::default() };
        secrets.hear(&server.tokens(own).introspect_token(asked).await);
        let token = secrets.made("a bad token, revoked");
        let target = Some(Target::Token(token));
        secrets.hear(&server.tokens(own).revoke_token(RevokeTokenRequest { target, ..Default::default() }).await);
        for form in ["Bearer {}", "Basic {}", "{}", "Bearer {} {}", "DPoP {}"] {
            let value = form.replace("{}", &secrets.made("an authorization header"));
            let asked = Asked::anonymous().certificate(own).header("authorization", &value);
            checks.check(asked.message()).await.unwrap();
        }
        let token = secrets.made("a token in a query");
        let asked = Asked::anonymous().certificate(own).to("GET", &format!("/orders/1?access_token={token}"));
        checks.check(asked.message()).await.unwrap();
        let token = secrets.made("a cookie");
        checks.check(Asked::anonymous().certificate(own).header("cookie", &token).message()).await.unwrap();
        for path in ["/oauth2/introspect", "/oauth2/revoke"] {
            let token = secrets.made("a bad token over HTTP");
            secrets.read(&http.send(post(path, &[("token", &token), ("client_id", CHECKOUT)])).await);
        }
    }
}

/// Passwords, client secrets, assertions: in bodies, headers and queries.
async fn credentials_that_we_do_not_take_are_sent(server: &Observed, own: &Leaf, secrets: &mut Secrets) {
    let mut http = server.http(own).await;
    for (grant, fields) in [
        ("client_credentials", &["client_secret"][..]),
        ("password", &["username", "password"]),
        ("refresh_token", &["refresh_token"]),
        ("authorization_code", &["code", "code_verifier"]),
        ("client_credentials", &["assertion", "subject_token"]),
    ] {
        let values: Vec<String> = fields.iter().map(|_| secrets.made("a credential in a form")).collect();
        let mut form = vec![("grant_type", grant), ("client_id", CHECKOUT)];
        form.extend(fields.iter().copied().zip(values.iter().map(String::as_str)));
        secrets.read(&http.send(post(TOKEN, &form)).await);
    }
    for kind in [JWT_SPIFFE, "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"] {
        let assertion = secrets.made("an assertion");
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", CHECKOUT),
            ("client_assertion_type", kind),
            ("client_assertion", &assertion),
        ];
        secrets.read(&http.send(post(TOKEN, &form)).await);
        let asked = IssueTokenRequest {
            client_assertion_type: kind.to_owned(),
            client_assertion: secrets.made("an assertion over gRPC"),
            ..IssueTokenRequest::default()
        };
        secrets.hear(&server.tokens(own).issue_token(asked).await);
    }
    for header in [AUTHORIZATION, COOKIE, HeaderName::from_static("x-api-key")] {
        for scheme in ["Bearer ", "Basic ", ""] {
            let value = format!("{scheme}{}", secrets.made("a credential in a header"));
            let mut request = post(TOKEN, &[("grant_type", "client_credentials"), ("client_id", CHECKOUT)]);
            request.headers_mut().insert(header.clone(), HeaderValue::from_str(&value).unwrap());
            secrets.read(&http.send(request).await);
            let mut request = Request::new(IssueTokenRequest::default());
            let value = format!("{scheme}{}", secrets.made("a credential in metadata"));
            let name = tonic::metadata::AsciiMetadataKey::from_bytes(header.as_str().as_bytes()).unwrap();
            request.metadata_mut().insert(name, value.parse().unwrap());
            secrets.hear(&server.tokens(own).issue_token(request).await);
        }
    }
    for path in [TOKEN, "/oauth2/introspect", "/nowhere", "/.well-known/oauth-authorization-server", REGISTER] {
        let token = secrets.made("a token in a URL");
        secrets.read(&http.send(get(&format!("{path}?access_token={token}"))).await);
        let token = secrets.made("a token in a path");
        secrets.read(&http.send(get(&format!("{path}/{token}"))).await);
    }
}

/// Transaction tokens, with what is in them, and what may not be.
async fn transactions_are_asked_for(server: &Observed, secrets: &mut Secrets) {
    const SETTLER: &str = "spiffe://prod.example/settler";
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let grant = "urn:ietf:params:oauth:grant-type:token-exchange";
    let rule = TxnRule {
        subjects: texts(&["self"]),
        scope: "nightly.settle".to_owned(),
        details: texts(&["batch"]),
        context: texts(&["req_ip"]),
        ..TxnRule::default()
    };
    let settler =
        Client { grant_types: texts(&["client_credentials", grant]), txn: vec![rule], ..spiffe_client(SETTLER) };
    let request = CreateClientRequest { client: Some(settler), ..Default::default() };
    server.registry(&server.svid("/admin")).create_client(request).await.unwrap();
    let leaf = server.svid("/settler");
    let mut http = server.http(&leaf).await;
    for _ in 0..5 {
        let details = json!({ "batch": secrets.made("what is authorized") }).to_string();
        let context = json!({ "req_ip": secrets.made("a circumstance") }).to_string();
        let refused = json!({ "password": secrets.made("what no rule lists") }).to_string();
        let own = json!({ "sub": SETTLER }).to_string();
        let form = |details: &str| {
            post(
                TOKEN,
                &[
                    ("grant_type", grant),
                    ("client_id", SETTLER),
                    ("requested_token_type", "urn:ietf:params:oauth:token-type:txn_token"),
                    ("subject_token_type", "urn:ietf:params:oauth:token-type:unsigned_json"),
                    ("subject_token", &own),
                    ("audience", "prod.example"),
                    ("scope", "nightly.settle"),
                    ("request_details", details),
                    ("request_context", &context),
                ],
            )
        };
        let token = http.send(form(&details)).await.ok()["access_token"].as_str().unwrap().to_owned();
        secrets.plant_token("a transaction token", &token);
        let refused = http.send(form(&refused)).await;
        assert_eq!(refused.status, 400);
        secrets.read(&refused);
        secrets.hear(&server.bindings(&server.svid("/proxy")).validate_binding(use_of(&token)).await);
    }
}

/// Registration tokens (RFC 7592), and private keys where public ones belong.
async fn clients_register_themselves(server: &Observed, own: &Leaf, secrets: &mut Secrets) {
    let manage = |method: Method, client_id: &str, token: &str, body: &Value| {
        let client_id = utf8_percent_encode(client_id, NON_ALPHANUMERIC);
        let mut request = raw(method, &format!("{REGISTER}?client_id={client_id}"), JSON, body.to_string());
        request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
        request
    };
    for number in 0..20 {
        let path = format!("/ns/shop/own-{number}");
        let (leaf, client_id) = (server.svid(&path), format!("spiffe://prod.example{path}"));
        let mut http = server.http(&leaf).await;
        let registered = http.send(raw(Method::POST, REGISTER, JSON, metadata(json!({})).to_string())).await;
        assert_eq!(registered.status, 201, "{registered:?}");
        let token = registered.json()["registration_access_token"].as_str().unwrap().to_owned();
        secrets.plant("a registration token", &token);
        let put = metadata(json!({ "client_id": client_id, "scope": "orders.read" }));
        for (method, body) in [(Method::GET, &Value::Null), (Method::PUT, &put), (Method::DELETE, &Value::Null)] {
            let wrong = secrets.made("a wrong registration token");
            secrets.read(&http.send(manage(method.clone(), &client_id, &wrong, body)).await);
            let answer = http.send(manage(method, &client_id, &token, body)).await;
            assert!(answer.status < 300, "{answer:?}");
        }
        secrets.read(&http.send(manage(Method::GET, &client_id, &token, &Value::Null)).await);
    }
    let mut http = server.http(own).await;
    for _ in 0..10 {
        let key = json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "d": secrets.made("a private key in a JWK Set") });
        let body =
            metadata(json!({ "jwks": { "keys": [key] }, "token_endpoint_auth_method": "self_signed_tls_client_auth" }));
        let answer = http.send(raw(Method::POST, REGISTER, JSON, body.to_string())).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        secrets.read(&answer);
    }
}

/// The command line, which is given what it cannot use.
fn commands_are_given_secrets(server: &Observed, own: &Leaf, secrets: &mut Secrets) {
    let file = |name: &str, contents: &str| {
        let path = server.setup.path(name);
        fs::write(&path, contents).unwrap();
        path
    };
    let (cert, key) = (file("own.pem", &own.chain_pem()), file("own-key.pem", &own.key_pem()));
    secrets.plant("a client's private key", own.key_pem().lines().nth(1).unwrap());
    let flags =
        ["--ca", text(&server.setup.path("ca.pem")), "--cert", text(&cert), "--key", text(&key)].map(str::to_owned);
    let url = format!("https://localhost:{}", server.mtls.port());
    for arguments in [
        &["token", "inspect", "-"][..],
        &["validate", "-", "--audience", ORDERS, "--own-connection"],
        &["token", "revoke", "-"],
        &["token", "get", "--client-assertion", "-"],
    ] {
        let secret = secrets.made("a secret on stdin");
        let mut command = lanyard();
        command.args(arguments).env("RUST_BACKTRACE", "1");
        if arguments[1] != "inspect" {
            command.args(["--server", &url]).args(&flags);
        }
        let ended = run_with(&mut command, &secret);
        secrets.heard.push(("a command", format!("{ended:?}")));
    }
    for malformed in ["{}", "{}=", "\"{}\"", "[{}]", "{}{}"] {
        let secret = secrets.made("a key-encryption key that is none");
        let yaml = fs::read_to_string(server.setup.path("lanyard.yaml")).unwrap();
        let (before, after) = yaml.split_once("keys: ").unwrap();
        let rest = after.split_once('\n').unwrap().1;
        let written = malformed.replace("{}", &secret);
        let config = file("bad.yaml", &format!("{before}keys: {{key_encryption_key: {written}}}\n{rest}"));
        let ended = run(lanyard().args(["config", "check", "--config", text(&config)]));
        assert_eq!(ended.code, Some(1), "{ended:?}");
        secrets.heard.push(("a command", format!("{ended:?}")));
        let ended = run(lanyard()
            .args(["config", "check", "--config", text(&server.setup.path("lanyard.yaml"))])
            .env("LANYARD_KEYS__KEY_ENCRYPTION_KEY", &written));
        secrets.heard.push(("a command", format!("{ended:?}")));
    }
}
