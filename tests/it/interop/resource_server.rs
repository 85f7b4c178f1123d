//! A resource server of another make, which knows our public keys and nothing else.

use serde_json::json;

use crate::support::openssl::LEAF;
use crate::support::openssl::TestAuthority;
use crate::support::process::run;
use crate::support::tools;

const RESOURCE: &str = "https://orders.example";

#[test]
fn an_ordinary_jwt_library_accepts_a_token_with_its_own_certificate_only() {
    let Some(fixture) = TestAuthority::start() else { return };
    let Some(mut program) = tools::node("resource_server.mjs", &fixture.files.dir) else { return };
    let make = fixture.make();
    make.leaf("corp", "pki", "/CN=pki", &format!("{LEAF}subjectAltName=DNS:pki.example\n"));
    make.leaf("corp", "stock", "/CN=stock", &format!("{LEAF}subjectAltName=DNS:stock.example\n"));
    make.self_signed("selfsigned", "/CN=selfsigned", &["-newkey", "rsa:2048"]);
    fixture.offer(RESOURCE, "pki", "tls_client_auth", "tls_client_auth_san_dns: pki.example");
    fixture.offer(RESOURCE, "selfsigned", "self_signed_tls_client_auth", "certificate_file: selfsigned.pem");
    fixture.offer("https://stock.example", "stock", "tls_client_auth", "tls_client_auth_san_dns: stock.example");
    let tokens = ["pki", "selfsigned", "stock"].map(|name| (name, fixture.files.token(name, &["--client-id", name])));
    let tokens = serde_json::Value::from_iter(tokens);

    let program = program.env("NODE_EXTRA_CA_CERTS", "ca.pem").args([&fixture.public, RESOURCE, &tokens.to_string()]);
    let refused = json!({"none": 401, "forged": 401, "bare": 401, "pki": 401, "selfsigned": 401, "stock": 401});
    let mut expected = json!({"pki": refused, "selfsigned": refused, "stock": refused});
    expected["pki"]["pki"] = json!(200);
    expected["selfsigned"]["selfsigned"] = json!(200);
    // The third token is for another resource, and of no use here even to its owner.
    assert_eq!(run(program).json(0), expected);
}
