//! Token exchange by clients of other makes: npm's openid-client and oauth4webapi, Python's Authlib, Java's Spring Security, and
//! Python's gRPC by reflection. None knows of receipts: each sends one as a subject token of a type that it was told.

use std::fs;
use std::process::Command;

use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::support::openssl::Make;
use crate::support::openssl::TestAuthority;
use crate::support::openssl::claims;
use crate::support::process::run;
use crate::support::process::text;
use crate::support::server::in_crate;
use crate::support::tools;

const ORDERS: &str = "https://orders.example";
const CHECKOUT: &str = "https://checkout.example";
const CLIENT_ID: &str = "spiffe://prod.example/checkout";
const RECEIPT: &str = "urn:lanyard:params:oauth:token-type:presentation-receipt";

const DOCUMENTS: &str = "\
audience: https://checkout.example
scope: checkout.submit
receipts: {exchangers: [spiffe://prod.example/checkout], ttl: 60s}
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

/// Registers all, and gets a token of the frontend.
fn token(fixture: &TestAuthority, make: &Make, documents: &str) -> String {
    for name in ["frontend", "checkout", "proxy"] {
        make.svid(name, &format!("URI:spiffe://prod.example/{name}"));
    }
    fs::write(fixture.files.path("exchange.yaml"), documents).unwrap();
    let documents = fixture.files.path("exchange.yaml");
    fixture.files.run("admin", &["apply", "-f", documents.to_str().unwrap()]).ok();
    fixture.ask("frontend", "spiffe://prod.example/frontend").ok().trim().to_owned()
}

/// A receipt of the frontend's token at the checkout.
fn receipt(fixture: &TestAuthority, make: &Make) -> String {
    let token = token(fixture, make, DOCUMENTS);
    let certificate = fixture.files.path("frontend.pem");
    let validate = [
        "validate",
        &token,
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

#[test]
fn spring_security_exchanges_a_receipt() {
    let folder = TempDir::new().unwrap();
    for file in ["pom.xml", "SpringExchange.java"] {
        fs::copy(in_crate("tests/it/interop/spring").join(file), folder.path().join(file)).unwrap();
    }
    let Some(mut maven) = tools::maven(folder.path()) else { return };
    let Some(fixture) = TestAuthority::start() else { return };
    // The dependencies are copied beside the classes, so that Maven does not start within the lifetime of the receipt.
    run(maven.args(["compile", "dependency:copy-dependencies", "-DoutputDirectory=lib"])).ok();
    let make = fixture.make();
    let receipt = receipt(&fixture, &make);
    let endpoint = format!("{}/oauth2/token", fixture.files.server);
    let mut java = tools::java().unwrap();
    java.current_dir(folder.path()).args(["-cp", "target/classes:lib/*", "SpringExchange"]);
    java.args([&*endpoint, CLIENT_ID, "checkout", &receipt, RECEIPT, ORDERS]).arg(&fixture.files.dir);
    let reported = run(&mut java).json(0);
    delegates(&make, &reported["exchanged"]);
    let refused = ["scope", "target", "subject"].map(|one| reported[one].as_str().unwrap().to_owned());
    assert_eq!(refused, ["invalid_scope", "invalid_target", "invalid_request"]);
}

#[test]
fn grpcio_made_from_reflection_exchanges_a_receipt() {
    const TXN: &str = "txn: [{subjects: [self], scope: nightly.settle, details: [batch]}]\n";
    let Some(python) = tools::python() else { return };
    let more = |_: &std::path::Path| "txn_tokens: {trust_domain: prod.example}\n".to_owned();
    let Some(fixture) = TestAuthority::start_with(more) else { return };
    let make = fixture.make();
    let token = token(&fixture, &make, &format!("{DOCUMENTS}{TXN}"));
    let server = fixture.files.server.strip_prefix("https://").unwrap();
    let program = in_crate("tests/it/interop/exchange_reflection.py");
    let arguments = [server, text(&fixture.files.dir), CLIENT_ID, ORDERS, &token, CHECKOUT, "prod.example"];
    let reported = run(Command::new(python).arg(program).args(arguments)).json(0);
    let exchanged = claims(&reported["exchanged"]);
    assert_eq!(exchanged["cnf"], json!({ "x5t#S256": make.thumbprint("checkout") }));
    assert_eq!(exchanged["sub"], "spiffe://prod.example/frontend");
    assert_eq!(exchanged["act"], json!({ "sub": CLIENT_ID }));
    assert_eq!(reported["exchanged"]["issued"], "TOKEN_TYPE_ACCESS_TOKEN");
    assert_eq!(reported["exchanged"]["scope"], "orders.read");
    // The same receipt is one token, also with the token beside it.
    assert_eq!(exchanged["jti"], claims(&reported["with_token"])["jti"]);
    let transaction = claims(&reported["transaction"]);
    assert_eq!(reported["transaction"]["issued"], "TOKEN_TYPE_TXN_TOKEN");
    assert_eq!((&transaction["sub"], &transaction["tctx"]), (&json!(CLIENT_ID), &json!({ "batch": "17" })));
    let refused = ["token_alone", "thief", "scope", "target", "subject", "details"].map(|one| &reported[one][0]);
    let argument = "INVALID_ARGUMENT";
    assert_eq!(refused, [argument, "PERMISSION_DENIED", argument, argument, argument, argument], "{reported}");
    // Of a token alone no more is said than of a receipt that does not verify.
    assert_eq!(reported["token_alone"], reported["subject"]);
}
