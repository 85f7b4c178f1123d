//! `lanyard whoami`: what a certificate is to the server.

use lanyard::authority::identity::CertificateThumbprint;
use serde_json::Value;
use serde_json::json;

use crate::support::dev::AUDIENCE;
use crate::support::dev::Dev;
use crate::support::dev::Files;
use crate::support::dev::RELAY;

fn whoami(files: &Files, who: &str) -> Value {
    files.run(who, &["whoami", "-o", "json"]).json(0)
}

#[test]
fn a_workload_sees_its_certificate_its_roles_and_its_registration() {
    let Dev { files, .. } = &Dev::start();
    let own = whoami(files, "workload");
    assert_eq!(own["spiffe_id"], "spiffe://dev.internal/workload");
    let certificate = lanyard::client::files::certificate(&files.path("workload.pem")).unwrap();
    assert_eq!(own["x5t#S256"], CertificateThumbprint::of(&certificate).to_string());
    assert_eq!(own["roles"], json!(["workload"]));
    let registration = json!({
        "client_id": "spiffe://dev.internal/workload",
        "registered_client_id": "spiffe://dev.internal/workload",
        "token_endpoint_auth_method": "spiffe_x509",
        "scope": "orders.read orders.write relay.call",
        "audience": [AUDIENCE, RELAY],
        "access_token_ttl": "5m",
        "rotation": "strict",
        "problem": null,
    });
    assert_eq!(own["registrations"], json!([registration]));
    let printed = files.run("workload", &["whoami"]).ok();
    for line in ["roles        workload", "client       spiffe://dev.internal/workload", "  scope      orders.read"] {
        assert!(printed.contains(line), "{line} in {printed}");
    }

    let own = whoami(files, "selfsigned");
    assert_eq!((&own["spiffe_id"], &own["registrations"][0]["client_id"]), (&Value::Null, &json!("selfsigned")));
}

#[test]
fn the_reason_why_a_caller_gets_no_tokens_is_named() {
    let Dev { files, .. } = &Dev::start();
    let admin = whoami(files, "admin");
    assert_eq!((&admin["roles"], &admin["registrations"]), (&json!(["workload", "admin"]), &json!([])));
    assert!(files.run("admin", &["whoami"]).ok().contains("none is registered"));
    assert_eq!(whoami(files, "proxy")["fronted_audiences"], json!(["*"]));

    // A pattern covers it, and is disabled later.
    let pattern = |more: &str| {
        format!(
            "client_id: all\ntoken_endpoint_auth_method: spiffe_x509\nspiffe_id: spiffe://dev.internal/*\n\
             scope: orders.read\naudience: [{AUDIENCE}]\n{more}"
        )
    };
    files.apply(&pattern("")).ok();
    let covered = &whoami(files, "admin")["registrations"][0];
    let names = (&covered["client_id"], &covered["registered_client_id"], &covered["problem"]);
    assert_eq!(names, (&json!("spiffe://dev.internal/admin"), &json!("all"), &Value::Null));
    files.token("admin", &[]);
    files.apply(&pattern("disabled: true\n")).ok();
    assert_eq!(whoami(files, "admin")["registrations"][0]["problem"], "the client is disabled");
    files.run("admin", &["token", "get"]).refused("INVALID_CLIENT", "lanyard whoami");
}

#[test]
fn a_name_that_a_pattern_covers_is_not_found_with_the_name_of_the_pattern() {
    let Dev { files, .. } = &Dev::start();
    let pattern = format!(
        "client_id: shop\ntoken_endpoint_auth_method: spiffe_x509\nspiffe_id: spiffe://dev.internal/shop/*\n\
         audience: [{AUDIENCE}]\n"
    );
    files.apply(&pattern).ok();
    let get = |name: &str| files.run("admin", &["client", "get", name]);
    get("spiffe://dev.internal/shop/cart").refused("the registration 'shop' covers it (CLIENT_NOT_FOUND)", "own name");
    let plain = get("spiffe://dev.internal/other/cart");
    assert!(!plain.stderr.contains("covers it (") && plain.stderr.contains("CLIENT_NOT_FOUND"), "{plain:?}");
}

#[test]
fn an_error_is_json_where_the_output_is() {
    let Dev { files, .. } = &Dev::start();
    let failed = files.run("admin", &["client", "get", "nothing", "-o", "json"]);
    assert_eq!((failed.code, failed.stdout.as_str()), (Some(1), ""));
    let error: Value = serde_json::from_str(&failed.stderr).unwrap();
    assert_eq!(error["code"], "CLIENT_NOT_FOUND");
    assert!(error["error"].as_str().unwrap().starts_with("nothing: "), "{error}");
    assert!(error["next"].as_str().unwrap().contains("lanyard client list"), "{error}");
    let local = files.run("admin", &["client", "apply", "-f", "/nowhere.yaml", "-o", "json"]);
    let error: Value = serde_json::from_str(&local.stderr).unwrap();
    assert_eq!(error["code"], Value::Null, "{error}");
}
