//! `lanyard token exchange`: a token with which a service acts for its caller, or why there is none.

use std::fs;

use serde_json::json;

use crate::support::child::Serve;
use crate::support::child::real_time;
use crate::support::dev::Files;
use crate::support::leaf::Leaf;
use crate::support::mint::part;
use crate::support::process::text;
use crate::support::server::Setup;
use crate::support::server::TRUST_DOMAIN;

const CHECKOUT: &str = "https://checkout.prod.example";
const ORDERS: &str = "https://orders.prod.example";

const DOCUMENTS: &str = "\
kind: Resource
audience: https://checkout.prod.example
scope: checkout.submit
---
kind: Resource
audience: https://orders.prod.example
scope: orders.read
delegated: {actors: [spiffe://prod.example/checkout]}
---
kind: Client
client_id: spiffe://prod.example/frontend
token_endpoint_auth_method: spiffe_x509
scope: checkout.submit
audience: [https://checkout.prod.example]
---
kind: Client
client_id: spiffe://prod.example/checkout
token_endpoint_auth_method: spiffe_x509
scope: orders.read
audience: [https://orders.prod.example]
grant_types: [client_credentials, 'urn:ietf:params:oauth:grant-type:token-exchange']
exchange:
  - subjects: [spiffe://prod.example/frontend]
    presented_at: https://checkout.prod.example
    audience: https://orders.prod.example
    grants: [{needs: checkout.submit, gives: orders.read}]
    presentation: none
";

fn identity(setup: &Setup, name: &str) -> Leaf {
    let leaf = setup.ca.svid(&format!("spiffe://{TRUST_DOMAIN}/{name}")).issue();
    fs::write(setup.path(&format!("{name}.pem")), leaf.pem()).unwrap();
    fs::write(setup.path(&format!("{name}-key.pem")), leaf.key_pem()).unwrap();
    leaf
}

#[test]
fn what_was_presented_is_exchanged_by_hand_and_a_refusal_says_who_knows_why() {
    let setup = Setup { exchange: "{enabled: true}".to_owned(), ..real_time() };
    setup.write();
    fs::write(setup.path("ca.pem"), setup.ca.pem()).unwrap();
    let [_admin, _frontend, checkout] = ["admin", "frontend", "checkout"].map(|name| identity(&setup, name));
    let serve = Serve::start(&setup, 1024);
    let server = format!("https://localhost:{}", serve.mtls.port());
    let files = Files { dir: setup.path("ca.pem").parent().unwrap().to_owned(), server };
    let documents = files.path("documents.yaml");
    fs::write(&documents, DOCUMENTS).unwrap();
    files.run("admin", &["apply", "-f", text(&documents)]).ok();

    let presented = files.path("presented");
    files.run("frontend", &["token", "get", "--audience", CHECKOUT, "--out", text(&presented)]).ok();
    let subject = format!("@{}", text(&presented));
    let exchange = |more: &[&str]| {
        files.run("checkout", &[&["token", "exchange", "--subject-token", &subject, "--audience"], more].concat())
    };
    let token = exchange(&[ORDERS]).ok();
    let claims = part(token.trim(), 1);
    assert_eq!(claims["sub"], "spiffe://prod.example/frontend");
    assert_eq!(claims["act"], json!({ "sub": "spiffe://prod.example/checkout" }));
    assert_eq!(claims["cnf"]["x5t#S256"], checkout.thumbprint().to_string());
    let printed = exchange(&[ORDERS, "--scope", "orders.read", "-o", "json"]).json(0);
    assert_eq!(
        (&printed["scope"], &printed["issued_token_type"]),
        (&json!("orders.read"), &json!("urn:ietf:params:oauth:token-type:access_token"))
    );
    let out = files.path("onward");
    assert_eq!(exchange(&[ORDERS, "--out", text(&out)]).ok(), "");
    assert_eq!(part(&fs::read_to_string(&out).unwrap(), 1)["sub"], claims["sub"]);

    exchange(&[CHECKOUT]).refused("(INVALID_TARGET)", "lanyard exchange explain");
    exchange(&[ORDERS, "--scope", "orders.write"]).refused("(INVALID_SCOPE)", "lanyard exchange explain");
    exchange(&[ORDERS, "--receipt", &subject]).refused("(SUBJECT_NOT_ACCEPTED)", "lanyard why");
    let onward = format!("@{}", text(&out));
    let others = files.run("frontend", &["token", "exchange", "--subject-token", &onward, "--audience", CHECKOUT]);
    others.refused("(UNAUTHORIZED_CLIENT)", "grant_types");
    let twice = ["token", "exchange", "--subject-token", "-", "--receipt", "-", "--audience", ORDERS];
    files.run("checkout", &twice).refused("stdin can be read once", "@FILE");
    assert_eq!(files.run("checkout", &["token", "exchange", "--audience", ORDERS]).code, Some(2));
}
