//! A client of another make: Python's gRPC, with what reflection says and no generated code.

use std::fs;
use std::process::Command;

use lanyard::authority::clock::Timestamp;
use serde_json::json;

use crate::support::ca::self_signed;
use crate::support::dev::Dev;
use crate::support::process::run;
use crate::support::server::in_crate;
use crate::support::tools;

#[test]
fn a_python_client_made_from_reflection_registers_gets_a_token_and_has_it_evaluated() {
    let Some(python) = tools::python() else { return };
    let Dev { files, .. } = &Dev::start();
    let mine = self_signed("mine").between(Timestamp(0), Timestamp(4_000_000_000)).issue();
    fs::write(files.path("mine.pem"), mine.pem()).unwrap();
    fs::write(files.path("mine-key.pem"), mine.key_pem()).unwrap();
    let server = files.server.strip_prefix("https://").unwrap();
    let reported =
        run(Command::new(python).arg(in_crate("tests/it/interop/python_client.py")).arg(server).arg(&files.dir))
            .json(0);

    for name in [
        "envoy.service.auth.v3.Authorization",
        "lanyard.v1.BindingService",
        "lanyard.v1.AdminService",
        "lanyard.v1.KeyService",
        "lanyard.v1.RegistryService",
        "lanyard.v1.TokenService",
    ] {
        assert!(reported["services"].as_array().unwrap().contains(&json!(name)), "{reported}");
    }
    assert_eq!(reported["registered"]["client_id"], "mine");
    assert_eq!(reported["registered"]["access_token_ttl"], "60s");
    assert_eq!(reported["registered"]["tls_client_certificate_bound_access_tokens"], true);
    assert!(reported["registered"]["certificate_pem"].is_null(), "{reported}");
    assert_eq!(reported["issued"]["token_type"], "Bearer");
    assert_eq!(reported["issued"]["expires_in"], "60s");
    assert_eq!(reported["issued"]["scope"], "orders.read");

    let thumbprint = mine.thumbprint().to_string();
    assert_eq!(reported["own"]["decision"], "DECISION_ALLOW");
    assert_eq!(reported["own"]["match"], "MATCH_EXACT");
    assert_eq!(reported["own"]["claims"]["cnf"]["x5t#S256"], json!(thumbprint));
    assert_eq!(reported["thief"]["decision"], "DECISION_DENY");
    assert_eq!(reported["thief"]["reason"], "DENY_REASON_CERTIFICATE_MISMATCH");
    assert_eq!(reported["checked"]["status"], json!({}), "OK: {reported}");
    assert_eq!(reported["checked"]["dynamic_metadata"]["client_id"], "mine");
    assert_eq!(reported["checked_thief"]["denied_response"]["status"]["code"], "Unauthorized");
    assert_eq!(reported["checked_thief"]["dynamic_metadata"]["reason"], "CERTIFICATE_MISMATCH");
    assert_eq!(reported["refusal"], "PERMISSION_DENIED");
}
