//! examples/exchange: a service in each language that reads one header and sends one form, run as a reader would, beside a real server.

use std::fs;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::openssl::TestAuthority;
use crate::support::process::Finished;
use crate::support::process::Process;
use crate::support::process::free_ports;
use crate::support::process::run;
use crate::support::process::text;
use crate::support::server::in_crate;
use crate::support::tools;

const CHECKOUT: &str = "https://checkout.prod.example";
const ORDERS: &str = "https://orders.prod.example";
const SERVICE: &str = "spiffe://prod.example/shop/checkout";

const REGISTRATIONS: [&str; 4] = [
    "audience: https://orders.prod.example\nscope: orders.write orders.admin\n\
     delegated: {actors: [spiffe://prod.example/shop/checkout]}\n",
    "audience: https://checkout.prod.example\nscope: checkout.submit\n\
     receipts: {exchangers: [spiffe://prod.example/shop/checkout]}\n",
    "client_id: spiffe://prod.example/web/frontend\ntoken_endpoint_auth_method: spiffe_x509\nscope: checkout.submit\n\
     audience: [https://checkout.prod.example]\n",
    "client_id: spiffe://prod.example/shop/checkout\ntoken_endpoint_auth_method: spiffe_x509\n\
     audience: [https://orders.prod.example]\n\
     grant_types: [client_credentials, 'urn:ietf:params:oauth:grant-type:token-exchange']\n\
     exchange:\n  - subjects: ['spiffe://prod.example/web/*']\n    presented_at: https://checkout.prod.example\n    \
     audience: https://orders.prod.example\n    grants: [{needs: checkout.submit, gives: orders.write}]\n",
];

/// A server at which the frontend calls the checkout, which acts for it. `None` if openssl or curl are to be skipped.
fn start() -> Option<TestAuthority> {
    tools::curl()?;
    let authority = TestAuthority::start()?;
    let make = authority.make();
    for (name, path) in [("frontend", "web/frontend"), ("checkout", "shop/checkout"), ("proxy", "proxy")] {
        make.svid(name, &format!("URI:spiffe://prod.example/{path}"));
    }
    for (number, document) in REGISTRATIONS.iter().enumerate() {
        let file = authority.files.path(&format!("{number}.yaml"));
        fs::write(&file, document).unwrap();
        let kind = if document.starts_with("audience") { "resource" } else { "client" };
        authority.files.run("admin", &[kind, "apply", "-f", text(&file)]).ok();
    }
    Some(authority)
}

/// The receipt of a call of the checkout, as its proxy gets it.
fn receipt(authority: &TestAuthority) -> String {
    let token = authority.files.token("frontend", &["--audience", CHECKOUT]);
    let certificate = authority.files.path("frontend.pem");
    let arguments =
        ["validate", &token, "--audience", CHECKOUT, "--certificate", text(&certificate), "--receipt", "-o", "json"];
    authority.files.run("proxy", &arguments).json(0)["receipt"].as_str().unwrap().to_owned()
}

/// Runs an example as the checkout, and as the frontend, which may exchange nothing.
fn holds(example: impl Fn() -> Option<Command>) {
    let Some(authority) = start() else { return };
    let serve = |who: &str, client_id: &str| {
        let [port] = free_ports();
        let files = ["ca.pem", &format!("{who}.pem"), &format!("{who}-key.pem")].map(|name| authority.files.path(name));
        let mut command = example()?;
        command.arg(port.to_string()).arg(format!("{}/oauth2/token", authority.files.server));
        let service = Process::start(command.args(files).args([client_id, ORDERS, "orders.write"]));
        service.until("listening");
        Some((service, port))
    };
    let Some((_service, port)) = serve("checkout", SERVICE) else { return };
    let call = |port: u16, receipt: Option<&str>| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--write-out", " %{http_code}"]);
        if let Some(receipt) = receipt {
            curl.args(["--header", &format!("x-lanyard-receipt: {receipt}")]);
        }
        let Finished { stdout, .. } = run(curl.arg(format!("http://127.0.0.1:{port}/")));
        let (body, status) = stdout.rsplit_once(' ').unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        let said = body["scope"].as_str().or(body["error"].as_str()).unwrap().to_owned();
        (status.to_owned(), said)
    };
    let answer = |status: &str, said: &str| (status.to_owned(), said.to_owned());
    let receipt = receipt(&authority);
    assert_eq!(call(port, Some(&receipt)), answer("200", "orders.write"));
    // The nearest that are refused: no receipt, another text, and whoever the rule does not name.
    assert_eq!(call(port, None), answer("403", "no receipt"));
    let other = receipt.replacen("lr1.", "lr1.a", 1);
    assert_eq!(call(port, Some(&other)), answer("403", "invalid_request"));
    let Some((_thief, port)) = serve("frontend", "spiffe://prod.example/web/frontend") else { return };
    assert_eq!(call(port, Some(&receipt)), answer("403", "unauthorized_client"));
}

#[test]
fn the_python_example_exchanges_a_receipt() {
    holds(|| {
        let mut python = Command::new(tools::python()?);
        python.arg(in_crate("examples/exchange/python/exchange.py"));
        Some(python)
    });
}

#[test]
fn the_go_example_exchanges_a_receipt() {
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("exchange");
    let Some(mut go) = tools::go_in(&in_crate("examples/exchange/go")) else { return };
    run(go.args(["build", "-o"]).arg(&program)).ok();
    holds(|| Some(Command::new(&program)));
}

#[test]
fn the_java_example_exchanges_a_receipt() {
    holds(|| {
        let mut java = tools::java()?;
        java.arg(in_crate("examples/exchange/java/Exchange.java"));
        Some(java)
    });
}
