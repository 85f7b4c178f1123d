//! A client of another make: Python's Authlib, with certificates made by openssl.

use std::process::Command;

use serde_json::json;

use crate::support::openssl::LEAF;
use crate::support::openssl::TestAuthority;
use crate::support::openssl::claims;
use crate::support::process::run;
use crate::support::server::in_crate;
use crate::support::tools;

const RESOURCE: &str = "https://orders.example";

#[test]
fn authlib_gets_introspects_and_revokes_with_mutual_tls() {
    let Some(python) = tools::authlib() else { return };
    let Some(fixture) = TestAuthority::start() else { return };
    let make = fixture.make();
    for name in ["pki", "resource"] {
        make.leaf("corp", name, &format!("/CN={name}"), &format!("{LEAF}subjectAltName=DNS:{name}.example\n"));
    }
    make.self_signed("selfsigned", "/CN=selfsigned", &["-newkey", "rsa:2048"]);
    fixture.offer(RESOURCE, "pki", "tls_client_auth", "tls_client_auth_san_dns: pki.example");
    fixture.offer(RESOURCE, RESOURCE, "tls_client_auth", "tls_client_auth_san_dns: resource.example");
    fixture.offer(RESOURCE, "selfsigned", "self_signed_tls_client_auth", "certificate_file: selfsigned.pem");

    let program = in_crate("tests/it/interop/authlib_client.py");
    let reported =
        run(Command::new(python).arg(program).args([&fixture.public, RESOURCE]).arg(&fixture.files.dir)).json(0);
    for (token, name) in [("by_pki", "pki"), ("by_self", "selfsigned")] {
        assert_eq!(claims(&reported[token])["cnf"], json!({"x5t#S256": make.thumbprint(name)}));
    }
    assert_eq!(reported["by_pki"]["scope"], "orders.read");
    for active in ["before", "still"] {
        assert_eq!(reported[active]["active"], true);
        assert_eq!(reported[active]["client_id"], "pki");
        assert_eq!(reported[active]["cnf"], claims(&reported["by_pki"])["cnf"]);
    }
    for inactive in ["by_stranger", "after"] {
        assert_eq!(reported[inactive], json!({"active": false}), "{inactive}");
    }
    assert_eq!(reported["of_self"]["active"], true);
    assert_eq!(reported["foreign"], 400);
    assert_eq!(reported["revoked"], 200);
    assert_eq!(reported["scope"], "invalid_scope");
    assert_eq!(reported["other"], "invalid_client");
}
