//! `lanyard token exchange` for a user of another issuer, and for calls that go on in another trust domain; and what
//! `lanyard exchange explain` says of both before.

use std::fs;

use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::SystemClock;
use serde_json::Value;
use serde_json::json;

use crate::issuer_jwt::cluster::Cluster;
use crate::support::child::Serve;
use crate::support::child::real_time;
use crate::support::dev::Files;
use crate::support::mint::part;
use crate::support::process::Finished;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::text;
use crate::support::server::ISSUER;
use crate::support::server::Setup;
use crate::support::server::TRUST_DOMAIN;

const IDP: &str = "https://idp.example";
const PARTNER: &str = "https://lanyard.partner.example";
const ORDERS: &str = "https://orders.prod.example";
const GATEWAY: &str = "spiffe://prod.example/gateway";

const DOCUMENTS: &str = "\
kind: Resource
audience: https://orders.prod.example
scope: orders.read
delegated: {actors: [spiffe://prod.example/gateway]}
---
kind: Client
client_id: spiffe://prod.example/gateway
token_endpoint_auth_method: spiffe_x509
scope: orders.read
audience: [https://orders.prod.example]
grant_types:
  - client_credentials
  - urn:ietf:params:oauth:grant-type:token-exchange
  - urn:ietf:params:oauth:grant-type:jwt-bearer
exchange:
  - {issuer: https://idp.example, subjects: ['*'], audience: https://orders.prod.example, grants: [{needs: shop.buy, gives: orders.read}]}
txn:
  - {issuer: https://idp.example, subjects: [alice], grants: [{needs: shop.buy, gives: order.place}], details: [order]}
";

/// A server that knows an issuer of users, and a partner to which calls go on and from which they come.
struct Edge {
    files: Files,
    idp: Cluster,
    partner: Cluster,
    thumbprint: String,
    _serve: Serve,
    // With the folder of the files.
    _setup: Setup,
}

impl Edge {
    fn start() -> Self {
        let (idp, partner) = (Cluster::named(IDP, "idp-1"), Cluster::named(PARTNER, "partner-1"));
        let terms = format!("clients: ['{GATEWAY}'], grants: [{{needs: orders.read, gives: orders.read}}]");
        let exchange = format!(
            "{{enabled: true}}\ntxn_tokens: {{trust_domain: prod.example}}\nchaining:\n  to: [{{issuer: '{PARTNER}', \
             subjects: ['{GATEWAY}'], {terms}}}]\n  from: [{{name: partner, issuer: '{PARTNER}', jwks: partner.json, \
             subjects: ['{PARTNER}#alice'], audience: ['{ORDERS}'], {terms}}}]"
        );
        let trusted_issuers = format!(
            "[{{name: idp, issuer: '{IDP}', jwks: idp.json, exchange: {{kinds: [access_token, jwt], scope_claim: /scope}}}}]"
        );
        let setup = Setup { exchange, trusted_issuers, ..real_time() };
        setup.write();
        fs::write(setup.path("ca.pem"), setup.ca.pem()).unwrap();
        fs::write(setup.path("idp.json"), idp.jwks()).unwrap();
        fs::write(setup.path("partner.json"), partner.jwks()).unwrap();
        let [_, gateway] = ["admin", "gateway"].map(|name| {
            let leaf = setup.ca.svid(&format!("spiffe://{TRUST_DOMAIN}/{name}")).issue();
            fs::write(setup.path(&format!("{name}.pem")), leaf.pem()).unwrap();
            fs::write(setup.path(&format!("{name}-key.pem")), leaf.key_pem()).unwrap();
            leaf
        });
        let serve = Serve::start(&setup, 1024);
        let server = format!("https://localhost:{}", serve.mtls.port());
        let files = Files { dir: setup.path("ca.pem").parent().unwrap().to_owned(), server };
        let documents = files.path("documents.yaml");
        fs::write(&documents, DOCUMENTS).unwrap();
        files.run("admin", &["apply", "-f", text(&documents)]).ok();
        Self { files, idp, partner, thumbprint: gateway.thumbprint().to_string(), _serve: serve, _setup: setup }
    }

    /// A file with a JWT of an issuer, for an argument.
    fn signed(&self, by: &Cluster, name: &str, typ: &str, claims: &Value) -> String {
        let kid = if by.issuer == IDP { "idp-1" } else { "partner-1" };
        let header = json!({ "alg": "ES256", "kid": kid, "typ": typ });
        let path = self.files.path(name);
        fs::write(&path, by.key.sign(&header.to_string(), &claims.to_string())).unwrap();
        format!("@{}", text(&path))
    }

    fn exchange(&self, more: &[&str]) -> Finished {
        self.files.run("gateway", &[&["token", "exchange"], more].concat())
    }

    fn explain(&self, more: &[&str]) -> Finished {
        self.files.run("admin", &[&["exchange", "explain", "--as", GATEWAY], more].concat())
    }
}

fn now() -> u64 {
    SystemClock.now().0
}

fn users(sub: &str, jti: &str) -> Value {
    json!({
        "iss": IDP, "sub": sub, "aud": ISSUER, "iat": now(), "exp": now() + 600, "jti": jti, "scope": "shop.buy",
    })
}

#[test]
fn a_users_token_of_another_issuer_is_exchanged_by_hand_and_explained_before() {
    let edge = Edge::start();
    let jwt = edge.signed(&edge.idp, "jwt", "JWT", &users("alice", "1"));
    let access_token = edge.signed(&edge.idp, "access-token", "at+jwt", &users("alice", "2"));
    let audience = ["--audience", ORDERS];
    for source in [["--jwt", jwt.as_str()], ["--subject-token", access_token.as_str()]] {
        let issued = edge.exchange(&[&source[..], &audience].concat()).ok();
        let claims = part(issued.trim(), 1);
        assert_eq!((&claims["sub"], &claims["act"]), (&json!("https://idp.example#alice"), &json!({ "sub": GATEWAY })));
        assert_eq!(claims["cnf"]["x5t#S256"], edge.thumbprint);
    }
    // As what it is not, it is none.
    edge.exchange(&[&["--jwt", &access_token], &audience[..]].concat())
        .refused("(SUBJECT_NOT_ACCEPTED)", "lanyard why");
    edge.exchange(&[&["--subject-token", &jwt], &audience[..]].concat())
        .refused("(SUBJECT_NOT_ACCEPTED)", "lanyard why");
    let txn =
        ["--txn", "--audience", "prod.example", "--scope", "order.place", "--request-details", r#"{"order":"17"}"#];
    let issued = edge.exchange(&[&["--jwt", &jwt], &txn[..]].concat()).ok();
    assert_eq!(part(issued.trim(), 1)["sub"], "https://idp.example#alice");
    let bob = edge.signed(&edge.idp, "bob", "JWT", &users("bob", "3"));
    edge.exchange(&[&["--jwt", &bob], &txn[..]].concat()).refused("(SUBJECT_NOT_ACCEPTED)", "lanyard exchange explain");

    let user = |sub: &'static str, scope: &'static str| ["--issuer", IDP, "--subject", sub, "--subject-scope", scope];
    let told = edge.explain(&[&user("alice", "shop.buy")[..], &audience, &["-o", "json"]].concat()).json(0);
    assert_eq!((&told["subject"], &told["actors"]), (&json!("https://idp.example#alice"), &json!([GATEWAY])));
    assert_eq!((&told["rules"][0]["issuer"], &told["subject_token"]), (&json!(IDP), &Value::Null));
    let shown = edge.explain(&[&user("alice", "shop.view")[..], &audience].concat());
    assert_eq!(shown.code, Some(3), "{shown:?}");
    for line in
        ["reason        INVALID_SCOPE", "issuer        https://idp.example", "  yes  *  of https://idp.example  for"]
    {
        assert!(shown.stdout.contains(line), "{line} in {}", shown.stdout);
    }
    let told = edge.explain(&[&user("alice", "shop.buy")[..], &txn, &["-o", "json"]].concat()).json(0);
    assert_eq!((&told["granted"], &told["txn_rules"][0]["applies"]), (&json!(true), &json!(true)));
    let shown = edge.explain(&[&user("bob", "shop.buy")[..], &txn].concat());
    assert_eq!(shown.code, Some(3), "{shown:?}");
    for line in ["reason        NO_RULE", "  no  alice  of https://idp.example  gives order.place  does not apply"] {
        assert!(shown.stdout.contains(line), "{line} in {}", shown.stdout);
    }
}

#[test]
fn a_grant_is_made_and_used_by_hand_and_explained_before() {
    let edge = Edge::start();
    let to = ["--grant", "--audience", PARTNER];
    let made = edge.exchange(&[&["--for", GATEWAY, "-o", "json"], &to[..]].concat()).json(0);
    assert_eq!(
        (&made["token_type"], &made["issued_token_type"]),
        (&json!("N_A"), &json!("urn:ietf:params:oauth:token-type:jwt"))
    );
    let claims = part(made["access_token"].as_str().unwrap(), 1);
    assert_eq!((&claims["aud"], &claims["sub"]), (&json!(PARTNER), &json!(GATEWAY)));
    edge.exchange(&[&["--for", "spiffe://prod.example/other"], &to[..]].concat())
        .refused("(SUBJECT_NOT_ACCEPTED)", "lanyard why");
    edge.exchange(&["--for", GATEWAY, "--grant", "--audience", "https://other.example"])
        .refused("(INVALID_TARGET)", "lanyard exchange explain");
    let told = edge.explain(&[&["--subject", GATEWAY, "-o", "json"], &to[..]].concat()).json(0);
    assert_eq!((&told["subject"], &told["scope"]), (&json!(GATEWAY), &json!("orders.read")));
    let shown = edge.explain(&["--subject", GATEWAY, "--grant", "--audience", "https://other.example"]);
    assert_eq!(shown.code, Some(3), "{shown:?}");
    assert!(shown.stdout.contains("reason        TARGET_NOT_IN_RULES"), "{shown:?}");

    // The partner's grant for alice, which the gateway uses.
    let claims = json!({
        "iss": PARTNER, "aud": ISSUER, "sub": "alice", "client_id": GATEWAY, "jti": "grant-1", "iat": now(),
        "exp": now() + 60, "scope": "orders.read", "cnf": { "x5t#S256": edge.thumbprint },
    });
    let grant = edge.signed(&edge.partner, "grant", "authorization-grant+jwt", &claims);
    let used = edge.exchange(&["--jwt-grant", &grant, "-o", "json"]).json(0);
    assert_eq!((&used["token_type"], used.get("issued_token_type")), (&json!("Bearer"), None));
    let claims = part(used["access_token"].as_str().unwrap(), 1);
    assert_eq!((&claims["sub"], &claims["aud"]), (&json!(format!("{PARTNER}#alice")), &json!(ORDERS)));
    edge.exchange(&["--jwt-grant", &grant, "--audience", ORDERS]).refused("(INVALID_GRANT)", "get a new grant");

    // What does not go together.
    let jwt = ["--jwt", "x"];
    for wrong in [
        &["--for", GATEWAY, "--audience", ORDERS][..],
        &["--jwt", "x"],
        &["--jwt-grant", "x", "--grant"],
        &["--jwt-grant", "x", "--txn", "--scope", "a"],
        &["--receipt", "x", "--jwt", "x", "--audience", ORDERS],
        &[&jwt[..], &to].concat(),
        &["--receipt", "x", "--grant", "--txn", "--scope", "a", "--audience", PARTNER],
    ] {
        assert_eq!(edge.exchange(wrong).code, Some(2), "{wrong:?}");
    }
    for wrong in [
        &["--subject", GATEWAY, "--audience", ORDERS][..],
        &["--subject", "alice", "--issuer", IDP, "--grant", "--audience", PARTNER],
        &["--subject", GATEWAY, "--subject-scope", "a", "--presented-at", ORDERS, "--audience", ORDERS],
        &["--subject", GATEWAY, "--txn", "--audience", "prod.example"],
    ] {
        assert_eq!(edge.explain(wrong).code, Some(2), "{wrong:?}");
    }
}

#[test]
fn lint_compares_the_issuers_that_rules_name_with_those_of_the_configuration() {
    let lint = |issuers: &str, with: bool| {
        let setup = Setup { trusted_issuers: issuers.to_owned(), ..real_time() };
        setup.write();
        let documents = setup.path("documents.yaml");
        fs::write(
            &documents,
            DOCUMENTS.replacen("scope: orders.read\n", "scope: orders.read\nroutes: [{path: /}]\n", 1),
        )
        .unwrap();
        let config = setup.path("lanyard.yaml");
        let mut command = lanyard();
        command.args(["lint", "-f", text(&documents)]);
        if with {
            command.args(["--config", text(&config)]);
        }
        run(&mut command)
    };
    let entry = |exchange: &str| format!("[{{name: idp, issuer: '{IDP}', jwks: idp.json{exchange}}}]");
    let good = entry(", exchange: {scope_claim: /scope}");
    for (issuers, with) in [(good.as_str(), true), ("[]", false)] {
        assert_eq!(lint(issuers, with).code, Some(0), "{issuers} {:?}", lint(issuers, with));
    }
    for (issuers, said) in [
        ("[]".to_owned(), "the configuration trusts no issuer https://idp.example"),
        (entry(""), "the configuration does not trust https://idp.example for tokens that are exchanged"),
        (entry(", exchange: {}"), "its entry has no exchange.scope_claim"),
    ] {
        let found = lint(&issuers, true);
        assert_eq!(found.code, Some(1), "{found:?}");
        for about in
            ["its rule for https://orders.prod.example", "its rule for transaction tokens of https://idp.example"]
        {
            let finding = found.stdout.lines().find(|finding| finding.contains(about)).unwrap_or_default();
            assert!(finding.contains(" comes to nothing: ") && finding.ends_with(said), "{about}: {found:?}");
        }
    }
    let setup = Setup { trusted_issuers: "[{}]".to_owned(), ..real_time() };
    setup.write();
    let (documents, config) = (setup.path("documents.yaml"), setup.path("lanyard.yaml"));
    fs::write(&documents, DOCUMENTS).unwrap();
    let unreadable = run(lanyard().args(["lint", "-f", text(&documents), "--config", text(&config)]));
    assert_eq!(unreadable.code, Some(4), "{unreadable:?}");
    assert!(unreadable.stderr.contains("trusted_issuers"), "{unreadable:?}");
}
