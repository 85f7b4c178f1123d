//! A client of another make: npm's openid-client, with certificates made by openssl.

use serde_json::json;

use crate::support::openssl::LEAF;
use crate::support::openssl::TestAuthority;
use crate::support::openssl::claims;
use crate::support::process::run;
use crate::support::tools;

const RESOURCE: &str = "https://orders.example";
const REGISTRANT: &str = "spiffe://prod.example/ns/shop/sa/registrant";

#[test]
fn openid_client_discovers_gets_introspects_revokes_and_registers_with_mutual_tls() {
    let Some(fixture) = TestAuthority::start() else { return };
    let Some(mut program) = tools::node("openid_client.mjs", &fixture.files.dir) else { return };
    let make = fixture.make();
    for name in ["pki", "late", "resource"] {
        make.leaf("corp", name, &format!("/CN={name}"), &format!("{LEAF}subjectAltName=DNS:{name}.example\n"));
    }
    make.self_signed("selfsigned", "/CN=selfsigned", &["-newkey", "rsa:2048"]);
    make.svid("registrant", &format!("URI:{REGISTRANT}"));
    fixture.offer(RESOURCE, "pki", "tls_client_auth", "tls_client_auth_san_dns: pki.example");
    fixture.offer(RESOURCE, RESOURCE, "tls_client_auth", "tls_client_auth_san_dns: resource.example");
    fixture.offer(RESOURCE, "selfsigned", "self_signed_tls_client_auth", "certificate_file: selfsigned.pem");
    // The most that a workload in this namespace may register for itself.
    fixture.offer(RESOURCE, "shop", "spiffe_x509", "spiffe_id: spiffe://prod.example/ns/shop/*");

    let reported = run(program.args([&fixture.public, RESOURCE, REGISTRANT])).json(0);
    let endpoint = |path: &str| json!(format!("{}{path}", fixture.files.server));
    assert_eq!(reported["alias"], endpoint("/oauth2/token"));
    // A token; then one is revoked, and one that never was; nothing else was asked by this client until it was refused.
    let revoked = endpoint("/oauth2/revoke");
    let asked = reported["asked"].as_array().unwrap();
    assert_eq!(asked[..3], [endpoint("/oauth2/token"), revoked.clone(), revoked]);

    let bound = |name: &str| json!({"x5t#S256": reported["thumbprints"][name]});
    assert_eq!(claims(&reported["byPki"])["cnf"], bound("pki"));
    assert_eq!(reported["byPki"]["scope"], "orders.read");
    assert_eq!(claims(&reported["bySelf"])["cnf"], bound("selfsigned"));
    // One that knows nothing of aliases arrives at the same door.
    assert_eq!(claims(&reported["unaware"])["cnf"], bound("selfsigned"));
    assert_eq!(reported["bySelf"]["scope"], "orders.read orders.write");

    assert_eq!(reported["before"]["active"], true);
    assert_eq!(reported["before"]["client_id"], "pki");
    assert_eq!(reported["before"]["cnf"], bound("pki"));
    assert_eq!(reported["ofSelf"]["cnf"], bound("selfsigned"));
    for inactive in ["byStranger", "after"] {
        assert_eq!(reported[inactive], json!({"active": false}), "{inactive}");
    }
    assert_eq!(reported["untouched"]["active"], true);
    assert_eq!(reported["foreign"], "unauthorized_client");

    assert_eq!(claims(&reported["byAdmin"]["token"])["cnf"], bound("late"));
    assert_eq!(reported["byItself"]["registered"]["client_id"], REGISTRANT);
    let own = claims(&reported["byItself"]["token"]);
    assert_eq!(own["client_id"], REGISTRANT);
    assert_eq!(own["scope"], "orders.read");
    assert_eq!(own["cnf"], bound("registrant"));
    for registered in [&reported["byAdmin"]["registered"], &reported["byItself"]["registered"]] {
        assert_eq!(registered["tls_client_certificate_bound_access_tokens"], true);
        assert!(registered["registration_access_token"].is_string() && registered["client_secret"].is_null());
    }
    assert_eq!(reported["beyond"], "invalid_client_metadata");
    assert_eq!(reported["outsider"], "access_denied");
    let refused = json!({"scope": "invalid_scope", "target": "invalid_target", "other": "invalid_client"});
    assert_eq!(reported["refused"], refused);
}
