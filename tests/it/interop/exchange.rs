//! Token exchange by clients of other makes: npm's openid-client and oauth4webapi, and Python's Authlib. None knows of receipts:
//! each sends one as a subject token of a type that it was told.

use std::process::Command;

use serde_json::Value;
use serde_json::json;

use crate::support::openssl::Make;
use crate::support::openssl::TestAuthority;
use crate::support::openssl::claims;
use crate::support::process::run;
use crate::support::server::in_crate;
use crate::support::tools;

const ORDERS: &str = "https://orders.example";
const CHECKOUT: &str = "https://checkout.example";
const CLIENT_ID: &str = "spiffe://prod.example/checkout";
const RECEIPT: &str = "urn:lanyard:params:oauth:token-type:presentation-receipt";

const DOCUMENTS: &str = "\
audience: https://checkout.example
scope: checkout.submit
receipts: {exchangers: [spiffe://prod.example/checkout]}
---
audience: https://orders.example
scope: orders.read orders.write
delegated: {actors: [spiffe://prod.example/checkout]}
---
kind: Client
client_id: spiffe://prod.example/frontend
token_endpoint_auth_method: spiffe_x509
scope: checkout.submit
audience: [https://checkout.example]
---
kind: Client
client_id: spiffe://prod.example/checkout
token_endpoint_auth_method: spiffe_x509
audience: [https://orders.example]
grant_types: [client_credentials, 'urn:ietf:params:oauth:grant-type:token-exchange']
exchange:
  - subjects: [spiffe://prod.example/frontend]
    presented_at: https://checkout.example
    audience: https://orders.example
    grants: [{needs: checkout.submit, gives: orders.read orders.write}]
";

/// A receipt of the frontend's token at the checkout.
fn receipt(fixture: &TestAuthority, make: &Make) -> String {
    for name in ["frontend", "checkout", "proxy"] {
        make.svid(name, &format!("URI:spiffe://prod.example/{name}"));
    }
    std::fs::write(fixture.files.path("exchange.yaml"), DOCUMENTS).unwrap();
    let documents = fixture.files.path("exchange.yaml");
    fixture.files.run("admin", &["apply", "-f", documents.to_str().unwrap()]).ok();
    let token = fixture.ask("frontend", "spiffe://prod.example/frontend").ok();
    let certificate = fixture.files.path("frontend.pem");
    let validate = [
        "validate",
        token.trim(),
        "--audience",
        CHECKOUT,
        "--certificate",
        certificate.to_str().unwrap(),
        "--receipt",
        "-o",
        "json",
    ];
    fixture.files.run("proxy", &validate).json(0)["receipt"].as_str().unwrap().to_owned()
}

/// What a client was answered with a delegated token.
fn delegates(make: &Make, answer: &Value) {
    let claims = claims(answer);
    assert_eq!(claims["cnf"], json!({ "x5t#S256": make.thumbprint("checkout") }));
    assert_eq!(claims["sub"], "spiffe://prod.example/frontend");
    assert_eq!(claims["act"], json!({ "sub": CLIENT_ID }));
    assert_eq!((&answer["scope"], &claims["scope"]), (&json!("orders.read"), &json!("orders.read")));
    assert_eq!(answer["token_type"].as_str().unwrap().to_lowercase(), "bearer");
    assert_eq!(answer["issued_token_type"], "urn:ietf:params:oauth:token-type:access_token");
}

#[test]
fn openid_client_and_oauth4webapi_exchange_a_receipt() {
    let Some(fixture) = TestAuthority::start() else { return };
    let Some(mut program) = tools::node("exchange_client.mjs", &fixture.files.dir) else { return };
    let make = fixture.make();
    let receipt = receipt(&fixture, &make);
    let arguments = [&*fixture.public, CLIENT_ID, "checkout", &receipt, RECEIPT, ORDERS];
    let reported = run(program.args(arguments)).json(0);
    delegates(&make, &reported["openid"]);
    delegates(&make, &reported["webapi"]);
    // The same receipt is one token.
    assert_eq!(claims(&reported["openid"])["jti"], claims(&reported["webapi"])["jti"]);
    let refused = ["scope", "target", "subject"].map(|one| reported[one].as_str().unwrap().to_owned());
    assert_eq!(refused, ["invalid_scope", "invalid_target", "invalid_request"]);
}

#[test]
fn authlib_exchanges_a_receipt() {
    let Some(python) = tools::authlib() else { return };
    let Some(fixture) = TestAuthority::start() else { return };
    let make = fixture.make();
    let receipt = receipt(&fixture, &make);
    let program = in_crate("tests/it/interop/exchange_client.py");
    let arguments = [&*fixture.public, CLIENT_ID, "checkout", &receipt, RECEIPT, ORDERS];
    let reported = run(Command::new(python).arg(program).args(arguments).arg(&fixture.files.dir)).json(0);
    delegates(&make, &reported["exchanged"]);
    let refused = ["scope", "target", "subject"].map(|one| reported[one].as_str().unwrap().to_owned());
    assert_eq!(refused, ["invalid_scope", "invalid_target", "invalid_request"]);
}
